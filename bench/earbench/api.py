"""earbench from Python: the same line as `bench run`, an encoder for a notebook, records as a table."""

from pathlib import Path

import pandas

from earbench import config, line
from earbench import record as records_
from earbench.contract import Upstream
from earbench.hear_view import HearApi, view
from earbench.plan import Request, load_upstream
from earbench.progress import Progress
from earbench.record import Record

COLUMNS = ("upstream", "task", "effort", "metric", "value", "low", "high", "unit", "plan", "path")


def run(
    upstream: str,
    task: str,
    data: str | None = None,
    partial: bool = False,
    layers: str | None = None,
    again: bool = False,
    use_cache: bool = True,
    effort: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    seeds: int | None = None,
    cache: str | Path | None = None,
    results: str | Path | None = None,
    quiet: bool = False,
) -> Record:
    """The record of one upstream on one task. What is None is as bench.toml and the packaged defaults say.

    >>> run("fbank_no_cmvn", "ks", data="demo", effort="quick").scores["accuracy"]   # doctest: +SKIP
    """
    folders = {"cache": cache and Path(cache).resolve(), "results": results and Path(results).resolve()}
    changed = config.load().with_(effort=effort, device=device, dtype=dtype, seeds=seeds, **folders)
    request = Request(upstream, task, data, partial, layers, again, use_cache)
    return line.run(request, config.validate(changed), Progress(quiet))


def upstream(spec: str) -> Upstream:
    """A frozen encoder: `upstream("hubert@DIR").encode(waves, lengths).frames` is [clip, layer, time, width]."""
    return load_upstream(spec)


def hear_api(spec: str) -> HearApi:
    """An upstream for kits that take a HEAR module: its last layer, and its clip embedding of that layer.

    A file of two lines, `import earbench` and this one, is such a module:

    >>> load_model, get_scene_embeddings, get_timestamp_embeddings = hear_api("fbank_no_cmvn")
    >>> load_model().timestamp_embedding_size
    240
    """
    return view(spec)


def records(results: str | Path | None = None) -> pandas.DataFrame:
    """One row per stored record and score: upstream, task, effort, metric, value, low, high, plan, path."""
    folder = Path(results) if results else config.load().results
    rows = [
        {
            "upstream": record.upstream,
            "task": record.task,
            "effort": record.facts["effort"],
            "metric": metric,
            **score,
            "plan": record.facts["plan"]["id"],
            "path": str(record.path),
        }
        for record in records_.every(folder)
        for metric, score in record.scores.items()
    ]
    return pandas.DataFrame(rows, columns=list(COLUMNS))

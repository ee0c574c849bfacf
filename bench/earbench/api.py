"""earbench from Python: the same line as `bench run`, an encoder for a notebook, records as a table."""

from pathlib import Path
from typing import Any

import pandas

from earbench import config
from earbench import record as records_
from earbench.contract import Upstream
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
    quiet: bool = False,
    **changes: Any,
) -> Record:
    """The record of one upstream on one task. `changes` are fields of `earbench.config.Settings`.

    >>> run("fbank_no_cmvn", "ks", data="demo", effort="quick").scores["accuracy"]   # doctest: +SKIP
    """
    from earbench.run import run as line

    settings = config.validate(config.load().with_(**changes))
    return line(Request(upstream, task, data, partial, layers, again, use_cache), settings, Progress(quiet))


def upstream(spec: str) -> Upstream:
    """A frozen encoder: `upstream("hubert@DIR").encode(waves, lengths).frames` is [clip, layer, time, width]."""
    return load_upstream(spec)


def records(results: Path | None = None) -> pandas.DataFrame:
    """One row per stored record and score: upstream, task, effort, metric, value, low, high, plan, path."""
    folder = results or config.load().results
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

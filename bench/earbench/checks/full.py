"""Every built-in encoder at its published size, with random weights: the contract, exact counts, and how fast it is.

usage: python -m earbench.checks.full [NAME …]     (`make check-upstreams`; all of them if none is named)

One encoder at a time, each in a process of its own: what one takes is free again before the next, and one that is
killed for its memory is a line in the table.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tabulate import tabulate

from earbench import registry
from earbench.checks import upstream as check_upstream
from earbench.contract import Spec, Upstream
from earbench.errors import BenchError
from earbench.plan import load_upstream

SECONDS = 10.0
LEAST = 1.0
"""Seconds that an encoder is timed for."""


@dataclass(frozen=True)
class Row:
    """One encoder: exact parameters, seconds of audio per second of work on one thread, checks passed, what failed."""

    name: str
    parameters: int | None = None
    speed: float | None = None
    passed: int = 0
    failed: tuple[str, ...] = ()


def main(words: Sequence[str]) -> int:
    """The exit code: 1 if any check of any encoder failed."""
    if words[:1] == ["--one"]:
        print(json.dumps(asdict(examine(words[1]))))
        return 0
    known = names()
    for name in words:
        if name not in known:
            raise SystemExit(f"no encoder called '{name}' that could be built without weights: {', '.join(known)}")
    rows = []
    for name in words or known:
        print(f"{name} …", file=sys.stderr)
        rows.append(examined_apart(name))
    print(tabulate([_shown(row) for row in rows], headers="keys", disable_numparse=True))
    return 1 if any(row.failed for row in rows) else 0


def names() -> list[str]:
    """Every plain name; a scheme such as `hf:` has no widths before it is told what to load."""
    return [name for name in registry.names("upstream") if registry.load("upstream", name).card.widths]


def twin(name: str) -> str:
    """The spec that needs no weights: the untrained twin, or the encoder itself where nothing was learned."""
    return name if registry.load("upstream", name).card.pretraining == "none" else f"{name}~random"


def spec(name: str) -> Spec:
    """The same, taken apart."""
    return Spec(text=twin(name), name=name, random=twin(name) != name)


def counted(name: str) -> int:
    """How many parameters the encoder called `name` has, by building it.

    Nothing is allocated where its code can build on the meta device; where that cannot be (tables that are computed
    from tensors), it is built as it is.
    """
    try:
        return _on_meta(name)
    except BenchError:
        raise
    except Exception:  # whatever operation has no meta version, or met a tensor that has values
        return sum(parameter.numel() for parameter in load_upstream(twin(name)).parameters())


def _on_meta(name: str) -> int:
    with torch.device("meta"):
        upstream = registry.load("upstream", name).load(spec(name))
    return sum(parameter.numel() for parameter in upstream.parameters())


def examine(name: str) -> Row:
    """What is true of one encoder at its full size. Takes its memory and some minutes."""
    try:
        upstream = load_upstream(twin(name))
        findings = check_upstream.run(upstream)
        gc.collect()
        speed = throughput(upstream)
    except Exception as error:
        return Row(name, failed=(f"{type(error).__name__}: {error}",))
    failed = tuple(f"{one.name}: {one.detail}" for one in findings if not one.ok)
    parameters = sum(parameter.numel() for parameter in upstream.parameters())
    return Row(name, parameters, speed, len(findings) - len(failed), failed)


def examined_apart(name: str) -> Row:
    """The same, by a process that ends with it."""
    words = [sys.executable, "-m", "earbench.checks.full", "--one", name]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        return Row(name, failed=(f"no answer: {why[0]}",))
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Row(**{**facts, "failed": tuple(facts["failed"])})


def throughput(upstream: Upstream, threads: int = 1) -> float:
    """Seconds of audio per second: one clip of ten seconds again and again, the fastest time counts."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return SECONDS / min(_timings(upstream))
    finally:
        torch.set_num_threads(before)


def _timings(upstream: Upstream) -> Iterator[float]:
    """Seconds that each pass takes, the first (which warms up) left out."""
    waves, lengths = check_upstream.noise(upstream, (SECONDS,))
    began = time.perf_counter()
    with torch.inference_mode():
        upstream.encode(waves, lengths)
        while True:
            started = time.perf_counter()
            upstream.encode(waves, lengths)
            yield time.perf_counter() - started
            if time.perf_counter() - began > LEAST:
                return


def _shown(row: Row) -> dict[str, str]:
    return {
        "name": row.name,
        "parameters": "" if row.parameters is None else f"{row.parameters:,}",
        "seconds of audio per second": "" if row.speed is None else f"{row.speed:,.1f}",
        "checks": f"{row.passed} ok" + "".join(f"\nFAILED {one}" for one in row.failed),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

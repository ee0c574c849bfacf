"""HEAR's event scores on files like MAESTRO's, against sed_eval: processor seconds, and that the scores are equal.

usage: python benchmarks/hear_events.py [FILES]
A file of two minutes holds 1,500 to 2,500 notes of 88 pitches, and as many estimates: those notes moved a little, some
of them gone and others made up. We score a fold of 37 files. The first FILES of them (default 1, for which sed_eval
takes minutes) both of us score, and must agree to the last bit. Both start from the same events in memory.
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from earbench.contract import Clip, Split
from earbench.kit.events import Event
from earbench.kit.metrics.events import COLLARS, SCORES, event_rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pkg_resources, on the way to dcase_util
    from sed_eval.sound_event import EventBasedMetrics, SegmentBasedMetrics

FOLD, SECONDS, PITCHES = 37, 120.0, range(21, 109)
Events = list[Event]


def main(files: int) -> None:
    rng = np.random.default_rng(0)
    references = [notes(rng) for _ in range(FOLD)]
    estimates = [played(rng, events) for events in references]
    print(f"{FOLD} files, {sum(map(len, references)):,} notes, {sum(map(len, estimates)):,} estimates", file=sys.stderr)
    rows = [row([name], references, estimates, files) for name in SCORES]
    rows.append(row(list(SCORES), references, estimates, 0))
    print(tabulate(rows, headers="keys", floatfmt=("", ".2f", ".3f", ".1f", ".0f"), tablefmt="github"))


def row(names: Sequence[str], references: Sequence[Events], estimates: Sequence[Events], files: int) -> dict[str, Any]:
    _, fold = timed(by_us, names, references, estimates)
    found = {"score": names[0] if len(names) == 1 else "all at once", f"{FOLD} files": fold}
    if not files:
        return found
    (values, ours), (expected, theirs) = (
        timed(score, names, references[:files], estimates[:files]) for score in (by_us, by_sed_eval)
    )
    if values != expected:
        raise SystemExit(f"{names}: {values} are not sed_eval's {expected}")
    return found | {f"{files} of them": ours, "sed_eval": theirs, "ratio": theirs / ours}


def timed(score: Callable[..., list[float]], *arguments: Any) -> tuple[list[float], float]:
    started = time.process_time()
    return score(*arguments), time.process_time() - started


def by_us(names: Sequence[str], references: Sequence[Events], estimates: Sequence[Events]) -> list[float]:
    clips = [Clip(f"{n}", Path("x.wav"), tuple(events), f"{n}") for n, events in enumerate(references)]
    rows = event_rows(Split(tuple(clips)), {f"{n}": events for n, events in enumerate(estimates)}, names)
    return [SCORES[name][0].value(rows, np.ones(len(rows))) for name in names]


def by_sed_eval(names: Sequence[str], references: Sequence[Events], estimates: Sequence[Events]) -> list[float]:
    return [sed_evals(name, references, estimates) for name in names]


def sed_evals(name: str, references: Sequence[Events], estimates: Sequence[Events]) -> float:
    labels = [str(pitch) for pitch in PITCHES]
    if name in COLLARS:
        collar, share = COLLARS[name]
        kind, key = EventBasedMetrics, "f_measure"
        options = {"t_collar": collar, "evaluate_offset": share is not None, "percentage_of_length": share or 0.5}
    else:
        kind, key, options = SegmentBasedMetrics, "error_rate", {"time_resolution": 1.0}
    scorer = kind(event_label_list=labels, **options)
    for pair in zip(references, estimates, strict=True):
        scorer.evaluate(*([dict(zip(KEYS, event, strict=True)) for event in events] for events in pair))
    return float(scorer.results_overall_metrics()[key][key])


KEYS = ("event_label", "event_onset", "event_offset")


def notes(rng: np.random.Generator) -> Events:
    """Notes of one file, in whole milliseconds."""
    count = int(rng.integers(1500, 2501))
    starts = rng.integers(0, int(SECONDS * 1000), count)
    stops = np.minimum(starts + rng.gamma(2.0, 200.0, count).astype(int) + 20, int(SECONDS * 1000))
    pitches = rng.normal(64, 12, count).astype(int).clip(PITCHES.start, PITCHES.stop - 1)
    return [
        Event(str(pitch), start / 1000, stop / 1000) for pitch, start, stop in zip(pitches, starts, stops, strict=True)
    ]


def played(rng: np.random.Generator, events: Events) -> Events:
    """Four fifths of the notes, both ends on frames of 20 ms after some jitter, and as many as are missing made up."""
    kept = [event for event in events if rng.random() < 0.8]
    moved = [(one.label, *(round((edge + rng.normal(0, 0.03)) / 0.02) for edge in one[1:])) for one in kept]
    made_up = notes(rng)[: len(events) - len(kept)]
    found = [Event(label, max(0, first) * 20 / 1000, max(0, first, last) * 20 / 1000) for label, first, last in moved]
    return sorted(found + made_up, key=lambda event: event.start)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)

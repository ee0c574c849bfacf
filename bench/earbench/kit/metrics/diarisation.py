"""Who talked when: diarisation error of recordings, and the frame accuracy that chooses heads (SUPERB sheet 2.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from earbench.contract import Clip, Metric, Rows, Split
from earbench.errors import MissingExtra
from earbench.kit.classification import match_ids
from earbench.kit.columns import objects
from earbench.kit.heads.diarisation import RATE, Activity

Turns = Sequence[tuple[str, float, float]]
"""Speaker, start and stop in seconds."""
Spans = Sequence[tuple[str, Sequence[tuple[float, float]]]]
"""Every speaker of a recording and the stretches in which they talk: the label of a chunk."""

KINDS = ("missed", "false_alarm", "confusion", "total")
"""Seconds."""
SURE = 1e-7
"""Probabilities count as at least so far from 0 and 1 when an order of speakers is chosen."""


def diarised(split: Split, predictions: Mapping[str, Activity]) -> Rows:
    """One row per recording that is wholly in the split: seconds missed, falsely alarmed, confused and "total" (what
    the reference's speakers say), and the sum of the frame accuracies of its chunks beside how many these are.

    `split.truth["turns"]` holds the reference turns of each recording, `["chunks"]` the ids of its clips. Groups are
    its speakers. "prediction" are the turns that were read off.
    """
    match_ids(split, predictions)
    clips = {clip.id: clip for clip in split.clips}
    score = scorer()
    ids, groups, rows, turns = [], [], [], []
    for recording in whole_recordings(split):
        chunks = [clips[id] for id in split.truth["chunks"][recording]]
        said = [fitted(predictions[chunk.id], chunk) for chunk in chunks]
        turns.append(turns_of(said))
        right = [share for chunk, one in zip(chunks, said, strict=True) if (share := right_frames(chunk, one)) >= 0]
        rows.append((*score(split.truth["turns"][recording], turns[-1]), sum(right), len(right)))
        ids.append(recording)
        groups.append(tuple(speaker for speaker, _ in chunks[0].label))
    names = (*KINDS, "right", "chunks")
    arrays = dict(zip(names, np.array(rows, np.float64).reshape(-1, len(names)).T, strict=True))
    return Rows(tuple(ids), tuple(groups), arrays | {"prediction": objects(turns)})


def diarised_again(split: Split, rows: Rows) -> Rows:
    """The same from turns; without frame accuracies, which take the probabilities of frames."""
    score = scorer()
    clips, whole = {clip.id: clip for clip in split.clips}, whole_recordings(split)
    turns = dict(zip(rows.ids, rows.arrays["prediction"].tolist(), strict=True))
    found = np.array([score(split.truth["turns"][one], turns[one]) for one in whole], np.float64)
    first = [clips[split.truth["chunks"][one][0]] for one in whole]
    groups = tuple(tuple(speaker for speaker, _ in chunk.label) for chunk in first)
    arrays = dict(zip(KINDS, found.reshape(-1, len(KINDS)).T, strict=True))
    return Rows(tuple(whole), groups, arrays | {"prediction": objects([turns[one] for one in whole])})


def whole_recordings(split: Split) -> list[str]:
    """The recordings of which every chunk is in the split, in the order of their first chunks."""
    held = {clip.id for clip in split.clips}
    named = dict.fromkeys(str(clip.whole) for clip in split.clips)
    return [recording for recording in named if held.issuperset(split.truth["chunks"][recording])]


# ---- frames ----------------------------------------------------------------------------------------------------------


def frame_labels(spans: Spans, start: float, hop: float, frames: int) -> NDArray[np.float32]:
    """1.0 where a speaker talks, [time, speaker], in `frames` of `hop` seconds from `start` on.

    Boundaries go to the nearest frame, those half-way between two to the even one.

    >>> frame_labels([("anna", [(0.0, 0.03)]), ("ben", [(0.05, 9.0)])], 0.0, 0.02, 4).T
    array([[1., 1., 0., 0.],
           [0., 0., 1., 1.]], dtype=float32)
    """
    step = samples(hop)
    first = round(start * RATE / step)
    found = np.zeros((frames, len(spans)), np.float32)
    for column, (_, stretches) in enumerate(spans):
        for begin, end in stretches:
            edges = (round(second * RATE / step) - first for second in (begin, end))
            found[slice(*(max(0, edge) for edge in edges)), column] = 1.0
    return found


def samples(hop: float) -> float:
    """`hop` in samples at 16 kHz, exact where it is a whole number of them."""
    return float(whole) if abs((whole := round(hop * RATE)) - hop * RATE) < 1e-6 else hop * RATE


def fitted(said: Activity, chunk: Clip) -> Activity:
    """What was said of a chunk, cut to its label frames, or with the last frame repeated up to them."""
    seconds = (chunk.stop or 0.0) - (chunk.start or 0.0)
    hop = said.hop or seconds / len(said.likely)
    wanted = np.arange(max(1, round(seconds / hop))).clip(max=len(said.likely) - 1)
    return Activity(said.likely[wanted], hop, said.threshold, said.median)


def right_frames(chunk: Clip, said: Activity) -> float:
    """The share of right answers, over frames and speakers, at 0.5 and in the order of least loss.

    -1 if nobody talks in the chunk: SUPERB counts such a chunk as 0 for every head alike, here it is left out.
    """
    labels = frame_labels(chunk.label, chunk.start or 0.0, said.hop or 1.0, len(said.likely))
    if not labels.any():
        return -1.0
    sure = said.likely.astype(np.float64).clip(SURE, 1 - SURE)
    odds = np.log(sure / (1 - sure))
    orders = [labels[:, order] for order in permutations(range(labels.shape[1]))]
    best = max(orders, key=lambda order: float((odds * order).sum()))  # all else in the loss is the same for all
    return float(((said.likely > 0.5) == best).mean())


def turns_of(said: Sequence[Activity]) -> list[tuple[str, float, float]]:
    """The turns that are read off the chunks of one recording: joined, cut at the threshold, smoothed, timed.

    Start and duration are rounded to 10 ms, each on its own, as in the RTTM files of the protocol.
    """
    one, hop = said[0], said[0].hop or 0.0
    talking = np.concatenate([chunk.likely for chunk in said]) > one.threshold
    smooth = median_filter(talking.astype(np.uint8), (one.median, 1), mode="constant")
    edges = np.diff(smooth.astype(np.int8), axis=0, prepend=0, append=0)
    found = []
    for column in range(edges.shape[1]):
        starts, stops = (np.flatnonzero(edges[:, column] == kind) for kind in (1, -1))
        for first, last in zip(starts.tolist(), stops.tolist(), strict=True):
            start, duration = round(first * hop, 2), round((last - first) * hop, 2)
            if duration:
                found.append((f"{column}", start, start + duration))
    return found


# ---- scores ----------------------------------------------------------------------------------------------------------


def scorer() -> Callable[[Turns, Turns], tuple[float, float, float, float]]:
    """The function that compares a recording's reference with a hypothesis: seconds missed, falsely alarmed, confused
    under the best mapping of speakers, and in total. No collar, overlaps scored.

    It is `mdeval`, a port of NIST's md-eval, which the protocol scores by. The scored region reaches from the first to
    the last word of either.
    """
    try:
        score = import_module("mdeval.scoring").score_speaker_diarization
        segment = import_module("mdeval.utils").Segment
    except ImportError:
        raise MissingExtra("mdeval", "diarisation", "scoring diarisation") from None

    def compare(reference: Turns, hypothesis: Turns) -> tuple[float, float, float, float]:
        ends = [second for _, *span in (*reference, *hypothesis) for second in span] or [0.0]
        region = [segment(min(ends), max(ends))]
        found, _ = score("", "1", _spoken(reference), _spoken(hypothesis), region)
        kinds = ("MISSED_SPEAKER", "FALARM_SPEAKER", "SPEAKER_ERROR", "SCORED_SPEAKER")
        missed, false_alarm, confusion, total = (float(found[kind]) for kind in kinds)
        return missed, false_alarm, confusion, total

    return compare


def _spoken(turns: Iterable[tuple[str, float, float]]) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {}
    for speaker, start, stop in turns:
        found.setdefault(speaker, []).append({"TBEG": start, "TEND": stop, "TDUR": stop - start})
    return found


def diarisation_error_rate(rows: Rows, weights: NDArray[np.float64]) -> float:
    """Weighted seconds of errors over weighted seconds of speech, times 100; NaN where nothing is weighed.

    >>> kinds = ("missed", "false_alarm", "confusion", "total")
    >>> rows = Rows(("a", "b"), (("x",), ("y",)), {name: np.array([1.0, 0.0]) for name in kinds[:3]} |
    ...                                           {"total": np.array([6.0, 4.0])})
    >>> diarisation_error_rate(rows, np.ones(2)), diarisation_error_rate(rows, np.array([0, 2]))
    (30.0, 0.0)
    """
    errors = sum(rows.arrays[name] for name in ("missed", "false_alarm", "confusion"))
    return _percent(errors, rows.arrays["total"], weights)


def frame_accuracy(rows: Rows, weights: NDArray[np.float64]) -> float:
    """The mean over chunks, times 100; NaN where nothing is weighed."""
    return _percent(rows.arrays["right"], rows.arrays["chunks"], weights)


def _percent(part: Any, whole: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    total = float((weights * whole).sum())
    return 100.0 * (float((weights * part).sum()) / total) if total else float("nan")


DER = Metric("der", "%", better="lower", best=0.0, bounds=(0.0, float("inf")), value=diarisation_error_rate)
FRAME_ACCURACY = Metric("frame_accuracy", "%", "higher", best=100.0, bounds=(0.0, 100.0), value=frame_accuracy)

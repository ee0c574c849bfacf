"""Who is better than whom on a board: the rank of every score, and how sure a weighted sum of scores is.

The replicates of one task are held at a time, so that a hundred encoders on forty tasks fit into memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earbench.aggregates import AGGREGATES
from earbench.intervals import TOO_FEW, critical
from earbench.paired import Part, Samples, Standing, contrasts, part, pooled, samples, standings, weighted
from earbench.record import Record

Score = tuple[str, str]
"""Task and metric."""
Entries = Mapping[str, Sequence[Record | None]]
"""For each task a record for every row of the board: None where none can be compared with the others."""


@dataclass(frozen=True)
class Ranks:
    """By task and metric a standing for every row; an aggregate goes by ("", its name), and of each row's value of it
    `halves` has half the 95 % interval.
    """

    of: Mapping[Score, Sequence[Standing | None]]
    halves: Mapping[Score, Sequence[float | None]]


def ranks(entries: Entries, scores: Mapping[Score, str], aggregates: Sequence[str]) -> Ranks:
    """The standings of `scores`, which say if "higher" or "lower" is better, and of aggregates that have weights."""
    of: dict[Score, Sequence[Standing | None]] = {}
    weights = {name: AGGREGATES[name].weights or {} for name in aggregates}
    parts: dict[str, list[Part]] = {name: [] for name in aggregates}
    for task, records in entries.items():
        wanted = {score for score in (*scores, *(one for each in weights.values() for one in each)) if score[0] == task}
        found = {metric: samples(records, metric) for _, metric in wanted}
        for score in wanted & scores.keys():
            if one := found[score[1]]:
                of[score] = standings(contrasts([part(one)]), scores[score])
        for name, each in weights.items():
            mine = {metric: weight for (owner, metric), weight in each.items() if owner == task}
            parts[name] += _summed(found, mine)
    whole = {name: parts[name] for name, each in weights.items() if len(parts[name]) == len({task for task, _ in each})}
    of |= {("", name): standings(contrasts(found), "higher") for name, found in whole.items() if found}
    return Ranks(of, {("", name): _halves(found) for name, found in whole.items() if found})


def _summed(found: Mapping[str, Samples | None], weights: Mapping[str, float]) -> list[Part]:
    """What one task adds to an aggregate; nothing if the aggregate does not ask for it, or nobody has its scores."""
    known = {metric: one for metric in weights if (one := found[metric])}
    return [part(weighted(known, weights))] if weights and len(known) == len(weights) else []


def _halves(parts: Sequence[Part]) -> list[float | None]:
    """Half of the 95 % interval of each row's sum (Student's t); None where it is not known."""
    variance, freedom = pooled([one.own for one in parts], [one.freedom for one in parts])
    if min(one.groups for one in parts) < TOO_FEW:
        return [None] * len(variance)
    halves = critical(freedom) * np.sqrt(variance)
    return [float(half) if np.isfinite(half) else None for half in halves]

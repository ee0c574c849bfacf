"""Do encoders differ? The paired test behind `bench compare` and behind the ranks of boards, for any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earbench.intervals import LEVEL, TOO_FEW, critical
from earbench.record import Record

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Samples:
    """A score of several encoders on one test list, or a weighted sum of scores on it. Where an encoder has none, NaN.

    `replicates` is [encoder, replicate], the mean over seeds; `per_seed` has [seed, fold] for each encoder.
    """

    replicates: Array
    per_seed: tuple[Array, ...]
    groups: int

    @property
    def folds(self) -> Array:
        """The score on each fold, the mean over seeds: [encoder, fold]."""
        return np.stack([one.mean(axis=0) for one in self.per_seed])


@dataclass(frozen=True)
class Part:
    """What a test needs of one test list: scores [encoder], the variance of each and of each difference [encoder,
    encoder], and the degrees of freedom of those variances. `groups` is what was resampled.
    """

    values: Array
    own: Array
    between: Array
    freedom: int
    groups: int


@dataclass(frozen=True)
class Contrasts:
    """Student's t test of every difference, first index minus second, all [encoder, encoder]; NaN where none is known.
    `p` is two-sided and not corrected; it is NaN with too few groups.
    """

    difference: Array
    error: Array
    freedom: Array
    p: Array

    def half_width(self) -> Array:
        """Half of the 95 % interval of every difference."""
        return critical(self.freedom) * self.error


@dataclass(frozen=True)
class Standing:
    """A rank among encoders: 1 + how many are significantly better. The tests leave all ranks down to `worst` open."""

    rank: int
    worst: int


def samples(records: Sequence[Record | None], metric: str) -> Samples | None:
    """One score of records of one test list; None if nobody has it. A record without replicates is left out."""
    found = [_resampled(record, metric) for record in records]
    known = [one for one in found if one is not None]
    if not known:
        return None
    replicates, folds = known[0][0], known[0][1].shape[1]
    nothing = np.full_like(replicates, np.nan), np.full((1, folds), np.nan)
    filled = [nothing if one is None else one for one in found]
    groups = max(record.scores[metric]["groups"] for record in records if record and metric in record.scores)
    return Samples(np.stack([one for one, _ in filled]), tuple(folds for _, folds in filled), groups)


def weighted(parts: Mapping[str, Samples], weights: Mapping[str, float]) -> Samples:
    """The weighted sum of several scores on one test list, resample by resample: what they share stays shared."""
    chosen = [(weight, parts[name]) for name, weight in weights.items()]
    replicates = sum(weight * one.replicates for weight, one in chosen)
    each = zip(*(one.per_seed for _, one in chosen), strict=True)
    summed = (sum(weight * one for (weight, _), one in zip(chosen, scores, strict=True)) for scores in each)
    return Samples(np.asarray(replicates), tuple(map(np.asarray, summed)), max(one.groups for _, one in chosen))


def part(found: Samples) -> Part:
    """Scores and variances from replicates: resample k is the same in every encoder, so a pair is a subtraction.

    Few groups make the bootstrap's variance too small by (n - 1) / n, in each fold by its own n, which is put right as
    if folds were equal. Where every fold holds one group, the folds are the groups. Several seeds add their variance.
    """
    folds = found.folds
    count = folds.shape[1]
    if found.groups == count > 1:
        rows, scale, freedom = folds, 1 / count, count - 1
    else:
        freedom = max(1, found.groups - count)
        rows, scale = found.replicates, found.groups / freedom
    seeds = np.array([_between_seeds(one) for one in found.per_seed])
    own = scale * _variances(rows) + seeds
    between = scale * _between(rows) + seeds[:, None] + seeds
    return Part(folds.mean(axis=1), own, between, freedom, found.groups)


def contrasts(parts: Sequence[Part]) -> Contrasts:
    """Every encoder against every other on the sum of `parts`, whose test lists are taken as independent."""
    from scipy import special  # not at the top: `bench report` without records answers at once

    values = np.sum([one.values for one in parts], axis=0)
    variance, freedom = pooled([one.between for one in parts], [one.freedom for one in parts])
    difference, error = values[:, None] - values, np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(freedom, -np.abs(difference) / error)
    p = np.where(error == 0, (difference == 0).astype(float), p)
    if min(one.groups for one in parts) < TOO_FEW:
        p = np.full_like(p, np.nan)
    return Contrasts(difference, error, freedom, np.where(np.isfinite(error), p, np.nan))


def pooled(variances: Sequence[Array], freedoms: Sequence[int]) -> tuple[Array, Array]:
    """A sum of independent variances and its degrees of freedom (Welch-Satterthwaite)."""
    total = np.asarray(np.sum(variances, axis=0))
    if len(variances) == 1:
        return total, np.full_like(total, freedoms[0])
    terms = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    most = np.full_like(total, sum(freedoms))
    return total, np.divide(total**2, terms, out=most, where=np.asarray(terms) > 0)


def holm(p: Array) -> Array:
    """p values that hold for all of them together (Holm 1979); NaN is no test and stays.

    >>> holm(np.array([0.04, 0.01, np.nan])).round(3).tolist()
    [0.04, 0.02, nan]
    """
    corrected = p.copy()
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    scaled = np.minimum(1.0, np.arange(len(order), 0, -1) * p[order])
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def standings(found: Contrasts, better: str) -> list[Standing | None]:
    """The rank of every encoder, Holm-corrected over all pairs; None for one that was not tested against any other."""
    count = len(found.p)
    upper = np.triu_indices(count, 1)
    p = np.full((count, count), np.nan)
    p[upper] = holm(found.p[upper])
    clear = np.fmin(p, p.T) <= 1 - LEVEL
    gain = found.difference if better == "higher" else -found.difference
    winners = (clear & (gain > 0)).sum(axis=0)  # of column's encoder: who is better
    losers = (clear & (gain < 0)).sum(axis=0)
    tested = np.isfinite(np.fmin(p, p.T)).sum(axis=0)
    return [
        Standing(1 + int(above), 1 + int(others - below)) if others else None
        for above, below, others in zip(winners, losers, tested, strict=True)
    ]


def _resampled(record: Record | None, metric: str) -> tuple[Array, Array] | None:
    """Replicates, the mean over seeds, and the score by [seed, fold]; None where the record has no such value."""
    score = record.scores.get(metric) if record else None
    if record is None or score is None or score["value"] is None:
        return None
    replicates = record.replicates_of(metric)
    if replicates is None:
        return None
    per_seed = score.get("per_seed") or [[score["value"]]]
    return replicates.mean(axis=0), np.array(per_seed, dtype=np.float64)


def _between(rows: Array) -> Array:
    """The variance of the difference of every two rows."""
    found = np.zeros((len(rows), len(rows)))
    for number in range(len(rows) - 1):
        with np.errstate(invalid="ignore"):
            found[number, number + 1 :] = _variances(rows[number] - rows[number + 1 :])
    return found + found.T


def _variances(rows: Array) -> Array:
    """The variance of each row's finite numbers; NaN of fewer than two."""
    with np.errstate(invalid="ignore"):
        found: Array = rows.var(axis=1, ddof=1)
    for number in np.flatnonzero(~np.isfinite(found)):
        known = rows[number][np.isfinite(rows[number])]
        found[number] = known.var(ddof=1) if len(known) > 1 else np.nan
    return found


def _between_seeds(per_seed: Array) -> float:
    """The variance of the mean over seeds."""
    values = per_seed.mean(axis=1)
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0

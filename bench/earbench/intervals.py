"""How sure a score is: the bootstrap over groups, and what to do when there are few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from earbench.kit.seeds import generator

if TYPE_CHECKING:  # boards need no torch, which the contract imports
    from earbench.contract import Metric, Rows

REPLICATES = 1000
FEW, TOO_FEW = 20, 5
LEVEL = 0.95

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sampled:
    """One metric on one test set: its value, its value on every resample, and its standard error over groups."""

    value: float
    replicates: Array
    error: float
    groups: int


def sample(metric: Metric, rows: Rows, *names: object) -> Sampled:
    """The metric, its bootstrap replicates and its jackknife error, all over groups.

    `names` (task, version, test list) seed the resampling, so that replicate k is the same resample for every encoder
    and a paired test is a subtraction.
    """
    members, count = _members(rows)
    draws = generator("bootstrap", *names).multinomial(count, np.full(count, 1 / count), REPLICATES).astype(float)
    value = metric.value(rows, np.ones(len(rows)))
    replicates = np.array([metric.value(rows, _weights(draw, members)) for draw in draws])
    error = _jackknife(metric, rows, members, count) if count < FEW else _spread(replicates, count)
    return Sampled(value, replicates, error, count)


def interval(metric: Metric, samples: Sequence[Sequence[Sampled]]) -> dict[str, Any]:
    """Value, 95 % interval and how it was made, from `samples[seed][fold]`.

    A score is the mean over folds, then seeds. With 20 groups and more in every fold and one seed the interval is made
    of the bootstrap's percentiles, as far out as the number of groups asks for (`tail`), and widened to the value where
    rounding or a biased metric leaves it outside. Otherwise it is Student's t with the variance over groups plus that
    over seeds (Welch-Satterthwaite); below 5 groups there is none.
    """
    values = [_mean([fold.value for fold in folds]) for folds in samples]
    kind, low, high = _limits(metric, samples, values)
    return {
        "value": _mean(values),
        "low": low,
        "high": high,
        "interval": kind,
        "groups": sum(fold.groups for fold in samples[0]),
        "unit": metric.unit,
        "better": metric.better,
        "bounds": [*metric.bounds],
    }


def replicates(samples: Sequence[Sequence[Sampled]]) -> Array:
    """Replicates of a score, [seed, 1000]: the mean over folds of each resample."""
    return np.stack([_mean_replicates(folds) for folds in samples])


def critical(freedom: float | Array) -> Array:
    """The value that Student's t stays within, either side of zero, in 95 % of all cases."""
    from scipy import special  # not at the top: `bench report` without records answers at once

    return np.asarray(special.stdtrit(freedom, (1 + LEVEL) / 2))


def _mean_replicates(folds: Sequence[Sampled]) -> Array:
    with np.errstate(invalid="ignore"):  # the mean of both infinities
        return np.asarray(np.mean([fold.replicates for fold in folds], axis=0))


def _mean(values: Sequence[float]) -> float:
    """NaN of both infinities."""
    with np.errstate(invalid="ignore"):
        return float(np.mean(values))


def _limits(
    metric: Metric, samples: Sequence[Sequence[Sampled]], values: Sequence[float]
) -> tuple[str, float | None, float | None]:
    value, counts = _mean(values), [fold.groups for fold in samples[0]]
    if not np.isfinite(value):
        return "none: no value" if np.isnan(value) else "none: infinite", None, None
    if sum(counts) < TOO_FEW:
        return f"none: {sum(counts)} group{'' if sum(counts) == 1 else 's'}", None, None
    if min(counts) >= FEW and len(samples) == 1:
        kind, (low, high) = "bootstrap", _percentiles(_mean_replicates(samples[0]), tail(sum(counts), len(counts)))
    else:
        half = _half_width(samples, values)
        kind, (low, high) = "t", np.clip([value - half, value + half], *metric.bounds)
    if not np.isfinite([low, high]).all():
        return f"none: no value without some of {sum(counts)} groups", None, None
    return kind, min(float(low), value), max(float(high), value)


def tail(groups: int, folds: int = 1) -> float:
    """The share of resamples that an interval leaves out at either end, where `folds` have so many groups together.

    The plain 2.5 % covers too little: resamples vary less than groups do, by (n - 1) / n, and their ends are those of a
    normal distribution and not Student's t. Both are put right in the share (Hesterberg 2015, expanded percentiles).

    >>> round(tail(20), 4), round(tail(1000), 4)
    (0.0159, 0.0248)
    """
    from scipy import special

    freedom = groups - folds
    return float(special.ndtr(-np.sqrt(groups / freedom) * critical(freedom)))


def _percentiles(replicates: Array, outside: float) -> Array:
    """The limits that leave this share out at either end, of the replicates that have a value."""
    found = replicates[np.isfinite(replicates)]
    return np.quantile(found, [outside, 1 - outside]) if len(found) else np.full(2, np.nan)


def _spread(replicates: Array, count: int) -> float:
    """The standard error, freed of what a resample of few groups varies too little."""
    found = replicates[np.isfinite(replicates)]
    return float(found.std(ddof=1) * np.sqrt(count / (count - 1))) if len(found) > 1 else float("nan")


def _half_width(samples: Sequence[Sequence[Sampled]], values: Sequence[float]) -> float:
    over_groups = float(np.mean([_variance(folds) for folds in samples]))
    counts = [fold.groups for fold in samples[0]]
    spare = sum(counts) - len(counts) or len(counts) - 1
    seeds = len(values)
    over_seeds = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
    total = over_groups + over_seeds
    if total == 0:
        return 0.0
    freedom = total**2 / (over_groups**2 / spare + (over_seeds**2 / (seeds - 1) if seeds > 1 else 0.0))
    return float(critical(freedom) * np.sqrt(total))


def _variance(folds: Sequence[Sampled]) -> float:
    """The variance over groups of a mean over folds. Where every fold holds one group, the folds are the groups."""
    if all(fold.groups == 1 for fold in folds):
        return float(np.var([fold.value for fold in folds], ddof=1)) / len(folds)
    return sum(fold.error**2 for fold in folds) / len(folds) ** 2


def _members(rows: Rows) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """The number of each unit's groups, [unit, groups per unit], and how many groups there are.

    A group that a unit names twice (a trial of one speaker with itself) counts once: the second time it is number -1.
    """
    names = np.array(rows.groups)
    found, numbers = np.unique(names, return_inverse=True)
    members: np.ndarray[Any, np.dtype[np.int64]] = numbers.reshape(names.shape)
    for column in range(1, members.shape[1]):
        members[(members[:, :column] == members[:, column, None]).any(1), column] = -1
    return members, len(found)


def _weights(draw: Array, members: np.ndarray[Any, np.dtype[np.int64]]) -> Array:
    return np.asarray(np.append(draw, 1.0)[members].prod(axis=1))


def _jackknife(metric: Metric, rows: Rows, members: np.ndarray[Any, np.dtype[np.int64]], count: int) -> float:
    """Standard error from leaving out one group at a time (Efron & Stein 1981), which few groups do not shrink."""
    if count < 2:
        return float("nan")
    left_out = []
    for group in range(count):
        draw = np.ones(count)
        draw[group] = 0
        left_out.append(metric.value(rows, _weights(draw, members)))
    spread = np.asarray(left_out)
    if not np.isfinite(spread).all():
        return float("nan")
    return float(np.sqrt((count - 1) * np.mean((spread - spread.mean()) ** 2)))

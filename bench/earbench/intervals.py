"""How sure a score is: resampling of groups, and Student's t on a scale that has no end where the metric has one."""

from __future__ import annotations

import math
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
ROUNDING = 1e-9
"""Of a score: as far as sums in another order lie apart."""
FARTHEST = 300.0
"""Of a limit on the scale of a logarithm, so that it stays a number."""

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
    few = count < FEW
    error = _jackknife(metric, rows, members, count) if few else math.sqrt(resampled_variance(replicates, count, 1))
    return Sampled(value, replicates, error, count)


def interval(metric: Metric, samples: Sequence[Sequence[Sampled]]) -> dict[str, Any]:
    """Value, 95 % interval and how it was made, from `samples[seed][fold]`.

    A score is the mean over folds, then seeds. Its variance is that over groups, of the bootstrap's replicates with 20
    groups and more in every fold and else of the jackknife, plus that over seeds (Welch-Satterthwaite). The interval is
    Student's t on the logit of the score's place between two bounds, on the logarithm of its distance from a single
    one, or on the score itself where there is none (delta method): as lopsided as scores near a bound are. Few groups
    make a logit too wide and the plain score too narrow; between two bounds theirs is the arcsine of the root. Below 5
    groups there is no interval, and none where all groups are alike.
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
    resampled = min(counts) >= FEW
    spread = _resampled if resampled else _jackknifed
    half = half_width([spread(folds) for folds in samples], values, sum(counts), len(counts))
    if not np.isfinite(half):
        return f"none: no value without some of {sum(counts)} groups", None, None
    if half <= ROUNDING * max(1.0, abs(value)):
        return f"none: {sum(counts)} groups all alike", None, None
    scale, low, high = around(value, half, metric.bounds, few=not resampled)
    return f"{'bootstrap' if resampled else 'jackknife'}, {scale}", min(low, value), max(high, value)


def around(value: float, half: float, bounds: tuple[float, float], few: bool = False) -> tuple[str, float, float]:
    """The limits `half` to either side of `value` on the scale that has `bounds` for its ends, and the scale's name.

    >>> scale, low, high = around(90.0, 4.0, (0.0, 100.0))
    >>> scale, round(low, 2), round(high, 2)
    ('logit t', 85.23, 93.35)
    """
    lowest, highest = bounds
    below, above = value - lowest, highest - value
    if not min(below, above) > 0:
        return "t", max(lowest, value - half), min(highest, value + half)
    if np.isinf(below) and np.isinf(above):
        return "t", value - half, value + half
    if np.isfinite(below) and np.isfinite(above):
        low, high = _arcsine(below, above, half) if few else _logit(below, above, half)
        return "arcsine t" if few else "logit t", lowest + (below + above) * low, lowest + (below + above) * high
    factor = float(np.exp(min(half / min(below, above), FARTHEST)))
    if np.isinf(above):
        return "log t", lowest + below / factor, lowest + below * factor
    return "log t", highest - above * factor, highest - above / factor


def _logit(below: float, above: float, half: float) -> tuple[float, float]:
    """The limits as shares of the whole, on the scale of log odds."""
    odds, factor = below / above, float(np.exp(min(half * (1 / below + 1 / above), FARTHEST)))
    return odds / factor / (1 + odds / factor), odds * factor / (1 + odds * factor)


def _arcsine(below: float, above: float, half: float) -> tuple[float, float]:
    """The limits as shares of the whole, on the scale where the spread of a share does not depend on it."""
    angle, reach = np.arctan2(np.sqrt(below), np.sqrt(above)), half / (2 * np.sqrt(below * above))
    return float(np.sin(max(angle - reach, 0.0)) ** 2), float(np.sin(min(angle + reach, np.pi / 2)) ** 2)


def half_width(over_groups: Sequence[float], values: Sequence[float], groups: int, folds: int) -> float:
    """Half of a 95 % interval of a score: `over_groups` are the variances of the seeds whose scores are `values`."""
    within, seeds = float(np.mean(over_groups)), len(values)
    over_seeds = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
    total = within + over_seeds
    if total == 0:
        return 0.0
    freedom = total**2 / (within**2 / _spare(groups, folds) + (over_seeds**2 / (seeds - 1) if seeds > 1 else 0.0))
    return float(critical(freedom) * np.sqrt(total))


def resampled_variance(replicates: Array, groups: int, folds: int) -> float:
    """The variance of a score over groups, from those of its replicates that have a value. Resamples vary less than
    groups do, by what the means of folds take.
    """
    found = replicates[np.isfinite(replicates)]
    return float(found.var(ddof=1)) * groups / _spare(groups, folds) if len(found) > 1 else float("nan")


def _spare(groups: int, folds: int) -> int:
    """Degrees of freedom over groups. Where every fold holds one group, the folds are the groups."""
    return groups - folds or folds - 1


def _resampled(folds: Sequence[Sampled]) -> float:
    return resampled_variance(_mean_replicates(folds), sum(fold.groups for fold in folds), len(folds))


def _jackknifed(folds: Sequence[Sampled]) -> float:
    """The variance over groups of a mean over folds."""
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

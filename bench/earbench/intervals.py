"""How sure a score is: the bootstrap over groups, and what to do when there are few of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from earbench.contract import Metric, Rows
from earbench.kit.seeds import generator

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
    error = _jackknife(metric, rows, members, count) if count < FEW else float(np.nanstd(replicates, ddof=1))
    return Sampled(value, replicates, error, count)


def interval(metric: Metric, samples: Sequence[Sequence[Sampled]]) -> dict[str, Any]:
    """Value, 95 % interval and how it was made, from `samples[seed][fold]`.

    A score is the mean over folds, then seeds. With 20 groups and more and one seed the interval is the bootstrap's
    percentiles; otherwise it is Student's t with the variance over groups plus that over seeds (Welch-Satterthwaite);
    below 5 groups there is none.
    """
    values = [float(np.mean([fold.value for fold in folds])) for folds in samples]
    groups = sum(fold.groups for fold in samples[0])
    value = float(np.mean(values))
    facts = {"value": value, "groups": groups, "unit": metric.unit, "better": metric.better}
    if groups < TOO_FEW or not np.isfinite(value):
        return facts | {"low": None, "high": None, "interval": f"none: {groups} groups"}
    if groups >= FEW and len(samples) == 1:
        low, high = np.nanquantile(_mean_replicates(samples[0]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return facts | {"low": float(low), "high": float(high), "interval": "bootstrap"}
    half = _half_width(samples, values, groups)
    low, high = np.clip([value - half, value + half], *metric.bounds)
    return facts | {"low": float(low), "high": float(high), "interval": "t"}


def replicates(samples: Sequence[Sequence[Sampled]]) -> Array:
    """Replicates of a score, [seed, 1000]: the mean over folds of each resample."""
    return np.stack([_mean_replicates(folds) for folds in samples])


def _mean_replicates(folds: Sequence[Sampled]) -> Array:
    return np.asarray(np.mean([fold.replicates for fold in folds], axis=0))


def _half_width(samples: Sequence[Sequence[Sampled]], values: Sequence[float], groups: int) -> float:
    over_groups = float(np.mean([sum(fold.error**2 for fold in folds) / len(folds) ** 2 for folds in samples]))
    seeds = len(values)
    over_seeds = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
    total = over_groups + over_seeds
    if total == 0:
        return 0.0
    freedom = total**2 / (over_groups**2 / (groups - 1) + (over_seeds**2 / (seeds - 1) if seeds > 1 else 0.0))
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(total))


def _members(rows: Rows) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """The number of each unit's groups, [unit, groups per unit], and how many groups there are."""
    names = np.array(rows.groups)
    found, numbers = np.unique(names, return_inverse=True)
    return numbers.reshape(names.shape), len(found)


def _weights(draw: Array, members: np.ndarray[Any, np.dtype[np.int64]]) -> Array:
    return np.asarray(draw[members].prod(axis=1))


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
    return float(np.sqrt((count - 1) * np.mean((spread - spread.mean()) ** 2)))

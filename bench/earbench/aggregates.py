"""Numbers that a board makes of a whole row: the SUPERB score and rank (protocol sheet superb 5)."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

Score = tuple[str, str]
"""Task and metric."""
Row = Mapping[Score, float]
"""The scores that an encoder has, as its records give them."""

SUPERB_POINTS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "pr": {"per": (82.01, 3.53)},
    "asr": {"wer": (23.18, 3.62)},
    "ks": {"accuracy": (41.3826674, 96.66)},
    "qbe": {"mtwv": (0.0058, 0.0736)},
    "sid": {"accuracy": (20.058174, 90.3)},
    "asv": {"eer_published": (9.56, 5.11)},
    "sd": {"der_published": (10.05, 5.62)},
    "ic": {"accuracy": (9.649354219, 98.76)},
    "sf": {"slot_type_f1": (69.64, 89.81), "slot_value_cer": (52.94, 21.76)},
    "er": {"accuracy": (48.23672168, 67.62)},
}
"""What counts as 0 (log-mel features) and as 1000 (the best of 2021), by task and metric."""


def superb_score(rows: Sequence[Row]) -> list[float | None]:
    """The mean of the ten tasks' points, for each row; None where a task is missing. It may leave 0 to 1000."""
    return [_mean([_points(task, row) for task in SUPERB_POINTS]) for row in rows]


def superb_rank(rows: Sequence[Row]) -> list[float | None]:
    """For each row the number of others it beats on a task, averaged over the ten; a missing task beats nobody."""
    beaten = [0.0] * len(rows)
    for task in SUPERB_POINTS:
        points = [_points(task, row) for row in rows]
        known = [point for point in points if point is not None]
        for number, own in enumerate(points):
            beaten[number] += 0 if own is None else sum(own > other for other in known)
    return [number / len(SUPERB_POINTS) for number in beaten]


def _points(task: str, row: Row) -> float | None:
    """Points on one task, the mean over its metrics: 0 at the first reference, 1000 at the second."""
    found = []
    for metric, (zero, full) in SUPERB_POINTS[task].items():
        value = row.get((task, metric))
        found.append(None if value is None else 1000 * (value - zero) / (full - zero))
    return _mean(found)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


AGGREGATES: Mapping[str, Callable[[Sequence[Row]], list[float | None]]] = {
    "superb_score": superb_score,
    "superb_rank": superb_rank,
}
"""By the name that a board in bench.toml asks for."""

"""Numbers that a board makes of a whole row: the SUPERB score and rank (sheet superb 5), HEAR's mean and summary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

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


HEAR_SCORES: tuple[Score, ...] = (
    ("hear_beehive", "aucroc"),
    ("hear_beijing_opera", "top1_acc"),
    ("hear_crema_d", "top1_acc"),
    ("hear_dcase2016", "event_onset_200ms_fms"),
    ("hear_esc50", "top1_acc"),
    ("hear_fsd50k", "mAP"),
    ("hear_gtzan_genre", "top1_acc"),
    ("hear_gtzan_music_speech", "top1_acc"),
    ("hear_gunshot", "top1_acc"),
    ("hear_libricount", "top1_acc"),
    ("hear_maestro_5h", "event_onset_50ms_fms"),
    ("hear_mridangam_stroke", "top1_acc"),
    ("hear_mridangam_tonic", "top1_acc"),
    ("hear_nsynth_pitch_50h", "pitch_acc"),
    ("pitch", "pitch_acc"),
    ("hear_speech_commands_5h", "top1_acc"),
    ("hear_speech_commands_full", "top1_acc"),
    ("hear_vocal_imitation", "mAP"),
    ("hear_vox_lingua_top10", "top1_acc"),
)
"""The primary scores of HEAR's nineteen tasks, in the order of its leaderboard. All lie in 0 to 1; more is better."""


@dataclass(frozen=True)
class Aggregate:
    """What is made of the whole rows of a board; more is better. `weights` are those of a weighted sum of scores, which
    therefore has an interval and ranks; other aggregates have none.
    """

    values: Callable[[Sequence[Row]], list[float | None]]
    unit: str = ""
    weights: Mapping[Score, float] | None = None


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


def hear_mean(rows: Sequence[Row]) -> list[float | None]:
    """The mean of HEAR's nineteen primary scores, for each row; None where one is missing."""
    return [_mean([row.get(score) for score in HEAR_SCORES]) for row in rows]


def hear_summary(rows: Sequence[Row]) -> list[float | None]:
    """HEAR's own summary, for each row: scores standardised over the rows, kept within -1 and 1, and averaged.

    HEAR fills gaps with guesses. Here a row with a gap has no summary and standardises nobody, and fewer than two whole
    rows have none. It depends on who else is on the board.
    """
    whole = [row for row in rows if all(score in row for score in HEAR_SCORES)]
    if len(whole) < 2:
        return [None] * len(rows)
    points = {score: _standardised([row[score] for row in whole]) for score in HEAR_SCORES}
    means = [fmean(points[score][number] for score in HEAR_SCORES) for number in range(len(whole))]
    found = iter(means)
    return [next(found) if all(score in row for score in HEAR_SCORES) else None for row in rows]


def _standardised(values: Sequence[float]) -> list[float]:
    mean, spread = fmean(values), pstdev(values)
    return [max(-1.0, min(1.0, (value - mean) / spread)) if spread else 0.0 for value in values]


def _superb_weights() -> dict[Score, float]:
    """What a unit of each score adds to the SUPERB score."""
    return {
        (task, metric): 1000 / (full - zero) / len(metrics) / len(SUPERB_POINTS)
        for task, metrics in SUPERB_POINTS.items()
        for metric, (zero, full) in metrics.items()
    }


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


AGGREGATES: Mapping[str, Aggregate] = {
    "superb_score": Aggregate(superb_score, "points", _superb_weights()),
    "superb_rank": Aggregate(superb_rank, "wins"),
    "hear_mean": Aggregate(hear_mean, "", dict.fromkeys(HEAR_SCORES, 1 / len(HEAR_SCORES))),
    "hear_summary": Aggregate(hear_summary, "deviations"),
}
"""By the name that a board in bench.toml asks for."""

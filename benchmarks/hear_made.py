"""Made-up task folders as HEAR prepares its own, small enough to search over and over in HEAR's kit.

usage: python benchmarks/hear_made.py DIR

`dcase_like-v1-small`: four sounds, one at a time in noise, judged and post-processed as DCASE 2016 is; 4 files of ten
seconds to train on, 3 to judge by, 3 to test. `maestro_like-v1-small`: six pitches, several at a time, three folds of
three files, judged by the loss as MAESTRO is. `tagging-v1-small`: any of five tones in a second of noise, 120, 60 and
80 clips, by mean average precision. All ask for a hidden layer of 128, the first two for fewer epochs as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earbench.kit import hear_layout

RATE, SECONDS = 16_000, 10
Wave = np.ndarray[Any, Any]
Made = tuple[str, list[Any], Wave]
EVENTS = {"embedding_type": "event", "prediction_type": "multilabel", "version": "v1", "mode": "small"}


def main(root: Path) -> None:
    small = {"hidden_dim": [128]}
    facts: dict[str, Any] = {
        **EVENTS,
        "task_name": "dcase_like",
        "split_mode": "trainvaltest",
        "sample_duration": 10.0,
        "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
        "evaluation_params": {
            "event_postprocessing_grid": {"median_filter_ms": [250], "min_duration": [125, 250]},
            "task_specific_param_grid": {"check_val_every_n_epoch": [10], "max_epochs": [100], **small}
            | {"batch_size": [256]},
        },
    }
    sizes = {"train": 4, "valid": 3, "test": 3}
    sounds = [f"sound{number}" for number in range(4)]
    hear_layout.write(root / "dcase_like-v1-small", facts, sounds, splits(1, sizes, "02d", one_at_a_time))
    facts = {
        **EVENTS,
        "task_name": "maestro",
        "split_mode": "new_split_kfold",
        "nfolds": 3,
        "sample_duration": 10.0,
        "evaluation": ["event_onset_50ms_fms", "event_onset_offset_50ms_20perc_fms"],
        "use_scoring_for_early_stopping": False,
        "evaluation_params": {
            "event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]},
            "task_specific_param_grid": {"max_epochs": [50], "check_val_every_n_epoch": [1], **small},
        },
    }
    folds = {f"fold{number:02}": 3 for number in range(3)}
    hear_layout.write(root / "maestro_like-v1-small", facts, range(60, 66), splits(2, folds, "02d", together))
    facts = {
        "prediction_type": "multilabel",
        "task_name": "tagging",
        "version": "v1",
        "mode": "small",
        "split_mode": "trainvaltest",
        "sample_duration": 1.0,
        "evaluation": ["mAP", "d_prime", "aucroc", "top1_acc"],
        "evaluation_params": {"task_specific_param_grid": small},
    }
    sizes = {"train": 120, "valid": 60, "test": 80}
    hear_layout.write(
        root / "tagging-v1-small", facts, [f"tag{number}" for number in range(5)], splits(3, sizes, "03d", tagged)
    )


def splits(
    seed: int, sizes: Mapping[str, int], digits: str, make: Callable[[np.random.Generator], tuple[list[Any], Wave]]
) -> dict[str, list[Made]]:
    """File name, answer and samples of every clip, each from a generator of its own."""
    return {
        split: [
            (f"{split}_{clip:{digits}}.wav", *make(np.random.default_rng([seed, number, clip])))
            for clip in range(count)
        ]
        for number, (split, count) in enumerate(sizes.items())
    }


def one_at_a_time(rng: np.random.Generator) -> tuple[list[Any], Wave]:
    wave, events, end = rng.normal(0, 0.12, RATE * SECONDS), [], 0.2
    while True:
        label, duration = int(rng.integers(4)), float(rng.uniform(0.2, 1.2))
        start = end + float(rng.uniform(0.1, 0.6))
        end = start + duration
        if end > SECONDS:
            return events, wave
        events.append(sounded(rng, wave, label, f"sound{label}", start, duration))


def together(rng: np.random.Generator) -> tuple[list[Any], Wave]:
    wave, events = rng.normal(0, 0.03, RATE * SECONDS), list[dict[str, Any]]()
    for _ in range(20):
        pitch, duration = int(rng.integers(6)), float(rng.uniform(0.2, 1.2))
        start = float(rng.uniform(0, SECONDS - duration))
        near = [
            one for one in events if start < one["end"] / 1000 + 0.1 and start + duration > one["start"] / 1000 - 0.1
        ]
        if all(one["label"] != 60 + pitch for one in near):
            events.append(sounded(rng, wave, pitch, 60 + pitch, start, duration))
    return sorted(events, key=lambda one: one["start"]), wave


def tagged(rng: np.random.Generator) -> tuple[list[Any], Wave]:
    wave = rng.normal(0, 0.35, RATE)
    chosen = [number for number in range(5) if rng.uniform() < 0.3]
    for number in chosen:
        wave = wave + tone(rng, number, RATE) * 0.7
    return [f"tag{number}" for number in chosen], wave


def sounded(
    rng: np.random.Generator, wave: Wave, number: int, label: str | int, start: float, duration: float
) -> dict[str, Any]:
    """The event, whose tone is in the wave now."""
    first, last = int(start * RATE), int((start + duration) * RATE)
    wave[first:last] += tone(rng, number, last - first)
    return {"label": label, "start": start * 1000, "end": (start + duration) * 1000}


def tone(rng: np.random.Generator, number: int, length: int) -> Wave:
    """Three partials that swell for 30 ms, some quieter than others."""
    time = np.arange(length) / RATE
    pitch = 300 * 1.35**number
    partials = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    ramp = np.minimum(1, np.minimum(time, time[::-1]) / 0.03)
    return np.asarray(partials * ramp * np.exp(rng.uniform(-2.2, -0.2)) * 0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

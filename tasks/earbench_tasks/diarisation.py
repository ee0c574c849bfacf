"""Diarisation: which of two people talks when, also at the same time?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Labels, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.kit.heads.diarisation import Activity, WhoTalks, hop_of
from earbench.kit.kaldi import LIBRI2MIX, SPEAKERS, SPLITS, Recording, libri2mix
from earbench.kit.kaldi_writer import Mixture, write_folder
from earbench.kit.metrics.diarisation import (
    DER,
    FRAME_ACCURACY,
    RATE,
    diarised,
    diarised_again,
    frame_labels,
    samples,
    scorer,
    whole_recordings,
)
from earbench.kit.seeds import generator

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
CHUNK = 2000
"""Label frames."""
USUAL_HOP = 0.02
TOY_MIXTURES = {"train": 32, "valid": 8, "test": 10}
TOY_PITCHES = {"low": 300.0, "high": 1_200.0}


class Diarisation(Task):
    """Who of two talks when, in mixtures of two LibriSpeech utterances and noise (SUPERB SD, protocol sheet 2.7).

    Label frames are the encoder's. Recordings are cut into chunks of 2,000 of them, which are encoded each on its own
    and joined again before turns are read off. A segment that covers a chunk without an end in it is kept; the
    protocol's code drops it, but Libri2Mix has none at a hop of 10 or 20 ms.
    """

    card = TaskCard(
        "sd",
        version=1,
        title="Diarisation",
        corpus=LIBRI2MIX,
        grain="frame",
        metrics=(DER, FRAME_ACCURACY),
        suite="superb",
        protocol="SUPERB SD",
        verified="vectors",
    )
    select = "frame_accuracy"
    decodings = ({"threshold": 0.5, "median": 11},)
    published = "der"
    published_decodings = tuple(
        {"threshold": threshold, "median": median} for threshold, median in product((0.3, 0.4, 0.5, 0.6, 0.7), (1, 11))
    )

    def __init__(self, hop: float | None = USUAL_HOP) -> None:
        scorer()  # says at once if the scorer is not installed
        self.hop = hop

    def at(self, root: Path, upstream: UpstreamCard) -> Task:
        return Diarisation(upstream.hop)

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        step = samples(upstream.hop or USUAL_HOP)
        found = libri2mix(root)
        return [Fold(*(_split(split, found[split], step) for split in SPLITS))]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Recordings per split, however many chunks they make."""
        return {name: len({clip.whole for clip in split.clips}) for name, split in folds[0].splits().items()}

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        found = {
            "own-frames": "a chunk's last label frames for which the encoder has none are not trained on, and scored "
            "by the answer to the frame before; the protocol repeats that frame's features"
        }
        if self.hop is None:
            found["chunks-40-s"] = "how far the encoder's frames lie apart is not known beforehand; 20 ms were assumed"
        return found

    def space(self, fold: Fold) -> Labels:
        return Labels(f"speaker {number}" for number in range(1, SPEAKERS + 1))

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=2e-3, batch=8, steps=400, every=100, clip=1.0, options={"hidden": 64})]
        grid = {"batch": 8, "accum": 4, "steps": 30_000, "every": 500, "clip": 1.0}
        return [Recipe(lr=lr, options={"hidden": 512}, **grid) for lr in RATES]

    def weights(self, split: Split, effort: Effort) -> np.ndarray[Any, Any]:
        """One per recording, which are the rows; accuracies are averaged over chunks all the same."""
        return np.ones(len(whole_recordings(split)))

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        frames = [] if times is None else times.tolist()
        start, stop = clip.start or 0.0, clip.stop or 0.0
        return torch.from_numpy(frame_labels(clip.label, start, hop_of(frames) or stop - start, len(frames)))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return WhoTalks(width, recipe.options["hidden"], len(space))

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return diarised(split, predictions)

    def again(self, split: Split, rows: Rows) -> Rows:
        return diarised_again(split, rows)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        """Certainty every 10 ms, without smoothing."""
        found = {}
        for clip in split.clips:
            start, stop = clip.start or 0.0, clip.stop or 0.0
            found[clip.id] = Activity(
                frame_labels(clip.label, start, 0.01, round((stop - start) * 100)), 0.01, median=1
            )
        return found

    def toy(self, root: Path, seed: int) -> None:
        """Two tones, a low and a high one, come and go for a few seconds over faint noise: fifty mixtures."""
        for split, name in SPLITS.items():
            mixtures = [_toy_mixture(root, split, name, number, seed) for number in range(TOY_MIXTURES[split])]
            write_folder(root / "data" / name, mixtures)


# ---- chunks ----------------------------------------------------------------------------------------------------------


def _split(name: str, recordings: Sequence[Recording], step: float) -> Split:
    """The chunks of all recordings; in `truth` the reference turns and the chunk ids of each."""
    chunks = {one.id: _chunks(name, one, step) for one in recordings}
    truth = {
        "turns": {one.id: one.reference for one in recordings},
        "chunks": {id: tuple(clip.id for clip in clips) for id, clips in chunks.items()},
    }
    return Split(tuple(clip for clips in chunks.values() for clip in clips), truth)


def _chunks(split: str, one: Recording, step: float) -> list[Clip]:
    """Stretches of 2,000 label frames of `step` samples, the last one shorter; a frame that is not whole is left out.

    The label is what each speaker says of it, in the order of their names: stretches in seconds of the recording.
    """
    frames = max(1, int(one.seconds * RATE / step))
    found = []
    for number, first in enumerate(range(0, frames, CHUNK)):
        start, stop = first * step / RATE, min(first + CHUNK, frames) * step / RATE
        label = tuple((speaker, _within(one, speaker, start, stop)) for speaker in one.speakers())
        id = f"{split}/{one.id}/{number}"
        found.append(Clip(id, one.audio, label, one.id, start, stop, leak=one.id, whole=one.id))
    return found


def _within(one: Recording, speaker: str, start: float, stop: float) -> tuple[tuple[float, float], ...]:
    return tuple((begin, end) for name, begin, end in one.turns if name == speaker and begin < stop and end > start)


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_mixture(root: Path, split: str, folder: str, number: int, seed: int) -> Mixture:
    """Either of two speakers may be the high one; both talk once or twice, anywhere."""
    rng = generator("sd toy", seed, split, number)
    seconds = round(rng.uniform(1.5, 3.0), 2)
    people = [f"{folder}{2 * (number % 6) + side}" for side in rng.permutation(2)]
    wave, turns = rng.normal(0.0, 0.01, round(seconds * RATE)), []
    for speaker, pitch in zip(people, TOY_PITCHES.values(), strict=True):
        tone = rng.uniform(0.1, 0.2) * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * np.arange(len(wave)) / RATE)
        for half in range(2):
            start, stop = sorted(
                rng.choice(np.arange(2, int(seconds * 48)), 2, replace=False) / 100 + half * seconds / 2
            )
            start, stop = round(start, 2), round(stop, 2)
            turns.append((speaker, start, stop))
            wave[round(start * RATE) : round(stop * RATE)] += tone[round(start * RATE) : round(stop * RATE)]
    id = f"{people[0]}-{number}_{people[1]}-{number}"
    path = Path("wav", folder, f"{id}.wav")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / path, wave, RATE, subtype="PCM_16")
    return Mixture(id, str(path), seconds, turns)

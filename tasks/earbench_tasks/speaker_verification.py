"""Speaker verification: is it the same speaker in both recordings?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Labels, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.errors import BenchError, MissingCorpus
from earbench.kit.classification import match_ids
from earbench.kit.heads.xvector import XVector
from earbench.kit.metrics.verification import EER
from earbench.kit.seeds import generator
from earbench.kit.voxceleb import VOXCELEB1, Utterance, seconds, tried, voxceleb
from earbench.kit.voxceleb_toy import write_toy

CROPS = 4
LONGEST = 8.0
"""Seconds of a training clip."""
TRIMMED = (("gain_db", -3.0), ("trim_quiet", 0.001))
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
VALID_SPEAKERS, VALID_SHARE = 40, 8
"""At most so many, and at most one of so many of the training speakers."""
VALID_EACH = 25
"""Utterances of each, at most."""
VALID_TRIALS = 4_000
"""Of one speaker, and as many of two; at most."""


class SpeakerVerification(Task):
    """Trials of VoxCeleb1 by the cosine of x-vectors, trained on its other speakers (SUPERB ASV, protocol sheet 2.6).

    The protocol has no valid split and gives the best of ten checkpoints on test: `eer_published`. For `eer` some
    training speakers become the valid split, chosen by a digest of their names, with a balanced list of trials.
    """

    card = TaskCard(
        "asv",
        version=1,
        title="Speaker verification",
        corpus=replace(
            VOXCELEB1,
            counts={"training speakers": 1_211, "target trials": 18_860, "other trials": 18_860, "tested files": 4_715},
        ),
        grain="frame",
        metrics=(EER,),
        suite="superb",
        protocol="SUPERB ASV",
        verified="vectors",
    )
    select = "eer"
    published = "eer"
    trials = True
    shortest_train = 2.0

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        found = voxceleb(root)
        trials = tried(found, root)
        tested = sorted({name for _, *names in trials for name in names})
        strangers = {found.test[name].speaker for name in tested}
        known = [one for name, one in sorted(found.dev.items()) if one.speaker not in strangers]
        held = _held_out(known)
        train = tuple(clip for one in known if one.speaker not in held for clip in _crops(one))
        valid = tuple(map(_whole, (one for some in held.values() for one in some)))
        test = tuple(_whole(found.test[name]) for name in tested)
        return [Fold(Split(train), Split(valid, {"trials": _trials(valid)}), Split(test, {"trials": trials}))]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        (fold,) = folds
        targets = [target for target, *_ in fold.test.truth["trials"]]
        return {
            "training speakers": len({clip.label for split in (fold.train, fold.valid) for clip in split.clips}),
            "target trials": targets.count(1),
            "other trials": targets.count(0),
            "tested files": len(fold.test.clips),
        }

    def space(self, fold: Fold) -> Labels:
        """The speakers to train on, sorted; those of valid and test are strangers."""
        return Labels(sorted({clip.label for clip in fold.train.clips}))

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        common = {"batch": 10, "optimiser": "adamw", "weight_decay": 0.01, "clip": 1_000.0}
        if demo:
            small = {"hidden": 96, "pooled": 128}
            return [Recipe(lr=5e-4, steps=600, every=100, keep=100, options=small, **common)]
        published = {"hidden": 512, "pooled": 1_500}
        every = {"steps": 200_000, "every": 10_000, "keep": 20_000}
        return [Recipe(lr=lr, accum=5, options=published, **every, **common) for lr in RATES]

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {
            f"crops-{CROPS}": f"of a longer training utterance 8 s are one of {CROPS} crops, not new each time",
            "exact-pooling": "statistics are over true frames; the protocol's code takes one more where it pads",
            "chosen-among-published": "the head that valid chose stands beside the kept ones for eer_published",
            "valid-from-train": f"{VALID_SPEAKERS} training speakers, fewer of few, are held out: valid is missing",
        }

    def weights(self, split: Split, effort: Effort) -> np.ndarray[Any, Any]:
        """Every trial once."""
        return np.ones(len(_possible(split)))

    def target(self, clip: Clip, times: Tensor | None, space: Labels) -> Tensor:
        """The class of a training speaker. The speakers of valid have none: 0 stands for it and is not looked at."""
        return torch.tensor(space.index(clip.label) if clip.label in space else 0)

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return XVector(width, recipe.options["hidden"], recipe.options["pooled"], classes=len(space))

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        """One row per trial whose clips are both in the split: its score is the cosine of their embeddings.

        Most alike first, so that a thousand resamples need not sort them again.
        """
        match_ids(split, predictions)
        trials = _possible(split)
        numbers = {clip.id: number for number, clip in enumerate(split.clips)}
        embeddings = np.stack([predictions[clip.id] for clip in split.clips])
        ones, others = (np.array([numbers[trial[place]] for trial in trials]) for place in (1, 2))
        scores = np.einsum("tw,tw->t", embeddings[ones], embeddings[others])
        order = np.argsort(-scores, kind="stable")
        groups = [tuple(split.clips[number].group for number in pair) for pair in zip(ones, others, strict=True)]
        return Rows(
            tuple(f"{trials[place][1]} {trials[place][2]}" for place in order),
            tuple(groups[place] for place in order),
            {"score": scores[order], "target": np.array([trial[0] for trial in trials])[order]},
        )

    def again(self, split: Split, rows: Rows) -> Rows:
        """Scores of trials are what rows hold of the embeddings."""
        same = {f"{one} {other}": target for target, one, other in _possible(split)}
        return replace(rows, arrays={**rows.arrays, "target": np.array([same[name] for name in rows.ids])})

    def ideal(self, split: Split) -> Mapping[str, Any]:
        """One direction per speaker."""
        speakers = sorted({clip.label for clip in split.clips})
        return {clip.id: np.eye(len(speakers))[speakers.index(clip.label)] for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        write_toy(root, seed)


def _whole(utterance: Utterance) -> Clip:
    speaker = utterance.speaker
    return Clip(utterance.name, utterance.path, speaker, speaker, leak=speaker, effects=TRIMMED)


def _crops(utterance: Utterance) -> Iterator[Clip]:
    """The trimmed utterance. If its file is longer than eight seconds, a pool of crops of what trimming leaves."""
    clip = _whole(utterance)
    if seconds(utterance) <= LONGEST:
        yield clip
        return
    for number, fraction in enumerate(generator("asv crops", utterance.name).random(CROPS).tolist()):
        effects = (*TRIMMED, ("crop_8s", fraction))
        yield replace(clip, id=f"{clip.id}#{number}", pool=utterance.name, effects=effects)


# ---- the valid split -------------------------------------------------------------------------------------------------


def _held_out(known: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """Speakers for the valid split and some utterances of each, first by a digest of their names; in sorted order."""
    spoken: dict[str, list[Utterance]] = {}
    for one in known:
        spoken.setdefault(one.speaker, []).append(one)
    count = max(2, min(VALID_SPEAKERS, len(spoken) // VALID_SHARE))
    chosen = sorted((name for name, some in spoken.items() if len(some) > 1), key=_digest)[:count]
    if len(chosen) < 2 or len(spoken) - len(chosen) < 2:
        raise MissingCorpus(
            f"VoxCeleb1: {len(spoken)} speakers to train on, {len(chosen)} of them fit to be held out for valid",
            "two speakers with two utterances are held out, and two more needed to train on",
        )
    return {name: _some(spoken[name]) for name in sorted(chosen)}


def _some(utterances: Sequence[Utterance]) -> list[Utterance]:
    return sorted(sorted(utterances, key=lambda one: _digest(one.name))[:VALID_EACH], key=lambda one: one.name)


def _trials(clips: Sequence[Clip]) -> list[tuple[int, str, str]]:
    """As many pairs of one speaker as of two, drawn without replacement, in the order of the clips."""
    ones, others = np.triu_indices(len(clips), 1)
    speakers = np.unique([clip.label for clip in clips], return_inverse=True)[1]
    same = speakers[ones] == speakers[others]
    count = min(VALID_TRIALS, int(same.sum()), int((~same).sum()))
    rng = generator("asv trials")
    picked = np.sort(np.concatenate([rng.choice(np.flatnonzero(kind), count, replace=False) for kind in (same, ~same)]))
    return [(int(same[pair]), clips[ones[pair]].id, clips[others[pair]].id) for pair in picked]


def _possible(split: Split) -> list[tuple[int, str, str]]:
    """The trials of a split whose clips are both there: a smoke run has some of its clips only."""
    there = {clip.id for clip in split.clips}
    trials = [trial for trial in split.truth["trials"] if there.issuperset(trial[1:])]
    if not trials:
        raise BenchError(f"of {len(split.truth['trials'])} trials none has both of its clips among {len(there)}")
    return trials


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

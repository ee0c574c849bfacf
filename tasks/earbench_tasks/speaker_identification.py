"""Speaker identification: which of the known speakers is it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from earbench.contract import Clip, Effort, Fold, Labels, Recipe, Split, TaskCard, UpstreamCard
from earbench.kit.classification import Classification
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.kit.voxceleb import VOXCELEB1, Utterance, identified, seconds, voxceleb
from earbench.kit.voxceleb_toy import write_toy

CROPS = 4
LONGEST = 128_000
"""Samples of a training clip."""
RATE = 16_000
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class SpeakerIdentification(Classification):
    """The 1,251 speakers of VoxCeleb1 by the official split of their utterances (SUPERB SID, protocol sheet 2.5).

    The speakers are the same everywhere, so what a resample exchanges is the occasion: the bootstrap's groups are the
    videos, whose utterances share room, microphone and day. The classes are the sorted speakers, which is the
    published order.
    """

    card = TaskCard(
        "sid",
        version=1,
        title="Speaker identification",
        corpus=replace(VOXCELEB1, counts={"speakers": 1_251}),
        grain="mean",
        metrics=(ACCURACY,),
        suite="superb",
        protocol="SUPERB SID",
    )
    select = "accuracy"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        splits = identified(voxceleb(root), root)
        train = tuple(clip for one in splits["train"] for clip in _crops(one))
        return [Fold(Split(train), *(Split(tuple(map(_whole, splits[name]))) for name in ("valid", "test")))]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """How many speakers there are. (The sheet has not verified the number of utterances.)"""
        return {"speakers": len({clip.label for split in folds[0].splits().values() for clip in split.clips})}

    def space(self, fold: Fold) -> Labels:
        return Labels(sorted({clip.label for split in (fold.train, fold.valid) for clip in split.clips}))

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        steps, every = (1_000, 50) if demo else (200_000, 5_000)
        return [Recipe(lr=lr, batch=8, accum=4, steps=steps, every=every, clip=1.0) for lr in RATES]

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {f"crops-{CROPS}": f"of a longer training utterance 8 s are one of {CROPS} crops, not new each time"}

    def toy(self, root: Path, seed: int) -> None:
        write_toy(root, seed)


def _whole(utterance: Utterance) -> Clip:
    return Clip(utterance.name, utterance.path, utterance.speaker, utterance.video)


def _crops(utterance: Utterance) -> Iterator[Clip]:
    """The utterance, or of one longer than eight seconds a pool of crops at whole samples."""
    clip = _whole(utterance)
    spare = int(seconds(utterance) * RATE) - LONGEST
    if spare <= 0:
        yield clip
        return
    starts = generator("sid crops", utterance.name).integers(spare + 1, size=CROPS).tolist()
    for number, start in enumerate(starts):
        yield replace(
            clip, id=f"{clip.id}#{number}", start=start / RATE, stop=(start + LONGEST) / RATE, pool=utterance.name
        )

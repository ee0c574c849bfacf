"""A task made from parts of the kit alone: one word against all that is not silence."""

from dataclasses import replace

import torch

from earbench.contract import Fold, Labels, Recipe, Task, TaskCard
from earbench.kit.classification import hits
from earbench.kit.heads.pooled import PooledLinear
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.speech_commands import SILENCE, SPEECH_COMMANDS_V1, speech_commands

LABELS = Labels(("yes", "another"))


class Word(Task):
    """Was it "yes"?"""

    card = TaskCard(
        "stranger_word",
        version=1,
        title="Was it yes?",
        corpus=replace(SPEECH_COMMANDS_V1, counts={}),
        grain="mean",
        metrics=(ACCURACY,),
        suite="stranger",
        protocol="none",
    )
    select = "accuracy"

    def folds(self, root, upstream):
        fold: Fold = speech_commands(root, silence_pool=1)
        return [fold.each(lambda _, split: replace(split, clips=tuple(map(asked, spoken(split)))))]

    def space(self, fold):
        return LABELS

    def recipes(self, effort, demo):
        return [Recipe(lr=1e-2, batch=16, steps=100, every=50)]

    def target(self, clip, times, space):
        return torch.tensor(LABELS.index(clip.label))

    def head(self, width, space, recipe):
        return PooledLinear(width, hidden=8, labels=LABELS)

    def rows(self, split, predictions):
        return hits(split, predictions)

    def ideal(self, split):
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root, seed):
        raise NotImplementedError("uses the toy corpus of keyword spotting")


def spoken(split):
    return [clip for clip in split.clips if clip.label != SILENCE]


def asked(clip):
    return replace(clip, label=clip.label if clip.label == "yes" else "another")

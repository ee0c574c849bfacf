"""Slot filling: what was said, and which words of it name what?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.heads.ctc import RecurrentCTC
from earbench.kit.librispeech_toy import speech
from earbench.kit.metrics.slots import SLOT_TYPE_F1, SLOT_VALUE_CER, slots
from earbench.kit.sampling import windows
from earbench.kit.seeds import generator
from earbench.kit.snips import NAMES, SNIPS, SPEAKERS, TEXT, SlotSpelling, snips
from earbench.kit.specaugment import SpecAugment

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
TOY_PHRASES = ("EAT", "NOT", "TO", "ONE number", "TEN number", "TEA drink", "OAT drink")
TOY_SLOTS = ("drink", "number")
TOY_UTTERANCES = 12


class SlotFilling(Task):
    """Letters and slots of Audio SNIPS by CTC (SUPERB SF, protocol sheet 2.9).

    Slots are spelled among the letters, a marker before and behind the words that they hold.
    """

    card = TaskCard(
        "sf",
        version=1,
        title="Slot filling",
        corpus=SNIPS,
        grain="frame",
        metrics=(SLOT_TYPE_F1, SLOT_VALUE_CER),
        suite="superb",
        protocol="SUPERB SF",
        verified="vectors",
    )
    select = "slot_type_f1"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [snips(root)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Utterances per split, and slots."""
        return {**super().census(folds), "slots": len(folds[0].train.truth["slots"])}

    def space(self, fold: Fold) -> SlotSpelling:
        return SlotSpelling(fold.train.truth["slots"])

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            small = {"hidden": 128, "time_limit": 1, "feature_limit": 1}  # few steps leave no room for masks: width 0
            # F1 stands still until the first marker is spelled: no early stop
            return [Recipe(lr=2e-3, batch=16, steps=700, every=50, clip=1.0, patience=14, options=small)]
        published = {"hidden": 1024, "time_limit": 40, "feature_limit": 50}
        return [Recipe(lr=lr, batch=32, steps=200_000, every=2_000, clip=1.0, options=published) for lr in RATES]

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        spelling = SlotSpelling(split.truth["slots"])
        return windows(split, recipe.batch, [len(spelling.encode(clip.label)) for clip in split.clips], rng)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(cast(SlotSpelling, space).encode(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        limits = {name: recipe.options[name] for name in ("time_limit", "feature_limit")}
        return RecurrentCTC(width, recipe.options["hidden"], cast(SlotSpelling, space), SpecAugment(**limits))

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return slots(split, self.ideal(split), predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        spelling = SlotSpelling(split.truth["slots"])
        return {clip.id: spelling.spelled(clip.label) for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        """The sixteen speakers "say" twelve short texts each, a tone for every letter: 192 files of about a second."""
        home, lines = root / "SNIPS", []
        for split, speakers in SPEAKERS.items():
            for speaker in speakers:
                rng = generator("sf toy", seed, speaker)
                for number in range(TOY_UTTERANCES):
                    name = f"{speaker}-snips-{split}-{number}"
                    phrases = [str(one).partition(" ") for one in rng.choice(TOY_PHRASES, size=rng.integers(1, 4))]
                    words, named = [word for word, *_ in phrases], [slot or "O" for *_, slot in phrases]
                    toy.write(home / split / f"{name}.wav", speech(" ".join(words), rng))
                    lines.append(f"{name} BOS {' '.join(words)} EOS\tO {' '.join(named)} Toy\n")
        (home / TEXT).write_text("".join(lines), encoding="utf-8", newline="\n")
        (home / NAMES).write_text("\n".join(("O", *TOY_SLOTS)), encoding="utf-8", newline="\n")

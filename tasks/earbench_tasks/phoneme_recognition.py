"""Phoneme recognition: which sounds were made?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.errors import MissingCorpus
from earbench.kit.heads.ctc import FramewiseCTC
from earbench.kit.librispeech import LIBRISPEECH, beside, librispeech, places_beside
from earbench.kit.librispeech_toy import WORDS, write_toy
from earbench.kit.metrics.errors import PER, spoken_phones
from earbench.kit.phones import LEXICA, LEXICON_FOLDER, PHONES, Phones, pronounced, read_lexica
from earbench.kit.sampling import windows

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
TOY_PHONES = {"E": "EH1", "T": "T", "A": "AE1", "O": "OW0", "N": "N"}
LAYOUT = (
    "And two lexicon files of s3prl, not in its package but in its repository, folder s3prl/downstream/ctc/lexicon/\n"
    "(https://github.com/s3prl/s3prl), and in the folder lexicon/ of the data set s3prl/g2p on the Hugging Face hub:\n"
    f"  {LEXICA[0]}   {LEXICA[1]}\n"
    "  a word and its phones a line; the second has 14,716 lines. Put both beside the subsets, into the folder that\n"
    f"  holds LibriSpeech/, or into a folder {LEXICON_FOLDER}/ in one of these."
)


class PhonemeRecognition(Task):
    """Phones of LibriSpeech with stress by CTC, trained on 100 clean hours (SUPERB PR, sheet 2.1).

    Words become phones by lexicon lookup, nothing stands between words, and `<eos>` ends every target. A word that the
    lexicon lacks stops the run, as it stops s3prl's.
    """

    card = TaskCard(
        "pr",
        version=1,
        title="Phoneme recognition",
        corpus=replace(LIBRISPEECH, layout=f"{LIBRISPEECH.layout}\n{LAYOUT}"),
        grain="frame",
        metrics=(PER,),
        suite="superb",
        protocol="SUPERB PR",
        verified="vectors",
    )
    select = "per"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        fold = librispeech(root)
        train, valid, test = pronounced([fold.train, fold.valid, fold.test], read_lexica(_lexica(root)))
        return [Fold(train, valid, test)]

    def space(self, fold: Fold) -> Phones:
        return PHONES

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=16, steps=1_000, every=100, clip=1.0) for lr in (3e-3, 1e-3)]
        return [Recipe(lr=lr, batch=16, accum=2, steps=100_000, every=1_000, clip=1.0) for lr in RATES]

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        return windows(split, recipe.batch, [len(PHONES.encode(clip.label)) for clip in split.clips], rng)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(PHONES.encode(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return FramewiseCTC(width, hidden=256, space=PHONES)

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return spoken_phones(split, predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        """The toy of the recognisers, and a phone for each of its five letters; half of its words in each file."""
        write_toy(root, seed)
        (root / LEXICON_FOLDER).mkdir()
        for number, name in enumerate(LEXICA):
            lines = [f"{word}\t{' '.join(TOY_PHONES[letter] for letter in word)}\n" for word in WORDS[number::2]]
            (root / LEXICON_FOLDER / name).write_text("".join(lines), encoding="utf-8", newline="\n")


def _lexica(root: Path) -> list[Path]:
    """Both lexicon files, in the order in which they count."""
    found = {name: beside(root, name, LEXICON_FOLDER) for name in LEXICA}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise MissingCorpus(
            f"phonemes need two lexicon files beside LibriSpeech; not found: {', '.join(missing)}",
            f"looked in {', '.join(map(str, places_beside(root, LEXICON_FOLDER)))}",
        )
    return [path for path in found.values() if path]

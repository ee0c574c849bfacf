"""Speech recognition: what was said, letter by letter?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.errors import MissingExtra
from earbench.kit.beam import LEXICON, MODEL_FOLDER, MODELS, BeamSearch, check_installed
from earbench.kit.heads.ctc import RecurrentCTC
from earbench.kit.librispeech import LIBRISPEECH, beside, librispeech
from earbench.kit.librispeech_toy import write_toy
from earbench.kit.metrics.errors import CER, WER, transcripts
from earbench.kit.sampling import by_length
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import LETTERS, Characters
from earbench.kit.weights import file_digest

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LAYOUT = (
    "For `wer_lm`, a score of its own beside SUPERB's (pip install 'earbench[lm]'), if you like:\n"
    f"  {MODELS[-1]}            https://www.openslr.org/11; also as {MODELS[1]}, or as KenLM's binary {MODELS[0]}\n"
    f"  {LEXICON}   https://dl.fbaipublicfiles.com/fairseq/wav2vec/librispeech_lexicon.lst\n"
    f"  Put both beside the subsets, into the folder that holds LibriSpeech/, or into a folder {MODEL_FOLDER}/ in one\n"
    "  of these."
)


class SpeechRecognition(Task):
    """Letters of LibriSpeech by CTC, trained on 100 clean hours (SUPERB ASR, sheet 2.2).

    The protocol's batches of 32 are halved whenever the longest of them exceeds 2,000 samples, which always holds:
    `batch` is what remains. The score of SUPERB, `wer`, knows no language model; where the official one lies beside the
    corpus, the same head is also read with it: `wer_lm`.
    """

    card = TaskCard(
        "asr",
        version=1,
        title="Speech recognition",
        corpus=replace(LIBRISPEECH, layout=f"{LIBRISPEECH.layout}\n{LAYOUT}"),
        grain="frame",
        metrics=(WER, CER),
        suite="superb",
        protocol="SUPERB ASR",
        verified="vectors",
    )
    select = "wer"
    readings: Mapping[str, Mapping[str, Any]] = {"lm": {"lm": True}}
    beam: BeamSearch | None = None
    left_out = "not looked for"
    """Why there is no `wer_lm`."""

    def at(self, root: Path, upstream: UpstreamCard) -> Task:
        """With the readings that the files beside the corpus and the installed packages allow."""
        task = SpeechRecognition()
        task.beam, task.left_out = _language_model(root)
        task.readings = self.readings if task.beam else {}
        return task

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        """The language model is part of what the test split asks, so its content is part of the plan."""
        fold = librispeech(root)
        if self.beam is None:
            return [fold]
        files = {path.name: file_digest(path) for path in (self.beam.model, self.beam.lexicon)}
        return [replace(fold, test=replace(fold.test, truth={"language model": files}))]

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {} if self.beam else {"no-lm": f"wer_lm is left out: {self.left_out}"}

    def space(self, fold: Fold) -> Characters:
        return LETTERS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            small = {"hidden": 128, "time_limit": 1, "feature_limit": 1}  # few steps leave no room for masks: width 0
            return [Recipe(lr=2e-3, batch=16, steps=600, every=100, clip=1.0, options=small)]
        published = {"hidden": 1024, "time_limit": 40, "feature_limit": 50}
        return [Recipe(lr=lr, batch=16, steps=200_000, every=2_000, clip=1.0, options=published) for lr in RATES]

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        return by_length(split, recipe.batch, rng)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(LETTERS.encode(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        limits = {name: recipe.options[name] for name in ("time_limit", "feature_limit")}
        return RecurrentCTC(width, recipe.options["hidden"], LETTERS, SpecAugment(**limits), self.beam)

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return transcripts(split, predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        write_toy(root, seed)


def _language_model(root: Path) -> tuple[BeamSearch | None, str]:
    """The decoder with the first language model found beside the corpus, or None and why there is none."""
    lexicon = beside(root, LEXICON, MODEL_FOLDER)
    model = next((path for name in MODELS if (path := beside(root, name, MODEL_FOLDER))), None)
    if model is None or lexicon is None:
        return None, f"no {LEXICON if model else '4-gram.arpa.gz'} beside the corpus"
    try:
        check_installed()
    except MissingExtra:
        return None, "the extra 'lm' is not installed"
    search = BeamSearch(LETTERS, lexicon, model)
    search.check()
    return search, ""

"""Words from letters with a language model: flashlight's lexicon decoder over KenLM (SUPERB sheet 2.2)."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earbench.errors import MissingCorpus, MissingExtra
from earbench.kit.text import BLANK, Characters

MODELS = ("4-gram.bin", "4-gram.arpa", "4-gram.arpa.gz")
"""The official model in KenLM's own format, which loads fastest, unpacked, or as it is fetched; the first there is."""
LEXICON = "librispeech_lexicon.lst"
MODEL_FOLDER = "lm"
ARPA, BINARY = b"\\data\\", b"mmap lm http://kheafield.com/code"
"""How the two formats begin."""


@dataclass(frozen=True)
class BeamSearch:
    """The words of the best path through letters, lexicon and language model; the published settings by default.

    Each line of `lexicon` is a word and its letters, `|` the last. A path is worth its log probability, `lm_weight`
    times the model's log10 probability of its words from `<s>` to `</s>`, and `word_score` for each word; of paths that
    read alike the best one counts (no log-add). Words outside the lexicon cannot be said. Both files are read when
    the first clip is asked for: the official model takes minutes and gigabytes.
    """

    letters: Characters
    lexicon: Path
    model: Path
    beam: int = 5
    threshold: float = 25.0
    lm_weight: float = 2.0
    word_score: float = -1.0

    def __call__(self, logs: Tensor) -> str | None:
        """What is said in `logs` [time, letter], log probabilities; None where no path is left, as in s3prl."""
        emissions = logs.detach().to("cpu", torch.float32).contiguous()
        decoder, words = self._loaded
        found = decoder.decode(emissions.data_ptr(), *emissions.shape)
        return " ".join(words.get_entry(word) for word in found[0].words if word >= 0) if found else None

    def check(self) -> None:
        """Refuse a model file that does not begin as one, without reading it."""
        opened = gzip.open if self.model.suffix == ".gz" else open
        try:
            with opened(self.model, "rb") as file:
                head = file.read(512).lstrip()
        except (OSError, EOFError) as error:
            raise _unreadable(self.model, error) from None
        if not head.startswith(BINARY if self.model.suffix == ".bin" else ARPA):
            raise MissingCorpus(f"{self.model} is not a language model", "fetch it again, or take it away")

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The decoder and its words."""
        decoding, dictionary = (import_module(f"flashlight.lib.text.{name}") for name in ("decoder", "dictionary"))
        spellings = dictionary.load_words(str(self.lexicon))
        self._check(letter for spelled in spellings.values() for one in spelled for letter in one)
        words = dictionary.create_word_dict(spellings)
        try:
            model = import_module("flashlight.lib.text.decoder.kenlm").KenLM(str(self.model), words)
        except RuntimeError as error:
            raise _unreadable(self.model, error) from None
        space = self.letters.index("|")
        tree, start = decoding.Trie(len(self.letters), space), model.start(False)
        for word, spelled in spellings.items():
            number = words.get_index(word)
            alone = model.score(start, number)[1]
            for one in spelled:
                tree.insert([self.letters.index(letter) for letter in one], number, alone)
        tree.smear(decoding.SmearingMode.MAX)
        unknown = words.get_index("<unk>")
        return decoding.LexiconDecoder(self._options(decoding), tree, model, space, BLANK, unknown, [], False), words

    def _options(self, decoding: Any) -> Any:
        return decoding.LexiconDecoderOptions(
            beam_size=self.beam,
            beam_size_token=len(self.letters),
            beam_threshold=self.threshold,
            lm_weight=self.lm_weight,
            word_score=self.word_score,
            unk_score=float("-inf"),
            sil_score=0.0,
            log_add=False,
            criterion_type=decoding.CriterionType.CTC,
        )

    def _check(self, letters: Iterable[str]) -> None:
        unknown = sorted(set(letters).difference(self.letters))
        if unknown:
            raise MissingCorpus(
                f"{self.lexicon} spells words with symbols that the recogniser lacks: {', '.join(unknown[:10])}",
                "a line is a word, a tab and its letters: IT, I T |",
            )


def _unreadable(model: Path, error: Exception) -> MissingCorpus:
    reason = str(error).strip().splitlines()[-1]
    return MissingCorpus(f"{model} cannot be read: {reason}", "fetch it again, or take it away")


def check_installed() -> None:
    """Refuse to go on without flashlight-text and its KenLM."""
    try:
        import_module("flashlight.lib.text.decoder.kenlm")
    except ImportError:
        raise MissingExtra("flashlight-text", "lm", "decoding with a language model") from None

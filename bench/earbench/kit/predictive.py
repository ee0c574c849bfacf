"""What APC, VQ-APC and NPC share in s3prl: the layout of a checkpoint, its front end, and codebooks.

A file is `{"config": {"data": {"audio"}, "model": {"paras"}}, "model": weights}`. Front end: Kaldi's log mel energies
under a Hamming window, normalised per clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Features, Group
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import depth, only, section, setting, size, without
from earbench.kit.spectra import SAMPLE_RATE, Spectra

AUDIO = ("feat_type", "feat_dim", "frame_length", "frame_shift", "decode_wav", "cmvn")
UNHEARD = ("postnet.",)
"""The weights that map codes, or the last layer, to the spectrogram of training."""
LOGITS = ".vq_logits.weight"
CODES = "codes"


def read_predictive(file: Mapping[str, Any]) -> tuple[Spectra, dict[str, Any], dict[str, Any]]:
    """The front end, the settings of the network, and the weights that features depend on."""
    audio = section(file, "config", "data", "audio")
    if strangers := sorted(set(audio) - set(AUDIO)):
        raise BadCheckpoint(f"its settings change Kaldi's features in a way not known here: {', '.join(strangers)}")
    only(audio, feat_type="fbank")
    window, step = (
        round(setting(audio, key, float, usual) * SAMPLE_RATE / 1000)
        for key, usual in (("frame_length", 25.0), ("frame_shift", 10.0))
    )
    spectra = Spectra("hamming", setting(audio, "feat_dim", int), window, step, cmvn=setting(audio, "cmvn", bool, True))
    return spectra, section(file, "config", "model", "paras"), without(section(file, "model"), UNHEARD)


def books_of(state: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Size and width of each codebook; empty if there are none."""
    found = (size(state, f"vq_layers.{book}{LOGITS}") for book in range(depth(state, "vq_layers.", LOGITS)))
    return tuple((codes, width) for codes, width in found)


class Codebooks(nn.ModuleList):
    """Frames [clip, time, width] to codes of that width: each part of a frame becomes the code with the best score.

    `books` are the size of each codebook and the width of its part. In training codes are drawn by their scores.
    """

    def __init__(self, books: Sequence[tuple[int, int]]) -> None:
        super().__init__(
            nn.ModuleDict({"vq_logits": nn.Linear(width, count), "codebook_CxE": nn.Linear(count, width, bias=False)})
            for count, width in books
        )
        self.widths = [width for _, width in books]

    def forward(self, frames: Tensor) -> Tensor:
        parts = torch.split(frames, self.widths, 2)
        return torch.cat([code(book, part) for book, part in zip(self, parts, strict=True)], 2)


def code(book: Any, part: Tensor) -> Tensor:
    return functional.embedding(book["vq_logits"](part).argmax(2), book["codebook_CxE"].weight.T)


def code_groups(books: Sequence[tuple[int, int]], hop: float) -> dict[str, Group]:
    """What an encoder with these codebooks declares."""
    return {CODES: Group(1, sum(width for _, width in books), hop)} if books else {}


def with_codes(layers: Tensor, counts: Tensor, codebooks: Codebooks, spectra: Spectra) -> Features:
    """The features of `layers`; codes of the last one are the group "codes", where there are codebooks."""
    hop, first = spectra.step / SAMPLE_RATE, spectra.first
    groups = {CODES: Features(codebooks(layers[:, -1])[:, None], counts, hop, first)} if len(codebooks) else {}
    return Features(layers, counts, hop, first, groups=groups)

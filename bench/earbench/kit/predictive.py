"""What APC, VQ-APC and NPC share in s3prl: the layout of a checkpoint and its front end.

A file is `{"config": {"data": {"audio"}, "model": {"paras"}}, "model": weights}`. Front end: Kaldi's log mel energies
under a Hamming window, normalised per clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from earbench.errors import BadCheckpoint
from earbench.kit.from_file import only, section, setting, without
from earbench.kit.spectra import SAMPLE_RATE, Spectra

AUDIO = ("feat_type", "feat_dim", "frame_length", "frame_shift", "decode_wav", "cmvn")
UNHEARD = ("vq_layers.", "postnet.")
"""Weights behind the last layer: codes of it, and what maps those to the spectrogram of training."""


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

"""Mockingjay, TERA and Audio ALBERT (Liu et al. 2020, 2021; Chi et al. 2021): altered frames are restored by a BERT.

Protocol sheet upstreams §6.4 (front end, network), §10.4 (names). One network and one layout, s3prl's `states-N.ckpt`.
The file says which front end it was trained with: `mel` (or `linear`) of waves brought to one level, or Kaldi's.
States are the input of block 1 and the output of every block, after its norm.

Long clips. A network hears at most the `sequence_length` of its training at once: s3prl cuts a longer clip into equal
pieces that do not hear each other, and so do we, by the length of the clip where it goes by that of the padded batch.
Another difference: s3prl takes a frame whose bands happen to sum to 0 for padding at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import FromFile, depth, only, section, setting, size
from earbench.kit.masked import ACTIVATIONS, MaskedNet, MaskedShape
from earbench.kit.spectra import SAMPLE_RATE, Spectra, Spectrogram

INPUT = "input_representations.spec_transform.weight"
BLOCK = "encoder.layer."
INNER, QUERY = ".intermediate.dense.weight", ".attention.self.query.weight"


# ---- the encoders ----------------------------------------------------------------------------------------------------


class Mockingjay(FromFile):
    """Time alteration only. The published network has twelve blocks and was trained on pieces of five seconds."""

    card = UpstreamCard(
        "mockingjay",
        "Mockingjay",
        "Apache-2.0",
        weights="https://huggingface.co/s3prl/mockingjay/resolve/main/"
        "mockingjay_logMelLinearLarge_T_AdamW_b32_500k_360hr_drop1/states-500000.ckpt",
        parameters=85_118_208,
        sample_rate=SAMPLE_RATE,
        hop=0.01,
        layers=13,
        widths=(768,),
        normalise=True,
        parity="run",
    )
    public_shape: ClassVar[MaskedShape] = MaskedShape(blocks=12, longest=500)
    build = MaskedNet

    def __init__(self, net: nn.Module, shape: MaskedShape, source: Mapping[str, str]) -> None:
        super().__init__(net, shape, source)
        self.spectrogram = Spectrogram(shape.spectra)
        self.card = replace(self.card, normalise=shape.level is not None)

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[MaskedShape, dict[str, Tensor]]:
        shape, state = read_masked(file)
        if shape.shared != cls.public_shape.shared:
            raise BadCheckpoint(
                f"its blocks are {'one' if shape.shared else 'distinct'}, those of '{cls.card.name}' are not",
                "audio_albert@FILE takes files with one block, tera@FILE and mockingjay@FILE all others",
            )
        return shape, state

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        if self.shape.level is not None:
            waves = levelled(waves.float(), lengths, self.shape.level)
        frames, counts = self.spectrogram(waves, lengths)
        parts = [pieces(clip[:count], self.shape.longest) for clip, count in zip(frames, counts.tolist(), strict=True)]
        states = iter(self._states([piece for clip in parts for piece in clip]))
        whole = pad_sequence([torch.cat([next(states) for _ in clip]) for clip in parts], batch_first=True)
        return Features(whole.transpose(1, 2), counts, hop=self.hop, first=self.shape.spectra.first)

    def _states(self, pieces: list[Tensor]) -> list[Tensor]:
        """All states of each piece, [time, state, width]."""
        counts = torch.tensor([len(piece) for piece in pieces], device=pieces[0].device)
        states = self.net(pad_sequence(pieces, batch_first=True), counts).transpose(1, 2)
        return [clip[: len(piece)] for clip, piece in zip(states, pieces, strict=True)]


class Tera(Mockingjay):
    """Time, channel and magnitude alteration, on 960 hours; three blocks."""

    card = replace(
        Mockingjay.card,
        name="tera",
        family="TERA",
        weights="https://huggingface.co/s3prl/tera/resolve/main/"
        "tera_logMelBase_T_F_M_AdamW_b32_1m_960hr_drop1/states-1000000.ckpt",
        parameters=21_327_360,
        layers=4,
    )
    public_shape = MaskedShape()


class AudioAlbert(Mockingjay):
    """Mockingjay with one block applied three times; its parameters are counted once."""

    card = replace(
        Mockingjay.card,
        name="audio_albert",
        family="Audio ALBERT",
        weights="https://huggingface.co/s3prl/audio_albert/resolve/main/"
        "audio_albert_logMelBase_T_share_AdamW_b32_1m_960hr_drop1/states-1000000.ckpt",
        parameters=7_151_616,
        layers=4,
    )
    public_shape = MaskedShape(shared=True)


def levelled(waves: Tensor, lengths: Tensor, level: float) -> Tensor:
    """Each clip with a root mean square of `level` decibels over its true samples; silence stays silence."""
    rms = (waves.square().sum(1, keepdim=True) / lengths[:, None]).sqrt()
    return waves * (10.0 ** (level / 20.0) / (rms + 1e-10))


def pieces(frames: Tensor, longest: int) -> tuple[Tensor, ...]:
    """Frames [time, width] in as few pieces of at most `longest` as will do, all of one length but the last.

    >>> [len(piece) for piece in pieces(torch.zeros(11, 1), 5)]
    [4, 4, 3]
    """
    return frames.chunk(-(-len(frames) // longest)) if longest else (frames,)


# ---- what a file says ------------------------------------------------------------------------------------------------


def read_masked(file: Mapping[str, Any]) -> tuple[MaskedShape, dict[str, Tensor]]:
    """Shape and weights of a checkpoint; its settings are "Config" in old files, "Upstream_Config" in newer ones."""
    state = section(file, "Transformer")
    stated = next((file[key] for key in ("Config", "Upstream_Config") if is_settings(file.get(key))), None)
    if stated is None:
        raise BadCheckpoint("neither its Config nor its Upstream_Config describes a transformer")
    network, task = section(stated, "transformer"), section(stated, "task")
    only(network, pre_layer_norm=False, downsample_rate=1)
    spectra, level = read_front(section(stated, "audio"))
    width, inputs = size(state, INPUT)
    shape = MaskedShape(
        spectra,
        level,
        width,
        inner=size(state, BLOCK + "0" + INNER)[0],
        blocks=depth(state, BLOCK, QUERY),
        heads=setting(network, "num_attention_heads", int),
        activation=setting(network, "hidden_act", str),
        epsilon=setting(network, "layer_norm_eps", float),
        shared=setting(network, "share_layer", bool),
        longest=setting(task, "sequence_length", int),
    )
    check(shape, state, inputs)
    return shape, state


def is_settings(value: Any) -> bool:
    return isinstance(value, Mapping) and "transformer" in value


def check(shape: MaskedShape, state: Mapping[str, Tensor], inputs: int) -> None:
    """Refuse what would load and then be another network."""
    if inputs != shape.spectra.width:
        raise BadCheckpoint(f"its settings make {shape.spectra.width} bands, its {INPUT} takes {inputs}")
    if shape.activation not in ACTIVATIONS or shape.heads < 1 or shape.width % shape.heads or shape.longest < 0:
        raise BadCheckpoint(f"its settings describe no network: {shape}")
    if shape.shared and not all(torch.equal(value, state[first_of(key)]) for key, value in state.items()):
        raise BadCheckpoint("its settings say that all blocks are one, its weights differ from block to block")


def first_of(key: str) -> str:
    """The name that the weight `key` has in block 0; names outside of blocks stay.

    >>> first_of("encoder.layer.11.output.dense.bias")
    'encoder.layer.0.output.dense.bias'
    """
    return re.sub(rf"^{re.escape(BLOCK)}\d+\.", f"{BLOCK}0.", key)


def read_front(audio: Mapping[str, Any]) -> tuple[Spectra, float | None]:
    """The front end that a file was trained with, and the level of its waves."""
    if "kaldi" in audio:
        return read_kaldi(audio), None
    source = section(audio, "input")
    only(audio, sample_rate=SAMPLE_RATE)
    only(source, log=True)
    kind = setting(source, "feat_type", str)
    if kind not in ("mel", "linear"):
        raise BadCheckpoint(f"its settings ask for '{kind}' features; known here are mel, linear and Kaldi's fbank")
    window, step = (round(setting(audio, key, float) * SAMPLE_RATE / 1000) for key in ("win_ms", "hop_ms"))
    only(audio, n_freq=window // 2 + 1)
    found = Spectra(
        "linear" if kind == "linear" else "mel",
        setting(audio, "n_mels", int, 40),
        window,
        step,
        setting(source, "delta", int, 0),
        setting(source, "cmvn", bool, False),
    )
    return found, setting(audio, "target_level", float)


def read_kaldi(audio: Mapping[str, Any]) -> Spectra:
    only(section(audio, "kaldi"), feat_type="fbank")
    fbank, delta = section(audio, "kaldi", "fbank"), section(audio, "delta")
    known = ("num_mel_bins", "frame_length", "frame_shift", "use_log_fbank")
    if strangers := sorted(set(fbank) - set(known)):
        raise BadCheckpoint(f"its settings change Kaldi's features in a way not known here: {', '.join(strangers)}")
    only(fbank, use_log_fbank=True)
    only(delta, win_length=5)
    return Spectra(
        "povey",
        setting(fbank, "num_mel_bins", int, 23),
        round(setting(fbank, "frame_length", float, 25.0) * SAMPLE_RATE / 1000),
        round(setting(fbank, "frame_shift", float, 10.0) * SAMPLE_RATE / 1000),
        setting(delta, "order", int, 2),
        setting(section(audio, "cmvn"), "use_cmvn", bool),
    )

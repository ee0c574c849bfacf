"""BYOL-A (Niizumi et al. 2021): one augmented second of sound told from another view of itself, without negatives.

Protocol sheet upstreams §5.6 (front end, network), §10.2 (names). The files are for the evaluation of the paper only
and may not be passed on.

The statistics. Log energies are normalised by mean and deviation of a *corpus*, and the honest protocol takes those of
the downstream training set. An encoder here does not know its task: by default it has the published example, of Speech
Commands v2, as s3prl has it for every task. `byol_a:MEAN,DEVIATION@FILE` takes others, and they are in the record.

The mel scale. Pretraining used librosa's bank (Slaney's scale, area 1), the published demo torchaudio's (HTK's scale),
and the example statistics are those of the demo's: both default. `byol_a:MEAN,DEVIATION,slaney@FILE` takes librosa's,
whose energies lie about 4 lower: on 100 clips of Speech Commands we found -9.75 and 4.68.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, MissingWeights, RequestError
from earbench.kit.bands import Scale, mel_bank
from earbench.kit.frontends import EPSILON, centred_frames, reflected_power, zeroed
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

SAMPLE_RATE, WINDOW, STEP, BANDS, POOLED = 16_000, 1024, 160, 64, 8
FIRST = (POOLED - 1) / 2 * STEP / SAMPLE_RATE
"""The centre of frame 0 in seconds: the middle of its eight spectra."""
SIZE = "fc.0.weight"


@dataclass(frozen=True)
class FrontEnd:
    """Mean and deviation of log energies, and the scale of the bands that they belong to."""

    mean: float = -5.4919195
    deviation: float = 5.0389895
    scale: Scale = "htk"


class AudioNtt(nn.Module):
    """AudioNTT2020: normalised bands [clip, band, time] to frames [clip, time, width], eight times fewer, all >= 0.

    Behind each clip's `counts`, what a convolution sees are the zeros that its own padding would have been.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        blocks = ((nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64)) for channels in (1, 64, 64))
        self.features = nn.Sequential(*(part for block in blocks for part in (*block, nn.ReLU(), nn.MaxPool2d(2))))
        self.fc = nn.Sequential(
            nn.Linear(64 * BANDS // POOLED, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, bands: Tensor, counts: Tensor) -> Tensor:
        x = bands[:, None]
        for part in self.features:
            if isinstance(part, nn.Conv2d):
                x = x * (torch.arange(x.shape[3], device=x.device) < counts[:, None])[:, None, None]
            x = part(x)
            if isinstance(part, nn.MaxPool2d):
                counts = counts // 2
        frames: Tensor = self.fc(x.permute(0, 3, 2, 1).flatten(2))
        return frames


class ByolA(Upstream):
    """The last layer, 12.5 frames a second; a clip is their maximum plus their mean. `byol_a@FILE` takes any size."""

    card = UpstreamCard(
        "byol_a",
        "BYOL-A",
        "NTT evaluation only, no redistribution",
        weights="https://github.com/nttcslab/byol-a (pretrained_weights/AudioNTT2020-BYOLA-64x96d2048.pth)",
        parameters=5_321_856,
        sample_rate=SAMPLE_RATE,
        hop=POOLED * STEP / SAMPLE_RATE,
        layers=1,
        widths=(2048,),
        normalise=False,
        parity="run",
    )
    sample_rate, hop, layers = SAMPLE_RATE, POOLED * STEP / SAMPLE_RATE, 1
    any_size: ClassVar[bool] = True
    taper: Tensor
    bank: Tensor

    def __init__(self, net: nn.Module, width: int, source: Mapping[str, str], front: FrontEnd) -> None:
        super().__init__()
        self.net, self.width, self.source, self.front = net, width, source, front
        self.options = {"mean": front.mean, "deviation": front.deviation, "mel_scale": front.scale}
        bank = mel_bank(BANDS, WINDOW, SAMPLE_RATE, 60.0, 7_800.0, front.scale, area=front.scale == "slaney")
        self.register_buffer("taper", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        self.card = replace(type(self).card, parameters=parameters, widths=(width,))

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of the file, with the front end of `spec.argument`; with `~random` a fresh one of its size."""
        wanted, _, file = (spec.argument or f"@{spec.checkpoint or ''}").partition("@")
        front, width = front_end(wanted), cls.card.widths[0]
        if not file and not spec.random:
            raise MissingWeights(
                f"'{spec.name}' brings no weights, and their licence forbids to pass them on",
                f"they are at {cls.card.weights}; once the file is here, write",
                f"--upstream {spec.name}@FILE, or {spec.name}~random for the untrained twin",
            )
        state: dict[str, Any] = {}
        if file:
            state = public_weights(read_state(Path(file).expanduser()), Path(file).name)
            width = len(state[SIZE]) if cls.any_size else width
        net = fresh(width, spec.seed)
        if file:
            load_strict(net, state)
        if spec.random:
            return cls(fresh(width, spec.seed), width, {"weights": "random", "seed": str(spec.seed)}, front)
        path = Path(file).expanduser()
        return cls(net, width, {"weights": path.name, "sha256": file_digest(path)}, front)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        with torch.autocast(waves.device.type, enabled=False):
            energies = (reflected_power(waves.float(), lengths, self.taper, STEP) @ self.bank + EPSILON).log()
            bands = (energies - self.front.mean) / self.front.deviation
            spectra = centred_frames(lengths, STEP)
            counts = spectra // POOLED
            frames = zeroed(self.net(bands.transpose(1, 2), spectra), counts)
        return Features(frames[:, None], counts, hop=self.hop, first=FIRST)

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        features = self.encode(waves, lengths)
        return features.frames.amax(2) + features.pooled()  # frames are never negative, so the padding never wins


def sized(width: int, parameters: int) -> UpstreamCard:
    weights = ByolA.card.weights.replace("2048", str(width))
    return replace(ByolA.card, name=f"byol_a_{width}", parameters=parameters, widths=(width,), weights=weights)


class ByolA512(ByolA):
    card, any_size = sized(512, 600_192), False


class ByolA1024(ByolA):
    card, any_size = sized(1024, 1_649_792), False


class ByolA2048(ByolA):
    card, any_size = sized(2048, 5_321_856), False


def front_end(text: str) -> FrontEnd:
    """What `MEAN,DEVIATION` or `MEAN,DEVIATION,slaney` asks for; the published example if empty.

    >>> front_end("-9.75,4.68,slaney")
    FrontEnd(mean=-9.75, deviation=4.68, scale='slaney')
    """
    if not text:
        return FrontEnd()
    try:
        mean, deviation, scale = (*text.split(","), "htk")[:3]
        front = FrontEnd(float(mean), float(deviation), {"slaney": "slaney", "htk": "htk"}[scale])  # type: ignore[arg-type]
        if text.count(",") > 2 or not (math.isfinite(front.mean) and 0 < front.deviation < math.inf):
            raise ValueError
    except (ValueError, KeyError):
        raise RequestError(
            f"'{text}' are no statistics for BYOL-A",
            "write byol_a:MEAN,DEVIATION@FILE or byol_a:MEAN,DEVIATION,slaney@FILE, with a deviation above 0",
        ) from None
    return front


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by their public names: bare, or below "state_dict"."""
    inner = file.get("state_dict")
    state = strip_prefix(dict(inner if isinstance(inner, Mapping) else file), ("module.",))
    size = state.get(SIZE)
    if not isinstance(size, Tensor) or size.dim() != 2:
        raise BadCheckpoint(f"{name} holds no AudioNTT2020 network", f"expected {SIZE} (width, 512), and so on")
    return state


def fresh(width: int, seed: int) -> nn.Module:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return AudioNtt(width)

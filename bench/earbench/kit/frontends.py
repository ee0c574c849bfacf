"""Hand-made front-ends in plain torch: Kaldi features, short-time spectra, mel banks, deltas, normalisation.

Waves are [clip, sample], zero padded; `lengths` are true samples and `counts` true frames. Frames are
[clip, time, width], and each true frame is what its clip would give alone. Banks are [frequency, band], to stand on the
right of a product. The low triangles are hardly wider than one frequency, so that rounding their corners in float32
rather than float64 already moves a log energy by 2e-4: every table here is rounded where its reference (torchaudio,
librosa) rounds it. Protocol sheet: upstreams, section 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = torch.finfo(torch.float32).eps
"""The floor below every Kaldi logarithm."""


# ---- windows and banks -----------------------------------------------------------------------------------------------


def povey_window(size: int) -> Tensor:
    """Kaldi's default window: a symmetric Hann window to the power 0.85.

    >>> [round(float(value), 3) for value in povey_window(5)]
    [0.0, 0.555, 1.0, 0.555, 0.0]
    """
    return torch.hann_window(size, periodic=False).pow(0.85)


def kaldi_mel_bank(
    bands: int, size: int, sample_rate: int, low: float = 20.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Triangles that are straight on the *mel* axis, from `low` hertz to half the sample rate; peaks are near 1.

    `size` is the length of the transform: a power of two in Kaldi, not the window. The last frequency belongs to no
    band. torchaudio works in float32, which `dtype` is, transformers in float64.

    >>> tuple(kaldi_mel_bank(80, 512, 16_000).shape)
    (257, 80)
    """
    lowest, highest = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (low, sample_rate / 2))
    corners = lowest + torch.arange(bands + 2, dtype=dtype) * ((highest - lowest) / (bands + 1))
    bank = triangles(1127.0 * (1.0 + frequencies(size, sample_rate).to(dtype) / 700.0).log(), corners)
    bank[-1] = 0.0
    return bank


def htk_mel_bank(bands: int, size: int, sample_rate: int) -> Tensor:
    """Triangles that are straight on the *hertz* axis, with corners evenly spaced in HTK mels; peaks are near 1.

    >>> tuple(htk_mel_bank(80, 400, 16_000).shape)
    (201, 80)
    """
    mels = torch.linspace(0.0, 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0), bands + 2)
    return triangles(frequencies(size, sample_rate), 700.0 * (10.0 ** (mels / 2595.0) - 1.0))


def slaney_mel_bank(bands: int, size: int, sample_rate: int) -> Tensor:
    """librosa's default: corners evenly spaced on Slaney's scale, every triangle of area 1 hertz.

    The scale is linear below 1000 Hz (200/3 Hz to the mel) and logarithmic above (27 mels for a factor of 6.4).

    >>> bank = slaney_mel_bank(40, 1024, 16_000)
    >>> bool((bank.sum(0) * 16_000 / 1024 - 1).abs().max() < 0.02)
    True
    """
    knee, growth = 15.0, math.log(6.4) / 27.0
    top = knee + math.log(sample_rate / 2 / 1000.0) / growth
    mels = torch.linspace(0.0, top, bands + 2, dtype=torch.float64)
    hertz = torch.where(mels < knee, mels * 200.0 / 3.0, 1000.0 * (growth * (mels - knee)).exp())
    bank = triangles(frequencies(size, sample_rate).double(), hertz)
    return (bank * 2.0 / (hertz[2:] - hertz[:-2])).float()


def cepstral_matrix(bands: int, cepstra: int, lifter: float = 22.0) -> Tensor:
    """The cosine transform from log bands to liftered cepstra, [band, cepstrum]; orthonormal before the lifter."""
    order = torch.arange(cepstra, dtype=torch.float64)
    middle = torch.arange(bands, dtype=torch.float64)[:, None] + 0.5
    cosines = torch.cos(math.pi / bands * middle * order) * math.sqrt(2.0 / bands)
    cosines[:, 0] = math.sqrt(1.0 / bands)
    return (cosines * (1.0 + lifter / 2.0 * torch.sin(math.pi * order / lifter))).float()


def frequencies(size: int, sample_rate: int) -> Tensor:
    return torch.arange(size // 2 + 1) * (sample_rate / size)


def triangles(positions: Tensor, corners: Tensor) -> Tensor:
    """Height at `positions` of the triangles over each three neighbouring `corners`: [position, triangle].

    >>> triangles(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])).flatten().tolist()
    [0.5, 1.0, 0.0]
    """
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rise = (positions[:, None] - left) / (middle - left)
    fall = (right - positions[:, None]) / (right - middle)
    return torch.minimum(rise, fall).clamp_min(0.0)


# ---- Kaldi: frames that fit, mean removed, pre-emphasis --------------------------------------------------------------


def kaldi_fbank(waves: Tensor, taper: Tensor, step: int, bank: Tensor) -> Tensor:
    """Log mel energies of all frames that fit into the padded waves; `counts` of them are true (`fitting_frames`)."""
    return log_above(kaldi_power(kaldi_frames(waves, len(taper), step), taper) @ bank)


def kaldi_spectrogram(waves: Tensor, taper: Tensor, step: int) -> Tensor:
    """Log power spectra, with the frame's log energy in the place of bin 0.

    That energy is taken before pre-emphasis and window, and is at least 1 (log 0): Kaldi's floor for 16-bit samples,
    which here flattens all frames of quiet speech in [-1, 1].
    """
    frames = kaldi_frames(waves, len(taper), step)
    energy = frames.square().sum(-1, keepdim=True).clamp_min(1.0).log()
    return torch.cat([energy, log_above(kaldi_power(frames, taper)[..., 1:])], -1)


def kaldi_frames(waves: Tensor, size: int, step: int) -> Tensor:
    """Frames without their own mean, [clip, time, sample]; none reaches over an end (`snip_edges`)."""
    frames = waves.unfold(1, size, step)
    return frames - frames.mean(-1, keepdim=True)


def kaldi_power(frames: Tensor, taper: Tensor, emphasis: float = 0.97) -> Tensor:
    """Power spectra of pre-emphasised, windowed frames at the next power of two; the first sample precedes itself."""
    previous = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    size = 1 << (len(taper) - 1).bit_length()
    return power(torch.fft.rfft((frames - emphasis * previous) * taper, n=size))


def fitting_frames(lengths: Tensor, size: int, step: int) -> Tensor:
    """How many frames fit into each clip.

    >>> fitting_frames(torch.tensor([16_000, 1_600]), 400, 160).tolist()
    [98, 8]
    """
    return torch.div(lengths - size, step, rounding_mode="floor") + 1


def log_above(energy: Tensor, floor: float = EPSILON) -> Tensor:
    return energy.clamp_min(floor).log()


# ---- centred frames --------------------------------------------------------------------------------------------------


def reflected_power(waves: Tensor, lengths: Tensor, taper: Tensor, step: int) -> Tensor:
    """Power spectra of frames centred on every `step`-th sample, each clip mirrored at its own two ends.

    The transform is as long as the window. Clips must be longer than half a window.
    """
    return power(torch.fft.rfft(reflected(waves, lengths, len(taper) // 2).unfold(1, len(taper), step) * taper))


def zero_padded_power(waves: Tensor, taper: Tensor, step: int) -> Tensor:
    """Power spectra of frames centred on every `step`-th sample, with zeros beyond the ends."""
    padded = functional.pad(waves, (len(taper) // 2, len(taper) // 2))
    return power(torch.fft.rfft(padded.unfold(1, len(taper), step) * taper))


def reflected(waves: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Waves with `reach` mirrored samples before the first and after the *true* last one, which are not repeated.

    >>> reflected(torch.tensor([[1.0, 2.0, 3.0, 0.0]]), torch.tensor([3]), 2).tolist()
    [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]]
    """
    steps = torch.arange(reach, device=waves.device)
    tail = waves.gather(1, lengths[:, None] - 2 - steps)
    padded = torch.cat([waves[:, 1 : reach + 1].flip(1), functional.pad(waves, (0, reach))], 1)
    return padded.scatter(1, lengths[:, None] + reach + steps, tail)


def centred_frames(lengths: Tensor, step: int) -> Tensor:
    """How many frames are centred inside each clip, its very end included.

    >>> centred_frames(torch.tensor([16_000]), 160).tolist()
    [101]
    """
    return torch.div(lengths, step, rounding_mode="floor") + 1


def power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


# ---- along time, over true frames only -------------------------------------------------------------------------------


def with_deltas(frames: Tensor, counts: Tensor, order: int = 2) -> Tensor:
    """Frames, their slopes, the slopes of these and so on up to `order`, side by side."""
    parts = [frames]
    for _ in range(order):
        parts.append(deltas(parts[-1], counts))
    return torch.cat(parts, -1)


def deltas(frames: Tensor, counts: Tensor, reach: int = 2) -> Tensor:
    """Slope of the regression line through the `reach` frames on either side; the true end frames repeat outwards.

    >>> deltas(torch.tensor([[[0.0], [1.0], [2.0], [9.0]]]), torch.tensor([3])).flatten().tolist()[:3]
    [0.5, 0.6000000238418579, 0.5]
    """
    length = frames.shape[1]
    steps = torch.arange(-reach, length + reach, device=frames.device).clamp_min(0)
    index = torch.minimum(steps, counts[:, None] - 1)
    padded = frames.gather(1, index[..., None].expand(-1, -1, frames.shape[2]))
    slope = torch.zeros_like(frames)
    for k in range(1, reach + 1):
        slope += k * (padded[:, reach + k :][:, :length] - padded[:, reach - k :][:, :length])
    return slope / (2 * sum(k * k for k in range(1, reach + 1)))


def cmvn(frames: Tensor, counts: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Each feature less its mean over the clip's true frames, divided by its unbiased deviation plus `epsilon`.

    A feature that never changes becomes exactly 0, and so does a clip of one frame.

    >>> cmvn(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).flatten().tolist()[:2]
    [-0.7071067690849304, 0.7071067690849304]
    """
    # Measured from the first frame a constant is 0; a float32 mean of it may miss it, and epsilon would not hide that.
    rise = frames - frames[:, :1]
    total = counts[:, None, None].to(frames.dtype)
    centred = rise - zeroed(rise, counts).sum(1, keepdim=True) / total
    variance = zeroed(centred, counts).square().sum(1, keepdim=True) / (total - 1).clamp_min(1.0)
    return centred / (variance.sqrt() + epsilon)


def zeroed(frames: Tensor, counts: Tensor) -> Tensor:
    """The frames, with zeros in place of those beyond `counts`."""
    steps = torch.arange(frames.shape[1], device=frames.device)
    return torch.where((steps < counts[:, None])[..., None], frames, 0.0)

"""Ours beside s3prl's: clips that are unlike each other, and how far the features are apart."""

import importlib
import warnings

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

SECONDS = (1.0, 0.1, 0.7371, 1.28)


def module(name):
    """A module of s3prl. Some import distutils, which is deprecated, and torch's old weight norm warns when built."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"s3prl.upstream.{name}")
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        return pytest.skip(f"s3prl does not import here: {problem}")


def expert(name, path):
    """s3prl's own encoder of that family, from a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return module(f"{name}.expert").UpstreamExpert(str(path)).eval()


def speechlike(seconds=SECONDS):
    """Swelling tones over noise, as loud as speech."""
    clips = []
    for number, duration in enumerate(seconds):
        noise = torch.randn(round(16_000 * duration), generator=torch.Generator().manual_seed(number))
        time = torch.arange(len(noise)) / 16_000
        clips.append(0.3 * torch.sin(2 * torch.pi * 180 * time) * torch.sin(9 * time).abs() + 0.02 * noise)
    return clips


def batch(clips):
    return pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


@torch.no_grad()
def farthest(ours, theirs, seconds=SECONDS):
    """The largest difference of any layer between our padded batch and their clips one by one, which have no padding.

    `theirs` gives the states of a clip, [layer, time, width].
    """
    clips = speechlike(seconds)
    together = ours.encode(*batch(clips))
    worst = 0.0
    for number, clip in enumerate(clips):
        expected = theirs(clip)
        found = together.frames[number, :, : int(together.lengths[number])]
        assert found.shape == expected.shape
        worst = max(worst, float((found - expected).abs().max()))
    return worst


def states(found):
    """All states that an expert exposes."""
    return lambda clip: torch.stack([state[0] for state in found([clip])["hidden_states"]])


@torch.no_grad()
def farthest_codes(ours, theirs):
    """The largest difference between the group "codes" of our padded batch and s3prl's codes of clips one by one."""
    chosen, clips = [], speechlike()
    for book in theirs.model.vq_layers:
        book.register_forward_hook(lambda _module, _inputs, output: chosen.append(output[1]))
    codes = ours.encode(*batch(clips)).groups["codes"]
    worst = 0.0
    for number, clip in enumerate(clips):
        chosen.clear()
        theirs([clip])
        found = codes.frames[number, 0, : int(codes.lengths[number])]
        worst = max(worst, float((found - torch.cat(chosen, 2)[0]).abs().max()))
    return worst


def drawn(layout, seed=4):
    """Random tensors in that layout: no norm is the identity, no bias zero, and sums stay of the order of one."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in layout.items():
        fan = max(torch.Size(shape).numel() // max(shape[0], 1), 1) if len(shape) > 1 else 25
        norm = len(shape) == 1 and name.endswith("weight")
        found[name] = torch.randn(shape, generator=generator) / fan**0.5 + (1.0 if norm else 0.0)
    return found


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def shapes(state):
    """Names, shapes and types of a state dictionary."""
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items()}


def floats(layout):
    return {name: (shape, torch.float32) for name, shape in layout.items()}


def count(layout):
    return sum(torch.Size(shape).numel() for shape in layout.values())

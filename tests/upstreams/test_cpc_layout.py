"""Keys, shapes and types of the public CPC files (protocol sheet upstreams §10.1, from facebookresearch/CPC_audio)."""

import pytest
import torch

from earbench.kit.cpc import CpcNet, Shape

SIZES = (10, 8, 4, 4, 4)
PUBLISHED = {1: 1_843_456, 2: 2_369_792}
"""By layers of the LSTM: `60k_epoch4-d0f474de.pt` of that repository, and CPC2 (MarvinLvn/CPC2)."""


def public_layout(layers):
    shapes = {}
    for number, size in enumerate(SIZES):
        shapes[f"gEncoder.conv{number}.weight"] = (256, 256 if number else 1, size)
        shapes[f"gEncoder.conv{number}.bias"] = (256,)
        shapes |= {f"gEncoder.batchNorm{number}.{part}": (1, 256, 1) for part in ("weight", "bias")}
    for layer in range(layers):
        shapes |= {f"gAR.baseNet.weight_{way}_l{layer}": (1024, 256) for way in ("ih", "hh")}
        shapes |= {f"gAR.baseNet.bias_{way}_l{layer}": (1024,) for way in ("ih", "hh")}
    return shapes


@pytest.mark.parametrize("layers", PUBLISHED)
def test_networks_have_the_published_keys_shapes_types_and_sizes(layers):
    with torch.device("meta"):
        net = CpcNet(Shape(depth=layers))
    state = net.state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == public_layout(layers)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert sum(parameter.numel() for parameter in net.parameters()) == PUBLISHED[layers]

"""What upstreams/earbench_upstreams/README.md shows a submitter is true."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pretraining import noisy_speakers
from safetensors.torch import save_file

from earbench import registry
from earbench.contract import Spec, Upstream
from earbench.errors import BadCheckpoint
from earbench.pretrain.loop import Run, Schedule, train
from earbench.pretrain.speech import gather

README = Path(__file__).parents[2] / "upstreams" / "earbench_upstreams" / "README.md"
SCHEMES = {"features", "hear", "hear_alone", "hf", "py", "s3prl", "torchaudio"}
NAMES = sorted(set(registry.names("upstream")) - SCHEMES)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the code of the README defines."""
    names = {"__name__": "pebble_earbench"}
    for code in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL):
        if "np.save" in code:  # a program for another place: tests/test_features.py runs it there
            continue
        exec(compile(code, str(README), "exec"), names)
    return names


@pytest.fixture(scope="module")
def pebble(shown) -> type[Upstream]:
    return shown["Pebble"]


def test_the_example_loads_its_weights_and_refuses_to_go_without(pebble, tmp_path):
    trained = pebble()
    save_file(trained.state_dict(), tmp_path / "pebble.safetensors")
    loaded = pebble.load(Spec("", "pebble", checkpoint=str(tmp_path / "pebble.safetensors")))
    assert torch.equal(loaded.block.weight, trained.block.weight)
    with pytest.raises(BadCheckpoint):
        pebble.load(Spec("", "pebble"))


def test_the_example_has_the_declared_sizes_and_ignores_batch_mates(pebble):
    encoder = pebble.load(Spec("", "pebble", random=True, seed=1)).eval()
    waves, lengths = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0)), torch.tensor([8_000, 1_600])
    waves[1, 1_600:] = 0
    batched, single = encoder.encode(waves, lengths), encoder.encode(waves[1:, :1_600], lengths[1:])
    assert batched.frames.shape[1:] == (encoder.layers, int(batched.lengths[0]), encoder.width)
    assert torch.allclose(batched.frames[1, :, : int(batched.lengths[1])], single.frames[0], atol=1e-6)


def test_the_objective_trains_an_encoder_that_the_upstream_loads(shown, pebble, tmp_path, quiet):
    objective = shown["PebbleAhead"]()
    before = objective.encoder.front.weight.detach().clone()
    speech = gather(noisy_speakers(tmp_path / "speech"), tmp_path, objective.sample_rate, objective.window, quiet)
    run = Run(tmp_path, objective, Schedule(2, 2, objective.rate, every=1), speech, torch.device("cpu"))
    train(run, None, quiet)
    loaded = pebble.load(Spec("", objective.upstream, checkpoint=str(run.weights)))
    assert torch.equal(loaded.front.weight, objective.encoder.front.weight)
    assert not torch.equal(loaded.front.weight, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_states_each_encoder_once_with_its_size(name):
    card = registry.load("upstream", name).card
    (row,) = [line for line in README.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` ")]
    _, _, _, width, rate, parity, _ = (cell.strip() for cell in row.split("|"))
    assert int(width) == card.widths[0]
    assert float(rate.split()[0]) == pytest.approx(1 / card.hop, abs=0.05)
    assert parity.split(":")[0] == card.parity

import os
import subprocess
import sys

import pytest

from earbench.kit.seeds import derive, generator


def test_seed_is_blake2b_of_the_names():
    """Expected: printf "'silence'\\x1f'train'\\x1f3" | b2sum -l 64 is f0a1979bd8b2ca59; its lowest bit is dropped."""
    assert derive("silence", "train", 3) == 0xF0A1979BD8B2CA59 >> 1


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_seed_is_the_same_in_every_process(hash_seed):
    line = "from earbench.kit.seeds import derive; print(derive('ks', 1.5, None))"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    said = subprocess.run([sys.executable, "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert int(said.stdout) == derive("ks", 1.5, None)


def test_names_that_differ_give_other_seeds():
    names = [("a", "b"), ("ab",), ("b", "a"), ("a", "b", ""), ("1",), (1,), (1.0,), ("a\x1fb",), ("a'\x1f'b",), ()]
    seeds = [derive(*some) for some in names]
    assert len(set(seeds)) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_do_not_disturb_each_other():
    expected = generator("stage").random(3).tolist()
    other, again = generator("other"), generator("stage")
    drawn = [(other.random(), again.random())[1] for _ in range(3)]
    assert drawn == expected

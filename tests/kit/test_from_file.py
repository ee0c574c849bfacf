"""Encoders of one file that is fetched by hand: what holds for all of them, on a small one of our own."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from earbench.contract import Features, Spec, UpstreamCard
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.from_file import FromFile, depth, only, section, setting, size
from earbench.kit.weights import file_digest


@dataclass(frozen=True)
class PebbleShape:
    width: int = 4
    layers: int = 1
    hop: float = 0.01


class Pebble(FromFile):
    card = UpstreamCard("pebble", "pebble", "MIT", "https://example.org/pebbles/pebble.ckpt", parameters=4)
    public_shape = PebbleShape()

    @classmethod
    def read(cls, file):
        state = section(file, "net")
        return PebbleShape(size(state, "weight")[0]), state

    @classmethod
    def build(cls, shape):
        return nn.Linear(1, shape.width, bias=False)

    def encode(self, waves, lengths):
        return Features(self.net(waves[:, None, ::160, None]), lengths // 160, self.hop)


@pytest.fixture
def path(tmp_path):
    torch.save({"net": {"weight": torch.full((6, 1), 3.0)}}, tmp_path / "mine.ckpt")
    return tmp_path / "mine.ckpt"


def load(path=None, **more):
    return Pebble.load(Spec("", "pebble", checkpoint=path and str(path), **more))


def test_without_a_file_the_error_says_where_it_is_and_how_to_name_it():
    with pytest.raises(BadCheckpoint) as caught:
        load()
    assert "https://example.org/pebbles/pebble.ckpt" in str(caught.value)
    assert "--upstream pebble@pebble.ckpt, or pebble~random" in str(caught.value)


def test_an_argument_is_refused():
    with pytest.raises(RequestError, match=r"takes no argument, got ':large'\n  a file or folder is pebble@PATH"):
        load(argument="large", random=True)


def test_the_card_is_that_of_the_network_that_was_loaded(path):
    card = load(path).card
    assert (card.parameters, card.layers, card.widths, card.hop) == (6, 1, (6,), 0.01)
    assert load(path).options == {"width": 6, "layers": 1, "hop": 0.01}
    assert load(path).source == {"weights": "mine.ckpt", "sha256": file_digest(path)}


def test_the_licence_of_the_published_network_is_not_claimed_for_another(path):
    assert load(path).card.licence == "that of the file"
    torch.save({"net": {"weight": torch.ones(4, 1)}}, path)
    assert load(path).card.licence == "MIT"


def test_a_twin_is_drawn_from_the_seed_and_has_the_shape_of_the_file_if_there_is_one(path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other, twin, trained = (
        load(random=True, seed=1),
        load(random=True, seed=1),
        load(random=True, seed=2),
        load(path, random=True, seed=1),
        load(path),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.net.weight, again.net.weight)
    assert not torch.equal(one.net.weight, other.net.weight)
    assert (one.width, twin.width, trained.width) == (4, 6, 6)
    assert not torch.equal(twin.net.weight, trained.net.weight)
    assert twin.source == {"weights": "random", "seed": "1"}
    assert torch.equal(trained.net.weight, torch.full((6, 1), 3.0))


@pytest.mark.parametrize("random", [False, True])
def test_what_is_wrong_with_a_file_is_told_with_its_name(tmp_path, random):
    with pytest.raises(BadCheckpoint, match=r"no weight file at .*gone\.ckpt"):
        load(tmp_path / "gone.ckpt", random=random)
    torch.save({"model": {}}, tmp_path / "other.ckpt")
    with pytest.raises(BadCheckpoint, match=r"other\.ckpt: there is no 'net' in it, but model"):
        load(tmp_path / "other.ckpt", random=random)


def test_settings_have_the_type_that_is_expected_of_them():
    found = {"a": 3, "b": True, "c": 0.5, "d": "x", "e": None}
    assert (setting(found, "a", int), setting(found, "b", bool), setting(found, "c", float)) == (3, True, 0.5)
    assert type(setting(found, "a", float)) is float
    assert setting({"a": "1e-12"}, "a", float) == 1e-12  # as older configurations of s3prl have it
    assert (setting(found, "f", int, 7), setting(found, "d", str, "y")) == (7, "x")
    with pytest.raises(BadCheckpoint, match="its settings say a=nan"):
        setting({"a": "nan"}, "a", float)
    for key, kind in (
        ("b", int),
        ("b", float),
        ("c", int),
        ("a", bool),
        ("e", str),
        ("f", int),
        ("d", int),
        ("d", float),
    ):
        with pytest.raises(BadCheckpoint, match=f"its settings say {key}="):
            setting(found, key, kind)


def test_what_is_known_in_one_value_only_is_refused_in_another():
    only({"a": 1, "other": 2}, a=1, b=False)
    with pytest.raises(BadCheckpoint, match="its settings say a=2, b=True"):
        only({"a": 2, "b": True}, a=1, b=False)


def test_sections_and_sizes_that_are_not_there_are_named():
    assert section({"a": {"b": {1: 2}}}, "a", "b") == {"1": 2}
    with pytest.raises(BadCheckpoint, match=r"no 'a\.c' in it, but b"):
        section({"a": {"b": {}}}, "a", "c")
    with pytest.raises(BadCheckpoint, match="with 2 axes, which is missing"):
        size({}, "w")
    with pytest.raises(BadCheckpoint, match=r"with 2 axes, which is \(3,\)"):
        size({"w": torch.ones(3)}, "w")
    assert depth({"l.1.w": 0}, "l.", ".w") == 0

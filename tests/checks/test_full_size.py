"""Encoders at their published size: counts are exact, without allocating them; the table says what failed."""

from dataclasses import replace

import pytest
import torch
from fakes import CARD, CountingUpstream

from earbench import registry
from earbench.checks import full
from earbench.plan import load_upstream

COUNTED = [name for name in full.names() if registry.load("upstream", name).card.parameters is not None]


@pytest.mark.parametrize("name", COUNTED)
def test_there_are_exactly_as_many_parameters_as_the_card_says(name):
    assert full.counted(name) == registry.load("upstream", name).card.parameters


@pytest.mark.parametrize("name", ["cpc", "byol_a_512", "fonseca_crnn"])
def test_the_count_is_that_of_the_encoder_that_loads(name):
    assert full.counted(name) == sum(parameter.numel() for parameter in load_upstream(f"{name}~random").parameters())


def test_counting_allocates_nothing_and_draws_nothing():
    before = torch.get_rng_state()
    with torch.device("meta"):
        upstream = registry.load("upstream", "hubert_large").load(full.spec("hubert_large"))
    assert {parameter.device.type for parameter in upstream.parameters()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)


class Looks(CountingUpstream):
    """Looks at values while it is built, which the meta device does not have."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(int(torch.ones(3).sum().item())))


@pytest.fixture
def plugin(monkeypatch):
    """Makes a class be what every name stands for."""

    def plugin(kind):
        monkeypatch.setattr("earbench.registry.load", lambda *_: kind)
        monkeypatch.setattr(kind, "card", replace(CARD, pretraining="none"))

    return plugin


def test_an_encoder_that_cannot_be_built_on_meta_is_counted_all_the_same(plugin):
    plugin(Looks)
    assert full.counted("counting") == 3


def test_the_table_has_what_was_asked_for_and_the_code_is_0_where_all_is_well(capsys):
    assert full.main(["log_stft"]) == 0
    header, _, row = capsys.readouterr().out.strip().splitlines()
    assert header.split() == ["name", "parameters", "seconds", "of", "audio", "per", "second", "checks"]
    name, parameters, speed, *checks = row.split()
    assert (name, parameters, checks) == ("log_stft", "0", ["8", "ok"])
    assert float(speed.replace(",", "")) > 0


class Late(CountingUpstream):
    """Says twice its hop."""

    hop = 0.02


def test_what_failed_is_in_the_row(plugin):
    plugin(Late)
    row = full.examine("counting")
    assert row.passed + len(row.failed) == 8
    assert row.failed[0].startswith("declared sizes are true: ")


class Broken(CountingUpstream):
    def __init__(self):
        raise RuntimeError("no such luck")


def test_an_encoder_that_does_not_load_is_a_row(plugin):
    plugin(Broken)
    assert full.examine("counting") == full.Row("counting", failed=("RuntimeError: no such luck",))


def test_a_process_that_was_killed_is_a_row(monkeypatch):
    monkeypatch.setattr(full.sys, "executable", "false")
    assert full.examined_apart("cpc").failed == ("no answer: ended with code 1",)


def test_an_unknown_name_is_refused():
    with pytest.raises(SystemExit, match="no encoder called 'hubertt'"):
        full.main(["hubertt"])

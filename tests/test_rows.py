"""Pooled features that a device has no room for: they stay in the store's files, and no digit changes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds
from fitting import plan, rates

from earbench import extract
from earbench.examples import examples
from earbench.fit import grid, predict
from earbench.line import _constant
from earbench.rows import HeldRows, MappedRows
from earbench.search import open_fold, through
from earbench.simple import columns
from earbench.store import Damaged

RECIPES = rates(1e-2, 1e-3, steps=30)


class Loud(ListedTask):
    """Keyword spotting's own head and labels on noise, which is louder for one word than for the other."""


@pytest.fixture
def task(tmp_path):
    clips = noise_clips(tmp_path / "audio", [0.1 + 0.01 * (number % 7) for number in range(60)])
    gains = np.random.default_rng(0).normal(0, 6, len(clips)) + [-3.0, 3.0] * (len(clips) // 2)
    named = (
        replace(clip, label=("yes", "no")[number % 2], effects=(("gain_db", float(gain)),))
        for number, (clip, gain) in enumerate(zip(clips, gains, strict=True))
    )
    return Loud(thirds(tuple(named)))


@pytest.fixture
def opened(task, settings, quiet, monkeypatch):
    """The fold of the task and its shelf, in shards of a few clips, with or without room for features."""
    monkeypatch.setattr(extract, "SHARD_BYTES", 100)

    def opened(room):
        monkeypatch.setattr(extract, "memory", lambda _: room)
        one, found = cell(CountingUpstream(), task), prepared(task, Path("unused"), settings, quiet)
        shelf = extract.extract(one, found, settings.with_(pack_seconds=1.0), settings.cache, quiet)
        return open_fold(one, plan(RECIPES), found.folds[0], shelf, settings.cache / "fits" / str(room)), shelf

    return opened


def said(bench, shelf, quiet):
    """Everything that is trained on, judged by or answered from the features."""
    test = examples(bench.task, bench.fold.test, None, shelf, bench.device)
    found = []
    for one, seen in ((bench, test), (through(bench, 1), test.layer(1))):
        heads = grid(one, [0, 1], 0, None, quiet)
        found.append([(head.curve, [value.tolist() for value in head.state.values()]) for head in heads])
        found.append([predict(one, head, seen, [{}]) for head in heads])
    return [*found, columns(bench, test, quiet), columns(bench, test, quiet, only=1)]


def test_features_that_have_no_room_on_the_device_give_the_same_digits(opened, quiet):
    held, shelf = opened(math.inf)
    mapped, other = opened(0.0)
    assert isinstance(held.train.rows, HeldRows)
    assert isinstance(mapped.train.rows, MappedRows)
    assert len(mapped.train.rows.files) > 3, "one file alone would show little"
    assert (shelf.cost()["features"], other.cost()["features"]) == ("resident", "mapped")
    first, second = said(held, shelf, quiet), said(mapped, other, quiet)
    assert first == second
    assert len({curve for curve, _ in first[0]}) == 2, "rates that do the same show nothing"


def test_rows_come_in_the_order_asked_for(opened):
    held, mapped = opened(math.inf)[0].train.rows, opened(0.0)[0].train.rows
    numbers = torch.tensor([5, 0, 5, 19, 3])
    assert held.shape == mapped.shape == (20, 2, 3)
    assert torch.equal(mapped.take(numbers), held.take(numbers))
    assert torch.equal(mapped.layer(1).take(numbers), held.take(numbers)[:, 1:])
    assert torch.equal(mapped.layer(1).matrix(0), held.matrix(1))


def test_constant_features_are_found_wherever_they_lie(opened, quiet, monkeypatch, capsys):
    monkeypatch.setattr("earbench.line.CONSTANT", 1e9)
    for room in (math.inf, 0.0):
        bench, _ = opened(room)
        (note,) = _constant(cell(CountingUpstream(), bench.task), bench, quiet)
        assert note.startswith("6 of 6 pooled features")
    assert capsys.readouterr().err.count("warning") == 2


def test_files_that_went_away_before_they_were_opened_are_an_error(opened):
    bench, shelf = opened(0.0)
    for path in shelf.store.folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(Damaged):
        examples(bench.task, bench.fold.test, None, shelf, bench.device)

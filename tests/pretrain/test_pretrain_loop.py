"""The training loop: what is written, what may change between two commands, and what is refused."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from pretraining import Toy, toy_run
from safetensors.torch import load_file, save_file

from earbench.errors import BadCheckpoint, BenchError, RequestError
from earbench.pretrain import loop
from earbench.pretrain.loop import train


@pytest.fixture(autouse=True)
def few_valid_batches(monkeypatch):
    monkeypatch.setattr(loop, "VALID_BATCHES", 3)


def weights(run):
    return load_file(run.folder / "checkpoint.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def untimed(run):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.log]


# ---- what a run leaves -----------------------------------------------------------------------------------------------


def test_a_run_leaves_a_log_the_encoder_a_checkpoint_and_what_was_asked_for(tmp_path, quiet):
    run = toy_run(tmp_path, steps=5, every=2)
    train(run, None, quiet)
    names = {"checkpoint.safetensors", "weights.safetensors", "log.csv", "run.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert torch.equal(load_file(run.weights)["layer"], run.objective.layer.weight)
    asked = json.loads((tmp_path / "run.json").read_text())
    assert asked["objective"] == "Toy"
    assert (asked["schedule"]["steps"], asked["schedule"]["batch"], asked["speech"]["digest"]) == (5, 4, "abc")


def test_pandas_reads_the_log_as_numbers(tmp_path, quiet):
    run = toy_run(tmp_path, steps=5, every=2, probe_every=2)
    train(run, lambda path: 50.0 if path == run.weights else 0.0, quiet)
    table = pd.read_csv(tmp_path / "log.csv")
    assert table["step"].tolist() == [2, 4, 5]
    columns = ["step", "seconds", "loss", "accuracy", "valid_loss", "valid_accuracy", "probe"]
    assert table.columns.tolist() == columns
    assert table.dtypes.map(pd.api.types.is_numeric_dtype).all()
    assert table["loss"].tolist() == [line["loss"] for line in run.log]
    assert table["probe"].tolist() == [50.0, 50.0, 50.0]


def test_the_loss_in_the_log_is_the_mean_since_the_line_before(tmp_path, quiet):
    each, all_ = toy_run(tmp_path / "1", steps=4, every=1), toy_run(tmp_path / "4", steps=4, every=4)
    train(each, None, quiet)
    train(all_, None, quiet)
    assert all_.log[0]["loss"] == pytest.approx(np.mean([line["loss"] for line in each.log]))
    assert all_.log[0]["valid_loss"] == each.log[3]["valid_loss"]


@pytest.mark.parametrize(
    ("every", "probe_every", "probed"),
    [(2, 3, [4, 6, 9]), (2, 4, [4, 8, 9]), (3, 1, [3, 6, 9]), (1, 100, [9]), (9, 4, [9])],
)
def test_probes_come_with_the_first_judgement_after_their_interval_and_at_the_end(
    tmp_path, quiet, every, probe_every, probed
):
    run = toy_run(tmp_path, steps=9, every=every, probe_every=probe_every)
    train(run, lambda _: 1.0, quiet)
    assert [line["step"] for line in run.log if line["probe"] != ""] == probed


# ---- what is heard ---------------------------------------------------------------------------------------------------


def test_training_hears_no_held_out_sample_and_judgement_nothing_else(tmp_path, quiet):
    run = toy_run(tmp_path, steps=20, every=5)
    train(run, None, quiet)
    places = {split: np.concatenate(run.objective.of(split)) * 32768 for split in ("train", "valid")}
    held_out = {split: ((at >= 5_000) & (at < 6_000)) | (at >= 11_000) for split, at in places.items()}
    assert not held_out["train"].any()
    assert held_out["valid"].all()


def test_every_judgement_hears_the_same_and_every_step_something_else(tmp_path, quiet):
    run = toy_run(tmp_path, steps=6, every=2)
    train(run, None, quiet)
    judged = np.stack(run.objective.of("valid")).reshape(3, loop.VALID_BATCHES, 4, 160)
    assert (judged == judged[0]).all()
    assert len({waves.tobytes() for waves in run.objective.of("train")}) == 6


def test_a_step_hears_the_same_however_often_the_run_is_judged(tmp_path, quiet):
    often, seldom = toy_run(tmp_path / "1", every=1), toy_run(tmp_path / "6", every=6)
    train(often, None, quiet)
    train(seldom, None, quiet)
    assert np.array_equal(often.objective.of("train"), seldom.objective.of("train"))
    assert torch.equal(often.objective.layer.weight, seldom.objective.layer.weight)


def test_perturbed_batches_are_used_for_training_only(tmp_path, quiet):
    plain, perturbed = toy_run(tmp_path / "plain"), toy_run(tmp_path / "perturbed", perturbed=True)
    train(plain, None, quiet)
    train(perturbed, None, quiet)
    assert np.array_equal(plain.objective.of("valid"), perturbed.objective.of("valid"))
    assert not any(map(np.array_equal, plain.objective.of("train"), perturbed.objective.of("train")))
    assert {waves.shape for waves in perturbed.objective.of("train")} == {(4, 160)}


# ---- going on --------------------------------------------------------------------------------------------------------


def interrupted(number):
    if number == 5:
        raise KeyboardInterrupt
    return 1.0


def test_a_run_that_was_interrupted_goes_on_to_the_same_digits(tmp_path, quiet):
    undisturbed = toy_run(tmp_path / "undisturbed", every=3, perturbed=True)
    train(undisturbed, None, quiet)
    with pytest.raises(KeyboardInterrupt):
        train(toy_run(tmp_path / "out", every=3, perturbed=True, objective=Toy(interrupted)), None, quiet)
    again = toy_run(tmp_path / "out", every=3, perturbed=True)
    train(again, None, quiet)
    assert len(again.objective.of("train")) == 3  # steps 4, 5 and 6
    assert untimed(again) == untimed(undisturbed)
    assert same(weights(again), weights(undisturbed))


def test_more_steps_and_other_intervals_go_on_where_the_run_ended(tmp_path, quiet):
    long = toy_run(tmp_path / "long", steps=8, every=4)
    train(long, None, quiet)
    train(toy_run(tmp_path / "out", steps=4, every=4), None, quiet)
    more = toy_run(tmp_path / "out", steps=8, every=4)
    train(more, None, quiet)
    assert len(more.objective.of("train")) == 4
    assert untimed(more) == untimed(long)
    assert same(weights(more), weights(long))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["schedule"]["steps"] == 8


def test_a_finished_run_is_told_again_without_a_step(tmp_path, quiet):
    train(toy_run(tmp_path), None, quiet)
    again = toy_run(tmp_path)
    train(again, None, quiet)
    assert again.objective.seen == []
    assert [line["step"] for line in again.log] == [2, 4, 6]


OTHERS = {
    "batch 4 (now 8)": {"batch": 8},
    "rate 0.05 (now 0.01)": {"rate": 0.01},
    "seed 0 (now 1), digest abc (now def)": {"seed": 1, "digest": "def"},
    "perturbed False (now True)": {"perturbed": True},
    "digest abc (now def)": {"digest": "def"},
}


@pytest.mark.parametrize("said", OTHERS)
def test_going_on_with_something_else_is_refused_and_the_difference_named(tmp_path, quiet, said):
    train(toy_run(tmp_path), None, quiet)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RequestError) as caught:
        train(toy_run(tmp_path, steps=8, **OTHERS[said]), None, quiet)
    assert str(caught.value) == (
        f"{tmp_path} holds a run that began with {said}\n  give the same again, or another --out"
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


class Other(Toy):
    """Another method with weights of the same names."""


def test_another_method_is_refused(tmp_path, quiet):
    train(toy_run(tmp_path), None, quiet)
    with pytest.raises(RequestError, match=r"objective Toy \(now Other\)"):
        train(toy_run(tmp_path, objective=Other()), None, quiet)


def test_fewer_steps_than_were_done_are_refused(tmp_path, quiet):
    train(toy_run(tmp_path), None, quiet)
    with pytest.raises(RequestError, match=r"holds a run of 6 steps, more than --steps 3"):
        train(toy_run(tmp_path, steps=3), None, quiet)


# ---- when things go wrong --------------------------------------------------------------------------------------------


def flipped(path):
    """One bit of the last tensor."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a flipped bit": flipped,
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"<html>" * 99),
    "weights without what was said of them": lambda path: save_file(load_file(path), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_an_error_and_is_left_where_it_is(tmp_path, quiet, damage):
    train(toy_run(tmp_path), None, quiet)
    path = tmp_path / "checkpoint.safetensors"
    DAMAGES[damage](path)
    before = path.read_bytes()
    with pytest.raises(BadCheckpoint, match=r"checkpoint.safetensors is damaged(?s:.*)begins at the first step"):
        train(toy_run(tmp_path, steps=8), None, quiet)
    assert path.read_bytes() == before


def test_a_run_that_goes_astray_ends_with_the_last_sound_checkpoint(tmp_path, quiet):
    sound = toy_run(tmp_path / "sound", steps=4)
    train(sound, None, quiet)
    astray = Toy(lambda number: float("nan") if number > 4 else 1.0)
    with pytest.raises(BenchError, match=r"went astray by step 6: the loss is nan"):
        train(toy_run(tmp_path / "out", objective=astray), None, quiet)
    assert same(load_file(tmp_path / "out" / "checkpoint.safetensors"), weights(sound))
    assert same(load_file(tmp_path / "out" / "weights.safetensors"), load_file(sound.weights))

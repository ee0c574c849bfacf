"""`bench pretrain`, as it is typed: what comes of it, and what it refuses before any work."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from pretraining import noisy_speakers, shrink
from safetensors.torch import save_file
from typer.testing import CliRunner

from earbench.cli import app
from earbench.kit.cpc import Shape, fresh
from earbench.plan import load_upstream
from earbench.pretrain import command, loop, speech
from earbench.pretrain.probe import guesses, probe
from earbench_tasks.hear import PITCH

REAL = Path(__file__).parents[3] / "shared" / "data" / "librispeech_sample"


@pytest.fixture
def config(toy, tmp_path):
    """A bench.toml under which the probe's corpus is the toy one."""
    path = tmp_path / "bench.toml"
    path.write_text(f'[run]\ndevice = "cpu"\n[cache]\ndir = "cache"\n[data]\nspeech_commands_v1 = "{toy}"\n')
    return path


@pytest.fixture
def root(tmp_path):
    return noisy_speakers(tmp_path / "speech")


@pytest.fixture
def pretrain(config, root, monkeypatch):
    """The command on a folder of noise and with two batches for judgement; what it printed."""
    monkeypatch.setattr(loop, "VALID_BATCHES", 2)

    def run(*words, code=0, data=root, method="cpc"):
        done = CliRunner().invoke(app, ["pretrain", method, "--data", str(data), "--config", str(config), *words])
        assert done.exit_code == code, done.output
        return done

    return run


# ---- what comes of it ------------------------------------------------------------------------------------------------


def test_a_run_is_told_with_its_log_its_probe_and_how_to_use_it(pretrain, tmp_path, monkeypatch):
    shrink(monkeypatch)
    words = ("--steps", "3", "--every", "1", "--probe-every", "2", "--batch", "1", "--out", str(tmp_path / "out"))
    done = pretrain(*words)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["step", "seconds", "loss", "accuracy", "valid_loss", "valid_accuracy", "probe"]
    assert [len(line.split()) for line in lines[2:5]] == [6, 7, 7]  # probed at step 2, and at the end
    assert f"use it: bench run --upstream cpc@{tmp_path / 'out' / 'weights.safetensors'} --task ks" in lines
    assert f"in the published layout: {tmp_path / 'out' / 'published.pt'}" in lines
    assert pretrain(*words).stdout == done.stdout  # finished: the same is told again


def test_json_is_one_document_and_its_upstream_runs(pretrain, monkeypatch):
    shrink(monkeypatch)
    done = pretrain("--steps", "2", "--every", "1", "--batch", "1", "--probe", "none", "--json")
    found = json.loads(done.stdout)
    assert [line["step"] for line in found["log"]] == [1, 2]
    assert found["speech"]["speakers"] == 2
    encoder = load_upstream(found["upstream"])
    assert encoder.encode(torch.zeros(1, 1_600), torch.tensor([1_600])).frames.shape == (1, 2, 10, 16)
    published = load_upstream(f"cpc@{found['published']}")
    assert torch.equal(published.net.gEncoder.conv0.weight, encoder.net.gEncoder.conv0.weight)


def test_without_out_the_same_data_is_the_same_folder_again(pretrain, tmp_path, monkeypatch):
    shrink(monkeypatch)
    words = ("--every", "1", "--batch", "1", "--probe", "none", "--json")
    first = json.loads(pretrain("--steps", "1", *words).stdout)
    second = json.loads(pretrain("--steps", "2", *words).stdout)
    assert first["upstream"] == second["upstream"]
    assert first["log"] == second["log"][:1]
    assert Path(first["published"]).parent.parent == tmp_path / "cache" / "pretrained"


def test_the_first_weights_come_from_the_seed(pretrain, tmp_path, monkeypatch):
    shrink(monkeypatch)
    losses = []
    for number, seed in enumerate(("1", "1", "2")):
        words = ("--steps", "1", "--every", "1", "--batch", "1", "--probe", "none", "--json", "--seed", seed)
        found = json.loads(pretrain(*words, "--out", str(tmp_path / str(number))).stdout)
        losses.append(found["log"][0]["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_the_probe_tells_separable_classes_apart_and_chance_from_that():
    rng = torch.Generator().manual_seed(0)
    labels = [("yes", "no")[number % 2] for number in range(40)]
    noise = torch.randn(40, 6, generator=rng).double()
    apart = noise + 5 * torch.tensor([[1.0], [-1.0]]).repeat(20, 1)
    assert list(guesses(apart[:20].numpy(), labels[:20], apart[20:].numpy())) == labels[20:]
    assert list(guesses(noise[:20].numpy(), labels[:20], noise[20:].numpy())) != labels[20:]


def test_a_task_whose_labels_stand_in_its_corpus_can_be_probed(tmp_path, settings, quiet):
    PITCH.load(None).toy(tmp_path / "hear", 0)
    save_file(fresh(Shape(width=16), 0).state_dict(), tmp_path / "weights.safetensors")
    score = probe("cpc", "pitch", str(tmp_path / "hear"), settings, quiet)
    assert 0 <= score(tmp_path / "weights.safetensors") <= 1


@pytest.mark.skipif(not REAL.is_dir(), reason="the LibriSpeech utterances of ../shared/data are not here")
def test_real_speech_trains_goes_on_and_its_checkpoint_runs(pretrain, tmp_path):
    words = ("--batch", "1", "--every", "1", "--probe", "none", "--json", "--out", str(tmp_path / "out"))
    first = pretrain("--steps", "1", *words, data=REAL)
    assert "1 of 6 speakers have less than 6.4 s of audio and are left out" in first.stderr
    found = json.loads(pretrain("--steps", "2", *words, data=REAL).stdout)
    assert found["speech"] | {"digest": ""} == {
        "files": 9,
        "speakers": 5,
        "left_out": 1,
        "minutes": 1.7,
        "digest": "",
    }
    assert [line["step"] for line in found["log"]] == [1, 2]
    assert found["log"][1]["loss"] == pytest.approx(4.86, abs=0.05)
    assert pd.read_csv(tmp_path / "out" / "log.csv")["step"].tolist() == [1, 2]
    encoder = load_upstream(found["upstream"])
    assert sum(weight.numel() for weight in encoder.parameters()) == 1_843_456


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(pretrain, monkeypatch):
    """What the command says on stderr when it gives up before anything is decoded, built or trained."""
    worked = []
    monkeypatch.setattr(speech, "_decode", lambda *_: worked.append("decoded"))
    monkeypatch.setattr(command, "train", lambda *_: worked.append("trained"))
    monkeypatch.setattr("earbench.demo.build.build", lambda *_: worked.append("built"))

    def said(*words, code=2, **more):
        done = pretrain(*words, code=code, **more)
        assert worked == []
        return done.stderr

    return said


@pytest.mark.parametrize("option", ["--steps", "--batch", "--rate", "--every", "--probe-every"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_numbers_that_are_not_positive_are_refused_by_their_name(refused, option, value):
    assert f"error: {option} must be positive, got {value}" in refused(option, value)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_learning_rate_that_is_no_number_is_refused(refused, value):
    assert f"--rate must be positive, got {value}" in refused("--rate", value)


def test_an_unknown_method_is_told_with_what_there_is(refused):
    assert refused(method="cpcc") == "error: no way of pretraining called 'cpcc'\n  there is: cpc\n"


def test_an_unknown_probe_task_is_told_with_what_is_close(refused):
    assert "error: no task called 'kss'\n  did you mean: ks" in refused("--probe", "kss")


def test_a_probe_task_about_frames_is_refused(refused):
    assert "'asr' asks about frames; the probe needs one that pools" in refused("--probe", "asr")


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_left_behind(refused, tmp_path):
    said = refused("--out", str(tmp_path / "out"), data=tmp_path / "gone")
    assert f"error: {tmp_path / 'gone'} is not a folder" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_without_audio_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no audio below" in refused(data=tmp_path / "empty")


def test_a_place_that_cannot_be_written_is_said_before_the_work(refused, tmp_path):
    (tmp_path / "file").touch()
    said = refused("--out", str(tmp_path / "file" / "out"), code=1)
    assert f"error: cannot write a pretraining run to {tmp_path / 'file' / 'out'}" in said

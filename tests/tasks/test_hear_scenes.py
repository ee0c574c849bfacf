"""HEAR scene tasks: what their folder states, and the published protocol."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earbench import commands, line
from earbench.contract import UpstreamCard
from earbench.errors import BenchError, RequestError
from earbench.kit import hear_layout
from earbench.kit.heads.shallow import grid
from earbench.plan import Request, load_task
from earbench_tasks.hear_scenes import Pitch

CARD = UpstreamCard("none", "none", "none", "none", sample_rate=16_000)
PITCHES = (60, 61, 72)
SHARED = Path(__file__).parents[3] / "shared" / "data"


def tone(pitch, seconds=0.3, loudness=0.3):
    return loudness * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(round(seconds * 16_000)) / 16_000)


def write(root, name="nsynth_pitch-v2.2.3-5h", played=None, **facts):
    """A pitch folder: every split plays every pitch twice, unless `played` says otherwise."""
    splits = facts.pop("splits", ("train", "valid", "test"))
    clips = {split: [(f"bass_{take}-{pitch}.wav", pitch, tone(pitch)) for take in "ab" for pitch in PITCHES]
             for split in splits}  # fmt: skip
    stated = {"split_mode": "trainvaltest", "evaluation": ["pitch_acc", "chroma_acc"], **facts}
    hear_layout.write(root / name, stated, PITCHES, {**clips, **(played or {})})
    return root


def change(root, name="nsynth_pitch-v2.2.3-5h", **facts):
    path = root / name / "task_metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def opened(root, card=CARD):
    task = Pitch().at(root, card)
    return task, task.folds(root, card)


def values(task, fold, said):
    rows = task.rows(fold.test, said)
    return [metric.value(rows, np.ones(len(rows))) for metric in task.card.metrics]


def test_metrics_and_selection_are_those_of_the_folder(tmp_path):
    task, _ = opened(write(tmp_path / "one"))
    assert [metric.name for metric in task.card.metrics] == ["pitch_acc", "chroma_acc"]
    assert task.select == "pitch_acc"
    task, _ = opened(write(tmp_path / "two", evaluation=["top1_acc"]))
    assert [metric.name for metric in task.card.metrics] == ["top1_acc"]
    assert (task.select, Pitch.select) == ("top1_acc", "pitch_acc")
    assert Pitch.card.metrics[0].name == "pitch_acc"


def test_a_folder_may_ask_for_the_loss_to_steer(tmp_path):
    task, _ = opened(write(tmp_path, use_scoring_for_early_stopping=False))
    assert task.select == "loss"


def test_an_octave_is_wrong_as_a_pitch_and_right_as_a_chroma(tmp_path):
    """Class numbers count, as in the reference: 60, 61, 72 are classes 0, 1, 2 here, so no octave is twelve classes."""
    splits = {split: [(f"{pitch}.wav", pitch, tone(pitch)) for pitch in range(60, 73)] for split in ("train", "valid")}
    test = {"test": [(f"{take}-{pitch}.wav", pitch, tone(pitch)) for take in "ab" for pitch in (60, 72)]}
    facts = {"split_mode": "trainvaltest", "evaluation": ["pitch_acc", "chroma_acc"]}
    hear_layout.write(tmp_path / "nsynth_pitch-v2.2.3-5h", facts, range(60, 73), {**splits, **test})
    task, (fold,) = opened(tmp_path)
    assert values(task, fold, {clip.id: "72" for clip in fold.test.clips}) == [0.5, 1.0]
    assert values(task, fold, {clip.id: "71" for clip in fold.test.clips}) == [0.0, 0.0]


def test_notes_of_an_instrument_are_resampled_together(tmp_path):
    _, (fold,) = opened(write(tmp_path / "one"))
    assert {clip.group for clip in fold.test.clips} == {"bass_a", "bass_b"}
    _, (fold,) = opened(write(tmp_path / "two", "another-v1-full"))
    assert {clip.group for clip in fold.test.clips} == {clip.audio.name for clip in fold.test.clips}


def test_what_was_run_is_said_where_it_is_not_what_is_published(tmp_path):
    task, _ = opened(write(tmp_path / "one"))
    assert set(task.deviations("standard")) == {"own-seeds"}
    task, _ = opened(
        write(tmp_path / "two", "another-v1-full", evaluation=["top1_acc", "mAP", "d_prime"]),
        replace(CARD, sample_rate=44_100),
    )
    said = task.deviations("standard")
    assert said["other-folder"] == "the task folder is another-v1-full, not nsynth_pitch-v2.2.3-5h"
    assert said["resampled"] == "audio of the 16000 Hz folder, resampled to 44100 Hz"
    assert said["scores-left-out"] == "not computed: mAP, d_prime"
    change(tmp_path / "one", evaluation_params={"task_specific_param_grid": {"max_epochs": [50]}})
    assert "default-grid" in opened(tmp_path / "one")[0].deviations("standard")


def test_a_folder_that_the_task_cannot_answer_is_refused(tmp_path):
    for facts, reason in [
        ({"prediction_type": "multilabel"}, "is scene multilabel"),
        ({"embedding_type": "event"}, "is event multiclass"),
        ({"evaluation": ["mAP", "top1_acc"]}, "the score 'mAP' of nsynth_pitch-v2.2.3-5h is not known"),
    ]:
        root = write(tmp_path / reason.replace("/", ""))
        change(root, **facts)
        with pytest.raises(RequestError, match=reason):
            opened(root)


def test_census_counts_labels_and_clips(tmp_path):
    task, folds = opened(write(tmp_path / "one"))
    assert task.census(folds) == {"labels": 3, "train": 6, "valid": 6, "test": 6}
    assert list(task.census(folds)) == list(Pitch.card.corpus.counts)
    kfold = write(tmp_path / "two", splits=("fold00", "fold01", "fold02"), split_mode="new_split_kfold")
    task, folds = opened(kfold)
    assert task.census(folds) == {"labels": 3, "folds": 3, "clips": 18}


def test_both_names_are_the_one_task():
    assert type(load_task("pitch")) is type(load_task("hear_nsynth_pitch_5h")) is Pitch
    assert Pitch.card.name == "pitch"


def test_the_published_grid_is_used_beside_the_demo():
    assert Pitch().recipes("standard", demo=False) == Pitch().recipes("reference", demo=False) == grid()


def test_training_rows_are_never_reshuffled(tmp_path):
    task, (fold,) = opened(write(tmp_path))
    batches = task.batches(fold.train, grid()[0], np.random.default_rng(0))
    assert [list(next(batches)) for _ in range(3)] == [list(range(6))] * 3


@pytest.fixture
def short(monkeypatch):
    """Two points of the grid and few epochs; everything else as published."""
    monkeypatch.setattr(Pitch, "recipes", lambda *_: [one.with_(steps=6, every=3) for one in grid()[1:3]])


def ran(root, settings, quiet, upstream="mel"):
    return line.run(Request(upstream, "pitch", str(root), partial=True), settings, quiet)


@pytest.mark.usefixtures("short")
def test_silence_long_and_very_short_clips_and_unheard_classes_run_through(tmp_path, settings, quiet):
    """Train lacks one class, test lacks another; one clip lasts 25 ms, one 30 s, one is silent."""
    odd = [("a-60.wav", 60, tone(60, 0.025)), ("b-61.wav", 61, tone(61, 30)), ("c-61.wav", 61, tone(61, 1, 0.0))]
    root = write(tmp_path / "root", played={"train": odd, "test": [*odd[:1], ("d-72.wav", 72, tone(72))]})
    record = ran(root, settings, quiet)
    assert record.facts["labels"] == ["60", "61", "72"]
    assert 0 <= record.scores["pitch_acc"]["value"] <= 1
    assert record.facts["layers"]["choice"] == "last"
    assert not any(one.startswith(("early-stop", "layers-")) for one in record.facts["deviations"])


@pytest.mark.usefixtures("short")
def test_folds_are_searched_on_the_first_and_scored_by_their_mean(tmp_path, settings, quiet):
    names = ("fold00", "fold01", "fold02")
    root = write(tmp_path / "root", splits=names, split_mode="new_split_kfold", evaluation=["top1_acc"])
    record = ran(root, settings, quiet)
    assert [row["fold"] for row in record.facts["search"]] == ["fold00", "fold00", "fold01", "fold02"]
    assert len({str(recipe) for recipe in record.facts["recipe"]}) == 1
    score = record.scores["top1_acc"]
    assert score["value"] == pytest.approx(np.mean(score["per_seed"][0]))
    assert len(score["per_seed"][0]) == 3


@pytest.mark.usefixtures("short")
def test_the_real_folder_of_spoken_digits_runs_to_the_end(tmp_path, settings, quiet):
    archive = SHARED / "hear-2021.0.6-spoken_digit-1.0.9-small-44100.tar.gz"
    if not archive.is_file():
        pytest.skip("the real HEAR task folder is not beside this checkout")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "root", filter="data")
    record = ran(tmp_path / "root", settings, quiet)
    assert record.facts["labels"] == [str(digit) for digit in range(10)]
    assert set(record.scores) == {"top1_acc", "top1_acc_knn", "top1_acc_logistic"}
    assert record.scores["top1_acc"]["groups"] == 100
    assert len(record.scores["top1_acc"]["per_seed"][0]) == 5
    said = " ".join(record.facts["deviations"])
    assert "the task folder is spoken_digit-1.0.9-small, not nsynth_pitch-v2.2.3-5h" in said
    assert "audio of the 44100 Hz folder, resampled to 16000 Hz" in said


def test_a_task_named_twice_is_run_once(monkeypatch, settings, capsys):
    asked = []
    monkeypatch.setattr(commands, "run", lambda request, *_: asked.append(request.task) or 1 / 0)
    names = ["pitch", "hear_nsynth_pitch_5h", "@hear"]
    commands.run_all(["mel"], names, {}, settings, forecast_only=False, as_json=True, debug=False)
    assert asked == ["pitch"]
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.usefixtures("short")
def test_a_single_training_clip_is_refused(tmp_path, settings, quiet):
    root = write(tmp_path / "root", played={"train": [("a-60.wav", 60, tone(60))]})
    with pytest.raises(BenchError, match="batches of two examples at least cannot be made of 1"):
        ran(root, settings, quiet)


def test_missing_audio_is_one_list(tmp_path, settings, quiet):
    root = write(tmp_path / "root")
    for path in sorted(root.glob("*/16000/test/*_a-*.wav")):
        path.unlink()
    with pytest.raises(BenchError, match="3 audio files cannot be used"):
        ran(root, settings, quiet)


def test_the_order_of_labels_and_the_metrics_are_part_of_the_plan(tmp_path, settings, quiet):
    plans = []
    for name in ("one", "labels", "metrics"):
        root = write(tmp_path / name)
        if name == "labels":
            vocabulary = next(root.glob("*/labelvocabulary.csv"))
            vocabulary.write_text("idx,label\n0,72\n1,60\n2,61\n")
        if name == "metrics":
            change(root, evaluation=["pitch_acc"])
        plans.append(line.forecast(Request("mel", "pitch", str(root), partial=True), settings, quiet).plan)
    assert len(set(plans)) == 3

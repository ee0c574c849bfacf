"""HEAR's tasks: what their folders state, the published protocol, and runs of every kind from end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import CountingUpstream, cell, prepared

from earbench import commands, line, prepare, registry
from earbench.contract import UpstreamCard
from earbench.data import Place, census_differences
from earbench.errors import BadAudio, BenchError, MissingCorpus, RequestError
from earbench.extract import extract
from earbench.kit import hear, hear_grid, hear_layout, hear_toy
from earbench.kit.events import Event
from earbench.kit.hear_task import HearTask
from earbench.plan import Request, load_task
from earbench_tasks.hear import (
    BEEHIVE,
    DCASE2016,
    FSD50K,
    MAESTRO,
    MRIDANGAM_STROKE,
    MRIDANGAM_TONIC,
    PITCH,
    PITCH_50H,
    Folder,
    Published,
)

CARD = UpstreamCard("none", "none", "none", "none", sample_rate=16_000)
HOME = PITCH.folders[0]
PITCHES = (60, 61, 72)
SHARED = Path(__file__).parents[3] / "shared" / "data"
NINETEEN = {
    plugin.card.name: plugin
    for plugin in (registry.load("task", name) for name in registry.names("task") if name.startswith("hear_"))
}


def tone(pitch, seconds=0.3, loudness=0.3):
    return loudness * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(round(seconds * 16_000)) / 16_000)


def write(root, name=HOME, played=None, **facts):
    """A pitch folder: every split plays every pitch twice, unless `played` says otherwise."""
    splits = facts.pop("splits", ("train", "valid", "test"))
    clips = {split: [(f"bass_synthetic_00{take}-{pitch:03}-100.wav", pitch, tone(pitch)) for take in (1, 2)
             for pitch in PITCHES] for split in splits}  # fmt: skip
    stated = {"split_mode": "trainvaltest", "evaluation": ["pitch_acc", "chroma_acc"], **facts}
    hear_layout.write(root / name, stated, PITCHES, {**clips, **(played or {})})
    return root


def change(root, name=HOME, **facts):
    path = root / name / "task_metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def opened(root, card=CARD, task=PITCH):
    found = (task.load(None) if isinstance(task, Published) else task).at(root, card)
    return found, found.folds(root, card)


def any_folder(root, card=CARD, name=None):
    return opened(root, card, Folder.load(name))


def values(task, fold, said):
    rows = task.rows(fold.test, said)
    return [metric.value(rows, np.ones(len(rows))) for metric in task.card.metrics]


# ---- what the folder states ------------------------------------------------------------------------------------------


def test_metrics_and_selection_are_those_of_the_folder(tmp_path):
    task, _ = opened(write(tmp_path / "one"))
    assert [metric.name for metric in task.card.metrics] == ["pitch_acc", "chroma_acc"]
    assert task.select == "pitch_acc"
    task, _ = opened(write(tmp_path / "two", evaluation=["top1_acc", "mAP"]))
    assert [metric.name for metric in task.card.metrics] == ["top1_acc", "mAP"]
    assert task.select == "top1_acc"
    assert PITCH.card.metrics[0].name == "pitch_acc"


def test_a_folder_may_ask_for_the_loss_to_steer(tmp_path):
    task, _ = opened(write(tmp_path, use_scoring_for_early_stopping=False))
    assert task.select == "loss"


def test_an_octave_is_wrong_as_a_pitch_and_right_as_a_chroma(tmp_path):
    """Class numbers count, as in the reference: 60, 61, 72 are classes 0, 1, 2 here, so no octave is twelve classes."""
    splits = {split: [(f"{pitch}.wav", pitch, tone(pitch)) for pitch in range(60, 73)] for split in ("train", "valid")}
    test = {"test": [(f"{take}-{pitch}.wav", pitch, tone(pitch)) for take in "ab" for pitch in (60, 72)]}
    facts = {"split_mode": "trainvaltest", "evaluation": ["pitch_acc", "chroma_acc"]}
    hear_layout.write(tmp_path / HOME, facts, range(60, 73), {**splits, **test})
    task, (fold,) = opened(tmp_path)
    assert values(task, fold, {clip.id: "72" for clip in fold.test.clips}) == [0.5, 1.0]
    assert values(task, fold, {clip.id: "71" for clip in fold.test.clips}) == [0.0, 0.0]


def test_notes_of_an_instrument_are_resampled_together(tmp_path):
    _, (fold,) = opened(write(tmp_path / "one"))
    assert {clip.group for clip in fold.test.clips} == {"bass_synthetic_001", "bass_synthetic_002"}
    played = {"test": [("a-1-2.wav", 60, tone(60)), ("b.wav", 61, tone(61))]}
    _, (fold,) = opened(write(tmp_path / "two", played=played))
    assert {clip.group for clip in fold.test.clips} == {"a-1-2.wav", "b.wav"}


def test_a_grid_of_the_folders_own_is_trained(tmp_path):
    grid = {"max_epochs": [10], "check_val_every_n_epoch": [4], "hidden_dim": [64], "lr": [0.5]}
    write(tmp_path, evaluation_params={"task_specific_param_grid": grid})
    recipes = opened(tmp_path)[0].recipes("reference", demo=False)
    assert {(one.steps, one.every, one.options["hidden_dim"], one.lr) for one in recipes} == {(8, 4, 64, 0.5)}
    assert len(recipes) == 4


def test_a_grid_that_cannot_be_followed_is_refused_by_name(tmp_path):
    write(tmp_path, evaluation_params={"task_specific_param_grid": {"optim": ["SGD"]}})
    with pytest.raises(RequestError, match="'optim' is not known here"):
        opened(tmp_path)[0].recipes("standard", demo=False)


# ---- effort ----------------------------------------------------------------------------------------------------------


def test_the_reference_keeps_its_rows_and_ends_at_a_judgement_without_a_value(tmp_path):
    task, (fold,) = opened(write(tmp_path))
    recipes = task.recipes("reference", demo=False)
    assert recipes == [
        hear_grid.recipe(point, number, "fixed", finite=True) for number, point in enumerate(hear_grid.points({}))
    ]
    batches = task.batches(fold.train, recipes[0], np.random.default_rng(0))
    assert [[*next(batches)] for _ in range(3)] == [[*range(6)]] * 3
    assert set(task.deviations("reference")) == {"own-seeds"}


@pytest.mark.parametrize("effort", ["standard", "quick"])
def test_other_efforts_reshuffle_and_go_on_and_say_so(effort, tmp_path):
    task, (fold,) = opened(write(tmp_path))
    recipes = task.recipes(effort, demo=False)
    assert not any(one.finite for one in recipes)
    batches = task.batches(fold.train, recipes[0], np.random.default_rng(0))
    orders = [next(batches) for _ in range(4)]
    assert [sorted(order) for order in orders] == [[*range(6)]] * 4
    assert len(set(map(tuple, orders))) > 1
    assert set(task.deviations(effort)) == {"own-seeds", "reshuffled", "nan-passed-over"}


# ---- which folder ----------------------------------------------------------------------------------------------------


def test_what_was_run_is_said_where_it_is_not_what_is_published(tmp_path):
    root = write(tmp_path, "another-v1-full", evaluation=["top1_acc", "own_score"])
    task, _ = any_folder(root, replace(CARD, sample_rate=44_100))
    said = task.deviations("reference")
    assert said["resampled"] == "audio of the 16000 Hz folder, resampled to 44100 Hz"
    assert said["scores-left-out"] == "not computed: own_score"


def test_a_published_folder_that_is_judged_by_another_score_says_so(tmp_path):
    task, _ = opened(write(tmp_path / "one", evaluation=["chroma_acc", "pitch_acc"]))
    assert (
        task.deviations("reference")["other-primary-score"] == "chroma_acc; that of the published folder is pitch_acc"
    )
    task, _ = any_folder(write(tmp_path / "two", evaluation=["chroma_acc", "pitch_acc"]))
    assert "other-primary-score" not in task.deviations("reference")


def test_a_folder_that_was_made_here_says_so(tmp_path):
    task, _ = opened(write(tmp_path, prepared_by="earbench"))
    assert set(task.deviations("reference")) == {"own-seeds", "prepared-from-raw"}


@pytest.mark.parametrize(
    ("params", "said"),
    [({"task_specific_param_grid": {"lr": ["x"]}}, "'lr' cannot be"), ([1], "'evaluation_params' should be grids")],
)
def test_a_grid_that_cannot_be_followed_is_refused_by_prepare_as_by_a_run(params, said, tmp_path, settings, quiet):
    root = write(tmp_path / "root", evaluation_params=params)
    with pytest.raises(RequestError, match=said):
        opened(root)
    assert said in prepare.standing(PITCH.load(None), str(root), settings, quiet).problem


def test_a_single_row_that_is_left_over_is_noted():
    recipe = hear_grid.recipe(hear_grid.points({})[0], 0, "fixed", finite=True).with_(batch=11)
    task = PITCH.load(None)
    assert "of 12 training rows in batches of 11 one is left over" in task.batching_note(12, recipe)
    assert task.batching_note(11, recipe) is task.batching_note(13, recipe) is None


def test_prepare_holds_every_rate_against_its_headers(tmp_path, settings, quiet):
    root = write(tmp_path / "root")
    shutil.copytree(root / HOME / "16000", root / HOME / "48000")
    found = prepare.standing(PITCH.load(None), str(root), settings, quiet)
    assert not found.whole
    assert found.rates[16_000] is None
    assert "18 of 18 audio files in 48000/ are not at 48000 Hz" in found.rates[48_000]
    assert found.problem.startswith("48000 Hz: 18 of 18")


def test_a_run_refuses_audio_at_another_rate_than_its_folder(tmp_path, settings, quiet):
    root = write(tmp_path / "root")
    (root / HOME / "16000").rename(root / HOME / "44100")
    with pytest.raises(BadAudio, match="18 of 18 audio files in 44100/ are not at 44100 Hz"):
        ran(root, settings, quiet)


def test_events_far_behind_their_clip_are_refused_by_prepare_and_by_a_run(tmp_path, settings, quiet):
    root = tmp_path / "root"
    DCASE2016.load(None).toy(root, 0)
    path = next(root.rglob("test.json"))
    answers = json.loads(path.read_text())
    answers["0.wav"].append({"label": "60", "start": 0, "end": 1e12})
    path.write_text(json.dumps(answers))
    said = "1 clips have events outside them"
    assert said in prepare.standing(DCASE2016.load(None), str(root), settings, quiet).problem
    with pytest.raises(BadAudio, match=said):
        ran(root, settings, quiet, DCASE2016.card.name)


def test_your_own_folder_is_not_to_be_downloaded(tmp_path, settings, quiet):
    root = write(tmp_path / "root", "own-v1", evaluation=[1])
    with pytest.raises(MissingCorpus, match="'evaluation' should list names") as caught:
        ran(root, settings, quiet, "hear:own-v1")
    assert "bench prepare" not in str(caught.value)
    assert "demo" not in str(caught.value)
    with pytest.raises(RequestError, match="name two places"):
        line.run(Request("mel", f"hear:{root / 'own-v1'}", "demo"), settings, quiet)


def test_a_published_task_reads_no_other_folder(tmp_path):
    with pytest.raises(MissingCorpus, match=f"the HEAR task folder '{HOME}' is not under") as caught:
        opened(write(tmp_path, "another-v1-full"))
    assert "found another-v1-full" in str(caught.value)
    assert "--task hear:FOLDER" in str(caught.value)


def test_a_folder_that_the_task_cannot_answer_is_refused(tmp_path):
    write(tmp_path / "one", evaluation=["own_score", "top1_acc"])
    with pytest.raises(RequestError, match=f"the score 'own_score' of {HOME} is not known here"):
        opened(tmp_path / "one")
    hear_toy.write(tmp_path / "two", HOME, hear.MULTILABEL, ["mAP"], 0, 0)
    with pytest.raises(RequestError, match=r"this task reads scene multiclass folders, and .* is scene multilabel"):
        opened(tmp_path / "two")


def test_any_folder_is_a_task_that_is_called_by_its_folder(tmp_path):
    """Never by its `task_name`: a published folder carries a wrong one (sheet 2.1)."""
    write(tmp_path, "my tones-v1 (2)", task_name="esc50")
    write(tmp_path, "others-v1", task_name="esc50")
    for task, folds in (any_folder(tmp_path, name="my"), any_folder(tmp_path / "my tones-v1 (2)")):
        assert task.card.name == "hear-my-tones-v1-2"
        assert task.census(folds) == task.card.corpus.counts == {"labels": 3, "train": 6, "valid": 6, "test": 6}


def test_a_folder_may_be_named_by_its_path(tmp_path, monkeypatch):
    write(tmp_path, "tones-v1")
    task = Folder.load(str(tmp_path / "tones-v1"))
    assert task.root == tmp_path / "tones-v1"
    assert any_folder(task.root)[0].card.name == "hear-tones-v1"
    monkeypatch.chdir(tmp_path)
    assert Folder.load("./tones-v1").root == tmp_path / "tones-v1"
    assert Folder.load("tones-v1").root is None
    with pytest.raises(MissingCorpus, match="is not there"):
        Folder.load("./nothing")


def test_census_counts_labels_and_clips(tmp_path):
    task, folds = opened(write(tmp_path / "one"))
    assert task.census(folds) == {"labels": 3, "train": 6, "valid": 6, "test": 6}
    assert list(task.census(folds)) == list(PITCH.card.corpus.counts)
    kfold = write(tmp_path / "two", splits=("fold00", "fold01", "fold02"), split_mode="new_split_kfold")
    task, folds = opened(kfold)
    assert task.census(folds) == {"labels": 3, "folds": 3, "clips": 18}


def test_train_and_valid_may_be_counted_together(tmp_path):
    FSD50K.load(None).toy(tmp_path, 0)
    task, folds = opened(tmp_path, task=FSD50K)
    sizes = {name: len(split.clips) for name, split in folds[0].splits().items()}
    counts = {"labels": 5, "train + valid": sizes["train"] + sizes["valid"], "test": sizes["test"]}
    task.card = replace(task.card, corpus=replace(task.card.corpus, counts=counts))
    assert census_differences(task, folds, Place(tmp_path, False)) == []
    counts["train + valid"] += 1
    assert census_differences(task, folds, Place(tmp_path, False)) == [f"train + valid: expected {36 + 1}, found 36"]


# ---- the nineteen ----------------------------------------------------------------------------------------------------


def test_there_are_nineteen_and_their_suite_names_them_all(settings):
    assert len(NINETEEN) == 19
    assert set(settings.suites["hear"]) == set(NINETEEN)
    assert sorted(len(plugin.folders) for plugin in NINETEEN.values()) == [1] * 18 + [2]
    assert len({folder for plugin in NINETEEN.values() for folder in plugin.folders}) == 20


@pytest.mark.parametrize("plugin", NINETEEN.values(), ids=NINETEEN)
def test_a_card_has_the_facts_of_its_row(plugin):
    card, corpus = plugin.card, plugin.card.corpus
    assert card.grain == ("frame" if plugin.kind == hear.EVENTS else "clip")
    assert (card.suite, card.protocol, corpus.id) == ("hear", "HEAR 2021", "hear")
    assert [one.url.rpartition("/")[2] for one in corpus.archives] == [
        f"hear2021-{folder}-48000.tar.gz" for folder in plugin.folders
    ]
    assert all(f"hear2021-{folder}-48000.tar.gz" in corpus.layout for folder in plugin.folders)
    assert list(corpus.counts) in (
        ["labels", "train", "valid", "test"],
        ["labels", "train + valid", "test"],
        ["labels", "folds", "clips"],
    )


def test_clips_add_up_to_what_hears_site_has():
    """Expected: the column of clips in HEAR's own table (sheet 2.3)."""
    totals = {
        name: plugin.card.corpus.counts.get("clips")
        or sum(count for key, count in plugin.card.corpus.counts.items() if key != "labels")
        for name, plugin in NINETEEN.items()
    }
    assert totals == {
        "hear_dcase2016": 72,
        "pitch": 5000,
        "hear_nsynth_pitch_50h": 49060,
        "hear_speech_commands_5h": 22890,
        "hear_speech_commands_full": 100503,
        "hear_beehive": 576,
        "hear_beijing_opera": 236,
        "hear_crema_d": 7438,
        "hear_esc50": 2000,
        "hear_fsd50k": 51185,
        "hear_gunshot": 88,
        "hear_gtzan_genre": 1000,
        "hear_gtzan_music_speech": 128,
        "hear_libricount": 5720,
        "hear_maestro_5h": 185,
        "hear_mridangam_stroke": 6977,
        "hear_mridangam_tonic": 6977,
        "hear_vocal_imitation": 5601,
        "hear_vox_lingua_top10": 972,
    }


def test_both_names_are_the_one_task():
    assert registry.load("task", "pitch") is registry.load("task", "hear_nsynth_pitch_5h") is PITCH
    assert PITCH.card.name == "pitch"
    with pytest.raises(RequestError, match="task 'pitch' takes no argument, got ':small'"):
        load_task("pitch:small")


def test_the_two_folders_of_beehive_are_two_folds_searched_each_for_itself(tmp_path):
    BEEHIVE.load(None).toy(tmp_path, 0)
    task, folds = opened(tmp_path, task=BEEHIVE)
    assert [fold.name for fold in folds] == list(BEEHIVE.folders)
    assert task.search == "fold"
    assert task.census(folds) == {"labels": 14, "folds": 2, "clips": 2 * 42}
    assert folds[0].test.clips[0].id == f"{BEEHIVE.folders[0]}/{folds[0].test.clips[0].id.partition('/')[2]}"
    assert {clip.id for clip in folds[0].test.clips}.isdisjoint(clip.id for clip in folds[1].test.clips)
    assert "mean-of-folders" in task.deviations("reference")
    for plugin in set(NINETEEN.values()) - {BEEHIVE}:
        assert plugin.load(None).search == "first"


def test_folders_of_one_task_have_to_be_alike(tmp_path):
    BEEHIVE.load(None).toy(tmp_path, 0)
    path = next(tmp_path.rglob(f"{BEEHIVE.folders[1]}/labelvocabulary.csv"))
    path.write_text("idx,label\n" + "\n".join(f"{number},{73 - number}" for number in range(14)) + "\n")
    with pytest.raises(RequestError, match="differ in labels, scores, rates or kind of splits"):
        opened(tmp_path, task=BEEHIVE)


def test_dcase_judges_every_ten_epochs_by_its_task_name(tmp_path):
    DCASE2016.load(None).toy(tmp_path, 0)
    task, _ = opened(tmp_path, task=DCASE2016)
    assert {(one.every, one.steps) for one in task.recipes("reference", demo=False)} == {(10, 500)}
    assert task.decodings == ({"median": 0.25, "shortest": 0.25}, {"median": 0.25, "shortest": 0.125})
    assert (task.select, task.example, task.card.grain) == ("event_onset_200ms_fms", "frame", "frame")


def test_maestro_is_steered_by_the_loss_as_its_folder_says(tmp_path):
    """Expected: the metadata that HEAR's tool writes for it (sheet 4.3)."""
    MAESTRO.load(None).toy(tmp_path, 0)
    params = {
        "event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]},
        "task_specific_param_grid": {"max_epochs": [50], "check_val_every_n_epoch": [1]},
    }
    change(tmp_path / "hear-2021.0.6/tasks", "maestro-v3.0.0-5h", use_scoring_for_early_stopping=False,
           evaluation_params=params)  # fmt: skip
    task, folds = opened(tmp_path, task=MAESTRO)
    assert (task.select, task.decodings) == ("loss", ({"median": 0.15, "shortest": 0.05},))
    assert {(one.every, one.steps) for one in task.recipes("standard", demo=False)} == {(1, 50)}
    assert len(folds) == 3
    assert {type(event) for clip in folds[0].test.clips for event in clip.label} == {Event}


# ---- one clip, one pass ----------------------------------------------------------------------------------------------


def forwarded(encoder, root, settings, quiet, *tasks):
    """How many clips the encoder was given for these tasks, one after another, with one store."""
    for plugin in tasks:
        task = plugin.load(None).at(root, CARD)
        extract(cell(encoder, task), prepared(task, root, settings, quiet), settings, settings.cache, quiet)
    return len(encoder.clips)


def notes(*pitches):
    return [(f"bass_synthetic_001-{pitch:03}-100.wav", pitch, tone(pitch)) for pitch in pitches]


def test_the_short_and_the_long_pitch_task_share_their_clips(tmp_path, settings, quiet):
    """Five hours are a part of fifty (sheet 2.3)."""
    long = {"train": notes(60, 61, 62), "valid": notes(63, 64), "test": notes(65, 66)}
    short = {"train": notes(60, 61), "valid": notes(63), "test": notes(65)}
    for plugin, played in ((PITCH, short), (PITCH_50H, long)):
        facts = {"split_mode": "trainvaltest", "evaluation": ["pitch_acc"]}
        hear_layout.write(tmp_path / plugin.folders[0], facts, range(60, 67), played)
    encoder = CountingUpstream()
    assert forwarded(encoder, tmp_path, settings, quiet, PITCH) == 4
    assert forwarded(encoder, tmp_path, settings, quiet, PITCH_50H) == 7


def test_strokes_and_tonics_are_the_same_clips(tmp_path, settings, quiet):
    for plugin, labels in ((MRIDANGAM_STROKE, "thom"), (MRIDANGAM_TONIC, "BCDE")):
        splits = {
            f"fold0{fold}": [(f"{one}.wav", labels[one], tone(60 + 4 * fold + one)) for one in range(4)]
            for fold in (0, 1, 2)
        }
        facts = {"split_mode": "new_split_kfold", "evaluation": ["top1_acc"], "task_name": "mridangam_stroke"}
        hear_layout.write(tmp_path / plugin.folders[0], facts, sorted(labels), splits)
    assert forwarded(CountingUpstream(), tmp_path, settings, quiet, MRIDANGAM_STROKE, MRIDANGAM_TONIC) == 12


def test_the_folds_of_beehive_hear_every_hive_once(tmp_path, settings, quiet):
    """What one folder trains and judges on, the other tests."""
    hives = [[(f"{hive}_{one}.wav", "ny"[one % 2], tone(60 + 4 * hive + one)) for one in range(4)] for hive in (0, 1)]
    for folder, (seen, unseen) in zip(BEEHIVE.folders, (hives, hives[::-1]), strict=True):
        facts = {"split_mode": "trainvaltest", "evaluation": ["aucroc"]}
        splits = {"train": seen[:2], "valid": seen[2:], "test": unseen}
        hear_layout.write(tmp_path / folder, facts, ["n", "y"], splits)
    assert forwarded(CountingUpstream(), tmp_path, settings, quiet, BEEHIVE) == 8


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Two points of the grid and few epochs; everything else as published."""
    few = [hear_grid.recipe(point, 0, "fixed", finite=True).with_(steps=6) for point in hear_grid.points({})[1:3]]
    monkeypatch.setattr(HearTask, "recipes", lambda *_: few)


def ran(root, settings, quiet, task="pitch", upstream="mel"):
    return line.run(Request(upstream, task, str(root), partial=True), settings, quiet)


@pytest.mark.usefixtures("short")
def test_silence_long_and_very_short_clips_and_unheard_classes_run_through(tmp_path, settings, quiet):
    """Train lacks one class, test lacks another; one clip lasts 25 ms, one 30 s, one is silent."""
    odd = [("a-60.wav", 60, tone(60, 0.025)), ("b-61.wav", 61, tone(61, 30)), ("c-61.wav", 61, tone(61, 1, 0.0))]
    played = {"train": odd, "test": [*odd[:1], ("d-72.wav", 72, tone(72))]}
    root = write(tmp_path / "root", played=played, evaluation=["pitch_acc", "mAP", "aucroc", "d_prime"])
    record = ran(root, settings, quiet)
    assert record.facts["labels"] == ["60", "61", "72"]
    assert 0 <= record.scores["pitch_acc"]["value"] <= 1
    assert record.scores["aucroc"]["value"] is None
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
@pytest.mark.parametrize("plugin", [FSD50K, DCASE2016, MAESTRO], ids=lambda plugin: plugin.card.name)
def test_tags_and_events_run_to_the_end(plugin, tmp_path, settings, quiet):
    plugin.load(None).toy(tmp_path / "root", 0)
    record = ran(tmp_path / "root", settings, quiet, plugin.card.name, "log_stft")
    assert set(record.scores) == {metric.name for metric in plugin.card.metrics}
    assert record.facts["task"]["name"] == plugin.card.name
    assert record.facts["labels"] == [str(pitch) for pitch in hear_toy.FEW]


@pytest.mark.usefixtures("short")
def test_a_perfect_d_prime_is_recorded_as_infinite(tmp_path, settings, quiet):
    root = write(tmp_path / "root", evaluation=["top1_acc", "d_prime"])
    task, (fold,) = opened(root)
    assert values(task, fold, task.ideal(fold.test)) == [1.0, np.inf]
    score = ran(root, settings, quiet).scores["d_prime"]
    assert score["value"] is None or np.isfinite(score["value"])
    assert score["bounds"] == [None, None]


@pytest.mark.usefixtures("short")
def test_the_real_folder_of_spoken_digits_runs_to_the_end_from_its_archive(tmp_path, settings, quiet):
    archive = SHARED / "hear-2021.0.6-spoken_digit-1.0.9-small-44100.tar.gz"
    if not archive.is_file():
        pytest.skip("the real HEAR task folder is not beside this checkout")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / archive.name).write_bytes(archive.read_bytes())
    record = ran(tmp_path / "root", settings, quiet, "hear:spoken_digit-1.0.9-small")
    assert record.facts["task"]["name"] == "hear-spoken_digit-1.0.9-small"
    assert record.path.parent.name == "hear-spoken_digit-1.0.9-small-v2"
    assert record.facts["labels"] == [str(digit) for digit in range(10)]
    assert set(record.scores) == {"top1_acc", "top1_acc_knn", "top1_acc_logistic"}
    assert record.scores["top1_acc"]["groups"] == 100
    assert len(record.scores["top1_acc"]["per_seed"][0]) == 5
    assert "audio of the 44100 Hz folder, resampled to 16000 Hz" in " ".join(record.facts["deviations"])


def test_a_task_named_twice_is_run_once(monkeypatch, settings, capsys):
    asked = []
    monkeypatch.setattr(commands, "run", lambda request, *_: asked.append(request.task) or 1 / 0)
    names = ["pitch", "hear_nsynth_pitch_5h", "@hear"]
    commands.run_all(["mel"], names, {}, settings, forecast_only=False, as_json=True, debug=False)
    assert asked[0] == "pitch"
    assert len(asked) == len(set(asked)) == 19
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.usefixtures("short")
def test_a_single_training_clip_is_refused(tmp_path, settings, quiet):
    root = write(tmp_path / "root", played={"train": [("a-60.wav", 60, tone(60))]})
    with pytest.raises(BenchError, match="cannot be made of 1"):
        ran(root, settings, quiet)


def test_missing_audio_is_one_list(tmp_path, settings, quiet):
    root = write(tmp_path / "root")
    for path in sorted(root.glob("*/16000/test/*_001-*.wav")):
        path.unlink()
    with pytest.raises(BenchError, match="16000/: 3 of 18 audio files are not there"):
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

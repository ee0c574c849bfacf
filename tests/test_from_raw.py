"""`bench prepare --from-raw` makes all of a corpus or none of it, and says beforehand what is wrong."""

import json
import re
from dataclasses import replace

import hear_originals
import pytest
from typer.testing import CliRunner

from earbench import files, from_raw
from earbench.cli import app
from earbench.errors import BadAudio, BenchError
from earbench.from_raw import build
from earbench.kit.hear_raw import BUILDERS
from earbench.plan import load_task
from earbench_tasks.hear import PITCH

TASK, HOME = "hear_nsynth_pitch_5h", "nsynth_pitch-v2.2.3-5h"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A tiny NSynth. Shared: nothing may change it."""
    return hear_originals.nsynth(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def draft(raw):
    return BUILDERS[HOME](raw)


@pytest.fixture
def command(settings, raw, tmp_path):
    """The result of `bench prepare` with these words, on the tiny NSynth unless they say otherwise."""

    def run(*words, task=TASK, source=raw, where=tmp_path / "out"):
        said = ["prepare", "--task", task, *(["--from-raw", str(source)] if source else []), "--data", str(where)]
        return CliRunner().invoke(
            app, [*said, *words, "--config", str(settings.source), "--cache", str(settings.cache)]
        )

    return run


class Failing:
    """A draft whose writing fails after the first files."""

    folder = HOME

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 2

    def sources(self):
        return []

    def bytes(self, rates):
        return 10

    def write(self, path, rates, tick):
        (path / "16000").mkdir(parents=True)
        (path / "task_metadata.json").write_text("{}")
        tick()
        raise self.error


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_the_command_makes_the_corpus_and_checks_it(command, tmp_path, monkeypatch):
    counts = {"labels": 3, "train": 12, "valid": 12, "test": 12}
    card = replace(PITCH.card, corpus=replace(PITCH.card.corpus, counts=counts))
    monkeypatch.setattr("earbench_tasks.hear.PITCH", replace(PITCH, card=card))
    done = command("--json")
    assert done.exit_code == 0
    assert done.stderr == ""
    (found,) = json.loads(done.stdout)
    assert (found["whole"], found["counts"]) == (True, counts)
    assert visible(tmp_path / "out") == [HOME]
    assert sorted(path.name for path in (tmp_path / "out" / HOME).iterdir() if path.is_dir()) == ["16000", "48000"]


def test_a_corpus_with_other_counts_than_published_is_made_and_told_so(command):
    done = command("--rates", "16000")
    assert done.exit_code == 1
    assert "train: expected 4,000, found 12" in done.stdout
    assert f"{HOME}: 36 clips at 16000 Hz, 4.6 MB" in done.stderr


def test_what_is_there_stays_and_a_rate_that_is_not_is_refused(command, tmp_path):
    command("--rates", "16000")
    before = (tmp_path / "out" / HOME / "task_metadata.json").stat().st_mtime_ns
    assert "is there already and stays as it is" in command("--rates", "16000").stderr
    assert (tmp_path / "out" / HOME / "task_metadata.json").stat().st_mtime_ns == before
    done = command("--rates", "16000,32000")
    assert done.exit_code == 2
    assert "is there already, without 32000 Hz" in done.stderr


def test_one_original_of_several_tasks_is_enough(raw, draft, tmp_path, settings, quiet):
    longer = BUILDERS["nsynth_pitch-v2.2.3-50h"](raw)
    build([draft, longer], tmp_path / "out", [16_000], settings.cache, quiet)
    assert visible(tmp_path / "out") == ["nsynth_pitch-v2.2.3-50h", HOME]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), pytest.raises(KeyboardInterrupt)),
        (OSError(28, "No space left on device"), pytest.raises(BenchError, match="the disk is full")),
    ],
)
def test_what_fails_half_way_leaves_nothing_and_goes_well_the_next_time(error, told, draft, tmp_path, settings, quiet):
    with told:
        build([Failing(error)], tmp_path / "out", [16_000], settings.cache, quiet)
    assert visible(tmp_path / "out") == []
    build([draft], tmp_path / "out", [16_000], settings.cache, quiet)
    assert visible(tmp_path / "out") == [HOME]


def test_what_a_killed_run_left_is_removed(draft, tmp_path, settings, quiet):
    left = tmp_path / "out" / f".{HOME}.building"
    (left / "16000" / "train").mkdir(parents=True)
    (left / "16000" / "train" / "old.wav").write_text("old")
    build([draft], tmp_path / "out", [16_000], settings.cache, quiet)
    assert visible(tmp_path / "out") == [HOME]
    assert not (tmp_path / "out" / HOME / "16000" / "train" / "old.wav").exists()


def test_all_audio_that_cannot_be_used_is_told_before_anything_is_written(draft, tmp_path, settings, quiet):
    first, second, *_ = draft.sources()
    bodies = {path: path.read_bytes() for path in (first, second)}
    first.write_bytes(bodies[first][:1_000])
    second.write_bytes(b"")
    try:
        with pytest.raises(BadAudio, match="2 audio files cannot be used; nothing was written") as caught:
            build([draft], tmp_path / "out", [16_000], settings.cache, quiet)
    finally:
        for path, body in bodies.items():
            path.write_bytes(body)
    assert f"{first}: is cut off" in str(caught.value)
    assert f"{second}: the file is empty" in str(caught.value)
    assert visible(tmp_path / "out") == []


def test_a_disk_without_room_is_told_before_anything_is_written(draft, tmp_path, settings, quiet, monkeypatch):
    usage = from_raw.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(from_raw.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(BenchError, match=r"4\.6 MB to write into .*, 1\.0 MB free"):
        build([draft], tmp_path / "out", [16_000], settings.cache, quiet)
    assert visible(tmp_path / "out") == []


def test_two_processes_do_not_write_into_one_folder(draft, tmp_path, settings, quiet):
    (tmp_path / "out").mkdir()
    with files.alone(tmp_path / "out", "here"), pytest.raises(BenchError, match="another process is preparing corpora"):
        build([draft], tmp_path / "out", [16_000], settings.cache, quiet)


def test_a_task_without_an_original_is_refused_with_those_that_have_one(command, tmp_path):
    done = command(task=f"{TASK},ks,asr")
    assert done.exit_code == 2
    assert "the corpus of ks, asr cannot be made from an original one" in done.stderr
    assert re.search(rf"--from-raw takes: .*\b{TASK}\b", done.stderr)
    assert not (tmp_path / "out").exists()


def test_an_original_that_is_not_as_published_is_told_and_nothing_is_written(command, tmp_path):
    done = command(source=tmp_path)
    assert done.exit_code == 2
    assert "nsynth-train.jsonwav.tar.gz is not found under" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--download"], "give one of them"),
        (["--rates", "16000,96000"], "--rates 16000,96000: expected one or more of 16000, 22050, 32000, 44100, 48000"),
        (["--rates", ""], "expected one or more of"),
    ],
)
def test_options_that_do_not_fit_are_refused(command, words, told):
    done = command(*words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_rates_without_an_original_are_refused(command):
    assert "--rates belongs to --from-raw" in command("--rates", "16000", source=None).stderr


def test_the_demo_is_no_folder_to_write_to(command):
    assert "--from-raw needs a folder for HEAR 2021" in command(where="demo").stderr


def test_prepare_tells_that_the_corpus_can_be_made(command, tmp_path):
    (tmp_path / "out").mkdir()
    assert f"or from the original corpus: `bench prepare --task {TASK}" in command(source=None).stdout
    assert "original corpus" not in command(source=None, task="ks").stdout


@pytest.mark.parametrize("name", ["ks", "asr"])
def test_a_task_on_a_published_corpus_has_no_builder(name):
    assert load_task(name).builder() is None

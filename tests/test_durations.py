"""How long clips are once their effects are applied, and which are too short to train on."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fakes import ListedTask, prepared, thirds

from earbench import audio
from earbench.contract import Clip, Fold, Split
from earbench.errors import BenchError

RATE = 16_000
TRIM = ("trim_quiet", 0.001)


def clip(folder, number, loud, quiet=1.0, effects=(TRIM,)):
    """A file with so many seconds of noise behind so many of silence."""
    path = folder / f"{number}.wav"
    noise = np.random.default_rng(number).normal(0, 0.1, round(loud * RATE))
    soundfile.write(path, np.concatenate([np.zeros(round(quiet * RATE)), noise]), RATE)
    return Clip(f"clip-{number}", path, "yes", "anna", effects=effects)


def measured(clips, cache):
    ticks = []
    facts = audio.fingerprints([one.audio for one in clips], cache, lambda: None)
    return audio.durations(clips, facts, cache, lambda: ticks.append(1)), len(ticks)


def test_durations_are_those_of_the_samples_an_encoder_gets(tmp_path):
    effects = [(), (("gain_db", -3.0),), (TRIM,), (("crop_8s", 0.4),), (("gain_db", -3.0), TRIM, ("crop_8s", 0.9))]
    clips = [clip(tmp_path, number, 9.5, effects=some) for number, some in enumerate(effects)]
    clips.append(replace(clips[2], id="part", start=0.5, stop=3.0))
    found, _ = measured(clips, tmp_path / "cache")
    for one in clips:
        assert found[one.id] == pytest.approx(len(audio.read(one, RATE)) / RATE, abs=1e-9)
    assert found["clip-0"] == 10.5
    assert found["clip-4"] == 8.0
    assert found["clip-2"] == pytest.approx(9.5, abs=0.01)


def test_what_was_listened_to_is_remembered_by_content(tmp_path, monkeypatch):
    clips = [clip(tmp_path, number, 1.0 + number) for number in range(3)]
    expected, ticks = measured(clips, tmp_path / "cache")
    assert ticks == 3
    monkeypatch.setattr(audio, "read", None)
    assert measured(clips, tmp_path / "cache")[0] == expected
    moved = [replace(one, audio=one.audio.rename(tmp_path / f"moved-{one.audio.name}")) for one in clips]
    assert measured(moved, tmp_path / "cache")[0] == expected
    soundfile.write(moved[0].audio, np.full(RATE, 0.3), RATE)
    with pytest.raises(TypeError):
        measured(moved, tmp_path / "cache")


def test_crops_of_one_recording_are_listened_to_once(tmp_path):
    one = clip(tmp_path, 0, 9.0)
    crops = [replace(one, id=f"crop-{share}", effects=(TRIM, ("crop_8s", share))) for share in (0.1, 0.2, 0.3)]
    found, ticks = measured(crops, tmp_path / "cache")
    assert ticks == 1
    assert set(found.values()) == {8.0}


def test_clips_without_such_effects_are_not_read_again(tmp_path, monkeypatch):
    clips = [clip(tmp_path, number, 1.0, effects=()) for number in range(2)]
    monkeypatch.setattr(audio, "read", None)
    assert measured(clips, tmp_path / "cache")[0] == {"clip-0": 2.0, "clip-1": 2.0}


# ---- too short to train on -------------------------------------------------------------------------------------------


class Choosy(ListedTask):
    shortest_train = 2.0


def test_short_training_clips_are_left_out_and_counted_others_stay(tmp_path, settings, quiet):
    clips = tuple(clip(tmp_path, number, loud) for number, loud in enumerate((1.5, 1.5, 1.5, 2.5, 1.5, 1.5, 3.0)))
    found = prepared(Choosy(thirds(clips)), tmp_path, settings, quiet)
    (fold,) = found.folds
    assert [one.id for one in fold.train.clips] == ["clip-3", "clip-6"]
    assert fold.train.seconds == pytest.approx((2.5, 3.0), abs=0.01)
    assert [len(fold.valid.clips), len(fold.test.clips)] == [2, 2]
    assert found.notes == (
        "fold 'main': 1 of 3 training recordings are left out: no longer than 2 s, as the protocol has it",
    )


def test_exactly_two_seconds_are_too_short(tmp_path, settings, quiet):
    clips = tuple(clip(tmp_path, number, loud, 0.0, ()) for number, loud in enumerate((2.0, 3.0, 3.0, 2.0001)))
    (fold,) = prepared(Choosy(thirds(clips)), tmp_path, settings, quiet).folds
    assert [one.id for one in fold.train.clips] == ["clip-3"]


def test_nothing_is_left_out_and_nothing_noted_where_all_are_long_enough(tmp_path, settings, quiet):
    clips = tuple(clip(tmp_path, number, 0.5) for number in range(6))
    found = prepared(ListedTask(thirds(clips)), tmp_path, settings, quiet)
    assert (len(found.clips()), found.notes) == (6, ())


def test_a_split_of_nothing_but_short_clips_is_refused(tmp_path, settings, quiet):
    clips = [Split((clip(tmp_path, number, 1.0),)) for number in range(3)]
    with pytest.raises(BenchError, match="no training clip of fold 'main' is longer than 2 s"):
        prepared(Choosy(Fold(*clips)), tmp_path, settings, quiet)

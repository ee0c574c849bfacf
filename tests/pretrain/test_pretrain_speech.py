"""Unlabelled audio: who speaks, what is held out, and that it is decoded once and never from other files."""

import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fakes import SPOILED, write_noise
from pretraining import noisy_speakers, rows_of_sound

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.seeds import generator
from earbench.pretrain import speech
from earbench.pretrain.speech import found_below, gather

RATE, WINDOW = 16_000, 8_000


@pytest.fixture
def root(tmp_path):
    return noisy_speakers(tmp_path / "speech")


@pytest.fixture
def heard(root, tmp_path, quiet):
    """Gathers `root` into a folder of its own."""

    def gathered(rate=RATE, window=WINDOW):
        return gather(root, tmp_path / "out", rate, window, quiet)

    return gathered


@pytest.fixture
def decodings(monkeypatch):
    """The files that were decoded, one after another."""
    found = []
    real = speech._read

    def read(path, rate):
        found.append(path.name)
        return real(path, rate)

    monkeypatch.setattr(speech, "_read", read)
    return found


def own(samples):
    """As many samples as a speaker has, in both parts."""
    return {name: samples.valid[name][1] - samples.train[name][0] for name in samples.train}


# ---- who speaks ------------------------------------------------------------------------------------------------------


def test_the_first_folder_is_the_speaker_and_files_without_one_are_one_more(root):
    write_noise(root / "loose.wav", 0.1)
    (root / "anna" / "notes.txt").write_text("not audio")
    (root / "folder.wav").mkdir()
    found = {name: [str(path.relative_to(root)) for path in paths] for name, paths in found_below(root).items()}
    assert found == {
        "anna": ["anna/2.flac", "anna/monday/1.wav"],
        "bert": ["bert/2.flac", "bert/monday/1.wav"],
        "": ["loose.wav"],
    }


def test_files_beside_each_other_are_one_speaker(tmp_path, quiet):
    for number in range(3):
        write_noise(tmp_path / "speech" / f"{number}.wav", 2.0, seed=number)
    found = gather(tmp_path / "speech", tmp_path / "out", RATE, WINDOW, quiet)
    assert own(found) == {"": 96_000}
    assert found.facts["speakers"] == 1


@pytest.mark.parametrize("suffix", [".WAV", ".Flac", ".ogg", ".opus", ".mp3", ".aiff"])
def test_files_of_every_common_kind_are_found(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    assert len(found_below(tmp_path)[""]) == 1


def test_a_folder_that_is_not_there_or_holds_no_audio_is_said(tmp_path):
    with pytest.raises(MissingCorpus, match=r"gone is not a folder"):
        found_below(tmp_path / "gone")
    with pytest.raises(MissingCorpus, match=r"no audio below(?s:.*)\.flac"):
        found_below(tmp_path)


def test_speakers_with_too_little_audio_are_left_out_aloud(root, heard, capsys):
    write_noise(root / "carl" / "1.wav", 4 * WINDOW / RATE - 0.01)
    found = heard()
    assert list(found.train) == ["anna", "bert"]
    assert found.facts["left_out"] == 1
    assert capsys.readouterr().err == "warning: 1 of 3 speakers have less than 2.0 s of audio and are left out\n"


def test_nobody_with_enough_audio_is_an_error_that_tells_the_layout(heard):
    with pytest.raises(MissingCorpus, match=r"none of 2 speakers has 40.0 s of audio(?s:.*)SPEAKER/…/\*\.wav"):
        heard(window=160_000)


# ---- what is held out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2.0, 8.0, 30.0])
def test_the_held_out_part_is_a_twentieth_but_at_least_one_stretch_and_shares_nothing(tmp_path, quiet, seconds):
    found = gather(noisy_speakers(tmp_path / "speech", seconds), tmp_path / "out", RATE, WINDOW, quiet)
    at = 0
    for name, (start, stop) in found.train.items():
        held = max(WINDOW, round(seconds * RATE) // 20)
        assert (start, stop, found.valid[name]) == (at, stop, (stop, stop + held))
        at = stop + held
    assert at == len(found.samples) == 2 * round(seconds * RATE)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_batch_lies_within_one_part_of_one_speaker(split):
    found, rng = rows_of_sound(), np.random.default_rng(0)
    parts = {name: (part[0] / 32768, (part[1] - 1) / 32768) for name, part in getattr(found, split).items()}
    seen = set()
    for _ in range(30):
        waves = found.stretches(split, 8, 500, rng)
        assert waves.shape == (8, 500)
        assert waves.dtype == np.float32
        (who,) = (name for name, (low, high) in parts.items() if low <= waves.min() <= waves.max() <= high)
        seen.add(who)
        assert np.allclose(np.diff(waves), 1 / 32768)
    assert seen == {"anna", "bert"}


def test_every_place_of_a_part_can_be_drawn():
    found, rng = rows_of_sound(), np.random.default_rng(0)
    begins = {round(wave[0] * 32768) for _ in range(60) for wave in found.stretches("valid", 32, 996, rng)}
    assert begins == {*range(5_000, 5_005), *range(11_000, 11_005)}


def test_who_has_more_is_drawn_more():
    found = replace(rows_of_sound(), train={"anna": (0, 7_500), "bert": (8_000, 10_500)})
    rng = np.random.default_rng(0)
    anna = [found.stretches("train", 1, 100, rng)[0, 0] * 32768 < 7_500 for _ in range(2_000)]
    assert np.mean(anna) == pytest.approx(0.75, abs=0.04)


# ---- decoding --------------------------------------------------------------------------------------------------------


def test_a_speakers_files_are_joined_whole_in_a_shuffled_order(tmp_path, quiet):
    root = tmp_path / "speech"
    for number in range(12):
        write_noise(root / "anna" / f"{number:02}.wav", 0.5 + number / 16, seed=number)
    found = gather(root, tmp_path / "out", RATE, WINDOW, quiet)
    paths = sorted((root / "anna").iterdir())
    order = list(generator("pretrain order", "anna").permutation(12))
    assert order != sorted(order)
    samples = np.concatenate([soundfile.read(paths[number], dtype="int16")[0] for number in order])
    assert np.abs(found.samples.astype(int) - samples).max() <= 1  # 32767 there, 32768 here


def test_channels_are_averaged_and_other_rates_resampled(tmp_path, quiet):
    root, times = tmp_path / "speech", np.arange(3 * 44_100) / 44_100
    root.mkdir()
    soundfile.write(root / "stereo.wav", np.stack([0.5 * np.sin(2 * np.pi * 1_000 * times), 0 * times], 1), 44_100)
    found = gather(root, tmp_path / "out", RATE, WINDOW, quiet)
    assert len(found.samples) == 3 * RATE
    expected = 0.25 * np.sin(2 * np.pi * 1_000 * np.arange(3 * RATE) / RATE)
    assert np.abs(found.samples / 32768 - expected)[800:-800].max() < 1e-3


def test_audio_that_is_there_is_not_decoded_again(heard, decodings):
    first = heard()
    assert sorted(decodings) == ["1.wav", "1.wav", "2.flac", "2.flac"]
    second = heard()
    assert len(decodings) == 4
    assert first.facts == second.facts
    assert np.array_equal(first.samples, second.samples)


def louder(root):
    """The same file name, size and sound format, with another sound."""
    path = root / "anna" / "monday" / "1.wav"
    samples, rate = soundfile.read(path)
    size = path.stat().st_size
    soundfile.write(path, samples / 2, rate)
    assert path.stat().st_size == size
    os.utime(path, ns=(0, 12_345))


CHANGES = {
    "a file more": lambda root: write_noise(root / "bert" / "3.wav", 0.5),
    "a file less": lambda root: (root / "bert" / "2.flac").unlink(),
    "another sound of the same size": louder,
    "another speaker": lambda root: (root / "bert").rename(root / "carl"),
    "decoded audio that is cut off": lambda root: os.truncate(root.parent / "out" / "audio.i16", 99_000),
    "decoded audio that is damaged": lambda root: (root.parent / "out" / "audio.i16").write_bytes(bytes(512_000)),
    "decoded audio that is gone": lambda root: (root.parent / "out" / "audio.i16").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_decoded_again(root, heard, decodings, tmp_path, quiet, change):
    heard()
    CHANGES[change](root)
    decodings.clear()
    found = heard()
    assert len(decodings) == sum(map(len, found_below(root).values()))
    fresh = gather(root, tmp_path / "elsewhere", RATE, WINDOW, quiet)
    assert found.facts == fresh.facts
    assert np.array_equal(found.samples, fresh.samples)


def test_another_rate_is_decoded_again(heard, decodings):
    heard()
    assert len(heard(rate=8_000, window=4_000).samples) == 2 * 8 * 8_000
    assert len(decodings) == 8


def test_all_unusable_files_are_listed_at_once_and_nothing_is_kept(root, heard, tmp_path):
    kinds = [said for said in SPOILED if said not in ("No such file", "Is a directory")]
    for number, said in enumerate(kinds):
        SPOILED[said](write_noise(root / "bert" / f"bad-{number}.wav", 1.0))
    with pytest.raises(BadAudio) as caught:
        heard()
    assert caught.value.args[0] == f"{len(kinds)} audio files cannot be used; nothing was trained"
    for number, said in enumerate(kinds):
        assert any(f"bad-{number}.wav: " in hint and said in hint for hint in caught.value.hints)
    assert list((tmp_path / "out").iterdir()) == []

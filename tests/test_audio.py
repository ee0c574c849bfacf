"""Reading audio: samples as a clip asks for them, and every kind of file that cannot be used."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import SPOILED, cut, write_noise

from earbench import audio
from earbench.contract import Clip
from earbench.errors import BadAudio, BenchError


def clip(path, **changes):
    return replace(Clip("one", path, "yes", "anna"), **changes)


def tone(rate, pitch=440.0, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def nothing():
    pass


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_channels_are_averaged(tmp_path):
    left, right = np.full(100, 0.5), np.full(100, -0.25)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), 16_000)
    samples = audio.read(clip(tmp_path / "two.wav"), 16_000)
    assert (samples.shape, samples.dtype) == ((100,), np.float32)
    assert np.array_equal(samples, np.full(100, 0.125))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_keeps_duration_pitch_and_energy(tmp_path, rate):
    soundfile.write(tmp_path / "tone.flac", tone(rate), rate)
    samples = audio.read(clip(tmp_path / "tone.flac"), 16_000)
    assert len(samples) == 16_000
    assert np.abs(np.fft.rfft(samples)).argmax() == 440
    assert np.square(samples).mean() == pytest.approx(0.125, rel=0.01)


@pytest.mark.parametrize(("rate", "start", "stop"), [(16_000, 1_001, 12_345), (22_050, 15, 53), (44_100, 23, 9_999)])
def test_start_and_stop_are_exact_in_samples(tmp_path, rate, start, stop):
    """Seconds times rate is often a hair below the number that was meant: 1001 / 16000 * 16000 is."""
    soundfile.write(tmp_path / "ramp.wav", np.arange(16_000, dtype=np.int16), rate)
    samples = audio.read(clip(tmp_path / "ramp.wav", start=start / rate, stop=stop / rate), rate)
    assert np.array_equal(samples * 32_768, np.arange(start, stop))


def test_missing_bounds_mean_the_ends_of_the_file(tmp_path):
    soundfile.write(tmp_path / "ramp.wav", np.arange(1_000, dtype=np.int16), 16_000)
    tail = audio.read(clip(tmp_path / "ramp.wav", start=0.05), 16_000)
    head = audio.read(clip(tmp_path / "ramp.wav", stop=0.05), 16_000)
    assert np.array_equal(np.concatenate([head, tail]) * 32_768, np.arange(1_000))


def test_effects_are_applied_to_the_stretch(tmp_path):
    path = write_noise(tmp_path / "noise.wav", 1.0)
    plain = audio.read(clip(path, start=0.5), 16_000)
    quiet = audio.read(clip(path, start=0.5, effects=(("gain_db", -20.0),)), 16_000)
    assert quiet == pytest.approx(0.1 * plain)


def test_a_file_that_went_away_is_named_with_its_clip(tmp_path):
    with pytest.raises(BadAudio, match="one could not be read"):
        audio.read(clip(tmp_path / "gone.wav"), 16_000)


# ---- files that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", SPOILED)
def test_what_is_wrong_with_a_file_is_found(tmp_path, problem):
    path = write_noise(tmp_path / "spoiled.wav", 0.5)
    assert audio.probe(path).problem is None
    SPOILED[problem](path)
    assert problem in audio.probe(path).problem


@pytest.mark.parametrize(
    ("ending", "part"),
    [("wav", 0.5), ("wav", 0.999), ("flac", 0.5), ("flac", 0.999), ("mp3", 0.5), ("au", 0.5), ("w64", 0.5)],
)
def test_a_cut_file_is_found_wherever_it_was_cut(tmp_path, ending, part):
    path = write_noise(tmp_path / f"cut.{ending}", 1.0)
    cut(path, part)
    assert audio.probe(path).problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_found(tmp_path):
    path = write_noise(tmp_path / "secret.wav", 0.5)
    path.chmod(0)
    assert "Permission denied" in audio.probe(path).problem


@pytest.mark.parametrize("sizes", [(2**32 - 1, 2**32 - 1), (36, 32_000), (99_999, 32_000)], ids=["pipe", "low", "high"])
def test_whole_samples_under_a_sloppy_header_are_used(tmp_path, sizes):
    """A program that writes into a pipe cannot fill in sizes; others get the outer size wrong. No sample is missing."""
    path = write_noise(tmp_path / "sloppy.wav", 1.0)
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", sizes[0]) + data[8:40] + struct.pack("<I", sizes[1]) + data[44:])
    facts = audio.probe(path)
    assert (facts.problem, facts.frames) == (None, 16_000)


# ---- what is remembered ----------------------------------------------------------------------------------------------


def test_a_file_is_decoded_once_until_it_changes(tmp_path, monkeypatch):
    path, decoded = write_noise(tmp_path / "a.wav", 0.5), []
    monkeypatch.setattr(audio, "probe", lambda path, probe=audio.probe: decoded.append(path) or probe(path))
    first = audio.fingerprints([path], tmp_path / "cache", nothing)
    assert audio.fingerprints([path], tmp_path / "cache", nothing) == first
    assert decoded == [path]
    write_noise(path, 0.5, seed=1)
    os.utime(path, ns=(1, 1))
    assert audio.fingerprints([path], tmp_path / "cache", nothing)[path].digest != first[path].digest
    assert decoded == [path, path]


def test_a_bad_file_is_never_remembered(tmp_path):
    path = write_noise(tmp_path / "a.wav", 0.5)
    sound, state, facts = path.read_bytes(), path.stat(), audio.probe(path)
    path.write_bytes(bytes(len(sound)))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert audio.fingerprints([path], tmp_path / "cache", nothing)[path].problem
    path.write_bytes(sound)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert audio.fingerprints([path], tmp_path / "cache", nothing) == {path: facts}


def test_another_process_can_use_the_memory_meanwhile(tmp_path, monkeypatch):
    """As another process would, the second caller has a connection of its own, and the first is in mid-work."""
    monkeypatch.setattr("earbench.memory.REMEMBERED_TOGETHER", 2)
    mine, theirs = ([write_noise(tmp_path / f"{who}{i}.wav", 0.1, seed=i) for i in range(5)] for who in "ab")
    audio.fingerprints(mine, tmp_path / "cache", lambda: audio.fingerprints(theirs, tmp_path / "cache", nothing))
    monkeypatch.setattr(audio, "probe", lambda path: pytest.fail(f"{path} was decoded again"))
    audio.fingerprints([*mine, *theirs], tmp_path / "cache", nothing)


def test_what_was_read_before_an_interruption_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("earbench.memory.REMEMBERED_TOGETHER", 2)
    paths, ticks = [write_noise(tmp_path / f"{i}.wav", 0.1) for i in range(6)], iter([None] * 4)
    with pytest.raises(StopIteration):
        audio.fingerprints(paths, tmp_path / "cache", lambda: next(ticks))
    monkeypatch.setattr(audio, "probe", lambda path: pytest.fail(f"{path} was decoded again"))
    audio.fingerprints(paths[:4], tmp_path / "cache", nothing)


def test_a_damaged_memory_is_an_error_that_says_what_to_delete(tmp_path):
    (tmp_path / "fingerprints.sqlite").write_bytes(b"not a database, but long enough to look at" * 9)
    with pytest.raises(BenchError, match=r"fingerprints.sqlite(?s:.*)delete it"):
        audio.fingerprints([Path("any.wav")], tmp_path, nothing)

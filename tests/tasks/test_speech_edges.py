"""Odd utterances through the whole line: very long and very short ones, silence, one speaker only."""

import numpy as np
import pytest
import soundfile

import earbench
from earbench.contract import Recipe
from earbench.errors import BadAudio, BenchError
from earbench_tasks.speech_recognition import SpeechRecognition

SMALL = Recipe(1e-3, 4, 2, 2, clip=1.0, options={"hidden": 4, "time_limit": 40, "feature_limit": 50})
ODD = {
    "half a minute": (480_000, "A LONG STORY"),
    "a fortieth of a second": (400, "I"),
    "more letters than frames": (400, "INCOMPREHENSIBILITIES"),
    "digital silence": (16_000, "NOTHING"),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(SpeechRecognition, "recipes", lambda *_: [SMALL])

    def run(root):
        folders = {"cache": tmp_path / "cache", "results": tmp_path / "results"}
        return earbench.run("fbank_no_cmvn", "asr", str(root), True, device="cpu", quiet=True, **folders)

    return run


def write(root, odd=ODD, speakers="123"):
    """A speaker with one chapter in each subset: two ordinary utterances of noise, and the odd ones."""
    subsets = ("train-clean-100", "dev-clean", "test-clean")
    for chapter, (subset, speaker) in enumerate(zip(subsets, speakers, strict=True)):
        folder = root / subset / speaker / str(chapter)
        folder.mkdir(parents=True)
        lines = []
        for number, (samples, text) in enumerate([(16_000, "YES"), (24_000, "OH NO"), *odd.values()]):
            wave = np.random.default_rng([number, chapter]).normal(0, 0.1, samples) * (text != "NOTHING")
            soundfile.write(folder / f"{speaker}-{chapter}-{number:04}.flac", wave, 16_000)
            lines.append(f"{speaker}-{chapter}-{number:04} {text}\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return root


def test_odd_utterances_go_through_and_are_all_counted_though_one_speaker_allows_no_interval(tmp_path, run):
    record = run(write(tmp_path / "corpus"))
    score = record.scores["wer"]
    assert np.isfinite([score["value"], record.scores["cer"]["value"]]).all()
    assert (score["low"], score["interval"]) == (None, "none: 1 group")
    assert score["bounds"] == [0, None]
    assert any(name.startswith("partial") for name in record.facts["deviations"])


def test_a_corpus_of_one_speaker_is_refused_since_no_test_speaker_may_have_been_trained_on(tmp_path, run):
    with pytest.raises(BenchError, match="'asr': 1 clips or speakers are in both train and valid, the first: 7"):
        run(write(tmp_path / "corpus", speakers="777"))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_letter_less_utterance_is_refused_before_anything_is_extracted(tmp_path, run):
    with pytest.raises(BadAudio, match=r"3 utterances or chapters .* nothing was trained"):
        run(write(tmp_path / "corpus", odd={"digits": (16_000, "42")}))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_an_utterance_without_samples_is_refused_with_all_other_bad_audio(tmp_path, run):
    with pytest.raises(BadAudio, match="3 audio files cannot be used"):
        run(write(tmp_path / "corpus", odd={"nothing at all": (0, "HELLO")}))

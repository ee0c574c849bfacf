"""The committed speech pack: whole, small, repeatable."""

import sys

import numpy as np
import pytest
import soundfile

from earbench.demo import voices
from earbench.demo.lexicon import NATIVE, VOCABULARY, WORDS, commands, sentences, spell
from earbench.demo.speakers import PACK, index, recording, recordings

HANDS = [(voice, setting) for voice in voices.VOICES for setting in voices.SETTINGS]


def test_every_file_decodes_to_the_samples_its_index_promises():
    for name, facts in index()["files"].items():
        samples, rate = soundfile.read(PACK / name, dtype="int16")
        assert (rate, samples.ndim, voices.digest(samples)) == (16_000, 1, facts["sha256"]), name
        assert facts["segments"][-1][3] == len(samples)


def test_the_pack_stays_under_eight_megabytes():
    assert sum(path.stat().st_size for path in PACK.iterdir()) < 8_000_000


@pytest.mark.parametrize(("voice", "setting"), HANDS)
def test_every_voice_says_every_word_audibly(voice, setting):
    said = recordings(voice, setting)
    assert {text for kind, text in said if kind == "word"} == set(WORDS)
    assert {text for kind, text in said if kind == "native"} == set(NATIVE[voice[:2]])
    for (kind, text), samples in said.items():
        assert np.abs(samples).max() == voices.PEAK, text
        seconds = len(samples) / 16_000
        assert (0.15 < seconds < 1.1) if kind in ("word", "native") else (0.7 < seconds < 2.6), (text, seconds)


def test_no_command_or_sentence_is_said_by_two_speakers():
    said = [text for hand in HANDS for kind, text in recordings(*hand) if kind in ("command", "sentence")]
    assert len(said) == len(set(said)) == 12 * 15


def test_every_text_can_be_spelled_for_every_voice():
    words = {word for text in (*WORDS, *commands(), *sentences()) for word in text.split()}
    assert words == set(VOCABULARY)
    assert {len(spellings) for spellings in VOCABULARY.values()} == {4}
    assert spell("turn on the lights", "fr") == "teurne onne ze laïtse"


def test_commands_carry_the_slots_their_words_say():
    assert commands()["turn down the heat in the bathroom"] == {
        "action": "decrease",
        "object": "heat",
        "location": "bathroom",
    }
    assert commands()["turn off the lamp"]["location"] == "none"


@pytest.mark.skipif(sys.platform != "linux", reason="repeatable rendering needs glibc")
def test_rendering_again_in_another_order_gives_the_packs_own_samples():
    pytest.importorskip("py_nanotts", reason="the extra 'voices' is not installed")
    speak = voices.speaker()
    wanted = [("it-IT", "low", "word", "six"), ("en-US", "high", "word", "yes"), ("fr-FR", "high", "native", "eau")]
    wanted += [("en-US", "high", *next(key for key in recordings("en-US", "high") if key[0] == "sentence"))]
    for voice, setting, kind, text in wanted + wanted[::-1]:
        again = voices.take(speak, voice, setting, kind, text)
        np.testing.assert_array_equal(again, recordings(voice, setting)[kind, text], err_msg=text)


def test_a_recording_is_scaled_to_a_peak_of_one():
    assert np.abs(recording("de-DE", "low", "word", "right")).max() == 1.0


def test_cutting_keeps_a_weak_final_consonant_and_drops_what_comes_after_a_word():
    rng = np.random.default_rng(0)
    vowel = 1000 * np.sin(2 * np.pi * 200 * np.arange(3200) / 16_000)
    hiss, crackle = 40 * rng.standard_normal(1600), 40 * rng.standard_normal(320)
    pause, gap = np.zeros(4800), np.zeros(800)
    spoken = np.concatenate([pause, vowel, gap, hiss, pause, crackle, pause])
    assert len(voices.cut(spoken, one_word=True)) / 16_000 == pytest.approx(0.35 + 0.06, abs=0.02)
    assert len(voices.cut(spoken, one_word=False)) / 16_000 == pytest.approx(0.67 + 0.06, abs=0.02)

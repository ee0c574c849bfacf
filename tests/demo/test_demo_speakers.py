"""Who speaks where."""

import hashlib

import pytest

from earbench.demo.keywords import SPEAKERS
from earbench.demo.speakers import VOICES, cast
from earbench.demo.voices import SETTINGS
from earbench.demo.voices import VOICES as RENDERED

CASTS = {split: cast(split, count) for split, count in SPEAKERS.items()}


def which_set(name):
    """The published rule, written anew: SHA-1 of the name, modulo 2**27, as a percentage."""
    share = int.from_bytes(hashlib.sha1(name.encode()).digest(), "big") % 2**27 * (100.0 / (2**27 - 1))
    return "valid" if share < 10 else "test" if share < 20 else "train"


@pytest.mark.parametrize("split", list(CASTS))
def test_speaker_names_fall_where_the_published_split_rule_puts_them(split):
    assert {which_set(person.id) for person in CASTS[split]} == {split}


def test_every_voice_belongs_to_one_split():
    voices = [voice for split in VOICES.values() for voice in split]
    assert sorted(voices) == sorted(RENDERED)
    for split, people in CASTS.items():
        assert {person.voice for person in people} == set(VOICES[split])
        assert {person.setting for person in people} == set(SETTINGS)


def test_no_two_speakers_share_a_name_or_a_body():
    people = [person for members in CASTS.values() for person in members]
    assert len({person.id for person in people}) == len({(person.voice, person.tract) for person in people}) == 104


def test_there_are_enough_test_speakers_for_a_bootstrap_over_speakers():
    assert len(CASTS["test"]) >= 20

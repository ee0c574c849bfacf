"""IEMOCAP in small, of prosody *styles*: sentences read neutrally and changed in pitch, pace, level and brightness.

Nobody feels anything here. A style is a way of changing a recording that is named after the label whose place it takes:
"hap" is higher and quicker, "ang" louder and brighter, "sad" lower, slower and duller, all of them drawn from ranges
that overlap, in speakers who differ by as much. Half of "hap" is labelled `exc`, and some lines have labels that a
reader leaves out.

`Session<k>/dialog/EmoEvaluation/<dialogue>.txt` and `Session<k>/sentences/wav/<dialogue>/<utterance>.wav`, 16-bit PCM
at 16 kHz, two speakers in each session, a "high" one (F) and a "low" one (M). Their voices are those of valid and test:
five sessions are train and test by turns, and an encoder trained on the demo's training voices has heard none of them.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.keywords import RATE, Noises, bank, save, stretch
from earbench.demo.speakers import TEST_VOICES, TRACTS, VALID_VOICES, recording, recordings
from earbench.kit.seeds import generator

SESSIONS = (1, 2, 3, 4, 5)
DIALOGUES = ("F_impro01", "M_impro01", "F_script01_1", "M_script01_1")
EACH = 3
"""Each speaker says a sentence so often in every style and dialogue, less the omissions."""
KEPT = 0.9
HANDS: Mapping[str, str] = {"F": "high", "M": "low"}
VOICES = (*VALID_VOICES, *TEST_VOICES)
SNR = (15.0, 35.0)
"""Decibels by which an utterance lies above its noise, drawn evenly."""

Wave = np.ndarray[Any, np.dtype[np.float64]]
Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a recording is changed, each pair a range: `height` multiplies pitch (and formants), `pace` the speed;
    `level` is in dB of full scale, `bright` in dB from 100 Hz to 8 kHz.
    """

    labels: tuple[str, ...]
    height: Range = (0.97, 1.03)
    pace: Range = (0.9, 1.1)
    level: Range = (-18.0, -10.0)
    bright: Range = (-3.0, 3.0)


STYLES = (
    Style(("neu",)),
    Style(("hap", "exc"), height=(1.02, 1.14), pace=(1.0, 1.25), level=(-16.0, -8.0), bright=(-2.0, 5.0)),
    Style(("ang",), height=(0.98, 1.1), pace=(0.95, 1.2), level=(-10.0, -4.0), bright=(1.0, 9.0)),
    Style(("sad",), height=(0.9, 1.0), pace=(0.72, 0.95), level=(-24.0, -14.0), bright=(-8.0, 0.0)),
)
LEFT_OUT = ("fru", "xxx")
_SPLITS = {1: (272, 69), 2: (272, 69), 3: (271, 68), 4: (275, 69), 5: (274, 69)}
_LABELLED = {1: (19, 23, 22, 22), 2: (24, 19, 22, 21), 3: (22, 24, 23, 19), 4: (20, 19, 22, 22), 5: (19, 24, 22, 19)}
CENSUS: Mapping[str, Mapping[str, int]] = {
    "er": {f"session{k}/train": train for k, (train, _) in _SPLITS.items()}
    | {f"session{k}/valid": valid for k, (_, valid) in _SPLITS.items()}
    | {
        f"session{k}/test/{style.labels[0]}": count
        for k, counts in _LABELLED.items()
        for style, count in zip(STYLES, counts, strict=True)
    }
}
"""Train and valid of the fold that tests on each session, and its test labels."""


@dataclass(frozen=True)
class Reader:
    """Who speaks in a session: one of the voices with a vocal tract, a pace, a level, a microphone and a room."""

    id: str
    voice: str
    setting: str
    tract: float
    pace: float
    level: float
    tilt: float
    echo: float


def write(root: Path) -> None:
    """Write the five sessions under `root`."""
    noises = {**bank("valid"), **{f"{name} 2": wave for name, wave in bank("test").items()}}
    for session in SESSIONS:
        for dialogue in DIALOGUES:
            write_dialogue(root / "IEMOCAP_full_release" / f"Session{session}", f"Ses0{session}{dialogue}", noises)


def write_dialogue(home: Path, name: str, noises: Noises) -> None:
    """The utterances of both speakers and, in one file, their labels."""
    lines, start = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"], 0.0
    for letter in HANDS:
        for number, (style, label) in enumerate(turns(f"{name}_{letter}")):
            id = f"{name}_{letter}{number:03}"
            wave = utter(reader(name[:5] + letter), id, style, noises)
            save(home / "sentences" / "wav" / name / f"{id}.wav", wave)
            stop = start + len(wave) / RATE
            lines.append(f"[{start:.4f} - {stop:.4f}]\t{id}\t{label}\t[2.5000, 2.5000, 2.5000]\n")
            start = stop
    labels = home / "dialog" / "EmoEvaluation" / f"{name}.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text("".join(lines), encoding="utf-8", newline="\n")


def turns(name: str) -> Iterator[tuple[Style, str]]:
    """Style and label of each utterance of a speaker in a dialogue, in an order of its own."""
    rng = generator("demo turns", name)
    styles = [style for style in STYLES for _ in range(EACH) if rng.uniform() < KEPT]
    for index in rng.permutation(len(styles)):
        yield styles[index], str(rng.choice(styles[index].labels))
    yield STYLES[0], str(rng.choice(LEFT_OUT))


def reader(id: str) -> Reader:
    """The speaker with this id, such as Ses03F; neighbouring sessions have other voices."""
    rng, setting = generator("demo reader", id), HANDS[id[-1]]
    voice = VOICES[(int(id[3:5]) + (id[-1] == "M")) % len(VOICES)]
    tract, pace = rng.uniform(*TRACTS[setting]), rng.uniform(0.9, 1.1)
    return Reader(id, voice, setting, tract, pace, rng.uniform(-4, 4), rng.uniform(-4, 4), rng.uniform(0.1, 0.35))


def utter(person: Reader, id: str, style: Style, noises: Noises) -> Wave:
    """A sentence of the pack in the speaker's voice and room and in a style, over noise."""
    rng = generator("demo prosody", id)
    lines = [key for key in recordings(person.voice, person.setting) if key[0] in ("command", "sentence")]
    tract, pace = person.tract * rng.uniform(*style.height), person.pace * rng.uniform(*style.pace)
    spoken = recording(person.voice, person.setting, *lines[int(rng.integers(len(lines)))])
    dry = speech.change_pace(speech.scale_tract(spoken, tract), pace / tract)
    place = speech.room(generator("demo room", person.id), person.echo)
    heard = speech.convolve(dry, speech.tilt(place, person.tilt + rng.uniform(*style.bright)))
    clip = speech.add_noise(heard, stretch(noises, len(heard), rng), rng.uniform(*SNR), speech=heard[: len(dry)])
    loudness = 10 ** ((person.level + rng.uniform(*style.level)) / 20)
    return np.asarray(clip / np.abs(clip).max() * min(loudness, 0.98))

"""Renders the demo's speech pack with the six Pico voices: `python -m earbench.demo.voices OUT`.

Needs the extra `voices` (py-nanotts 0.1.1) and glibc. OUT receives one FLAC per voice and setting (16 kHz, mono, the
segments one after another) and `index.json`: the settings, a digest of each file's decoded samples and the segments as
[kind, text, start, stop] in samples. The pack beside this module was made by exactly this command.

Every segment is cut to its speech and scaled to a peak of `PEAK`, ten bits: the rounding lies more than 50 dB below the
speech and under any noise that is mixed in later, and FLAC then needs half the space.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earbench.demo.lexicon import NATIVE, WORDS, commands, deal, sentences, spell
from earbench.errors import BenchError, MissingExtra

VOICES = {"en-US": "en-US", "en-GB": "en-GB", "de-DE": "de", "fr-FR": "fr", "es-ES": "es", "it-IT": "it"}
SETTINGS = {"low": (0.65, 0.95), "high": (1.15, 1.1)}
"""Pitch and speed. All six voices are of women; "low" lies near 115 Hz, "high" near 210 Hz."""

RATE = 16_000
PEAK = 700
COMMANDS_EACH = 7
SENTENCES_EACH = 8

Pcm = np.ndarray[Any, np.dtype[np.int16]]
Wave = np.ndarray[Any, np.dtype[np.float64]]


def render(out: Path) -> None:
    """Write the whole pack into the folder `out`."""
    speak = speaker()
    out.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"engine": "py-nanotts 0.1.1", "rate": RATE, "files": {}}
    for (voice, setting), texts in scripts().items():
        name, position, pieces, segments = f"{voice}-{setting}.flac", 0, [], []
        for kind, text in texts:
            piece = take(speak, voice, setting, kind, text)
            segments.append([kind, text, position, position + len(piece)])
            position += len(piece)
            pieces.append(piece)
        samples = np.concatenate(pieces)
        soundfile.write(out / name, samples, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
        pitch, speed = SETTINGS[setting]
        facts = {"voice": voice, "setting": setting, "pitch": pitch, "speed": speed, "sha256": digest(samples)}
        index["files"][name] = facts | {"segments": segments}
    (out / "index.json").write_text(dump(index), encoding="utf-8")


def scripts() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """What each voice and setting says, as (kind, English or native text); no two share a command or sentence."""
    hands = [(voice, setting) for voice in VOICES for setting in SETTINGS]
    ordered = deal(tuple(commands()), len(hands), min(COMMANDS_EACH, len(commands()) // len(hands)), seed=1)
    plain = deal(sentences(), len(hands), SENTENCES_EACH + COMMANDS_EACH - len(ordered[0]), seed=2)
    said = {}
    for hand, orders, lines in zip(hands, ordered, plain, strict=True):
        said[hand] = [("word", text) for text in WORDS]
        said[hand] += [("command", text) for text in orders] + [("sentence", text) for text in lines]
        said[hand] += [("native", text) for text in NATIVE[hand[0][:2]]]
    return said


def speaker() -> Callable[..., bytes]:
    """Pico's `speak`, made repeatable.

    The engine reads working memory that it never wrote: the same text then differs by a few units from call to call,
    with what lay there before. glibc can be told to hand out memory filled with a byte, here zero.
    """
    try:
        engine = import_module("py_nanotts").NanoTTS()
    except ImportError:
        raise MissingExtra("py-nanotts", "voices", "rendering the demo voices") from None
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        raise BenchError("rendering the demo voices repeatably needs glibc's mallopt", "run it on a glibc Linux")
    perturb, fill_with_zero, as_it_comes = -6, 0xFF, 0  # the fill is the complement of the value

    def speak(text: str, **settings: str | float) -> bytes:
        mallopt(perturb, fill_with_zero)
        try:
            return bytes(engine.speak(text, **settings))
        finally:
            mallopt(perturb, as_it_comes)

    return speak


def take(speak: Callable[..., bytes], voice: str, setting: str, kind: str, text: str) -> Pcm:
    """One text in one voice: cut to its speech, peak at `PEAK`."""
    pitch, speed = SETTINGS[setting]
    seen = text if kind == "native" else spell(text, VOICES[voice][:2])
    quiet_enough_not_to_clip = 0.25
    pcm = speak(seen, voice=voice, pitch=pitch, speed=speed, volume=quiet_enough_not_to_clip)
    samples = cut(np.frombuffer(pcm, dtype="<i2").astype(np.float64), one_word=kind in ("word", "native"))
    return np.asarray(np.round(samples * (PEAK / np.abs(samples).max())), dtype=np.int16)


def cut(samples: Wave, one_word: bool, step: int = 160) -> Wave:
    """`samples` without the silence at both ends, in steps of 10 ms, less 30 ms of margin.

    A step is loud from 3 % of the peak, after pre-emphasis (else a final "s" or "f" counts as silence). What follows a
    pause of 0.2 s is speech in a sentence, but the engine's own crackle behind a single word.
    """
    bright = np.abs(np.diff(samples, prepend=samples[:1]) + 0.03 * samples)
    peaks = bright[: len(samples) // step * step].reshape(-1, step).max(1)
    loud = np.flatnonzero(peaks > 0.03 * peaks.max())
    pauses = np.flatnonzero(np.diff(loud) > 20)
    last = loud[pauses[0]] if one_word and len(pauses) else loud[-1]
    return samples[max(0, loud[0] - 3) * step : (last + 1 + 3) * step]


def digest(samples: Pcm) -> str:
    """SHA-256 of the decoded samples, little-endian: unlike the file's, it does not depend on the FLAC encoder."""
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def dump(index: dict[str, Any]) -> str:
    """The index as JSON with one segment a line, so that a changed pack can be read as a diff."""

    def lines() -> Iterator[str]:
        for name, facts in index["files"].items():
            head = json.dumps({key: value for key, value in facts.items() if key != "segments"})
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in facts["segments"])
            yield f'"{name}": {head[:-1]}, "segments": [\n{rows}\n]}}'

    head = json.dumps({key: value for key, value in index.items() if key != "files"})
    return f'{head[:-1]}, "files": {{\n' + ",\n".join(lines()) + "\n}}\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m earbench.demo.voices OUT")
    render(Path(sys.argv[1]))

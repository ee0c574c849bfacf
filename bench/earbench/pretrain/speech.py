"""Unlabelled audio as stretches of one speaker: every file below a folder, decoded once into one long file of samples.

The first folder below the root names the speaker, as in LibriSpeech (`SPEAKER/CHAPTER/*.flac`). The files of a speaker
are joined in a shuffled order; the last twentieth (at least one stretch) is held out for validation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earbench import audio, files
from earbench.contract import Clip
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.seeds import generator
from earbench.progress import Progress

SUFFIXES = frozenset(f".{name.lower()}" for name in (*soundfile.available_formats(), "aif", "oga", "opus"))
HELD_OUT = 0.05
SHORTEST_SPEAKER = 4

Samples = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True)
class Speech:
    """`samples` of all speakers in one row, mapped from disk; where each speaker's train and valid parts lie in it."""

    samples: Samples
    train: dict[str, tuple[int, int]]
    valid: dict[str, tuple[int, int]]
    facts: dict[str, Any]

    def stretches(self, split: str, count: int, window: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """`count` random stretches of one random speaker, [stretch, sample] in [-1, 1]; who has more is drawn more."""
        parts = list((self.train if split == "train" else self.valid).values())
        lengths = np.array([stop - start for start, stop in parts], dtype=float)
        start, stop = parts[rng.choice(len(parts), p=lengths / lengths.sum())]
        begins = rng.integers(start, stop - window + 1, size=count)
        found: np.ndarray[Any, Any] = np.stack([self.samples[at : at + window] for at in begins])
        return found.astype(np.float32) / 32768


def gather(root: Path, folder: Path, sample_rate: int, window: int, progress: Progress) -> Speech:
    """The audio below `root`, decoded into `folder` unless it lies there already, whole and from the same files."""
    index, path = folder / "audio.json", folder / "audio.i16"
    by_speaker = found_below(root)
    listing = [_stamp(file, root) for some in by_speaker.values() for file in some]
    wanted = {"rate": sample_rate, "files": files.digest_of(listing)}
    known = json.loads(index.read_text("utf-8")) if index.is_file() and path.is_file() else {}
    if {key: known.get(key) for key in wanted} != wanted or files.checksum(path) != known["sha"]:
        speakers = _decode(by_speaker, path, sample_rate, progress)
        known = wanted | {"speakers": speakers, "count": len(listing), "sha": files.checksum(path)}
        files.write_text(index, json.dumps(known, indent=1))
    speech = _split(known, np.memmap(path, dtype=np.int16, mode="r"), window)
    if speech.facts["left_out"]:
        short = f"{speech.facts['left_out']} of {len(by_speaker)} speakers have"
        progress.warn(f"{short} less than {_shortest(window, sample_rate)} of audio and are left out")
    return speech


def found_below(root: Path) -> dict[str, list[Path]]:
    """Audio files by speaker, both in a fixed order."""
    if not root.is_dir():
        raise MissingCorpus(f"{root} is not a folder", "--data takes a folder with one folder of audio per speaker")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise MissingCorpus(f"no audio below {root}", f"looked for: {', '.join(sorted(SUFFIXES))}")
    speakers: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.relative_to(root).parts
        speakers.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    return speakers


def _stamp(file: Path, root: Path) -> list[object]:
    """What a file that was not decoded again must still be: the same name, size and time."""
    state = file.stat()
    return [str(file.relative_to(root)), state.st_size, state.st_mtime_ns]


def _decode(speakers: dict[str, list[Path]], path: Path, rate: int, progress: Progress) -> dict[str, int]:
    """Write all samples to `path` in the order of `speakers`; how many each of them has."""
    counts = dict.fromkeys(speakers, 0)
    problems: list[str] = []

    def fill(temporary: Path) -> None:
        total = sum(map(len, speakers.values()))
        with temporary.open("wb") as out, progress.bar("decoding", total, "files") as bar:
            for speaker, paths in speakers.items():
                order = generator("pretrain order", speaker).permutation(len(paths))
                for number in order:
                    samples, problem = _read(paths[number], rate)
                    problems.extend(problem)
                    counts[speaker] += len(samples)
                    out.write(samples.tobytes())
                    bar.advance(1)
        if problems:
            more = [f"and {len(problems) - 100} more"] if len(problems) > 100 else []
            raise BadAudio(f"{len(problems)} audio files cannot be used; nothing was trained", *problems[:100], *more)

    files.write(path, fill)
    return counts


def _read(path: Path, rate: int) -> tuple[Samples, list[str]]:
    facts = audio.probe(path)
    if facts.problem:
        return np.zeros(0, np.int16), [f"{path}: {facts.problem}"]
    samples = audio.read(Clip(str(path), path, None, ""), rate)
    return np.round(samples.clip(-1, 1) * 32767).astype(np.int16), []


def _split(known: dict[str, Any], samples: Samples, window: int) -> Speech:
    """Where each speaker's parts lie. Who has less than a few stretches is not used at all."""
    train, valid, at = {}, {}, 0
    for speaker, count in known["speakers"].items():
        if count >= SHORTEST_SPEAKER * window:
            held = max(window, int(count * HELD_OUT))
            train[speaker], valid[speaker] = (at, at + count - held), (at + count - held, at + count)
        at += count
    if not train:
        raise MissingCorpus(
            f"none of {len(known['speakers'])} speakers has {_shortest(window, known['rate'])} of audio",
            "the first folder below --data is the speaker: SPEAKER/…/*.wav",
        )
    facts = {
        "files": known["count"],
        "speakers": len(train),
        "left_out": len(known["speakers"]) - len(train),
        "minutes": round(sum(stop - start for start, stop in train.values()) / known["rate"] / 60, 1),
        "digest": known["sha"],
    }
    return Speech(samples, train, valid, facts)


def _shortest(window: int, rate: int) -> str:
    return f"{SHORTEST_SPEAKER * window / rate:.1f} s"

"""Kaldi's data folders as diarisation uses them, and Libri2Mix in them: recordings, who talks in them, and when."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import soundfile

from earbench.contract import Corpus
from earbench.errors import BadAudio, MissingCorpus

SPLITS: Mapping[str, str] = {"train": "train", "valid": "dev", "test": "test"}
SPEAKERS = 2
SLACK = 0.1
"""Seconds by which somebody may talk on after the end of a recording."""
SHOWN = 100

LIBRI2MIX = Corpus(
    id="libri2mix",
    title="Libri2Mix for diarisation (16 kHz, max mode, both speakers and noise)",
    page="https://github.com/s3prl/LibriMix",
    licence="CC BY 4.0 (LibriSpeech), CC BY-NC 4.0 (WHAM noise)",
    layout=(
        "What the diarisation fork of LibriMix writes (generate_librimix_sd.sh, then scripts/prepare_diarization.py):\n"
        "  Libri2Mix/wav16k/max/{train-100,dev,test}/mix_both/*.wav\n"
        "  a folder, of any name, that holds train/ dev/ test/, in each\n"
        "    wav.scp segments utt2spk reco2dur rttm   (reco2dur and rttm may be missing)\n"
        "The root holds both, at most two folders up, or is the second. Audio is looked for where wav.scp says; then,\n"
        "as such paths are often those of another machine, under the root by as many last parts of the path as fit."
    ),
    counts={"train": 13_900, "valid": 3_000, "test": 3_000},
)
"""Mixtures of two utterances of train-clean-100, dev-clean and test-clean (SUPERB sheet 2.7)."""

Turn = tuple[str, float, float]
"""Speaker, start and stop in seconds from the beginning of the recording."""


@dataclass(frozen=True)
class Recording:
    """`turns` come from `segments` and `utt2spk`; `reference` from `rttm`, or is the same where there is none."""

    id: str
    audio: Path
    seconds: float
    turns: tuple[Turn, ...]
    reference: tuple[Turn, ...]

    def speakers(self) -> tuple[str, ...]:
        """Who talks, in sorted order."""
        return tuple(sorted({speaker for speaker, _, _ in self.turns}))


def libri2mix(root: Path) -> dict[str, list[Recording]]:
    """The recordings of train, valid and test, each with exactly two speakers, in the order of their ids.

    No speaker is in two splits. Whatever is wrong in any of the files is reported as one list.
    """
    home, problems = _home(root), list[str]()
    found = {split: read_folder(home / name, [root, home], problems) for split, name in SPLITS.items()}
    for split, recordings in found.items():
        problems += [
            f"{home / SPLITS[split]}: {one.id} has {len(one.speakers())} speakers ({', '.join(one.speakers())}), not 2"
            for one in recordings
            if len(one.speakers()) != SPEAKERS
        ]
    problems += _shared_speakers(found)
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} lines of the Kaldi folders under {home} cannot be used; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, f"audio was looked for as written, then under {root}")
    return found


def read_folder(folder: Path, roots: Sequence[Path], problems: list[str]) -> list[Recording]:
    """The recordings of one Kaldi folder in the order of their ids; what is wrong with others goes to `problems`.

    A path of wav.scp is looked for as it is given, relative to the folder, then under each of `roots`.
    """
    audio = dict(_audio(folder / "wav.scp", _Finder([folder, *roots]), problems))
    turns = _by_recording(_turns(folder, problems), folder / "segments", audio, problems)
    rttm = folder / "rttm"
    reference = _by_recording(_rttm(rttm, problems), rttm, audio, problems) if rttm.is_file() else turns
    seconds = dict(_durations(folder / "reco2dur", audio, problems))
    found = []
    for id in sorted(id for id, path in audio.items() if path):
        one = Recording(id, audio[id] or Path(), seconds.get(id, 0.0), turns.get(id, ()), reference.get(id, ()))
        wrong = list(_wrong(one))
        problems += [f"{folder}: {id} {text}" for text in wrong]
        if not wrong:
            found.append(one)
    return found


# ---- where things lie ------------------------------------------------------------------------------------------------


def _home(root: Path) -> Path:
    """The one folder that holds the three Kaldi folders: `root`, or at most two folders down."""
    below = [path for depth in ("*", "*/*") for path in sorted(root.glob(depth)) if path.is_dir()]
    homes = [root, *(path for path in below if not any(part[0] == "." for part in path.relative_to(root).parts))]
    found = [home for home in homes if all((home / name / "wav.scp").is_file() for name in SPLITS.values())]
    if len(found) == 1:
        return found[0]
    raise MissingCorpus(
        f"Kaldi folders under {root}: need one folder that holds train/wav.scp, dev/wav.scp and test/wav.scp, "
        f"found {len(found)}",
        *([f"found {', '.join(map(str, found))}"] if found else []),
        f"looked in {', '.join(map(str, homes[:12]))}",
    )


class _Finder:
    """Finds the files of wav.scp on this machine, whatever machine their paths were written on."""

    def __init__(self, bases: Sequence[Path]) -> None:
        self.bases = bases
        self.last: tuple[Path, int] | None = None

    def find(self, name: str) -> Path | None:
        """As it is if that is a file, else below a base by as many last parts as possible.

        Where the last file was found comes first: the files of a corpus lie together.
        """
        path = PurePath(name)
        if path.is_absolute() and Path(name).is_file():
            return Path(name)
        parts = path.parts[1:] if path.is_absolute() else path.parts
        tries = [(base, dropped) for dropped in range(len(parts)) for base in self.bases]
        for base, dropped in [self.last, *tries] if self.last else tries:
            if (found := base.joinpath(*parts[dropped:])).is_file():
                self.last = base, dropped
                return found
        return None


# ---- the files of one folder -----------------------------------------------------------------------------------------


def _audio(path: Path, finder: _Finder, problems: list[str]) -> Iterator[tuple[str, Path | None]]:
    """Every recording of wav.scp and its file, None (and a problem) where there is none."""
    seen: set[str] = set()
    for where, (id, name) in _lines(path, 2, problems, most=2):
        found = None if name.endswith("|") or name == "-" else finder.find(name)
        if id in seen:
            problems.append(f"{where}: {id} stands there twice")
        elif name.endswith("|") or name == "-":
            problems.append(f"{where}: {id} is a command, and commands are never run: write its output to a file")
        elif found is None:
            problems.append(f"{where}: no file {name}")
        seen.add(id)
        yield id, found


def _turns(folder: Path, problems: list[str]) -> Iterator[tuple[str, str, Turn]]:
    """Where it stands, recording and turn of each line of `segments`.

    An utterance id may stand there twice (the published train folder has one such id, of two speakers who begin and
    end together): its n-th line then belongs to its n-th line in `utt2spk`.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for _, (utterance, speaker) in _lines(folder / "utt2spk", 2, problems):
        names[utterance].append(speaker)
    seen: Counter[str] = Counter()
    for where, (utterance, recording, start, stop, *_) in _lines(folder / "segments", 4, problems):
        said = names.get(utterance)
        if not said:
            problems.append(f"{where}: {utterance} has no speaker in utt2spk")
        elif times := _times(where, start, stop, problems):
            yield where, recording, (said[min(seen[utterance], len(said) - 1)], *times)
        seen[utterance] += 1


def _rttm(path: Path, problems: list[str]) -> Iterator[tuple[str, str, Turn]]:
    """The same for each SPEAKER line of an RTTM file: type, recording, channel, start, duration, _, _, speaker."""
    for where, (kind, *rest) in _lines(path, 8, problems):
        if kind == "SPEAKER" and (times := _times(where, rest[2], rest[3], problems, duration=True)):
            yield where, rest[0], (rest[6], *times)


def _durations(path: Path, audio: Mapping[str, Path | None], problems: list[str]) -> Iterator[tuple[str, float]]:
    """Seconds of every recording: from reco2dur, or where there is no such file from the audio itself."""
    if path.is_file():
        for where, (id, seconds, *_) in _lines(path, 2, problems):
            if times := _times(where, "0", seconds, problems):
                yield id, times[1]
        return
    for id, file in audio.items():
        try:
            if file:
                yield id, float(soundfile.info(file).duration)
        except soundfile.LibsndfileError:
            problems.append(f"{file} cannot be read")


def _by_recording(
    turns: Iterable[tuple[str, str, Turn]], path: Path, audio: Mapping[str, Path | None], problems: list[str]
) -> dict[str, tuple[Turn, ...]]:
    found: dict[str, list[Turn]] = defaultdict(list)
    for where, recording, turn in turns:
        found[recording].append(turn)
        if recording not in audio:
            problems.append(f"{where}: wav.scp has no {recording}")
    problems += [f"{path}: nobody talks in {id}" for id in sorted(audio) if id not in found]
    return {recording: tuple(sorted(one)) for recording, one in found.items()}


def _wrong(one: Recording) -> Iterator[str]:
    """What is wrong with a recording whose lines are each in order."""
    if not one.seconds:
        yield "has no duration in reco2dur"
        return
    last = max((stop for _, _, stop in (*one.turns, *one.reference)), default=0.0)
    if last > one.seconds + SLACK:
        yield f"lasts {one.seconds:.3f} s, but somebody talks until {last:.3f} s"
    if one.reference and {turn[0] for turn in one.reference} != set(one.speakers()):
        yield "has other speakers in rttm than in segments"


def _shared_speakers(found: Mapping[str, Sequence[Recording]]) -> Iterator[str]:
    homes: dict[str, set[str]] = defaultdict(set)
    for split, recordings in found.items():
        for one in recordings:
            for speaker in one.speakers():
                homes[speaker].add(SPLITS[split])
    yield from (f"{speaker} talks in {' and '.join(sorted(of))}" for speaker, of in homes.items() if len(of) > 1)


def _lines(path: Path, fields: int, problems: list[str], most: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Where it stands and the words of every line that is not empty; lines of fewer than `fields` are problems.

    With `most`, the last word is the rest of the line, whatever is in it.
    """
    if not path.is_file():
        problems.append(f"{path} is missing")
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.strip().split(None, most - 1)
        if len(words) >= fields:
            yield f"{path}, line {number}", words
        elif words:
            problems.append(f"{path}, line {number}: {fields} fields expected, found {len(words)}")


def _times(
    where: str, start: str, stop: str, problems: list[str], duration: bool = False
) -> tuple[float, float] | None:
    """Start and stop in seconds; with `duration` the second number is one."""
    try:
        begin, end = float(start), float(stop) + (float(start) if duration else 0.0)
    except ValueError:
        begin, end = math.nan, math.nan
    if 0 <= begin < end < math.inf:
        return begin, end
    problems.append(f"{where}: '{start}' and '{stop}' are no stretch of time")
    return None

"""Google Speech Commands (Warden 2018), both versions: their facts, and readers of the trees that people have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit import archives
from earbench.kit.seeds import generator

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
SPEECH_COMMANDS_LABELS = (*KEYWORDS, UNKNOWN, SILENCE)
LATER = ("backward", "follow", "forward", "learn", "visual")
"""The words that only v0.02 has."""
_OTHERS = (
    *("bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin"),
    *("nine", "one", "seven", "sheila", "six", "three", "tree", "two", "wow", "zero"),
)
ALL_WORDS = tuple(sorted((*KEYWORDS, *_OTHERS, *LATER)))
"""The 35 words of v0.02, in the order of the alphabet."""

_BACKGROUND = "_background_noise_"
_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
_SAMPLE_RATE = 16_000
_GAIN = (("gain_db", -3.0),)
_COUNTS = {
    "train": (1860, 1853, 1843, 1842, 1839, 1852, 1864, 1839, 1885, 1861, 32_550, 6),
    "valid": (261, 270, 260, 264, 247, 256, 257, 256, 246, 260, 4_221, 6),
    "test": (256, 252, 272, 253, 267, 259, 246, 262, 249, 251, 257, 257),
}

SPEECH_COMMANDS_V1 = Corpus(
    id="speech_commands_v1",
    title="Google Speech Commands v0.01",
    page="https://arxiv.org/abs/1804.03209",
    licence="CC BY 4.0",
    layout=(
        "Two archives, each unpacked into a folder of its own, the folders side by side under one root:\n"
        "  speech_commands_v0.01.tar.gz            a folder per word, and _background_noise_/\n"
        "  speech_commands_test_set_v0.01.tar.gz   twelve folders, _silence_/ and _unknown_/ among them\n"
        "The folders may have any name."
    ),
    counts={"words of v0.02": 0}
    | {
        f"{split}/{label}": count
        for split, counts in _COUNTS.items()
        for label, count in zip(SPEECH_COMMANDS_LABELS, counts, strict=True)
    },
    archives=archives.SPEECH_COMMANDS_V1,
)

SPEECH_COMMANDS_V2 = Corpus(
    id="speech_commands_v2",
    title="Google Speech Commands v0.02",
    page="https://arxiv.org/abs/1804.03209",
    licence="CC BY 4.0",
    layout=(
        "One archive, unpacked into a folder of its own, which may lie beside others under the root:\n"
        "  speech_commands_v0.02.tar.gz   a folder for each of 35 words, validation_list.txt and testing_list.txt"
    ),
    counts={"train": 84_843, "valid": 9_981, "test": 11_005},
    archives=archives.SPEECH_COMMANDS_V2,
)
"""All 105,829 recordings by the official lists; what they do not name is train."""


def speech_commands(root: Path, silence_pool: int) -> Fold:
    """Twelve-way keyword spotting as SUPERB splits it (sheet 2.3): train and valid archive by hash, test archive whole.

    Every word outside the ten is `_unknown_`. Each background recording is one unit of silence in train and one in
    valid, a pool of `silence_pool` random one-second crops, other crops in each split. Words are grouped by speaker;
    the split rule keeps a speaker on one side of train and valid, and promises nothing about the test archive.
    """
    archive, test_archive = _archives(root)
    words = [path for folder in _folders(archive) if folder.name[0] != "_" for path in _recordings(folder)]
    chosen = {
        split: tuple(_word(path) for path in words if official_split(path.name) == split)
        + tuple(_silences(archive / _BACKGROUND, split, silence_pool))
        for split in ("train", "valid")
    }
    tests = [_tested(path) for label in SPEECH_COMMANDS_LABELS for path in _recordings(test_archive / label)]
    return Fold(Split(chosen["train"]), Split(chosen["valid"]), Split(tuple(tests)))


def listed_words(root: Path) -> Fold:
    """All 35 words of v0.02: valid and test as the archive's two lists say, train what neither names.

    Ids are `word/recording` without the ending. Clips are grouped by speaker, and no speaker is in two splits. A list
    may name recordings that are not there, which the count of a split then shows. Recordings in a folder that is no
    word of v0.02, twice in one folder or named by both lists are reported as one list.
    """
    archive = _listed_archive(root)
    problems: list[str] = []
    splits = _lists(archive, problems)
    found: dict[str, list[Clip]] = {"train": [], "valid": [], "test": []}
    for folder in _folders(archive):
        for id, path in _named(folder, problems):
            speaker = _speaker(path.stem)
            found[splits.get(id, "train")].append(Clip(id, path, folder.name, speaker, leak=speaker))
    if problems:
        raise BadAudio(
            f"{len(problems)} things in {archive} are not as in Speech Commands v0.02; nothing was trained",
            *problems[:100],
            *([f"and {len(problems) - 100} more"] if len(problems) > 100 else []),
            "unpack the archive again into an empty folder, or move away what is not of it",
        )
    train, valid, test = (Split(tuple(clips)) for clips in found.values())
    return Fold(train, valid, test)


def official_split(file_name: str) -> Literal["train", "valid", "test"]:
    """Where the corpus' SHA-1 rule puts a recording; all of a speaker's recordings go the same way.

    The rule hashes the file name up to `_nohash_`, the speaker. SUPERB leaves out what falls to "test" here, and
    tests on the test archive.

    >>> official_split("b97c9f77_nohash_3.wav")
    'test'
    """
    digest = int(hashlib.sha1(_speaker(file_name).encode()).hexdigest(), 16)
    limit = 2**27 - 1
    percentage = digest % (limit + 1) * (100.0 / limit)
    return "valid" if percentage < 10 else "test" if percentage < 20 else "train"


# ---- v0.01: one clip ---------------------------------------------------------------------------------------


def _word(path: Path) -> Clip:
    label = path.parent.name if path.parent.name in KEYWORDS else UNKNOWN
    speaker = _speaker(path.name)
    return Clip(f"{path.parent.name}/{path.name}", path, label, speaker, leak=speaker, effects=_GAIN)


def _tested(path: Path) -> Clip:
    """A clip of the test archive, where unknown words carry their word in front: `four_b49caed3_nohash_0.wav.wav`."""
    label, speaker = path.parent.name, _speaker(path.name)
    group = speaker if speaker == path.name else speaker.rpartition("_")[2]
    return Clip(f"test/{label}-{path.name}", path, label, group, effects=_GAIN)


def _silences(folder: Path, split: str, pool: int) -> Iterator[Clip]:
    for path in _recordings(folder):
        name = f"{split}/{_BACKGROUND}/{path.name}"
        for number, (start, stop) in enumerate(_crops(path, pool, generator("silence", split, path.name))):
            yield Clip(f"{name}#{number}", path, SILENCE, path.name, start, stop, pool=name, effects=_GAIN)


def _crops(path: Path, number: int, rng: np.random.Generator) -> list[tuple[float | None, float | None]]:
    """The bounds of `number` random seconds at integer offsets; of a file shorter than that all of it, once."""
    spare = _samples(path) - _SAMPLE_RATE
    if spare < 0:
        return [(None, None)]
    offsets = rng.integers(spare + 1, size=number).tolist()
    return [(offset / _SAMPLE_RATE, (offset + _SAMPLE_RATE) / _SAMPLE_RATE) for offset in offsets]


def _samples(path: Path) -> int:
    """The length at 16 kHz; 0 if the file cannot be read, which the engine reports with all other bad audio."""
    try:
        facts = soundfile.info(path)
    except soundfile.LibsndfileError:
        return 0
    return int(facts.frames * _SAMPLE_RATE // facts.samplerate)


def _speaker(file_name: str) -> str:
    return file_name.partition("_nohash_")[0]


# ---- v0.01: folders ----------------------------------------------------------------------------------------


def _archives(root: Path) -> tuple[Path, Path]:
    """The training and the test archive: folders in `root`, or `root` itself with the test archive in or beside it.

    A training archive of v0.02 is passed over where there is another.
    """
    inside = _folders(root)
    words = [root] if _holds(root, _BACKGROUND) else [folder for folder in inside if _holds(folder, _BACKGROUND)]
    words = [folder for folder in words if not any(_holds(folder, word) for word in LATER)] or words
    tests = [folder for folder in inside if _is_test_archive(folder)]
    if words == [root] and not tests:
        tests = [folder for folder in _folders(root.parent) if _is_test_archive(folder)]
    if len(words) == len(tests) == 1:
        return words[0], tests[0]
    raise MissingCorpus(
        f"no Speech Commands v0.01 found under {root}: need one training archive and one test archive, "
        f"found {len(words)} and {len(tests)}",
        f"training archive, a folder that holds {_BACKGROUND}/: {_listed(words)}",
        f"test archive, a folder that holds {SILENCE}/ and {UNKNOWN}/ but no {_BACKGROUND}/: {_listed(tests)}",
        f"looked in {_listed([root, *inside][:12])}",
        "unpack each archive into a folder of its own, side by side",
    )


def _is_test_archive(folder: Path) -> bool:
    return _holds(folder, SILENCE) and _holds(folder, UNKNOWN) and not _holds(folder, _BACKGROUND)


def _holds(folder: Path, name: str) -> bool:
    return (folder / name).is_dir()


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _recordings(folder: Path) -> list[Path]:
    """The audio files of a folder, sorted by name; hidden and other files are passed over."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if path.suffix.lower() in (".wav", ".flac") and path.name[0] != ".")


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders)) or "none"


# ---- v0.02 -----------------------------------------------------------------------------------------------------------


def _listed_archive(root: Path) -> Path:
    """The one folder with both lists and words that only v0.02 has: `root` or a folder in it."""
    looked = [root, *_folders(root)]
    listed = [folder for folder in looked if all((folder / name).is_file() for name in _LISTS.values())]
    found = [folder for folder in listed if any(_holds(folder, word) for word in LATER)]
    if len(found) == 1:
        return found[0]
    old = [folder for folder in looked if _holds(folder, KEYWORDS[0]) and not _is_test_archive(folder)]
    raise MissingCorpus(
        f"no Speech Commands v0.02 found under {root}: need one folder with {' and '.join(_LISTS.values())} and with "
        f"the words that v0.01 does not have ({', '.join(LATER)}), found {len(found)}",
        *([f"found {_listed(found)}"] if found else []),
        *([f"without the lists or these words, so v0.01 or not whole: {_listed(old)}"] if old and not found else []),
        f"looked in {_listed(looked[:12])}",
        "unpack speech_commands_v0.02.tar.gz into a folder of its own",
    )


def _lists(archive: Path, problems: list[str]) -> Mapping[str, str]:
    """The split of each recording that a list names, by `word/recording` without the ending."""
    splits: dict[str, str] = {}
    for split, name in _LISTS.items():
        for line in sorted(set((archive / name).read_text(encoding="utf-8").split())):
            id = line.rpartition(".")[0]
            if splits.setdefault(id, split) != split:
                problems.append(f"{line}: in both lists")
    return splits


def _named(folder: Path, problems: list[str]) -> Iterator[tuple[str, Path]]:
    """The recordings of a word with their ids; folders that begin with `_` or `.` hold no words."""
    paths = [] if folder.name[0] in "_." else _recordings(folder)
    if paths and folder.name not in ALL_WORDS:
        problems.append(f"{folder}: {len(paths)} recordings, but no word of v0.02")
        return
    seen: dict[str, Path] = {}
    for path in paths:
        if seen.setdefault(path.stem, path) != path:
            problems.append(f"{path}: the same recording as {seen[path.stem].name}")
        else:
            yield f"{folder.name}/{path.stem}", path

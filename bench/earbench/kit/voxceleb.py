"""VoxCeleb1 as people have it: speakers, videos, utterances, and the two official lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from earbench.contract import Corpus
from earbench.errors import BadAudio, MissingCorpus

SPLITS = {"1": "train", "2": "valid", "3": "test"}
"""As iden_split.txt numbers them."""
SPLIT_LIST = ("iden_split.txt",)
TRIAL_LIST = ("voxceleb1_test_v2.txt", "veri_test.txt")
AUDIO = (".wav", ".flac")
SHOWN = 100

VOXCELEB1 = Corpus(
    id="voxceleb1",
    title="VoxCeleb1",
    page="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/",
    licence="CC BY 4.0 (the videos remain their owners')",
    layout=(
        "Both parts, unpacked beside each other, and the two official lists:\n"
        "  dev/wav/<speaker>/<video>/<utterance>.wav    1,211 speakers\n"
        "  test/wav/<speaker>/<video>/<utterance>.wav   40 speakers\n"
        "  iden_split.txt                               who is identified where\n"
        "  voxceleb1_test_v2.txt (or veri_test.txt)     37,720 trials of verification\n"
        "Or both parts in one wav/. The root may be the folder of these or what holds it, lists in either."
    ),
)


@dataclass(frozen=True)
class Utterance:
    """One audio file; its `name` is what the official lists call it, whatever the file's real suffix."""

    name: str
    path: Path

    @property
    def speaker(self) -> str:
        return self.name.partition("/")[0]

    @property
    def video(self) -> str:
        """Speaker and video."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class VoxCeleb:
    """The utterances of both parts by name, sorted; where both lie in one folder, `dev` and `test` are the same."""

    dev: Mapping[str, Utterance]
    test: Mapping[str, Utterance]
    splits: Path | None
    trials: Path | None


def voxceleb(root: Path) -> VoxCeleb:
    """What lies in `root`, or in a folder one below it."""
    home, parts = _home(root)
    places = list(dict.fromkeys((home, *_folders(home), root, *_folders(root))))
    found = [_by_name(part) for part in parts]
    return VoxCeleb(found[0], found[-1], _listed(places, SPLIT_LIST), _listed(places, TRIAL_LIST))


def identified(found: VoxCeleb, root: Path) -> dict[str, list[Utterance]]:
    """The utterances of each split of iden_split.txt, sorted by name.

    Audio that the list does not name belongs to no split. All lines that cannot be used are reported as one list.
    """
    everything = {**found.dev, **found.test}
    path = _needed(found.splits, SPLIT_LIST, root)
    chosen: dict[str, str] = {}
    problems = []
    for number, (split, *names) in _lines(path):
        if split not in SPLITS or len(names) != 1:
            problems.append(f"{path.name}, line {number}: not one of 1, 2, 3 and a file")
        elif names[0] in chosen:
            problems.append(f"{path.name}, line {number}: {names[0]} is listed before")
        elif names[0] not in everything:
            problems.append(f"{path.name}, line {number}: no audio for {names[0]}")
        else:
            chosen[names[0]] = SPLITS[split]
    _refuse(problems, path)
    return {split: [everything[name] for name in sorted(chosen) if chosen[name] == split] for split in SPLITS.values()}


def tried(found: VoxCeleb, root: Path) -> list[tuple[int, str, str]]:
    """The official trials in their order: 1 for one speaker or 0, and the names of two utterances."""
    path = _needed(found.trials, TRIAL_LIST, root)
    trials, problems = [], []
    for number, (target, *names) in _lines(path):
        missing = [name for name in names if name not in found.test]
        if target not in ("0", "1") or len(names) != 2:
            problems.append(f"{path.name}, line {number}: not 0 or 1 and two files")
        elif missing:
            problems.append(f"{path.name}, line {number}: no audio for {' and '.join(missing)}")
        else:
            trials.append((int(target), names[0], names[1]))
    _refuse(problems, path)
    return trials


def seconds(utterance: Utterance) -> float:
    """How long the file says it is; 0 if it cannot be read, which the engine reports with all other bad audio."""
    try:
        return float(soundfile.info(utterance.path).duration)
    except soundfile.LibsndfileError:
        return 0.0


# ---- folders and lists -----------------------------------------------------------------------------------------------


def _home(root: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the audio, and its one or two parts: `root` itself, else the only one below that does."""
    for homes in ([root], _folders(root)):
        found = {home: parts for home in homes if (parts := _parts(home))}
        if len(found) == 1:
            return next(iter(found.items()))
        if found:
            raise MissingCorpus(f"VoxCeleb1 under {root}: several folders could be it: {', '.join(map(str, found))}")
    raise MissingCorpus(
        f"no VoxCeleb1 found under {root}: need dev/wav and test/wav side by side, or one wav/ with all speakers",
        f"looked in {', '.join(map(str, [root, *_folders(root)][:12]))}",
    )


def _parts(home: Path) -> list[Path]:
    dev, test, both = home / "dev" / "wav", home / "test" / "wav", home / "wav"
    if dev.is_dir() != test.is_dir():
        there, missing = (dev, test) if dev.is_dir() else (test, dev)
        raise MissingCorpus(f"VoxCeleb1 under {home}: there is {there}, but no {missing}; both parts are needed")
    return [dev, test] if dev.is_dir() else [both] if both.is_dir() else []


def _by_name(part: Path) -> dict[str, Utterance]:
    found: dict[str, Utterance] = {}
    twice = []
    for one in _utterances(part):
        if found.setdefault(one.name, one) != one:
            twice.append(f"{found[one.name].path} and {one.path}")
    if twice:
        more = [f"and {len(twice) - SHOWN} more"] if len(twice) > SHOWN else []
        raise BadAudio(f"{len(twice)} utterances have two files each", *twice[:SHOWN], *more, "remove one of each two")
    return found


def _utterances(part: Path) -> Iterator[Utterance]:
    """Every audio file three levels down, in the order of names; hidden files and other kinds are passed over."""
    for speaker in _folders(part):
        for video in _folders(speaker):
            for path in sorted(video.iterdir()):
                if path.suffix.lower() in AUDIO and not path.name.startswith("."):
                    yield Utterance(f"{speaker.name}/{video.name}/{path.stem}.wav", path)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _listed(places: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of the files that is there."""
    return next((place / name for name in names for place in places if (place / name).is_file()), None)


def _needed(path: Path | None, names: Sequence[str], root: Path) -> Path:
    if path is None:
        raise MissingCorpus(
            f"VoxCeleb1 under {root}: the audio is there, but no {' or '.join(names)}",
            f"the list is on the corpus' page, {VOXCELEB1.page}; put it beside the audio",
        )
    return path


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of every line that has any, with its number."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if fields := line.split():
            yield number, fields


def _refuse(problems: Sequence[str], path: Path) -> None:
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise BadAudio(
            f"{len(problems)} lines of {path} cannot be used; nothing was trained",
            *problems[:SHOWN],
            *more,
            "unpack the archives again; for a part of the corpus, keep only its lines in the list",
        )

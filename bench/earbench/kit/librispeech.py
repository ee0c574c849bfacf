"""LibriSpeech as its archives unpack: speakers, chapters, utterances and their transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit import archives
from earbench.kit.text import LETTERS

SUBSETS = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}
SHOWN = 100

LIBRISPEECH = Corpus(
    id="librispeech",
    title="LibriSpeech, 100 clean hours",
    page="https://www.openslr.org/12",
    licence="CC BY 4.0",
    layout=(
        "Three archives, unpacked side by side; each unpacks into LibriSpeech/:\n"
        "  train-clean-100.tar.gz   dev-clean.tar.gz   test-clean.tar.gz\n"
        "  LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac\n"
        "  and in each chapter <speaker>-<chapter>.trans.txt, a line of id and words for every file.\n"
        "The root may be LibriSpeech/ itself or what holds it."
    ),
    counts={"train": 28_539, "valid": 2_703, "test": 2_620},
    archives=archives.LIBRISPEECH,
)
"""The part of LibriSpeech that SUPERB recognises, with its utterance counts (sheet 2.1)."""


def librispeech(root: Path) -> Fold:
    """The three subsets, one clip per utterance in the order of ids; its label is what was said, in upper case.

    Utterances are grouped by speaker; no speaker is in two subsets. Whatever has no partner (audio without a line, a
    line without audio) and every line without a single character of the dictionary is reported as one list.
    """
    problems: list[str] = []
    found = [list(_utterances(_subset(root, name), problems)) for name in SUBSETS.values()]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} utterances or chapters of LibriSpeech cannot be used; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, "unpack the archives again, or remove what has no partner")
    train, valid, test = (Split(tuple(sorted(clips, key=lambda clip: clip.id))) for clips in found)
    return Fold(train, valid, test)


def beside(root: Path, name: str, folder: str) -> Path | None:
    """The file `name` that belongs to LibriSpeech but comes from elsewhere; None if it is not there.

    It lies in the folder that holds the subsets, in the parent of that, or in a `folder` in one of the two. In two of
    these places at once it is refused: which one counts is not guessed.
    """
    places = places_beside(root, folder)
    found = [place / name for place in places if (place / name).is_file()]
    if len(found) > 1:
        raise MissingCorpus(f"{name} lies in {len(found)} places", *map(str, found), "keep one of them")
    return found[0] if found else None


def places_beside(root: Path, folder: str) -> list[Path]:
    """The folders that `beside` looks in."""
    home = _subset(root, SUBSETS["train"]).parent
    return [place for near in (home, home.parent) for place in (near, near / folder)]


def _subset(root: Path, name: str) -> Path:
    """The folder of one subset: in `root`, in a LibriSpeech/ below it, or beside it if `root` is another subset."""
    beside = [root.parent] if root.name in SUBSETS.values() else []
    homes = [root, root / "LibriSpeech", *beside]
    found = [home / name for home in homes if (home / name).is_dir()]
    if len(found) == 1:
        return found[0]
    raise MissingCorpus(
        f"LibriSpeech under {root}: need one folder '{name}', found {len(found)}",
        *([f"found {', '.join(map(str, found))}"] if found else []),
        f"looked in {', '.join(map(str, homes))}",
    )


def _utterances(subset: Path, problems: list[str]) -> Iterator[Clip]:
    for speaker in _folders(subset):
        for chapter in _folders(speaker):
            yield from _chapter(chapter, f"{speaker.name}-{chapter.name}", problems)


def _chapter(folder: Path, name: str, problems: list[str]) -> Iterator[Clip]:
    """The utterances of one chapter that are whole; what is wrong with the others goes to `problems`."""
    audio = {path.stem: path for path in sorted(folder.glob("[!.]*.flac"))}
    transcript = folder / f"{name}.trans.txt"
    if not transcript.is_file():
        problems.append(f"{folder}: no transcript {transcript.name} for {len(audio)} audio files")
        return
    said = dict(_lines(transcript))
    problems += [f"{path}: no line in {transcript.name}" for id, path in audio.items() if id not in said]
    for id, text in sorted(said.items()):
        if id not in audio:
            problems.append(f"{transcript}: no audio for the line {id}")
        elif not set(text).intersection(LETTERS):
            problems.append(f"{transcript}: no letter in the line {id}")
        else:
            speaker = folder.parent.name
            yield Clip(id, audio[id], text, speaker, leak=speaker)


def _lines(transcript: Path) -> Iterator[tuple[str, str]]:
    for line in transcript.read_text(encoding="utf-8").splitlines():
        id, _, text = line.strip().partition(" ")
        if id:
            yield id, " ".join(text.upper().split())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))

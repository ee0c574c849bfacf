"""IEMOCAP (Busso et al. 2008) as its archive unpacks, and the five folds that SUPERB makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus

EMOTIONS = ("neu", "hap", "ang", "sad")
MERGED = {"exc": "hap"}
"""Excited counts as happy; every other label is left out (sheet 2.10)."""
SESSIONS = (1, 2, 3, 4, 5)
SHOWN = 100

_LABELLED = {1: (384, 278, 229, 194), 2: (362, 327, 137, 197), 3: (320, 286, 240, 305)}
_LABELLED |= {4: (258, 303, 327, 143), 5: (384, 442, 170, 245)}
_TRAIN_AND_DEV = {1: (3556, 890), 2: (3606, 902), 3: (3504, 876), 4: (3600, 900), 5: (3432, 858)}

IEMOCAP = Corpus(
    id="iemocap",
    title="IEMOCAP",
    page="https://sail.usc.edu/iemocap/",
    licence="on request, for research; see the page",
    layout=(
        "The archive as it unpacks, IEMOCAP_full_release/ or what holds it:\n"
        "  Session<1 to 5>/dialog/EmoEvaluation/<dialogue>.txt            labels\n"
        "  Session<1 to 5>/sentences/wav/<dialogue>/<utterance>.wav       audio"
    ),
    counts={f"session{k}/train": train for k, (train, _) in _TRAIN_AND_DEV.items()}
    | {f"session{k}/valid": valid for k, (_, valid) in _TRAIN_AND_DEV.items()}
    | {
        f"session{k}/test/{label}": count
        for k, counts in _LABELLED.items()
        for label, count in zip(EMOTIONS, counts, strict=True)
    },
)
"""Utterances per fold, which is named after its test session (sheet 2.10)."""


def iemocap(root: Path) -> list[Fold]:
    """Five folds of the utterances labelled neutral, happy or excited, angry and sad (sheet 2.10, Appendix A).

    Fold k tests on session k. The others, in the published order of dialogues and sorted inside each, are split by
    `shares`. Whatever does not fit together (a label without audio, a dialogue that the published order does not have)
    is reported as one list. Fewer dialogues are another split: the counts show it.
    """
    home = _home(root)
    problems: list[str] = []
    sessions = {k: [clip for clips in _dialogues(home, k, problems) for clip in clips] for k in SESSIONS}
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} things in {home} are not as in IEMOCAP; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, "unpack the archive again, or remove what is not of it")
    return [_fold(sessions, k) for k in SESSIONS]


def shares(count: int) -> tuple[list[int], list[int]]:
    """Which of `count` items are train and which valid, as torch's `random_split` with seed 0 draws them.

    >>> shares(5)
    ([4, 0, 1, 3], [2])
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return order[: int(0.8 * count)], order[int(0.8 * count) :]


def speaker(utterance: str) -> str:
    """Who speaks: the session and the letter before the number. The letter behind the session tells whose face was
    recorded and is the same for both speakers of a dialogue.

    >>> speaker("Ses01F_impro01_M003")
    'Ses01M'
    """
    return utterance[:5] + utterance.rpartition("_")[2][0]


def _fold(sessions: dict[int, list[Clip]], tested: int) -> Fold:
    others = [clip for k, clips in sessions.items() if k != tested for clip in clips]
    train, valid = (Split(tuple(others[index] for index in part)) for part in shares(len(others)))
    return Fold(train, valid, Split(tuple(sessions[tested])), name=f"session{tested}")


# ---- one session -----------------------------------------------------------------------------------------------------


def _home(root: Path) -> Path:
    """The folder with the five sessions: `root` or the one folder in it that has them."""
    inside = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = [home for home in (root, *inside) if (home / "Session1").is_dir()]
    missing = [f"Session{k}" for k in SESSIONS if len(found) == 1 and not (found[0] / f"Session{k}").is_dir()]
    if len(found) == 1 and not missing:
        return found[0]
    raise MissingCorpus(
        f"no IEMOCAP found under {root}: need one folder with Session1 to Session5, found {len(found)}",
        *([f"{found[0]} has no {', '.join(missing)}"] if missing else [str(home) for home in found]),
        f"looked in {', '.join(map(str, [root, *inside][:12]))}",
    )


def _dialogues(home: Path, session: int, problems: list[str]) -> Iterator[list[Clip]]:
    """The clips of each dialogue that is there, in the published order."""
    labels = home / f"Session{session}" / "dialog" / "EmoEvaluation"
    audio = home / f"Session{session}" / "sentences" / "wav"
    files = {path.stem: path for path in sorted(labels.glob("[!.]*.txt"))}
    folders = {path.name: path for path in sorted(audio.glob("[!.]*")) if path.is_dir()}
    order = [f"Ses0{session}{name}" for name in ORDER[session].split()]
    if strangers := sorted({*files, *folders}.difference(order)):
        problems.append(f"Session{session}: dialogues that the published order does not have: {', '.join(strangers)}")
    for name in (name for name in order if name in files or name in folders):
        if name not in files:
            problems.append(f"{folders[name]}: no labels, {labels / name}.txt is not there")
        elif name not in folders:
            problems.append(f"{files[name]}: no audio, {audio / name} is not there")
        else:
            yield _utterances(files[name], folders[name], problems)


def _utterances(labels: Path, audio: Path, problems: list[str]) -> list[Clip]:
    """The clips of one dialogue with a label that counts, sorted by id."""
    recordings: dict[str, list[Path]] = {}
    for path in sorted(audio.glob("[!.]*")):
        if path.suffix.lower() in (".wav", ".flac"):
            recordings.setdefault(path.stem, []).append(path)
    found: dict[str, Clip] = {}
    for id, label in _labels(labels, problems):
        paths = recordings.get(id, [])
        if id in found:
            problems.append(f"{labels}: {id} is labelled twice")
        elif len(paths) != 1:
            problems.append(f"{labels}: {len(paths)} recordings of {id} in {audio}")
        else:
            found[id] = Clip(id, paths[0], label, speaker(id))
    return [found[id] for id in sorted(found)]


def _labels(path: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Utterance and label of the lines that begin with a bracket, `[6.29 - 8.24] <tab> utterance <tab> label ...`."""
    utterance = re.compile(rf"{re.escape(path.stem)}_[FM]\w+")
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("["):
            fields = [field.strip() for field in line.split("\t") if field.strip()]
            label = MERGED.get(fields[2], fields[2]) if len(fields) > 2 else ""
            if not label or (label in EMOTIONS and not utterance.fullmatch(fields[1])):
                problems.append(f"{path}: not an utterance of this dialogue and its label: {line[:80]}")
            elif label in EMOTIONS:
                yield fields[1], label


# ---- the order that the split rests on (sheet, Appendix A) -----------------------------------------------------------

ORDER = {
    1: """
        F_script02_2 F_impro07 F_script03_2 M_impro02 F_impro06 F_script01_3 M_script02_1 M_impro04 M_script01_1
        F_impro01 F_script01_1 F_impro05 M_script01_2 M_script02_2 F_script02_1 M_script03_2 M_impro05 M_impro01
        F_impro03 M_impro03 M_script01_3 F_script03_1 M_impro07 F_impro02 M_impro06 M_script03_1 F_impro04
        F_script01_2
    """,
    2: """
        F_impro03 F_script03_2 M_script03_2 M_impro04 M_impro05 F_script02_1 F_script02_2 M_script02_2 M_impro08
        M_impro07 F_script03_1 M_script01_3 F_impro06 F_impro01 F_impro04 F_script01_2 M_impro02 M_impro03
        F_script01_3 F_impro05 F_script01_1 M_impro06 M_script02_1 F_impro08 F_impro02 M_script01_1 M_impro01
        M_script01_2 M_script03_1 F_impro07
    """,
    3: """
        F_script02_1 M_impro04 M_script03_2 M_impro05b M_impro02 F_impro05 M_script02_2 M_impro08b F_impro07
        M_script01_1 M_script02_1 M_impro05a M_impro07 M_script03_1 F_script03_1 M_impro01 F_script01_1 F_impro04
        F_script02_2 F_script01_3 M_script01_3 M_impro06 F_impro01 F_impro03 M_script01_2 M_impro08a M_impro03
        F_script03_2 F_script01_2 F_impro08 F_impro06 F_impro02
    """,
    4: """
        F_script03_1 F_impro01 M_script02_1 M_script02_2 F_script01_3 M_impro05 F_script02_1 F_impro07 F_impro02
        F_impro03 M_impro02 F_script01_1 M_script01_1 F_script03_2 M_impro06 F_script02_2 M_impro01 M_impro04
        F_impro05 F_script01_2 F_impro08 F_impro06 M_impro03 M_script01_3 M_script01_2 M_script03_1 M_script03_2
        M_impro07 F_impro04 M_impro08
    """,
    5: """
        M_script01_3 F_impro04 M_script02_2 F_script01_3 F_script01_2 F_impro06 M_impro06 M_impro01 F_script03_1
        F_impro07 F_script03_2 M_script01_1b F_impro05 M_script01_1 F_impro08 M_script03_1 M_impro05 F_impro01
        F_impro02 M_impro03 F_script01_1 M_impro04 M_script02_1 F_impro03 F_script02_2 F_script02_1 M_script03_2
        M_impro08 M_impro02 M_impro07 M_script01_2
    """,
}
"""The dialogues of each session as s3prl's metadata has them, without `SesNN`: what its file system once listed."""

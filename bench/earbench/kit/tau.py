"""TAU Urban Acoustic Scenes 2019, development set (Mesaros et al., DCASE 2019 task 1A), as its archives unpack."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit import archives

SCENES = (
    *("airport", "bus", "metro", "metro_station", "park"),
    *("public_square", "shopping_mall", "street_pedestrian", "street_traffic", "tram"),
)
VALID_SHARE = 0.2
"""Of the recording locations of each scene in the training list, rounded, at least one."""
SHOWN = 100
META = "meta.csv"
LISTS = {"train": "evaluation_setup/fold1_train.csv", "test": "evaluation_setup/fold1_evaluate.csv"}

TAU2019 = Corpus(
    id="tau2019",
    title="TAU Urban Acoustic Scenes 2019, development set",
    page="https://zenodo.org/records/2589280",
    licence="own terms of Tampere University, not for commercial use; see the page",
    layout=(
        "The archives TAU-urban-acoustic-scenes-2019-development.*.zip, unpacked into one folder:\n"
        "  meta.csv                                        filename, scene_label, identifier, source_label (by tabs)\n"
        "  evaluation_setup/fold1_train.csv, fold1_evaluate.csv\n"
        "  audio/<scene>-<city>-<location>-<segment>-<device>.wav\n"
        "The root may be this folder or what holds it."
    ),
    counts={"fold1_train": 9_185, "fold1_evaluate": 4_185},
    archives=archives.TAU_2019,
)
"""Segments of the two lists as widely published."""


def scenes(root: Path) -> Fold:
    """The official train and evaluate list of fold 1; valid is taken from train by recording location.

    Clips are grouped by location (`identifier` in meta.csv), and no location of valid is in train. Every line of a list
    needs a recording and its line in meta.csv; what has none, and whatever else contradicts, is reported as one list.
    Recordings that neither list names are not used: the authors leave some out.
    """
    home = _home(root)
    problems: list[str] = []
    facts = {row["filename"]: row for row in _table(home / META, ("filename", "scene_label", "identifier"))}
    listed = {split: [*_clips(home, name, facts, problems)] for split, name in LISTS.items()}
    names = {clip.id for clip in listed["train"]}
    problems += [f"{clip.id}: in both lists" for clip in listed["test"] if clip.id in names]
    held = held_out({(clip.label, clip.group) for clip in listed["train"]})
    problems += _uncovered(listed["train"], held)
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} things in {home} are not as in {TAU2019.title}; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, "unpack all archives again into one folder")
    train, valid = (tuple(clip for clip in listed["train"] if (clip.group in held) == side) for side in (False, True))
    return Fold(Split(train), Split(valid), Split(tuple(listed["test"])))


def held_out(locations: set[tuple[str, str]]) -> set[str]:
    """The locations that become valid, of pairs (scene, location): of each scene a share, by the SHA-1 of their names.

    >>> sorted(held_out({("bus", f"lyon-{number}") for number in range(10)}))
    ['lyon-2', 'lyon-5']
    """
    of_scene = defaultdict(list)
    for scene, location in locations:
        of_scene[scene].append(location)
    ranked = (sorted(names, key=lambda name: hashlib.sha1(name.encode()).hexdigest()) for names in of_scene.values())
    return {name for names in ranked for name in names[: max(1, round(VALID_SHARE * len(names)))]}


def _uncovered(clips: Sequence[Clip], held: set[str]) -> Iterator[str]:
    """Scenes that train or valid would be without."""
    for name, side in (("train", False), ("valid", True)):
        present = {clip.label for clip in clips if (clip.group in held) == side}
        if absent := [scene for scene in SCENES if scene not in present]:
            yield f"{LISTS['train']}: too few recording locations, no {', '.join(absent)} would be left for {name}"


# ---- files -----------------------------------------------------------------------------------------------------------


def _home(root: Path) -> Path:
    """The folder with meta.csv and the lists: `root` or the one folder in it that has them."""
    needed = (META, *LISTS.values())
    inside = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = [home for home in (root, *inside) if all((home / name).is_file() for name in needed)]
    if len(found) == 1:
        return found[0]
    raise MissingCorpus(
        f"no {TAU2019.title} found under {root}: need one folder with {', '.join(needed)}, found {len(found)}",
        *map(str, found),
        f"looked in {', '.join(map(str, [root, *inside][:12]))}",
    )


def _clips(home: Path, name: str, facts: Mapping[str, Mapping[str, str]], problems: list[str]) -> Iterator[Clip]:
    """The clips of one list, sorted by file name; what is wrong with the others goes to `problems`."""
    audio = _recordings(home / "audio")
    seen = set[str]()
    for row in sorted(_table(home / name, ("filename", "scene_label")), key=lambda row: row["filename"]):
        file, label = row["filename"], row["scene_label"]
        fact, id = facts.get(file), Path(file).stem
        if fact is None:
            problems.append(f"{name}: {file} has no line in {META}")
        elif fact["scene_label"] != label or label not in SCENES:
            problems.append(f"{name}: {file} is '{label}', in {META} '{fact['scene_label']}'")
        elif len(audio[id]) != 1 or id in seen:
            problems.append(f"{name}: {file} is listed twice" if id in seen else f"{file}: {_recorded(audio[id])}")
        else:
            seen.add(id)
            location = fact["identifier"]
            yield Clip(id, audio[id][0], label, location, leak=location)


def _recorded(paths: Sequence[Path]) -> str:
    return f"recorded {len(paths)} times: {', '.join(map(str, paths))}" if paths else "no such recording"


def _recordings(folder: Path) -> defaultdict[str, list[Path]]:
    """The audio files of a folder by name without the ending; hidden and other files are passed over."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("[!.]*")):
        if path.suffix.lower() in (".wav", ".flac"):
            found[path.stem].append(path)
    return found


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table whose columns are separated by tabs and named in its first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", restval="")
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise MissingCorpus(
                f"{path}: no column {', '.join(missing)}",
                f"found: {', '.join(reader.fieldnames or ()) or 'nothing'}; columns are separated by tabs",
            )
        return [{column: row[column].strip() for column in columns} for row in reader if any(row.values())]

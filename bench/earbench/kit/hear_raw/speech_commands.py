"""Speech Commands v0.02 as HEAR has it: ten words, unknown and silence, one second each (HEAR sheet 2.3, 4 and 5).

Accepted: `speech_commands_v0.02.tar.gz` and `speech_commands_test_set_v0.02.tar.gz`, each unpacked into a folder of its
own, side by side. The first has a folder per word, `_background_noise_/` and two lists; the second is all of test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import soundfile

from earbench.kit.hear_raw import folders, splits
from earbench.kit.hear_raw.draft import Draft
from earbench.kit.hear_raw.samples import Source
from earbench.kit.speech_commands import ALL_WORDS, KEYWORDS, LATER, SILENCE, SPEECH_COMMANDS_LABELS, UNKNOWN

BACKGROUND, TAP = "_background_noise_", "running_tap"
VALID, TEST = "validation_list.txt", "testing_list.txt"
SECONDS = 1.0
FACTS = {
    "task_name": "speech_commands",
    "version": "v0.0.2",
    "split_mode": "trainvaltest",
    "sample_duration": SECONDS,
    "evaluation": ["top1_acc"],
    "default_mode": "5h",
}

Clips = dict[str, tuple[str, Source]]
"""Label and source by the stem of the file, which is the word and the recording's own name."""


def five_hours(raw: Path) -> Draft:
    """Test is 1.4 hours, and kept whole."""
    return _draft(raw, "5h", {**splits.longest(5), "test": None})


def full(raw: Path) -> Draft:
    return _draft(raw, "full", {"train": None, "valid": None, "test": None})


def _draft(raw: Path, mode: str, longest: Mapping[str, float | None]) -> Draft:
    words = folders.one(raw, _is_words, f"{BACKGROUND}/, {LATER[0]}/ and two lists", "speech_commands_v0.02.tar.gz")
    beside = words.parent if words == raw else raw
    tests = folders.one(beside, _is_tests, f"{SILENCE}/ and {UNKNOWN}/", "speech_commands_test_set_v0.02.tar.gz")
    problems: list[str] = []
    found = {**_train_and_valid(words, problems), "test": _tests(tests, problems)}
    sources = [(stem, source) for clips in found.values() for stem, (_, source) in clips.items()]
    problems += folders.twice((stem, source.path) for stem, source in sources)
    folders.stop(beside, problems)
    limits = {split: None if length is None else int(length / SECONDS) for split, length in longest.items()}
    clips = {
        split: {stem: found[split][stem] for stem in splits.kept(found[split], split, limit)}
        for split, limit in limits.items()
    }
    return Draft({**FACTS, "max_task_duration_by_split": dict(longest), "mode": mode}, clips)


def _is_words(path: Path) -> bool:
    """The archive of v0.02, told from v0.01 by a word that only v0.02 has."""
    return all((path / name).exists() for name in (BACKGROUND, VALID, TEST, LATER[0]))


def _is_tests(path: Path) -> bool:
    inside = all((path / name).is_dir() for name in (SILENCE, UNKNOWN))
    return inside and not (path / BACKGROUND).exists() and "v0.01" not in path.name


# ---- train and valid -------------------------------------------------------------------------------------------------


def _train_and_valid(home: Path, problems: list[str]) -> dict[str, Clips]:
    """Valid by its list and with the slices of the running tap; train what no list names, with all other slices."""
    recordings = _recordings(home, problems)
    valid, test = (set(folders.text(home / name, problems).split()) for name in (VALID, TEST))
    problems += [f"{name}: named by {VALID}, and not there" for name in sorted(valid - set(recordings))]
    problems += [f"{name}: named by {VALID} and by {TEST}" for name in sorted(valid & test)]
    slices = dict(_slices(home, problems))
    if not any(_of_tap(stem) for stem in slices):
        problems.append(f"{BACKGROUND}/{TAP}.wav: not there, or not longer than a second; it is the silence of valid")
    spoken = {name: _spoken(path) for name, path in recordings.items() if name not in test}
    return {
        "train": dict(clip for name, clip in spoken.items() if name not in valid)
        | {stem: clip for stem, clip in slices.items() if not _of_tap(stem)},
        "valid": dict(clip for name, clip in spoken.items() if name in valid)
        | {stem: clip for stem, clip in slices.items() if _of_tap(stem)},
    }


def _recordings(home: Path, problems: list[str]) -> dict[str, Path]:
    """Every recording of a word, by its name in the lists; folders that begin with `_` hold no words."""
    found: dict[str, Path] = {}
    for folder in sorted(path for path in home.iterdir() if path.is_dir() and path.name[0] not in "_."):
        paths = folders.waves(folder)
        if paths and folder.name not in ALL_WORDS:
            problems.append(f"{folder.name}/: {len(paths)} recordings, but no word of v0.02")
        found |= {f"{folder.name}/{path.name}": path for path in paths}
    return found


def _slices(home: Path, problems: list[str]) -> Iterator[tuple[str, tuple[str, Source]]]:
    """Silence: a second from every half second of the background recordings on, named by its first sample."""
    for path in folders.waves(home / BACKGROUND):
        try:
            facts = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            problems.append(f"{BACKGROUND}/{path.name}: cannot be decoded: {error.error_string}")
            continue
        if facts.channels != 1:
            problems.append(f"{BACKGROUND}/{path.name}: {facts.channels} channels, one is expected")
        for start in range(0, facts.frames - facts.samplerate, facts.samplerate // 2):
            yield f"{SILENCE}_{path.stem}-{start}", (SILENCE, Source(path, start))


def _of_tap(stem: str) -> bool:
    return stem.startswith(f"{SILENCE}_{TAP}")


# ---- test ------------------------------------------------------------------------------------------------------------


def _tests(home: Path, problems: list[str]) -> Clips:
    """All recordings of the test archive; its folders are the labels."""
    found: Clips = {}
    for folder in sorted(path for path in home.iterdir() if path.is_dir() and path.name[0] != "."):
        paths = folders.waves(folder)
        if paths and folder.name not in SPEECH_COMMANDS_LABELS:
            problems.append(f"{home.name}/{folder.name}/: {len(paths)} recordings, but none of the twelve labels")
        found |= dict(map(_spoken, paths))
    return found


def _spoken(path: Path) -> tuple[str, tuple[str, Source]]:
    """A recording's stem with its folder in front, as one word is often said by the same speaker as another."""
    word = path.parent.name
    label = word if word in (*KEYWORDS, SILENCE) else UNKNOWN
    return f"{word}_{path.stem}", (label, Source(path))

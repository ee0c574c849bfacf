"""Find, count, verify and fingerprint the audio of a task, before any work starts."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from earbench import files
from earbench.audio import Facts, durations, fingerprints, headers
from earbench.config import Settings
from earbench.contract import Clip, Fold, Match, Split, Task, UpstreamCard
from earbench.demo import build as demo
from earbench.errors import BadAudio, BenchError, MissingCorpus, RequestError
from earbench.kit.effects import split_at_unknown
from earbench.progress import Progress
from earbench.unpack import KINDS

QUICK_UNITS = {"train": 600, "valid": 200, "test": 200}


@dataclass(frozen=True)
class Place:
    """Where a corpus lies, and whether it is the built-in demo."""

    root: Path
    demo: bool


@dataclass(frozen=True)
class Prepared:
    """The folds of a task with every duration filled in, and the content digest of every audio file.

    `arrays` are the digests of features that were computed elsewhere, by the key of the clip they are of. `census` is
    what the corpus holds, before anything is cut or left out.
    """

    folds: tuple[Fold, ...]
    digests: Mapping[Path, str]
    place: Place
    deviations: tuple[str, ...]
    notes: tuple[str, ...] = ()
    arrays: Mapping[str, str] = field(default_factory=dict)
    census: Mapping[str, int] = field(default_factory=dict)

    def clips(self) -> list[Clip]:
        """Every clip of every fold once, with k-fold repeats taken together."""
        return list({clip.id: clip for split in _splits(self.folds) for clip in split.clips}.values())

    def seconds(self) -> dict[str, float]:
        """Durations by clip id."""
        pairs = (pair for split in _splits(self.folds) for pair in zip(split.clips, split.seconds, strict=True))
        return {clip.id: seconds for clip, seconds in pairs}

    def content(self, clip: Clip) -> list[object]:
        """What a clip's samples depend on: the file's digest, the stretch and the effects."""
        return [self.digests[clip.audio], clip.start, clip.stop, [list(effect) for effect in clip.effects]]

    def key(self, clip: Clip) -> str:
        """Sixteen hex digits for a clip's samples, whatever task asks for them and wherever the file lies."""
        return files.digest_of(self.content(clip))

    def stored(self, clip: Clip) -> str:
        """The key of a clip's features in the store: that of its samples or, where features were supplied, of those."""
        key = self.key(clip)
        return files.digest_of([key, self.arrays[key]]) if self.arrays else key


def locate(asked: Task, data: str | None, settings: Settings, progress: Progress) -> Place:
    """The corpus' folder: `--data`, else the task's own, else the entry in [data] of bench.toml.

    "demo" is built when first asked for. It may be somebody's archive, which `packed.unpacked` unpacks.
    """
    corpus, task = asked.card.corpus, asked.card.name
    where = data or asked.root or settings.data.get(corpus.id)
    if asked.root and data and (data == "demo" or asked.root != Path(data).expanduser().resolve()):
        raise RequestError(f"--data {data} and --task {task}:{asked.root} name two places", "leave --data out")
    if where == "demo":
        if corpus.page and not demo.holds(corpus.id, task):
            raise MissingCorpus(f"the demo corpus has nothing for task '{task}', which needs {corpus.title}")
        with progress.note(f"building the demo's {corpus.id} (once)"), files.explained(settings.cache):
            return Place(demo.build(settings.cache, corpus.id), True)
    if where is None and not corpus.page:  # nobody publishes it: it is the user's
        raise MissingCorpus(f"task '{task}' needs {corpus.title}", f"--task {task}:PATH")
    if where is None:
        raise MissingCorpus(
            f"task '{task}' needs {corpus.title}, and no folder is set for it",
            f'--data DIR, or [data] {corpus.id} = "DIR" in bench.toml ({settings.source or "none found"})',
            *([f"[data] now has: {', '.join(settings.data)}"] if settings.data else []),
            f"`bench prepare --task {task}` says what to download; --data demo runs on the built-in corpus",
        )
    root = Path(where).expanduser()
    if not root.is_dir() and not (root.is_file() and root.name.endswith(KINDS)):
        raise MissingCorpus(f"task '{task}' needs {corpus.title}, and {root} is not a folder", *_where_next(asked))
    return Place(root.resolve(), False)


def at(task: Task, card: UpstreamCard, place: Place) -> Task:
    """The task as the corpus found at `place` states it."""
    with _advised(task):
        return task.at(place.root, card)


def prepare(
    task: Task, card: UpstreamCard, place: Place, effort: str, partial: bool, settings: Settings, progress: Progress
) -> Prepared:
    """The task's folds, counted against the published census, decoded once and fingerprinted."""
    folds = folds_of(task, card, place)
    census = dict(task.census(folds))
    differences = census_differences(task, folds, place)
    if differences and not partial:
        raise MissingCorpus(
            f"task '{task.card.name}': the corpus differs from its published counts: {differences[0]}",
            *(f"also: {difference}" for difference in differences[1:4]),
            *([f"and {len(differences) - 4} more differences"] if len(differences) > 4 else []),
            f"check the unpacked archives with `bench prepare --task {task.card.name}`, or accept it with --partial",
        )
    if effort == "quick":
        folds = [quick(fold) for fold in folds]
    facts = verify(folds, settings.cache, progress)
    measured = _measured(folds, facts, settings.cache, progress)
    task.check_audio(measured, {path: fact.sample_rate for path, fact in facts.items()})
    kept = tuple(_long_enough(task, fold) for fold in measured)
    return Prepared(
        kept,
        {path: fact.digest for path, fact in facts.items()},
        place,
        ("partial",) if differences and not place.demo else (),
        tuple(_left_out(task, *pair) for pair in zip(measured, kept, strict=True) if pair[0] != pair[1]),
        census=census,
    )


def census_differences(task: Task, folds: Sequence[Fold], place: Place) -> list[str]:
    """What the corpus has more or less of than published, first split first; empty if it is whole."""
    corpus = task.card.corpus
    expected = demo.census(corpus.id, task.card.name) if place.demo and corpus.page else corpus.counts
    differing = counts_that_differ(expected, task.census(folds))
    return [f"{key}: expected {there:,}, found {here:,}" for key, there, here in differing]


def counts_that_differ(expected: Mapping[str, int], found: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The keys of two censuses whose counts are not equal, with both; what is missing counts 0.

    >>> counts_that_differ({"train + valid": 9, "test": 1}, {"train": 8, "valid": 1, "test": 2})
    [('test', 1, 2)]
    """
    summed = _summed(found, expected)
    both = ((key, expected.get(key, 0), summed.get(key, 0)) for key in dict.fromkeys((*expected, *summed)))
    return [(key, there, here) for key, there, here in both if there != here]


def _summed(found: Mapping[str, int], expected: Mapping[str, int]) -> Mapping[str, int]:
    """What was found in the keys of what is expected, which may name several together.

    >>> _summed({"train": 8, "valid": 1, "test": 1}, {"train + valid": 9, "test": 1})
    {'test': 1, 'train + valid': 9}
    """
    sums = {key: key.split(" + ") for key in expected if " + " in key}
    alone = {key: count for key, count in found.items() if not any(key in parts for parts in sums.values())}
    return alone | {key: sum(found.get(part, 0) for part in parts) for key, parts in sums.items()}


def verify(folds: Iterable[Fold], cache: Path, progress: Progress) -> dict[Path, Facts]:
    """Facts of every file the folds use. All unusable files and stretches are reported as one list."""
    clips = [clip for split in _splits(folds) for clip in split.clips]
    paths = sorted({clip.audio for clip in clips})
    with progress.bar("checking audio", len(paths), "files") as bar:
        facts = fingerprints(paths, cache, lambda: bar.advance(1))
    bad = {str(path): fact.problem for path, fact in facts.items() if fact.problem}
    bad |= {clip.id: problem for clip in clips if (problem := _outside(clip, facts[clip.audio]))}
    _check_usable(bad)
    return facts


def check_headers(task: Task, folds: Sequence[Fold]) -> None:
    """What `prepare` refuses of the audio, by the headers of its files alone."""
    facts = headers(sorted({clip.audio for split in _splits(folds) for clip in split.clips}))
    _check_usable({str(path): fact.problem for path, fact in facts.items() if fact.problem})

    def timed(_: str, split: Split) -> Split:
        stops = (facts[clip.audio].seconds if clip.stop is None else clip.stop for clip in split.clips)
        pairs = zip(split.clips, stops, strict=True)
        return replace(split, seconds=tuple(stop - (clip.start or 0.0) for clip, stop in pairs))

    task.check_audio([fold.each(timed) for fold in folds], {path: fact.sample_rate for path, fact in facts.items()})


def _check_usable(bad: Mapping[str, str]) -> None:
    if bad:
        shown = [f"{name}: {problem}" for name, problem in sorted(bad.items())]
        more = [f"and {len(shown) - 100} more"] if len(shown) > 100 else []
        raise BadAudio(f"{len(bad)} audio files cannot be used; nothing was trained", *shown[:100], *more)


def _splits(folds: Iterable[Fold]) -> Iterable[Split]:
    return (split for fold in folds for split in fold.splits().values())


def folds_of(task: Task, card: UpstreamCard, place: Place) -> list[Fold]:
    with _advised(task):
        folds = list(task.folds(place.root, card))
    for fold in folds:
        for name, split in fold.splits().items():
            if not split.clips and not (name == "train" and isinstance(task, Match)):
                raise MissingCorpus(f"task '{task.card.name}': the {name} split of fold '{fold.name}' is empty")
    if len({fold.name for fold in folds}) < len(folds):
        raise BenchError(f"task '{task.card.name}' gives two folds the same name")
    _check_ids(task, folds)
    if not isinstance(task, Match):
        _check_disjoint(task, folds)
    return folds


@contextmanager
def _advised(task: Task) -> Iterator[None]:
    """A corpus that cannot be read is told with where to turn next."""
    try:
        yield
    except MissingCorpus as error:
        raise MissingCorpus(str(error), *_where_next(task)) from None


def _where_next(task: Task) -> list[str]:
    """Where a corpus is had from; nowhere, if nobody publishes it: then it is the user's."""
    if not task.card.corpus.page:
        return []
    return [f"`bench prepare --task {task.card.name}` says what to download; --data demo runs on the built-in corpus"]


def _check_ids(task: Task, folds: list[Fold]) -> None:
    """One id, one clip, and once in a split: predictions are keyed by it."""
    seen: dict[str, Clip] = {}
    for split in _splits(folds):
        twice = [name for name, count in Counter(clip.id for clip in split.clips).items() if count > 1]
        if twice:
            raise BenchError(f"task '{task.card.name}' lists the clip '{twice[0]}' twice in one split")
        for clip in split.clips:
            if seen.setdefault(clip.id, clip) != clip:
                raise BenchError(f"task '{task.card.name}' gives two different clips the id '{clip.id}'")


def _check_disjoint(task: Task, folds: Sequence[Fold]) -> None:
    """No clip is in two splits of a fold, and nothing that the protocol keeps apart."""
    for fold in folds:
        held = {
            name: {*(f"clip {clip.id}" for clip in split.clips), *(clip.leak for clip in split.clips if clip.leak)}
            for name, split in fold.splits().items()
        }
        for (one, first), (two, second) in itertools.combinations(held.items(), 2):
            if shared := sorted(first & second):
                raise BenchError(
                    f"task '{task.card.name}': {len(shared)} clips or speakers are in both {one} and {two}, "
                    f"the first: {shared[0]}",
                    "a score on what was trained on means nothing: check how the corpus was unpacked or divided",
                )


def _outside(clip: Clip, fact: Facts) -> str | None:
    if fact.problem:
        return None
    stop = fact.seconds if clip.stop is None else clip.stop
    start = clip.start or 0.0
    if 0 <= start < stop <= fact.seconds + 1 / fact.sample_rate:
        return None
    return f"the stretch {start:.3f}-{stop:.3f} s lies outside the file ({fact.seconds:.3f} s)"


def _measured(folds: Sequence[Fold], facts: Mapping[Path, Facts], cache: Path, progress: Progress) -> tuple[Fold, ...]:
    """The folds with the duration of every clip as its encoder will hear it."""
    clips = {clip.id: clip for split in _splits(folds) for clip in split.clips}
    trimmed = {clip.audio for clip in clips.values() if split_at_unknown(clip.effects)[0]}
    with progress.bar("measuring trimmed audio", len(trimmed), "files") as bar:
        seconds = durations(clips.values(), facts, cache, lambda: bar.advance(1))
    return tuple(
        fold.each(lambda _, split: replace(split, seconds=tuple(seconds[clip.id] for clip in split.clips)))
        for fold in folds
    )


def _long_enough(task: Task, fold: Fold) -> Fold:
    """The fold without the training clips that the protocol finds too short."""
    kept = [number for number, seconds in enumerate(fold.train.seconds) if seconds > task.shortest_train]
    if len(kept) == len(fold.train.clips):
        return fold
    if not kept:
        raise BenchError(
            f"task '{task.card.name}': no training clip of fold '{fold.name}' is longer than {task.shortest_train:g} s",
            "check the recordings: they may hold hardly anything but silence",
        )
    clips = tuple(fold.train.clips[number] for number in kept)
    seconds = tuple(fold.train.seconds[number] for number in kept)
    return replace(fold, train=replace(fold.train, clips=clips, seconds=seconds))


def _left_out(task: Task, fold: Fold, kept: Fold) -> str:
    all_, some = len(fold.train.units()), len(kept.train.units())
    rule = f"no longer than {task.shortest_train:g} s, as the protocol has it"
    return f"fold '{fold.name}': {all_ - some:,} of {all_:,} training recordings are left out: {rule}"


def quick(fold: Fold) -> Fold:
    """The fold cut to a smoke run: units are kept by the digest of their first clip's id, so every label survives
    (as many as there is room for, where nearly every clip has a label of its own).
    """
    return fold.each(lambda name, split: replace(split, clips=_some(split, QUICK_UNITS[name])))


def _some(split: Split, limit: int) -> tuple[Clip, ...]:
    """At most `limit` units: the first of every label, then the second of every label, and so on."""
    ranked: list[tuple[int, list[int]]] = []
    seen: Counter[str] = Counter()
    for unit in sorted(split.units(), key=lambda unit: hashlib.sha256(split.clips[unit[0]].id.encode()).digest()):
        label = str(split.clips[unit[0]].label)
        ranked.append((seen[label], unit))
        seen[label] += 1
    first = sorted(ranked, key=lambda pair: pair[0])[:limit]
    kept = {index for _, unit in first for index in unit}
    return tuple(clip for index, clip in enumerate(split.clips) if index in kept)

"""`bench prepare`: is the corpus of a task there and whole, what belongs where; fetching what anyone may download, and
making what can be made from an original corpus.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import archives, data, from_raw, packed, registry
from earbench.config import Settings
from earbench.contract import Corpus, Fold, Task, UpstreamCard
from earbench.errors import BenchError, RequestError
from earbench.plan import load_task
from earbench.progress import Progress
from earbench.suites import asked

ANY_ENCODER = UpstreamCard("any", "none", "", "", sample_rate=16_000, hop=0.02)
FEW = 6
"""So many counts are shown one by one; of more, their sum."""


@dataclass(frozen=True)
class Standing:
    """What was found of a corpus: `problem` if it cannot be read, else its census and how that differs.

    `rates` are the sample rates that it lies there in, and for each what is wrong with its audio, if anything.
    """

    root: Path | None
    whose: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    differences: Sequence[str] = ()
    problem: str | None = None
    rates: Mapping[int, str | None] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.problem is None and not self.differences


def prepared(
    names: Sequence[str], where: str | None, settings: Settings, download: bool, progress: Progress
) -> list[dict[str, Any]]:
    """How the corpus of each task stands, as facts and as `text` for people; with `download` after fetching it.

    One corpus of several tasks is fetched once. What is whole already is not fetched at all.
    """
    tasks = {name: load_task(name) for name in asked(names, where, settings, progress)}
    if download:
        _check_downloadable(tasks, where)
        for task in tasks.values():
            _complete(task, where, settings, progress)
    return [_facts(name, task, standing(task, where, settings, progress)) for name, task in tasks.items()]


def make(
    names: Sequence[str], raw: Path, where: str | None, rates: Sequence[int], settings: Settings, progress: Progress
) -> None:
    """Make the corpus of each task from the original one under `raw`, unless it is there. All originals are read, and
    all that is wrong with them is said, before the first file is written.
    """
    tasks = {name: load_task(name) for name in asked(names, where, settings, progress)}
    readers = from_raw.builders(tasks, _able)
    _check_one_corpus(tasks, where)
    roots = {name: _folder(task.card.corpus, where, settings, "--from-raw") for name, task in tasks.items()}
    with progress.note(f"reading {raw}"):
        drafts = {name: reader(raw.expanduser().resolve()) for name, reader in readers.items()}
    for root in dict.fromkeys(roots.values()):
        here = {drafts[name].folder: drafts[name] for name in drafts if roots[name] == root}
        from_raw.build(list(here.values()), root, rates, settings.cache, progress)


def _able() -> list[str]:
    """The tasks whose corpus can be made; one that cannot be read is passed over."""
    found = []
    for name in registry.names("task"):
        with suppress(BenchError):
            found += [name] if load_task(name).builder() else []
    return found


def standing(task: Task, where: str | None, settings: Settings, progress: Progress) -> Standing:
    """What lies at the corpus' folder, held against the published census."""
    try:
        place = packed.unpacked(task, ANY_ENCODER, data.locate(task, where, settings, progress), settings, progress)
    except BenchError as error:
        return Standing(None, problem=str(error))
    root = None if place.demo else place.root
    try:
        rates = task.rates(place.root)
        problems = {rate: _problem(task, rate, place, progress) for rate in rates}
        stated, folds = _read(task, ANY_ENCODER, place)
    except BenchError as error:
        return Standing(root, problem=str(error))
    if wrong := {rate: problem for rate, problem in problems.items() if problem}:
        alike = len(set(problems.values())) == 1
        told = [problem if alike else f"{rate} Hz: {problem}" for rate, problem in wrong.items()]
        return Standing(root, problem="\n".join(dict.fromkeys(told)), rates=problems)
    published = "as published" if task.card.corpus.counts else "no published counts to hold them against"
    return Standing(
        root,
        "as the built-in demo has them" if place.demo else published,
        stated.census(folds),
        data.census_differences(stated, folds, place),
        rates=problems,
    )


def _read(task: Task, card: UpstreamCard, place: data.Place) -> tuple[Task, list[Fold]]:
    """The task as the corpus states it for this encoder, and its folds; all of their files are there."""
    stated = data.at(task, card, place)
    folds = data.folds_of(stated, card, place)
    _check_files(folds)
    return stated, folds


def _problem(task: Task, rate: int, place: data.Place, progress: Progress) -> str | None:
    """What is wrong with the corpus for an encoder at `rate` hertz, down to the headers of its files."""
    try:
        stated, folds = _read(task, replace(ANY_ENCODER, sample_rate=rate), place)
        with progress.note(f"reading the headers of audio at {rate} Hz"):
            data.check_headers(stated, folds)
    except BenchError as error:
        return str(error)
    return None


def _check_files(folds: Sequence[Fold]) -> None:
    """Refuse a corpus without some of its audio; only a run decodes what is there."""
    paths = sorted({clip.audio for fold in folds for split in fold.splits().values() for clip in split.clips})
    if gone := [path for path in paths if not path.is_file()]:
        raise BenchError(f"{len(gone):,} of {len(paths):,} audio files are not there", *map(str, gone[:3]))


# ---- fetching --------------------------------------------------------------------------------------------------------


def _check_downloadable(tasks: Mapping[str, Task], where: str | None) -> None:
    """Refuse before anything is fetched what cannot be done for all of the tasks."""
    closed = [f"{name}: {corpus.title}, see {corpus.page}" for name, corpus in _corpora(tasks) if not corpus.archives]
    if closed:
        raise RequestError(
            "there is nothing to download without registering or building it first, for",
            *closed,
            f"`bench prepare --task {closed[0].partition(':')[0]}` says what belongs where",
        )
    _check_one_corpus(tasks, where)


def _check_one_corpus(tasks: Mapping[str, Task], where: str | None) -> None:
    ids = sorted({corpus.id for _, corpus in _corpora(tasks)})
    if where is not None and len(ids) > 1:
        raise RequestError(f"--data names the folder of one corpus, these tasks need {', '.join(ids)}")


def _corpora(tasks: Mapping[str, Task]) -> list[tuple[str, Corpus]]:
    return [(name, task.card.corpus) for name, task in tasks.items()]


def _complete(task: Task, where: str | None, settings: Settings, progress: Progress) -> None:
    """Fetch the corpus of `task` into the folder it belongs to, unless it is whole there."""
    corpus = task.card.corpus
    root = _folder(corpus, where, settings, "--download")
    if not (root.is_dir() and standing(task, str(root), settings, progress).whole):
        archives.fetch(corpus, root, progress)


def _folder(corpus: Corpus, where: str | None, settings: Settings, option: str) -> Path:
    """The folder that `option` writes into."""
    folder = where or settings.data.get(corpus.id)
    if folder is None or folder == "demo":
        raise RequestError(
            f"{option} needs a folder for {corpus.title}",
            f'--data DIR, or [data] {corpus.id} = "DIR" in bench.toml ({settings.source or "none found"})',
        )
    return Path(folder).expanduser().resolve()


# ---- telling ---------------------------------------------------------------------------------------------------------


def _facts(name: str, task: Task, found: Standing) -> dict[str, Any]:
    corpus = task.card.corpus
    return {
        "name": name,
        "corpus": corpus.id,
        "page": corpus.page,
        "licence": corpus.licence,
        "whole": found.whole,
        "counts": dict(found.counts),
        "differences": list(found.differences),
        "problem": found.problem,
        "rates": {str(rate): problem for rate, problem in found.rates.items()},
        "archives": archives.standing(corpus, found.root),
        "text": _text(name, task, found),
    }


def _text(name: str, task: Task, found: Standing) -> str:
    corpus = task.card.corpus
    page = [f"  page: {corpus.page}"] if corpus.page else []
    lines = [f"{name}: {corpus.title}", *page, f"  licence: {corpus.licence}", "  layout:"]
    lines += _indented(corpus.layout.splitlines())
    if found.whole:
        return "\n".join([*lines, *_rates(found), f"  whole: {_counted(found.counts)}, {found.whose}"])
    lines += _download(name, corpus, found)
    if task.builder():
        lines.append(f"  or from the original corpus: `{_command(name, found)} --from-raw RAW_DIR`")
    lines += _rates(found)
    if found.problem:
        hints = (line.strip() for line in found.problem.splitlines())
        title = "  cannot be used:" if found.rates else "  not found:"
        lines += [title, *_indented(line for line in hints if not line.startswith("`bench prepare"))]
    else:
        lines += ["  differs from the published counts:", *_indented(found.differences)]
    return "\n".join(lines)


def _rates(found: Standing) -> list[str]:
    """The copies that lie there, and which of them are whole."""
    said = [f"{rate} Hz ({'not usable' if problem else 'whole'})" for rate, problem in found.rates.items()]
    return [f"  audio: {', '.join(said)}"] if said else []


def _download(name: str, corpus: Corpus, found: Standing) -> list[str]:
    if not corpus.archives:
        return ["  download: not from here; the page says how to get it"] if corpus.page else []
    rows = [
        (
            one["name"],
            archives.size_text(one["bytes"]) if one["bytes"] else "size unknown",
            one["checksum"].partition(":")[0] if one["checksum"] else "unverified",
            one["state"],
        )
        for one in archives.standing(corpus, found.root)
    ]
    lines = tabulate(rows, tablefmt="plain").splitlines()
    return [f"  download: `{_command(name, found)} --download` fetches and unpacks", *_indented(lines)]


def _command(name: str, found: Standing) -> str:
    folder = shlex.quote(str(found.root)) if found.root else "DIR"
    return f"bench prepare --task {shlex.quote(name)} --data {folder}"


def _counted(counts: Mapping[str, int]) -> str:
    """
    >>> _counted({"train": 28_539, "test": 2_620})
    'train 28,539, test 2,620'
    """
    if len(counts) > FEW:
        return f"{sum(counts.values()):,} units"
    return ", ".join(f"{key} {count:,}" for key, count in counts.items())


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]

"""QUESST 2014: spoken queries, the documents they may occur in, and the answer key of its official scorer.

SUPERB searches in one of its six languages, non-native English, and scores with the archive's own answer keys, where a
pair without a score has a default of -10 (protocol sheet superb 2.4). So all queries and documents that a key lists are
trials: those in other languages are missed and not reported, and a published score is at most the share of English.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from earbench.contract import Archive, Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.metrics.detection import Sought

LANGUAGE = "nnenglish"
DOCUMENTS = "utterances"
SUBSETS = ("dev", "eval")
"""Of queries: valid and test."""
NOTHING = "NO_KEYWORD"
"""What an answer key calls a stretch that holds no query."""
SHOWN = 100

_GAIN = (("gain_db", -3.0),)
_AUDIO = (".wav", ".flac")

QUESST14 = Corpus(
    id="quesst14",
    title="QUESST 2014, the queries and documents in non-native English",
    page="https://speech.fit.vutbr.cz/software/quesst-2014-multilingual-database-query-by-example-keyword-spotting",
    licence="see the page",
    layout=(
        "One archive, quesst14Database.tgz, unpacked; it unpacks into quesst14Database/:\n"
        "  Audio/   dev_queries/   eval_queries/                        recordings\n"
        "  scoring/language_key_{utterances,dev,eval}.lst               a line of path and language for each of them\n"
        "  scoring/groundtruth_quesst14_{dev,eval}/                     answer keys: *.rttm, *.ecf.xml, *.tlist.xml\n"
        "The root may be quesst14Database/ itself or what holds it."
    ),
    counts={"recordings": 2_714},
    archives=(Archive("https://speech.fit.vutbr.cz/files/quesst14Database.tgz"),),
)
"""The part that SUPERB uses and its number of recordings (sheet 2.4): documents once, and the queries of both lists."""


@dataclass(frozen=True)
class Key:
    """An answer key: names of all queries and documents that are scored, and who holds what."""

    name: str
    queries: frozenset[str]
    documents: frozenset[str]
    holders: Mapping[str, frozenset[str]]


def quesst14(root: Path) -> Fold:
    """Valid is the dev queries with all documents, test the eval queries with the same documents; train is empty.

    A clip's label is "query" or "document". `truth` is what `earbench.kit.metrics.detection.searches` reads. All
    that is wrong is reported as one list.
    """
    home, problems = _home(root), list[str]()
    documents = _clips(home, DOCUMENTS, "document", problems)
    splits = [_split(home, subset, documents, problems) for subset in SUBSETS]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} things are wrong with QUESST 2014 in {home}; nothing was matched"
        raise BadAudio(message, *problems[:SHOWN], *more, "unpack the archive again")
    valid, test = splits
    return Fold(Split(()), valid, test)


def _split(home: Path, subset: str, documents: Sequence[Clip], problems: list[str]) -> Split:
    """The queries of one list, all documents, and what the answer key says of them."""
    queries = _clips(home, subset, "query", problems)
    key = _key(home, subset, problems)
    if key is None:
        return Split(())
    for clips, known in ((queries, key.queries), (documents, key.documents)):
        problems += [f"{key.name} does not know {clip.id}" for clip in clips if _name(clip) not in known]
    return Split((*queries, *documents), _truth(key, queries, documents))


# ---- the recordings --------------------------------------------------------------------------------------------------


def _home(root: Path) -> Path:
    """The database: `root` itself or one folder in it."""
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    homes = [path for path in (root, *inside) if _listing(path, DOCUMENTS).is_file()]
    if len(homes) == 1:
        return homes[0]
    raise MissingCorpus(
        f"QUESST 2014 under {root}: need one folder with {_listing(Path(), DOCUMENTS)}, found {len(homes)}",
        *([f"found {', '.join(map(str, homes))}"] if homes else []),
        f"looked in {', '.join(map(str, (root, *inside[:12])))}",
    )


def _listing(home: Path, subset: str) -> Path:
    return home / "scoring" / f"language_key_{subset}.lst"


def _clips(home: Path, subset: str, label: str, problems: list[str]) -> list[Clip]:
    """The recordings of one list that are in `LANGUAGE`, in the order of ids: their paths below the database."""
    listing, clips, folders = _listing(home, subset), dict[str, Clip](), dict[Path, dict[str, Path]]()
    for number, line in enumerate(_lines(listing, problems), 1):
        path, _, language = " ".join(line.split()).rpartition(" ")
        _, _, inside = path.partition("/")
        if not inside or ".." in Path(inside).parts:
            problems.append(f"{listing}, line {number}: no path and language in '{line}'")
        elif language == LANGUAGE:
            folder = home / Path(inside).parent
            audio = folders.setdefault(folder, _recordings(folder)).get(Path(inside).stem)
            id = Path(inside).with_suffix("").as_posix()
            if not audio:
                problems.append(f"{listing}, line {number}: no recording {home / inside}")
            elif id in clips:
                problems.append(f"{listing}, line {number}: {path} stands there twice")
            else:
                clips[id] = Clip(id, audio, label, id, effects=_GAIN)
    if not clips:
        problems.append(f"{listing}: no recording in '{LANGUAGE}'")
    return [clips[id] for id in sorted(clips)]


def _recordings(folder: Path) -> dict[str, Path]:
    """Audio files by their names without endings; of several with one name the first, FLAC before WAV."""
    paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    return {path.stem: path for path in paths if path.suffix.lower() in _AUDIO and not path.name.startswith(".")}


def _lines(path: Path, problems: list[str]) -> list[str]:
    """The lines of a text file that are not empty."""
    if not path.is_file():
        problems.append(f"{path} is not there")
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


# ---- the answer key --------------------------------------------------------------------------------------------------


def _truth(key: Key, queries: Sequence[Clip], documents: Sequence[Clip]) -> Mapping[str, object]:
    """Where each query is said, and how much of all queries that are said anywhere (the scored ones) we search for."""
    ids = {_name(document): document.id for document in documents}
    sought = {query.id: _sought(key, _name(query), ids) for query in queries}
    ours = sum(bool(key.holders.get(_name(query))) for query in queries)
    scored = sum(bool(key.holders.get(name)) for name in key.queries)
    return {"queries": sought, "share": ours / scored if scored else 1.0}


def _sought(key: Key, query: str, ids: Mapping[str, str]) -> Sought:
    holders = key.holders.get(query, frozenset())
    elsewhere = len(holders.difference(ids))
    return Sought(
        tuple(sorted(ids[name] for name in holders.intersection(ids))),
        elsewhere,
        len(key.documents) - len(ids) - elsewhere,
    )


def _key(home: Path, subset: str, problems: list[str]) -> Key | None:
    """The answer key in its folder; what was said of unlisted queries, or in unlisted documents, does not count."""
    folder = home / "scoring" / f"groundtruth_quesst14_{subset}"
    files = [_only(folder, ending, problems) for ending in (".tlist.xml", ".ecf.xml", ".rttm")]
    if not all(files):
        return None
    terms, excerpts, answers = (file for file in files if file)
    queries = frozenset(_attributes(terms, "term", "termid", problems))
    documents = frozenset(map(_stem, _attributes(excerpts, "excerpt", "audio_filename", problems)))
    holders: dict[str, set[str]] = defaultdict(set)
    for query, document in _occurrences(answers, problems):
        if query in queries and document in documents:
            holders[query].add(document)
    return Key(folder.name, queries, documents, {query: frozenset(found) for query, found in holders.items()})


def _only(folder: Path, ending: str, problems: list[str]) -> Path | None:
    """The one file of a folder with this ending, in any case."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in paths if path.name.lower().endswith(ending) and not path.name.startswith(".")]
    if len(found) == 1:
        return found[0]
    problems.append(f"{folder}: need one file *{ending}, found {', '.join(path.name for path in found) or 'none'}")
    return None


def _attributes(path: Path, element: str, attribute: str, problems: list[str]) -> list[str]:
    """One attribute of all elements of one kind in an XML file. Entities are refused: the files need none."""
    found: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == element and attribute in attributes:
            found.append(attributes[attribute])

    def entity(name: str, *_: object) -> None:
        raise ValueError(f"it declares the entity '{name}'")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EntityDeclHandler = start, entity
    try:
        parser.Parse(path.read_bytes(), True)
    except (expat.ExpatError, ValueError) as error:
        problems.append(f"{path} cannot be read: {error}")
    else:
        if not found:
            problems.append(f"{path}: no <{element} {attribute}=...>")
    return found


def _occurrences(path: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Query and document of every `LEXEME document channel start duration query ...` line."""
    for number, line in enumerate(_lines(path, problems), 1):
        kind, *fields = line.split()
        if kind != "LEXEME":
            continue
        if len(fields) < 5:
            problems.append(f"{path}, line {number}: no document and query in '{line}'")
        elif fields[4] != NOTHING:
            yield fields[4], _stem(fields[0])


def _name(clip: Clip) -> str:
    return clip.id.rpartition("/")[2]


def _stem(name: str) -> str:
    """What a file is called without folders and its ending.

    >>> _stem("Audio/quesst14_00001.wav")
    'quesst14_00001'
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    head, _, ending = last.rpartition(".")
    return head if f".{ending.lower()}" in (*_AUDIO, ".sph") else last

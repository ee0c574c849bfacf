"""Builds the demo corpora into the cache, once, and says where each lies and how much of it there is.

A builder writes one corpus in its official layout; further corpora are further lines of `BUILDERS` and `CENSUS`. Two
processes may ask at the same time: one builds, the other waits and finds it done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from earbench.demo import keywords, notes, utterances
from earbench.demo.lexicon import KEYWORDS
from earbench.errors import UnknownName

DEMO_ID = "demo-1"
"""Raised whenever a byte of the demo changes: scores of different numbers do not compare."""

BUILDERS: Mapping[str, Callable[[Path], None]] = {
    "speech_commands_v1": keywords.write,
    "hear": notes.write,
    "librispeech": utterances.write,
}
"""What writes each corpus, by corpus id, into the folder it is given."""

KS_CLASSES = (*KEYWORDS, "_unknown_", "_silence_")
KS_COUNTS = {
    "train": (89, 90, 89, 94, 84, 88, 90, 89, 90, 91, 901, 6),
    "valid": (18, 24, 17, 25, 21, 18, 22, 21, 23, 22, 134, 6),
    "test": (40,) * 12,
}

CENSUS: dict[str, dict[str, int]] = {
    "ks": {
        f"{split}/{name}": count
        for split, counts in KS_COUNTS.items()
        for name, count in zip(KS_CLASSES, counts, strict=True)
    },
    "asr": {"train": 384, "valid": 96, "test": 192},
    "pitch": {"labels": 49, "train": 1105, "valid": 333, "test": 501},
}
"""Units per task, in the keys of its census: what a whole demo holds. A background file is one unit of silence."""


def build(cache: Path, progress: Callable[[str], None] | None = None) -> Path:
    """The folder of the whole demo, built first if it is not there; `progress` is told what is being written.

    It appears under its name only when it is whole: a killed build leaves a hidden folder that the next one clears.
    """
    home = cache / "demo" / DEMO_ID
    if whole(home):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / f".{DEMO_ID}.lock"):
        if not whole(home):
            fill(home, progress or (lambda _: None))
    return home


def root(cache: Path, corpus_id: str) -> Path:
    """Where one corpus of the demo lies, whether or not it has been built."""
    if corpus_id not in BUILDERS:
        raise UnknownName(f"the demo has no corpus '{corpus_id}'", f"it has: {', '.join(BUILDERS)}")
    return cache / "demo" / DEMO_ID / corpus_id


def whole(home: Path) -> bool:
    """Is the demo there, with every corpus that this version builds?"""
    manifest = home / "manifest.json"
    return manifest.is_file() and set(BUILDERS) <= set(json.loads(manifest.read_text(encoding="utf-8"))["files"])


def fill(home: Path, progress: Callable[[str], None]) -> None:
    """Build everything beside `home` and move it there in one step, the manifest last."""
    partial = home.parent / f".{DEMO_ID}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for corpus_id, write in BUILDERS.items():
            progress(f"building the demo corpus {corpus_id}")
            write(partial / corpus_id)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    files = {corpus_id: sum(path.is_file() for path in (partial / corpus_id).rglob("*")) for corpus_id in BUILDERS}
    (partial / "manifest.json").write_text(json.dumps({"id": DEMO_ID, "files": files}, indent=1), encoding="utf-8")
    shutil.rmtree(home, ignore_errors=True)
    partial.replace(home)

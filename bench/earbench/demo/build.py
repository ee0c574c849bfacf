"""Builds the demo corpora into the cache, each when it is first asked for, and says how much of it there is.

A corpus is a module of this package with `write(root)`, which writes it in its official layout, and `CENSUS`, its units
per task in the keys of the task's census. Two processes may ask at the same time: one builds, the other waits and
finds it done.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from earbench.errors import UnknownName

DEMO_ID = "demo-3"
"""Raised whenever a byte of a corpus changes: scores of different numbers do not compare. A new corpus changes none."""

CORPORA: Mapping[str, str] = {
    "speech_commands_v1": "keywords",
    "hear": "hear",
    "librispeech": "utterances",
    "libri2mix": "mixtures",
    "fluent": "intents",
    "snips": "slots",
    "voxceleb1": "talkers",
    "quesst14": "queries",
    "iemocap": "prosody",
    "speech_commands_v2": "keywords_35",
    "tau2019": "scenes",
}
"""The module of each corpus, by corpus id."""
PARTS: Mapping[str, Sequence[str]] = {
    "hear": (
        "pitch",
        "hear_mridangam_stroke",
        "hear_fsd50k",
        "hear_dcase2016",
        "hear_maestro_5h",
        "hear_vox_lingua_top10",
    )
}
"""The tasks that the demo holds something for, of corpora with more."""


def build(cache: Path, corpus_id: str) -> Path:
    """The folder of one corpus of the demo, built first if it is not there.

    It appears under its name only when it is whole: a killed build leaves a hidden folder that the next one clears.
    """
    corner = _corner(corpus_id)
    home = cache / "demo" / DEMO_ID / corpus_id
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / f".{corpus_id}.lock"):
        if not home.is_dir():
            _fill(home, corner)
    return home


def census(corpus_id: str, task: str) -> Mapping[str, int]:
    """Units that the demo holds for a task, in the keys of its census; none for a task it was not made for."""
    found: Mapping[str, int] = _corner(corpus_id).CENSUS.get(task, {})
    return found


def holds(corpus_id: str, task: str) -> bool:
    """Whether the demo was made for this task; no corpus is imported to know it."""
    return corpus_id in CORPORA and task in PARTS.get(corpus_id, (task,))


def _corner(corpus_id: str) -> ModuleType:
    if corpus_id not in CORPORA:
        raise UnknownName(f"the demo has no corpus '{corpus_id}'", f"it has: {', '.join(CORPORA)}")
    return import_module(f"earbench.demo.{CORPORA[corpus_id]}")


def _fill(home: Path, corner: ModuleType) -> None:
    """Write beside `home` and move it there in one step."""
    partial = home.parent / f".{home.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        corner.write(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(home)

"""Query by example: in which recordings is it said, what somebody says in this one?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from torch import Tensor

from earbench.contract import Effort, Fold, Match, Rows, Split, TaskCard, UpstreamCard
from earbench.kit.dtw import costs, pack, packs, standardiser, z_scores
from earbench.kit.metrics.detection import MTWV, searches
from earbench.kit.quesst import LANGUAGE, QUESST14, quesst14
from earbench.kit.seeds import generator

TOO_SHORT = 5
"""A query of fewer frames is not searched for: all documents score the same."""
TOY_WORDS, TOY_DOCUMENTS, TOY_QUERIES = 10, 16, {"dev": range(5), "eval": range(5, 10)}
TOY_TONES = 8
"""In a word."""
TOY_RATE = 8_000


class QueryByExample(Match):
    """Spoken queries looked for in QUESST 2014's non-native English documents by dynamic time warping (SUPERB QbE,
    protocol sheet 2.4). Dev chooses the layer, eval is reported.
    """

    card = TaskCard(
        "qbe",
        version=1,
        title="Query by example",
        corpus=QUESST14,
        grain="frame",
        metrics=(MTWV,),
        suite="superb",
        protocol="SUPERB QbE",
    )
    select = "mtwv"
    trials = True

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [quesst14(root)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        return {"recordings": len({clip.id for split in folds[0].splits().values() for clip in split.clips})}

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {
            "soxr": "audio is resampled by soxr HQ in place of SoX's rate, the same algorithm (1e-5 apart)",
            "single-precision": "distances are single precision, the protocol's are double",
            "mtwv-rules": "the score follows the documented rules of the official scorer, which was never run here",
        }

    def weights(self, split: Split, effort: Effort) -> np.ndarray[Any, Any]:
        """Every query that is said somewhere counts once."""
        return np.ones(len(self.rows(split, self.ideal(split))))

    def match(self, split: Split, features: Callable[[str], Tensor]) -> Mapping[str, Any]:
        """Of every query, the score of each document: minus the least mean distance on a warping path, as a z-score."""
        ids = [clip.id for clip in split.clips]
        standard, lengths = standardiser(map(features, ids))
        queries = [number for number, id in enumerate(ids) if id in split.truth["queries"]]
        documents = [number for number, id in enumerate(ids) if id not in split.truth["queries"]]
        spoken = [standard(features(ids[number])) for number in queries]
        found = np.zeros((len(queries), len(documents)))
        for numbers in packs([lengths[number] for number in documents]):
            packed = pack([standard(features(ids[documents[number]])) for number in numbers])
            for row, query in zip(found, spoken, strict=True):
                if len(query) >= TOO_SHORT:
                    row[numbers] = -costs(query, packed).cpu().numpy()
        scores = z_scores(found).round(4)  # as many decimals as the protocol writes
        names = [ids[number] for number in documents]
        return {
            ids[number]: dict(zip(names, row, strict=True))
            for number, row in zip(queries, scores.tolist(), strict=True)
        }

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return searches(split, predictions)

    def again(self, split: Split, rows: Rows) -> Rows:
        """Rows have the scores of the documents in the order of ids; queries that are said nowhere have no row."""
        sought = split.truth["queries"]
        documents = sorted(clip.id for clip in split.clips if clip.id not in sought)
        said = {clip.id: {} for clip in split.clips if clip.id in sought}
        found = zip(rows.ids, rows.arrays["score"].tolist(), strict=True)
        return searches(split, said | {query: dict(zip(documents, scores, strict=True)) for query, scores in found})

    def ideal(self, split: Split) -> Mapping[str, Any]:
        sought = split.truth["queries"]
        documents = [clip.id for clip in split.clips if clip.id not in sought]
        return {
            clip.id: {document: float(document in sought[clip.id].found_in) for document in documents}
            for clip in split.clips
            if clip.id in sought
        }

    def toy(self, root: Path, seed: int) -> None:
        """Sixteen documents of two "words", ten queries of one: melodies, each time a little faster or higher."""
        home = root / "quesst14Database"
        chosen = [generator("qbe toy", seed, number).permutation(TOY_WORDS)[:2] for number in range(TOY_DOCUMENTS)]
        documents = {f"quesst14_{number:05}": words.tolist() for number, words in enumerate(chosen, 1)}
        for name, words in documents.items():
            _write(home / "Audio" / f"{name}.wav", words, generator("qbe toy", seed, name))
        _list(home, "utterances", "Audio", documents)
        for subset, asked in TOY_QUERIES.items():
            queries = {f"quesst14_{subset}_{number + 1:04}": number for number in asked}
            for name, word in queries.items():
                _write(home / f"{subset}_queries" / f"{name}.wav", [word], generator("qbe toy", seed, name))
            _list(home, subset, f"{subset}_queries", queries)
            _answer(home / "scoring" / f"groundtruth_quesst14_{subset}" / f"quesst14_{subset}", queries, documents)


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _write(path: Path, words: Sequence[int], rng: np.random.Generator) -> None:
    """Each word is a melody of its own, over faint noise; all of them share their tones."""
    height, loudness = rng.uniform(0.97, 1.03), rng.uniform(0.1, 0.3)
    pieces = []
    for word in words:
        for tone in generator("qbe toy word", word).integers(0, TOY_TONES, TOY_TONES).tolist():
            times = np.arange(int(rng.uniform(0.08, 0.12) * TOY_RATE)) / TOY_RATE
            pieces.append(loudness * np.sin(2 * np.pi * 300.0 * 1.35**tone * height * times))
    wave = np.concatenate(pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + rng.normal(0.0, 0.005, len(wave)), TOY_RATE, subtype="PCM_16")


def _list(home: Path, subset: str, folder: str, names: Sequence[str] | Mapping[str, object]) -> None:
    path = home / "scoring" / f"language_key_{subset}.lst"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{home.name}/{folder}/{name}.wav {LANGUAGE}\n" for name in names]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _answer(stem: Path, queries: Mapping[str, int], documents: Mapping[str, Sequence[int]]) -> None:
    """The three files of an answer key."""
    terms = [f'<term termid="{name}"/>\n' for name in queries]
    excerpts = [f'<excerpt audio_filename="{name}" channel="1" tbeg="0" dur="2"/>\n' for name in documents]
    lines = [
        f"LEXEME {document} 1 0.00 2.00 {query} lex <NA> <NA>\n"
        for document, words in documents.items()
        for query, word in queries.items()
        if word in words
    ]
    texts = {
        ".tlist.xml": f"<termlist>\n{''.join(terms)}</termlist>\n",
        ".ecf.xml": f"<ecf>\n{''.join(excerpts)}</ecf>\n",
        ".rttm": "".join(lines),
    }
    stem.parent.mkdir(parents=True)
    for ending, text in texts.items():
        stem.with_name(stem.name + ending).write_text(text, encoding="utf-8", newline="\n")

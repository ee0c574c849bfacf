"""Error rates: an example worked by hand, and an edit distance written here."""

from pathlib import Path

import numpy as np
import pytest

from earbench.contract import Clip, Split
from earbench.errors import BenchError
from earbench.kit.metrics.errors import CER, WER, transcripts

LABELS = {"a": "THE CAT SAT", "b": "YES", "c": "GO UP NOW PLEASE"}
SAID = {"a": "THE CUT SAT DOWN", "b": "", "c": "GO NOW PLEASE"}
"""Words: one substitution and one insertion; one deletion; one deletion. Characters: U for A and five more (" DOWN");
three; three ("UP ").
"""


def split(labels):
    return Split(tuple(Clip(id, Path("x.flac"), text, f"speaker {at}") for at, (id, text) in enumerate(labels.items())))


def distance(one, two):
    """Levenshtein's table, row by row."""
    row = list(range(len(two) + 1))
    for at, left in enumerate(one, 1):
        row, above = [at], row
        for to, right in enumerate(two, 1):
            row.append(min(above[to] + 1, row[-1] + 1, above[to - 1] + (left != right)))
    return row[-1]


def test_counts_are_those_worked_by_hand():
    rows = transcripts(split(LABELS), SAID)
    assert rows.arrays["word_errors"].tolist() == [2, 1, 1]
    assert rows.arrays["words"].tolist() == [3, 1, 4]
    assert rows.arrays["character_errors"].tolist() == [6, 3, 3]
    assert rows.arrays["characters"].tolist() == [11, 3, 16]
    assert WER.value(rows, np.ones(3)) == 100 * 4 / 8
    assert CER.value(rows, np.ones(3)) == 100 * 12 / 30


def test_weights_count_utterances_several_times():
    rows = transcripts(split(LABELS), SAID)
    assert WER.value(rows, np.array([2.0, 0.0, 3.0])) == 100 * (2 * 2 + 3 * 1) / (2 * 3 + 3 * 4)
    assert np.isnan(WER.value(rows, np.zeros(3)))


def test_counts_equal_an_edit_distance_written_here():
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(["A", "AB", "B"], size=random.integers(1, 8))) for _ in range(120)]
    labels = {str(at): text for at, text in enumerate(texts[:60])}
    said = dict(zip(labels, texts[60:], strict=True))
    rows = transcripts(split(labels), said)
    for at, id in enumerate(labels):
        assert rows.arrays["word_errors"][at] == distance(labels[id].split(), said[id].split())
        assert rows.arrays["character_errors"][at] == distance(labels[id], said[id])


def test_more_words_than_were_said_score_above_one_hundred():
    rows = transcripts(split({"a": "GO"}), {"a": "NO NO NO"})
    assert WER.value(rows, np.ones(1)) == 300
    assert WER.bounds == (0, np.inf)
    assert (WER.best, WER.better, WER.unit) == (0, "lower", "%")


def test_rows_carry_texts_and_groups_in_the_order_of_the_split():
    rows = transcripts(split(LABELS), dict(reversed(SAID.items())))
    assert rows.ids == ("a", "b", "c")
    assert rows.groups == (("speaker 0",), ("speaker 1",), ("speaker 2",))
    assert rows.arrays["prediction"].tolist() == list(SAID.values())
    assert rows.arrays["label"].tolist() == list(LABELS.values())


def test_missing_predictions_are_refused():
    with pytest.raises(BenchError, match="1 clips have none"):
        transcripts(split(LABELS), {"a": "", "b": ""})

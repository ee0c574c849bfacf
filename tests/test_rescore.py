"""Scores made again from what a record keeps of rows, for every kind of prediction."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earbench.contract import Clip, Labels, Split, UpstreamCard
from earbench.kit.events import Event
from earbench.kit.metrics.events import METRICS, event_rows
from earbench.kit.metrics.hear import scene_rows
from earbench.record import plain_rows
from earbench.rescore import difference, same, stored, units
from earbench_tasks.diarisation import Diarisation
from earbench_tasks.keyword_spotting import KeywordSpotting
from earbench_tasks.own_audio import Folder, Tags, Values

CARD = UpstreamCard("none", "none", "none", "none", hop=0.02)
F = "event_onset_200ms_fms"


def kept(rows):
    """Rows as they come back from a record."""
    lines = plain_rows("main", 0, rows.ids, rows.groups, rows.arrays)
    ((_, _, found),) = stored(json.loads(json.dumps(list(lines))))
    return found


def split(*labels):
    return Split(tuple(Clip(f"c{number}", Path("x.wav"), label, "anna") for number, label in enumerate(labels)))


class Asking(KeywordSpotting):
    """A task whose rows come from the function it is given."""

    def __init__(self, rows):
        self.rows = rows


EVENTS = [[Event("a", 0.1, 0.30000000000000004)], [], [Event("a", 0.5, 0.6), Event("b", 0.7, 0.9)]]


@pytest.mark.parametrize("said", [EVENTS, [[], [], []], [[Event("a", 0.0, 1.0)]] * 3], ids=["some", "none", "one each"])
def test_events_score_again_from_stored_predictions(said):
    test = split(*(tuple(events) for events in EVENTS))
    task = Asking(lambda split, predictions: event_rows(split, predictions, [F]))
    rows = task.rows(test, {f"c{number}": events for number, events in enumerate(said)})
    made = task.again(test, kept(rows))
    assert difference(kept(rows), made) == ""
    one, other = (METRICS[F].value(one, np.ones(3)) for one in (rows, made))
    assert one == other or np.isnan([one, other]).all()


@pytest.mark.parametrize(
    ("question", "labels", "said"),
    [
        (Tags(Labels(("a", "b"))), [("a",), ("a", "b")], [[0.1 + 0.2, 1e-30], [1.0, 0.0]]),
        (Values(Labels(())), [1.5, 2.5], [1.0 / 3.0, 7.0]),
    ],
    ids=["tags", "values"],
)
def test_tags_and_values_score_again_from_stored_predictions(question, labels, said):
    task, test = Folder(), split(*labels)
    task.question = question
    rows = task.rows(test, {f"c{number}": one for number, one in enumerate(said)})
    made = task.again(test, kept(rows))
    for metric in question.metrics:
        assert metric.value(made, np.ones(2)) == metric.value(rows, np.ones(2))
    other = task.again(split(*reversed(labels)), kept(rows))
    assert "truth is" in difference(kept(rows), other)


def test_probabilities_in_single_precision_are_the_same_when_they_are_read_back():
    likely = np.array([[0.1, 0.9], [0.03035653, 0.96964347]], np.float32)
    made = scene_rows(split("a", "b"), {"c0": likely[0], "c1": likely[1]}, Labels("ab"))
    assert difference(kept(made), made) == ""
    other = scene_rows(split("a", "b"), {"c0": likely[1], "c1": likely[0]}, Labels("ab"))
    assert "score is [0.1, 0.9] in the rows" in difference(kept(made), other)


def test_rows_without_predictions_give_no_array_again():
    test = split("a", "b")
    task = KeywordSpotting()
    rows = task.rows(test, {"c0": "a", "c1": "a"})
    counts = replace(rows, arrays={"hit": rows.arrays["hit"]})
    assert task.again(test, counts).arrays == {}


def test_turns_score_again_but_frames_do_not(tmp_path):
    task = Diarisation()
    task.toy(tmp_path, 0)
    (fold,) = task.folds(tmp_path, CARD)
    rows = task.rows(fold.test, task.ideal(fold.test))
    made = task.again(fold.test, kept(rows))
    assert difference(kept(rows), made) == ""
    assert {"right", "chunks"} == rows.arrays.keys() - made.arrays.keys()
    turned = kept(rows)
    turned.arrays["prediction"][0] = []
    assert "missed is 0.0 in the rows" in difference(kept(rows), task.again(fold.test, turned))


def test_units_that_are_not_those_of_the_test_split_are_named():
    rows = KeywordSpotting().rows(split("a", "b"), {"c0": "a", "c1": "b"})
    fewer = KeywordSpotting().rows(split("a"), {"c0": "a"})
    assert units(fewer, rows) == "1 units of the test split are missing, 0 are not in it, for example c1"
    assert units(rows, fewer) == "0 units of the test split are missing, 1 are not in it, for example c1"
    assert units(replace(rows, groups=(("anna",), ("ben",))), rows) == "'c1' belongs to other groups in the corpus"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (float("nan"), None, True),
        ([1, [2.0, "a"]], (1, (2, "a")), True),
        ([1.0], [1.0, 2.0], False),
        ("1", 1, False),
    ],
)
def test_plain_data_are_the_same_or_not(one, other, equal):
    assert same(one, other) == equal

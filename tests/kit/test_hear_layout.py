"""Task folders as HEAR's own tool writes them (HEAR sheet 2.2)."""

import json

import numpy as np
import pytest

from earbench.kit import hear_layout

EVENTS = [{"label": "cough", "start": 250.0, "end": 900.5}, {"label": "keys", "start": 800.0, "end": 950.0}]


@pytest.mark.parametrize(
    ("answer", "written"), [(60, [60]), ("cough", ["cough"]), (["keys", "cough"], ["keys", "cough"]), ([], [])]
)
def test_a_scene_has_one_label_or_a_list_of_them(tmp_path, answer, written):
    splits = {"train": [("b.wav", answer, np.zeros(16)), ("a.wav", "keys", np.zeros(16))]}
    hear_layout.write(tmp_path / "task", {"prediction_type": "multilabel"}, ["cough", "keys"], splits)
    saved = json.loads((tmp_path / "task" / "train.json").read_text())
    assert list(saved.items()) == [("a.wav", ["keys"]), ("b.wav", written)]


def test_events_are_written_as_they_are_and_the_metadata_says_so(tmp_path):
    facts = {"embedding_type": "event", "prediction_type": "multilabel"}
    splits = {"fold00": [("a.wav", EVENTS, np.zeros(16))], "fold01": [("b.wav", [], np.zeros(16))]}
    hear_layout.write(tmp_path / "task", facts, ["cough", "keys"], splits)
    assert json.loads((tmp_path / "task" / "fold00.json").read_text()) == {"a.wav": EVENTS}
    assert json.loads((tmp_path / "task" / "fold01.json").read_text()) == {"b.wav": []}
    metadata = json.loads((tmp_path / "task" / "task_metadata.json").read_text())
    assert metadata == {**facts, "splits": ["fold00", "fold01"]}

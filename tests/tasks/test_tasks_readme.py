"""What tasks/earbench_tasks/README.md says of the built-in tasks is true."""

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from earbench.kit import classification

FOLDER = Path(__file__).parents[2] / "tasks/earbench_tasks"
README = (FOLDER / "README.md").read_text("utf-8")
BUILT_IN = [point for point in entry_points(group="earbench.tasks") if point.module.startswith("earbench_tasks.")]


def test_the_walk_through_quotes_keyword_spotting_as_it_is():
    source = (FOLDER / "keyword_spotting.py").read_text("utf-8") + inspect.getsource(classification)
    quoted = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(quoted) == 5
    for block in quoted:
        for part in block.strip("\n").split("\n\n"):
            assert part in source


@pytest.mark.parametrize("name", sorted({point.name for point in BUILT_IN}))
def test_the_table_states_every_built_in_task(name):
    card = next(point for point in BUILT_IN if point.name == name).load().card
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
    _, _, suite, corpus, grain, metrics, proven = (cell.strip() for cell in row.strip("|").split("|"))
    assert (suite, corpus, grain, proven) == (card.suite, card.corpus.title, card.grain, card.verified)
    assert metrics.split(", ") == [metric.name for metric in card.metrics]


def test_a_task_whose_scores_are_proven_has_its_table_in_the_note():
    note = (FOLDER.parents[1] / "benchmarks/README.md").read_text("utf-8")
    proven = {point.name for point in BUILT_IN if point.load().card.verified == "scores"}
    assert proven == set(re.findall(r"^## `(\w+)` beside ", note, re.MULTILINE))

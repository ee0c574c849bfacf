"""What the packaged suites and boards name has to exist: tasks, their scores, and columns that an aggregate needs."""

import pytest

from earbench import config, registry
from earbench.aggregates import SUPERB_POINTS
from earbench.plan import load_task

SETTINGS = config.load(folder=None)


def scores_of(task):
    """The scores that records of a task hold, besides head-free columns."""
    plugin = load_task(task)
    names = {metric.name for metric in plugin.card.metrics}
    return names | ({f"{plugin.published}_published"} if plugin.published else set())


@pytest.mark.parametrize("suite", SETTINGS.suites)
def test_a_suite_names_tasks_that_there_are(suite):
    assert set(SETTINGS.suites[suite]) <= set(registry.names("task"))


@pytest.mark.parametrize("board", SETTINGS.boards.values(), ids=lambda board: board.name)
def test_a_board_names_scores_that_its_tasks_give(board):
    assert set(board.tasks) <= set(registry.names("task"))
    for column in board.columns:
        task, _, metric = column.partition(" ")
        assert metric in scores_of(task), column


def test_the_superb_score_is_made_of_scores_that_the_tasks_give():
    assert list(SUPERB_POINTS) == list(SETTINGS.suites["superb"])
    for task, points in SUPERB_POINTS.items():
        assert set(points) <= scores_of(task)

"""HEAR's grids against the rule they come from: scikit-learn's grid, shuffled from seed 42 (HEAR sheet 4.3, 4.6)."""

import itertools
import random

import pytest
from sklearn.model_selection import ParameterGrid

from earbench.errors import RequestError
from earbench.kit.hear_grid import GRID, decodings, points, recipe

PUBLISHED = (
    (1, "normal", 1e-4),
    (2, "uniform", 1e-3),
    (1, "normal", 1e-3),
    (1, "normal", 3.2e-4),
    (2, "normal", 3.2e-4),
    (2, "uniform", 3.2e-4),
    (2, "normal", 3.2e-3),
    (2, "uniform", 3.2e-3),
)
"""Expected: the eight points of sheet 4.3, observed on the reference."""


def stated(**grid):
    return {"evaluation_params": {"task_specific_param_grid": grid}}


def post(**grid):
    return {"evaluation_params": {"event_postprocessing_grid": grid}}


def test_the_points_are_the_published_ones_in_their_order():
    assert [(one["hidden_layers"], one["initialization"], one["lr"]) for one in points({})] == list(PUBLISHED)
    assert len(points({"task_name": "maestro", "evaluation_params": {}})) == 8


@pytest.mark.parametrize(
    "grid",
    [
        {"hidden_layers": [0, 1], "hidden_dim": [64, 128], "patience": [1, 3], "max_epochs": [10]},
        {"dropout": [0.1, 0.5], "batch_size": [256, 512], "lr": [1e-2]},
        {"check_val_every_n_epoch": [1], "max_epochs": [50]},
    ],
)
def test_a_folders_own_grid_is_shuffled_as_the_reference_does(grid):
    """Expected: scikit-learn's ParameterGrid over the updated grid, shuffled by Python's generator of seed 42."""
    everything = list(ParameterGrid({**GRID, **grid}))
    random.Random(42).shuffle(everything)
    assert points(stated(**grid)) == everything[:8]


def test_a_small_grid_is_trained_whole():
    found = points(stated(lr=[1e-3]))
    assert len(found) == 4
    assert {one["lr"] for one in found} == {1e-3}


def test_recipes_are_the_published_ones():
    for point, (layers, initialisation, lr) in zip(points({}), PUBLISHED, strict=True):
        one = recipe(point, 0, "fixed", finite=True)
        assert (one.optimiser, one.lr, one.weight_decay, one.clip) == ("adam", lr, 0.0, None)
        assert (one.batch, one.unit, one.every, one.patience, one.finite) == (1024, "epoch", 3, 20, True)
        assert one.options == {
            "hidden_layers": layers,
            "hidden_dim": 1024,
            "dropout": 0.1,
            "initialisation": initialisation,
            "order": "fixed",
        }


@pytest.mark.parametrize(
    ("metadata", "every", "last"),
    [
        ({}, 3, 498),
        ({"task_name": "dcase2016_task2"}, 10, 500),
        ({"task_name": "maestro", **stated(max_epochs=[50], check_val_every_n_epoch=[1])}, 1, 50),
        (stated(max_epochs=[10], check_val_every_n_epoch=[4]), 4, 8),
    ],
)
def test_the_last_judgement_is_the_last_one_of_the_reference(metadata, every, last):
    """After epochs n, 2n, 3n, … and never after the last epoch for its own sake (sheet 4.4)."""
    found = [recipe(point, 0, "fixed", finite=False) for point in points(metadata)]
    assert {(one.every, one.steps) for one in found} == {(every, last)}


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"embedding_norm": ["BatchNorm1d"]}, "'embedding_norm' is not known here"),
        ({"optim": ["SGD"]}, "'optim' is not known here"),
        ({"norm_after_activation": [True]}, "'norm_after_activation' cannot be"),
        ({"lr": []}, "'lr' cannot be"),
        ({"lr": 1e-3}, "'lr' cannot be"),
        ({"hidden_layers": [1.5]}, "'hidden_layers' cannot be"),
        ({"dropout": [1.0]}, "'dropout' cannot be"),
        ({"max_epochs": [True]}, "'max_epochs' cannot be"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(grid, told):
    with pytest.raises(RequestError, match=told):
        points(stated(**grid))


def test_all_that_is_wrong_with_a_grid_is_one_error():
    with pytest.raises(RequestError) as caught:
        points(stated(optim=["SGD"], lr=[0]))
    assert "'optim' is not known" in str(caught.value)
    assert "'lr' cannot be [0]" in str(caught.value)


def test_a_grid_that_would_never_judge_is_refused():
    with pytest.raises(RequestError, match="judges every 10 epochs, and trains for 5"):
        recipe(points(stated(max_epochs=[5], check_val_every_n_epoch=[10]))[0], 0, "fixed", finite=False)


def test_larger_post_processing_comes_first_and_wins_ties():
    """Expected: the reference sorts (score, parameters) downwards, parameters by name and value (sheet 4.6)."""
    assert decodings({}, single=False) == ({"median": 0.25, "shortest": 0.25}, {"median": 0.25, "shortest": 0.125})
    grid = {"min_duration": [0, 60], "median_filter_ms": [150, 0]}
    expected = sorted((tuple(point.items()) for point in ParameterGrid(grid)), reverse=True)
    found = [(1000 * one["median"], 1000 * one["shortest"]) for one in decodings(post(**grid), single=False)]
    assert found == [tuple(value for _, value in one) for one in expected]
    assert list(itertools.chain(*found)) == [150, 60, 150, 0, 0, 60, 0, 0]


def test_a_parameter_that_is_left_out_has_the_references_default():
    assert decodings(post(median_filter_ms=[100]), single=True) == ({"median": 0.1, "shortest": 0.06},)
    assert decodings(post(min_duration=[50]), single=True) == ({"median": 0.15, "shortest": 0.05},)


def test_without_scores_on_valid_there_is_one_way_to_post_process():
    with pytest.raises(RequestError, match="2 ways to post-process events need a score"):
        decodings({}, single=True)
    with pytest.raises(RequestError, match="'threshold' is not known here"):
        decodings(post(threshold=[0.3]), single=True)

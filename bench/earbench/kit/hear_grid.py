"""The grids of HEAR's shallow predictor and of event post-processing, as a folder has them (HEAR sheet 4.3, 4.6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from earbench.contract import Recipe
from earbench.errors import RequestError

POINTS, SEED = 8, 42
"""How many of the shuffled combinations are trained, and what they are shuffled from."""

GRID: Mapping[str, Sequence[Any]] = {
    "batch_size": [1024],
    "check_val_every_n_epoch": [3],
    "dropout": [0.1],
    "hidden_dim": [1024],
    "hidden_layers": [1, 2],
    "initialization": ["uniform", "normal"],
    "lr": [3.2e-3, 1e-3, 3.2e-4, 1e-4],
    "max_epochs": [500],
    "norm_after_activation": [False],
    "patience": [20],
}
"""The values of every parameter, in the reference's order: the shuffle depends on it."""
BY_TASK: Mapping[str, Mapping[str, Sequence[Any]]] = {"dcase2016_task2": {"check_val_every_n_epoch": [10]}}
"""What the reference itself changes, by the `task_name` that the metadata states."""

POST_PROCESSING: Mapping[str, Sequence[float]] = {"median_filter_ms": [250], "min_duration": [125, 250]}
ALONE: Mapping[str, float] = {"median_filter_ms": 150, "min_duration": 60}
"""What the reference takes for a parameter that a grid leaves out."""

Check = Callable[[Any], bool]
Point = Mapping[str, Any]


def points(metadata: Mapping[str, Any]) -> list[Point]:
    """The combinations that are trained, in the order in which ties on valid are broken.

    All combinations with the last name running fastest, shuffled from seed 42; the first eight.
    """
    asked = _stated(metadata, "task_specific_param_grid", CHECKS)
    found = combinations({**GRID, **BY_TASK.get(str(metadata.get("task_name")), {}), **asked})
    random.Random(SEED).shuffle(found)
    return found[:POINTS]


def recipe(point: Point, start: int, order: str, finite: bool) -> Recipe:
    """The recipe of one combination. Training ends with the last judgement: what comes after it changes no head.

    `start` is its number: the reference seeds once for a whole search, so that every combination begins with weights of
    its own (HEAR sheet 4.4). `order` is how training rows are visited, "fixed" or "shuffled" anew in every epoch.
    """
    every, epochs = point["check_val_every_n_epoch"], point["max_epochs"]
    if epochs < every:
        raise RequestError(f"the grid judges every {every} epochs, and trains for {epochs}: nothing would be judged")
    return Recipe(
        lr=point["lr"],
        batch=point["batch_size"],
        steps=epochs - epochs % every,
        every=every,
        patience=point["patience"],
        unit="epoch",
        finite=finite,
        start=start,
        options={
            "hidden_layers": point["hidden_layers"],
            "hidden_dim": point["hidden_dim"],
            "dropout": point["dropout"],
            "initialisation": point["initialization"],
            "order": order,
        },
    )


def decodings(metadata: Mapping[str, Any], single: bool) -> tuple[Mapping[str, float], ...]:
    """The ways to post-process events, in seconds, larger ones first: of equals on valid the first is taken.

    Where there may be but a `single` one, since nothing is scored on valid, several are refused.
    """
    grid = _stated(metadata, "event_postprocessing_grid", POST_CHECKS) or POST_PROCESSING
    found = sorted(({**ALONE, **point} for point in combinations(grid)), key=lambda one: sorted(one.items()))
    if single and len(found) > 1:
        raise RequestError(f"the loss steers this task, and {len(found)} ways to post-process events need a score")
    return tuple(
        {"median": one["median_filter_ms"] / 1000, "shortest": one["min_duration"] / 1000} for one in found[::-1]
    )


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the values, by the names in order, the last one running fastest.

    >>> combinations({"b": [1, 2], "a": [3]})
    [{'a': 3, 'b': 1}, {'a': 3, 'b': 2}]
    """
    names = sorted(grid)
    return [dict(zip(names, values, strict=True)) for values in product(*(grid[name] for name in names))]


# ---- what a folder may ask for ---------------------------------------------------------------------------------------


def _whole(least: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(least: float, below: float = float("inf")) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value < below


CHECKS: Mapping[str, Check] = {
    "batch_size": _whole(2),
    "check_val_every_n_epoch": _whole(1),
    "dropout": _number(0.0, 1.0),
    "hidden_dim": _whole(1),
    "hidden_layers": _whole(0),
    "lr": _number(1e-12),
    "max_epochs": _whole(1),
    "norm_after_activation": lambda value: value is False,
    "patience": _whole(1),
}
"""The parameters that metadata can state, and what they may be."""
POST_CHECKS: Mapping[str, Check] = {"median_filter_ms": _number(0.0), "min_duration": _number(0.0)}


def _stated(metadata: Mapping[str, Any], name: str, checks: Mapping[str, Check]) -> Mapping[str, Sequence[Any]]:
    """The grid that the metadata states; all that is wrong with it is one error."""
    params = metadata.get("evaluation_params") or {}
    if not isinstance(params, Mapping):
        raise RequestError(f"the task folder's 'evaluation_params' should be grids by name, found {str(params)[:60]}")
    grid = params.get(name) or {}
    if not isinstance(grid, Mapping):
        raise RequestError(f"'{name}' should be lists of values by name, found {grid!r}")
    problems = [f"'{key}' is not known here" for key in grid if key not in checks]
    problems += [
        f"'{key}' cannot be {values!r}"
        for key, values in grid.items()
        if key in checks and not (isinstance(values, list) and values and all(map(checks[key], values)))
    ]
    if problems:
        raise RequestError(
            f"the task folder's '{name}' cannot be followed:", *problems, f"known: lists of {', '.join(checks)}"
        )
    return grid

"""What a record promises, and what its files say about each other: an importer refuses one that does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from earbench import files, registry, rescore
from earbench.checks import Finding, Verdict, attempt
from earbench.contract import Task
from earbench.data import counts_that_differ
from earbench.demo import build as demo
from earbench.errors import BenchError, UnknownName
from earbench.intervals import REPLICATES, around, half_width, resampled_variance
from earbench.measure import scores_of
from earbench.plan import load_task
from earbench.record import Record, problems_of
from earbench.selection import deviation_names


def run(record: Record) -> list[Finding]:
    """One finding per check, in the order of `CHECKS`; one that does not fit the schema is not looked at further."""
    first = attempt(valid_record, record)
    return [first, *(attempt(check, record) for check in CHECKS)] if first.ok else [first]


def valid_record(record: Record) -> Verdict:
    """It fits the schema, every score lies within its bounds, and its interval around it."""
    problems = list(problems_of(record.facts))
    return not problems, "; ".join(problems)


def rows_are_of_the_stated_test_list(record: Record) -> Verdict:
    """Every seed said something of every unit of every fold once, and these are the units that the record names."""
    units: dict[tuple[str, int], list[Any]] = {}
    for row in (line for line in record.lines() if "score_of" not in line):
        units.setdefault((row["fold"], row["seed"]), []).append((row["id"], tuple(row["groups"])))
    lists: dict[str, list[Any]] = {}
    for (fold, seed), found in units.items():
        if lists.setdefault(fold, sorted(found)) != sorted(found) or len(set(found)) != len(found):
            return False, f"seed {seed} of {fold} has other units than the first seed, or one of them twice"
    seeds = {seed for _, seed in units}
    if len(seeds) != record.facts["seeds"] or len(units) != len(seeds) * len(lists):
        return False, f"rows of {len(seeds)} seeds, the record says {record.facts['seeds']}"
    if files.digest_of(lists) != record.facts["task"].get("tested"):
        return False, "the units and groups of the rows are not those that the record says it was tested on"
    groups = sum(len({name for _, names in found for name in names}) for found in lists.values())
    stated = {score["groups"] for score in record.scores.values()}
    if stated != {groups}:
        return False, f"rows of {groups} groups, the scores say {', '.join(map(str, sorted(stated)))}"
    return True, f"{sum(map(len, units.values())):,} rows, {groups} groups"


def replicates_give_the_intervals(record: Record) -> Verdict:
    """Every score with a value has 1,000 replicates per seed, and an interval made of them is what they say."""
    for name, score in record.scores.items():
        found = record.replicates_of(name)
        if problem := _limits_problem(score):
            return False, f"{name}: {problem}"
        if score["value"] is None:
            continue
        seeds = len(score.get("per_seed") or [0])
        if found is None or found.shape != (seeds, REPLICATES):
            shape = "none" if found is None else " x ".join(map(str, found.shape))
            return False, f"{name}: {seeds} x {REPLICATES} replicates expected, found {shape}"
        if score["interval"].startswith("bootstrap") and (problem := _interval_problem(score, found)):
            return False, f"{name}: {problem}"
        mean = np.mean([np.mean(folds) for folds in score.get("per_seed") or [[score["value"]]]])
        if not rescore.same(float(mean), score["value"]):
            return False, f"{name}: {score['value']} is not the mean of its seeds and folds, {mean}"
    return True, f"{len(record.scores)} scores"


def the_task_is_known(record: Record) -> Verdict:
    """No later version of a task is asked than the one that is installed here: nothing of it could be checked."""
    task, version = _installed(record), record.facts["task"]["version"]
    if isinstance(task, str):
        return True, f"not checked: {task}"
    if version > task.card.version:
        here = f"version {task.card.version} is installed here"
        return False, f"the record is of version {version} of '{record.task}', {here}: raise your earbench"
    return True, f"'{record.task}', version {version}"


def scores_are_those_of_the_task(record: Record) -> Verdict:
    """All metrics of the task, in its order and each with rows, then none but those that may stand beside them."""
    task = _checkable(record)
    if isinstance(task, str):
        return True, f"not checked: {task}"
    must, may = scores_of(task)
    found, tuned = list(record.scores), [name for name in may if name.endswith("_published")]
    if missing := [name for name in (*must, *tuned) if name not in found]:
        return False, f"{', '.join(missing)} is missing: every record of '{record.task}' has it"
    if unknown := [name for name in found if name not in (*must, *may)]:
        return False, f"'{record.task}' has no score called {', '.join(unknown)}: {', '.join((*must, *may))}"
    if found != [name for name in (*must, *may) if name in found]:
        return False, f"the scores stand in another order than those of the task: {', '.join((*must, *may))}"
    kept = {line.get("score_of") for line in record.lines()}
    bare = [name for name in found if name not in kept and (name not in must or None not in kept)]
    return not bare, f"there are no rows of {', '.join(bare)}" if bare else ", ".join(found)


def scores_follow_from_rows(record: Record) -> Verdict:
    """Every score is what its rows count, with the interval and the replicates that they make, and rows count what they
    say of prediction and answer, as far as the task is installed here.
    """
    task = _checkable(record)
    if isinstance(task, str):
        return True, f"not checked: {task}"
    kept = rescore.kept(record, task)
    problems = [rescore.other_units(kept)]
    problems += [problem for some in kept for problem in (rescore.from_rows(record, task, some), _own(task, some))]
    names = ", ".join(name for some in kept for name in some.scores)
    rest = "; of the intervals only the widths: resamples are drawn from the corpus" if task.trials else ""
    return not any(problems), "; ".join(filter(None, problems)) or f"{names or 'none'}{rest}"


def counts_are_the_published_ones(record: Record) -> Verdict:
    """A corpus that is not declared partial has as many clips as published, as far as the task is installed here."""
    task, names = record.facts["task"], deviation_names(record)
    counts = task.get("census")
    if "partial" in names or counts is None:
        return True, "not checked: " + ("the corpus is partial" if "partial" in names else "the record has no counts")
    try:
        card = registry.load("task", task["name"]).card
    except UnknownName:
        return True, f"not checked: no task '{task['name']}' is installed here"
    if card.version != task["version"]:
        return True, f"not checked: version {card.version} is installed here"
    expected = demo.census(card.corpus.id, card.name) if task["demo"] else card.corpus.counts
    differing = [
        f"{key}: published {there:,}, the record says {here:,}"
        for key, there, here in counts_that_differ(expected, counts)
    ]
    return not differing, "; ".join(differing) or f"{len(counts)} counts"


def _checkable(record: Record) -> Task | str:
    """The installed task of the record's version, or why there is none."""
    task = _installed(record)
    if not isinstance(task, str) and task.card.version != record.facts["task"]["version"]:
        return f"version {task.card.version} is installed here"
    return task


def _installed(record: Record) -> Task | str:
    try:
        return load_task(record.task)
    except BenchError as error:
        return str(error.args[0])


def _limits_problem(score: Mapping[str, Any]) -> str:
    """Why a score has limits that its interval does not have."""
    if (score["low"] is None) != score["interval"].startswith("none"):
        return f"the limits are {score['low']} and {score['high']}, the interval '{score['interval']}'"
    return ""


def _own(task: Task, some: rescore.Kept) -> str:
    """Why rows do not count what they say themselves; empty too where they do not tell."""
    return (some.scores and rescore.from_themselves(task, some)) or ""


def _interval_problem(score: Mapping[str, Any], replicates: np.ndarray[Any, Any]) -> str:
    """Why the limits are not those of the replicates; empty if they are."""
    values, size = [float(np.mean(folds)) for folds in score["per_seed"]], (score["groups"], len(score["per_seed"][0]))
    half = half_width([resampled_variance(each, *size) for each in replicates], values, *size)
    expected = around(score["value"], half, _bounds(score))[1:]
    if rescore.same([score["low"], score["high"]], expected):
        return ""
    return f"[{score['low']}, {score['high']}] is not what its replicates say, [{expected[0]}, {expected[1]}]"


def _bounds(score: Mapping[str, Any]) -> tuple[float, float]:
    """Of its metric; none of them is a null in a record."""
    lowest, highest = score.get("bounds", (None, None))
    return -np.inf if lowest is None else lowest, np.inf if highest is None else highest


CHECKS: tuple[Callable[[Record], Verdict], ...] = (
    rows_are_of_the_stated_test_list,
    replicates_give_the_intervals,
    the_task_is_known,
    scores_are_those_of_the_task,
    scores_follow_from_rows,
    counts_are_the_published_ones,
)

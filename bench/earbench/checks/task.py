"""What every task must hold to, tried on its own toy corpus. Each check is a function; its docstring is its promise."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from earbench.checks import Finding, Verdict, attempt
from earbench.checks.toy import (
    EFFORTS,
    Toy,
    batches_of,
    examples_of,
    frame_times,
    listings_reversed,
    measured,
    one_pass_problem,
    scored,
    shuffled,
)
from earbench.contract import Match, Rows, Task, UpstreamCard
from earbench.kit.seeds import generator
from earbench.plan import contradiction
from earbench.record import plain_rows
from earbench.rescore import difference, stored, units

BATCHES = 20
CLIPS = 6


def run(task: Task, upstream: UpstreamCard) -> list[Finding]:
    """One finding per check, in the order of `CHECKS`; a toy corpus that cannot be made or read is the only finding."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            task.toy(root, seed=0)
            task = task.at(root, upstream)
            toy = Toy(task, upstream, root, [measured(fold) for fold in task.folds(root, upstream)])
        except Exception as error:
            detail = f"stopped with {type(error).__name__}: {error}: `folds` must read what `toy` wrote"
            return [Finding("toy corpus is written and read", False, detail)]
        return [attempt(check, toy) for check in CHECKS]


def facts_fit_together(toy: Toy) -> Verdict:
    """The valid split is judged by a metric of the task or by the loss, a perfect score lies within its bounds, and no
    two facts exclude each other.
    """
    metrics = toy.task.card.metrics
    names = [metric.name for metric in metrics]
    if toy.task.select not in (*names, "loss"):
        return False, f"select is '{toy.task.select}': name one of {', '.join(names)}, or loss"
    outside = [metric.name for metric in metrics if not metric.bounds[0] <= metric.best <= metric.bounds[1]]
    if outside:
        return False, f"best lies outside the bounds of {', '.join(outside)}: correct the metric"
    if problem := contradiction(toy.task):
        return False, f"{problem}: change one of the two"
    return True, f"judged by {toy.task.select}; metrics {', '.join(names)}"


def ids_are_unique(toy: Toy) -> Verdict:
    """No two clips of a fold have the same id, and no split is empty."""
    for fold in toy.folds:
        splits = fold.splits()
        if isinstance(toy.task, Match):  # it trains nothing, and may look for the same recordings in valid and test
            splits = {"test": fold.test}
        empty = [name for name, split in splits.items() if not split.clips]
        if empty:
            return False, f"fold '{fold.name}': {', '.join(empty)} without clips: let the toy corpus fill every split"
        counts = Counter(clip.id for split in splits.values() for clip in split.clips)
        name, most = counts.most_common(1)[0]
        if most > 1:
            return False, f"fold '{fold.name}': {most} clips are called '{name}': an id names one clip of one split"
    return True, f"{sum(counts.values())} clips in the last of {len(toy.folds)} folds"


def nothing_leaks_between_splits(toy: Toy) -> Verdict:
    """No `leak` value (speaker, recording) that the protocol keeps apart is in two splits of a fold."""
    kept: set[str] = set()
    for fold in toy.folds:
        held = {name: {clip.leak for clip in split.clips if clip.leak} for name, split in fold.splits().items()}
        kept = kept.union(*held.values())
        for (one, first), (two, second) in itertools.combinations(held.items(), 2):
            if shared := sorted(first & second):
                found = f"fold '{fold.name}': '{shared[0]}' is in {one} and {two}"
                return False, f"{found}: split by it, or set `leak` only where the protocol promises it"
    return True, f"{len(kept)} values kept apart"


def file_order_does_not_matter(toy: Toy) -> Verdict:
    """The folds and the census are the same whatever order the file system lists its files in."""
    with listings_reversed():
        again = list(toy.task.folds(toy.root, toy.card))
        counted = toy.task.census(again)
    if counted != toy.task.census(toy.folds):
        return False, "the census changed when the file system listed its files backwards: sort every listing"
    for one, two in zip(toy.folds, again, strict=True):
        for name, split in one.splits().items():
            if repr(split.clips) != repr(two.splits()[name].clips):
                return False, f"fold '{one.name}': {name} changed when files were listed backwards: sort every listing"
    return True, f"{len(toy.folds)} folds equal"


def rows_are_of_the_clips_in_their_order(toy: Toy) -> Verdict:
    """Rows name the clips of the test split, or the recordings these belong to, in the order of the split: intervals
    are made again from that. A task whose rows are of something else says `trials`.
    """
    for fold in toy.folds:
        expected = [clip.whole or clip.id for clip in fold.test.clips]
        rows = toy.task.rows(fold.test, toy.task.ideal(fold.test))
        if (list(dict.fromkeys(rows.ids)) == list(dict.fromkeys(expected))) == toy.task.trials:
            told = "but they are: leave `trials` out" if toy.task.trials else "keep the order, or set `trials = True`"
            stated = "`trials` says that rows are not of its clips" if toy.task.trials else "rows are not of its clips"
            return False, f"fold '{fold.name}': {stated}, {told}"
    return True, "of trials" if toy.task.trials else "of clips"


def ideal_answers_score_best(toy: Toy) -> Verdict:
    """What a perfect head would predict scores `best` on every metric."""
    for name, metric, rows in scored(toy, lambda answers: answers):
        value = metric.value(rows, np.ones(len(rows)))
        if not np.isclose(value, metric.best, rtol=1e-9, atol=1e-9):
            found = f"{name}: ideal answers score {metric.name} {value:g}, best is {metric.best:g}"
            return False, f"{found}: make `ideal` say what `rows` compares with"
    return True, f"best on {', '.join(metric.name for metric in toy.task.card.metrics)}"


def shuffled_answers_score_worse(toy: Toy) -> Verdict:
    """Ideal answers given to the wrong clips score worse than `best`, within the bounds."""
    said = []
    for name, metric, rows in scored(toy, shuffled):
        value = metric.value(rows, np.ones(len(rows)))
        worse = value < metric.best if metric.better == "higher" else value > metric.best
        if not (worse and metric.bounds[0] <= value <= metric.bounds[1]):
            found = (
                f"{name}: shuffled answers score {metric.name} {value:g}, best {metric.best:g}, bounds {metric.bounds}"
            )
            return False, f"{found}: key predictions by clip id; give toy clips different answers"
        said.append(f"{metric.name} {value:.3g}")
    return True, ", ".join(dict.fromkeys(said))


def order_of_rows_does_not_matter(toy: Toy) -> Verdict:
    """A metric gives the same value when the weighted rows come in another order."""
    rng = generator("check", "rows")
    for name, metric, rows in scored(toy, shuffled):
        weights = rng.integers(1, 4, len(rows)).astype(np.float64)
        order = rng.permutation(len(rows))
        moved = Rows(
            tuple(rows.ids[index] for index in order),
            tuple(rows.groups[index] for index in order),
            {key: values[order] for key, values in rows.arrays.items()},
        )
        one, two = metric.value(rows, weights), metric.value(moved, weights[order])
        if not np.isclose(one, two, rtol=1e-9, atol=1e-9):
            return False, f"{name}: {metric.name} {one!r} became {two!r} in another order: break ties by value or id"
    return True, "values equal in another order"


def order_of_clips_does_not_matter(toy: Toy) -> Verdict:
    """A metric gives the same value when the clips of the split come in another order."""
    pairs = zip(scored(toy, shuffled), scored(toy, shuffled, reverse=True), strict=True)
    for (name, metric, rows), (_, _, others) in pairs:
        one, two = (metric.value(some, np.ones(len(some))) for some in (rows, others))
        if not np.isclose(one, two, rtol=1e-9, atol=1e-9):
            found = f"{name}: {metric.name} {one!r} became {two!r} with the clips reversed"
            return False, f"{found}: key predictions by clip id"
    return True, "values equal with the clips reversed"


def stored_rows_score_again(toy: Toy) -> Verdict:
    """Rows as a record keeps them, and the answers of the split, make the same rows again, for `bench verify`."""
    done, left_out = set(), set()
    for fold in toy.folds:
        rows = toy.task.rows(fold.test, shuffled(toy.task.ideal(fold.test)))
        lines = plain_rows(fold.name, 0, rows.ids, rows.groups, rows.arrays)
        ((_, _, kept),) = stored(json.loads(json.dumps(list(lines))))
        made = toy.task.again(fold.test, kept)
        if problem := units(kept, made) or difference(kept, made):
            return False, f"fold '{fold.name}': {problem}: let `again` make the rows of what they say was predicted"
        for metric in toy.task.card.metrics:
            try:
                metric.value(made, np.ones(len(made)))
            except KeyError:  # it looks at an array that `again` left out
                left_out.add(metric.name)
            else:
                done.add(metric.name)
    rest = f"; not {', '.join(sorted(left_out))}: rows do not say what was predicted" if left_out else ""
    return True, f"again: {', '.join(sorted(done))}{rest}"


def every_clip_has_a_target(toy: Toy) -> Verdict:
    """`target` answers for every clip of train and valid with a tensor of finite numbers."""
    if isinstance(toy.task, Match):
        return True, "answers from features alone: no targets"
    count = 0
    for fold in toy.folds:
        space = toy.task.space(fold)
        for clip in (*fold.train.clips, *fold.valid.clips):
            times = frame_times(toy, clip)
            target = toy.task.target(clip, times, space)
            if not (isinstance(target, Tensor) and torch.isfinite(target).all()):
                return False, f"clip '{clip.id}': target {target!r}: return a tensor of finite numbers"
            if toy.task.example == "frame" and times is not None and target.shape[:1] != times.shape:
                found = f"clip '{clip.id}': target {list(target.shape)} for {len(times)} frames"
                return False, f"{found}: answer once for each of `times`"
            count += 1
    return True, f"{count} targets"


def batches_hold_valid_indices(toy: Toy) -> Verdict:
    """Every batch is a few numbers of clips or frames of the train split; the same generator gives the same batches."""
    if isinstance(toy.task, Match):
        return True, "answers from features alone: no batches"
    for fold, recipe in itertools.product(toy.folds, toy.recipes()):
        one, two = (
            [list(batch) for batch in itertools.islice(batches_of(toy, fold.train, recipe, rng), BATCHES)]
            for rng in (generator("check", "batches"), generator("check", "batches"))
        )
        count = examples_of(toy, fold.train)
        if len(one) < BATCHES:
            return False, f"fold '{fold.name}': batches ended after {len(one)}: they must go on for ever"
        if not all(batch and all(0 <= index < count for index in batch) for batch in one):
            found = f"fold '{fold.name}': a batch is empty or points outside the {count} {toy.task.example}s of train"
            return False, f"{found}: count from 0"
        if one != two:
            return False, f"fold '{fold.name}': the same generator gave other batches: draw from `rng` only"
    return True, f"{BATCHES} batches of {len(toy.recipes())} kinds of recipe"


def valid_weights_fit(toy: Toy) -> Verdict:
    """`weights` gives one finite, non-negative number per row of the valid split, in every effort, not all zero."""
    for fold, effort in itertools.product(toy.folds, EFFORTS):
        weights = toy.task.weights(fold.valid, effort)
        rows = len(toy.task.rows(fold.valid, toy.task.ideal(fold.valid)))
        if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum():
            found = f"fold '{fold.name}', {effort}: shape {weights.shape} for {rows} rows, sum {weights.sum():g}"
            return False, f"{found}: weigh every row that the split makes (by default a clip; a pool is one unit)"
    return True, f"sum {weights.sum():g} over the valid split of the last fold"


def every_recipe_builds_a_trainable_head(toy: Toy) -> Verdict:
    """Each recipe's head gives a finite loss on random features, finite gradients, and one prediction per clip."""
    if isinstance(toy.task, Match):
        return True, "answers from features alone: no head"
    fold = toy.folds[0]
    space = toy.task.space(fold)
    for recipe in toy.recipes():
        width = toy.card.widths[0] if toy.card.widths else 24
        head = toy.task.head(width, space, recipe)
        head.generator = torch.Generator().manual_seed(0)
        problem = one_pass_problem(toy, head, width, fold.train.clips[:CLIPS])
        if problem:
            return False, f"{problem}: correct its loss, its forward or its predict ({recipe})"
    return True, f"{len(toy.recipes())} kinds of recipe"


CHECKS: Sequence[Callable[[Toy], Verdict]] = (
    facts_fit_together,
    ids_are_unique,
    nothing_leaks_between_splits,
    file_order_does_not_matter,
    rows_are_of_the_clips_in_their_order,
    ideal_answers_score_best,
    shuffled_answers_score_worse,
    order_of_rows_does_not_matter,
    order_of_clips_does_not_matter,
    stored_rows_score_again,
    every_clip_has_a_target,
    batches_hold_valid_indices,
    valid_weights_fit,
    every_recipe_builds_a_trainable_head,
)

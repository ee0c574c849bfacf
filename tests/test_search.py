from types import SimpleNamespace

import pytest
import torch
from fitting import RECIPE, Colours, MadeUp, cell, fold, opener, rates

from earbench import search as module
from earbench.errors import BenchError
from earbench.fit import Fitted
from earbench.plan import contradiction
from earbench.search import judgeable, layer_choices, search


@pytest.fixture
def scripted(monkeypatch):
    """Fits that are not trained: `valid(case)` says what each is judged at. What was asked for is kept."""
    asked = []

    def say(valid):
        def grid(bench, recipes, seed, layer, _):
            asked.append((bench.fold.name, tuple(recipes), seed, layer))
            cases = [SimpleNamespace(fold=bench.fold.name, recipe=one, seed=seed, layer=layer) for one in recipes]
            return [made(case, valid(case)) for case in cases]

        monkeypatch.setattr(module, "grid", grid)
        return asked

    return say


def made(case, valid):
    return Fitted(case.recipe, case.seed, case.layer, valid, 10, ((10, valid),), {"w": torch.zeros(1)})


def found(folder, quiet, recipes=3, folds=2, store=None, seeds=1, layers="mix", **choices):
    given = opener(
        folder,
        Colours(**choices),
        rates(*[0.1 * 0.5**number for number in range(recipes)]),
        store or MadeUp(),
        [fold(number) for number in range(folds)],
        seeds,
        layers,
    )
    return search(*given[:4], quiet)


VALID = {"fold0": [10, 30, 20], "fold1": [50, 10, 45]}


def by_fold(case):
    return VALID[case.fold][case.recipe]


@pytest.mark.parametrize(
    ("rule", "winners"),
    [("fold", [1, 0]), ("first", [1, 1]), ("all", [2, 2])],
)
def test_recipes_are_chosen_by_the_rule_of_the_task(rule, winners, tmp_path, quiet, scripted):
    """On its own fold 1 then 0 win, on the first 1, over both 2 (means 30, 20, 32.5)."""
    scripted(by_fold)
    outcome = found(tmp_path, quiet, search=rule)
    assert [[head.recipe for head in heads] for heads in outcome.heads[None]] == [[winner] for winner in winners]


def test_by_the_rule_first_later_folds_train_the_winner_only(tmp_path, quiet, scripted):
    asked = scripted(by_fold)
    found(tmp_path, quiet, search="first")
    assert asked == [("fold0", (0, 1, 2), 0, None), ("fold1", (1,), 0, None)]


@pytest.mark.parametrize("rule", ["fold", "first", "all"])
def test_ties_go_to_the_first_of_the_grid(rule, tmp_path, quiet, scripted):
    scripted(lambda _: 50.0)
    outcome = found(tmp_path, quiet, search=rule)
    assert [heads[0].recipe for heads in outcome.heads[None]] == [0, 0]


def test_the_mean_over_seeds_decides_and_every_seed_keeps_a_head(tmp_path, quiet, scripted):
    scores = {(0, 0): 90, (0, 1): 10, (1, 0): 60, (1, 1): 60}
    scripted(lambda case: scores.get((case.recipe, case.seed), 0))
    outcome = found(tmp_path, quiet, folds=1, seeds=2)
    (heads,) = outcome.heads[None]
    assert [(head.recipe, head.seed) for head in heads] == [(1, 0), (1, 1)]


def test_a_loss_is_better_when_lower(tmp_path, quiet, scripted):
    scripted(by_fold)
    outcome = found(tmp_path, quiet, select="loss")
    assert [heads[0].recipe for heads in outcome.heads[None]] == [0, 1]


def test_a_recipe_without_a_value_never_wins(tmp_path, quiet, scripted):
    scripted(lambda case: float("nan") if case.recipe == 0 else 10.0 * case.recipe)
    outcome = found(tmp_path, quiet)
    assert [heads[0].recipe for heads in outcome.heads[None]] == [2, 2]


def test_a_choice_between_recipes_without_a_value_is_an_error(tmp_path, quiet, scripted):
    scripted(lambda _: float("nan"))
    with pytest.raises(BenchError, match="accuracy has no value on valid for any of 3 choices"):
        found(tmp_path, quiet)


def test_a_single_recipe_without_a_value_is_what_there_is(tmp_path, quiet, scripted):
    scripted(lambda _: float("nan"))
    assert [heads[0].recipe for heads in found(tmp_path, quiet, recipes=1).heads[None]] == [0, 0]


INFINITE = {(0, 0): float("inf"), (0, 1): float("-inf"), (1, 0): -3.0, (1, 1): -4.0}


@pytest.mark.parametrize(("recipes", "winner"), [(2, 1), (1, 0)])
def test_a_recipe_that_was_judged_by_both_infinities_never_wins_and_ends_no_run(
    recipes, winner, tmp_path, quiet, scripted
):
    """A d' is infinite where a label is told perfectly, or wrongly all the time; both together have no mean."""
    scripted(lambda case: INFINITE[case.recipe, case.seed])
    heads = found(tmp_path, quiet, recipes, folds=1, seeds=2).heads[None]
    assert {head.recipe for head in heads[0]} == {winner}


def test_where_all_recipes_were_judged_by_both_infinities_the_first_is_taken(tmp_path, quiet, scripted):
    scripted(lambda case: [float("inf"), float("-inf")][case.seed])
    assert {head.recipe for head in found(tmp_path, quiet, folds=1, seeds=2).heads[None][0]} == {0}


def test_a_layer_may_be_judged_by_both_infinities_on_two_folds(tmp_path, quiet, scripted):
    scripted(lambda case: float("inf") if case.fold == "fold0" else float("-inf"))
    assert found(tmp_path, quiet, recipes=1, store=MadeUp(layers=2), layers="each").best_layer == 0


class Patchy(Colours):
    """Accuracy has no value on the valid split of `unjudged`, as R2 has none where all numbers are the same."""

    unjudged = "valid/1"

    def weights(self, split, effort):
        return super().weights(split, effort) * (self.unjudged not in split.clips[0].id)


def test_a_metric_without_a_value_on_one_valid_split_leaves_all_to_the_loss():
    task, notes = judgeable(Patchy(), [fold(0), fold(1)], "standard")
    assert (task.select, Patchy.select) == ("loss", "accuracy")
    (note,) = notes
    assert note.startswith("accuracy has no value on the valid split of fold 'fold1', whatever is said of it")


def test_a_task_that_has_to_be_judged_by_the_loss_keeps_its_first_decoding_and_says_so():
    asked = Patchy(decodings=({"rotate": 0}, {"rotate": 1}))
    task, (note,) = judgeable(asked, [fold(1)], "standard")
    assert task.decodings == ({"rotate": 0},)
    assert contradiction(task) is None
    assert note.endswith("recipes are chosen by the loss, and read by the first of 2 decodings")


@pytest.mark.parametrize(("task", "folds"), [(Patchy(), [fold(0)]), (Patchy(select="loss"), [fold(1)])])
def test_what_can_be_judged_stays_as_it_is(task, folds):
    assert judgeable(task, folds, "standard") == (task, ())


def test_the_table_lists_every_fit(tmp_path, quiet, scripted):
    scripted(by_fold)
    outcome = found(tmp_path, quiet, folds=2, seeds=2)
    assert len(outcome.table) == 2 * 2 * 3
    assert outcome.table[1] == {
        "fold": "fold0",
        "seed": 0,
        "layer": None,
        "recipe": 1,
        "lr": 0.05,
        "options": {},
        "valid": 30,
        "step": 10,
        "steps": 10,
    }


@pytest.mark.parametrize(
    ("layers", "count", "choices"),
    [
        ("mix", 3, [None]),
        ("each", 3, [0, 1, 2]),
        ("last", 3, [2]),
        ("1", 3, [1]),
        ("mix", 1, [None]),
        ("each", 1, [0]),
    ],
)
def test_layers_are_trained_as_asked(layers, count, choices):
    assert layer_choices(cell(Colours(), MadeUp(layers=count), layers)) == choices


def test_with_each_layer_the_best_on_valid_is_chosen(tmp_path, quiet, scripted):
    scripted(lambda case: [10, 30, 20][case.layer])
    outcome = found(tmp_path, quiet, store=MadeUp(layers=3), layers="each")
    assert list(outcome.heads) == [0, 1, 2]
    assert outcome.best_layer == 1


def test_every_layer_has_a_head_that_saw_that_layer_only(tmp_path, quiet):
    """The colour is in layer 2 alone: only that head can learn, and it has no layer weights."""
    store = MadeUp(layers=3, at=2, noise=0.2)
    outcome = search(*opener(tmp_path, Colours(), [RECIPE.with_(steps=100)], store, [fold()], layers="each")[:4], quiet)
    valid = {layer: heads[0][0].valid for layer, heads in outcome.heads.items()}
    assert valid[2] > 90
    assert max(valid[0], valid[1]) < 70
    assert outcome.best_layer == 2
    assert outcome.heads[2][0][0].weights() is None


def test_the_learned_mix_turns_to_the_layer_that_tells(tmp_path, quiet):
    recipe = RECIPE.with_(lr=0.05, steps=200)
    outcome = search(*opener(tmp_path, Colours(), [recipe], MadeUp(layers=3, at=2), [fold()])[:4], quiet)
    weights = outcome.heads[None][0][0].weights()
    assert sum(weights) == pytest.approx(1)
    assert max(weights) == weights[2]


class Guarded(Colours):
    """Raises as soon as anything about a test clip is asked."""

    def target(self, clip, times, space):
        self._check(clip)
        return super().target(clip, times, space)

    def rows(self, split, predictions):
        for clip in split.clips:
            self._check(clip)
        return super().rows(split, predictions)

    def _check(self, clip):
        if "test" in clip.id:
            raise AssertionError("the test split was asked for its answers")


@pytest.mark.parametrize("select", ["accuracy", "loss"])
@pytest.mark.parametrize("layers", ["mix", "each"])
def test_test_labels_are_not_touched_before_measuring(select, layers, tmp_path, quiet):
    given = opener(tmp_path, Guarded(select=select), rates(1e-2, 1e-3), MadeUp(), [fold()], layers=layers)
    search(*given[:4], quiet)
    with pytest.raises(AssertionError, match="asked for its answers"):
        given[0].task.rows(fold().test, {})

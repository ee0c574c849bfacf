from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import cut
from fitting import (
    COLOURS,
    CPU,
    RECIPE,
    Colours,
    Dropping,
    MadeUp,
    Normed,
    Recurrent,
    TorchDropping,
    bench,
    fold,
    rates,
    split,
)
from safetensors.torch import load_file

from earbench import examples, files, fit
from earbench.examples import Framed, Pooled
from earbench.fit import Judgement, better, grid, predict
from earbench.frames import Resident
from earbench.kit.heads.pooled import PooledLinear
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.rows import HeldRows
from earbench.search import best_of

HARD = MadeUp(noise=1.5)
LOSS = replace(ACCURACY, name="loss", better="lower")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def kill(monkeypatch):
    """Let the process die after so many files, one per judgement at least; a number too large is never."""
    monkeypatch.setattr(fit, "SAVE_SECONDS", 0.0)
    write = files.write

    def at(number):
        left = [number]

        def counted(path, fill):
            write(path, fill)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(files, "write", counted)

    return at


@pytest.fixture
def scripted(monkeypatch):
    """Judgements that say what the test wants: one list of scores per recipe, by rate."""

    def say(scores):
        said = {rate: iter(values) for rate, values in scores.items()}

        def judgements(_, stacks):
            return [Judgement(next(said[recipe.lr]), 0) for stack in stacks for recipe in stack.recipes]

        monkeypatch.setattr(fit, "_judgements", judgements)

    return say


def fits(one, quiet, recipes=None, seed=0, layer=None):
    return grid(one, list(recipes or range(len(one.plan.recipes))), seed, layer, quiet)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.recipe, one.valid, one.step, one.curve) == (other.recipe, other.valid, other.step, other.curve)
        assert one.decoding == other.decoding
        assert one.state.keys() == other.state.keys()
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_training_on_means_and_on_frames_agrees(tmp_path, quiet):
    """The same clips, batches and head, once as frames and once as their means (protocol sheet 3)."""
    frames = MadeUp(layers=3, frames=9)
    recipe = RECIPE.with_(steps=100, every=100)

    class Means(MadeUp):
        def read(self, keys):
            rows, lengths = frames.read(keys)
            means = torch.stack([clip.mean(0) for clip in rows.split(lengths.tolist())])
            return means, torch.ones(len(keys), dtype=torch.long)

    framewise = bench(tmp_path / "frames", [recipe], Colours(grain="frame"), frames)
    pooled = bench(tmp_path / "means", [recipe], Colours(), Means(layers=3))
    assert len(framewise.train.frames.held) > 2 * len(pooled.train.rows)
    (one,), (other,) = fits(framewise, quiet), fits(pooled, quiet)
    for name, value in other.state.items():
        torch.testing.assert_close(one.state[name], value, atol=1e-4, rtol=0)
    assert predict(framewise, one, framewise.valid, [{}]) == predict(pooled, other, pooled.valid, [{}])


def test_a_batch_of_frames_holds_each_clips_own_frames_and_zeros():
    held = Resident((1, 1), torch.arange(6.0).reshape(6, 1, 1) + 1, [0, 2, 3, 6])
    one = Framed(split("train", 3), held, Colours(grain="frame"), COLOURS, 0.02, 0.01, CPU)
    ((x, lengths, targets, _),) = one.batches([[2, 0]])
    assert x.shape == (2, 1, 3, 1)
    assert x.flatten(1).tolist() == [[4, 5, 6], [1, 2, 0]]
    assert (lengths.tolist(), targets.tolist()) == ([3, 2], [2, 0])


def test_one_layer_of_a_split_is_that_layer():
    held = Pooled(split("train", 1), HeldRows(torch.arange(6.0).reshape(1, 3, 2)), *[torch.ones(1)] * 2)
    assert held.layer(1).rows.held.tolist() == [[[2.0, 3.0]]]
    assert held.layer(1).shape == (1, 2)


def test_the_grid_learns(tmp_path, quiet):
    one = bench(tmp_path, rates(1e-2, 1e-3, steps=200), store=MadeUp(noise=0.2))
    found = fits(one, quiet)
    assert found[0].valid > 90
    assert found[0].valid > found[1].valid
    (said,) = predict(one, found[0], one.valid, [{}])
    assert ACCURACY.value(one.task.rows(one.fold.valid, said), np.ones(30)) == found[0].valid


def test_what_a_head_says_is_said_by_clip_however_many_are_judged_together(tmp_path, quiet, monkeypatch):
    one = bench(tmp_path, [RECIPE])
    (found,) = fits(one, quiet)
    whole = predict(one, found, one.valid, [{}])
    monkeypatch.setattr(examples, "EVALUATE_CLIPS", 7)
    assert predict(one, found, one.valid, [{}]) == whole
    assert list(whole[0]) == [clip.id for clip in one.fold.valid.clips]


def test_training_stops_after_patience_judgements_and_keeps_the_best_state(tmp_path, quiet, scripted):
    recipe = RECIPE.with_(steps=200, every=10, patience=3)
    scripted({recipe.lr: [50, 60, 70, 65, 70, 69, 99, 99]})
    (stopped,) = fits(bench(tmp_path / "stopped", [recipe]), quiet)
    assert (stopped.step, stopped.valid) == (30, 70)
    assert [step for step, _ in stopped.curve] == [10, 20, 30, 40, 50, 60]
    scripted({recipe.lr: [1, 2, 3]})
    (short,) = fits(bench(tmp_path / "short", [recipe.with_(steps=30)]), quiet)
    assert all(torch.equal(stopped.state[name], short.state[name]) for name in short.state)


def test_of_equal_judgements_the_earliest_is_kept(tmp_path, quiet, scripted):
    scripted({RECIPE.lr: [50, 70, 70, 70]})
    (found,) = fits(bench(tmp_path, [RECIPE]), quiet)
    assert found.step == 20


def test_without_patience_training_never_stops_early(tmp_path, quiet, scripted):
    recipe = RECIPE.with_(steps=100, every=5, patience=None)
    scripted({recipe.lr: [90, *[10] * 19]})
    (found,) = fits(bench(tmp_path, [recipe]), quiet)
    assert (found.step, found.curve[-1][0], len(found.curve)) == (5, 100, 20)


def test_the_last_steps_are_judged_where_the_interval_does_not_divide_them(tmp_path, quiet):
    (found,) = fits(bench(tmp_path, [RECIPE.with_(steps=25, every=10)]), quiet)
    assert [step for step, _ in found.curve] == [10, 20, 25]


def test_a_recipe_that_stops_leaves_the_others_as_they_would_be_alone(tmp_path, quiet):
    grid_ = rates(1e-1, 1e-2, 1e-3, 1e-4, steps=200, every=5, patience=2)
    together = fits(bench(tmp_path / "together", grid_, store=HARD), quiet)
    alone = [fits(bench(tmp_path / str(n), [one], store=HARD), quiet)[0] for n, one in enumerate(grid_)]
    assert len({one.curve[-1][0] for one in together}) > 1
    for one, other in zip(together, alone, strict=True):
        assert one.curve == other.curve
        for name in other.state:
            torch.testing.assert_close(one.state[name], other.state[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("number", "head"), [*product([1, 2, 5, 7], [None, Dropping, Normed, TorchDropping]), (4, Recurrent)]
)
def test_a_fit_cut_off_after_any_judgement_ends_with_the_same_digits(number, head, tmp_path, quiet, kill):
    frames = {"grain": "frame"} if head is Recurrent else {}
    task, store = Colours(head, **frames) if head else Colours(), MadeUp(noise=1.5, frames=9 if frames else 1)
    grid_ = rates(1e-1, 1e-2, 1e-3, 1e-4, steps=60, every=5, patience=2, accum=2)
    expected = fits(bench(tmp_path / "whole", grid_, task, store), quiet)
    assert len({one.curve[-1][0] for one in expected}) > 1, "some recipes have to stop before others"
    broken = bench(tmp_path / "broken", grid_, task, store)
    kill(number)
    with pytest.raises(Killed):
        fits(broken, quiet)
    assert_same(fits(broken, quiet), expected)


@pytest.mark.parametrize("head", [Dropping, Normed, TorchDropping, Recurrent])
def test_recipes_in_lock_step_end_with_the_digits_that_each_ends_with_alone(head, tmp_path, quiet):
    """Heads that draw from their own or from torch's generator; some stop before others."""
    task, store = Colours(head, grain="frame"), MadeUp(noise=1.5, frames=9)
    grid_ = rates(1e-1, 1e-2, 1e-3, steps=40, every=5, patience=2, accum=2)
    grid_ += [RECIPE.with_(steps=40, every=5, accum=2, optimiser=kind, weight_decay=0.1) for kind in ("adamw", "sgd")]
    together = fits(bench(tmp_path / "together", grid_, task, store), quiet)
    assert len(list((tmp_path / "together").iterdir())) == 1
    assert len({one.curve[-1][0] for one in together}) > 1
    for number, one in enumerate(grid_):
        (alone,) = fits(bench(tmp_path / str(number), [one], task, store), quiet)
        assert_same([replace(alone, recipe=number)], together[number : number + 1])


def test_the_state_is_written_every_few_seconds_not_at_every_judgement(tmp_path, quiet, monkeypatch):
    written, now = [], iter(range(1000))
    monkeypatch.setattr(fit.saved, "save", lambda *state: written.append(state[-1]))
    monkeypatch.setattr(fit, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(fit, "SAVE_SECONDS", 3)
    fits(bench(tmp_path, rates(1e-2, steps=50, every=5)), quiet)
    assert written == [15, 30, 45, 50]


def test_a_head_is_kept_as_it_was_at_every_step_asked_for(tmp_path, quiet):
    (whole,) = fits(bench(tmp_path / "whole", rates(1e-2, steps=40, every=10, keep=15)), quiet)
    assert [step for step, _ in whole.kept] == [15, 30]
    for step, path in whole.kept:
        (alone,) = fits(bench(tmp_path / f"{step}", rates(1e-2, steps=step, every=step)), quiet)
        assert alone.step == step
        found = load_file(path)
        assert all(torch.equal(found[name], value) for name, value in alone.state.items())
    (plain,) = fits(bench(tmp_path / "plain", rates(1e-2, steps=40, every=10)), quiet)
    assert plain.curve == whole.curve


def test_kept_heads_are_there_after_a_kill(tmp_path, quiet, kill):
    one = bench(tmp_path, rates(1e-2, 1e-3, steps=40, every=10, keep=10))
    expected = fits(bench(tmp_path / "whole", rates(1e-2, 1e-3, steps=40, every=10, keep=10)), quiet)
    kill(5)
    with pytest.raises(Killed):
        fits(one, quiet)
    kill(1000)
    for whole, again in zip(expected, fits(one, quiet), strict=True):
        assert [step for step, _ in again.kept] == [10, 20, 30, 40]
        for (_, path), (_, other) in zip(whole.kept, again.kept, strict=True):
            assert load_file(path).keys() == load_file(other).keys()
            assert all(torch.equal(load_file(path)[name], value) for name, value in load_file(other).items())


def test_a_finished_fit_is_not_trained_again(tmp_path, quiet, monkeypatch):
    one = bench(tmp_path, rates(1e-2, 1e-3, patience=1, steps=400))
    expected = fits(one, quiet)
    monkeypatch.setattr("earbench.stack.Stack.add", None)
    assert_same(fits(one, quiet), expected)


@pytest.mark.parametrize("spoil", [cut, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"x" * 99)])
def test_a_damaged_saved_fit_is_trained_again_and_the_user_is_told(spoil, tmp_path, quiet, capsys):
    one = bench(tmp_path, [RECIPE])
    expected = fits(one, quiet)
    (saved,) = tmp_path.iterdir()
    spoil(saved)
    assert_same(fits(one, quiet), expected)
    assert "warning: the saved state of a fit is damaged; training starts over" in capsys.readouterr().err


def test_a_single_flipped_bit_in_a_saved_fit_is_noticed(tmp_path, quiet, capsys):
    one = bench(tmp_path, [RECIPE])
    expected = fits(one, quiet)
    (saved,) = tmp_path.iterdir()
    data = bytearray(saved.read_bytes())
    data[-9] ^= 1
    saved.write_bytes(data)
    assert_same(fits(one, quiet), expected)
    assert "damaged" in capsys.readouterr().err


def test_a_task_may_be_judged_by_the_loss(tmp_path, quiet):
    one = bench(tmp_path, rates(1e-1, 1e-5, steps=60), Colours(select="loss"))
    found = fits(one, quiet)
    for fitted in found:
        assert fitted.valid == min(score for _, score in fitted.curve)
    head = PooledLinear(5, 6, COLOURS)
    head.load_state_dict({name.removeprefix("head."): value for name, value in found[0].state.items() if name != "mix"})
    mixed = torch.einsum("l,blw->bw", torch.tensor(found[0].weights()), one.valid.rows.held)
    expected = torch.nn.functional.cross_entropy(head(mixed, None), one.valid.targets)
    assert found[0].valid == pytest.approx(expected.item(), rel=1e-4)


def test_the_loss_over_slices_is_the_loss_over_all(tmp_path, quiet, monkeypatch):
    (whole,) = fits(bench(tmp_path / "whole", [RECIPE], Colours(select="loss")), quiet)
    monkeypatch.setattr(examples, "EVALUATE_CLIPS", 7)
    (sliced,) = fits(bench(tmp_path / "sliced", [RECIPE], Colours(select="loss")), quiet)
    assert sliced.valid == pytest.approx(whole.valid, rel=1e-5)


def test_a_judgement_without_a_value_never_wins(tmp_path, quiet, scripted):
    scripted({RECIPE.lr: [float("nan"), 40, float("nan"), 30]})
    (found,) = fits(bench(tmp_path, [RECIPE]), quiet)
    assert (found.step, found.valid) == (20, 40)


def test_a_recipe_that_never_has_a_value_still_ends(tmp_path, quiet, scripted):
    """A head that finds no event has no F: the worst answer, and no reason to give up the run."""
    scripted({RECIPE.lr: [float("nan")] * 4})
    (found,) = fits(bench(tmp_path, [RECIPE.with_(patience=2)]), quiet)
    assert (found.valid, found.step, len(found.curve)) == (-np.inf, 10, 3)


def test_a_recipe_that_diverged_has_no_value(tmp_path, quiet):
    (found,) = fits(bench(tmp_path, [RECIPE.with_(lr=float("inf"))], Colours(select="loss")), quiet)
    assert np.isnan(found.valid)


def test_training_ends_at_a_judgement_that_is_not_finite_where_the_recipe_says_so(tmp_path, quiet, scripted):
    """HEAR sheet 4.4; the other recipe of the stack goes on."""
    recipes = [RECIPE.with_(finite=True), RECIPE.with_(lr=1e-3)]
    for number, odd in enumerate([float("nan"), float("inf")]):
        scripted({RECIPE.lr: [50, odd, 99], 1e-3: [1, 2, 3, 4]})
        one, other = fits(bench(tmp_path / str(number), recipes), quiet)
        assert ([step for step, _ in one.curve], len(other.curve)) == ([10, 20], 4)
        assert (one.step, one.valid) == ((10, 50) if np.isnan(odd) else (20, odd))


@pytest.mark.parametrize(("select", "value"), [("accuracy", -np.inf), ("loss", np.inf)])
def test_one_that_ended_at_its_first_judgement_counts_as_the_worst_there_can_be(
    select, value, tmp_path, quiet, scripted
):
    """So that of several that did, the first wins, as in HEAR's reference; NaNs alone would be no choice."""
    scripted({rate: [float("nan")] for rate in (1e-1, 1e-2)})
    task = Colours(select=select)
    found = fits(bench(tmp_path, rates(1e-1, 1e-2, finite=True), task), quiet)
    assert [(one.valid, one.step, len(one.curve)) for one in found] == [(value, 10, 1)] * 2
    assert best_of(task, {one.recipe: [one.valid] for one in found}) == 0


def saying(scores):
    """A metric that says what the test wants, and tasks judged by it that have two decodings."""
    said = iter(scores)
    metric = replace(ACCURACY, value=lambda *_: next(said))
    task = Colours(decodings=({"rotate": 0}, {"rotate": 1}))
    task.card = replace(task.card, metrics=(metric,))
    return task


def test_every_judgement_tries_all_decodings_and_the_best_one_at_the_best_step_is_kept(tmp_path, quiet):
    nan = float("nan")
    task = saying([nan, 40, 50, 30, 20, 50, nan, nan])
    (found,) = fits(bench(tmp_path / "one", [RECIPE], task), quiet)
    assert [score for _, score in found.curve] == pytest.approx([40, 50, 50, nan], nan_ok=True)
    assert (found.step, found.valid, found.decoding) == (20, 50, {"rotate": 0})
    (tied,) = fits(bench(tmp_path / "tied", [RECIPE], saying([7, 7, 7, 8, 8, 8, 1, 1])), quiet)
    assert (tied.step, tied.decoding) == (20, {"rotate": 1}), "of equal steps the first, of equal decodings too"
    (other,) = fits(bench(tmp_path / "other", [RECIPE], saying([7, 7, 1, 1, 1, 1, 1, 1])), quiet)
    assert (other.step, other.decoding) == (10, {"rotate": 0})


def test_where_a_nan_ends_training_a_decoding_without_a_value_counts_zero_beside_others(tmp_path, quiet):
    """HEAR sheet 4.6: of equals the first, and then it is the NaN that ends training."""
    nan = float("nan")
    for scores, decoding, curve in [
        ([9, 8, nan, 0, 7, 7], 0, [9, nan]),
        ([0, nan, 0, 5, nan, nan], 1, [0, 5, nan]),
    ]:
        folder = tmp_path / str(decoding)
        (found,) = fits(bench(folder, [RECIPE.with_(finite=True)], saying(scores)), quiet)
        assert [score for _, score in found.curve] == pytest.approx(curve, nan_ok=True)
        assert found.decoding == {"rotate": decoding}


def test_a_resumed_fit_reads_its_best_state_as_before(tmp_path, quiet, kill):
    task = Colours(decodings=({"rotate": 1}, {"rotate": 0}))
    expected = fits(bench(tmp_path / "whole", [RECIPE], task), quiet)
    assert expected[0].decoding == {"rotate": 0}
    broken = bench(tmp_path / "broken", [RECIPE], task)
    kill(4)
    with pytest.raises(Killed):
        fits(broken, quiet)
    assert_same(fits(broken, quiet), expected)


@pytest.mark.parametrize(
    ("metric", "new", "old", "is_better"),
    [
        (ACCURACY, 2.0, 1.0, True),
        (ACCURACY, 1.0, 1.0, False),
        (ACCURACY, 0.5454545454545455, 0.5454545454545454, False),
        (ACCURACY, 0.545455, 0.545454, True),
        (LOSS, 1.0, 2.0, True),
        (None, 1.0, 2.0, True),
        (None, 1.0, 1.0, False),
        (None, 1.0, float("inf"), True),
        (ACCURACY, float("nan"), 0.0, False),
        (ACCURACY, 0.0, float("nan"), True),
        (None, float("nan"), float("nan"), False),
    ],
)
def test_better_is_strict_and_nan_is_worst(metric, new, old, is_better):
    assert better(metric, new, old) is is_better


def test_seeds_differ_in_start_and_in_batches_and_repeat(tmp_path, quiet):
    one = bench(tmp_path / "one", [RECIPE])
    first, second = (fits(one, quiet, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first.state["head.project.weight"], second.state["head.project.weight"])
    assert_same(fits(bench(tmp_path / "again", [RECIPE]), quiet, seed=1), [second])
    assert drawn(one, RECIPE, 0) != drawn(one, RECIPE, 1)


def drawn(one, recipe, seed, count=20, skip=0):
    stream = fit._stream(one, recipe, seed, skip)
    return [list(next(stream)) for _ in range(count)]


def test_every_recipe_sees_the_same_batches_and_a_later_start_the_later_ones(tmp_path):
    one = bench(tmp_path, rates(1e-1, 1e-3))
    assert drawn(one, one.plan.recipes[0], 0) == drawn(one, one.plan.recipes[1], 0)
    assert drawn(one, RECIPE, 0, skip=7) == drawn(one, RECIPE, 0, count=27)[7:]
    assert drawn(one, RECIPE.with_(accum=3), 0, skip=2) == drawn(one, RECIPE, 0, count=26)[6:]


def test_folds_draw_batches_of_their_own(tmp_path):
    one, two = (bench(tmp_path, [RECIPE], one=fold(number)) for number in (0, 1))
    assert drawn(one, RECIPE, 0) != drawn(two, RECIPE, 0)


def test_recipes_of_one_shape_begin_alike_but_for_those_with_another_start(tmp_path, quiet):
    """At a rate of zero the weights are those of the beginning. Another start is another draw, whatever the order."""
    still = RECIPE.with_(lr=0.0)
    recipes = [still, still.with_(optimiser="sgd"), still.with_(start=1), still.with_(start=2)]
    begun = [one.state["head.project.weight"] for one in fits(bench(tmp_path / "one", recipes), quiet)]
    assert torch.equal(begun[0], begun[1])
    assert not any(torch.equal(begun[one], begun[two]) for one, two in [(0, 2), (0, 3), (2, 3)])
    (again,) = fits(bench(tmp_path / "two", recipes[3:]), quiet)
    assert torch.equal(again.state["head.project.weight"], begun[3])


def test_nothing_outside_draws_from_the_heads_start(tmp_path, quiet):
    first = fits(bench(tmp_path / "one", [RECIPE.with_(lr=0.0)]), quiet)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert_same(fits(bench(tmp_path / "two", [RECIPE.with_(lr=0.0)]), quiet), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_recipes_of_different_shape_train_in_stacks_of_their_own_and_come_back_in_order(tmp_path, quiet):
    recipes = [RECIPE, RECIPE.with_(batch=4), RECIPE.with_(lr=1e-3), RECIPE.with_(optimiser="sgd")]
    one = bench(tmp_path, recipes)
    assert [found.recipe for found in fits(one, quiet, recipes=[3, 0, 1, 2])] == [3, 0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


def test_layers_and_seeds_are_saved_apart(tmp_path, quiet):
    one = bench(tmp_path, [RECIPE])
    for seed, layer in [(0, None), (0, 0), (0, 1), (1, None)]:
        fits(one, quiet, seed=seed, layer=layer)
    assert len(list(tmp_path.iterdir())) == 4


def test_dropout_of_torch_does_not_depend_on_what_was_drawn_before(tmp_path, quiet):
    torch.manual_seed(1)
    one = fits(bench(tmp_path / "one", rates(1e-2), Colours(TorchDropping), HARD), quiet)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert_same(fits(bench(tmp_path / "two", rates(1e-2), Colours(TorchDropping), HARD), quiet), one)
    assert torch.equal(torch.get_rng_state(), before), "and training leaves the global generator alone"

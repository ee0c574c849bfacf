from dataclasses import replace

import numpy as np
import pytest
from fitting import CPU, RECIPE, Clock, Colours, MadeUp, fold, opener, rates, shelf
from safetensors.torch import load_file

from earbench.examples import examples
from earbench.fit import predict
from earbench.intervals import REPLICATES
from earbench.kit.classification import hits
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.measure import measure
from earbench.search import search

RECIPES = [RECIPE.with_(steps=60)]


def measured(folder, quiet, task=None, recipes=RECIPES, store=None, folds=None, **options):
    one, of, folds, open_, shelf = opener(
        folder, task or Colours(), recipes, store or MadeUp(), folds or [fold()], **options
    )
    found = search(one, of, folds, open_, quiet)
    return measure(one, found, folds, open_, shelf, quiet), found, open_


def test_the_score_is_the_metric_on_the_test_split(tmp_path, quiet):
    one = fold()
    said, found, open_ = measured(tmp_path, quiet, folds=[one])
    (head,) = found.heads[None][0]
    ((name, seed, rows),) = said.rows
    assert (name, seed, rows.ids) == ("fold0", 0, tuple(clip.id for clip in one.test.clips))
    assert said.scores()["accuracy"]["value"] == 100 * rows.arrays["hit"].mean()
    (valid,) = predict(open_(one), head, open_(one).valid, [{}])
    assert ACCURACY.value(Colours().rows(one.valid, valid), np.ones(30)) == head.valid


def test_the_score_is_the_mean_over_folds_then_seeds(tmp_path, quiet):
    folds = [fold(0), fold(1, test=30)]
    said, _, _ = measured(tmp_path, quiet, folds=folds, seeds=3, store=MadeUp(noise=1.0))
    values = {(name, seed): 100 * rows.arrays["hit"].mean() for name, seed, rows in said.rows}
    assert len(set(values.values())) > 2
    per_seed = [[one.value for one in of_seed] for of_seed in said.samples["accuracy"]]
    assert per_seed == [[values[f"fold{number}", seed] for number in (0, 1)] for seed in range(3)]
    assert said.scores()["accuracy"]["value"] == pytest.approx(np.mean(list(values.values())))


def test_the_layer_that_won_on_valid_is_the_score_and_all_are_listed(tmp_path, quiet):
    said, found, _ = measured(tmp_path, quiet, store=MadeUp(layers=3, at=1, noise=0.2), layers="each")
    assert found.best_layer == 1
    each = {line["layer"]: line["scores"]["accuracy"]["value"] for line in said.layers}
    assert list(each) == [0, 1, 2]
    assert said.scores()["accuracy"]["value"] == each[1] > max(each[0], each[2])
    assert len(said.rows) == 1


def test_without_a_score_per_layer_there_is_no_list_of_layers(tmp_path, quiet):
    assert measured(tmp_path, quiet)[0].layers == []


def test_decodings_are_chosen_on_valid(tmp_path, quiet):
    """Only the second names the classes rightly."""
    task = Colours(decodings=({"rotate": 1}, {"rotate": 0}, {"rotate": 2}))
    said, _, _ = measured(tmp_path, quiet, task, store=MadeUp(noise=0.2))
    assert said.decoding == {"rotate": 0}
    assert said.scores()["accuracy"]["value"] > 90


def test_the_choice_of_a_decoding_does_not_see_the_test_split(tmp_path, quiet):
    """The test split is relabelled so that the first decoding would be perfect on it; valid still wants the second."""

    class Renamed(Colours):
        def rows(self, split, predictions):
            turned = {"red": "green", "green": "blue", "blue": "red"}
            rows = super().rows(split, predictions)
            if "test" not in split.clips[0].id:
                return rows
            hits = [turned[clip.label] == predictions[clip.id] for clip in split.clips]
            return type(rows)(rows.ids, rows.groups, {"hit": np.array(hits, float)})

    task = Renamed(decodings=({"rotate": 1}, {"rotate": 0}))
    said, _, _ = measured(tmp_path, quiet, task, store=MadeUp(noise=0.2))
    assert said.decoding == {"rotate": 0}
    assert said.scores()["accuracy"]["value"] < 10


def test_a_layer_is_decoded_as_was_best_for_that_layer(tmp_path, quiet):
    task = Colours(decodings=({"rotate": 1}, {"rotate": 0}))
    said, _, _ = measured(tmp_path, quiet, task, store=MadeUp(layers=2, at=1, noise=0.2), layers="each")
    assert said.decoding == {"rotate": 0}
    assert said.layers[1]["scores"]["accuracy"]["value"] > 90


def test_two_encoders_meet_the_same_resamples(tmp_path, quiet):
    """What differs between replicates of the two differs by the encoder alone: equal features, equal replicates."""
    one, _, _ = measured(tmp_path / "one", quiet)
    other, _, _ = measured(tmp_path / "other", quiet, store=MadeUp(noise=0.6))
    same, _, _ = measured(tmp_path / "same", quiet, recipes=rates(1e-2, 1e-7, steps=60))
    assert one.samples["accuracy"][0][0].replicates.shape == (REPLICATES,)
    assert np.array_equal(one.samples["accuracy"][0][0].replicates, same.samples["accuracy"][0][0].replicates)
    difference = one.samples["accuracy"][0][0].replicates - other.samples["accuracy"][0][0].replicates
    assert 0 < difference.std() < np.hypot(*(said.samples["accuracy"][0][0].replicates.std() for said in (one, other)))


def test_heads_are_told_the_times_of_test_frames(tmp_path, quiet):
    task = Colours(Clock, grain="frame")
    task.rows = lambda split, said: times.append(said) or hits(split, {clip.id: clip.label for clip in split.clips})
    times = []
    store = MadeUp(frames=4)
    measured(tmp_path, quiet, task, recipes=rates(1e-2, steps=2, every=1), store=store)
    expected = {clip.id: f"{0.01 + 0.02 * (len(store._rows(clip.id)) - 1):.2f}" for clip in fold().test.clips}
    assert times[-1] == expected


# ---- scores tuned on test --------------------------------------------------------------------------------------------


def test_a_published_score_is_the_best_on_test_of_all_kept_heads_and_decodings(tmp_path, quiet):
    turns = tuple({"rotate": number} for number in range(3))
    task = Colours(published="accuracy", published_decodings=turns)
    recipes = [RECIPE.with_(steps=40, every=40, keep=10)]
    said, found, open_ = measured(tmp_path, quiet, task, recipes, MadeUp(noise=1.5), seeds=2)
    one = fold()
    for seed, head in enumerate(found.heads[None][0]):
        test = examples(task, one.test, None, shelf(MadeUp(noise=1.5), one), CPU)
        scores = {}
        for step, path in head.kept:
            states = predict(open_(one), replace(head, state=load_file(path)), test, turns)
            for turn, answers in zip(turns, states, strict=True):
                rows = task.rows(one.test, answers)
                scores[step, turn["rotate"]] = ACCURACY.value(rows, np.ones(len(rows)))
        (chosen,) = [predict(open_(one), head, test, turns)]
        for turn, answers in zip(turns, chosen, strict=True):
            rows = task.rows(one.test, answers)
            scores[head.step, turn["rotate"]] = ACCURACY.value(rows, np.ones(len(rows)))
        assert len(scores) == 12  # the chosen head is the last of the four that were kept
        (sample,) = said.samples["accuracy_published"][seed]
        assert sample.value == max(scores.values())
        if seed == 0:
            best = said.columns["published"]
            assert scores[best["step"], best["decoding"]["rotate"]] == max(scores.values())
    assert said.scores()["accuracy_published"]["better"] == "higher"


def test_where_no_head_was_kept_only_the_chosen_one_is_tuned(tmp_path, quiet):
    plain, _, _ = measured(tmp_path, quiet, Colours(published="accuracy"))
    scores = plain.scores()
    assert scores["accuracy_published"]["value"] == scores["accuracy"]["value"]


def test_tasks_that_do_not_tune_on_test_have_no_published_score(tmp_path, quiet):
    assert "accuracy_published" not in measured(tmp_path, quiet)[0].samples

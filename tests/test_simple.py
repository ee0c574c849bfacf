from dataclasses import replace

import numpy as np
import pytest
import torch
from fitting import COLOURS, CPU, RECIPE, Colours, MadeUp, bench, fold, opener, shelf, split
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from earbench.contract import Labels, Split
from earbench.examples import examples
from earbench.measure import measure
from earbench.search import search
from earbench.simple import NEIGHBOURS, columns, one_class

MODELS = {
    "knn": KNeighborsClassifier(10, metric="cosine", algorithm="brute", weights="distance"),
    "logistic": LogisticRegression(C=1.0, class_weight="balanced", max_iter=300),
}


class Likely(Colours):
    """The colours, as probabilities."""

    probable = True

    def rows(self, split, predictions):
        return super().rows(split, {name: COLOURS[one.argmax()] for name, one in predictions.items()})


def without(colour):
    clips = split("train", 90).clips
    return Split(tuple(clip for clip in clips if clip.label != colour))


@pytest.fixture
def sides(tmp_path):
    """A fold opened, and its test split as the columns see it."""

    def made(store, task=None, part=None):
        one = bench(tmp_path, [RECIPE], task, store, part)
        return one, seen(one, store)

    return made


def seen(one, store):
    return examples(one.task, one.fold.test, None, shelf(store, one.fold), CPU)


def by_hand(model, one, test, layer):
    """Expected: scikit-learn called directly on features standardised by the train split."""
    scale = StandardScaler().fit(one.train.rows.matrix(layer).numpy())
    labels = [clip.label for clip in one.fold.train.clips]
    model.fit(scale.transform(one.train.rows.matrix(layer).numpy()), labels)
    return model.predict(scale.transform(test.rows.matrix(layer).numpy())).tolist()


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_columns_are_plain_scikit_learn_on_standardised_features(name, model, sides, quiet):
    """On a train split in which blue is rare, so that weighting the classes shows."""
    clips = split("train", 90).clips
    rare = Split(tuple(clip for number, clip in enumerate(clips) if clip.label != "blue" or number < 20))
    one, test = sides(MadeUp(layers=1, noise=0.8), part=replace(fold(), train=rare))
    column = columns(one, test, quiet)[name]
    assert list(column.predictions) == [clip.id for clip in one.fold.test.clips]
    assert list(column.predictions.values()) == by_hand(model, one, test, 0)
    assert len(set(column.predictions.values())) == 3


def test_a_task_of_probabilities_gets_those_of_scikit_learn_and_none_for_a_label_that_train_lacks(sides, quiet):
    one, test = sides(MadeUp(layers=1, noise=0.8), Likely(), replace(fold(), train=without("blue")))
    scale = StandardScaler().fit(one.train.rows.matrix(0).numpy())
    seen, labels = scale.transform(test.rows.matrix(0).numpy()), [clip.label for clip in one.fold.train.clips]
    known = [number for number, colour in enumerate(COLOURS) if colour != "blue"]
    for name, model in MODELS.items():
        said = np.stack([*columns(one, test, quiet)[name].predictions.values()])
        model.fit(scale.transform(one.train.rows.matrix(0).numpy()), [COLOURS.index(label) for label in labels])
        assert np.allclose(said[:, known], model.predict_proba(seen), atol=1e-6)
        assert (said[:, COLOURS.index("blue")] == 0).all()


def test_the_layer_is_chosen_by_the_valid_split(sides, quiet):
    """The colour is in layer 2 of train and valid; test would be easier with layer 0, which nobody may know."""

    class Elsewhere(MadeUp):
        def _rows(self, key):
            rows = super()._rows(key)
            return rows.flip(1) if "test" in key else rows

    one, test = sides(Elsewhere(layers=3, at=2, noise=0.3))
    found = columns(one, test, quiet)
    assert {name: column.facts for name, column in found.items()} == {
        "knn": {"layer": 2},
        "logistic": {"layer": 2, "converged": True},
    }
    right = [clip.label == found["knn"].predictions[clip.id] for clip in one.fold.test.clips]
    assert np.mean(right) < 0.7


def test_of_equal_layers_the_first_is_taken(sides, quiet):
    class Twice(MadeUp):
        def _rows(self, key):
            rows = super()._rows(key)
            return rows[:, :1].repeat(1, self.layers, 1)

    assert columns(*sides(Twice(layers=3)), quiet)["knn"].facts == {"layer": 0}


def test_frame_tasks_have_no_columns(sides, quiet):
    assert columns(*sides(MadeUp(frames=3), Colours(grain="frame")), quiet) == {}


def test_tasks_without_labels_have_no_columns(sides, quiet):
    class Speakers(Colours):
        def space(self, fold):
            return SpeakerCount(3)

        def target(self, clip, times, space):
            return super().target(clip, times, COLOURS)

        def head(self, width, space, recipe):
            return super().head(width, COLOURS, recipe)

    class SpeakerCount(list):
        def __init__(self, count):
            super().__init__(range(count))

    assert columns(*sides(MadeUp(), Speakers()), quiet) == {}


def test_tasks_with_several_answers_a_clip_have_no_columns(sides, quiet):
    class Several(Colours):
        def target(self, clip, times, space):
            return super().target(clip, times, space).repeat(2)

    assert isinstance(COLOURS, Labels)
    assert columns(*sides(MadeUp(), Several()), quiet) == {}


def test_a_train_split_smaller_than_the_neighbourhood_still_has_columns(tmp_path, quiet):
    one = bench(tmp_path, [RECIPE], store=MadeUp(), one=replace(fold(), train=split("train", 6)))
    assert len(one.train.rows) < NEIGHBOURS
    assert set(columns(one, seen(one, MadeUp()), quiet)) == {"knn", "logistic"}


def test_where_one_fold_trains_on_one_class_there_is_no_regression_and_a_neighbour_still_is(tmp_path, quiet):
    """A score is of all folds, so that one without a regression leaves it out of the others too."""
    folds = [fold(0), replace(fold(1), train=Split(fold(1).train.clips[::3]))]
    one, of, _, open_, held = opener(tmp_path, Colours(), [RECIPE], MadeUp(noise=0.2), folds)
    assert one_class(one.task, folds) == ["fold1"]
    said = measure(one, search(one, of, folds, open_, quiet), folds, open_, held, quiet)
    assert list(said.scores()) == ["accuracy", "accuracy_knn"]
    assert list(said.columns) == ["knn"]


class Numbers(Colours):
    """A number for every clip, the same for all; it is no class."""

    def space(self, fold):
        return [0]

    def target(self, clip, times, space):
        return torch.tensor(1.0)


class Tags(Colours):
    """Any of three labels for a clip, and the same for all."""

    def target(self, clip, times, space):
        return torch.ones(3)


@pytest.mark.parametrize("task", [Colours(), Colours(grain="frame"), Numbers(), Tags()])
def test_what_has_two_classes_or_no_classes_is_not_of_one_class(task):
    assert one_class(task, [fold()]) == []


def test_columns_become_scores_beside_the_heads(tmp_path, quiet):
    folds = [fold(0), fold(1)]
    one, of, _, open_, held = opener(tmp_path, Colours(), [RECIPE], MadeUp(noise=0.2), folds, 2)
    said = measure(one, search(one, of, folds, open_, quiet), folds, open_, held, quiet)
    scores = said.scores()
    assert list(scores) == ["accuracy", "accuracy_knn", "accuracy_logistic"]
    assert scores["accuracy_logistic"]["value"] > 90
    assert len(said.samples["accuracy_logistic"]) == 1, "they have no seed"
    assert len(said.samples["accuracy_logistic"][0]) == 2, "but every fold"
    assert said.columns == {"knn": {"layer": 0}, "logistic": {"layer": 0, "converged": True}}

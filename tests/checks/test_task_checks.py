"""Every check of a task, against keyword spotting broken in just that way."""

import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from earbench import commands
from earbench.checks import attempt
from earbench.checks.task import CHECKS, run
from earbench.checks.toy import Toy
from earbench.contract import Split, UpstreamCard
from earbench.kit.heads.pooled import PooledLinear
from earbench_tasks.keyword_spotting import LABELS, KeywordSpotting

CARD = UpstreamCard("none", "none", "none", "none", hop=0.02, widths=(16,))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    KeywordSpotting().toy(folder, seed=0)
    return folder


def changed(split: Split, **facts) -> Split:
    return replace(split, clips=tuple(replace(clip, **facts) for clip in split.clips))


def with_metric(**changes):
    metric = replace(KeywordSpotting.card.metrics[0], **changes)
    return replace(KeywordSpotting.card, metrics=(metric,))


class JudgedByNothing(KeywordSpotting):
    select = "f1"


class BestOutOfBounds(KeywordSpotting):
    card = with_metric(bounds=(0.0, 1.0))


class DecodingsOfTheLoss(KeywordSpotting):
    select = "loss"
    decodings = ({}, {"loud": True})


class OneId(KeywordSpotting):
    def folds(self, root, upstream):
        fold = super().folds(root, upstream)[0]
        return [replace(fold, test=changed(fold.test, id="clip"))]


class EmptyValid(KeywordSpotting):
    def folds(self, root, upstream):
        return [replace(super().folds(root, upstream)[0], valid=Split(()))]


class OneSpeaker(KeywordSpotting):
    def folds(self, root, upstream):
        fold = super().folds(root, upstream)[0]
        return [replace(fold, train=changed(fold.train, leak="anna"), test=changed(fold.test, leak="anna"))]


class AsListed(KeywordSpotting):
    """Takes files as `os.listdir` gives them."""

    def listing(self, folder):
        return os.listdir(folder)

    def folds(self, root, upstream):
        fold = super().folds(root, upstream)[0]
        order = self.listing(root / "speech_commands_v0.01")
        clips = sorted(fold.train.clips, key=lambda clip: order.index(clip.audio.parent.name))
        return [replace(fold, train=replace(fold.train, clips=tuple(clips)))]


class AsScanned(AsListed):
    def listing(self, folder):
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]


class AsWalked(AsListed):
    def listing(self, folder):
        return next(os.walk(folder))[1]


class FirstListedOnly(KeywordSpotting):
    def census(self, folds):
        return {os.listdir(folds[0].test.clips[0].audio.parent)[0]: 1}


class IdealSaysYes(KeywordSpotting):
    def ideal(self, split):
        return {clip.id: "yes" for clip in split.clips}


class AlwaysRight(KeywordSpotting):
    def rows(self, split, predictions):
        return super().rows(split, self.ideal(split))


class NotANumber(KeywordSpotting):
    card = with_metric(value=lambda rows, _: 100.0 if rows.arrays["hit"].all() else float("nan"))


class FirstRowsCount(KeywordSpotting):
    card = with_metric(value=lambda rows, _: 100.0 * rows.arrays["hit"][:20].mean())


class AnswersByPosition(KeywordSpotting):
    def rows(self, split, predictions):
        answers = zip(split.clips, predictions.values(), strict=True)
        return super().rows(split, {clip.id: answer for clip, answer in answers})

    def ideal(self, split):
        return {clip.id: clip.label for clip in sorted(split.clips, key=lambda clip: clip.id)}

    def folds(self, root, upstream):
        fold = super().folds(root, upstream)[0]
        clips = sorted(fold.test.clips, key=lambda clip: clip.id)
        return [replace(fold, test=replace(fold.test, clips=tuple(clips)))]


class SaysWhatIsRight(KeywordSpotting):
    def rows(self, split, predictions):
        rows = super().rows(split, predictions)
        return replace(rows, arrays={**rows.arrays, "prediction": rows.arrays["label"]})


class TargetIsANumber(KeywordSpotting):
    def target(self, clip, times, space):
        return LABELS.index(clip.label)


class TargetIsNaN(KeywordSpotting):
    def target(self, clip, times, space):
        return torch.tensor(float("nan"))


class OneEpoch(KeywordSpotting):
    def batches(self, split, recipe, rng):
        return itertools.islice(super().batches(split, recipe, rng), 2)


class OneTooFar(KeywordSpotting):
    def batches(self, split, recipe, rng):
        return itertools.repeat([0, len(split.clips)])


class OwnDraws(KeywordSpotting):
    own = np.random.default_rng(0)

    def batches(self, split, recipe, rng):
        return super().batches(split, recipe, self.own)


class WeightPerUnit(KeywordSpotting):
    def weights(self, split, effort):
        return np.ones(len(split.units()))


class WeightsOfQuickAreZero(KeywordSpotting):
    def weights(self, split, effort):
        return super().weights(split, effort) * (effort != "quick")


class LossIsNaN(KeywordSpotting):
    class Head(PooledLinear):
        def loss(self, output, lengths, targets, target_lengths):
            return super().loss(output, lengths, targets, target_lengths) * float("nan")

    def head(self, width, space, recipe):
        return self.Head(width, 8, LABELS)


class LossIsDetached(LossIsNaN):
    class Head(PooledLinear):
        def loss(self, output, lengths, targets, target_lengths):
            return self.classify.bias.sum() * 0.0


class UnusedLayer(LossIsNaN):
    class Head(PooledLinear):
        def forward(self, x, lengths):
            return self.classify(self.project(x).detach())


class OnePrediction(LossIsNaN):
    class Head(PooledLinear):
        def predict(self, output, lengths, times, **decoding):
            return super().predict(output, lengths, times, **decoding)[:1]


class EveryFrame(KeywordSpotting):
    """Keywords frame by frame, each an example. The head insists on what it is given, and when."""

    card = replace(KeywordSpotting.card, grain="frame")
    example = "frame"

    class Head(PooledLinear):
        def forward(self, x, lengths):
            assert x.dim() == (2 if lengths is None else 3)
            return self.classify(self.project(x))

        def loss(self, output, lengths, targets, target_lengths):
            assert lengths is None
            assert len(output) == len(targets)
            return super().loss(output, lengths, targets, target_lengths)

        def predict(self, output, lengths, times, **decoding):
            assert times.shape == output.shape[:2]
            return super().predict(output.mean(1), None, None)

    def target(self, clip, times, space):
        return super().target(clip, times, space).expand(len(times))

    def head(self, width, space, recipe):
        return self.Head(width, 8, LABELS)


class AnswersOncePerClip(EveryFrame):
    def target(self, clip, times, space):
        return torch.zeros(1, dtype=torch.long)


class OneFrameTooFar(EveryFrame):
    def frame_batches(self, count, recipe, rng):
        return itertools.repeat([0, count])


class RowsTurned(KeywordSpotting):
    def rows(self, split, predictions):
        found = super().rows(split, predictions)
        arrays = {name: values[::-1] for name, values in found.arrays.items()}
        return replace(found, ids=found.ids[::-1], groups=found.groups[::-1], arrays=arrays)


class TrialsForNothing(KeywordSpotting):
    trials = True


CASES = [
    (RowsTurned, "rows are of the clips in their order"),
    (TrialsForNothing, "rows are of the clips in their order"),
    (DecodingsOfTheLoss, "facts fit together"),
    (AnswersOncePerClip, "every clip has a target"),
    (OneFrameTooFar, "batches hold valid indices"),
    (JudgedByNothing, "facts fit together"),
    (BestOutOfBounds, "facts fit together"),
    (OneId, "ids are unique"),
    (EmptyValid, "ids are unique"),
    (OneSpeaker, "nothing leaks between splits"),
    (AsListed, "file order does not matter"),
    (AsScanned, "file order does not matter"),
    (AsWalked, "file order does not matter"),
    (FirstListedOnly, "file order does not matter"),
    (IdealSaysYes, "ideal answers score best"),
    (AlwaysRight, "shuffled answers score worse"),
    (NotANumber, "shuffled answers score worse"),
    (FirstRowsCount, "order of rows does not matter"),
    (AnswersByPosition, "order of clips does not matter"),
    (SaysWhatIsRight, "stored rows score again"),
    (TargetIsANumber, "every clip has a target"),
    (TargetIsNaN, "every clip has a target"),
    (OneEpoch, "batches hold valid indices"),
    (OneTooFar, "batches hold valid indices"),
    (OwnDraws, "batches hold valid indices"),
    (WeightPerUnit, "valid weights fit"),
    (WeightsOfQuickAreZero, "valid weights fit"),
    (LossIsNaN, "every recipe builds a trainable head"),
    (LossIsDetached, "every recipe builds a trainable head"),
    (UnusedLayer, "every recipe builds a trainable head"),
    (OnePrediction, "every recipe builds a trainable head"),
]


def test_of_a_folder_that_was_named_it_is_said_that_made_up_data_are_checked(tmp_path, monkeypatch):
    """The contract is the task's, whatever lies in the folder; `bench prepare` looks there."""
    monkeypatch.setattr(commands.check_task, "run", lambda *_: [])
    (found,) = commands.findings(None, f"hear:{tmp_path}", None)
    assert (found["check"], found["ok"]) == ("corpus", True)
    assert f"made-up data for 'hear', not of {tmp_path}: `bench prepare --task hear:{tmp_path}`" in found["detail"]
    assert commands.findings(None, "hear", None) == []


def findings(task, root):
    toy = Toy(task, CARD, root, task.folds(root, CARD))
    return [attempt(check, toy) for check in CHECKS]


@pytest.mark.parametrize(("broken", "name"), CASES)
def test_a_broken_task_is_caught(broken, name, root):
    failed = {finding.name: finding.detail for finding in findings(broken(), root) if not finding.ok}
    assert name in failed
    assert "stopped with" not in failed[name]
    assert ": " in failed[name]


def test_every_check_catches_something():
    assert {name for _, name in CASES} == {check.__name__.replace("_", " ") for check in CHECKS}


def test_keyword_spotting_passes_every_check():
    assert [finding for finding in run(KeywordSpotting(), CARD) if not finding.ok] == []


def test_keyword_spotting_on_frames_passes_every_check(root):
    class OnFrames(KeywordSpotting):
        card = replace(KeywordSpotting.card, grain="frame")

    assert [finding for finding in findings(OnFrames(), root) if not finding.ok] == []


def test_a_task_whose_examples_are_frames_passes_every_check(root):
    assert [finding for finding in findings(EveryFrame(), root) if not finding.ok] == []


def test_a_task_that_cannot_read_its_own_toy_corpus_is_told_so():
    class WritesNothing(KeywordSpotting):
        def toy(self, root, seed):
            pass

    (finding,) = run(WritesNothing(), CARD)
    assert not finding.ok
    assert "MissingCorpus" in finding.detail

"""Tasks whose training examples are single frames: order, epochs, loss on valid, and the same digits in any memory."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds
from fitting import COLOURS, Colours, Dropping, MadeUp, bench, plan
from torch import nn
from torch.nn import functional

from earbench import extract, files, fit, line
from earbench.contract import Recipe
from earbench.errors import BenchError
from earbench.examples import SingleFrames
from earbench.fit import _probe, grid, predict
from earbench.measure import measure
from earbench.plan import Request, contradiction, freeze
from earbench.search import open_fold, search

EPOCHS = Recipe(lr=1e-2, batch=32, steps=4, every=2, unit="epoch")
FRAMES = MadeUp(layers=2, frames=9)


class PerFrame(Dropping):
    """Batch norm and a linear layer, frame by frame; a clip is what its frames are on average.

    `turn` as a decoding names every answer wrongly.
    """

    def __init__(self, width, labels):
        super().__init__(width, labels)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x, lengths):
        assert (lengths is None) == (x.dim() == 2), "in training [frame, width], else padded clips"
        return self.classify(self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape))

    def loss(self, output, lengths, targets, target_lengths):
        assert output.shape == targets.shape
        assert target_lengths.tolist() == [3] * len(targets)
        return functional.binary_cross_entropy_with_logits(output, targets)

    def predict(self, output, lengths, times, turn=0, **decoding):
        means = [row[:length].mean(0) for row, length in zip(output, lengths.tolist(), strict=True)]
        return [self.labels[(int(one.argmax()) + turn) % 3] for one in means]


class EveryFrame(Colours):
    """The colours, asked of every frame."""

    example = "frame"

    def __init__(self, **choices):
        super().__init__(**{"head": PerFrame, "grain": "frame"} | choices)

    def target(self, clip, times, space):
        return torch.eye(3)[space.index(clip.label)].expand(len(times), -1)


def opened(folder, recipes=(EPOCHS,), task=None, **facts):
    return bench(folder, list(recipes), task or EveryFrame(**facts), FRAMES)


def frames_of(split):
    rows, lengths = FRAMES.read([clip.id for clip in split.clips])
    answers = torch.tensor([COLOURS.index(clip.label) for clip in split.clips]).repeat_interleave(lengths)
    return rows, torch.eye(3)[answers], lengths


def test_a_batch_is_the_next_frames_of_the_clips_in_order(tmp_path):
    one = opened(tmp_path)
    rows, targets, lengths = frames_of(one.fold.train)
    assert isinstance(one.train, SingleFrames)
    assert one.train.units == len(rows) == int(lengths.sum())
    stream = fit._stream(one, one.plan.recipes[0], 0, skip=1)
    ((x, none, answers, _), (y, *_)) = one.train.batches([next(stream), next(stream)])
    assert none is None
    assert torch.equal(x, rows[32:64])
    assert torch.equal(answers, targets[32:64])
    assert torch.equal(y, rows[64:96])
    assert torch.equal(next(iter(one.train.layer(1).batches([[5, 2]])))[0], rows[[5, 2], 1:])


def test_epochs_count_frames(tmp_path, quiet):
    one = opened(tmp_path)
    epoch = math.ceil(one.train.units / 32)
    assert epoch > 3
    (fitted,) = grid(one, [0], 0, None, quiet)
    assert [step for step, _ in fitted.curve] == [2 * epoch, 4 * epoch]


def test_a_task_may_order_its_frames_itself(tmp_path):
    class Backwards(EveryFrame):
        def frame_batches(self, count, recipe, rng):
            while True:
                yield range(count - 1, count - 1 - recipe.batch, -1)

    one = opened(tmp_path, task=Backwards())
    assert list(next(fit._stream(one, EPOCHS, 0, 0)))[:2] == [one.train.units - 1, one.train.units - 2]


def test_the_engine_trains_on_frames_as_a_plain_loop_does(tmp_path, quiet):
    """Expected: torch's own Adam on consecutive frames, batch norm in training mode, one layer, the same start."""
    one = opened(tmp_path, [EPOCHS.with_(steps=3, every=3)])
    one = replace(one, train=one.train.layer(0), valid=one.valid.layer(0))
    head = _probe(one, EPOCHS, 0).head.train()
    (fitted,) = grid(one, [0], 0, 0, quiet)
    rows, targets, _ = frames_of(one.fold.train)
    optimiser = torch.optim.Adam(head.parameters(), lr=EPOCHS.lr)
    for _ in range(3):
        for x, answers in zip(rows[:, 0].split(32), targets.split(32), strict=True):
            optimiser.zero_grad()
            functional.binary_cross_entropy_with_logits(head(x, None), answers).backward()
            optimiser.step()
    assert fitted.step == 3 * math.ceil(len(rows) / 32)
    for name, value in head.state_dict().items():
        assert fitted.state[f"head.{name}"].numpy() == pytest.approx(value.numpy(), abs=1e-4), name


def test_the_loss_on_valid_is_the_mean_over_all_its_frames_together(tmp_path, quiet, monkeypatch):
    """Not over clips: with clips of one to nine frames these differ. However many are judged together."""
    monkeypatch.setattr("earbench.examples.EVALUATE_FRAMES", 40)
    one = opened(tmp_path, select="loss")
    assert len(one.valid.order()) > 1
    (fitted,) = grid(one, [0], 0, None, quiet)
    probe = _probe(one, EPOCHS, 0).eval()
    probe.load_state_dict(fitted.state)
    rows, targets, lengths = frames_of(one.fold.valid)
    with torch.no_grad():
        output = probe(rows, None)
    each = functional.binary_cross_entropy_with_logits(output, targets, reduction="none").mean(1)
    clipwise = torch.stack([clip.mean() for clip in each.split(lengths.tolist())]).mean()
    assert fitted.valid == pytest.approx(each.mean().item(), rel=1e-5)
    assert abs(clipwise.item() - fitted.valid) > 1e-4


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("number", [1, 3])
def test_a_fit_on_frames_cut_off_after_any_judgement_ends_with_the_same_digits(number, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(fit, "SAVE_SECONDS", 0.0)
    recipes = [EPOCHS.with_(lr=lr, steps=8, patience=2) for lr in (0.3, 1e-3)]
    expected = grid(opened(tmp_path / "whole", recipes), [0, 1], 0, None, quiet)
    broken, write, left = opened(tmp_path / "broken", recipes), files.write, [number]

    def deadly(path, fill):
        write(path, fill)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(files, "write", deadly)
    with pytest.raises(Killed):
        grid(broken, [0, 1], 0, None, quiet)
    for one, other in zip(grid(broken, [0, 1], 0, None, quiet), expected, strict=True):
        assert one.curve == other.curve
        assert all(torch.equal(one.state[name], other.state[name]) for name in other.state)


def test_a_target_that_does_not_answer_every_frame_is_an_error_of_the_task(tmp_path):
    class PerClip(EveryFrame):
        def target(self, clip, times, space):
            return torch.zeros(3)

    with pytest.raises(BenchError, match=r"trains on single frames, and its target of clip .* is \[3\] for \d frames"):
        opened(tmp_path, task=PerClip())


# ---- from the store --------------------------------------------------------------------------------------------------


class Loud(ListedTask):
    """Is the noise of a frame louder than usual? By a linear layer; a clip says what its frames do on average."""

    example = "frame"
    grid = (EPOCHS, EPOCHS.with_(lr=1e-3))

    def __init__(self, *folds):
        super().__init__(*folds, grain="frame")

    def recipes(self, effort, demo):
        return self.grid

    def target(self, clip, times, space):
        return torch.full((len(times),), space.index(clip.label))

    def head(self, width, space, recipe):
        return Votes(width, space)


class Votes(Dropping):
    def forward(self, x, lengths):
        return self.classify(x * 10)

    def predict(self, output, lengths, times, **decoding):
        return [self.labels[int(row[:n].mean(0).argmax())] for row, n in zip(output, lengths.tolist(), strict=True)]


@pytest.fixture
def loud(tmp_path):
    clips = noise_clips(tmp_path / "audio", [0.3, 0.2, 0.25, 0.4, 0.21] * 6)
    named = (
        replace(clip, label=("yes", "no")[number % 2], effects=(("gain_db", float(number % 2) * 12),))
        for number, clip in enumerate(clips)
    )
    return Loud(thirds(tuple(named)))


def test_frames_that_have_no_room_on_the_device_give_the_same_digits(loud, settings, quiet, monkeypatch):
    """All layers and one, trained, judged and measured; the store in shards of a few clips."""
    monkeypatch.setattr(extract, "SHARD_BYTES", 1000)
    one, said = cell(CountingUpstream(), loud), {}
    found = prepared(loud, Path("unused"), settings, quiet)
    for way, room in (("resident", math.inf), ("mapped", 0.0)):
        monkeypatch.setattr(extract, "memory", lambda _, room=room: room)
        shelf = extract.extract(one, found, settings, settings.cache, quiet)
        assert shelf.features == way
        for layers in ("mix", "each"):
            chosen, folder = replace(one, layers=layers), settings.cache / "fits" / way / layers

            def opener(part, chosen=chosen, folder=folder, shelf=shelf):
                return open_fold(chosen, plan(loud.grid), part, shelf, folder)

            outcome = search(chosen, plan(loud.grid), found.folds, opener, quiet)
            measured = measure(chosen, outcome, found.folds, opener, shelf, quiet)
            said[way, layers] = [
                outcome.table,
                measured.scores(),
                [rows.arrays["hit"].tolist() for *_, rows in measured.rows],
            ]
    assert said["resident", "mix"] == said["mapped", "mix"]
    assert said["resident", "each"] == said["mapped", "each"]
    assert len({line["valid"] for line in said["mapped", "each"][0]}) > 1, "heads that do the same show nothing"


def test_frames_that_have_no_room_in_the_store_are_refused_before_the_encoder_runs(loud, settings, quiet):
    one, tight = cell(CountingUpstream(), loud), settings.with_(budget_gb=1e-9)
    found = prepared(loud, Path("unused"), tight, quiet)
    with pytest.raises(BenchError, match=r"trains on single frames, which have to be stored(?s:.*)raise budget_gb"):
        extract.extract(one, found, tight, tight.cache, quiet)
    assert not one.upstream.clips


def test_before_frames_are_there_their_number_is_estimated_from_seconds_and_hop(loud, settings, quiet):
    """In the plan of a smoke run and in the forecast; what is trained on counts them exactly."""
    one = cell(CountingUpstream(), loud)
    found = prepared(loud, Path("unused"), settings, quiet)
    frames = sum(int(seconds / 0.01) + 1 for seconds in found.folds[0].train.seconds)
    steps = 4 * math.ceil(frames / 32)
    assert line._fits(one, plan(loud.grid), found) == [steps, steps]
    quick = freeze(one, found, settings.with_(effort="quick")).recipes[0]
    assert (quick.unit, quick.steps, quick.every) == ("step", steps, steps // 3)
    shelf = extract.extract(one, found, settings, settings.cache, quiet)
    exact = open_fold(one, plan(loud.grid), found.folds[0], shelf, settings.cache).train.units
    assert frames - len(found.folds[0].train.clips) <= exact <= frames


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"grain": "mean"}, "single frames, but its grain 'mean' keeps none"),
        ({"select": "loss", "decodings": ({"turn": 0}, {"turn": 1})}, "the loss, which cannot choose between its 2"),
    ],
)
def test_facts_that_exclude_each_other_are_told_before_any_work(facts, reason, settings, quiet, monkeypatch, toy):
    assert reason in contradiction(EveryFrame(**facts))
    assert contradiction(EveryFrame()) is None
    monkeypatch.setattr("earbench.plan.load_task", lambda _: EveryFrame(**facts))
    with pytest.raises(BenchError, match=reason):
        line.run(Request("fbank_no_cmvn", "ks", data=str(toy)), settings, quiet)


def test_frames_of_test_are_read_clip_by_clip(tmp_path, quiet):
    one = opened(tmp_path, [EPOCHS.with_(steps=12)])
    (fitted,) = grid(one, [0], 0, None, quiet)
    (said,) = predict(one, fitted, one.valid, [{}])
    hits = [said[clip.id] == clip.label for clip in one.fold.valid.clips]
    assert 100 * sum(hits) / len(hits) == pytest.approx(fitted.valid)
    assert fitted.valid > 80

"""The CPC objective against a slow loop, and what its sampling promises."""

import copy
import math

import pytest
import torch
from pretraining import small_cpc

from earbench_upstreams.cpc_objective import NEGATIVES, STEPS, CpcObjective, Predictor, candidates

CLIPS, FRAMES = 3, 20
TIMES = FRAMES - STEPS


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picked(seed, clips=CLIPS, frames=FRAMES):
    """Which frames, as (clip, time), stand in each place of the scores: every frame's value is its own number."""
    number = torch.arange(clips * frames, dtype=torch.float64).view(clips, frames, 1).expand(-1, -1, 4)
    ones = torch.ones(STEPS, clips, frames - STEPS, 4, dtype=torch.float64)
    torch.manual_seed(seed)
    found = candidates(ones, number).round().long().view(STEPS, clips, frames - STEPS, 1 + NEGATIVES)
    return found // frames, found % frames


# ---- what is told apart ----------------------------------------------------------------------------------------------


def test_the_true_frame_comes_first_and_is_one_to_twelve_steps_ahead():
    clip, time = picked(0)
    for step in range(STEPS):
        for own in range(CLIPS):
            assert clip[step, own, :, 0].tolist() == [own] * TIMES
            assert time[step, own, :, 0].tolist() == [now + step + 1 for now in range(TIMES)]


def test_negatives_are_never_at_the_positions_own_time_and_are_the_same_for_all_steps():
    clip, time = picked(1)
    now = torch.arange(TIMES)[None, None, :, None]
    assert not (time[..., 1:] == now).any()
    assert (clip[..., 1:] == clip[:1, ..., 1:]).all()
    assert (time[..., 1:] == time[:1, ..., 1:]).all()


def test_negatives_come_from_all_clips_and_all_other_times_alike():
    """Chi-squared over the 3 × 19 frames that may be drawn: 56 degrees of freedom, below 120 but once in a million."""
    clip, time = picked(2)
    away = (time[0, ..., 1:] - torch.arange(TIMES)[None, :, None]) % FRAMES
    counts = torch.bincount((clip[0, ..., 1:] * FRAMES + away).flatten(), minlength=CLIPS * FRAMES).view(CLIPS, FRAMES)
    expected = counts.sum() / (CLIPS * (FRAMES - 1))
    assert counts[:, 0].sum() == 0
    assert float(((counts[:, 1:] - expected) ** 2 / expected).sum()) < 120


def test_the_true_frame_may_be_among_its_negatives_as_in_the_published_sampling():
    """CPC_audio leaves out the time of the position, not that of the truth."""
    clip, time = picked(3)
    same = (clip[..., 1:] == clip[..., :1]) & (time[..., 1:] == time[..., :1])
    assert float(same.double().mean()) == pytest.approx(1 / (CLIPS * (FRAMES - 1)), rel=0.2)


def test_one_clip_is_enough():
    clip, time = picked(4, clips=1, frames=STEPS + 1)
    assert not clip.any()
    assert int(time[..., 1:].min()) == 1


def test_scores_equal_a_loop_that_gathers_frames_first():
    predicted, z = draw(STEPS, CLIPS, TIMES, 6), draw(CLIPS, FRAMES, 6, seed=1)
    clip, time = picked(5)
    torch.manual_seed(5)
    scores = candidates(predicted, z).view(STEPS, CLIPS, TIMES, 1 + NEGATIVES)
    for step in range(STEPS):
        for own in range(CLIPS):
            for now in range(TIMES):
                frames = z[clip[step, own, now], time[step, own, now]]
                expected = (predicted[step, own, now] * frames).mean(1)
                assert torch.allclose(scores[step, own, now], expected, atol=1e-6)


# ---- who predicts ----------------------------------------------------------------------------------------------------


def test_a_prediction_depends_on_nothing_later():
    predictor, c = Predictor(16).eval(), draw(2, 9, 16)
    changed = torch.cat([c[:, :5], 7 + c[:, 5:]], 1)
    for grad in (True, False):  # torch has a path of its own for layers in eval mode without gradients
        with torch.set_grad_enabled(grad):
            before, after = predictor(c), predictor(changed)
        assert before.shape == (STEPS, 2, 9, 16)
        assert torch.allclose(before[:, :, :5], after[:, :, :5], atol=1e-6)
        assert not torch.allclose(before[:, :, 5], after[:, :, 5])


def test_held_out_loss_is_the_training_loss_without_dropout(monkeypatch):
    objective, waves = small_cpc(monkeypatch).eval(), 0.1 * draw(2, 4_000)
    torch.manual_seed(1)
    with_gradients = objective(waves).loss.item()
    torch.manual_seed(1)
    with torch.no_grad():
        assert objective(waves).loss.item() == pytest.approx(with_gradients, rel=1e-5)


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_loss_begins_at_chance():
    torch.manual_seed(0)
    objective = CpcObjective()
    with torch.no_grad():
        outcome = objective(0.1 * draw(2, 8_000))
    assert outcome.loss.item() == pytest.approx(math.log(1 + NEGATIVES), abs=0.05)
    assert outcome.accuracy.item() < 0.05


def test_loss_falls_where_the_future_can_be_told(monkeypatch):
    """Six tones, each of its own pitch: what comes next is like what was, and unlike five sixths of the batch."""
    objective = small_cpc(monkeypatch, width=32)
    optimiser = torch.optim.Adam(objective.parameters(), 3e-3)
    pitches = torch.logspace(2.2, 3.6, 6)[:, None]
    losses = []
    for step in range(30):
        phase = 2 * torch.pi * (pitches * torch.arange(6_400) / 16_000 + draw(6, 1, seed=step))
        loss = objective(0.3 * torch.sin(phase)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.25


def test_every_weight_of_encoder_and_predictor_is_trained(monkeypatch):
    objective = small_cpc(monkeypatch)
    objective(0.1 * draw(2, 8_000)).loss.backward()
    still = [name for name, weight in objective.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


def test_dropout_and_negatives_come_from_the_global_generator_alone(monkeypatch):
    objective, waves = small_cpc(monkeypatch), 0.1 * draw(2, 4_000)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(copy.deepcopy(objective)(waves).loss.item())
    assert losses[0] == losses[1] != losses[2]

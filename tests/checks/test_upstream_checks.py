"""Every check of an upstream, against an upstream that is broken in just that way."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from earbench import commands
from earbench.checks.upstream import CHECKS, run
from earbench.contract import Features, Group, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint


class Good(Upstream):
    """Two layers: a linear map of 25 ms windows every 10 ms, and its logarithm."""

    card = UpstreamCard("good", "test", "none", "none", sample_rate=16_000, hop=0.01, layers=2, widths=(3,))
    sample_rate, hop, layers, width = 16_000, 0.01, 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Linear(400, 3).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))

    def encode(self, waves, lengths):
        mapped = self.map(waves.unfold(1, 400, 160))
        frames = torch.stack([mapped, (mapped.abs() + 1e-6).log()], 1)
        return Features(frames, (lengths - 400) // 160 + 1, hop=0.01, first=0.0125)


class FrameTimes(Good):
    """The same with its times written out."""

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        times = 0.0125 + 0.01 * torch.arange(features.frames.shape[2]).expand(len(waves), -1)
        return replace(features, hop=0.0, first=0.0, times=times)


class Grouped(Good):
    """The same with its two layers at half the rate and one of them twice as wide, as groups."""

    groups: Mapping[str, Group] = {"slow": Group(2, 3, 0.02), "wide": Group(1, 6, 0.01)}
    card = replace(Good.card, widths=(3, 6), groups=("slow", "wide"))

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        frames = features.frames
        slow = Features(frames[:, :, ::2], (features.lengths + 1) // 2, hop=0.02, first=0.0125)
        wide = replace(features, frames=torch.cat([frames[:, :1]] * 2, 3))
        return replace(features, groups={"slow": slow, "wide": wide})


class UndeclaredGroup(Grouped):
    groups: Mapping[str, Group] = {"wide": Group(1, 6, 0.01)}
    card = replace(Good.card, widths=(3, 6))


class GroupsOfAnotherSize(Grouped):
    groups: Mapping[str, Group] = {"slow": Group(2, 3, 0.01), "wide": Group(1, 6, 0.01)}


class GroupsNotOnTheCard(Grouped):
    card = replace(Grouped.card, groups=("slow",))


class UnspeakableGroup(Good):
    groups: Mapping[str, Group] = {"last": Group(2, 3, 0.01)}

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        return replace(features, groups={"last": features})


class WrongWidth(Good):
    width = 4


class WrongHop(Good):
    hop = 0.02


class WrongParameterCount(Good):
    card = replace(Good.card, parameters=7)


class TooManyFrames(Good):
    def encode(self, waves, lengths):
        return replace(super().encode(waves, lengths), lengths=lengths)


class SeesPadding(Good):
    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        return replace(features, frames=features.frames - features.frames.mean(2, keepdim=True))


class SeesPaddingInGroup(SeesPadding):
    groups: Mapping[str, Group] = {"slow": Group(2, 3, 0.01)}

    def encode(self, waves, lengths):
        return replace(Good.encode(self, waves, lengths), groups={"slow": super().encode(waves, lengths)})


class SeesPaddingInEmbedding(Good):
    def embed(self, waves, lengths):
        return self.encode(waves, lengths).frames.mean(2)


class SeesBatchMates(Good):
    batching = "equal"

    def encode(self, waves, lengths):
        return super().encode(waves - waves.mean(0), lengths)


class Dropout(Good):
    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        return replace(features, frames=torch.dropout(features.frames, 0.1, True))


class Trainable(Good):
    def __init__(self) -> None:
        super().__init__()
        self.map.requires_grad_(True)


class CountsCalls(Good):
    def encode(self, waves, lengths):
        self.calls += 1
        return super().encode(waves, lengths)


class EntersTraining(Good):
    def encode(self, waves, lengths):
        self.map.train()
        return super().encode(waves, lengths)


class LogarithmOfZero(Good):
    def encode(self, waves, lengths):
        return replace(
            super().encode(waves, lengths), frames=waves.unfold(1, 400, 160).abs().sum(2).log()[:, None, :, None]
        )


class LongWindows(Good):
    def encode(self, waves, lengths):
        return replace(super().encode(waves, lengths), lengths=((lengths - 2_400) // 160 + 1).clamp_min(0))


class LateFrames(Good):
    def encode(self, waves, lengths):
        return replace(super().encode(waves, lengths), first=0.2)


class MovingStart(Good):
    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        return replace(features, first=features.first * (1 + (waves.shape[1] > 10_000)))


class FallingTimes(FrameTimes):
    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        return replace(features, times=features.times.flip(1))


class ChangesInput(Good):
    def encode(self, waves, lengths):
        return super().encode(waves.mul_(2.0), lengths)


class FlatEmbedding(Good):
    def embed(self, waves, lengths):
        return super().embed(waves, lengths).flatten(1)


CASES = [
    (WrongWidth, "declared sizes are true"),
    (WrongHop, "declared sizes are true"),
    (WrongParameterCount, "declared sizes are true"),
    (TooManyFrames, "declared sizes are true"),
    (UndeclaredGroup, "declared sizes are true"),
    (GroupsOfAnotherSize, "declared sizes are true"),
    (GroupsNotOnTheCard, "declared sizes are true"),
    (UnspeakableGroup, "declared sizes are true"),
    (SeesPadding, "alone equals batched"),
    (SeesPaddingInGroup, "alone equals batched"),
    (SeesPaddingInEmbedding, "alone equals batched"),
    (SeesBatchMates, "alone equals batched"),
    (Dropout, "repeated calls agree"),
    (Trainable, "weights stay frozen"),
    (CountsCalls, "weights stay frozen"),
    (EntersTraining, "weights stay frozen"),
    (LogarithmOfZero, "silence and short clips are finite"),
    (LongWindows, "silence and short clips are finite"),
    (LateFrames, "frame times lie inside the clip"),
    (FallingTimes, "frame times lie inside the clip"),
    (MovingStart, "frame times lie inside the clip"),
    (ChangesInput, "input stays untouched"),
    (FlatEmbedding, "embedding has one vector per layer"),
]


@pytest.mark.parametrize("kind", [Good, FrameTimes, Grouped])
def test_a_good_upstream_passes_every_check(kind):
    assert [finding for finding in run(kind()) if not finding.ok] == []


@pytest.mark.parametrize(("broken", "name"), CASES)
def test_a_broken_upstream_is_caught(broken, name):
    failed = {finding.name: finding.detail for finding in run(broken()) if not finding.ok}
    assert name in failed
    assert "stopped with" not in failed[name]
    assert ": " in failed[name]


def test_every_check_catches_something():
    assert {name for _, name in CASES} == {check.__name__.replace("_", " ") for check in CHECKS}


def test_seeing_padding_is_allowed_to_upstreams_that_only_take_equal_lengths():
    upstream = SeesPadding()
    upstream.batching = "equal"
    assert [finding.name for finding in run(upstream) if not finding.ok] == []


def test_an_upstream_that_stops_with_an_error_fails_and_the_other_checks_still_run():
    class Stops(Good):
        def embed(self, waves, lengths):
            raise KeyError("nothing here")

    findings = run(Stops())
    failed = [finding for finding in findings if not finding.ok]
    assert len(findings) == len(CHECKS)
    assert 0 < len(failed) < len(CHECKS)
    assert all("KeyError: 'nothing here'" in finding.detail for finding in failed)


def test_a_plain_name_is_checked_by_its_twin_where_its_weights_are_not_here_and_that_is_said():
    rows = commands.findings("fonseca_crnn", None, None)
    assert rows[0] == {"check": "weights", "ok": True, "detail": "not here: all that follows is of fonseca_crnn~random"}
    assert [row["check"] for row in rows[1:]] == [check.__name__.replace("_", " ") for check in CHECKS]
    assert all(row["ok"] for row in rows)


def test_what_an_encoder_notes_is_told_with_the_findings(monkeypatch):
    noted = Good()
    noted.notes = ["its times look odd"]
    monkeypatch.setattr(commands, "load_upstream", lambda _: noted)
    assert commands.findings("good", None, None)[0] == {
        "check": "worth knowing",
        "ok": True,
        "detail": "its times look odd",
    }


def test_weights_that_are_here_are_what_is_checked():
    assert "weights" not in [row["check"] for row in commands.findings("cpc", None, None)]


def test_a_file_that_is_not_there_is_never_replaced_by_a_twin(tmp_path):
    with pytest.raises(BadCheckpoint, match="no weight file"):
        commands.findings(f"fonseca_crnn@{tmp_path / 'nowhere.pth'}", None, None)

"""HEAR's frame targets and post-processing: the sheet's vectors, scipy's median filter, and both written as loops."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from earbench.kit.events import Event, active, found, smoothed

LIKELY = [0.1, 0.2, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.6, 0.1, 0.1, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9]
VECTORS = {
    (25, 50, 250, 125): [(175, 475), (675, 975)],
    (25, 50, 0, 0): [(125, 175), (275, 425), (575, 575), (725, 975)],
    (25, 50, 150, 50): [(125, 425), (725, 975)],
    (0, 20, 150, 50): [(60, 380)],
    (0, 20, 250, 125): [(0, 380)],
}
"""First frame, hop, median and shortest event, all in milliseconds, and the events (sheet 4.6)."""


def frame_times(first, hop, count):
    """As the engine makes them: binary fractions of a second, so that 0.3 may be 0.30000000000000004."""
    return first / 1000 + hop / 1000 * torch.arange(count, dtype=torch.float64)


def column(values):
    return torch.tensor(values)[:, None]


# ---- post-processing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS, ids=str)
def test_events_are_those_of_the_sheets_vectors(case):
    first, hop, median, shortest = case
    events = found(column(LIKELY), frame_times(first, hop, len(LIKELY)), ["x"], median / 1000, shortest / 1000)
    assert events == [Event("x", start / 1000, stop / 1000) for start, stop in VECTORS[case]]


@pytest.mark.parametrize(
    ("width", "expected"), [(2, [0, 0, 1, 1, 0, 1, 1, 1, 0, 0]), (4, [0, 0, 0, 0, 1, 1, 1, 1, 0, 0])]
)
def test_even_widths_are_those_of_the_sheets_vectors(width, expected):
    likely = np.array([0, 0, 0.9, 0, 0, 0.9, 0.9, 0, 0, 0])
    assert smoothed(likely[:, None] > 0.5, width)[:, 0].tolist() == expected


def test_counting_in_the_window_says_what_scipys_median_says():
    """Random probabilities with many ties and many exactly at the threshold; windows up to seven times the file.

    From eight times on scipy no longer reflects as it says it does; the next test has that by hand.
    """
    rng = np.random.default_rng(0)
    values = np.array([0.1, 0.4, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.7], np.float32)
    for _ in range(500):
        frames = rng.integers(1, 16)
        width, likely = rng.integers(1, 7 * frames + 1), rng.choice(values, (frames, 3))
        expected = median_filter(likely, size=(width, 1)) > 0.5
        np.testing.assert_array_equal(smoothed(likely > 0.5, width), expected, f"{frames} frames, width {width}")


def test_a_window_much_longer_than_the_file_sees_it_again_and_again():
    """Frames a b go on as … b b a a b b a a …: 78 frames around a hold 40 times b, those around b both alike."""
    assert smoothed(np.array([[True], [False]]), 78)[:, 0].tolist() == [False, True]
    assert smoothed(np.array([[False], [True]]), 78)[:, 0].tolist() == [True, True]


def by_steps(likely, at, labels, median, shortest):
    """The protocol's steps one by one, in milliseconds, with scipy's filter."""
    width = round(float(median / np.mean(np.diff(at))))
    on = (median_filter(likely, size=(width, 1)) if width else likely) > 0.5
    events = []
    for number, label in enumerate(labels):
        frame = 0
        while frame < len(on):
            last = frame
            while on[frame, number] and last + 1 < len(on) and on[last + 1, number]:
                last += 1
            if on[frame, number] and at[last] - at[frame] >= shortest:
                events.append(Event(label, at[frame] / 1000, at[last] / 1000))
            frame = last + 1
    return sorted(events, key=lambda event: event.start)


@pytest.mark.parametrize("hop", [5, 20, 50, 12.5, 11.6], ids=str)
@pytest.mark.parametrize("median", [0, 150, 250], ids=str)
def test_events_are_those_of_the_steps_one_by_one(hop, median):
    """Slowly changing probabilities of three labels; 250 ms are 12.5 frames of 20 ms."""
    rng = np.random.default_rng(0)
    likely = median_filter(rng.random((400, 3)), size=(15, 1)).astype(np.float32)
    at = (np.arange(400) * float(hop)).round(6)
    expected = by_steps(likely, at, "abc", median, 125)
    assert len(expected) > 5
    assert found(torch.from_numpy(likely), frame_times(0, hop, 400), "abc", median / 1000, 0.125) == expected


def test_the_window_is_as_long_as_the_mean_frame_says_where_times_are_irregular():
    """Gaps of 25 and 75 ms: 250 ms are five frames."""
    times = (torch.arange(20) * 0.05 + torch.tensor([0.0, 0.025]).repeat(10)).double()
    times = (times * 1000).round() / 1000
    (first, second) = found(column(LIKELY), times, ["x"], 0.25, 0.125)
    assert (first.start, first.stop, second.start, second.stop) == (0.175, 0.475, 0.675, 0.975)


@pytest.mark.parametrize("first", [0, 25, 12.5], ids=str)
def test_an_event_just_as_long_as_it_must_be_is_kept(first):
    """Frames of 50 ms: from any of them to the fifth after it are 250 ms, whatever binary fractions do."""
    likely = torch.eye(200, dtype=torch.float32).unfold(0, 6, 1).sum(-1)  # label k: frames k to k + 5
    times = frame_times(first, 50, 200)
    labels = [str(number) for number in range(195)]
    assert len(found(likely.T, times, labels, 0.0, 0.25)) == 195


def test_a_probability_of_a_half_is_not_active():
    assert found(column([0.5, 0.5, 0.6]), frame_times(0, 50, 3), ["x"], 0.0, 0.0) == [Event("x", 0.1, 0.1)]


def test_a_single_frame_is_its_own_median():
    """It has no spacing, so nothing says how many frames a window holds; HEAR's kit fails here."""
    assert found(column([0.9]), torch.tensor([0.5]), ["x"], 0.25, 0.0) == [Event("x", 0.5, 0.5)]
    assert found(column([0.9]), torch.tensor([0.5]), ["x"], 0.25, 0.125) == []


def test_no_frames_are_no_events():
    assert found(torch.zeros(0, 2), torch.zeros(0), "ab", 0.25, 0.125) == []


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_both_ends_of_an_event_are_active_at_any_hop():
    """Events from one frame to another, in seconds as they come out of HEAR's milliseconds, at every hop in use."""
    for hop in (5, 10, 12.5, 16, 20, 32, 50, 100):
        times = frame_times(hop / 2, hop, 500)
        edges = (np.arange(500) * hop + hop / 2) / 1000
        events = [Event(str(number), edges[number], edges[number + 3]) for number in range(497)]
        expected = [[number <= frame <= number + 3 for number in range(497)] for frame in range(500)]
        targets = active(times, events, [event.label for event in events])
        np.testing.assert_array_equal(targets.numpy(), np.array(expected, np.float32), f"hop {hop}")


def test_targets_are_those_of_intervals_compared_one_by_one():
    """Overlapping events of one label, events beyond the last frame, between two frames and without duration."""
    rng = np.random.default_rng(0)
    at = np.arange(100) * 20.0
    for _ in range(20):
        starts = rng.integers(0, 220, 30) * 10.0
        stops = starts + rng.choice([0.0, 5.0, 10.0, 20.0, 300.0, 0.00005], 30)
        column = rng.integers(0, 4, 30)
        events = [
            Event("abcd"[n], start / 1000, stop / 1000) for n, start, stop in zip(column, starts, stops, strict=True)
        ]
        expected = np.zeros((100, 4), np.float32)
        for number, start, stop in zip(column, starts, stops, strict=True):
            expected[(at >= start) & (at < stop + 0.0001), number] = 1
        np.testing.assert_array_equal(active(frame_times(0, 20, 100), events, "abcd").numpy(), expected)


def test_the_end_includes_a_ten_thousandth_of_a_millisecond_and_no_more():
    times = torch.tensor([0.1, 0.1 + 0.00000009, 0.1 + 0.00000011], dtype=torch.float64)
    assert active(times, [Event("x", 0.0, 0.1)], ["x"])[:, 0].tolist() == [1, 1, 0]


def test_an_event_that_ends_before_it_starts_is_nowhere_and_hides_no_other():
    events = [Event("x", 0.0, 0.2), Event("x", 0.15, 0.05)]
    assert active(frame_times(0, 50, 6), events, ["x"])[:, 0].tolist() == [1, 1, 1, 1, 1, 0]


def test_a_file_without_events_has_targets_of_zero():
    targets = active(frame_times(0, 50, 4), (), "ab")
    assert targets.shape == (4, 2)
    assert targets.dtype == torch.float32
    assert not targets.any()


def test_what_was_found_in_targets_are_the_events_frame_by_frame():
    """Events on frames, no closer than two frames, come back as they were."""
    events = [Event("a", 0.1, 0.3), Event("b", 0.15, 0.15), Event("a", 0.45, 0.9), Event("b", 0.9, 0.95)]
    times = frame_times(0, 50, 20)
    assert found(active(times, events, "ab"), times, "ab", 0.0, 0.0) == events

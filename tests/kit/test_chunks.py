"""Long clips in consecutive chunks, and their frames put together again."""

import pytest
import torch

from earbench.kit.chunks import AT_ONCE, ceiling, cut


def pieces(lengths, size=4, step=4):
    values = torch.arange(1.0, 31.0).expand(len(lengths), -1)
    given = torch.tensor(lengths)
    return cut(values, given, size, step, ceiling(given, step)), given


def test_chunks_are_consecutive_and_zero_behind_the_end_of_their_clip():
    chunks, _ = pieces([6, 4])
    assert chunks.values.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0], [1, 2, 3, 4]]
    assert chunks.lengths.tolist() == [4, 2, 4]
    assert chunks.clips.tolist() == [0, 0, 1]


def test_chunks_may_look_beyond_the_next_one_s_beginning():
    chunks, _ = pieces([7], size=5, step=3)
    assert chunks.values.tolist() == [[1, 2, 3, 4, 5], [4, 5, 6, 7, 0], [7, 0, 0, 0, 0]]


def test_what_has_more_axes_is_cut_along_the_first_behind_the_clips():
    chunks = cut(torch.ones(1, 3, 2), torch.tensor([3]), 2, 2, torch.tensor([2]))
    assert chunks.values[1].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("lengths", [[1], [4, 9, 5], [30, 2], [3] * 20])
def test_frames_of_chunks_are_those_of_the_whole_clip(lengths):
    chunks, counts = pieces(lengths)
    (states,) = chunks.each(lambda values, _: (values[:, None, :, None] * 10,))
    joined = chunks.joined(states, counts)
    assert joined.shape == (len(lengths), 1, max(lengths), 1)
    for clip, length in enumerate(lengths):
        assert joined[clip, 0, :length, 0].tolist() == [10.0 * (1 + step) for step in range(length)]
        assert not joined[clip, 0, length:].any()


def test_few_chunks_are_in_hand_at_a_time():
    chunks, _ = pieces([3] * 5 * AT_ONCE)
    seen = []
    chunks.each(lambda values, lengths: (seen.append((len(values), len(lengths))) or values,))
    assert seen == [(AT_ONCE, AT_ONCE)] * 5


def test_the_mean_of_chunks_is_weighted_by_what_is_true_in_them():
    chunks, _ = pieces([6, 4])
    vectors = torch.tensor([[1.0], [4.0], [7.0]])
    assert chunks.mean(vectors).tolist() == [[2.0], [7.0]]

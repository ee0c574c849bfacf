import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from earbench.contract import Clip, Split
from earbench.errors import BenchError
from earbench.kit.sampling import (
    balanced,
    balanced_draw,
    class_balanced_weights,
    in_order,
    reshuffled,
    shuffled,
    unit_weights,
    windows,
)


def split_of(labels: str, pools: str | None = None) -> Split:
    """One clip per letter: its label, and the name of its pool ("." for none)."""
    named = zip(labels, pools or "." * len(labels), strict=True)
    return Split(
        tuple(
            Clip(str(index), Path("x.wav"), label, "anna", pool=None if pool == "." else pool)
            for index, (label, pool) in enumerate(named)
        )
    )


POOLED = split_of("aaabsssttt", "....ppppqq")


def drawn(batches, number: int) -> list[int]:
    return list(itertools.chain.from_iterable(itertools.islice(batches, number)))


def test_shuffled_visits_every_unit_once_per_epoch():
    units = POOLED.units()
    batches = shuffled(POOLED, 4, np.random.default_rng(0))
    for _ in range(50):
        epoch = drawn(batches, 2)
        assert sorted(next(u for u, unit in enumerate(units) if clip in unit) for clip in epoch) == list(range(6))


def test_shuffled_draws_the_clips_of_a_pool_equally_often():
    counts = Counter(drawn(shuffled(POOLED, 6, np.random.default_rng(0)), 4_000))
    assert [counts[clip] for clip in range(4)] == [4_000] * 4
    assert all(counts[clip] == pytest.approx(1_000, rel=0.12) for clip in range(4, 8))
    assert all(counts[clip] == pytest.approx(2_000, rel=0.08) for clip in (8, 9))


def test_shuffled_keeps_a_short_last_batch():
    batches = shuffled(split_of("abcde"), 2, np.random.default_rng(0))
    assert [len(batch) for batch in itertools.islice(batches, 6)] == [2, 2, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(5, [3, 2]), (6, [3, 3]), (7, [3, 2, 2]), (8, [3, 3, 2]), (2, [2]), (3, [3])],
)
def test_in_order_gives_the_same_batches_in_every_pass_and_never_a_single_clip(count, sizes):
    """As many batches as the ceiling of clips by batch: an epoch is as many steps as in the reference."""
    batches = in_order(split_of("a" * count), 3)
    passes = [list(itertools.islice(batches, len(sizes))) for _ in range(2)]
    assert [len(batch) for batch in passes[0]] == sizes
    assert passes[0] == passes[1]
    assert list(itertools.chain(*passes[0])) == list(range(count))


def test_reshuffled_visits_every_number_once_a_pass_in_an_order_of_its_own():
    batches = reshuffled(7, 3, np.random.default_rng(0))
    passes = [list(itertools.islice(batches, 3)) for _ in range(3)]
    assert [[len(batch) for batch in one] for one in passes] == [[3, 2, 2]] * 3
    orders = [list(itertools.chain(*one)) for one in passes]
    assert [sorted(order) for order in orders] == [list(range(7))] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_in_order_refuses_a_split_of_one_clip():
    with pytest.raises(BenchError, match="cannot be made of 1"):
        next(in_order(split_of("a"), 3))


def test_balanced_draws_every_class_and_every_unit_of_a_class_equally_often():
    """Expected shares by hand: a quarter for each of the classes a (3 units), b (1), s (1 pool of 3), t (2 units)."""
    split = split_of("aaabsssttt", "....ppp.qq")
    clips = drawn(balanced(split, 7, np.random.default_rng(0)), 8_000)
    shares = [clips.count(clip) / len(clips) for clip in range(10)]
    expected = [1 / 12] * 3 + [1 / 4] + [1 / 12] * 3 + [1 / 8, 1 / 16, 1 / 16]
    assert shares == pytest.approx(expected, abs=0.006)


def test_balanced_drops_the_incomplete_batch_of_every_epoch():
    """Ten units in batches of four are two batches, so the third batch starts a second epoch's stream of draws."""
    split = split_of("aaaaabbbbb")
    four, ten = balanced(split, 4, np.random.default_rng(3)), balanced(split, 10, np.random.default_rng(3))
    assert [len(batch) for batch in itertools.islice(four, 7)] == [4] * 7
    four = balanced(split, 4, np.random.default_rng(3))
    for _ in range(3):
        assert drawn(four, 2) == next(ten)[:8]


def test_balanced_keeps_the_only_batch_of_a_small_split():
    batches = balanced(split_of("aab"), 32, np.random.default_rng(0))
    assert [len(batch) for batch in itertools.islice(batches, 3)] == [3, 3, 3]


@pytest.mark.parametrize("order", [shuffled, balanced])
def test_the_same_generator_gives_the_same_batches(order):
    one, two = (drawn(order(POOLED, 4, np.random.default_rng(5)), 20) for _ in range(2))
    other = drawn(order(POOLED, 4, np.random.default_rng(6)), 20)
    assert one == two != other


def test_unit_weights_count_every_unit_once():
    assert unit_weights(POOLED).tolist() == [1.0] * 4 + [0.25] * 4 + [0.5] * 2


def test_unit_weights_find_the_clips_of_a_scattered_pool():
    assert unit_weights(split_of("abab", "p.p.")).tolist() == [0.5, 1.0, 0.5, 1.0]


def test_class_balanced_weights_give_every_class_the_same_total():
    weights = class_balanced_weights(POOLED)
    totals = [sum(weight for weight, clip in zip(weights, POOLED.clips, strict=True) if clip.label == k) for k in "ab"]
    assert totals == pytest.approx([1.5, 1.5])
    assert weights.sum() == pytest.approx(len(POOLED.units()))


def test_class_balanced_weights_are_the_expectation_of_the_draw():
    split = split_of("aaabsss", "....ppp")
    rng = np.random.default_rng(0)
    draws = [balanced_draw(split, rng) for _ in range(4_000)]
    assert all(draw.sum() == 5 for draw in draws)
    assert np.mean(draws, axis=0) == pytest.approx(class_balanced_weights(split), abs=0.05)


def test_a_split_without_clips_is_refused():
    with pytest.raises(BenchError, match="without clips"):
        next(shuffled(Split(()), 4, np.random.default_rng(0)))


def timed(seconds: list[float]) -> Split:
    return Split(split_of("a" * len(seconds)).clips, seconds=tuple(seconds))


def test_windows_begin_once_at_every_clip_of_an_epoch_most_symbols_first():
    """Expected by hand (SUPERB sheet 2.1): start i gives the items min(i, N - batch) and following, N batches."""
    symbols = [5, 9, 1, 7, 3]
    order = [1, 3, 0, 4, 2]
    batches = windows(timed([1.0] * 5), 3, symbols, np.random.default_rng(0))
    expected = [order[start : start + 3] for start in (0, 1, 2, 2, 2)]
    starts = []
    for _ in range(30):
        epoch = list(itertools.islice(batches, 5))
        assert sorted(epoch) == sorted(expected)
        starts.append([expected.index(batch) for batch in epoch])
    assert len({tuple(start) for start in starts}) > 10


def test_windows_are_halved_where_the_clip_with_most_symbols_is_longer_than_300_000_samples():
    """Expected by hand: 18.75 s is not longer; a long clip elsewhere in the window changes nothing."""
    seconds, symbols = [18.75, 18.8, 30.0, 1.0, 2.0], [5, 4, 3, 2, 1]
    batches = itertools.islice(windows(timed(seconds), 4, symbols, np.random.default_rng(0)), 5)
    assert sorted(map(sorted, batches)) == [[0, 1, 2, 3], [1, 2], [1, 2], [1, 2], [1, 2]]
    assert next(windows(timed([30.0]), 4, [1], np.random.default_rng(0))) == [0]


def test_windows_put_the_longest_clip_first_and_keep_ties_in_order():
    seconds = [1.0, 3.0, 2.0, 3.0]
    assert next(windows(timed(seconds), 4, [1, 2, 3, 4], np.random.default_rng(0))) == [3, 1, 2, 0]
    same = windows(timed([1.0] * 6), 2, [7] * 6, np.random.default_rng(0))
    assert sorted(itertools.islice(same, 6)) == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [4, 5]]


def test_windows_hold_all_clips_of_a_small_split():
    batches = windows(timed([1.0, 1.0]), 32, [1, 2], np.random.default_rng(0))
    assert [next(batches) for _ in range(4)] == [[1, 0]] * 4


def test_windows_refuse_clips_without_durations_or_symbols():
    with pytest.raises(BenchError, match="duration of every clip"):
        next(windows(split_of("aa"), 2, [1, 2], np.random.default_rng(0)))
    with pytest.raises(BenchError, match="symbols of 2 clips, got 1"):
        next(windows(timed([1.0, 1.0]), 2, [1], np.random.default_rng(0)))

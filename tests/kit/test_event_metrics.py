"""HEAR's event scores: equal to sed_eval's to the last bit, on made-up events that lie on every edge there is."""

from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

from earbench.contract import Clip, Split
from earbench.errors import BenchError
from earbench.kit.events import Event
from earbench.kit.metrics.events import COLLARS, ERROR_RATE, METRICS, SCORES, event_rows

NAMES = tuple(SCORES)
OFFSETS = "event_onset_offset_50ms_20perc_fms"


@pytest.fixture(scope="module")
def sed_eval():
    """Importing it goes through pkg_resources, which warns that it will go; `importorskip` ignores just that."""
    return pytest.importorskip("sed_eval", exc_type=ImportError)


def split_of(references):
    clips = [Clip(f"{n}", Path("x.wav"), tuple(events), f"{n}") for n, events in enumerate(references)]
    return Split(tuple(clips))


def rows_of(references, estimates, names=NAMES):
    return event_rows(split_of(references), {f"{n}": events for n, events in enumerate(estimates)}, names)


def scored(references, estimates):
    """Every score of files, by name."""
    rows = rows_of(references, estimates)
    return {name: metric.value(rows, np.ones(len(rows))) for name, metric in METRICS.items()}


def by_sed_eval(sed_eval, references, estimates, labels):
    """The same from sed_eval as HEAR calls it: file by file, then the overall metrics."""
    scorers = {
        name: sed_eval.sound_event.EventBasedMetrics(
            event_label_list=list(labels),
            t_collar=collar,
            evaluate_offset=share is not None,
            percentage_of_length=share or 0.5,
        )
        for name, (collar, share) in COLLARS.items()
    }
    scorers[ERROR_RATE] = sed_eval.sound_event.SegmentBasedMetrics(event_label_list=list(labels), time_resolution=1.0)
    for pair in zip(references, estimates, strict=True):
        for scorer in scorers.values():
            scorer.evaluate(*(as_dicts(events) for events in pair))
    found = {}
    for name in COLLARS:
        measure = scorers[name].results_overall_metrics()["f_measure"]
        parts = ("f_measure", "precision", "recall")
        found |= dict(zip((metric.name for metric in SCORES[name]), (measure[part] for part in parts), strict=True))
    found[ERROR_RATE] = scorers[ERROR_RATE].results_overall_metrics()["error_rate"]["error_rate"]
    return found


def as_dicts(events):
    return [{"event_label": label, "event_onset": start, "event_offset": stop} for label, start, stop in events]


def same(one, other):
    return one == other or (isnan(one) and isnan(other))


def made_up(rng, labels, grid, most):
    """Events in milliseconds on a grid, so that many onsets and offsets lie just on a collar, or on each other."""
    count = rng.integers(0, most + 1)
    starts = rng.integers(0, 12, count) * grid
    durations = rng.choice([0, grid, 2 * grid, 5 * grid, 250, 500, 1000, 2500], count)
    return [
        Event(str(rng.choice(labels)), start / 1000.0, (start + duration) / 1000.0)
        for start, duration in zip(starts.tolist(), durations.tolist(), strict=True)
    ]


def jittered(rng, events, grid):
    """Estimates near a reference: some gone, some twice, both ends moved by whole collars or a fifth of the length."""
    found = []
    for label, start, stop in events:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            first = max(0, round(start * 1000) + grid * rng.integers(-2, 3))
            last = round(stop * 1000) + rng.choice([0, 1, -1, 2]) * rng.choice([grid, 50, (stop - start) * 200])
            found.append(Event(label, first / 1000.0, max(first, last) / 1000.0))
    return found


# ---- against sed_eval, and against loops -----------------------------------------------------------------------------

GRIDS = (10, 25, 50, 100, 200)


def near(rng, grid):
    reference = made_up(rng, ["a", "b"], grid, 6)
    return reference, jittered(rng, reference, grid)


def apart(rng, grid):
    """Reference and estimates know of each other nothing, nor of a label each."""
    return made_up(rng, ["a", "b"], grid, 6), made_up(rng, ["b", "c"], grid, 6)


@pytest.mark.parametrize("pair", [near, apart])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_scores_equal_sed_evals_to_the_last_bit(sed_eval, pair, grid):
    rng = np.random.default_rng(grid)
    for case in range(40):
        references, estimates = zip(*(pair(rng, grid) for _ in range(rng.integers(1, 3))), strict=True)
        found, expected = scored(references, estimates), by_sed_eval(sed_eval, references, estimates, "abc")
        if not any(rows_of(references, estimates).arrays["active"]):
            assert isnan(found.pop(ERROR_RATE)), "no error rate without a reference: sed_eval divides by 2e-16 then"
        for name, value in found.items():
            assert same(value, expected[name]), f"case {case}, {name}: {value} and {expected[name]}"


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_hits_are_those_of_augmenting_paths_on_pairs_compared_one_by_one(grid):
    rng = np.random.default_rng(grid)
    references, estimates = zip(*(near(rng, grid) for _ in range(60)), strict=True)
    arrays = rows_of(references, estimates).arrays
    for name, (collar, share) in COLLARS.items():
        expected = [paired(*pair, collar, share) for pair in zip(references, estimates, strict=True)]
        assert arrays[f"{name}_hits"].tolist() == expected


def paired(reference, estimated, collar, share):
    """The size of a largest matching: each reference event in turn takes an estimate, or one that can be given up."""
    owner = {}

    def take(one, tried):
        for number, other in enumerate(estimated):
            if number not in tried and fits(one, other, collar, share):
                tried.add(number)
                if number not in owner or take(owner[number], tried):
                    owner[number] = one
                    return True
        return False

    return sum(take(one, set()) for one in reference)


def fits(one, other, collar, share):
    room = None if share is None else max(collar, share * (one.stop - one.start))
    return (
        one.label == other.label
        and abs(one.start - other.start) <= collar
        and (room is None or abs(one.stop - other.stop) <= room)
    )


def test_segment_errors_are_those_of_segments_looked_at_one_by_one():
    rng = np.random.default_rng(0)
    references, estimates = zip(*((near, apart)[n % 2](rng, 200) for n in range(60)), strict=True)
    arrays = rows_of(references, estimates).arrays
    for number, pair in enumerate(zip(references, estimates, strict=True)):
        expected = np.zeros(4)
        for second in range(8):
            wanted, given = ({event.label for event in side if touches(event, second)} for side in pair)
            expected += (
                min(len(wanted), len(given)) - len(wanted & given),
                max(0, len(wanted) - len(given)),
                max(0, len(given) - len(wanted)),
                len(wanted),
            )
        kinds = ("substituted", "deleted", "inserted", "active")
        assert [arrays[kind][number] for kind in kinds] == expected.tolist()


def touches(event, second):
    return int(np.floor(event.start)) <= second < int(np.ceil(event.stop))


# ---- by hand ---------------------------------------------------------------------------------------------------------

ONE = [Event("a", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (("a", 1.2, 2.0), (1, 0, 0)),
        (("a", 1.2000001, 2.0), (0, 0, 0)),
        (("a", 1.03, 2.19), (1, 1, 1)),
        (("a", 1.0, 2.2), (1, 1, 0)),
        (("a", 0.96, 1.8), (1, 1, 1)),
        (("a", 1.06, 2.0), (1, 0, 0)),
        (("b", 1.0, 2.0), (0, 0, 0)),
    ],
)
def test_an_event_hits_up_to_the_collar_and_a_fifth_of_its_length(estimate, expected):
    """There is no tolerance: 1.2 - 1.0 is 0.19999999999999996 (sheet 5), 2.2 - 2.0 is 0.20000000000000018."""
    arrays = rows_of([ONE], [[Event(*estimate)]]).arrays
    assert tuple(arrays[f"{name}_hits"][0] for name in COLLARS) == expected


def test_offsets_of_short_events_have_the_room_that_onsets_have():
    short = [Event("a", 1.0, 1.1)]
    assert rows_of([short], [[Event("a", 1.0, 1.14)]]).arrays[f"{OFFSETS}_hits"].tolist() == [1]
    assert rows_of([short], [[Event("a", 1.0, 1.16)]]).arrays[f"{OFFSETS}_hits"].tolist() == [0]


def test_offsets_need_the_largest_matching_and_not_the_first_that_fits():
    """The earlier estimate fits both references, the later one only the first: taken in turn one would go without."""
    references = [Event("a", 1.0, 3.0), Event("a", 1.01, 2.5)]
    estimates = [Event("a", 1.0, 2.75), Event("a", 1.01, 3.3)]
    assert rows_of([references], [estimates]).arrays[f"{OFFSETS}_hits"].tolist() == [2]


def test_an_event_is_hit_once():
    found = scored([ONE], [ONE * 3])
    assert found["event_onset_50ms_fms_precision"] == pytest.approx(1 / 3)
    assert found["event_onset_50ms_fms_recall"] == 1.0
    assert found["event_onset_50ms_fms"] == 0.5


def test_counts_are_summed_over_files_and_labels_before_dividing():
    references = [[Event("a", 1.0, 2.0), Event("b", 1.0, 2.0)], [Event("a", float(n), n + 0.5) for n in range(8)]]
    estimates = [[Event("a", 1.0, 2.0), Event("b", 1.0, 2.0)], []]
    found = scored(references, estimates)
    assert (found[f"{OFFSETS}_precision"], found[f"{OFFSETS}_recall"]) == (1.0, 0.2)
    assert found[OFFSETS] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("reference", "estimate", "expected"),
    [
        ([], ONE, (nan, 0.0, nan)),
        (ONE, [], (nan, nan, 0.0)),
        ([], [], (nan, nan, nan)),
        (ONE, [Event("b", 1.0, 2.0)], (0.0, 0.0, 0.0)),
    ],
    ids=["nothing there", "nothing said", "neither", "nothing right"],
)
def test_f_has_no_value_where_precision_or_recall_has_none(reference, estimate, expected):
    found = scored([reference], [estimate])
    for name in COLLARS:
        values = tuple(found[metric.name] for metric in SCORES[name])
        assert all(map(same, values, expected)), f"{name}: {values}"


def test_missing_everything_is_an_error_rate_a_rounding_error_below_one():
    assert scored([[Event("a", 0.0, 1.0)]], [[]])[ERROR_RATE] == 0.9999999999999998
    assert scored([[Event("a", 0.0, 1.0)]], [[Event("b", 0.0, 1.0)]])[ERROR_RATE] == 0.9999999999999998


def test_an_event_between_two_segments_without_duration_is_in_neither():
    assert rows_of([[Event("a", 3.0, 3.0)]], [[]]).arrays["active"].tolist() == [0]
    assert rows_of([[Event("a", 3.5, 3.5)]], [[]]).arrays["active"].tolist() == [1]


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_weights_are_how_often_a_file_is_there(metric):
    rng = np.random.default_rng(0)
    references, estimates = zip(*(near(rng, 50) for _ in range(6)), strict=True)
    counts = [2, 0, 1, 3, 1, 0]
    again = [[side[n] for n, count in enumerate(counts) for _ in range(count)] for side in (references, estimates)]
    value = metric.value(rows_of(references, estimates), np.array(counts, float))
    assert value == metric.value(rows_of(*again), np.ones(sum(counts)))
    assert isnan(metric.value(rows_of(references, estimates), np.zeros(6)))


def test_only_what_the_named_scores_need_is_counted():
    assert set(rows_of([ONE], [ONE], (ERROR_RATE,)).arrays) == {
        "reference", "estimated", "substituted", "deleted", "inserted", "active", "prediction",
    }  # fmt: skip
    assert set(rows_of([ONE], [ONE], (OFFSETS,)).arrays) == {"reference", "estimated", "prediction", f"{OFFSETS}_hits"}


def test_every_file_needs_a_prediction():
    with pytest.raises(BenchError, match="1 clips have none"):
        event_rows(split_of([ONE, ONE]), {"0": ONE}, NAMES)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_reference_itself_is_the_best(metric):
    rng = np.random.default_rng(0)
    references = [made_up(rng, ["a", "b"], 50, 6) for _ in range(5)]
    assert metric.value(rows_of(references, references), np.ones(5)) == metric.best

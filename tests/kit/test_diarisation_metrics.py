"""Diarisation errors against NIST's md-eval, pyannote.metrics and arithmetic; frames against s3prl's own."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import medfilt

from earbench.contract import Clip, Split
from earbench.errors import BenchError, MissingExtra
from earbench.kit.heads.diarisation import Activity
from earbench.kit.metrics import diarisation
from earbench.kit.metrics.diarisation import DER, FRAME_ACCURACY, diarised, frame_labels, right_frames, scorer, turns_of

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "diarisation.json").read_text())
KINDS = ("missed", "false_alarm", "confusion", "total")


@pytest.mark.parametrize("recording", GOLDEN["recordings"], ids=lambda one: f"{one['der']}")
def test_seconds_equal_those_of_md_eval(recording):
    """Golden numbers of NIST's own script, which prints two decimals."""
    found = scorer()(recording["reference"], recording["hypothesis"])
    assert found == pytest.approx([recording[kind] for kind in KINDS], abs=0.00501)


def test_the_error_rate_sums_over_recordings_before_dividing():
    rows = np.array([scorer()(one["reference"], one["hypothesis"]) for one in GOLDEN["recordings"]])
    arrays = dict(zip(KINDS, rows.T, strict=True))
    ids = tuple(map(str, range(len(rows))))
    value = DER.value(diarisation.Rows(ids, tuple((id,) for id in ids), arrays), np.ones(len(rows)))
    assert value == pytest.approx(GOLDEN["overall_der"], abs=0.00501)


def annotated(turns, prefix):
    from pyannote.core import Annotation, Segment

    found = Annotation()
    for number, (speaker, start, stop) in enumerate(turns):
        found[Segment(start, stop), number] = prefix + speaker
    return found


def by_pyannote(reference, hypothesis):
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    ends = [second for _, *span in (*reference, *hypothesis) for second in span] or [0.0, 1.0]
    found = DiarizationErrorRate(collar=0.0, skip_overlap=False).compute_components(
        annotated(reference, "r"), annotated(hypothesis, "h"), uem=Timeline([Segment(min(ends), max(ends))])
    )
    return [found[kind] for kind in ("missed detection", "false alarm", "confusion", "total")]


def made_up(rng, speakers, length=1500):
    """Turns on a grid of 10 ms; the turns of one speaker do not overlap."""
    turns = []
    for speaker in range(speakers):
        edges = np.sort(rng.choice(length, 2 * rng.integers(1, 8), replace=False)) / 100
        turns += [(str(speaker), *pair) for pair in edges.reshape(-1, 2).tolist()]
    return turns


def test_seconds_equal_those_of_pyannote_on_random_turns():
    pytest.importorskip("pyannote.metrics")
    rng = np.random.default_rng(0)
    for _ in range(40):
        pair = made_up(rng, rng.integers(1, 4)), made_up(rng, rng.integers(1, 4))
        assert scorer()(*pair) == pytest.approx(by_pyannote(*pair), abs=1e-9)


TALK = [("a", 0.0, 4.0), ("b", 3.0, 6.0)]
DEGENERATE = {
    "nobody is found": (TALK, [], (7, 0, 0, 7)),
    "nobody was there": ([], [("0", 1.0, 2.0)], (0, 1, 0, 0)),
    "nobody at all": ([], [], (0, 0, 0, 0)),
    "under other names": (TALK, [("x", 3.0, 6.0), ("a", 0.0, 4.0)], (0, 0, 0, 7)),
    "one for both": (TALK, [("0", 0.0, 6.0)], (1, 0, 2, 7)),
    "both all the time": (TALK, [("0", 0.0, 6.0), ("1", 0.0, 6.0)], (0, 5, 0, 7)),
    "all kinds": (TALK, [("0", 0.0, 3.5), ("1", 4.0, 5.0), ("0", 5.0, 7.0)], (1.5, 1, 1, 7)),
    "before and after": (TALK, [*TALK, ("b", 6.0, 9.0)], (0, 3, 0, 7)),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_turns_count_as_by_hand_and_by_pyannote(case):
    reference, hypothesis, expected = DEGENERATE[case]
    assert scorer()(reference, hypothesis) == pytest.approx(expected, abs=1e-9)
    pytest.importorskip("pyannote.metrics")
    assert by_pyannote(reference, hypothesis) == pytest.approx(expected, abs=1e-9)


def test_a_missing_scorer_is_named_with_its_extra(monkeypatch):
    def nothing(name):
        raise ImportError(name)

    monkeypatch.setattr(diarisation, "import_module", nothing)
    with pytest.raises(MissingExtra, match=r"earbench\[diarisation\]"):
        scorer()


# ---- from activity to turns ------------------------------------------------------------------------------------------


def by_loops(likely, hop, threshold, median):
    """Written from the protocol: cut, scipy's other median filter, one frame after another, two decimals."""
    talking = (likely > threshold).astype(float)
    if median > 1:
        talking = medfilt(talking, (median, 1))
    found = []
    for speaker in range(likely.shape[1]):
        start = None
        for frame, on in enumerate([*talking[:, speaker], 0]):
            if on and start is None:
                start = frame
            elif not on and start is not None:
                begin, duration = float(f"{start * hop:7.2f}"), float(f"{(frame - start) * hop:7.2f}")
                if duration:
                    found.append((str(speaker), begin, begin + duration))
                start = None
    return found


@pytest.mark.filterwarnings("ignore:kernel_size exceeds")  # scipy's, of clips shorter than the filter
@pytest.mark.parametrize("hop", [0.01, 0.02, 0.0160625, 0.002])
@pytest.mark.parametrize("median", [1, 11])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_turns_are_those_of_the_protocol(hop, median, threshold):
    rng = np.random.default_rng(3)
    for frames in (1, 2, 5, 11, 400):
        slow = np.repeat(rng.random((frames // 4 + 1, 2)), 4, axis=0)[:frames]
        likely = (0.7 * slow + 0.3 * rng.random((frames, 2))).astype(np.float32)
        pieces = [Activity(piece, hop, threshold, median) for piece in np.array_split(likely, 3) if len(piece)]
        found, expected = turns_of(pieces), by_loops(likely, hop, threshold, median)
        assert [turn[0] for turn in found] == [turn[0] for turn in expected]
        assert [turn[1:] for turn in found] == [pytest.approx(turn[1:]) for turn in expected]


def test_a_probability_at_the_threshold_is_silence():
    assert turns_of([Activity(np.full((20, 2), 0.5, np.float32), 0.01)]) == []


# ---- rows ------------------------------------------------------------------------------------------------------------


def split_of(*lengths, hop=0.01):
    """One recording of anna and ben in chunks of these many frames; anna talks in the first half, ben throughout."""
    edges = np.cumsum([0, *lengths]) * hop
    turns = (("anna", 0.0, float(edges[-1]) / 2), ("ben", 0.0, float(edges[-1])))
    label = tuple((name, ((start, stop),)) for name, start, stop in turns)
    clips = tuple(
        Clip(f"r/{number}", Path("r.wav"), label, "r", float(start), float(stop), whole="r")
        for number, (start, stop) in enumerate(itertools.pairwise(edges))
    )
    return Split(clips, {"turns": {"r": turns}, "chunks": {"r": tuple(clip.id for clip in clips)}})


def sure(split, hop=0.01, short=0, order=(0, 1)):
    """Right answers for each chunk, `short` frames too few (or too many)."""
    found = {}
    for clip in split.clips:
        frames = round((clip.stop - clip.start) / hop)
        labels = frame_labels(clip.label, clip.start, hop, frames)[:, list(order)]
        labels = labels[: frames - short] if short > 0 else np.concatenate([labels, 1 - labels[:-short]])
        found[clip.id] = Activity(labels, hop, median=1)
    return found


@pytest.mark.parametrize("short", [0, 1, -3])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_chunks_are_joined_where_they_lie_however_many_frames_the_encoder_gave(short, order):
    split = split_of(200, 200, 60)
    rows = diarised(split, sure(split, short=short, order=order))
    assert (rows.ids, rows.groups) == (("r",), (("anna", "ben"),))
    assert DER.value(rows, np.ones(1)) == pytest.approx(0, abs=1e-9)
    assert FRAME_ACCURACY.value(rows, np.ones(1)) == pytest.approx(100)
    assert rows.arrays["total"][0] == pytest.approx(6.9)


def test_another_hop_than_that_of_the_chunks_is_in_order():
    split = split_of(200, 100)
    assert DER.value(diarised(split, sure(split, hop=0.02)), np.ones(1)) == pytest.approx(0, abs=1e-9)


def test_orders_may_differ_from_chunk_to_chunk_for_accuracy_but_not_for_errors():
    """Anna talks throughout, ben in the first of four seconds. With the orders of the second half crossed, the best
    mapping confuses one second, the second, of the five that are said.
    """
    turns = (("anna", 0.0, 4.0), ("ben", 0.0, 1.0))
    label = tuple((name, ((start, stop),)) for name, start, stop in turns)
    split = split_of(200, 200)
    split = Split(
        tuple(replace(clip, label=label) for clip in split.clips), dict(split.truth) | {"turns": {"r": turns}}
    )
    rows = diarised(split, {"r/0": sure(split)["r/0"], "r/1": sure(split, order=(1, 0))["r/1"]})
    assert FRAME_ACCURACY.value(rows, np.ones(1)) == pytest.approx(100)
    assert [float(rows.arrays[kind][0]) for kind in KINDS] == pytest.approx([0, 0, 1, 5])


def test_recordings_cut_by_a_smoke_run_are_left_out():
    split = split_of(100, 50)
    cut = Split(split.clips[:1], split.truth)
    said = sure(split)
    rows = diarised(cut, {"r/0": said["r/0"]})
    assert len(rows) == 0
    assert np.isnan(DER.value(rows, np.ones(0)))
    with pytest.raises(BenchError, match="1 clips have none"):
        diarised(split, {"r/0": said["r/0"]})


def test_frame_accuracy_and_its_order_equal_those_of_s3prl():
    torch = pytest.importorskip("torch")
    try:
        from s3prl.downstream.diarization import utils
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        clip = split_of(40).clips[0]
        logits = 3 * torch.randn(1, 40, 2, generator=random)
        labels = torch.from_numpy(frame_labels(clip.label, 0.0, 0.01, 40))[None]
        _, order, orders = utils.pit_loss(logits, labels, torch.tensor([40]))
        correct, frames, *_ = utils.calc_diarization_error(
            logits, utils.get_label_perm(labels, order, orders), torch.tensor([40])
        )
        assert right_frames(clip, Activity(logits[0].sigmoid().numpy(), 0.01)) == pytest.approx(correct / frames)


def test_a_chunk_in_which_nobody_talks_is_left_out_of_the_accuracy():
    """SUPERB counts it as 0 for every head alike, so which head is best stays the same."""
    split = split_of(100, 100)
    quiet = tuple((name, ((0.0, 1.0),)) for name in ("anna", "ben"))
    clips = tuple(replace(clip, label=quiet) for clip in split.clips)
    rows = diarised(
        Split(clips, split.truth), {clip.id: Activity(np.ones((100, 2), np.float32), 0.01) for clip in clips}
    )
    assert (rows.arrays["right"][0], rows.arrays["chunks"][0]) == (1.0, 1.0)

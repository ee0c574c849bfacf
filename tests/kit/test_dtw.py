"""Subsequence warping against dtw-python, and the distances and packs around it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from earbench.kit.dtw import PACK_FRAMES, cosine_exp, costs, pack, packs, spread, standardiser, warp, z_scores


def frames(seed, length, width=4):
    return torch.randn(length, width, generator=torch.Generator().manual_seed(seed))


def alone(query, document):
    return float(costs(query, pack([document])))


def asymmetric(distances):
    """dtw-python's cost per query frame: asymmetric, open begin and end."""
    dtw = pytest.importorskip("dtw")
    options = {"step_pattern": "asymmetric", "open_begin": True, "open_end": True}
    return dtw.dtw(distances, **options).normalizedDistance


@pytest.mark.parametrize(("query", "document"), [(1, 1), (1, 9), (2, 1), (7, 2), (9, 30), (40, 25), (60, 200)])
@pytest.mark.parametrize("seed", range(3))
def test_warping_is_dtw_pythons_asymmetric_pattern_with_open_ends(query, document, seed):
    """Sheet 2.4: difference 0.0 on random matrices. Both add the same doubles in the same order."""
    distances = np.random.default_rng([seed, query, document]).random((query, document))
    assert float(warp(torch.from_numpy(distances)[..., None])) == asymmetric(distances)


@pytest.mark.parametrize("seed", range(3))
def test_warping_in_single_precision_is_dtw_pythons_to_rounding(seed):
    distances = np.random.default_rng(seed).random((80, 150)).astype(np.float32)
    assert float(warp(torch.from_numpy(distances)[..., None])) == pytest.approx(asymmetric(distances), rel=1e-6)


def test_ties_and_constant_distances_warp_as_in_dtw_python():
    for distances in (
        np.zeros((5, 8)),
        np.ones((6, 3)),
        np.random.default_rng(0).integers(0, 2, (9, 12)).astype(float),
    ):
        assert float(warp(torch.from_numpy(distances)[..., None])) == asymmetric(distances)


def test_distance_is_the_exponential_of_scipys_cosine_distance_less_one():
    query, document = frames(0, 7), frames(1, 11)
    expected = np.exp(cdist(query.double(), document.double(), "cosine")) - 1
    found = cosine_exp(query, pack([document]))[:, :, 0]
    assert np.allclose(found, expected, atol=2e-6)


def test_a_frame_of_zeros_is_at_right_angles_to_every_other():
    assert cosine_exp(torch.zeros(1, 4), pack([frames(0, 3)])).numpy() == pytest.approx(np.e - 1, rel=1e-6)


def test_each_query_frame_reaches_from_zero_to_one_in_each_document_and_equal_distances_are_zero():
    distances = torch.rand(5, 9, 3, generator=torch.Generator().manual_seed(0))
    distances[2, :, 1] = 0.7
    scaled = spread(distances.clone())
    assert torch.equal(scaled.amin(1), torch.zeros(5, 3))
    ends = scaled.amax(1)
    assert ends[2, 1] == 0
    ends[2, 1] = 1
    assert torch.equal(ends, torch.ones(5, 3))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 12), st.integers(0, 9))
def test_a_document_costs_the_same_in_any_company(lengths, query_length, seed):
    """Filling up with the last frame must change nothing, whatever the lengths."""
    query = frames(seed, query_length)
    documents = [frames(1000 * seed + number + 1, n) for number, n in enumerate(lengths)]
    together = costs(query, pack(documents)).tolist()
    assert together == pytest.approx([alone(query, document) for document in documents], abs=1e-6)


def test_the_place_in_the_document_does_not_matter_and_a_copy_costs_nothing():
    query, before, behind = (frames(number, length, width=32) for number, length in enumerate((12, 20, 30)))
    found = [alone(query, torch.cat(parts)) for parts in ((query, before, behind), (before, behind, query))]
    assert found == pytest.approx([0.0, 0.0], abs=1e-6)
    assert alone(query, torch.cat((before, behind))) > 0.1


@pytest.mark.parametrize(("hold", "skip"), [(1, 2), (2, 1), (5, 1), (5, 2)])
def test_a_query_at_up_to_twice_the_pace_or_at_any_slower_one_is_found(hold, skip):
    said = frames(0, 24, width=32)
    query = said[::skip].repeat_interleave(hold, 0)
    assert alone(query, torch.cat((frames(1, 9, width=32), said, frames(2, 9, width=32)))) == pytest.approx(0, abs=1e-6)
    assert alone(said[::3], said) > 0.05  # a path cannot leave out two frames at once


def test_packs_hold_every_document_once_and_stay_within_their_size():
    lengths = [*np.random.default_rng(0).integers(1, 3_000, 500).tolist(), 40_000]
    found = list(packs(lengths))
    assert sorted(number for numbers in found for number in numbers) == list(range(501))
    assert found[0] == [500]
    for numbers in found[1:]:
        assert len(numbers) * max(lengths[number] for number in numbers) <= PACK_FRAMES
    assert len(found) < 1.2 * sum(lengths) / PACK_FRAMES + 2


def test_mean_and_deviation_are_those_of_all_frames_together():
    recordings = [frames(number, length) * 3 + 100 for number, length in enumerate((1, 17, 4, 300))]
    standard, lengths = standardiser(iter(recordings))
    together = torch.cat(recordings).double()
    expected = (together - together.mean(0)) / together.std(0)
    assert lengths == [1, 17, 4, 300]
    assert torch.allclose(torch.cat([standard(one) for one in recordings]).double(), expected, atol=1e-4)


def test_a_dimension_that_never_changes_becomes_zero():
    recordings = [torch.full((5, 2), 3.25), torch.full((9, 2), 3.25)]
    standard, _ = standardiser(recordings)
    assert torch.equal(standard(recordings[0]), torch.zeros(5, 2))


def test_scores_are_standardised_per_query_and_equal_ones_are_zero():
    scores = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert z_scores(scores)[0] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5))
    assert z_scores(scores)[1].tolist() == [0.0, 0.0, 0.0]

"""The SUPERB score on the published rows (protocol sheet superb 4): the leaderboard printed the scores beside them."""

import pytest

from earbench.aggregates import AGGREGATES, SUPERB_POINTS, superb_rank, superb_score

COLUMNS = [(task, metric) for task, metrics in SUPERB_POINTS.items() for metric in metrics]
SHEET = """
fbank_no_cmvn   82.01 23.18 41.3826674 0.0058 20.058174 9.56 10.05 9.649354219 69.64 52.94 48.23672168 0
pase_plus       58.87 25.11 82.54 0.0072 37.99 11.61 8.68 29.82 62.14 60.17 57.86 149
apc             41.98 21.28 91.01 0.0310 60.42 8.56 10.53 74.69 70.46 50.89 59.33 392
vq_apc          41.08 21.20 91.11 0.0251 60.15 8.72 10.45 74.48 68.53 52.91 59.66 377
npc             43.81 20.20 88.96 0.0246 55.92 9.40 9.34 69.44 72.79 48.44 59.08 386
mockingjay      70.19 22.82 83.67 6.6e-4 32.29 11.66 10.54 34.33 61.59 58.89 50.28 54
tera            49.17 18.17 89.48 0.0013 57.57 15.89 9.96 58.42 67.50 54.17 56.27 150
modified_cpc    42.54 20.18 91.88 0.0326 39.63 12.86 10.38 64.09 71.19 49.91 60.96 278
wav2vec         31.58 15.86 95.59 0.0485 56.56 7.99 9.90 84.92 76.37 43.71 59.79 529
vq_wav2vec      33.48 17.71 93.38 0.0410 38.80 10.38 9.93 85.68 77.68 41.54 58.24 422
decoar2         14.93 13.02 94.48 0.0406 74.42 7.16 6.59 90.80 83.28 34.73 62.47 722
distilhubert    16.27 13.37 95.98 0.0511 73.54 8.55 6.19 94.99 82.57 35.59 63.02 717
wav2vec2_base   5.74 6.43 96.23 0.0233 75.18 6.02 6.08 92.35 88.30 24.77 63.43 818
hubert_base     5.41 6.42 96.30 0.0736 81.42 5.11 5.88 98.34 88.53 25.20 64.92 941
wavlm_base      4.84 6.21 96.79 0.0870 84.51 4.69 4.83 98.63 89.38 22.86 65.94 1012
wavlm_base_plus 4.07 5.64 96.69 0.0990 86.84 4.26 4.07 99.16 89.73 21.54 67.98 1078
wav2vec2_large  4.75 3.75 96.66 0.0489 86.14 5.65 5.62 95.28 87.11 27.31 65.64 914
hubert_large    3.53 3.62 95.29 0.0353 90.33 5.98 5.75 98.76 89.81 21.76 67.62 919
"""
"""Name; PR, ASR, KS, QbE, SID, ASV, SD, IC, SF F1 and CER, ER; score. In the order of SUPERB_POINTS."""


def published():
    """Name, scores in the order of COLUMNS, and the printed SUPERB score."""
    rows = []
    for line in SHEET.strip().splitlines():
        name, *values, score = line.split()
        rows.append((name, dict(zip(COLUMNS, map(float, values), strict=True)), float(score)))
    return rows


@pytest.mark.parametrize(("name", "row", "score"), published(), ids=[name for name, _, _ in published()])
def test_the_score_of_a_published_row_is_the_published_score(name, row, score):
    (found,) = superb_score([row])
    assert found == pytest.approx(score, abs=1.0), name  # printed as whole numbers, some cut off, some rounded


def test_the_score_is_undefined_with_any_task_missing():
    row = published()[0][1]
    for column in COLUMNS:
        assert superb_score([{key: value for key, value in row.items() if key != column}]) == [None]


def test_the_score_is_not_clipped():
    best = {(task, metric): full for task, metrics in SUPERB_POINTS.items() for metric, (_, full) in metrics.items()}
    assert superb_score([best]) == [pytest.approx(1000)]
    assert superb_score([best | {("pr", "per"): 0.0}])[0] > 1000
    assert superb_score([published()[0][1] | {("pr", "per"): 120.0}])[0] < 0


def test_the_rank_counts_whom_an_encoder_beats_task_by_task():
    one = published()[0][1]
    two = one | {("pr", "per"): 50.0, ("asr", "wer"): 30.0, ("sf", "slot_type_f1"): 80.0}
    three = {key: value for key, value in two.items() if key[0] != "pr"}
    pr, asr, sf = [0, 1, 0], [2, 0, 0], [0, 1, 1]
    assert superb_rank([one, two, three]) == [sum(wins) / 10 for wins in zip(pr, asr, sf, strict=True)]


def test_boards_may_ask_for_every_aggregate_by_name():
    assert set(AGGREGATES) == {"superb_score", "superb_rank", "hear_mean", "hear_summary"}
    assert all(len(one.values([{}, {}])) == 2 for one in AGGREGATES.values())

"""Query by example on its toy corpus, and against s3prl's own matching."""

import itertools
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from earbench.contract import Split, UpstreamCard
from earbench_tasks.query_by_example import QueryByExample

CARD = UpstreamCard("none", "none", "none", "none")
TASK = QueryByExample()
(MTWV,) = TASK.card.metrics


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    root = tmp_path_factory.mktemp("qbe")
    TASK.toy(root, seed=0)
    return TASK.folds(root, CARD)[0]


@pytest.fixture(scope="module")
def features(fold):
    """Log power in twelve bands, every 20 ms of 40."""
    return {clip.id: bands(clip) for split in (fold.valid, fold.test) for clip in split.clips}


def bands(clip):
    wave = torch.tensor(soundfile.read(clip.audio, dtype="float32")[0])
    power = torch.fft.rfft(wave.unfold(0, 320, 160) * torch.hann_window(320)).abs().square()
    edges = np.geomspace(8, 160, 13).astype(int)
    return torch.stack([power[:, low:high].sum(1) for low, high in itertools.pairwise(edges)], 1).add(0.3).log()


def scored(split, said):
    rows = TASK.rows(split, said)
    return MTWV.value(rows, np.ones(len(rows)))


def test_dev_chooses_and_eval_is_reported(fold):
    assert TASK.select == "mtwv"
    assert TASK.layers == "each"
    assert TASK.card.grain == "frame"
    assert not fold.train.clips
    assert {clip.id.split("/")[0] for clip in fold.valid.clips} == {"Audio", "dev_queries"}
    assert {clip.id.split("/")[0] for clip in fold.test.clips} == {"Audio", "eval_queries"}


def test_toy_is_found_by_band_energies(fold, features):
    assert scored(fold.valid, TASK.match(fold.valid, features.__getitem__)) > 0.5
    assert scored(fold.test, TASK.match(fold.test, features.__getitem__)) > 0.5


def test_toy_is_not_found_in_noise(fold, features):
    noise = {
        id: torch.randn(frames.shape, generator=torch.Generator().manual_seed(1)) for id, frames in features.items()
    }
    assert scored(fold.test, TASK.match(fold.test, noise.__getitem__)) < 0.3


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def test_recordings_are_counted_once(fold):
    assert TASK.census([fold]) == {"recordings": 16 + 5 + 5}


def test_valid_weighs_every_row_once(fold):
    assert TASK.weights(fold.valid, "standard").tolist() == [1.0] * len(TASK.rows(fold.valid, TASK.ideal(fold.valid)))


def test_a_smoke_run_with_some_clips_is_scored(fold, features):
    some = Split(fold.test.clips[2:-3], fold.test.truth)
    said = TASK.match(some, features.__getitem__)
    assert set(said) == {clip.id for clip in some.clips if clip.label == "query"}
    assert 0 <= scored(some, said) <= 1
    assert scored(some, TASK.ideal(some)) == 1


def test_scores_have_four_decimals_and_are_z_scores(fold, features):
    for scores in TASK.match(fold.test, features.__getitem__).values():
        values = np.array([*scores.values()])
        assert len(values) == 16
        assert (values == values.round(4)).all()
        assert [values.mean(), values.std()] == pytest.approx([0, 1], abs=1e-4)


def test_a_query_of_fewer_than_five_frames_scores_all_documents_alike(fold, features):
    cut = features | {clip.id: features[clip.id][:4] for clip in fold.test.clips[:1]}
    said = TASK.match(fold.test, cut.__getitem__)
    assert set(said[fold.test.clips[0].id].values()) == {0.0}
    assert len(set(said[fold.test.clips[1].id].values())) > 5


def test_documents_are_matched_in_any_order_alike(fold, features):
    backwards = Split(fold.test.clips[::-1], fold.test.truth)
    one, two = (TASK.match(split, features.__getitem__) for split in (fold.test, backwards))
    for query, scores in one.items():
        assert {name: two[query][name] for name in scores} == pytest.approx(scores, abs=2e-4)


# ---- s3prl -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(monkeypatch, tmp_path):
    """s3prl's own expert for this task in its published configuration, writing to a folder of the test.

    Put in its place: lxml by the standard library's XML, functions that torchaudio no longer has by nothing (they read
    audio), processes by threads.
    """
    pytest.importorskip("dtw")
    lxml, sox = types.ModuleType("lxml"), types.ModuleType("torchaudio.sox_effects")
    lxml.etree = types.SimpleNamespace(Element=ElementTree.Element, SubElement=ElementTree.SubElement, ElementTree=Tree)
    sox.apply_effects_file = None
    monkeypatch.setitem(sys.modules, "lxml", lxml)
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", sox)
    for name in ("expert", "dataset"):
        monkeypatch.delitem(sys.modules, f"s3prl.downstream.quesst14_dtw.{name}", raising=False)
    try:
        import s3prl.downstream.quesst14_dtw.expert as expert
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    monkeypatch.setattr(expert, "ProcessPoolExecutor", ThreadPoolExecutor)
    rules = {"dist_method": "cosine_exp", "step_pattern": "asymmetric", "subsequence": True, "minmax_norm": True}
    settings = {"max_workers": 1, "feature_normalization": True, "silence_frame": None, "datarc": {}, "dtwrc": rules}
    return expert.DownstreamExpert(1, settings, tmp_path)


class Tree(ElementTree.ElementTree):
    def write(self, path, encoding, pretty_print):
        super().write(path, encoding=encoding)


def test_scores_are_those_that_s3prl_writes(theirs, fold, features, tmp_path):
    """The whole way from features to four decimals, with one query too short; theirs in double precision."""
    queries = [clip.id for clip in fold.test.clips if clip.label == "query"]
    documents = [clip.id for clip in fold.test.clips if clip.label == "document"]
    used = features | {queries[2]: features[queries[2]][:4]}
    theirs.test_dataset = types.SimpleNamespace(n_queries=len(queries))
    theirs.log_records(
        "test", {"features": [used[id] for id in queries + documents], "audio_names": queries + documents}
    )
    written = {
        query.get("termid"): {term.get("file"): float(term.get("score")) for term in query}
        for query in ElementTree.parse(tmp_path / "benchmark.stdlist.xml").getroot()
    }
    said = TASK.match(fold.test, used.__getitem__)
    assert written.keys() == said.keys()
    for query, scores in said.items():
        assert scores == pytest.approx(written[query], abs=2e-4)


@pytest.mark.usefixtures("theirs")
def test_lists_and_answers_are_read_as_s3prl_reads_them(fold):
    """The English recordings by `english_audio_paths`; who holds what by the expression that s3prl has for it."""
    from s3prl.downstream.quesst14_dtw.dataset import english_audio_paths

    home = fold.test.clips[-1].audio.parent.parent
    listed = [path for name in ("eval", "utterances") for path in english_audio_paths(home, f"language_key_{name}.lst")]
    assert [clip.audio for clip in fold.test.clips] == listed
    answers = (home / "scoring/groundtruth_quesst14_eval/quesst14_eval.rttm").read_text()
    found = re.findall(r"LEXEME\s+(quesst14_[0-9]+).*?(quesst14_(?:dev|eval)_[0-9]+)", answers)
    ours = {
        (document.split("/")[1], query.split("/")[1])
        for query, sought in fold.test.truth["queries"].items()
        for document in sought.found_in
    }
    assert ours == set(found)

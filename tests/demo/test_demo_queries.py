"""The query corpus as a reader finds it: layout, counts, repeatability, difficulty."""

import hashlib
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from earbench import audio
from earbench.contract import UpstreamCard
from earbench.demo import queries
from earbench.plan import load_upstream
from earbench_tasks.query_by_example import QueryByExample

TASK = QueryByExample()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("queries")
    queries.write(root)
    return root / "quesst14Database"


@pytest.fixture(scope="session")
def fold(corpus):
    return TASK.folds(corpus.parent, UpstreamCard("none", "none", "none", "none"))[0]


def texts(corpus, subset):
    """What each query says, read without the kit's own reader."""
    path = corpus / "scoring" / f"groundtruth_quesst14_{subset}" / f"quesst14_{subset}.tlist.xml"
    return {term.get("termid"): term.findtext("termtext") for term in ElementTree.parse(path).getroot()}


def test_the_tree_is_laid_out_as_quesst14(corpus):
    assert {path.name for path in corpus.iterdir()} == {"Audio", "dev_queries", "eval_queries", "scoring"}
    listed = set()
    for subset in ("utterances", "dev", "eval"):
        for line in (corpus / "scoring" / f"language_key_{subset}.lst").read_text().splitlines():
            path, language = line.split()
            listed.add(corpus.parent / path)
            assert language == "nnenglish"
    assert listed == set(corpus.rglob("*.wav"))


def test_the_counts_are_the_frozen_census(fold):
    assert TASK.census([fold]) == queries.CENSUS["qbe"] == {"recordings": 100}


def test_every_query_is_another_phrase_and_said_in_some_document_but_not_in_most(corpus, fold):
    said = [*texts(corpus, "dev").values(), *texts(corpus, "eval").values()]
    assert len(set(said)) == 40
    assert {len(text.split()) for text in said} == {3}
    for split in (fold.valid, fold.test):
        counts = [len(sought.found_in) for sought in split.truth["queries"].values()]
        assert min(counts) >= 1
        assert 2 < np.mean(counts) < 4
        assert max(counts) <= 10


def test_texts_answers_and_durations_are_the_frozen_ones(corpus):
    lines, seconds = [], []
    for path in sorted(corpus.rglob("*.wav")):
        facts = soundfile.info(path)
        assert (facts.samplerate, facts.channels, facts.subtype) == (8_000, 1, "PCM_16")
        lines.append(f"{path.stem} {facts.frames}\n")
        seconds.append(facts.duration)
    for subset in ("dev", "eval"):
        lines += [f"{name} {text}\n" for name, text in texts(corpus, subset).items()]
        lines.append((corpus / f"scoring/groundtruth_quesst14_{subset}/quesst14_{subset}.rttm").read_text())
    assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == "437b7a56d9f85ee8"
    assert 1 < min(seconds) < max(seconds) < 8


def test_recordings_are_neither_silent_nor_clipped(corpus):
    for path in corpus.rglob("*.wav"):
        samples = np.abs(soundfile.read(path, dtype="int16")[0].astype(int))
        assert 3_500 < samples.max() < 32_767


def test_writing_twice_gives_the_same_bytes(corpus, tmp_path):
    queries.write(tmp_path)
    for path in corpus.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "quesst14Database" / path.relative_to(corpus)).read_bytes(), path


def test_the_hand_made_floor_lies_well_between_chance_and_perfect(fold):
    """fbank_no_cmvn on eval, as measured when the generator was frozen: 0.33 (dev 0.38); mfcc 0.25 (dev 0.25)."""
    upstream = load_upstream("fbank_no_cmvn")
    features = {}
    for clip in fold.test.clips:
        wave = torch.from_numpy(audio.read(clip, upstream.sample_rate))[None]
        features[clip.id] = upstream.encode(wave, torch.tensor([wave.shape[1]])).frames[0, 0]
    assert score(fold.test, TASK.match(fold.test, features.__getitem__)) == pytest.approx(0.33, abs=0.06)


def test_guessing_is_worth_next_to_nothing(fold):
    """The mean over random scores, and scores that do not tell documents apart (the guess of a majority)."""
    rng = np.random.default_rng(0)
    ideal = TASK.ideal(fold.test)
    drawn = [{query: {name: rng.normal() for name in scores} for query, scores in ideal.items()} for _ in range(20)]
    assert np.mean([score(fold.test, said) for said in drawn]) < 0.05
    assert score(fold.test, {query: dict.fromkeys(scores, 0.0) for query, scores in ideal.items()}) == 0


def score(split, said):
    rows = TASK.rows(split, said)
    return TASK.card.metrics[0].value(rows, np.ones(len(rows)))

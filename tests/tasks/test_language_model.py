"""`asr` with and without a language model beside its corpus: what is found, what is scored, what is said otherwise."""

import numpy as np
import pytest
import soundfile

import earbench
from earbench.contract import Recipe, UpstreamCard
from earbench.errors import MissingCorpus, MissingExtra
from earbench.kit.beam import BeamSearch
from earbench_tasks import speech_recognition
from earbench_tasks.speech_recognition import SpeechRecognition

CARD = UpstreamCard("none", "none", "none", "none")
SMALL = Recipe(1e-3, 4, 2, 2, clip=1.0, options={"hidden": 4, "time_limit": 40, "feature_limit": 50})
ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\tYES\t-0.1
-0.6\tNO\t-0.1

\\2-grams:
-0.2\tYES NO

\\end\\
"""


@pytest.fixture
def corpus(tmp_path):
    """Six speakers, two utterances of noise each, in every subset."""
    root = tmp_path / "corpus"
    for number, subset in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        for speaker in range(6 * number, 6 * number + 6):
            folder = root / "LibriSpeech" / subset / f"{speaker}" / "1"
            folder.mkdir(parents=True)
            for at in range(2):
                wave = np.random.default_rng([speaker, at]).normal(0, 0.1, 16_000)
                soundfile.write(folder / f"{speaker}-1-{at:04}.flac", wave, 16_000)
            (folder / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 YES NO\n{speaker}-1-0001 NO\n")
    return root


def add(folder, arpa="4-gram.arpa"):
    folder.mkdir(exist_ok=True)
    (folder / arpa).write_text(ARPA)
    (folder / "librispeech_lexicon.lst").write_text("YES\tY E S |\nNO\tN O |\n")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(SpeechRecognition, "recipes", lambda *_: [SMALL])

    def run(root):
        folders = {"cache": tmp_path / "cache", "results": tmp_path / "results"}
        return earbench.run("fbank_no_cmvn", "asr", str(root), True, device="cpu", quiet=True, **folders)

    return run


def said(record):
    return [line for line in record.facts["deviations"] if line.startswith("no-lm")]


def test_a_model_beside_the_corpus_gives_a_score_of_its_own_and_changes_no_other(corpus, run):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="the extra 'lm' is not installed")
    without = run(corpus)
    assert said(without) == ["no-lm: wer_lm is left out: no 4-gram.arpa.gz beside the corpus"]
    add(corpus / "lm")
    record = run(corpus)
    assert record.scores["wer"] == without.scores["wer"]
    assert not said(record)
    assert "wer_lm" not in without.scores
    assert 0 <= record.scores["wer_lm"]["value"] <= 300
    assert len(record.scores["wer_lm"]["per_seed"]) == 1
    assert record.facts["columns"]["lm"] == {"decoding": {"lm": True}}
    assert record.facts["plan"]["id"] != without.facts["plan"]["id"]


def test_another_model_is_another_plan(corpus):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="the extra 'lm' is not installed")
    add(corpus)
    asked = [SpeechRecognition().at(corpus, CARD).folds(corpus, CARD)[0].test.truth]
    (corpus / "4-gram.arpa").write_text(ARPA.replace("-0.5", "-0.4"))
    asked.append(SpeechRecognition().at(corpus, CARD).folds(corpus, CARD)[0].test.truth)
    assert asked[0] != asked[1]
    assert not SpeechRecognition().folds(corpus, CARD)[0].test.truth


@pytest.mark.parametrize("place", ["LibriSpeech", "LibriSpeech/lm", ".", "lm"])
@pytest.mark.parametrize("name", ["4-gram.bin", "4-gram.arpa", "4-gram.arpa.gz"])
def test_the_model_may_lie_where_the_layout_says(corpus, monkeypatch, place, name):
    monkeypatch.setattr(speech_recognition, "check_installed", lambda: None)
    monkeypatch.setattr(BeamSearch, "check", lambda _: None)
    add(corpus / place, name)
    task = SpeechRecognition().at(corpus / "LibriSpeech", CARD)
    assert task.beam.model == corpus / place / name
    assert task.readings == {"lm": {"lm": True}}
    assert "no-lm" not in task.deviations("reference")


def test_half_of_it_or_a_missing_package_is_said_in_a_footnote(corpus, monkeypatch):
    def not_there():
        raise MissingExtra("flashlight-text", "lm", "")

    monkeypatch.setattr(speech_recognition, "check_installed", not_there)
    add(corpus)
    reasons = [SpeechRecognition().at(corpus, CARD).deviations("standard")["no-lm"]]
    (corpus / "librispeech_lexicon.lst").unlink()
    reasons.append(SpeechRecognition().at(corpus, CARD).deviations("standard")["no-lm"])
    assert reasons == [
        "wer_lm is left out: the extra 'lm' is not installed",
        "wer_lm is left out: no librispeech_lexicon.lst beside the corpus",
    ]


def test_a_file_that_is_no_model_is_refused_before_anything_is_trained(corpus, run):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="the extra 'lm' is not installed")
    add(corpus)
    (corpus / "4-gram.arpa").write_text("<html>not found</html>")
    with pytest.raises(MissingCorpus, match=r"4-gram\.arpa is not a language model"):
        run(corpus)


def test_two_copies_of_a_model_are_not_guessed_between(corpus):
    add(corpus)
    add(corpus / "lm")
    with pytest.raises(MissingCorpus, match="lies in 2 places"):
        SpeechRecognition().at(corpus, CARD)

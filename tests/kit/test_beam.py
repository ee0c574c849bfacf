"""Decoding with a language model against every path there is, scored here in plain loops."""

import gzip
import itertools
from functools import cache

import numpy as np
import pytest
import torch

from earbench.errors import BenchError, MissingCorpus
from earbench.kit.beam import BeamSearch
from earbench.kit.heads.ctc import RecurrentCTC
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import LETTERS, collapsed

pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="the extra 'lm' (flashlight-text) is not installed")

WORDS = {"A": "A |", "AB": "A B |", "BA": "B A |"}
UNIGRAMS = {"<unk>": (-2.0, None), "<s>": (-99.0, -0.3), "</s>": (-0.9, None), "A": (-0.6, -0.2), "AB": (-0.7, -0.1)}
UNIGRAMS |= {"BA": (-1.1, -0.4)}
BIGRAMS = {("<s>", "A"): -0.3, ("A", "AB"): -0.4, ("AB", "</s>"): -0.2, ("<s>", "BA"): -1.3, ("BA", "A"): -0.1}
SYMBOLS = [0, *(LETTERS.index(one) for one in "|AB")]
"""The blank and the letters that the paths of these tests go through."""
WIDE = {"beam": 100_000, "threshold": 1e9}


def arpa():
    """The model above in the format of the official one."""
    lines = ["\\data\\", f"ngram 1={len(UNIGRAMS)}", f"ngram 2={len(BIGRAMS)}", "", "\\1-grams:"]
    for word, (score, back_off) in UNIGRAMS.items():
        lines.append(f"{score}\t{word}" + (f"\t{back_off}" if back_off is not None else ""))
    lines += ["", "\\2-grams:", *(f"{score}\t{' '.join(pair)}" for pair, score in BIGRAMS.items()), "", "\\end\\", ""]
    return "\n".join(lines)


@pytest.fixture
def files(tmp_path):
    with gzip.open(tmp_path / "4-gram.arpa.gz", "wt") as file:
        file.write(arpa())
    lexicon = tmp_path / "librispeech_lexicon.lst"
    lexicon.write_text("".join(f"{word}\t{spelled}\n" for word, spelled in WORDS.items()))
    return lexicon, tmp_path / "4-gram.arpa.gz"


def log10_probability(words):
    """Katz back-off from `<s>` to `</s>`."""
    total = 0.0
    for pair in itertools.pairwise(["<s>", *words, "</s>"]):
        backed_off = (UNIGRAMS[pair[0]][1] or 0.0) + UNIGRAMS[pair[1]][0]
        total += BIGRAMS.get(pair, backed_off)
    return total


@cache
def all_paths(frames):
    """Every path of known words, the last of them ended: which symbol at each time, and what it says."""
    paths, said = [], []
    for path in itertools.product(SYMBOLS, repeat=frames):
        spelled = "".join(LETTERS[symbol] for symbol in collapsed(path))
        words = tuple(word for word in spelled.split("|") if word)
        if spelled.endswith("|") and set(words) <= set(WORDS):
            paths.append(path)
            said.append(words)
    return np.array(paths), said


def best_of_all_paths(logs, lm_weight, word_score):
    """The words of the best path, and by how much the best path of other words is worse."""
    paths, said = all_paths(len(logs))
    scores = logs.double().numpy()[np.arange(len(logs)), paths].sum(1)
    found = {}
    for words, score in zip(said, scores.tolist(), strict=True):
        found[words] = max(score, found.get(words, -np.inf))
    found = {
        words: one + lm_weight * log10_probability(words) + word_score * len(words) for words, one in found.items()
    }
    ranked = sorted(found, key=found.get, reverse=True)
    return " ".join(ranked[0]), found[ranked[0]] - found[ranked[1]]


def emissions(seed, frames=7, spread=2.0):
    """Log probabilities over all letters, of which only those of the paths here have a chance."""
    logits = torch.full((frames, len(LETTERS)), -60.0)
    logits[:, SYMBOLS] = spread * torch.randn(frames, len(SYMBOLS), generator=torch.Generator().manual_seed(seed))
    return logits.log_softmax(-1)


def test_the_wide_search_finds_the_best_of_all_paths(files):
    """4 ** 7 paths each; a weight of the model that decides some of them and scores for words that decide others."""
    answers = set()
    for seed, (lm_weight, word_score) in itertools.product(range(6), [(2.0, -1.0), (0.0, 0.0), (3.0, 4.0)]):
        logs = emissions(seed)
        expected, lead = best_of_all_paths(logs, lm_weight, word_score)
        assert lead > 1e-4
        assert BeamSearch(LETTERS, *files, lm_weight=lm_weight, word_score=word_score, **WIDE)(logs) == expected
        answers.add(expected)
    assert len(answers) > 3


def test_the_published_settings_find_it_where_the_letters_are_clear(files):
    """Settings of SUPERB sheet 2.2. By hand: the letters say "AB BA", and so does the search."""
    search = BeamSearch(LETTERS, *files)
    assert (search.beam, search.threshold, search.lm_weight, search.word_score) == (5, 25.0, 2.0, -1.0)
    path = [LETTERS.index(one) for one in "AB|BA|"]
    logits = torch.zeros(6, len(LETTERS)).scatter_(1, torch.tensor(path)[:, None], 20.0)
    assert search(logits.log_softmax(-1)) == "AB BA"


def test_the_model_decides_what_the_letters_leave_open(files):
    """By hand: the second letter is A or B alike. After `<s>` comes "A" more likely than "BA", by 1.0 in log10."""
    logits = torch.full((4, len(LETTERS)), -60.0)
    for time, letters in enumerate(("AB", "A", "|", "|")):
        logits[time, [LETTERS.index(letter) for letter in letters]] = 0.0
    logits[0, LETTERS.index("B")] = 0.5  # greedy would say BA
    logs = logits.log_softmax(-1)
    assert LETTERS.decode(collapsed(logs.argmax(-1).tolist())) == "BA"
    assert BeamSearch(LETTERS, *files)(logs) == "A"
    assert BeamSearch(LETTERS, *files, lm_weight=0.0)(logs) == "BA"


def test_the_unpacked_model_says_the_same(files, tmp_path):
    (tmp_path / "4-gram.arpa").write_text(arpa())
    for seed in range(4):
        one, two = (
            BeamSearch(LETTERS, files[0], model)(emissions(seed)) for model in (files[1], tmp_path / "4-gram.arpa")
        )
        assert one == two


def test_a_lexicon_with_other_symbols_is_refused(files):
    files[0].write_text("A\tA |\nÄ\tÄ ? |\n")
    with pytest.raises(MissingCorpus, match=r"symbols that the recogniser lacks: \?, Ä"):
        BeamSearch(LETTERS, *files)(emissions(0))


@pytest.mark.parametrize(
    ("name", "text"), [("4-gram.arpa", "hello"), ("4-gram.bin", "\\data\\"), ("4-gram.arpa.gz", "x")]
)
def test_a_file_that_is_no_model_is_refused_before_anything_is_read(files, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(MissingCorpus, match=r"is not a language model|cannot be read: Not a gzipped file"):
        BeamSearch(LETTERS, files[0], tmp_path / name).check()


def test_a_damaged_model_is_named(files, tmp_path):
    (tmp_path / "4-gram.arpa").write_text(arpa().replace("-0.6\tA", "?\tA"))
    search = BeamSearch(LETTERS, files[0], tmp_path / "4-gram.arpa")
    search.check()
    with pytest.raises(MissingCorpus, match=r"4-gram.arpa cannot be read: ") as error:
        search(emissions(0))
    assert "fetch it again" in str(error.value)


def test_files_are_read_when_the_first_clip_asks(tmp_path):
    BeamSearch(LETTERS, tmp_path / "no such lexicon", tmp_path / "no such model")


def head(beam):
    torch.manual_seed(0)
    found = RecurrentCTC(4, 3, LETTERS, SpecAugment(), beam).eval()
    found.generator = torch.Generator().manual_seed(0)
    return found


def test_a_head_reads_each_clips_true_frames_with_the_model_and_greedily_without(files):
    output = torch.stack([emissions(1), emissions(2)])
    lengths, search = torch.tensor([7, 5]), BeamSearch(LETTERS, *files, **WIDE)
    read = head(search)
    expected = [best_of_all_paths(output[clip, :length], 2.0, -1.0)[0] for clip, length in enumerate(lengths.tolist())]
    assert read.predict(output, lengths, None, lm=True) == expected
    greedy = [LETTERS.decode(collapsed(output[clip, :length].argmax(-1).tolist())) for clip, length in ((0, 7), (1, 5))]
    assert read.predict(output, lengths, None) == greedy != expected


def test_where_the_search_finds_nothing_the_greedy_reading_stands():
    """As in s3prl, which asks the decoder first."""
    output, lengths = torch.stack([emissions(1), emissions(2)]), torch.tensor([7, 7])
    read = head(lambda logs: None if torch.equal(logs, emissions(1)) else "ELSE")
    assert read.predict(output, lengths, None, lm=True) == [read.predict(output, lengths, None)[0], "ELSE"]


def test_a_head_without_a_model_says_so():
    with pytest.raises(BenchError, match="no language model"):
        head(None).predict(emissions(0)[None], torch.tensor([7]), None, lm=True)

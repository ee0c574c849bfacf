"""Slot filling's spelling and metrics: examples by hand, and s3prl's own code on random and degenerate texts."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_error_rates import distance

from earbench.contract import Clip, Split
from earbench.errors import BenchError
from earbench.kit.metrics.slots import SLOT_TYPE_F1, SLOT_VALUE_CER, slots, spans
from earbench.kit.snips import SlotSpelling

NAMES = ("artist", "playlist", "playlist_owner", "year")
SPELLING = SlotSpelling(NAMES)
TRUTHS = {
    "a": "PLAY B-artist BO DIDDLEY E-artist FROM B-year TEN E-year",
    "b": "STOP",
    "c": "B-artist ABBA E-artist AND B-artist U TWO E-artist",
}


def split(ids):
    return Split(tuple(Clip(id, Path("x.wav"), "", f"speaker {id}") for id in ids))


def scored(truths, said):
    """F1 and CER of lists of texts."""
    named = [dict(enumerate(map(str, texts))) for texts in (truths, said)]
    rows = slots(split(named[0]), *named)
    return [metric.value(rows, np.ones(len(rows))) for metric in (SLOT_TYPE_F1, SLOT_VALUE_CER)]


def spelled(text):
    return [SPELLING.symbols[number] for number in SPELLING.encode(text)]


def test_the_published_slots_make_109_symbols_in_the_published_order():
    """Expected: SUPERB sheet 2.9."""
    spelling = SlotSpelling([f"slot{number}" for number in range(39)])
    assert len(spelling) == len(spelling.symbols) == 109
    assert spelling.symbols[:6] == ("<pad>", "<eos>", "<unk>", " ", "A", "B")
    assert spelling.symbols[29:33] == ("Z", "'", "B-slot0", "E-slot0")
    assert spelling.symbols[-2:] == ("B-slot38", "E-slot38")


def test_markers_stand_around_the_words_of_a_slot():
    assert spelled("GO BO ME\tO artist artist") == [*"GO ", "B-artist", *"BO ME", "E-artist", "<eos>"]
    assert spelled("A B\tartist year") == ["B-artist", "A", "E-artist", " ", "B-year", "B", "E-year", "<eos>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HI ?\tO O", ["H", "I", " "]),
        ("BO .\tartist artist", ["B-artist", "B", "O", " "]),
        (", BO\tartist artist", ["B", "O", "E-artist", "<eos>"]),
        ("A & B\tO O O", [*"A AND B", "<eos>"]),
        ("É 5\tO O", ["<unk>", " ", "<unk>", "<eos>"]),
        ("!\tO", []),
        ("\t", []),
    ],
)
def test_punctuation_is_left_out_with_the_markers_that_it_would_carry(text, expected):
    assert spelled(text) == expected


def test_decoding_sets_markers_off_and_never_puts_two_spaces():
    numbers = [SPELLING.symbols.index(symbol) for symbol in ["A", "E-year", "B-year", " ", "B", " ", "E-year", "<eos>"]]
    assert SPELLING.decode(numbers) == "A E-yearB-year B E-year"
    assert SPELLING.decode([]) == ""
    assert SPELLING.spelled("HI & BO\tO O artist") == "HI AND B-artist BO E-artist"


def test_scores_are_those_worked_by_hand():
    """F1: {artist, year} and {artist}: 2/3; nothing and nothing: 1; {artist} and {year}: 0. Values: 0 and 3 of 10 + 3
    characters; none; 4 and 5 of 9.
    """
    said = {"a": "PLAY B-artist BO DIDDLEY E-artist", "b": "GO", "c": "B-year ABBA E-year"}
    rows = slots(split(TRUTHS), TRUTHS, said)
    assert rows.arrays["f1"].tolist() == [2 / 3, 1.0, 0.0]
    assert rows.arrays["value_errors"].tolist() == [3, 0, 9]
    assert rows.arrays["value_characters"].tolist() == [13, 0, 9]
    assert SLOT_TYPE_F1.value(rows, np.ones(3)) == pytest.approx(100 * (5 / 3) / 3)
    assert SLOT_VALUE_CER.value(rows, np.ones(3)) == pytest.approx(100 * 12 / 22)
    assert SLOT_TYPE_F1.value(rows, np.array([3.0, 1.0, 0.0])) == pytest.approx(75.0)
    assert SLOT_VALUE_CER.value(rows, np.array([2.0, 5.0, 0.0])) == pytest.approx(100 * 6 / 26)
    assert np.isnan(SLOT_VALUE_CER.value(rows, np.array([0.0, 1.0, 0.0])))
    assert np.isnan(SLOT_TYPE_F1.value(rows, np.zeros(3)))


def test_a_value_is_compared_with_the_likest_of_its_slot():
    said = {**TRUTHS, "c": "B-artist U TO E-artist X B-artist ABBE E-artist"}
    assert slots(split(TRUTHS), TRUTHS, said).arrays["value_errors"].tolist() == [0, 0, 2]


def test_markers_inside_a_value_go_from_predictions_only():
    text = "B-artist BO B-year TEN E-artist"
    assert spans(text) == {"artist": ["BO B-year TEN"]}
    assert spans(text, marked=False) == {"artist": ["BO TEN"]}


def test_missing_predictions_are_refused():
    with pytest.raises(BenchError, match="1 clips have none"):
        slots(split(TRUTHS), TRUTHS, {"a": "", "b": ""})


@pytest.fixture(scope="module")
def reference():
    """s3prl's metrics and text encoder. Its edit distance is a package of its own, which a plain one replaces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "editdistance", SimpleNamespace(eval=distance))
        try:
            import s3prl.downstream.ctc.metric as metric
            import s3prl.downstream.ctc.text as text
        except (ImportError, OSError) as problem:
            pytest.skip(f"s3prl does not import here: {problem}")
    return metric, text


def lines(count, seed):
    """Random words and slots, with punctuation, unknown characters and slots that go on and change."""
    random = np.random.default_rng(seed)
    words = ["PLAY", "A", "O'ER", "&", ".", "?", "-", "ÉTÉ", "TEN", "BO", "5"]
    for _ in range(count):
        size = int(random.integers(1, 9))
        chosen, named = random.choice(words, size), random.choice(["O", "O", *NAMES], size).repeat(2)[:size]
        yield f"{' '.join(chosen)}\t{' '.join(named)}"


def test_targets_and_texts_equal_s3prls(reference):
    theirs = reference[1].CharacterTextSlotEncoder(list(SPELLING.symbols[3:31]), list(SPELLING.symbols[31:]))
    assert theirs.vocab_size == len(SPELLING)
    for line in lines(400, 0):
        words, named = line.split("\t")
        encoded = theirs.encode(f"BOS {words} EOS\tO {named} Intent")
        assert SPELLING.encode(line) == encoded
        assert SPELLING.decode(encoded) == re.sub(" +", " ", theirs.decode(encoded))


def noise(count, seed):
    """What an untrained recogniser may say: any symbols in any order, also none."""
    random = np.random.default_rng(seed)
    some = [3, 3, 4, 5, 2, *range(31, 39), *range(31, 39)]
    return [SPELLING.decode(random.choice(some, random.integers(0, 25)).tolist()) for _ in range(count)]


@pytest.mark.parametrize("kind", ["random", "near", "equal", "empty", "without slots"])
def test_scores_equal_s3prls(reference, kind):
    truths = [SPELLING.spelled(line) for line in lines(300, 1)]
    said = {
        "random": noise(300, 2),
        "near": [text.replace("TEN", "TAN").replace("year", "artist") for text in truths],
        "equal": truths,
        "empty": [""] * 300,
        "without slots": ["PLAY ON"] * 300,
    }[kind]
    metric, _ = reference
    expected = [100 * metric.slot_type_f1(said, truths), 100 * metric.slot_value_cer(said, truths)]
    assert scored(truths, said) == pytest.approx(expected, rel=1e-12)


def test_scores_equal_s3prls_one_utterance_at_a_time(reference):
    metric, _ = reference
    compared = 0
    for truth, said in zip(noise(400, 3), noise(400, 4), strict=True):
        f1, cer = scored([truth], [said])
        assert f1 == pytest.approx(100 * metric.slot_type_f1([said], [truth]), rel=1e-12)
        if spans(truth):
            assert cer == pytest.approx(100 * metric.slot_value_cer([said], [truth]), rel=1e-12)
            compared += 1
        else:
            assert np.isnan(cer)
    assert compared > 100

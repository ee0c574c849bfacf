"""The letter dictionary and the greedy reading, against the protocol sheet and a worked example."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from earbench.kit.text import LETTERS, collapsed


def test_dictionary_is_fairseqs_in_its_order():
    """Expected: SUPERB sheet 2.2, "dictionary"; 32 outputs."""
    assert " ".join(LETTERS) == "<s> <pad> </s> <unk> | E T A O N I H S R D L U M C W F G Y P B V K ' X J Q Z"
    assert len(LETTERS) == 32


def test_every_word_ends_with_a_bar_and_every_text_with_the_end_symbol():
    """By hand, with the numbers of the sheet's list."""
    assert LETTERS.encode("Don't  go\n") == [14, 8, 9, 27, 6, 4, 21, 8, 4, 2]


def test_what_the_dictionary_lacks_is_unknown():
    assert LETTERS.encode("é3") == [3, 3, 4, 2]
    assert LETTERS.decode([3, 3, 4, 2]) == "<unk><unk>"


@given(st.lists(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", min_size=1, max_size=5), min_size=1, max_size=6))
def test_decoding_takes_back_encoding(words):
    assert LETTERS.decode(LETTERS.encode(" ".join(words))) == " ".join(words)


def test_bars_at_the_edges_and_in_rows_make_no_words():
    assert LETTERS.decode([4, 4, 5, 4, 4, 6, 4]) == "E T"
    assert LETTERS.decode([4, 2, 4]) == LETTERS.decode([]) == ""


@pytest.mark.parametrize(
    ("path", "symbols"),
    [([], []), ([0, 0], []), ([5, 5, 5], [5]), ([5, 0, 5], [5, 5]), ([0, 5, 5, 6, 0, 0, 6, 5], [5, 6, 6, 5])],
)
def test_repeats_count_once_unless_a_blank_parts_them(path, symbols):
    assert collapsed(path) == symbols

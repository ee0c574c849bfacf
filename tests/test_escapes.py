"""What means something to Markdown or a spreadsheet, and what it is turned into. By hand, after GitHub's rules."""

import pytest

from earbench.escapes import csv_cell, markdown, one_line


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("hubert_base@best.pt~random", "hubert_base@best.pt~random"),
        ("NTT evaluation only, no redistribution (v1.0)", "NTT evaluation only, no redistribution (v1.0)"),
        ("![x](https://a.b)", r"!\[x](https\://a.b)"),
        ("HTTP://a.b, www.a.b, WWW.a.b", r"HTTP\://a.b, www\.a.b, WWW\.a.b"),
        ("<script> &lt; &#60; a & b", r"\<script> \&lt; \&#60; a & b"),
        ("__a__ _b_ *c* ~~d~~ $e$ `f`", r"\_\_a\_\_ \_b\_ \*c\* \~\~d\~~ \$e$ \`f\`"),
        ("a\\|b\\", r"a\\\|b\\"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("> a", r"\> a"),
        ("12. a", r"12\. a"),
        ("1.5 a", "1.5 a"),
        ("a\n\n# b\x00\u202e", "a # b??"),
    ],
)
def test_markdown_shows_text_as_it_is(text, safe):
    assert markdown(text) == safe


@pytest.mark.parametrize("value", [None, 1, -1.5, "-1.5", "MIT", "a=b"])
def test_numbers_and_plain_text_stay_in_a_table(value):
    assert csv_cell(value) == value


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "  =1", "＝1", "-1+cmd"])
def test_a_formula_is_made_text(text):
    assert csv_cell(text) == f"'{text.strip()}"


def test_one_line_is_one_printable_line():
    assert one_line("a\r\n\u2028b\x85c\ud800\x1b[0m") == "a b c??[0m"

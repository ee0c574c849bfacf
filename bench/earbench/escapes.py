"""Text that others wrote (names, licences, deviations, …), as lines, Markdown and CSV may hold it.

Each format has one function here or, LaTeX and the site, where it is made; all that a record says passes through it.
"""

import re
from contextlib import suppress

MARKUP = re.compile(
    r"[\\`*\[<|]|&(?=#?\w+;)"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it means nothing
    r"|([~$])(?=.*\1)"  # one alone means nothing, and `NAME~random` has one
    r"|:(?=//)|(?<=\bwww)\.",  # GitHub links addresses without being asked
    re.IGNORECASE,
)
BLOCK = re.compile(r"([#>+=-]|(?<=\d)[.)](?=\s|$))")
"""What begins a heading, a quotation or a list where it begins a line; of an ordered list, what follows the number."""
FORMULA = tuple("=+-@＝＋－＠")


def one_line(text: str) -> str:
    """Text on one line: runs of white space are a space, and what cannot be printed a question mark.

    >>> one_line(" a\\nb\\x1b[0m ")
    'a b?[0m'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def markdown(text: str) -> str:
    r"""Text as GitHub's Markdown shows it, in a cell of a table or alone on a line: it is no link, picture, tag or
    heading. What looks like a mail address may still become one.

    >>> print(markdown("![x](https://a.b) hubert_base~random <b> 5 | 6"))
    !\[x](https\://a.b) hubert_base~random \<b> 5 \| 6
    """
    safe = MARKUP.sub(lambda found: "\\" + found[0], one_line(text))
    start = re.match(r"\d*", safe)
    found = BLOCK.match(safe, start.end() if start else 0)
    return f"{safe[: found.start()]}\\{safe[found.start() :]}" if found else safe


def csv_cell(value: object) -> object:
    """A value as a spreadsheet may open it: text that it would take for a formula has an apostrophe before it, as OWASP
    advises. Numbers stay.

    >>> csv_cell('=HYPERLINK("https://a.b")'), csv_cell(-1.5), csv_cell("-1.5"), csv_cell("MIT")
    ('\\'=HYPERLINK("https://a.b")', -1.5, '-1.5', 'MIT')
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    with suppress(ValueError):
        return str(float(text)) and text
    return f"'{text}" if text.startswith(FORMULA) else text

"""A board as a LaTeX table: marks, escapes, gaps and published rows."""

import pytest
from fitting import record_facts, score
from scored import hits, store
from typer.testing import CliRunner

from earbench import record as records
from earbench.boards import board
from earbench.cli import app
from earbench.config import BoardPlan
from earbench.latex import escaped, latex
from earbench.record import Record

PLAN = BoardPlan("two", "Two", ("ks", "asr"), columns=("ks accuracy", "asr wer"))


@pytest.fixture
def table(tmp_path):
    facts = [
        record_facts("a_b & {c}", accuracy=80.0),
        record_facts("second", accuracy=70.0),
        record_facts("third", accuracy=60.0),
        record_facts("third", "asr", scores={"wer": score(9.0, better="lower")}),
    ]
    return latex(board(PLAN, [Record(tmp_path / f"{number}-1.json", one) for number, one in enumerate(facts)]))


def test_the_table_is_the_board(table):
    """Expected: written by hand."""
    assert table.splitlines()[1:] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"encoder & ks accuracy $\uparrow$ & asr wer $\downarrow$ \\",
        r"\midrule",
        r"a\_b \& \{c\} & \textbf{80.00} {\scriptsize [79.00, 81.00]} & -- \\",
        r"second & \underline{70.00} {\scriptsize [69.00, 71.00]} & -- \\",
        r"third & 60.00 {\scriptsize [59.00, 61.00]} & 9.00 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_column_without_a_score_does_not_claim_a_direction(tmp_path):
    found = board(PLAN, [Record(tmp_path / "x-1.json", record_facts("one", accuracy=80.0))])
    assert latex(found).splitlines()[3] == r"encoder & ks accuracy $\uparrow$ & asr wer \\"


def test_the_signature_is_a_comment_above(table):
    assert table.splitlines()[0] == (
        "% board:two|earbench:0.1.0|tasks:asr-v1,ks-v1|corpus:published|effort:standard|seeds:1|deviations:early-stop"
    )


def test_published_rows_stand_apart(tmp_path):
    plan = BoardPlan("superb", "SUPERB", ("ks",), columns=("ks accuracy",), published="superb")
    lines = latex(board(plan, [Record(tmp_path / "x-1.json", record_facts())])).splitlines()
    apart = lines.index(r"\midrule", 5)
    assert "not run again" in lines[apart + 1]
    assert r"HuBERT Base & 96.30 \\" in lines[apart:]
    assert "HuBERT" not in "".join(lines[:apart])


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\x1b\u2028b", "a? b"),
        ("a\\b", r"a\textbackslash{}b"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("x\n$#%", r"x \$\#\%"),
    ],
)
def test_what_means_something_to_latex_is_escaped(text, safe):
    assert escaped(text) == safe


def test_no_text_of_a_record_leaves_the_comment(tmp_path):
    hostile = record_facts("one", deviations=["x\n\\input{/etc/passwd}\r\\input{a}\u2028\\input{b}: why"])
    first, second, *_ = latex(board(PLAN, [Record(tmp_path / "x-1.json", hostile)])).splitlines()
    assert first.startswith("% board:two|")
    assert second.startswith(r"\begin{tabular}")


def test_ranks_stand_in_small_print_where_the_board_has_them(tmp_path):
    for name, share in (("good", 0.9), ("bad", 0.3), ("bad_too", 0.31)):
        store(tmp_path, name, folds=[hits([share] * 40)])
    lines = latex(board(PLAN, records.briefly(tmp_path))).splitlines()[5:8]
    assert [line.partition("] ")[2] for line in lines] == [r"\#1} & -- \\", r"\#2-3} & -- \\", r"\#2-3} & -- \\"]


@pytest.mark.parametrize(
    ("board", "said"),
    [([], "1 records, none on a board: quick (1)"), (["--board", "hear"], "none of a task of the board 'hear'")],
)
def test_the_command_says_why_there_is_nothing_to_print(board, said, tmp_path):
    records.write(tmp_path, record_facts(deviations=["quick: why"]), [], {})
    done = CliRunner().invoke(app, ["report", "--latex", "--results", str(tmp_path), *board])
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_the_command_prints_the_table_and_writes_nothing(tmp_path):
    records.write(tmp_path, record_facts(), [], {})
    said = CliRunner().invoke(app, ["report", "--board", "superb", "--latex", "--results", str(tmp_path)])
    assert said.exit_code == 0
    assert said.stdout.count(r"\begin{tabular}") == 1
    assert not (tmp_path / "boards").exists()

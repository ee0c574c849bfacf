import csv
import io
import json
import re

import pytest
from fitting import record_facts, score
from scored import hits, store
from typer.testing import CliRunner

from earbench import api
from earbench import record as records
from earbench.aggregates import SUPERB_POINTS
from earbench.boards import board
from earbench.cli import app
from earbench.config import BoardPlan
from earbench.errors import BenchError
from earbench.record import Record
from earbench.report import (
    cell_text,
    comma_separated,
    differences,
    markdown,
    plain,
    score_text,
    signature,
    strays,
    table,
    write,
)

PLAN = BoardPlan("superb", "SUPERB", ("ks", "sid"))
KS = BoardPlan("words", "Words", ("ks",))


@pytest.fixture
def records_of(tmp_path):
    def made(*facts):
        return [Record(tmp_path / f"{one['plan']['id']}-{number}.json", one) for number, one in enumerate(facts, 1)]

    return made


def shown(plan, records):
    """Upstream and first score of each row, as the board has them."""
    return [
        (row.upstream, next((cell.value for cell in row.cells.values()), None)) for row in board(plan, records).rows
    ]


def test_the_newest_record_of_a_cell_counts(records_of):
    found = records_of(
        record_facts(accuracy=70.0, when="2026-01-02T00:00:00+00:00", id="a" * 16),
        record_facts(accuracy=80.0, when="2026-01-03T00:00:00+00:00", id="b" * 16),
        record_facts(accuracy=90.0, when="2026-01-01T00:00:00+00:00", id="c" * 16),
    )
    assert shown(KS, found) == shown(KS, found[::-1]) == [("fbank", 80.0)]


def test_the_newest_version_of_a_task_counts_before_the_newest_record(records_of):
    found = records_of(
        record_facts(accuracy=70.0, version=2, when="2025-01-01T00:00:00+00:00", id="a" * 16),
        record_facts(accuracy=80.0, version=1, when="2026-01-01T00:00:00+00:00", id="b" * 16),
    )
    assert shown(KS, found) == [("fbank", 70.0)]


def test_one_record_of_a_later_version_takes_no_column_over(records_of):
    """Nor does it turn the column round: the version, unit and direction that most encoders have are shown."""
    later = record_facts("c", version=999, id="c" * 16, scores={"accuracy": score(99.0, better="lower")})
    found = board(KS, records_of(record_facts("a", accuracy=10.0), record_facts("b", accuracy=20.0), later))
    assert [(row.upstream, len(row.cells)) for row in found.rows] == [("b", 1), ("a", 1)]
    assert found.columns[0].better == "higher"


def test_a_score_of_another_direction_than_its_column_is_a_footnote(records_of):
    turned = record_facts("c", scores={"accuracy": score(1.0, better="lower"), "per": score(2.0)})
    found = board(KS, records_of(record_facts("a"), record_facts("b", accuracy=20.0), turned))
    row = next(row for row in found.rows if row.upstream == "c")
    assert [*row.cells] == ["ks per"]
    assert any("accuracy of c has another unit or direction" in note for note in found.notes)


def test_of_two_runs_in_one_second_the_higher_number_counts(records_of):
    one, two = records_of(record_facts(accuracy=79.5, versions={}), record_facts(accuracy=80.0))
    assert shown(KS, [two, one]) == [("fbank", 80.0)]


def test_one_name_with_two_weights_has_two_rows(records_of):
    other = record_facts(accuracy=70.0, id="a" * 16)
    other["upstream"]["digest"] = "d" * 16
    found = records_of(record_facts(), other, record_facts("mel", accuracy=60.0))
    assert shown(KS, found) == [("fbank", 80.0), ("fbank", 70.0), ("mel", 60.0)]
    titles = [row.title for row in board(KS, found).rows]
    assert titles == [f"fbank#{found[0].facts['upstream']['digest'][:8]}", "fbank#dddddddd", "mel"]


def test_demo_and_published_corpora_never_share_a_board(records_of):
    found = records_of(record_facts("mel"), record_facts("mfcc", demo=True))
    assert shown(KS, found) == [("mel", 80.0)]
    demo = BoardPlan("demo", "Demo", ("ks",), "demo")
    assert shown(demo, found) == [("mfcc", 80.0)]
    assert "They do not rank encoders" in markdown(board(demo, found))
    assert "They do not rank encoders" not in markdown(board(KS, found))


@pytest.mark.parametrize("name", ["partial", "quick", "bf16", "layers-3", "layers-each"])
def test_records_that_do_not_compare_stay_off_the_board(name, records_of):
    found = records_of(record_facts(), record_facts("mel", deviations=["early-stop: why", f"{name}: why"]))
    assert shown(KS, found) == [("fbank", 80.0)]


@pytest.mark.parametrize("name", ["silence-pool-64", "early-stop", "fp16-frames", "quickly-read"])
def test_footnotes_do_not_keep_a_record_off_the_board(name, records_of):
    found = board(KS, records_of(record_facts(deviations=[f"{name}: why"])))
    assert len(found.rows) == 1
    assert f"1. {name}: why" in markdown(found)


def with_upstream(name, **facts):
    made = record_facts(name, id=name[:1] * 16, deviations=[])
    made["upstream"] |= facts
    return made


def test_the_licence_of_every_encoder_is_a_column_of_its_board(records_of):
    found = board(KS, records_of(with_upstream("a", licence="MIT"), with_upstream("b", licence="CC-BY-NC-4.0")))
    assert sorted(row.facts["licence"] for row in found.rows) == ["CC-BY-NC-4.0", "MIT"]
    assert "CC-BY-NC-4.0" in table(found)
    assert "licence" in comma_separated(found).splitlines()[0].split(",")


@pytest.mark.parametrize(
    "licence",
    [
        "NTT evaluation only, no redistribution",
        "CC-BY-NC-4.0",
        "CC BY-NC 4.0",
        "unclear",
        "research only",
        "non-commercial",
    ],
)
def test_weights_that_may_not_be_used_freely_earn_a_footnote(licence, records_of):
    found = board(KS, records_of(with_upstream("a", licence=licence), with_upstream("b", licence="Apache-2.0")))
    assert found.notes == (f"a: licence of the weights: {licence}",)
    assert f"1. a: licence of the weights: {licence}" in markdown(found)


def test_supervised_encoders_are_told_from_others(records_of):
    found = board(KS, records_of(with_upstream("a", pretraining="supervised"), with_upstream("b")))
    assert found.notes == ("a: pretrained with supervision",)


def test_tasks_that_are_not_on_the_board_are_not_shown(records_of):
    assert shown(KS, records_of(record_facts(task="sid"))) == []


def test_a_missing_cell_is_a_dash(records_of):
    found = board(PLAN, records_of(record_facts("a"), record_facts("b", "sid", 60.0), record_facts("b", accuracy=50.0)))
    (_, _, *lines) = table(found, "github").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")][:3] for line in lines]
    assert cells[0] == ["a <sup>1</sup>", "**80.00** [79.00, 81.00]", "-"]
    assert cells[1] == ["b <sup>1</sup>", "*50.00* [49.00, 51.00]", "60.00 [59.00, 61.00]"]


def test_a_task_that_nobody_ran_yet_is_a_column_of_dashes(records_of):
    header, _, line = table(board(PLAN, records_of(record_facts())), "github").splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == ["upstream", "ks accuracy", "sid"]
    assert [cell.strip() for cell in line.strip("|").split("|")][2] == "-"


def test_an_encoder_without_the_first_score_comes_last_whatever_else_it_has(records_of):
    found = records_of(
        record_facts("a", "sid", 99.0), record_facts("b", accuracy=10.0), record_facts("c", accuracy=20.0)
    )
    assert [row.upstream for row in board(PLAN, found).rows] == ["c", "b", "a"]


def test_a_board_has_a_column_for_every_score_that_somebody_has(records_of):
    found = records_of(
        record_facts("a", "sid"),
        record_facts("b"),
        record_facts("c", scores={"accuracy": score(1.0), "accuracy_knn": score(2.0)}),
    )
    columns = [column.title for column in board(PLAN, found).columns]
    assert columns == ["ks accuracy", "ks accuracy_knn", "sid accuracy"]


@pytest.mark.parametrize(("better", "order"), [("higher", ["c", "b", "a", "none"]), ("lower", ["a", "b", "c", "none"])])
def test_rows_are_sorted_by_the_better_direction_and_a_score_without_value_is_last(better, order, records_of):
    values = {"b": 20.0, "none": None, "a": 10.0, "c": 30.0}
    found = records_of(
        *(record_facts(name, scores={"x": score(value, better=better)}) for name, value in values.items())
    )
    assert [row.upstream for row in board(KS, found).rows] == order


def test_records_of_one_plan_of_other_machines_may_differ_within_an_interval_only(records_of):
    """Another name for the device does not switch the check off."""
    one, near, far = records_of(
        record_facts(accuracy=80.0),
        record_facts(accuracy=80.5, device_name="another"),
        record_facts(accuracy=90.0, device_name="a third"),
    )
    assert len(shown(KS, [one, near])) == 1
    with pytest.raises(BenchError, match="two records of one plan differ") as caught:
        board(KS, [one, far])
    assert "other versions or device, but further apart than these explain" in str(caught.value.hints)


def test_two_records_of_one_plan_that_differ_on_equal_grounds_are_an_error(records_of):
    with pytest.raises(BenchError, match="two records of one plan differ") as caught:
        board(KS, records_of(record_facts(accuracy=70.0), record_facts(accuracy=80.0)))
    assert "-1.json" in str(caught.value)
    assert "-2.json" in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"versions": {"torch": "2.6"}}, {"device": "cuda"}, {"device_name": "arm64"}], ids=str
)
def test_two_records_of_one_plan_may_differ_on_other_grounds(change, records_of):
    assert len(shown(KS, records_of(record_facts(accuracy=79.5), record_facts(accuracy=80.0, **change)))) == 1


def test_two_records_of_one_plan_may_agree_and_one_may_have_more_scores(records_of):
    more = record_facts(scores={"accuracy": score(80.0, 79.0, 81.0), "accuracy_knn": score(1.0)})
    assert len(shown(KS, records_of(record_facts(), more))) == 1


def test_a_bar_or_a_line_break_in_a_name_does_not_break_the_table(records_of):
    found = board(KS, records_of(record_facts("a|b\nc | <d>")))
    *_, line = table(found, "github").splitlines()
    assert line.startswith(r"| a\|b c \| \<d> <sup>1</sup> |")
    assert len(table(found, "github").splitlines()) == 3


FOREIGN = (
    "x\n\n# Head\n\n| mine | 99.9 |\n\n[click](https://evil.example) ![p](https://evil.example/p.png) <script> &lt; `"
)


@pytest.fixture
def hostile(records_of):
    """A board on which everything that a submitter may choose is hostile."""
    made = record_facts(FOREIGN, deviations=[f"{FOREIGN}: why"], scores={FOREIGN: score(80.0, 79.0, 81.0)})
    made["upstream"] |= {"licence": f"research {FOREIGN}", "family": FOREIGN}
    return board(KS, records_of(made | {"effort": FOREIGN}))


def test_no_text_of_a_record_is_markup_on_a_page(hostile):
    text = markdown(hostile)
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Words"]
    assert not [
        line for line in text.splitlines() if "99.9" in line and not line.startswith(("| ", "1. ", "2. ", "`board"))
    ]
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("`board"))
    assert not re.search(r"(?<!\\)(\[click|!\[|<script|&lt;|`)|https://", shown)
    signed = text.splitlines()[-1]
    assert (signed[0], signed[-1], signed.count("`")) == ("`", "`", 2)


def test_no_text_of_a_record_moves_a_terminal(records_of):
    found = table(board(KS, records_of(record_facts("a\x1b[2J\u202eb", accuracy=80.0))))
    assert all(line.isprintable() for line in found.splitlines())
    assert "a?[2J?b" in found


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("https://evil.example")', "+1+2", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1"]
)
def test_a_spreadsheet_takes_no_text_of_a_record_for_a_formula(name, records_of):
    made = record_facts(name, accuracy=80.0)
    made["upstream"] |= {"licence": name, "family": name}
    (row,) = csv.DictReader(io.StringIO(comma_separated(board(KS, records_of(made)))))
    assert {row["upstream"], row["licence"], row["family"]} == {f"'{name.strip()}"}


def test_notes_stand_at_their_cells_and_at_the_name_where_all_cells_have_them(records_of):
    found = records_of(
        record_facts("a", deviations=["both: why", "ks: why"]), record_facts("a", "sid", deviations=["both: why"])
    )
    made = board(PLAN, found)
    assert made.notes == ("both: why", "ks: why")
    *_, line = table(made, "github").splitlines()
    name, ks, sid = [cell.strip() for cell in line.strip("|").split("|")][:3]
    assert name == "a <sup>1</sup>"
    assert ks.endswith("] <sup>2</sup>")
    assert "<sup>" not in sid
    assert "1. both: why\n2. ks: why\n" in markdown(made)
    assert "sup" not in table(made)


def test_boards_without_records_say_so_and_write_nothing(tmp_path):
    empty = board(KS, [])
    assert table(empty) == "no records for the board 'words' yet"
    assert write([empty], tmp_path) == []
    assert comma_separated(empty) == "upstream\n"


def test_the_csv_holds_the_numbers_of_the_records(records_of):
    found = board(PLAN, records_of(record_facts('a,"b"'), record_facts("c", "sid", 60.0)))
    one, other = csv.DictReader(io.StringIO(comma_separated(found)))
    columns = [f"{task} accuracy{part}" for task in ("ks", "sid") for part in ("", " low", " high")]
    assert [name for name in one if name in columns] == columns
    assert one["upstream"] == 'a,"b"'
    assert [one[column] for column in columns] == ["80.0", "79.0", "81.0", "", "", ""]
    assert [other[column] for column in columns] == ["", "", "", "60.0", "59.0", "61.0"]
    assert one["real_time_factor"] == "0.01"


def test_written_boards_are_what_the_records_say_until_one_is_edited(records_of, tmp_path):
    boards = [board(KS, records_of(record_facts()))]
    assert differences(boards, tmp_path) == ["words.md", "words.csv"]
    paths = write(boards, tmp_path)
    assert [path.name for path in paths] == ["words.md", "words.csv"]
    assert differences(boards, tmp_path) == []
    paths[0].write_text(paths[0].read_text().replace("80.00", "99.00"))
    assert differences(boards, tmp_path) == ["words.md"]
    assert differences([board(KS, records_of(record_facts(accuracy=81.0)))], tmp_path) == ["words.md", "words.csv"]


def test_a_board_that_no_record_stands_on_differs_from_the_records(records_of, tmp_path):
    write([board(KS, records_of(record_facts()))], tmp_path)
    assert differences([board(KS, [])], tmp_path) == ["words.md", "words.csv"]


def test_a_file_among_the_boards_that_is_of_no_board_is_a_stray(records_of, tmp_path):
    boards = [board(KS, records_of(record_facts()))]
    write(boards, tmp_path)
    assert strays(boards, tmp_path) == []
    (tmp_path / "boards/words.html").write_text("")
    (tmp_path / "boards/.hear.md").write_text("mine: 99.9")
    assert strays(boards, tmp_path) == [".hear.md", "words.html"]


@pytest.mark.parametrize("name", ["hear.md", "mine.md"])
def test_the_check_fails_on_invented_boards_with_or_without_records(name, tmp_path):
    words = ["report", "--check", "--results", str(tmp_path)]
    assert CliRunner().invoke(app, words).exit_code == 0
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / name).write_text("| mine | 99.9 |\n")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert name in done.stderr


def test_boards_do_not_depend_on_the_order_of_the_records(records_of):
    found = records_of(*(record_facts(name, task, 50.0) for name in "abc" for task in ("ks", "sid")))
    assert markdown(board(PLAN, found)) == markdown(board(PLAN, found[::-1]))


def test_the_slowest_task_is_the_cost_of_an_encoder_and_an_unknown_one_does_not_count(records_of):
    unknown = [record_facts(task="sid", real_time_factor=None), record_facts("b", real_time_factor=None)]
    found = records_of(record_facts(real_time_factor=0.1), *unknown)
    assert {row.upstream: row.facts["real_time_factor"] for row in board(PLAN, found).rows} == {"fbank": 0.1, "b": None}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "-"),
        (score(None), "-"),
        (score(41.383), "41.38"),
        (score(0.51234, 0.5, 0.52, unit=""), "0.5123 [0.5000, 0.5200]"),
    ],
)
def test_scores_are_shown_with_their_interval_where_there_is_one(given, text):
    assert score_text(given) == text


def test_a_board_as_json_has_its_name_and_rows(records_of):
    found = plain(board(KS, records_of(record_facts())))
    assert (found["name"], found["title"]) == ("words", "Words")
    assert found["rows"][0]["ks accuracy"]["value"] == 80.0
    assert found["rows"][0]["ks accuracy"]["rank"] is None  # there is nobody else
    json.dumps(found)


def test_a_cell_shows_value_interval_spread_over_folds_and_rank(tmp_path):
    for name, share in (("good", 0.9), ("bad", 0.3), ("bad_too", 0.31)):
        store(tmp_path, name, folds=[hits([share + fold / 1000] * 30) for fold in range(5)])
    found = board(KS, records.briefly(tmp_path))
    for row, rank in zip(found.rows, ("#1", "#2-3", "#2-3"), strict=True):
        cell = row.cells["ks accuracy"]
        assert cell_text(cell, {}) == f"{score_text(cell.score)} ± {cell.spread:.2f} {rank}"
    text = markdown(found)
    assert f"| **{found.rows[0].cells['ks accuracy'].value:.2f}** [" in text
    assert f"| *{found.rows[1].cells['ks accuracy'].value:.2f}* [" in text


def test_published_rows_have_a_table_of_their_own_that_says_nobody_ran_them_here(records_of):
    plan = BoardPlan("superb", "SUPERB", ("ks", "sid"), columns=("ks accuracy", "sid accuracy"), published="superb")
    found = board(plan, records_of(record_facts()))
    ours, theirs = markdown(found).split("## Published")
    assert "HuBERT" not in ours
    assert "not run again here" in theirs
    (line,) = [line for line in theirs.splitlines() if line.startswith("| HuBERT Base")]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["HuBERT Base", "96.30", "81.42"]
    assert "HuBERT" not in comma_separated(found)
    assert plain(found)["published"]["rows"][0]["model"] == "FBANK (paper)"


def test_the_signature_names_versions_tasks_effort_seeds_and_deviations(records_of):
    found = records_of(
        record_facts("a", effort="reference", deviations=["silence-pool-64: why", "fp16-frames: why"]),
        record_facts("b", "sid", 50.0, version=3, seeds=5, deviations=[]),
        record_facts("c", accuracy=1.0, earbench="0.2.0", deviations=[]),
    )
    assert signature(board(PLAN, found)) == (
        "board:superb|earbench:0.1.0,0.2.0|tasks:ks-v1,sid-v3|corpus:published|effort:reference,standard|seeds:1,5"
        "|deviations:fp16-frames,silence-pool-64"
    )
    assert markdown(board(PLAN, found)).endswith(f"`{signature(board(PLAN, found))}`\n")


def test_boards_are_the_same_from_records_read_in_brief(tmp_path):
    for name, share in (("good", 0.9), ("bad", 0.3)):
        store(tmp_path, name, folds=[hits([share] * 30)])
    brief, whole = (board(KS, list(read(tmp_path))) for read in (records.briefly, records.every))
    assert plain(brief) == plain(whole)
    assert all("search" not in record.facts for record in records.briefly(tmp_path))


def test_records_come_as_a_pandas_frame_with_one_row_per_score(tmp_path):
    facts = record_facts(scores={"accuracy": score(80.0, 79.0, 81.0), "accuracy_knn": score(None)})
    written = records.write(tmp_path, facts, [], {})
    frame = api.records(tmp_path)
    assert frame["metric"].tolist() == ["accuracy", "accuracy_knn"]
    assert frame.loc[0, ["upstream", "task", "value", "low", "path"]].tolist() == [
        "fbank",
        "ks",
        80.0,
        79.0,
        str(written.path),
    ]
    assert frame["value"].isna().tolist() == [False, True]
    assert api.records(tmp_path / "nothing").empty


# ---- chosen columns, and numbers made of a row -----------------------------------------------------------------------


def superb_record(upstream, task, **values):
    facts = record_facts(upstream, task)
    facts["scores"] = {name: score(value) for name, value in values.items()}
    return facts


def test_a_board_shows_the_columns_it_names_even_without_scores(records_of):
    plan = BoardPlan("some", "Some", ("ks", "asv"), columns=("asv eer_published", "ks accuracy"))
    found = board(plan, records_of(superb_record("fbank", "ks", accuracy=50.0, accuracy_knn=9.0)))
    (row,) = found.rows
    assert [column.title for column in found.columns] == ["asv eer_published", "ks accuracy"]
    assert {title: cell.value for title, cell in row.cells.items()} == {"ks accuracy": 50.0}
    assert "accuracy_knn" not in table(found)


def test_the_superb_score_stands_first_and_orders_the_board(records_of):
    tasks = tuple(SUPERB_POINTS)
    plan = BoardPlan("superb", "SUPERB", tasks, aggregates=("superb_score", "superb_rank"))
    facts = []
    for name, share in (("poor", 0.1), ("good", 0.9), ("gap", 1.0)):
        for task, points in SUPERB_POINTS.items():
            if (name, task) != ("gap", "sd"):
                values = {metric: zero + share * (full - zero) for metric, (zero, full) in points.items()}
                facts.append(superb_record(name, task, **values))
    found = board(plan, records_of(*facts))
    assert [row.upstream for row in found.rows] == ["good", "poor", "gap"]
    assert [row.cells["superb_score"].value for row in found.rows[:2]] == pytest.approx([900, 100])
    assert "superb_score" not in found.rows[2].cells
    assert [row.cells["superb_rank"].value for row in found.rows] == pytest.approx([1.0, 0.0, 1.8])
    assert [column.title for column in found.columns][:2] == ["superb_score", "superb_rank"]

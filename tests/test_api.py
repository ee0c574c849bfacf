"""earbench from Python."""

import subprocess
import sys
from pathlib import Path

import earbench

SCRIPT = """
import sys
import earbench

toy, folder = sys.argv[1:]
for effort in ("quick", "quick"):
    record = earbench.run(
        "fbank_no_cmvn", "ks", toy, True, effort=effort, cache=f"{folder}/c", results=f"{folder}/r", quiet=True
    )
table = earbench.records(f"{folder}/r")
assert list(table.metric) == list(record.scores), table
assert earbench.upstream("mfcc").width == 39
"""


def test_the_three_doors_open_more_than_once(toy: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(toy), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_records_are_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    table = earbench.records(tmp_path)
    assert list(table.columns)[:2] == ["upstream", "task"]
    assert len(table) == 0

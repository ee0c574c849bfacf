"""Several cells at a time: what they give is what they give alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earbench import cells
from earbench.line import run
from earbench.plan import Request

NAMES = ("fbank_no_cmvn", "mel", "cpc@nowhere.pt")


@pytest.fixture
def requests(toy):
    return [Request(name, "ks", data=str(toy), partial=True) for name in NAMES]


def test_cells_side_by_side_give_what_they_give_one_by_one_in_their_order(requests, settings, quiet, tmp_path, capfd):
    quick = settings.with_(effort="quick")
    alone = list(cells.one_by_one(run, requests, quick, quiet))
    there = quick.with_(cache=tmp_path / "other cache", results=tmp_path / "other results")
    together = cells.side_by_side(run, requests, there, quiet, jobs=2)
    assert [one.found.upstream for one in together[:2]] == ["fbank_no_cmvn", "mel"]
    for one, other in zip(alone[:2], together[:2], strict=True):
        assert one.found.facts["plan"] == other.found.facts["plan"]
        assert one.found.scores == other.found.scores
    assert [replace(one, found=None) for one in together] == [replace(one, found=None) for one in alone]
    assert together[2].found is None
    assert together[2].code == 1
    assert capfd.readouterr().err.count("error: cpc@nowhere.pt on ks: ") == 2


def test_a_fault_of_a_plugin_is_told_and_the_next_cell_runs(requests, settings, quiet, capsys):
    outcomes = cells.one_by_one(lambda *_: 1 / 0, requests[:2], settings, quiet)
    assert [(one.found, one.code) for one in outcomes] == [(None, 1)] * 2
    assert capsys.readouterr().err.count("stopped with ZeroDivisionError") == 2


def test_the_command_ends_with_the_worst_code_and_prints_what_was_done(toy: Path, tmp_path: Path) -> None:
    words = ["--upstream", ",".join(NAMES), "--task", "ks", "--data", str(toy), "--partial", "--effort", "quick"]
    places = ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results"), "--jobs", "2", "--json"]
    command = [sys.executable, "-m", "earbench.cli", "run", *words, *places]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert done.returncode == 1, done.stderr
    assert [one["upstream"]["name"] for one in json.loads(done.stdout)["records"]] == list(NAMES[:2])


@pytest.mark.parametrize(("threads", "jobs", "each"), [(6, 2, 3), (2, 4, 1)])
def test_processes_share_the_threads_of_the_machine(monkeypatch, threads, jobs, each):
    monkeypatch.setattr(cells.torch, "get_num_threads", lambda: threads)
    with cells._workers(jobs) as pool:
        monkeypatch.undo()
        assert pool.submit(torch.get_num_threads).result() == each

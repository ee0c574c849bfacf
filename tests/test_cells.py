"""Several cells at a time: what they give is what they give alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earbench import cells, config
from earbench.line import run
from earbench.plan import Request
from earbench.progress import Progress

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


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def endless(request, settings, _progress):
    (settings.cache / request.upstream).touch()
    time.sleep(600)


def drive(folder):
    """Four endless cells, two at a time; an interrupt can be heard whatever this process inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = config.load().with_(cache=Path(folder))
    cells.side_by_side(endless, [Request(name, "ks") for name in "abcd"], settings, Progress(quiet=True), 2)


def test_a_process_that_is_killed_is_an_error_of_its_cells(requests, settings, quiet, capsys):
    outcomes = cells.side_by_side(killed, requests, settings, quiet, jobs=2)
    assert [(one.found, one.code) for one in outcomes] == [(None, 1)] * 3
    assert capsys.readouterr().err.count("a process was ended from outside") == 3


def test_an_interrupt_ends_all_cells_and_starts_no_other(tmp_path):
    command = [sys.executable, "-c", f"import test_cells; test_cells.drive({str(tmp_path)!r})"]
    places = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    running = subprocess.Popen(command, env=places, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.iterdir())) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert "KeyboardInterrupt" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

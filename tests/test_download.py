"""A download ends with the very bytes that the server has, whatever happened on the way, and fetches none twice."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from serving import served

from earbench import download as downloads
from earbench.download import download, partial
from earbench.errors import BenchError

BODY = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


@pytest.fixture
def site(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
    with served() as found:
        found.files["file"] = BODY
        yield found


class Counter:
    """How many useful bytes came."""

    def __init__(self):
        self.total = 0

    def __call__(self, count):
        self.total += count


def fetched(site, path):
    counter = Counter()
    download(site.url("file"), path, counter)
    assert counter.total == path.stat().st_size
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def begun(site, path, count=100_000):
    """The first bytes of the file, as a download that was cut off left them."""
    site.cuts = [count, 0, 0, 0]
    with pytest.raises(BenchError):
        download(site.url("file"), path, Counter())
    assert partial(path) == (count, len(site.files["file"]) if site.lengths else None)
    site.asked.clear()
    site.cuts.clear()


def test_a_file_comes_whole_in_one_request(site, tmp_path):
    assert fetched(site, tmp_path / "file") == BODY
    assert site.asked == [("/file", None, None)]


def test_a_broken_connection_goes_on_where_it_was(site, tmp_path):
    site.cuts = [100_000, 1, 50_000]
    assert fetched(site, tmp_path / "file") == BODY
    assert [asked[1] for asked in site.asked] == [None, "bytes=100000-", "bytes=100001-", "bytes=150001-"]
    assert {asked[2] for asked in site.asked[1:]} == {'"one"'}


def test_a_later_download_goes_on_where_the_first_gave_up(site, tmp_path):
    begun(site, tmp_path / "file")
    assert fetched(site, tmp_path / "file") == BODY
    assert site.asked == [("/file", "bytes=100000-", '"one"')]


SCRIPT = """
import pathlib, sys
from earbench.download import download
download(sys.argv[1], pathlib.Path(sys.argv[2]), id)
"""


def test_a_killed_download_goes_on_where_it_was(site, tmp_path):
    path = tmp_path / "file"
    site.cuts, site.hold = [100_000], threading.Event()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, site.url("file"), str(path)])
    deadline = time.monotonic() + 60
    while partial(path)[0] < 100_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial(path) == (100_000, 300_000)
    assert fetched(site, path) == BODY
    assert site.asked[1:] == [("/file", "bytes=100000-", '"one"')]


@pytest.mark.parametrize("conditions", [True, False], ids=["If-Range is honoured", "If-Range is ignored"])
def test_a_file_that_changed_meanwhile_starts_over(site, tmp_path, conditions):
    begun(site, tmp_path / "file")
    site.files["file"], site.etag, site.conditions = OTHER, '"two"', conditions
    assert fetched(site, tmp_path / "file") == OTHER


def test_a_file_that_changed_its_size_starts_over_even_without_a_tag(site, tmp_path):
    site.etag = None
    begun(site, tmp_path / "file")
    site.files["file"] = OTHER + OTHER
    assert fetched(site, tmp_path / "file") == OTHER + OTHER


def test_a_file_that_became_shorter_than_what_is_here_starts_over(site, tmp_path):
    site.etag = None
    begun(site, tmp_path / "file", 200_000)
    site.files["file"] = OTHER[:150_000]
    assert fetched(site, tmp_path / "file") == OTHER[:150_000]


def test_a_weak_tag_is_not_a_condition_but_is_compared(site, tmp_path):
    site.etag = 'W/"one"'
    begun(site, tmp_path / "file")
    assert fetched(site, tmp_path / "file") == BODY
    assert site.asked == [("/file", "bytes=100000-", None)]
    (tmp_path / "file").unlink()
    begun(site, tmp_path / "file")
    site.files["file"], site.etag = OTHER, 'W/"two"'
    assert fetched(site, tmp_path / "file") == OTHER


def test_a_server_that_knows_no_ranges_sends_everything_again(site, tmp_path):
    begun(site, tmp_path / "file")
    site.ranges = False
    assert fetched(site, tmp_path / "file") == BODY
    assert len(site.asked) == 1


def test_bytes_of_another_address_are_not_gone_on_with(site, tmp_path):
    begun(site, tmp_path / "file")
    site.files["other"] = OTHER
    download(site.url("other"), tmp_path / "file", Counter())
    assert (tmp_path / "file").read_bytes() == OTHER
    assert site.asked == [("/other", None, None)]


def test_what_is_whole_already_is_not_fetched_again(site, tmp_path):
    begun(site, tmp_path / "file")
    (tmp_path / "file").write_bytes(BODY)
    assert fetched(site, tmp_path / "file") == BODY
    assert site.asked == []


def test_of_a_file_of_unstated_size_the_server_says_that_nothing_is_missing(site, tmp_path):
    """Status 416, "bytes */N" with N what is here."""
    (tmp_path / "file").write_bytes(BODY)
    note = {"url": site.url("file"), "etag": None, "modified": None, "total": None}
    (tmp_path / "file.json").write_text(json.dumps(note))
    assert fetched(site, tmp_path / "file") == BODY
    assert site.asked == [("/file", "bytes=300000-", None)]


def test_a_file_without_a_stated_size_comes_whole(site, tmp_path):
    site.lengths = False
    assert fetched(site, tmp_path / "file") == BODY


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again(site, tmp_path, status):
    site.answers = [status, status]
    assert fetched(site, tmp_path / "file") == BODY
    assert len(site.asked) == 3


def test_other_refusals_are_told_at_once(site, tmp_path):
    site.files.clear()
    with pytest.raises(BenchError, match="HTTP 404"):
        download(site.url("file"), tmp_path / "file", Counter())
    assert len(site.asked) == 1


def test_after_a_few_tries_it_gives_up_and_says_what_is_kept(site, tmp_path):
    site.answers = [503] * 10
    with pytest.raises(BenchError, match=r"HTTP 503(.|\n)*0 bytes of it are kept: the same command goes on"):
        download(site.url("file"), tmp_path / "file", Counter())
    assert len(site.asked) == 3


def test_a_silent_server_counts_as_broken(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    site.cuts, site.hold = [1_000], threading.Event()
    assert fetched(site, tmp_path / "file") == BODY
    assert [asked[1] for asked in site.asked] == [None, "bytes=1000-"]


def test_nobody_there_is_told_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0.0,))
    with pytest.raises(BenchError, match="refused"):
        download("http://127.0.0.1:9/file", tmp_path / "file", Counter())


def test_a_proxy_is_used(site, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", site.base)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies that it first found
    download("http://corpora.invalid/data/file", tmp_path / "file", Counter())
    assert (tmp_path / "file").read_bytes() == BODY
    assert site.asked[0][0] == "http://corpora.invalid/data/file"

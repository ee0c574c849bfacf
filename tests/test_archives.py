"""Archives come whole, checked, unpacked where they belong, once, and after any number of kills."""

import hashlib
import io
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest
from filelock import FileLock
from serving import served

from earbench import archives
from earbench import download as downloads
from earbench.archives import HOME, fetch, standing
from earbench.contract import Archive, Corpus
from earbench.errors import BenchError
from earbench.progress import Progress

TRAIN = {"LibriSpeech/README.TXT": b"read me", "LibriSpeech/train/1/1.flac": b"one" * 9_000}
TEST = {"LibriSpeech/README.TXT": b"read me", "LibriSpeech/test/2/2.flac": b"two" * 9_000}
NOISE = {"./_noise_/hum.wav": b"hum" * 9_000}


def tarred(tree):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "*")
    with served() as found:
        found.files |= {"train.tar.gz": tarred(TRAIN), "test.tar.gz": tarred(TEST), "noise.tgz": tarred(NOISE)}
        yield found


def archive(site, name, into="", **changes):
    body = site.files[name]
    made = Archive(site.url(f"{name}?download=1"), into, len(body), f"sha256:{hashlib.sha256(body).hexdigest()}")
    return replace(made, **changes)


@pytest.fixture
def corpus(site):
    found = (archive(site, "train.tar.gz"), archive(site, "test.tar.gz"), archive(site, "noise.tgz", "noise"))
    return Corpus("tiny", "Tiny", "https://example.org", "CC BY 4.0", "", archives=found)


WHOLE = {**TRAIN, **TEST, "noise/_noise_/hum.wav": NOISE["./_noise_/hum.wav"]}


def tree(root):
    """Every file below `root` that a reader sees, and its content."""
    files = (path for path in root.rglob("*") if path.is_file() and HOME not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def states(corpus, root):
    return [one["state"] for one in standing(corpus, root)]


def test_all_archives_are_fetched_and_unpacked_where_they_belong(corpus, tmp_path, quiet):
    fetch(corpus, tmp_path, quiet)
    assert tree(tmp_path) == WHOLE
    assert states(corpus, tmp_path) == ["unpacked"] * 3


def test_the_archives_themselves_are_not_kept(corpus, tmp_path, quiet):
    fetch(corpus, tmp_path, quiet)
    left = {path.name for path in (tmp_path / HOME).iterdir() if path.name != ".lock"}
    assert left == {"train.tar.gz.files", "test.tar.gz.files", "noise.tgz.files"}


def test_a_second_fetch_asks_for_nothing(corpus, tmp_path, quiet, site):
    fetch(corpus, tmp_path, quiet)
    site.asked.clear()
    fetch(corpus, tmp_path, quiet)
    assert site.asked == []


@pytest.mark.parametrize("spoil", ["unlink", "truncate"])
def test_what_went_missing_later_is_fetched_again_and_nothing_else(corpus, tmp_path, quiet, site, spoil):
    fetch(corpus, tmp_path, quiet)
    site.asked.clear()
    victim = tmp_path / "LibriSpeech/test/2/2.flac"
    victim.unlink() if spoil == "unlink" else victim.write_bytes(b"cut")
    assert states(corpus, tmp_path) == ["unpacked", "not fetched", "unpacked"]
    fetch(corpus, tmp_path, quiet)
    assert [asked[0] for asked in site.asked] == ["/test.tar.gz?download=1"]
    assert tree(tmp_path) == WHOLE


def test_what_else_lies_in_the_folder_stays(corpus, tmp_path, quiet):
    (tmp_path / "LibriSpeech" / "train" / "1").mkdir(parents=True)
    (tmp_path / "LibriSpeech" / "train" / "1" / "notes.txt").write_bytes(b"mine")
    fetch(corpus, tmp_path, quiet)
    assert tree(tmp_path) == {**WHOLE, "LibriSpeech/train/1/notes.txt": b"mine"}


def test_a_wrong_checksum_is_told_and_nothing_of_the_file_is_kept(corpus, tmp_path, quiet, site):
    wrong = replace(corpus, archives=(replace(corpus.archives[0], checksum="md5:" + "0" * 32),))
    digest = hashlib.md5(site.files["train.tar.gz"]).hexdigest()
    with pytest.raises(BenchError, match=f"train.tar.gz has the wrong checksum: md5 {digest}, not 0000"):
        fetch(wrong, tmp_path, quiet)
    assert tree(tmp_path) == {}
    assert states(wrong, tmp_path) == ["not fetched"]


def test_what_has_no_checksum_is_called_unverified(corpus, tmp_path, capsys):
    fetch(replace(corpus, archives=(replace(corpus.archives[2], checksum=None),)), tmp_path, Progress())
    assert "noise.tgz: unverified" in capsys.readouterr().err


def test_licence_size_and_free_space_are_told_first(corpus, tmp_path, capsys):
    *known, last = corpus.archives
    fetch(replace(corpus, archives=(*known, replace(last, bytes=None))), tmp_path, Progress())
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first == "Tiny: licence CC BY 4.0, see https://example.org"
    assert second.startswith("to fetch: 0.0 MB, and 1 of unknown size, into ")
    assert second.endswith(" are free")
    assert rest == [f"{name}: sha256 as published" for name in ("train.tar.gz", "test.tar.gz", "noise.tgz")]


def test_nothing_is_fetched_onto_a_disk_without_room(corpus, tmp_path, quiet, site):
    huge = replace(corpus, archives=(replace(corpus.archives[0], bytes=1 << 60),))
    with pytest.raises(BenchError, match="the disk has no room"):
        fetch(huge, tmp_path, quiet)
    assert site.asked == []


def test_a_damaged_archive_is_removed_so_that_it_is_fetched_anew(corpus, tmp_path, quiet, site):
    broken = replace(corpus, archives=(replace(corpus.archives[0], checksum=None),))
    whole, site.files["train.tar.gz"] = site.files["train.tar.gz"], site.files["train.tar.gz"][:-20]
    with pytest.raises(BenchError, match="is damaged"):
        fetch(broken, tmp_path, quiet)
    assert tree(tmp_path) == {}
    site.files["train.tar.gz"] = whole
    fetch(broken, tmp_path, quiet)
    assert tree(tmp_path) == TRAIN


def test_an_archive_that_is_refused_leaves_the_corpus_as_it_was(corpus, tmp_path, quiet, site):
    site.files["test.tar.gz"] = tarred({"LibriSpeech/test/3.flac": b"3", "../../out.flac": b"out"})
    two = replace(corpus, archives=(corpus.archives[0], archive(site, "test.tar.gz")))
    with pytest.raises(BenchError, match="leads out of its folder"):
        fetch(two, tmp_path / "root", quiet)
    assert tree(tmp_path) == {f"root/{name}": content for name, content in TRAIN.items()}


def test_a_fetch_that_was_cut_off_goes_on_where_it_was(corpus, tmp_path, quiet, site):
    size = len(site.files["train.tar.gz"])
    site.cuts = [size // 2, 0, 0]
    with pytest.raises(BenchError, match="the same command goes on"):
        fetch(corpus, tmp_path, quiet)
    assert states(corpus, tmp_path)[0].endswith("of it fetched")
    site.asked.clear()
    fetch(corpus, tmp_path, quiet)
    assert [asked[1] for asked in site.asked] == [f"bytes={size // 2}-", None, None]
    assert tree(tmp_path) == WHOLE


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from earbench import {module}
from earbench.archives import fetch
from earbench.progress import Progress

work, calls = {module}.{name}, []

def dying(*args):
    calls.append(args)
    if len(calls) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return work(*args)

{module}.{name} = dying
archive = SimpleNamespace(url=sys.argv[1], into="", bytes=None, checksum=None)
fetch(SimpleNamespace(title="Tiny", licence="", page="", archives=[archive]), Path(sys.argv[2]), Progress(quiet=True))
"""


@pytest.mark.parametrize(("module", "name", "number"), [("unpack", "_inside", 2), ("archives", "_move", 1)])
def test_a_fetch_killed_while_unpacking_leaves_nothing_half(corpus, tmp_path, quiet, site, module, name, number):
    script = KILLED.format(module=module, name=name, number=number)
    words = [sys.executable, "-c", script, corpus.archives[0].url, str(tmp_path)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert tree(tmp_path) == {}
    assert states(corpus, tmp_path)[0] == "fetched, not unpacked"
    site.asked.clear()
    fetch(replace(corpus, archives=corpus.archives[:1]), tmp_path, quiet)
    assert site.asked == []
    assert tree(tmp_path) == TRAIN
    assert not list((tmp_path / HOME).glob("*.unpacking"))


def test_two_processes_never_fetch_into_one_folder(corpus, tmp_path, quiet, site):
    (tmp_path / HOME).mkdir()
    with FileLock(tmp_path / HOME / ".lock"), pytest.raises(BenchError, match="another process is fetching"):
        fetch(corpus, tmp_path, quiet)
    assert site.asked == []


def test_a_folder_that_cannot_be_written_to_is_told_first(corpus, tmp_path, quiet, site):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write the archives of Tiny"):
        fetch(corpus, tmp_path / "file", quiet)
    assert site.asked == []


def test_archives_are_named_without_the_query(site):
    assert archives._name(archive(site, "noise.tgz")) == "noise.tgz"

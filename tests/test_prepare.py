"""`bench prepare` says what is there, what is missing and what to do, and --download does it where anyone may."""

import hashlib
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from serving import served
from typer.testing import CliRunner

from earbench import data, prepare, registry
from earbench.cli import app
from earbench.contract import Archive, Corpus
from earbench.data import Place
from earbench.errors import RequestError
from earbench_tasks.keyword_spotting import KeywordSpotting

TASK = KeywordSpotting()
FOLDERS = ("speech_commands_v0.01", "speech_commands_test_set_v0.01")


@pytest.fixture(scope="module")
def packed(toy, tmp_path_factory):
    """The toy corpus of keyword spotting as its two official archives."""
    home = tmp_path_factory.mktemp("packed")
    for folder in FOLDERS:
        with tarfile.open(home / f"{folder}.tar.gz", "w:gz") as archive:
            archive.add(toy / folder, "./")
    return home


@pytest.fixture
def corpus(packed, toy, monkeypatch):
    """The corpus of `ks` made small: what is served is what the toy holds."""
    monkeypatch.setenv("no_proxy", "*")
    with served() as site:
        site.files = {path.name: path.read_bytes() for path in packed.iterdir()}
        archives = tuple(
            Archive(site.url(name), name.removesuffix(".tar.gz"), len(body), f"md5:{hashlib.md5(body).hexdigest()}")
            for name, body in site.files.items()
        )
        counts = TASK.census(TASK.folds(toy, prepare.ANY_ENCODER))
        yield replace(TASK.card.corpus, counts=counts, archives=archives)


@pytest.fixture
def tasks(corpus, monkeypatch):
    """`ks` with a corpus to download, `ks_too` of the same corpus, and `closed` with one that has no archives."""
    closed = Corpus("closed", "Closed corpus", "https://closed.example.org", "on request", "as it comes")

    def load(name):
        task = KeywordSpotting()
        task.card = replace(TASK.card, name=name, corpus=closed if name == "closed" else corpus)
        return task

    monkeypatch.setattr(prepare, "load_task", load)


def prepared(names, where, settings, quiet, download=False):
    found = prepare.prepared(names, where and str(where), settings, download, quiet)
    return found[0] if len(found) == 1 else found


@pytest.mark.usefixtures("tasks")
def test_a_corpus_that_is_nowhere_is_told_with_its_archives_and_how_to_fetch_them(settings, quiet):
    found = prepared(["ks"], None, settings, quiet)
    assert not found["whole"]
    assert "needs Google Speech Commands v0.01, and no folder is set for it" in found["problem"]
    for words in (
        "`bench prepare --task ks --data DIR --download`",
        "CC BY 4.0",
        *(f"{one}.tar.gz" for one in FOLDERS),
    ):
        assert words in found["text"]
    assert [one["state"] for one in found["archives"]] == ["not fetched"] * 2


@pytest.mark.usefixtures("tasks")
def test_download_makes_the_corpus_whole(tmp_path, settings, quiet):
    found = prepared(["ks"], tmp_path / "new" / "place", settings, quiet, download=True)
    assert found["whole"]
    assert "whole: " in found["text"]
    assert found["counts"]
    assert found["differences"] == []
    assert [one["state"] for one in found["archives"]] == ["unpacked"] * 2


@pytest.mark.usefixtures("tasks")
def test_download_goes_where_the_bench_toml_says(tmp_path, settings, quiet):
    settings = settings.with_(data={TASK.card.corpus.id: str(tmp_path / "corpora")})
    assert prepared(["ks"], None, settings, quiet, download=True)["whole"]
    assert (tmp_path / "corpora" / FOLDERS[0]).is_dir()


@pytest.mark.usefixtures("tasks")
def test_what_is_whole_already_is_not_downloaded(toy, settings, quiet, monkeypatch):
    monkeypatch.delattr(prepare.archives, "fetch")
    assert prepared(["ks"], toy, settings, quiet, download=True)["whole"]


@pytest.mark.usefixtures("tasks")
def test_one_corpus_of_two_tasks_is_downloaded_once(tmp_path, settings, quiet, monkeypatch):
    fetched, fetch = [], prepare.archives.fetch
    monkeypatch.setattr(prepare.archives, "fetch", lambda *args: (fetched.append(args), fetch(*args)))
    found = prepared(["ks", "ks_too"], tmp_path, settings, quiet, download=True)
    assert [one["whole"] for one in found] == [True, True]
    assert len(fetched) == 1


@pytest.mark.usefixtures("tasks")
def test_a_corpus_that_differs_is_repaired(tmp_path, settings, quiet):
    prepared(["ks"], tmp_path, settings, quiet, download=True)
    next((tmp_path / FOLDERS[0] / "yes").iterdir()).unlink()
    broken = prepared(["ks"], tmp_path, settings, quiet)
    assert "differs from the published counts" in broken["text"]
    assert [one["state"] for one in broken["archives"]] == ["not fetched", "unpacked"]
    assert prepared(["ks"], tmp_path, settings, quiet, download=True)["whole"]


@pytest.mark.usefixtures("tasks")
def test_a_corpus_without_archives_is_refused_with_its_page_before_anything_is_fetched(tmp_path, settings, quiet):
    with pytest.raises(RequestError, match=r"closed: Closed corpus, see https://closed\.example\.org"):
        prepared(["ks", "closed"], tmp_path, settings, quiet, download=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "bench.toml"]


@pytest.mark.usefixtures("tasks")
def test_without_archives_the_page_is_what_helps(settings, quiet):
    text = prepared(["closed"], None, settings, quiet)["text"]
    assert "download: not from here; the page says how to get it" in text
    assert "--download" not in text


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("where", [None, "demo"])
def test_download_needs_a_folder(settings, quiet, where):
    with pytest.raises(RequestError, match=r"--download needs a folder for Google Speech Commands v0\.01"):
        prepared(["ks"], where, settings, quiet, download=True)


def test_one_folder_does_not_take_several_corpora(tmp_path, settings, quiet):
    with pytest.raises(RequestError, match="these tasks need librispeech, speech_commands_v1"):
        prepared(["ks", "asr"], tmp_path, settings, quiet, download=True)


@pytest.mark.usefixtures("tasks")
def test_the_demo_is_told_to_be_the_demo(toy, corpus, settings, quiet, monkeypatch):
    monkeypatch.setattr(data, "locate", lambda *_: Place(toy, True))
    monkeypatch.setattr(data.demo, "census", lambda *_: corpus.counts)
    found = prepared(["ks"], "demo", settings, quiet)
    assert found["whole"]
    assert "as the built-in demo has them" in found["text"]


@pytest.mark.usefixtures("tasks")
def test_the_command_prints_json_and_nothing_else_even_while_downloading(tmp_path, settings):
    words = ["prepare", "--task", "ks", "--data", str(tmp_path / "in"), "--download", "--json"]
    done = CliRunner().invoke(app, [*words, "--config", str(settings.source), "--cache", str(settings.cache)])
    assert done.exit_code == 0
    assert [one["whole"] for one in json.loads(done.stdout)] == [True]
    assert done.stderr == ""


@pytest.mark.usefixtures("tasks")
def test_the_command_fails_when_the_corpus_is_not_whole(tmp_path, settings):
    words = ["prepare", "--task", "ks", "--data", str(tmp_path), "--config", str(settings.source)]
    assert CliRunner().invoke(app, words).exit_code == 1


# ---- the corpora of all installed tasks ------------------------------------------------------------------------------

OURS = [name for name in registry.names("task") if registry.find("task", name).module.startswith("earbench_tasks")]


@pytest.mark.parametrize("name", OURS)
def test_every_corpus_has_the_facts_that_prepare_tells(name):
    corpus = registry.load("task", name).card.corpus
    assert re.fullmatch(r"[a-z0-9_]+", corpus.id)
    assert corpus.title
    assert corpus.licence
    assert corpus.layout.strip()
    assert all(len(line) <= 116 for line in corpus.layout.splitlines())
    assert corpus.page.startswith("https://") or registry.load("task", name).card.suite == "own"


@pytest.mark.parametrize("name", OURS)
def test_every_archive_has_an_address_that_names_it_and_a_checksum_that_can_be_one(name):
    archives = registry.load("task", name).card.corpus.archives
    names = [Path(urlsplit(archive.url).path).name for archive in archives]
    assert len(set(names)) == len(names)
    for archive, file in zip(archives, names, strict=True):
        assert archive.url.startswith("https://")
        assert file.endswith((".tar.gz", ".tgz", ".zip"))
        assert ".." not in archive.into
        assert archive.checksum is None or re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.checksum)

"""`bench list tasks`: all facts as JSON, and a table that fits the terminal it is printed in."""

import json
import os
import subprocess
import sys

import pytest
from tabulate import tabulate

from earbench import listing as listings
from earbench import registry
from earbench.listing import fitted, listing

CARD = {
    "name": "pitch",
    "alias_of": None,
    "title": "A task",
    "suite": "superb",
    "corpus": {"id": "hear", "licence": "CC BY 4.0", "page": "https://example.org", "archives": []},
    "grain": "mean",
    "metrics": [{"name": "accuracy"}, {"name": "f1"}],
    "verified": "layout",
}


@pytest.fixture
def cards(monkeypatch):
    """What the index of installed tasks holds."""
    found = [CARD]
    monkeypatch.setattr(listings.registry, "cards", lambda *_: found)
    return found


def with_corpus(**changes):
    return {**CARD, "corpus": {**CARD["corpus"], **changes}}


@pytest.mark.usefixtures("cards")
def test_a_task_is_listed_with_all_its_facts(settings):
    assert listing("tasks", settings) == [
        {
            "name": "pitch",
            "aliases": [],
            "title": "A task",
            "suite": "superb",
            "corpus": "hear",
            "licence": "CC BY 4.0",
            "grain": "mean",
            "metric": "accuracy",
            "metrics": ["accuracy", "f1"],
            "verified": "layout",
            "demo": True,
            "missing": "corpus",
        }
    ]


def test_two_names_of_one_task_are_one_row(cards, settings):
    cards.append({**CARD, "name": "other", "alias_of": "pitch"})
    assert [(row["name"], row["aliases"]) for row in listing("tasks", settings)] == [("pitch", ["other"])]


def test_a_second_name_stands_alone_where_the_first_is_not_installed(cards, settings):
    cards[:] = [{**CARD, "name": "other", "alias_of": "pitch"}]
    assert [(row["name"], row["aliases"]) for row in listing("tasks", settings)] == [("other", [])]


def test_a_broken_task_is_listed_with_its_error(cards, settings):
    cards.append({"name": "broken", "error": "no module named 'x'"})
    assert listing("tasks", settings)[1] == {"name": "broken", "missing": "no module named 'x'"}


@pytest.mark.parametrize(
    ("where", "corpus", "missing"),
    [
        (None, "hear", "corpus"),
        ("demo", "hear", ""),
        ("demo", "no_demo", "corpus"),
        ("/no/such/folder", "hear", "folder /no/such/folder"),
        ("/", "hear", ""),
    ],
)
def test_what_is_missing_here_is_what_a_run_would_ask_for(cards, settings, where, corpus, missing):
    cards[:] = [with_corpus(id=corpus)]
    found = listing("tasks", settings.with_(data={corpus: where} if where else {}))
    assert [row["missing"] for row in found] == [missing]


def test_each_of_hears_tasks_is_missing_unless_its_own_folders_or_archives_are_there(cards, settings, tmp_path):
    homes = {"one": ["esc50-v2.0.0-full"], "two": ["libricount-v1-full"], "both": ["bees0-v2-full", "bees1-v2-full"]}
    (tmp_path / "tasks" / "esc50-v2.0.0-full").mkdir(parents=True)
    (tmp_path / "tasks" / "esc50-v2.0.0-full" / "task_metadata.json").write_text("not looked at")
    (tmp_path / "hear2021-bees0-v2-full-16000.tar.gz").write_text("not looked at")
    cards[:] = [
        with_corpus(archives=[{"url": f"https://example.org/hear2021-{home}-48000.tar.gz"} for home in folders])
        for folders in homes.values()
    ]
    found = listing("tasks", settings.with_(data={"hear": str(tmp_path)}))
    assert [row["missing"] for row in found] == ["", "folder libricount-v1-full", "folder bees1-v2-full"]


@pytest.mark.parametrize(
    ("weights", "missing"),
    [
        ("shipped", ""),
        ("hub: some/model", "weights (fetched on first use)"),
        ("https://example.org/own.pt", "weights (own@FILE)"),
        ("package: no-such-package 1.0 (own.ckpt)", "weights (pip install no-such-package)"),
        ("package: pytest 9.2 (own.ckpt)", ""),
    ],
)
def test_weights_that_are_not_here_are_missing_and_it_says_how_they_come(
    cards, settings, monkeypatch, weights, missing
):
    monkeypatch.setenv("HF_HOME", str(settings.cache))
    facts = ("family", "parameters", "sample_rate", "hop", "layers", "licence", "parity", "groups")
    cards[:] = [{"name": "own", "weights": weights} | dict.fromkeys(facts)]
    assert listing("upstreams", settings)[0]["missing"] == missing


def test_of_a_task_on_ones_own_audio_the_audio_is_missing(cards, settings):
    cards[:] = [with_corpus(id="folder", page="")]
    assert listing("tasks", settings)[0]["missing"] == "your audio"


ROW = {"name": "ks", "title": "Keyword spotting", "licence": "a" * 50, "suite": "superb", "missing": ""}


def test_a_table_that_fits_stays_as_it_is():
    assert fitted("tasks", [ROW], 200) == [ROW]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_table_never_gets_wider_than_the_terminal(width):
    (row,) = fitted("tasks", [ROW], width)
    assert max(map(len, tabulate([row], headers="keys").splitlines())) <= width


def test_a_long_cell_is_cut_and_says_so():
    (row,) = fitted("tasks", [ROW], 80)
    assert row["licence"] == "a" * 31 + "…"


def test_what_matters_most_stays_longest():
    assert list(fitted("tasks", [ROW], 30)[0]) == ["name", "suite", "missing"]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A folder with a bench.toml, and a cache that holds the index of what is installed."""
    home = tmp_path_factory.mktemp("indexed")
    (home / "bench.toml").write_text('[cache]\ndir = "cache"')
    for kind in ("upstream", "task"):
        registry.cards(kind, home / "cache")
    return home


def printed(folder, width, *words):
    environment = {**os.environ, "COLUMNS": str(width), "PYTHONIOENCODING": "utf-8"}
    call = [sys.executable, "-m", "earbench.cli", "list", *words]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("what", ["tasks", "upstreams"])
def test_the_printed_tables_fit_usual_terminals(indexed, what, width):
    lines = printed(indexed, width, what).splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= width


def test_json_has_everything_whatever_the_terminal(indexed):
    rows = {row["name"]: row for row in json.loads(printed(indexed, 20, "tasks", "--json"))}
    assert rows["pitch"]["aliases"] == ["hear_nsynth_pitch_5h"]
    for key in ("suite", "corpus", "licence", "grain", "metrics", "verified", "missing"):
        assert rows["ks"][key], key

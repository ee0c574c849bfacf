"""Names and plugins: nothing is imported before it is asked for, and one broken plugin is one broken plugin."""

import os
import sys
from importlib.metadata import entry_points

import pytest

from earbench import registry
from earbench.errors import BenchError, RequestError, UnknownName

PLUGIN = """
from earbench.contract import Upstream, UpstreamCard

class Fake(Upstream):
    card = UpstreamCard("fake", "fake", "{licence}", "none")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package `name` with plugin modules and entry points {name: module:object}, in this process alone."""
    made = []

    def installed(package, points, **modules):
        site = tmp_path / package
        facts = site / f"{package}-1.2.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (facts / "entry_points.txt").write_text("\n".join(["[earbench.upstreams]", *lines]))
        for module, text in modules.items():
            (site / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(site)
        made.extend(modules)
        return site

    yield installed
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def cards(tmp_path):
    """The cards of all upstreams by name."""
    return lambda: {card["name"]: card for card in registry.cards("upstream", tmp_path / "cache")}


# ---- names -----------------------------------------------------------------------------------------------------------


def test_names_are_the_installed_entry_points():
    assert registry.names("task") == sorted({point.name for point in entry_points(group="earbench.tasks")})
    assert {"mfcc", "hf", "hubert"} <= set(registry.names("upstream"))


def test_names_are_known_without_importing_anything(installed):
    installed("one", {"fake": "one_plugin:Fake"}, one_plugin="raise SystemExit('imported')")
    assert "fake" in registry.names("upstream")


@pytest.mark.parametrize(
    ("kind", "name", "close"), [("upstream", "hubertt", "hubert"), ("upstream", "MFCC", "mfcc"), ("task", "kss", "ks")]
)
def test_an_unknown_name_gets_suggestions_and_the_way_to_all(kind, name, close):
    with pytest.raises(UnknownName) as caught:
        registry.load(kind, name)
    message = str(caught.value)
    assert message.startswith(f"no {kind} called '{name}'")
    assert close in message.partition("did you mean: ")[2]
    assert f"`bench list {kind}s` shows all {len(registry.names(kind))}" in message


def test_a_name_like_nothing_gets_no_suggestion():
    with pytest.raises(UnknownName) as caught:
        registry.load("upstream", "zzzzzzzz")
    assert "did you mean" not in str(caught.value)
    assert "bench list upstreams" in str(caught.value)


# ---- what is written after --upstream --------------------------------------------------------------------------------

SPECS = {
    "hubert": ("hubert", None, None, False),
    " hubert ": ("hubert", None, None, False),
    "hubert~random": ("hubert", None, None, True),
    "hubert@/w/best.pt": ("hubert", None, "/w/best.pt", False),
    "hubert@~/my weights/best model.pt": ("hubert", None, "~/my weights/best model.pt", False),
    "hubert@~/w~1/best.pt~random": ("hubert", None, "~/w~1/best.pt", True),
    "hubert@C:\\w\\best.pt": ("hubert", None, "C:\\w\\best.pt", False),
    "hubert@/w/mail@home.pt": ("hubert", None, "/w/mail@home.pt", False),
    "hf:org/model": ("hf", "org/model", None, False),
    "hf:org/model@main~random": ("hf", "org/model@main", None, True),
    "hf:~/models/mine": ("hf", "~/models/mine", None, False),
    "hf:~/models/mine~random": ("hf", "~/models/mine", None, True),
    "s3prl:cpc@/w/c.ckpt": ("s3prl", "cpc@/w/c.ckpt", None, False),
    "py:module:Class": ("py", "module:Class", None, False),
    "xls_r_300m": ("xls_r_300m", None, None, False),
}


@pytest.mark.parametrize("text", SPECS)
def test_a_spec_is_taken_apart(text):
    parts = registry.split_spec(text)
    assert tuple(parts[key] for key in ("name", "argument", "checkpoint", "random")) == SPECS[text]


@pytest.mark.parametrize("text", ["", "~random", "@/w/best.pt", "hubert@", "hf:", "two words", "hubert~rnd", "a/b"])
def test_what_is_no_spec_is_an_error_that_shows_the_forms(text):
    with pytest.raises(RequestError, match=r"is not an upstream: write NAME, NAME@PATH, SCHEME:WHAT"):
        registry.split_spec(text)


# ---- plugins that do not work ----------------------------------------------------------------------------------------

BROKEN = {
    "import absent_module": "No module named 'absent_module'",
    "1 / 0": "division by zero",
    "def (": "invalid syntax",
    "class Other: ...": "has no attribute 'Fake'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_plugin_says_whose_it_is_when_asked_for_and_hurts_no_other(installed, cards, text):
    installed("one", {"fake": "one_plugin:Fake"}, one_plugin=text)
    with pytest.raises(BenchError) as caught:
        registry.load("upstream", "fake")
    message = str(caught.value)
    assert message.startswith("the upstream 'fake' could not be read (from one 1.2): ")
    assert BROKEN[text] in message
    assert "reinstall one" in message
    found = cards()
    assert [name for name, card in found.items() if "error" in card] == ["fake"]
    assert found["fake"]["error"] == message


def test_a_plugin_whose_whole_package_fails_hurts_no_other(installed, cards):
    site = installed("one", {"fake": "one_package.plugin:Fake"})
    (site / "one_package").mkdir()
    (site / "one_package" / "__init__.py").write_text("1 / 0")
    (site / "one_package" / "plugin.py").write_text(PLUGIN)
    assert [name for name, card in cards().items() if "error" in card] == ["fake"]


def test_two_packages_that_claim_one_name_are_both_named_and_hurt_no_other(installed, cards):
    installed("one", {"fake": "one_plugin:Fake", "fine": "one_plugin:Fake"}, one_plugin=PLUGIN)
    installed("two", {"fake": "two_plugin:Fake"}, two_plugin=PLUGIN)
    with pytest.raises(UnknownName, match=r"two packages claim the upstream 'fake': (one|two) 1.2 and (one|two) 1.2"):
        registry.load("upstream", "fake")
    assert registry.load("upstream", "fine").card.name == "fake"
    assert [name for name, card in cards().items() if "error" in card] == ["fake"]


# ---- the index of cards ----------------------------------------------------------------------------------------------


def test_cards_are_read_from_the_index_once_it_is_there(installed, cards, monkeypatch):
    installed("one", {"fake": "one_plugin:Fake"}, one_plugin=PLUGIN)
    first = cards()
    assert first["fake"]["licence"] == "{licence}"
    monkeypatch.setattr(registry, "load", lambda _, name: pytest.fail(f"{name} was imported"))
    assert cards() == first


def test_the_index_is_made_anew_when_a_plugin_file_changes(installed, cards):
    site = installed("one", {"fake": "one_plugin:Fake"}, one_plugin=PLUGIN)
    assert cards()["fake"]["licence"] == "{licence}"
    (site / "one_plugin.py").write_text(PLUGIN.replace("{licence}", "Apache-2.0"))
    os.utime(site / "one_plugin.py", (9, 9))
    sys.modules.pop("one_plugin")
    assert cards()["fake"]["licence"] == "Apache-2.0"


def test_the_index_is_made_anew_when_a_package_is_added(installed, cards):
    before = cards()
    installed("one", {"fake": "one_plugin:Fake"}, one_plugin=PLUGIN)
    assert set(cards()) - set(before) == {"fake"}


def test_a_repaired_plugin_is_found_at_once(installed, cards):
    """What is missing may be installed without a change to the plugin, so errors are never kept."""
    site = installed("one", {"fake": "one_plugin:Fake"}, one_plugin="import one_late\n" + PLUGIN)
    assert "error" in cards()["fake"]
    (site / "one_late.py").write_text("")
    sys.modules.pop("one_late", None)
    import importlib

    importlib.invalidate_caches()
    assert "error" not in cards()["fake"]


def test_a_second_name_of_a_plugin_says_whose_alias_it_is(installed, cards):
    installed("one", {"fake": "one_plugin:Fake", "phony": "one_plugin:Fake"}, one_plugin=PLUGIN)
    found = cards()
    assert (found["fake"]["alias_of"], found["phony"]["alias_of"]) == (None, "fake")
    assert found["phony"]["licence"] == found["fake"]["licence"]


def test_every_alias_of_ours_names_an_entry_point_of_the_same_plugin(tmp_path):
    for kind in ("upstream", "task"):
        for card in registry.cards(kind, tmp_path):
            if card["alias_of"]:
                assert registry.load(kind, card["alias_of"]) is registry.load(kind, card["name"])


def test_cards_are_plain_data_with_the_metrics_of_tasks(tmp_path):
    (card,) = (card for card in registry.cards("task", tmp_path) if card["name"] == "ks")
    assert card["metrics"] == [{"name": "accuracy", "unit": "%", "better": "higher"}]
    assert card["corpus"]["id"] == "speech_commands_v1"

"""A record is run again: every score holds, or what differs is said before anything is trained."""

import json
from dataclasses import replace

import pytest
from fitting import record_facts, score
from typer.testing import CliRunner

from earbench import config, plan
from earbench import record as records
from earbench import reproduce as module
from earbench.cli import app
from earbench.errors import RequestError
from earbench.line import run
from earbench.plan import Request
from earbench.progress import Progress
from earbench.record import Record
from earbench.reproduce import Wish, provenance, reproduce, told, verdict


@pytest.fixture(scope="module", autouse=True)
def _few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "QUICK_STEPS", 30)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("reproduce")
    (home / "bench.toml").write_text("")
    found = config.load(home / "bench.toml")
    return found.with_(cache=home / "cache", results=home / "results", device="cpu", effort="quick")


@pytest.fixture(scope="module")
def record(settings, toy):
    return run(Request("log_stft", "ks", str(toy), True), settings, Progress(quiet=True))


@pytest.fixture
def untrained(monkeypatch):
    """Training is an error."""
    monkeypatch.setattr(module, "run", lambda *_: pytest.fail("something was trained"))


def test_a_record_holds_when_its_plan_is_run_again_and_nothing_is_left_behind(record, settings, toy):
    before = sorted(settings.results.rglob("*"))
    again = reproduce(record, Wish(data=str(toy)), settings, Progress(quiet=True))
    assert told(record, again) | {"provenance": {}} == {
        "record": record.path.name,
        "holds": True,
        "scores": [
            {"score": name, "recorded": one["value"], "found": one["value"], "verdict": "equal"}
            for name, one in record.scores.items()
        ],
        "provenance": {},
    }
    assert sorted(settings.results.rglob("*")) == before


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"upstream": "mel"}, "another plan .*: upstream\n  other weights: --upstream SPEC"),
        ({"upstream": "hubert@/no/such/file"}, "cannot be run here: (?s:.*)--upstream SPEC"),
        ({"data": "/no/such/folder"}, "cannot be run here: "),
    ],
    ids=["other weights", "no weights", "no audio"],
)
def test_another_plan_is_refused_before_anything_is_trained(wish, said, record, settings, toy):
    with pytest.raises(RequestError, match=said):
        reproduce(record, Wish(**{"data": str(toy)} | wish), settings, Progress(quiet=True))


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("engine", "the engine computes otherwise: install the version"),
        ("folds", "other audio, labels or splits: --data"),
        ("recipes", "heads would be trained otherwise: install the version"),
    ],
)
def test_a_plan_of_another_engine_or_other_audio_is_refused(part, said, record, settings, toy):
    stated = record.facts["plan"]
    old = replace(record, facts=record.facts | {"plan": stated | {"facts": stated["facts"] | {part: 0}}})
    with pytest.raises(RequestError, match=f"{part}\n  {said}"):
        reproduce(old, Wish(data=str(toy)), settings, Progress(quiet=True))


def renamed(record, name, spec=None):
    return replace(
        record, facts=record.facts | {"upstream": record.facts["upstream"] | {"name": name, "spec": spec or name}}
    )


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("log_stft", "py:evil.py:Evil", "is of 'log_stft' and would run 'py:evil.py:Evil'"),
        ("py:/tmp/evil.py:Evil", None, "names a path of this machine"),
        ("hf:/tmp/model", None, "names a path of this machine"),
        ("hf:../model", None, "names a path of this machine"),
        ("hubert@../best.pt", None, "names a path of this machine"),
        ("py:evil.py:Evil", None, "code that would be run: (?s:.*)--run-code py:evil.py:Evil"),
        (" py:evil.py:Evil ", None, "names a path|code that would be run"),
        ("py:evil:Evil@best.pt~random", None, "code that would be run"),
        ("hear:evil", None, "code that would be run"),
        ("hear_alone:evil", None, "code that would be run"),
        ("anybodys:evil", None, "code that would be run"),
    ],
)
def test_a_record_cannot_have_code_or_files_of_this_machine_run(name, spec, said, record, settings, toy, monkeypatch):
    monkeypatch.setattr(module, "opened", lambda *_: pytest.fail("something was loaded"))
    with pytest.raises(RequestError, match=said):
        reproduce(renamed(record, name, spec), Wish(data=str(toy)), settings, Progress(quiet=True))


@pytest.mark.parametrize("name", ["hubert", "hubert@best.pt~random", "hf:org/model@main", "s3prl:fbank", "hear:mine"])
def test_what_a_record_says_is_asked_for_where_it_names_weights_or_trusted_code(name, record):
    assert module._request(renamed(record, name), Wish(run_code="hear:mine")).upstream == name


def test_the_encoder_that_the_user_names_is_the_users_own_choice(record):
    wish = Wish(upstream="py:/home/anna/mine.py:Mine")
    assert module._request(renamed(record, "py:mine.py:Mine"), wish).upstream == wish.upstream


def test_code_is_run_only_as_it_is_spelled_out(record):
    with pytest.raises(RequestError, match="code that would be run"):
        module._request(renamed(record, "hear:mine"), Wish(run_code="hear:other"))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (80.0, "equal"),
        (80.0004, "within 1e-5"),
        (80.5, "differs, inside the recorded interval"),
        (82.0, "differs"),
        (None, "missing"),
    ],
)
def test_a_score_holds_or_not(found, said):
    assert verdict(score(80.0, 79.0, 81.0), found) == said
    assert verdict(score(None), None) == "equal"


def test_what_differs_in_provenance_is_named(tmp_path):
    then = Record(tmp_path / "x-1.json", record_facts(versions={"torch": "2.0", "numpy": "2.4"}))
    now = Record(tmp_path / "x-2.json", record_facts(versions={"torch": "2.14.1"}, device="cuda", when="later"))
    assert provenance(then, now) == {
        "device": ("cpu", "cuda"),
        "version of torch": ("2.0", "2.14.1"),
        "version of numpy": ("2.4", None),
    }


def test_the_command_says_score_by_score_and_ends_with_1_if_one_does_not_hold(tmp_path, monkeypatch):
    record = records.write(tmp_path, record_facts(), [], {})
    for value, code, said in ((80.0, 0, "every score holds"), (70.0, 1, "not every score holds")):
        again = Record(tmp_path / "again-1.json", record_facts(accuracy=value, device="cuda"))
        monkeypatch.setattr(module, "reproduce", lambda *_, again=again: again)
        done = CliRunner().invoke(app, ["reproduce", str(record.path)])
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (code, said)
        assert "device: cpu then, cuda now" in done.stdout
        printed = json.loads(CliRunner().invoke(app, ["reproduce", str(record.path), "--json"]).stdout)
        assert (printed["holds"], printed["scores"][0]["found"]) == (code == 0, value)

"""A bundle that holds is told so, one that was tampered with is refused with the reason, whatever digests it has."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from forging import MANIFEST, forge, opened, zipped
from safetensors.numpy import save
from typer.testing import CliRunner

from earbench import bundle, config, declared, plan, state, submit, unpack, verify
from earbench import record as records
from earbench.cli import app
from earbench.errors import BenchError
from earbench.files import digest_of
from earbench.line import run
from earbench.plan import Request
from earbench.progress import Progress
from earbench.verify import OPEN, REFUSED, VERIFIED, Wish

SCORES = ["accuracy", "accuracy_knn", "accuracy_logistic"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("verify")
    (home / "bench.toml").write_text("")
    found = config.load(home / "bench.toml")
    return found.with_(cache=home / "cache", results=home / "results", device="cpu", effort="quick")


@pytest.fixture(scope="module")
def whole(settings, toy):
    """An honest bundle of one quick run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "QUICK_STEPS", 6)
        run(Request("log_stft", "ks", str(toy), True), settings, Progress(quiet=True))
    wish = submit.Wish("log_stft", (), settings.results.parent / "whole.zip", all_=True)
    submit.submit(wish, None, {"contact": "anna@example.org", "seen": ["fluent"]}, settings)
    return wish.out


@pytest.fixture
def looked(settings, toy, tmp_path):
    """The findings on a bundle, `[(verdict, check, detail)]`; with the corpus unless told."""

    def made(path, corpus=True, **wish):
        wish = Wish(str(toy) if corpus else None, **wish)
        said = verify.verify(path, wish, settings.with_(results=tmp_path / "kept"), Progress(quiet=True))
        found = [(one["verdict"], one["check"], one["detail"]) for one in said["findings"]]
        assert said["holds"] == all(verdict != REFUSED for verdict, _, _ in found)
        return found

    return made


def refusals(found):
    return [f"{check}: {detail}" for verdict, check, detail in found if verdict == REFUSED]


def open_checks(found):
    return [f"{check}: {detail}" for verdict, check, detail in found if verdict == OPEN]


def two_wrong(one):
    """Two rows of the chosen head with different answers, of which the first is wrong."""
    first = next(row for row in one.main() if not row["hit"])
    return first, next(row for row in one.main() if row["label"] not in (first["label"], first["prediction"]))


# ---- what holds ------------------------------------------------------------------------------------------------------


def test_an_honest_bundle_is_scored_again_from_predictions_and_the_corpus(whole, looked):
    found = looked(whole)
    assert refusals(found) == []
    assert (VERIFIED, f"{', '.join(SCORES)} from predictions and the corpus", "made again") in found
    assert open_checks(found) == ["counts are the published ones: the corpus is partial"]


def test_without_the_corpus_it_is_said_what_was_not_checked(whole, looked):
    found = looked(whole, corpus=False)
    assert refusals(found) == []
    (_, said) = open_checks(found)
    assert said.startswith("scores from predictions and the corpus: task 'ks' needs Google Speech Commands")
    assert (VERIFIED, "scores follow from rows", ", ".join(SCORES)) in found


def test_the_command_prints_findings_and_ends_with_1_if_anything_is_refused(whole, toy, tmp_path):
    holding = CliRunner().invoke(app, ["verify", str(whole), "--data", str(toy)])
    assert (holding.exit_code, holding.stdout.splitlines()[-1]) == (0, "holds, as far as it could be checked")
    worse = forge(whole, tmp_path / "worse.zip", lambda one: one.facts["scores"]["accuracy"].update(value=99.0))
    printed = CliRunner().invoke(app, ["verify", str(worse), "--json"])
    assert printed.exit_code == 1
    assert json.loads(printed.stdout)["holds"] is False
    assert CliRunner().invoke(app, ["verify", str(tmp_path / "none.zip")]).exit_code == 2


# ---- what was tampered with ------------------------------------------------------------------------------------------


def better_score(one):
    """With an interval and replicates that bear it out."""
    score = one.facts["scores"]["accuracy"]
    more = 95.0 - score["value"]
    one.replicates["accuracy"] += more
    score |= {"value": 95.0, "low": 90.0, "high": 100.0, "per_seed": [[95.0]]}


def other_column(one):
    one.replicates["accuracy_knn"][:] = 50.0
    one.facts["scores"]["accuracy_knn"] |= {"value": 50.0, "low": 40.0, "high": 60.0, "per_seed": [[50.0]]}


def better_count(one):
    """A hit that its own prediction does not bear out."""
    two_wrong(one)[0]["hit"] = 1.0
    one.fit()


def wrong_prediction(one):
    """One that is still counted as right."""
    right = next(row for row in one.main() if row["hit"])
    right["prediction"] = next(row["label"] for row in one.main() if row["label"] != right["label"])


def right_prediction(one):
    first, _ = two_wrong(one)
    first["prediction"] = first["label"]


def exchanged_predictions(one):
    first, other = two_wrong(one)
    first["prediction"], other["prediction"] = other["prediction"], first["prediction"]
    if first["prediction"] == other["prediction"]:
        first["prediction"] = other["label"]


def turned_direction(one):
    one.facts["scores"]["accuracy"]["better"] = "lower"


@pytest.mark.parametrize("corpus", [True, False], ids=["corpus", "no corpus"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (better_score, "scores follow from rows: accuracy: the record says [[95.0]], its rows count"),
        (other_column, "scores follow from rows: accuracy_knn: the record says"),
        (better_count, "scores follow from rows: main: '"),
        (wrong_prediction, "scores follow from rows: main: '"),
        (right_prediction, "hit is 0.0 in the rows, 1.0 made again"),
        (exchanged_predictions, "scores follow from rows: main: '"),
        (turned_direction, "scores follow from rows: accuracy: better are not those of the metric"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_score_or_prediction_that_was_changed_is_refused_with_or_without_the_corpus(
    change, said, corpus, whole, looked, tmp_path
):
    found = refusals(looked(forge(whole, tmp_path / "forged.zip", change), corpus))
    assert any(said in one for one in found), found


def missing_clip(one):
    gone = one.main()[0]["id"]
    one.rows = [row for row in one.rows if row["id"] != gone]


def extra_clip(one):
    added = {**one.main()[0], "id": "test/never/recorded.wav"}
    one.rows += [added, *({**added, "score_of": name} for name in SCORES[1:])]


def exchanged_ids(one):
    """All that is said of one clip said of the other, in all scores."""
    ids = [row["id"] for row in two_wrong(one)]
    turned = dict(zip(ids, reversed(ids), strict=True))
    groups = {row["id"]: row["groups"] for row in one.main()}
    for row in one.rows:
        row["id"] = turned.get(row["id"], row["id"])
        row["groups"] = groups[row["id"]]


def answers_made_to_fit(one):
    """Whatever was predicted is called right."""
    for row in one.rows:
        row |= {"label": row["prediction"], "hit": 1.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (missing_clip, "1 units of the test split are missing, 0 are not in it"),
        (extra_clip, "0 units of the test split are missing, 1 are not in it, for example test/never/recorded.wav"),
        (exchanged_ids, "made again"),
        (answers_made_to_fit, "made again"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_forgery_that_fits_together_is_refused_with_the_corpus_and_only_left_open_without(
    change, said, whole, looked, tmp_path
):
    def forged(one):
        change(one)
        one.fit()
        for name in SCORES[1:]:  # the forger has the rest go
            one.facts["scores"].pop(name)
            one.replicates.pop(name)
        one.rows = one.main()

    path = forge(whole, tmp_path / "forged.zip", forged)
    assert any(said in one for one in refusals(looked(path)))
    without = looked(path, corpus=False)
    assert refusals(without) == []
    assert any(one.startswith("scores from predictions and the corpus: ") for one in open_checks(without))


def test_replicates_that_do_not_come_from_the_rows_are_refused_with_the_corpus(whole, looked, tmp_path):
    def narrower(one):
        one.replicates["accuracy"] = np.full((1, 1000), one.facts["scores"]["accuracy"]["value"])

    path = forge(whole, tmp_path / "forged.zip", narrower)
    assert "its replicates are not those of its rows" in refusals(looked(path))[0]


# ---- records that are not what they say ------------------------------------------------------------------------------


def relabelled(one):
    one.facts["effort"] = "standard"
    one.facts["deviations"] = [one for one in one.facts["deviations"] if not one.startswith(("quick", "partial"))]


def unnamed_quick(one):
    one.facts["deviations"] = [one for one in one.facts["deviations"] if not one.startswith("quick")]


def other_plan(one):
    one.facts["plan"]["facts"]["seeds"] = 2
    one.facts["plan"]["id"] = digest_of(one.facts["plan"]["facts"])


def other_layers(one):
    """Of a run with other layers than the protocol's, whose plan says so, but no deviation."""
    one.facts["layers"]["choice"] = one.facts["plan"]["facts"]["layers"] = "last"
    one.facts["plan"]["id"] = digest_of(one.facts["plan"]["facts"])
    one.rename()


def other_encoder(one):
    one.manifest["upstream"]["name"] = "mine"


def other_head(one):
    (name,) = one.rest
    one.rest[name] = save({"linear.weight": np.zeros((2, 2), np.float32)})


def no_head(one):
    one.rest.clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (relabelled, "plan: the record states another effort than its plan"),
        (unnamed_quick, "plan: the deviation 'quick' is not stated"),
        (other_plan, "place and encoder: the record lies where another one belongs"),
        (other_encoder, "it is of log_stft, the bundle of mine"),
        (other_head, "has other weights"),
        (no_head, "is not in the bundle"),
        (other_layers, "layers: the task has 'mix', and no deviation says so"),
        (lambda one: one.facts.pop("cost"), "valid record: record: 'cost' is a required property"),
        (lambda one: one.facts["task"].update(name="../../../ks"), "valid record: task/name: "),
        (lambda one: one.facts["upstream"].update(digest="../../../x"), "valid record: upstream/digest: "),
        (lambda one: one.rows.insert(0, {}), "stopped with KeyError"),
    ],
)
def test_a_record_that_is_not_what_it_says_is_refused(change, said, whole, looked, tmp_path):
    found = refusals(looked(forge(whole, tmp_path / "forged.zip", change)))
    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.facts["upstream"].update(name="<script>alert(1)</script>"), "upstream/name holds HTML"),
        (lambda one: one.facts["upstream"].update(licence="MIT<img src=x>"), "upstream/licence holds HTML"),
        (lambda one: one.facts["notes"].append("a\x1b[31mb"), "notes holds line breaks, control characters"),
        (lambda one: one.rows[0].update(id="<b>"), "record holds HTML: '<b>'"),
        (
            lambda one: one.manifest["declared"].update(contact="<script>alert(1)</script>"),
            "declared/contact holds HTML",
        ),
        (lambda one: one.manifest["declared"].update(licence="</td>MIT"), "declared/licence holds HTML"),
        (lambda one: one.manifest["environment"].update({"<b>": "1"}), "environment, a name holds HTML"),
    ],
)
def test_html_in_any_text_is_refused(change, said, whole, looked, tmp_path):
    found = refusals(looked(forge(whole, tmp_path / "forged.zip", change)))
    assert any(said in one for one in found), found


# ---- hostile archives ------------------------------------------------------------------------------------------------


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(path):
    with pytest.raises(BenchError) as caught, bundle.opened(path):
        pass
    return str(caught.value)


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil", "records/../../evil", "C:\\evil"])
def test_a_path_that_leads_out_is_refused_and_nothing_is_written(name, whole, tmp_path):
    path = zipped(tmp_path / "b.zip", members(whole) | {name: b"evil"})
    assert "leads out of its folder" in refused(path)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        link = zipfile.ZipInfo("heads")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    assert "a link or worse" in refused(tmp_path / "b.zip")


def test_a_zip_bomb_is_refused_before_it_fills_the_disk(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "FLOOR", 1 << 16)
    path = zipped(tmp_path / "b.zip", members(whole) | {"records/bomb.json": bytes(1 << 24)})
    assert "it would fill more than" in refused(path)


@pytest.mark.parametrize("ending", [".gz", ".npz"])
def test_a_bomb_in_rows_or_replicates_is_refused(ending, whole, monkeypatch):
    monkeypatch.setattr(bundle, "LARGEST", bundle.LARGEST | {ending: 1 << 10})
    assert f"{ending} would fill more than 1,024 bytes" in refused(whole)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(whole, tmp_path):
    found = members(whole)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name in (*found, MANIFEST):
            archive.writestr(name, found[name])
    assert f"it holds '{MANIFEST}' twice" in refused(tmp_path / "b.zip")


def test_other_bytes_unlisted_and_missing_files_are_refused(whole, tmp_path):
    found = members(whole)
    name = next(name for name in found if name.endswith(".rows.jsonl.gz"))
    assert "not the file that the manifest lists" in refused(zipped(tmp_path / "a.zip", found | {name: b"other"}))
    assert "is not listed in its manifest" in refused(zipped(tmp_path / "b.zip", found | {"heads/more": b""}))
    rest = {key: value for key, value in found.items() if key != name}
    assert "is listed but not there" in refused(zipped(tmp_path / "c.zip", rest))


def test_a_listed_file_that_belongs_in_no_bundle_is_refused(whole, tmp_path):
    path = forge(whole, tmp_path / "b.zip", lambda one: one.rest.update({"setup.py": b"import os"}))
    assert "setup.py is neither a file of a record nor a head" in refused(path)


def test_a_bundle_without_a_whole_record_is_refused(whole, tmp_path):
    def headless(one):
        one.rest |= {one.names["replicates.npz"].replace("-1.", "-2."): b""}

    assert "-2.json is not in it" in refused(forge(whole, tmp_path / "a.zip", headless))
    manifest = opened(whole).manifest
    heads = {name: facts for name, facts in manifest["files"].items() if name.startswith("heads/")}
    found = {MANIFEST: json.dumps(manifest | {"files": heads}).encode()} | opened(whole).rest
    assert "no record is in it" in refused(zipped(tmp_path / "b.zip", found))


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"schema": 2}'])
def test_a_manifest_that_is_none_is_refused(manifest, whole, tmp_path):
    assert MANIFEST in refused(zipped(tmp_path / "b.zip", members(whole) | {MANIFEST: manifest}))


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"not a zip at all" * 99)
    assert "b.zip is refused: b.zip is damaged" in refused(tmp_path / "b.zip")


# ---- what is kept ----------------------------------------------------------------------------------------------------


def kept(tmp_path):
    return records.every(tmp_path / "kept")


def test_what_holds_is_kept_with_its_state_and_declaration(whole, looked, tmp_path):
    looked(whole, keep=True, by="the tests")
    (record,) = kept(tmp_path)
    assert record.facts == opened(whole).facts
    assert record.rows("accuracy_knn") == [row for row in opened(whole).rows if row.get("score_of") == "accuracy_knn"]
    assert state.of(record, SCORES) == "re-scored"
    assert state.read(record)["re-scored"]["by"] == "the tests"
    assert declared.of(record).contact == "anna@example.org"


def test_without_the_corpus_what_is_kept_stays_self_reported(whole, looked, tmp_path):
    looked(whole, corpus=False, keep=True)
    (record,) = kept(tmp_path)
    assert state.of(record, SCORES) == "self-reported"
    looked(whole, keep=True)
    (again,) = kept(tmp_path)
    assert again.path == record.path
    assert state.of(again, SCORES) == "re-scored"


def test_nothing_of_a_refused_bundle_is_kept(whole, looked, tmp_path):
    looked(forge(whole, tmp_path / "forged.zip", better_score), keep=True)
    assert kept(tmp_path) == []
    assert not (tmp_path / "kept").exists()


def test_a_record_never_takes_the_place_of_another_and_one_of_its_plan_with_other_scores_is_refused(
    whole, looked, tmp_path
):
    """A forgery that only the corpus finds out, after the honest one is there."""
    looked(whole, keep=True)
    before = {path: path.read_bytes() for path in Path(tmp_path / "kept").rglob("*.*") if path.is_file()}

    with pytest.raises(BenchError, match="two records of one plan differ"):
        looked(forge(whole, tmp_path / "forged.zip", all_right), corpus=False, keep=True)
    assert {path: path.read_bytes() for path in before} == before
    assert len(kept(tmp_path)) == 1


def test_another_declaration_does_not_replace_the_one_that_is_there(whole, looked, tmp_path):
    looked(whole, keep=True)
    other = forge(whole, tmp_path / "b.zip", lambda one: one.manifest["declared"].update(contact="ben@example.org"))
    with pytest.raises(BenchError, match="has another declaration, of anna"):
        looked(other, keep=True)


def copied(whole, out, change):
    """A bundle of the record and, as its second, a changed copy of it."""
    first, found = opened(whole), {}
    second = forge(whole, out.with_name("second.zip"), change)
    for path, number in ((whole, 1), (second, 2)):
        for name, data in members(path).items():
            found[name.replace("-1.", f"-{number}.")] = data
    found.pop(MANIFEST)
    listed = {name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in found.items()}
    return zipped(out, {MANIFEST: json.dumps(first.manifest | {"files": listed}).encode()} | found)


def all_right(one):
    answers_made_to_fit(one)
    one.fit()
    for name in SCORES[1:]:
        one.facts["scores"].pop(name)
        one.replicates.pop(name)
    one.rows = one.main()


def test_two_records_of_one_plan_in_one_bundle_are_held_against_each_other(whole, looked, tmp_path):
    with pytest.raises(BenchError, match="two records of one plan differ"):
        looked(copied(whole, tmp_path / "b.zip", all_right), corpus=False, keep=True)
    assert left(tmp_path / "kept") == []


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize("stopped", ["state", "declared"])
def test_nothing_is_left_of_a_bundle_that_could_not_be_kept_to_the_end(stopped, whole, looked, tmp_path, monkeypatch):
    def full(*_):
        raise BenchError("the disk is full")

    monkeypatch.setattr(getattr(verify, stopped), "write", full)
    with pytest.raises(BenchError, match="the disk is full"):
        looked(whole, keep=True)
    assert left(tmp_path / "kept") == []


def test_a_run_of_the_future_is_refused(whole, looked, tmp_path):
    later = forge(whole, tmp_path / "b.zip", lambda one: one.facts["provenance"].update(when="9999-12-31T00:00:00Z"))
    assert "has not been yet" in refusals(looked(later))[0]

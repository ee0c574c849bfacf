import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import CountingUpstream, ListedTask, thirds
from fitting import record_facts, score

from earbench import config, files, plan
from earbench import record as records
from earbench.contract import Clip, Recipe, Rows, Split
from earbench.errors import BenchError
from earbench.intervals import around, critical
from earbench.kit.columns import objects
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.line import run
from earbench.plan import Request
from earbench.progress import Progress
from earbench.record import every, plain_rows, problems_of, read, write

SECRET = "private-runs"


class Loudness(ListedTask):
    """Loud or soft? Made-up noise, every clip from a speaker of its own."""

    grid = (Recipe(lr=1e-2, batch=8, steps=30, every=10), Recipe(lr=1e-3, batch=8, steps=30, every=10))

    def recipes(self, effort, demo):
        return self.grid


def loudness(folder, count=75):
    """Clips in a folder that no record may name."""
    folder.mkdir(parents=True)
    random, clips = np.random.default_rng(0), []
    for number in range(count):
        loud = number // 3 % 2
        path = folder / f"{number}.wav"
        soundfile.write(path, random.normal(0, [0.02, 0.05][loud], 1_700), 16_000)
        clips.append(Clip(f"clip-{number}", path, ["no", "yes"][loud], f"speaker-{number}"))
    return thirds(tuple(clips))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / SECRET


@pytest.fixture(scope="module")
def line(home):
    """Runs on the loudness corpus, as `earbench.run` does them, with the given task."""
    fold = loudness(home / "audio")
    (home / "bench.toml").write_text("")
    base = config.load(home / "bench.toml").with_(cache=home / "cache", results=home / "results", device="cpu")

    def made(task=Loudness, again=False, spec=f"counting@{home}/best.pt", **changes):
        request = Request(spec, "ks", str(home / "audio"), partial=True, again=again)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan, "load_upstream", lambda _: CountingUpstream())
            patch.setattr(plan, "load_task", lambda _: task(fold))
            return run(request, base.with_(**changes), Progress(quiet=True))

    return made


@pytest.fixture(scope="module")
def record(line):
    return line()


def test_what_a_run_writes_is_a_valid_record(record):
    stored = read(record.path)
    assert list(problems_of(stored.facts)) == []
    assert stored.facts == record.facts
    assert record.facts["scores"]["accuracy"]["interval"] == "bootstrap, logit t"


def test_a_record_lies_under_its_encoder_task_and_plan(record, home):
    facts = record.facts
    folder = home / "results" / "records" / f"counting-best.pt-{facts['upstream']['digest'][:8]}" / "ks-v1"
    assert record.path == folder / f"{facts['plan']['id']}-1.json"


def test_no_local_path_is_in_a_record_its_rows_or_its_name(record, home):
    said = record.path.read_text() + json.dumps(record.rows()) + str(record.path.relative_to(home / "results"))
    places = [home, home.parent, Path.cwd(), *([Path.home()] if Path.home().name else [])]
    for local in (SECRET, *map(str, places)):
        assert local not in said
    assert record.facts["upstream"]["name"] == "counting@best.pt"


def test_rows_score_again_to_the_same_number(record):
    rows = record.rows()
    again = Rows(
        tuple(row["id"] for row in rows),
        tuple(tuple(row["groups"]) for row in rows),
        {"hit": np.array([row["prediction"] == row["label"] for row in rows], float)},
    )
    assert len(again) == 25
    assert ACCURACY.value(again, np.ones(25)) == record.scores["accuracy"]["value"]
    assert [row["hit"] for row in rows] == again.arrays["hit"].tolist()


def test_further_scores_have_rows_of_their_own(record):
    for name in ("accuracy_knn", "accuracy_logistic"):
        rows = record.rows(name)
        assert [row["id"] for row in rows] == [row["id"] for row in record.rows()]
        assert 100 * np.mean([row["hit"] for row in rows]) == pytest.approx(record.scores[name]["value"])


def test_replicates_give_the_interval_again(record):
    found = record.replicates()
    assert set(found) == set(record.scores)
    assert record.scores["accuracy"]["low"] is not None
    for name, stored in record.scores.items():
        assert found[name].dtype == np.float64
        if stored["low"] is None:
            assert np.ptp(found[name]) == 0
            continue
        error = found[name].std(ddof=1) * np.sqrt(stored["groups"] / (stored["groups"] - 1))
        limits = around(stored["value"], critical(stored["groups"] - 1) * error, (0, 100))[1:]
        assert (stored["low"], stored["high"]) == pytest.approx(limits)


def test_a_record_tells_the_whole_search(record):
    facts = record.facts
    assert [(one["recipe"], one["lr"]) for one in facts["search"]] == [(0, 1e-2), (1, 1e-3)]
    (recipe,) = facts["recipe"]
    best = max(facts["search"], key=lambda one: one["valid"])
    assert recipe["lr"] == best["lr"]
    ((weights,),) = facts["layers"]["weights"]
    assert sum(weights) == pytest.approx(1)
    assert facts["scores"]["accuracy"]["per_seed"] == [[facts["scores"]["accuracy"]["value"]]]
    assert facts["labels"][:2] == ["yes", "no"]


def test_a_finished_plan_is_answered_from_its_record_and_again_writes_the_next(line, record):
    before = record.path.read_bytes()
    assert line().path == record.path
    second = line(again=True)
    assert second.path.name == record.path.name.replace("-1.json", "-2.json")
    assert record.path.read_bytes() == before
    assert {**second.facts, "cost": 0, "provenance": 0} == {**record.facts, "cost": 0, "provenance": 0}
    assert line().path == second.path


def test_an_untrained_twin_says_so(line):
    upstream = line(spec="counting~random", again=True).facts["upstream"]
    assert upstream["name"] == "counting~random"
    assert upstream["pretraining"] == "none (random weights)"


def test_a_record_says_what_the_run_cost_and_where_it_ran(record):
    cost, provenance = record.facts["cost"], record.facts["provenance"]
    assert cost["audio_seconds"] == pytest.approx(75 * 1_700 / 16_000)
    assert cost["real_time_factor"] == pytest.approx(cost["extract_seconds"] / cost["audio_seconds"])
    assert (cost["clips"], cost["feature_rate"], cost["feature_bytes"]) == (75, 100, 75 * 2 * 3 * 4)
    assert cost["fit_seconds"] > 0
    assert provenance["device"] == "cpu"
    assert provenance["versions"]["torch"] == version("torch")
    assert provenance["when"].endswith("+00:00")


def test_several_seeds_are_listed_seed_by_seed(line):
    facts = line(seeds=3).facts
    values = [value for (value,) in facts["scores"]["accuracy"]["per_seed"]]
    assert len(values) == 3
    assert facts["scores"]["accuracy"]["value"] == pytest.approx(np.mean(values))
    assert facts["scores"]["accuracy"]["interval"] == "bootstrap, logit t"
    assert len(facts["layers"]["heads"]) == 3


def test_training_that_runs_away_is_null_in_the_record_not_a_crash(line):
    class Runaway(Loudness):
        select = "loss"
        grid = (Recipe(lr=1e30, batch=8, steps=3, every=1, optimiser="sgd"),)

    facts = json.loads(line(Runaway).path.read_text(), parse_constant=pytest.fail)
    assert facts["search"][0]["valid"] is None


def test_a_metric_without_a_value_is_null_in_the_record(line):
    class Undefined(Loudness):
        def __init__(self, *folds):
            super().__init__(*folds)
            metric = replace(ACCURACY, name="accuracy", value=lambda *_: float("nan"))
            self.card = replace(self.card, metrics=(metric,), version=2)

    stored = line(Undefined)
    facts = json.loads(stored.path.read_text(), parse_constant=pytest.fail)
    assert {facts["scores"]["accuracy"][key] for key in ("value", "low", "high")} == {None}
    assert facts["scores"]["accuracy"]["per_seed"] == [[None]]
    assert np.isnan(stored.replicates()["accuracy"]).all()


def test_a_train_split_of_one_class_ends_with_a_record_that_says_what_is_left_out(line):
    class OnlyYes(Loudness):
        grid = Loudness.grid[:1]

        def folds(self, root, upstream):
            (fold,) = self.listed
            return [replace(fold, train=Split(tuple(clip for clip in fold.train.clips if clip.label == "yes")))]

    stored = line(OnlyYes)
    assert list(stored.scores) == ["accuracy", "accuracy_knn"]
    why = "all train clips of fold 'main' are of one class: nothing to learn there, and no logistic regression"
    assert why in stored.facts["notes"]


def test_rows_without_a_value_are_null():
    arrays = {"score": np.array([0.5, np.nan]), "pair": np.array([[1.0, np.inf], [2.0, 3.0]])}
    found = list(plain_rows("main", 0, ("a", "b"), (("x",), ("y", "z")), arrays))
    assert found == [
        {"id": "a", "groups": ["x"], "fold": "main", "seed": 0, "score": 0.5, "pair": [1.0, None]},
        {"id": "b", "groups": ["y", "z"], "fold": "main", "seed": 0, "score": None, "pair": [2.0, 3.0]},
    ]


def test_single_precision_takes_as_many_decimals_as_it_needs():
    """What is read back is the same number, though 0.1 in single precision is not that of double precision."""
    likely = np.array([[0.1, 1 / 3, 1e-20, np.nan]], np.float32)
    (found,) = plain_rows("main", 0, ("a",), (("x",),), {"score": likely})
    assert str(found["score"]) == "[0.1, 0.33333334, 1e-20, None]"
    assert np.array_equal(np.array(found["score"][:3], np.float32), likely[0, :3])


# ---- writing and reading, on made-up records -------------------------------------------------------------------------


ROWS = [{"id": "a", "groups": ["ä|\n"], "hit": 1.0}]


def test_rows_of_objects_are_kept_as_they_are():
    """A list of events is no table of strings, even where every event has the same number of parts."""
    (found,) = plain_rows("main", 0, ("a",), (("x",),), {"prediction": objects([[("dog", 0.25, np.nan)]])})
    assert found["prediction"] == [["dog", 0.25, None]]


def test_what_is_written_is_read_again(tmp_path):
    facts = record_facts("naïve|upstream")
    written = records.write(tmp_path, facts, ROWS, {"accuracy": np.ones((1, 3))})
    (found,) = records.every(tmp_path)
    assert found.facts == facts
    assert found.rows() == ROWS
    assert found.replicates()["accuracy"].tolist() == [[1.0, 1.0, 1.0]]
    assert written.path == found.path


def test_a_second_record_of_a_plan_never_overwrites_the_first(tmp_path):
    one = records.write(tmp_path, record_facts(accuracy=70.0), ROWS, {})
    two = records.write(tmp_path, record_facts(accuracy=80.0), [], {})
    assert (one.number, two.number) == (1, 2)
    assert read(one.path).facts["scores"]["accuracy"]["value"] == 70.0
    assert one.rows() == ROWS
    assert [found.number for found in records.find(tmp_path, one.facts["plan"]["id"])] == [1, 2]


def test_the_tenth_record_is_newer_than_the_ninth(tmp_path):
    for _ in range(11):
        last = records.write(tmp_path, record_facts(), [], {})
    assert records.find(tmp_path, last.facts["plan"]["id"])[-1].number == last.number == 11


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_write_that_is_cut_off_leaves_no_record(moment, tmp_path, monkeypatch):
    whole, left = files.write, [moment]

    def failing(path, fill):
        left[0] -= 1
        if left[0] == 0:
            raise OSError("the disk went away")
        whole(path, fill)

    monkeypatch.setattr(files, "write", failing)
    with pytest.raises(OSError, match="the disk went away"):
        records.write(tmp_path, record_facts(), ROWS, {})
    assert records.every(tmp_path) == []
    assert records.find(tmp_path, record_facts()["plan"]["id"]) == []
    monkeypatch.setattr(files, "write", whole)
    assert records.write(tmp_path, record_facts(), ROWS, {}).rows() == ROWS


def test_two_names_for_one_plan_are_found_together(tmp_path):
    one, other = record_facts(), record_facts("other name")
    other["plan"]["id"] = one["plan"]["id"]
    assert [records.write(tmp_path, facts, [], {}).number for facts in (one, other)] == [1, 2]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', "\x00"])
def test_a_file_that_is_not_a_record_is_named(text, tmp_path):
    path = tmp_path / "x-1.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"x-1\.json is not a record"):
        read(path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused_where_a_record_is_read(number, tmp_path):
    path = tmp_path / "x-1.json"
    path.write_text(json.dumps(record_facts()).replace("16000", number))
    with pytest.raises(BenchError, match=rf"{number} is no number that JSON has"):
        read(path)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"accuracy": score(80.0, 81.0, 82.0)}, "80.0 is outside its own interval"),
        ({"accuracy": score(80.0, 82.0, 81.0)}, "80.0 is outside its own interval"),
        ({"accuracy": score(140.0, 139.0, 141.0)}, "impossible: the metric lies between 0 and 100"),
        ({"accuracy": score(-1.0)}, "impossible: the metric lies between 0 and 100"),
        ({"accuracy": score(99.0, 98.0, 101.0)}, "impossible: the metric lies between 0 and 100"),
        ({"accuracy": score(float("nan"), 1.0, 2.0)}, "nan is outside its own interval"),
        ({"accuracy": {**score(1.0), "value": "1"}}, "scores/accuracy/value: '1' is not of type"),
        ({"accuracy": {**score(1.0), "groups": 0}}, "scores/accuracy/groups: 0 is less than the minimum of 1"),
        ({}, "scores: {} should be non-empty"),
    ],
)
def test_impossible_scores_are_problems(scores, said, tmp_path):
    facts = record_facts(scores=scores)
    assert any(said in problem for problem in problems_of(facts)), list(problems_of(facts))
    with pytest.raises(BenchError, match="the record would not be valid"):
        records.write(tmp_path, facts, [], {})
    assert records.every(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.pop("cost"), "record: 'cost' is a required property"),
        (lambda facts: facts.update(extra=1), "record: Additional properties are not allowed"),
        (lambda facts: facts["plan"].update(id="../../x"), "plan/id: '../../x' does not match"),
        (lambda facts: facts.update(effort="hard"), "effort: 'hard' is not one of"),
        (lambda facts: facts["upstream"].update(source={"path": 1}), "upstream/source/path: 1 is not of type"),
        (lambda facts: facts["upstream"].update(parameters=10**400), "is greater than the maximum"),
        (lambda facts: facts["upstream"].update(parameters=1e3), "upstream/parameters: 1000.0 is not of type"),
        (lambda facts: facts["upstream"].update(licence="A" * 501), "is too long"),
        (lambda facts: facts["upstream"].update(digest="0" * 16 + "\n"), "is too long"),
        (lambda facts: facts["upstream"].update(hop=float("inf")), "inf is greater than the maximum"),
        (lambda facts: facts["cost"].update(real_time_factor=-1.0), "is less than the minimum"),
        (lambda facts: facts["cost"].update(fit_seconds="x"), "cost/fit_seconds: 'x' is not of type"),
        (lambda facts: facts["cost"].update(real_time_factor=1e308), "is greater than the maximum"),
        (lambda facts: facts["provenance"].pop("when"), "provenance: 'when' is a required property"),
        (lambda facts: facts["provenance"].update(when="yesterday"), "'yesterday' does not match"),
        (lambda facts: facts["provenance"].update(when="2026-13-01T00:00:00Z"), "provenance/when: month must be"),
        (lambda facts: facts["provenance"].update(versions=[]), "provenance/versions: [] is not of type"),
        (lambda facts: facts["layers"].update(weights=[[["x"]]]), "layers/weights/0/0/0: 'x' is not of type"),
        (lambda facts: facts["layers"].update(weights=[[[0.0, 0.0]]]), "the shares of all layers are 1 together"),
        (lambda facts: facts["layers"].update(weights=[[[1.0], [0.5, 0.5]]]), "every head has as many"),
        (lambda facts: facts["layers"].update(each=[{"layer": "a", "scores": {}}]), "'a' is not of type"),
        (lambda facts: facts["layers"].update(heads=["../../x"]), "layers/heads/0: '../../x' does not match"),
        (lambda facts: facts["scores"]["accuracy"].update(per_seed=[[80.0], [1.0, 2.0]]), "different numbers of folds"),
        (lambda facts: facts["deviations"].append("x\n# A heading"), "deviations holds line breaks"),
        (lambda facts: facts["upstream"].update(family="a\u202eb"), "upstream/family holds line breaks"),
        (lambda facts: facts["upstream"].update(family="a" + "\u0301" * 99), "holds a heap of combining marks"),
        (lambda facts: facts["upstream"].update(name="fbank "), "'fbank ' is not how it is spelled, 'fbank'"),
        (lambda facts: facts["upstream"].update(name="\ufb01lter"), "is not how it is spelled, 'filter'"),
    ],
)
def test_what_does_not_fit_the_schema_is_a_problem(change, said):
    facts = record_facts()
    assert list(problems_of(facts)) == []
    change(facts)
    assert any(said in problem for problem in problems_of(facts)), list(problems_of(facts))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("hubert", "hubert"),
        ("hf:org/model@main~random", "hf-org-model-main-random"),
        ("../../etc", "etc"),
        ("a  b\n|c", "a-b-c"),
        ("日本", "upstream"),
    ],
)
def test_a_slug_is_fit_for_a_folder(name, folder):
    assert records.slug(name) == folder


def test_two_processes_with_caches_of_their_own_write_two_records(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: write(tmp_path, record_facts(), [], {}), range(8)))
    assert sorted(record.number for record in made) == list(range(1, 9))
    assert len(every(tmp_path)) == 8

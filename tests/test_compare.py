import json

import numpy as np
import pytest
from fitting import record_facts, score
from scipy import stats
from typer.testing import CliRunner

from earbench import record as records
from earbench.cli import app
from earbench.compare import Comparison, compare, corrected, verdict
from earbench.contract import Rows
from earbench.errors import RequestError
from earbench.intervals import sample
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.record import Record

SPEAKERS, EACH = 30, 4


def heard(share, *names, speakers=SPEAKERS):
    """Hits of an encoder that is right in `share` of the clips of each of `speakers`."""
    hits = generator("test compare", *names).uniform(size=speakers * EACH) < share
    groups = tuple((f"p{number // EACH}",) for number in range(speakers * EACH))
    return Rows(tuple(map(str, range(len(hits)))), groups, {"hit": hits.astype(float)})


@pytest.fixture
def stored(tmp_path):
    """Writes a record of an encoder with these hits per task, its replicates made as a run makes them."""

    def write(upstream, task="ks", folds="0" * 16, **hits):
        tested = [sample(ACCURACY, rows, task, 1, folds) for rows in hits.values()]
        values = [one.value for one in tested]
        facts = record_facts(upstream, task)
        facts["task"]["tested"] = folds
        facts["scores"] = {"accuracy": score(float(np.mean(values)), 0.0, 100.0)}
        facts["scores"]["accuracy"] |= {"groups": tested[0].groups, "per_seed": [[value] for value in values]}
        replicates = {"accuracy": np.stack([one.replicates for one in tested])}
        return records.write(tmp_path, facts, [], replicates)

    return write


def test_a_clear_winner_is_named_and_noise_is_not(stored, tmp_path):
    stored("good", a=heard(0.9, 1))
    stored("bad", a=heard(0.4, 2))
    stored("like_bad", a=heard(0.4, 3))
    every = records.every(tmp_path)
    (clear,), (unclear,) = compare("good", "bad", every), compare("bad", "like_bad", every)
    assert verdict(clear, "good", "bad") == "good is better"
    assert clear.low > 30
    assert verdict(unclear, "bad", "like_bad") == "not separated"


def test_the_order_of_the_two_only_turns_the_sign(stored, tmp_path):
    stored("good", a=heard(0.9, 1))
    stored("bad", a=heard(0.4, 2))
    (one,), (other,) = (compare(*names, records.every(tmp_path)) for names in (("good", "bad"), ("bad", "good")))
    assert (one.difference, one.low, one.p) == (-other.difference, -other.high, other.p)
    assert verdict(one, "good", "bad") == verdict(other, "bad", "good")


def test_tasks_come_in_the_order_of_their_names_whichever_ended_first(stored, tmp_path):
    for task in ("pitch", "ks", "asr"):
        for name in ("one", "two"):
            path = stored(name, task, a=heard(0.7, name)).path
            facts = json.loads(path.read_text())
            facts["provenance"]["when"] = {"pitch": "2026-01-01", "ks": "2026-01-03", "asr": "2026-01-02"}[task]
            path.write_text(json.dumps(facts))
    assert [one.task for one in compare("one", "two", records.every(tmp_path))] == ["asr", "ks", "pitch"]


def test_the_test_is_a_paired_t_test_over_speakers(stored, tmp_path):
    """Expected: scipy's paired t test of the speakers' accuracies, which all have as many clips."""
    ours, theirs = heard(0.7, 1), heard(0.6, 2)
    stored("one", a=ours)
    stored("two", a=theirs)
    (found,) = compare("one", "two", records.every(tmp_path))
    by_speaker = [rows.arrays["hit"].reshape(SPEAKERS, EACH).mean(1) for rows in (ours, theirs)]
    expected = stats.ttest_rel(*by_speaker)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert [found.low, found.high] == pytest.approx(100 * np.array(expected.confidence_interval()), abs=0.7)


def test_an_encoder_does_not_differ_from_itself(stored, tmp_path):
    stored("one", a=heard(0.7, 1))
    stored("two", a=heard(0.7, 1))
    (found,) = compare("one", "two", records.every(tmp_path))
    assert (found.difference, found.p) == (0.0, 1.0)


def test_seeds_that_disagree_make_the_test_careful(stored, tmp_path):
    stored("bad", a=heard(0.55, 2))
    stored("steady", a=heard(0.7, 1), b=heard(0.7, 1))
    stored("unsteady", a=heard(0.95, 3), b=heard(0.45, 4))
    every = records.every(tmp_path)
    (steady,), (unsteady,) = compare("steady", "bad", every), compare("unsteady", "bad", every)
    assert unsteady.high - unsteady.low > 2 * (steady.high - steady.low)


def test_below_five_groups_there_is_no_verdict(stored, tmp_path):
    stored("one", a=heard(1.0, 1, speakers=4))
    stored("two", a=heard(0.0, 2, speakers=4))
    (found,) = compare("one", "two", records.every(tmp_path))
    assert (found.p, found.low) == (None, None)
    assert verdict(found, "one", "two") == "too few groups (4) to tell"


def test_different_test_lists_are_refused(stored, tmp_path):
    stored("one", a=heard(0.7, 1))
    stored("two", folds="1" * 16, a=heard(0.7, 2))
    with pytest.raises(RequestError, match="different lists of 'ks'"):
        compare("one", "two", records.every(tmp_path))


def test_holm_multiplies_and_never_falls():
    """Expected: worked by hand, 3 x 0.01, 2 x 0.04, then no less than that."""
    made = [Comparison("ks", "accuracy", "%", 1, 0, 1, 0, 2, p, 1, 30) for p in (0.04, 0.01, 0.05, None)]
    assert [one.p for one in corrected(made)] == [pytest.approx(0.08), pytest.approx(0.03), pytest.approx(0.08), None]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("one", "nobody"), "no record of 'nobody'\n  there is: one, two"),
        (("one", "two"), "no task in common\n  one has: ks\n  two has: asr"),
    ],
)
def test_what_cannot_be_compared_is_refused(names, said, stored, tmp_path):
    stored("one", a=heard(0.7, 1))
    stored("two", "asr", a=heard(0.7, 1))
    with pytest.raises(RequestError, match=said):
        compare(*names, records.every(tmp_path))


def test_of_two_encoders_with_one_name_each_can_be_asked_for(stored):
    one, other = stored("one", a=heard(0.7, 1)), stored("two", a=heard(0.6, 1))
    taken = {**other.facts, "upstream": {**other.facts["upstream"], "name": "one"}}
    found = [one, Record(other.path, taken)]
    ours, theirs = (f"one#{record.facts['upstream']['digest'][:8]}" for record in found)
    with pytest.raises(RequestError, match=f"'one' stands for 2 different encoders\n  ask for '.*{ours[-8:]}"):
        compare("one", theirs, found)
    assert len(compare(ours, theirs, found)) == 1
    assert len(compare(ours, other.path.parent.parent.name, found)) == 1


def test_records_that_do_not_count_are_refused_with_what_keeps_them_out(stored, tmp_path):
    stored("one", a=heard(0.7, 1))
    partial = stored("two", a=heard(0.7, 1))
    partial.facts["deviations"].append("partial: the corpus differs from its published counts")
    with pytest.raises(RequestError, match=r"'two' that could be compared: 1 records, none on a board: partial \(1\)"):
        compare("one", "two", [*records.every(tmp_path)[:1], partial])


def test_the_command_prints_the_verdict(stored, tmp_path):
    stored("good", a=heard(0.9, 1))
    stored("bad", a=heard(0.4, 2))
    said = CliRunner().invoke(app, ["compare", "good", "bad", "--results", str(tmp_path)])
    assert said.exit_code == 0
    assert "good is better" in said.stdout

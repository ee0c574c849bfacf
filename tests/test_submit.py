"""What a bundle is made of, and what cannot be packed is said before anything is written."""

import json
import zipfile

import pytest
from fitting import record_facts, score
from typer.testing import CliRunner

from earbench import bundle, files, submit
from earbench import record as records
from earbench.cli import app
from earbench.declared import Declared
from earbench.errors import RequestError

SAID = {"contact": "anna@example.org"}
HEAD = "0123456789abcdef"


@pytest.fixture
def stored(settings):
    """Write a record of `ks` unless told otherwise; its head lies in the cache."""

    def made(upstream="mine", task="ks", heads=(HEAD,), digest=None, **changes):
        for one in heads:
            files.write_text(settings.cache / "heads" / f"{one}.safetensors", f"head {one}")
        facts = record_facts(upstream, task, **{"layers": {"choice": "mix", "heads": list(heads)}} | changes)
        facts["upstream"] |= {"digest": digest} if digest else {}
        rows = [{"id": "a", "groups": ["anna"], "fold": "main", "seed": 0, "hit": 1.0}]
        return records.write(settings.results, facts, rows, {})

    return made


@pytest.fixture
def packed(settings, tmp_path):
    def made(upstream="mine", *tasks, out="b.zip", file=None, said=SAID, all_=False):
        return submit.submit(submit.Wish(upstream, tasks, tmp_path / out, all_), file, said, settings)

    return made


def names(path):
    with zipfile.ZipFile(path) as archive:
        return [name.rpartition("/")[2] for name in archive.namelist()]


def test_a_bundle_holds_records_rows_replicates_heads_versions_and_what_was_declared(stored, packed, tmp_path):
    first, second = stored(), stored(task="asr", heads=("f" * 16,))
    packed()
    with bundle.opened(tmp_path / "b.zip") as found:
        assert {path.read_bytes() for path in found.records()} == {one.path.read_bytes() for one in (first, second)}
        assert records.read(found.records()[0]).rows() == first.rows()
        assert found.head(HEAD).read_text() == f"head {HEAD}"
        assert found.said == Declared("anna@example.org", "MIT")
        assert found.upstream == {"name": "mine", "digest": first.facts["upstream"]["digest"]}
        assert {"python", "torch", "earbench"} <= {*found.environment}
    assert names(tmp_path / "b.zip")[0] == "manifest.json"


def test_an_encoder_of_a_file_whose_folder_has_dots_in_its_name_is_packed_whole(stored, packed, tmp_path):
    written = stored("pebble@pebble.v2.safetensors")
    packed("pebble@pebble.v2.safetensors")
    with bundle.opened(tmp_path / "b.zip") as found:
        assert [path.read_bytes() for path in found.records()] == [written.path.read_bytes()]


def test_the_same_records_give_the_same_bytes(stored, packed, tmp_path):
    stored(), stored(task="asr")
    packed(out="one.zip"), packed(out="other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_of_several_records_of_a_plan_the_newest_is_packed(stored, packed):
    stored()
    newest = stored(when="2026-12-24T12:00:00+00:00")
    assert [one["record"] for one in packed()["records"]] == [newest.path.name]


def test_only_the_tasks_that_are_asked_for_are_packed(stored, packed):
    stored(), stored(task="asr")
    assert [one["task"] for one in packed("mine", "asr")["records"]] == ["asr"]
    with pytest.raises(RequestError, match="'mine' has no record of pr, sd"):
        packed("mine", "asr", "pr", "sd")


def test_an_encoder_without_records_is_told_which_there_are(stored, packed, tmp_path):
    with pytest.raises(RequestError, match=r"no records of 'mine'(?s:.*)`bench run` makes them"):
        packed()
    stored("other")
    with pytest.raises(RequestError, match=r"no records of 'mine'(?s:.*)there are of: other"):
        packed()
    assert not (tmp_path / "b.zip").exists()


def test_two_encoders_of_one_name_are_told_apart_by_their_folders(stored, packed):
    stored(), stored(task="asr", digest="e" * 16)
    with pytest.raises(RequestError, match=r"2 different encoders are called 'mine': mine-(?s:.*)mine-eeeeeeee"):
        packed()
    assert [one["task"] for one in packed("mine-eeeeeeee")["records"]] == ["asr"]


@pytest.mark.parametrize(
    "deviation", ["quick: a smoke run", "partial: not whole", "layers-each: the protocol uses mix"]
)
def test_what_no_board_shows_is_packed_only_when_asked_for(deviation, stored, packed):
    stored(deviations=[deviation])
    with pytest.raises(RequestError, match=f"no board shows these records(?s:.*){deviation.split(':')[0]}(?s:.*)--all"):
        packed()
    assert packed(all_=True)["records"][0]["kept off boards"] == deviation.split(":")[0]


def test_what_no_board_shows_is_left_out_beside_what_one_does(stored, packed):
    stored(), stored(task="asr", deviations=["quick: a smoke run"])
    assert [one["task"] for one in packed()["records"]] == ["ks"]
    with pytest.raises(RequestError, match="no board shows these records"):
        packed("mine", "ks", "asr")


def test_a_head_that_is_gone_is_told_with_what_makes_it_again(stored, packed, settings, tmp_path):
    stored()
    (settings.cache / "heads" / f"{HEAD}.safetensors").unlink()
    with pytest.raises(
        RequestError, match=f"1 of 1 heads of ks(?s:.*){HEAD}(?s:.*)--task ks --again(?s:.*)--cache DIR"
    ):
        packed()
    assert not (tmp_path / "b.zip").exists()


def test_a_declaration_may_be_a_file_but_says_everything_once(stored, packed, tmp_path):
    stored()
    file = tmp_path / "declared.toml"
    file.write_text('contact = "anna@example.org"\nlicence = "CC BY 4.0"\nnot_seen = ["speech_commands_v1"]\n')
    assert packed(file=file, said={})["records"][0]["seen"] == "not seen"
    with bundle.opened(tmp_path / "b.zip") as found:
        assert found.said == Declared("anna@example.org", "CC BY 4.0", (), ("speech_commands_v1",))
    with pytest.raises(RequestError, match="contact are both in"):
        packed(file=file)


def test_nobody_to_ask_is_an_error(stored, packed):
    stored()
    with pytest.raises(RequestError, match="--contact"):
        packed(said={})


def test_the_command_says_what_was_packed_and_what_boards_will_call_unknown(stored, settings, tmp_path):
    stored(), stored("mine", "asr", scores={"wer": score(9.0)}, corpus="librispeech")
    places = ["--results", str(settings.results), "--cache", str(settings.cache), "--out", str(tmp_path / "c.zip")]
    words = ["submit", "mine", "--contact", "anna@example.org", "--seen", "librispeech", "--seen", "fluent", *places]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "2 records, 1 heads" in said.stdout
    assert "boards will say 'unknown' of speech_commands_v1: --seen or --not-seen" in said.stdout
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [(one["corpus"], one["seen"]) for one in printed["records"]] == [
        ("librispeech", "seen"),
        ("speech_commands_v1", "unknown"),
    ]


def test_a_declared_corpus_that_nobody_has_is_refused(stored, packed, tmp_path):
    stored()
    with pytest.raises(RequestError, match="no corpus is called 'librispech'\n  did you mean: librispeech"):
        packed(said=SAID | {"seen": ["librispech"]})
    assert not (tmp_path / "b.zip").exists()
    packed(said=SAID | {"seen": ["quesst14", "demo"], "not_seen": ["hear_gunshot"]})

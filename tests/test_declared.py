"""Whether an encoder heard a task's corpus before: seen, not seen, and whatever nobody knows is unknown."""

import json

import pytest
from fitting import record_facts

from earbench import declared
from earbench import record as records
from earbench.boards import board
from earbench.config import BoardPlan
from earbench.declared import NOT_SEEN, SEEN, UNKNOWN, Declared, seen
from earbench.errors import BenchError, RequestError
from earbench.plan import load_upstream
from earbench.record import Record
from earbench.report import comma_separated, heard, markdown, plain


def record(tmp_path, corpus="librispeech", card=None, task="asr", demo=False):
    facts = record_facts("mine", task, corpus=corpus, demo=demo)
    facts["upstream"]["pretraining_corpora"] = card
    return Record(tmp_path / "mine" / "asr-v1" / "x-1.json", facts)


@pytest.mark.parametrize(
    ("corpus", "card", "expected"),
    [
        ("librispeech", None, UNKNOWN),
        ("librispeech", [], NOT_SEEN),
        ("librispeech", ["librispeech"], SEEN),
        ("libri2mix", ["librispeech"], SEEN),
        ("librispeech", ["libri2mix"], SEEN),
        ("voxceleb1", ["librispeech"], NOT_SEEN),
        ("librispeech", ["librilight"], UNKNOWN),
        ("libri2mix", ["librilight"], UNKNOWN),
        ("voxceleb1", ["librispeech", "what nobody knows"], UNKNOWN),
        ("what nobody knows", ["librispeech"], UNKNOWN),
        ("what nobody knows", [], NOT_SEEN),
        ("speech_commands_v1", ["speech_commands_v2"], SEEN),
    ],
)
def test_what_the_card_says_decides_as_far_as_the_corpora_are_known(corpus, card, expected, tmp_path):
    assert seen(record(tmp_path, corpus, card)) == expected


@pytest.mark.parametrize(
    ("said", "card", "expected"),
    [
        (Declared("a", "b", seen=("librispeech",)), None, SEEN),
        (Declared("a", "b", not_seen=("libri2mix",)), None, NOT_SEEN),
        (Declared("a", "b", not_seen=("librispeech",)), None, NOT_SEEN),
        (Declared("a", "b", not_seen=("libri2mix", "librispeech")), ["librispeech"], SEEN),
        (Declared("a", "b", not_seen=("voxceleb1",)), None, UNKNOWN),
        (Declared("a", "b"), ["voxceleb1"], NOT_SEEN),
    ],
)
def test_a_declaration_adds_to_the_card_and_unsays_nothing(said, card, expected, tmp_path):
    assert seen(record(tmp_path, "libri2mix", card), said) == expected


def test_a_task_folder_of_hear_is_a_corpus_of_its_own_and_the_demo_is_one(tmp_path):
    assert seen(record(tmp_path, "hear", ["librispeech"], "hear_libricount")) == SEEN
    assert seen(record(tmp_path, "hear", ["librispeech"], "hear_esc50")) == NOT_SEEN
    assert seen(record(tmp_path, "hear", ["fsd50k"], "hear_esc50")) == UNKNOWN
    assert seen(record(tmp_path, "librispeech", ["librispeech"], demo=True)) == NOT_SEEN
    assert seen(record(tmp_path, "librispeech", ["demo"], demo=True)) == SEEN


def test_a_declaration_lies_beside_the_records_of_its_encoder(tmp_path):
    said = Declared("anna@example.org", "MIT", ("fluent",), ("librispeech",))
    declared.write(tmp_path / "mine", said)
    assert declared.of(record(tmp_path)) == said
    assert seen(record(tmp_path)) == NOT_SEEN
    (tmp_path / "mine" / declared.FILE).write_text("[]")
    with pytest.raises(BenchError, match="not a declaration"):
        declared.of(record(tmp_path))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"contact": "anna@example.org"}, "'licence' is a required property"),
        ({"contact": "a", "licence": "MIT"}, "contact: 'a' is too short"),
        ({"contact": "anna", "licence": "MIT", "seen": ["a b"]}, "seen/0: 'a b' does not match"),
        ({"contact": "anna", "licence": "MIT", "heard": []}, "'heard' was unexpected"),
        ({"contact": "anna", "licence": "<b>MIT</b>"}, "licence holds HTML"),
        ({"contact": "anna", "licence": "MIT", "seen": ["a", "b"], "not_seen": ["b"]}, "b cannot be both"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(facts, said):
    with pytest.raises(RequestError) as caught:
        declared.declared(facts, "here")
    assert said in str(caught.value)


def test_boards_show_three_states_and_unknown_is_not_taken_for_clean(tmp_path):
    plan = BoardPlan("two", "Two", ("asr", "sid", "er"))
    for task, corpus in (("asr", "librispeech"), ("sid", "voxceleb1"), ("er", "elsewhere")):
        facts = record_facts("mine", task, corpus=corpus)
        facts["upstream"]["pretraining_corpora"] = ["librispeech"]
        records.write(tmp_path, facts, [], {})
    made = board(plan, records.every(tmp_path))
    assert plain(made)["rows"][0]["seen"] == {"asr": "seen", "sid": "not seen", "er": "unknown"}
    assert heard(made.rows[0]) == "seen: asr; unknown: er; not seen: sid"
    for text in (markdown(made), comma_separated(made)):
        assert "seen: asr; unknown: er; not seen: sid" in text
    assert heard(board(BoardPlan("one", "One", ("er",)), records.every(tmp_path)).rows[0]) == "unknown"


def test_only_corpora_that_are_known_to_the_tables_are_named_by_our_own_cards():
    known = {*declared.ORIGINS, *declared.MADE_OF}
    cards = [load_upstream(name).card for name in ("cpc", "fbank")]
    cards += [load_upstream(f"{name}~random").card for name in ("cpc2",)]
    assert all({*(card.corpora or ())} <= known for card in cards)
    assert [card.corpora for card in cards] == [("asterisk_prompts", "demo"), None, None]


def test_an_old_record_that_names_no_corpora_is_unknown(tmp_path):
    facts = record_facts("mine", "asr", corpus="librispeech")
    assert seen(Record(tmp_path / "m" / "t" / "x-1.json", json.loads(json.dumps(facts)))) == UNKNOWN

"""What a pull request may bring into a results folder, and what it may not, whatever it is called."""

import gzip
import json
import shutil

import numpy as np
import pytest
from scored import hits, store
from typer.testing import CliRunner

from earbench import additions, state
from earbench import record as records
from earbench.cli import app
from earbench.errors import RequestError

GROUPS = 25


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A results folder with a record, a declaration and a board, and the same with a second record."""
    home = tmp_path_factory.mktemp("additions")
    first = store(home / "base", "known", folds=[hits([0.5] * GROUPS)])
    (home / "base/README.md").write_text("# Results\n")
    (home / "base/boards").mkdir()
    (home / "base/boards/superb.md").write_text("one row\n")
    (first.path.parent.parent / "declared.json").write_text("{}")
    state.write(first, "re-scored", ["accuracy"], None)
    shutil.copytree(home / "base", home / "sent")
    store(home / "sent", "new", folds=[hits([0.6] * GROUPS)])
    return home


@pytest.fixture
def base(made):
    return made / "base"


@pytest.fixture
def sent(made, tmp_path):
    return shutil.copytree(made / "sent", tmp_path / "sent", symlinks=True)


def problems(sent, base):
    return [f"{one.name}: {one.detail}" for one in additions.run(sent, base) if not one.ok]


def one_of(sent, name, ending="-1.json"):
    (path,) = (sent / "records").glob(f"{name}-*/*/*{ending}")
    return path


def test_a_new_record_a_bundle_and_other_boards_are_welcome(sent, base):
    (sent / "submissions").mkdir()
    (sent / "submissions/pebble.zip").write_bytes(b"")
    (sent / "boards/superb.md").write_text("two rows\n")
    (sent / "boards/demo.csv").write_text("")
    found = additions.run(sent, base)
    assert all(one.ok for one in found), found
    assert found[-1].name == one_of(sent, "new").relative_to(sent).as_posix()


def hidden(sent):
    one_of(sent, "new").parent.parent.rename(sent / "records/.x")


def spaced(sent):
    path = one_of(sent, "new")
    path.rename(path.with_name(f"{path.stem} .json"))


def other_replicates(sent):
    np.savez(one_of(sent, "known", ".replicates.npz"), accuracy=np.ones((1, 1000)))


def other_rows(sent):
    one_of(sent, "known", ".rows.jsonl.gz").write_bytes(gzip.compress(b"garbage"))


def other_facts(sent):
    path = one_of(sent, "known")
    path.write_text(path.read_text("utf-8").replace("MIT", "CC0"), "utf-8")


def gone(sent):
    shutil.rmtree(one_of(sent, "known").parent)


def other_page(sent):
    (sent / "README.md").write_text("# mine\n")


def own_state(sent):
    state.write(records.read(one_of(sent, "new")), "reproduced", ["accuracy"], "the maintainers")


def other_state(sent):
    state.write(records.read(one_of(sent, "known")), "reproduced", ["accuracy"], "the maintainers")


def declaration(sent):
    (one_of(sent, "new").parent.parent / "declared.json").write_text("{}")


def other_declaration(sent):
    (one_of(sent, "known").parent.parent / "declared.json").write_text('{"seen": []}')


def page(sent):
    (sent / "boards/evil.html").write_text("<script>")


def hidden_bundle(sent):
    (sent / "submissions").mkdir()
    (sent / "submissions/.x.zip").write_bytes(b"")


def no_rows(sent):
    one_of(sent, "new", ".rows.jsonl.gz").unlink()


def rows_alone(sent):
    one_of(sent, "new").unlink()


def of_another(sent):
    path = one_of(sent, "new")
    path.parent.rename(one_of(sent, "known").parent.with_name("ks-v2"))


def other_name(sent):
    change(sent, lambda facts: facts["plan"].update(id="0" * 16))


def other_spec(sent):
    change(sent, lambda facts: facts["upstream"].update(spec="py:/tmp/evil.py:Evil"))


def tag(sent):
    change(sent, lambda facts: facts["deviations"].append("<script>"))


def no_json(sent):
    one_of(sent, "new").write_text("[" * 100_000)


def change(sent, how):
    path = one_of(sent, "new")
    facts = json.loads(path.read_text("utf-8"))
    how(facts)
    path.write_text(json.dumps(facts), "utf-8")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (hidden, "by what it says its place is records/new-"),
        (spaced, "-1 .json is no file that the program writes there"),
        (other_replicates, ".replicates.npz is another"),
        (other_rows, ".rows.jsonl.gz is another"),
        (other_facts, "-1.json is another"),
        (gone, "-1.json is gone"),
        (other_page, "README.md is another"),
        (own_state, "for those to say who keep it"),
        (other_state, ".state.json is another"),
        (declaration, "a declaration comes in a bundle"),
        (other_declaration, "declared.json is another"),
        (page, "boards/evil.html is no file that the program writes there"),
        (hidden_bundle, "submissions/.x.zip is no file that the program writes there"),
        (no_rows, ".rows.jsonl.gz is not new with the rest"),
        (rows_alone, "-1.json is not new with the rest"),
        (of_another, "by what it says its place is records/new-"),
        (other_name, "by what it says its place is records/new-"),
        (other_spec, "it is called new, but would be run as py:/tmp/evil.py:Evil"),
        (tag, "holds HTML"),
        (no_json, "recursion depth exceeded"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_no_pull_request_may_bring_is_refused(how, said, sent, base):
    how(sent)
    assert said in "\n".join(problems(sent, base))


@pytest.mark.parametrize("place", ["records/passwords", "submissions", "records/new-0/ks-v1/a-1.json"])
def test_a_link_is_refused_and_nothing_behind_it_read(place, sent, base, monkeypatch):
    monkeypatch.setattr(additions, "_looked_into", lambda *_: pytest.fail("something was read"))
    (sent / place).parent.mkdir(parents=True, exist_ok=True)
    (sent / place).symlink_to("/etc")
    assert problems(sent, base) == [f"files only, no links: {place} is a link, or no file"]


def test_the_folder_itself_may_be_no_link(sent, base, tmp_path):
    (tmp_path / "link").symlink_to(sent)
    assert "link is a link" in problems(tmp_path / "link", base)[0]


def test_names_cannot_write_lines_of_their_own(sent, base):
    (sent / "boards/x\n::error::\x1b[31m").write_text("")
    (said,) = problems(sent, base)
    assert said.isprintable()


def test_the_command_ends_with_1_where_something_is_refused_and_needs_both_folders(sent, base):
    words = ["check", "--results", str(sent), "--against", str(base)]
    assert CliRunner().invoke(app, words).exit_code == 0
    page(sent)
    assert CliRunner().invoke(app, words).exit_code == 1
    assert CliRunner().invoke(app, words[:3]).exit_code == 2
    with pytest.raises(RequestError, match="no results folder"):
        additions.run(sent, base / "nowhere")

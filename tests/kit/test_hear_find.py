"""Where HEAR task folders and their archives are found (HEAR sheet 2)."""

import pytest

from earbench.errors import MissingCorpus
from earbench.kit.hear_find import Tree, rates

ESC, LONG = "esc50-v2.0.0-full", "nsynth_pitch-v2.2.3-50h"


def folder(path, *rates):
    """A task folder of nothing but a clip at each of these rates."""
    for rate in rates or (16_000,):
        (path / str(rate) / "train").mkdir(parents=True)
        (path / str(rate) / "train" / "a.wav").touch()
    (path / "task_metadata.json").touch()
    return path


def found(root, wish):
    tree = Tree.of(root)
    return tree.folder(tree.named(wish), wish)


@pytest.mark.parametrize("below", [".", "tasks", "hear-2021.0.6/tasks/deeper"])
def test_a_folder_is_found_at_any_depth_and_itself(below, tmp_path):
    path = folder(tmp_path / "root" / below / ESC)
    folder(tmp_path / "root" / "other")
    assert found(tmp_path / "root", ESC) == path.resolve()
    assert found(path, ESC) == path


def test_the_beginning_of_a_name_will_do_if_only_one_begins_so(tmp_path):
    short, long = folder(tmp_path / "pitch-v1"), folder(tmp_path / "pitch-v1-long")
    other = folder(tmp_path / "tones")
    assert found(tmp_path, "to") == other
    assert found(tmp_path, "pitch-v1") == short
    assert found(tmp_path, "pitch-v1-") == long
    with pytest.raises(MissingCorpus, match="which holds 3") as caught:
        found(tmp_path, None)
    assert all(f"found {name}" in str(caught.value) for name in ("pitch-v1", "pitch-v1-long", "tones"))
    assert "--task hear:FOLDER" in str(caught.value)


def test_folders_that_begin_alike_are_told_apart_by_the_user(tmp_path):
    for name in ("pitch-v1", "pitch-v2", "tones"):
        folder(tmp_path / name)
    with pytest.raises(MissingCorpus, match="'pitch' may be any of 2 HEAR task folders") as caught:
        found(tmp_path, "pitch")
    assert "found pitch-v1\n" in str(caught.value)
    assert "found tones" not in str(caught.value)


def test_links_are_followed_and_may_lead_in_circles(tmp_path):
    root = tmp_path / "root"
    folder(tmp_path / "elsewhere" / "blob")
    folder(tmp_path / "more" / "tasks" / "other-v1")
    root.mkdir()
    (root / ESC).symlink_to(tmp_path / "elsewhere" / "blob")
    (root / "tasks").symlink_to(tmp_path / "more" / "tasks")
    (root / "tasks" / "circle").symlink_to(root)
    (root / "again").symlink_to(root / "tasks")
    assert found(root, ESC) == root / ESC
    assert [path.name for path in Tree.of(root).folders] == ["other-v1", ESC]
    assert rates(root / ESC) == [16_000]


def test_rates_are_those_that_hear_has_and_that_hold_audio(tmp_path):
    path = folder(tmp_path / ESC, 48_000, 0, 8_000)
    folder(tmp_path / "aside", 16_000)
    (tmp_path / "aside" / "16000").rename(path / "016000")
    (path / "22050" / "train").mkdir(parents=True)
    (path / "32000").mkdir()
    assert rates(path) == [48_000]


def test_without_a_name_the_only_folder_is_meant(tmp_path):
    path = folder(tmp_path / "somewhere" / ESC)
    assert found(tmp_path, None) == path
    with pytest.raises(MissingCorpus, match=r"is not under .*: none of its folders holds task_metadata.json"):
        found(tmp_path / "somewhere" / ESC / "16000", None)


def test_two_folders_of_one_name_are_told_apart_by_the_user(tmp_path):
    paths = [folder(tmp_path / side / ESC) for side in ("old", "new")]
    with pytest.raises(MissingCorpus, match=f"holds 2 folders called {ESC}") as caught:
        found(tmp_path, ESC)
    assert all(str(path) in str(caught.value) for path in paths)


def packed(root, name, wanted):
    archive = Tree.of(root).packed(name, wanted)
    return archive and archive.name


def test_archives_are_known_by_both_kinds_of_names(tmp_path):
    names = [f"hear2021-{ESC}-48000.tar.gz", f"hear-2021.0.6-{LONG}-44100.tar.gz"]
    for name in (*names, "hear2021-notes.tar.gz", "other-1-16000.tar.gz"):
        (tmp_path / name).touch()
    assert set(Tree.of(tmp_path).archives) == {ESC, LONG}
    assert [packed(tmp_path, name, 16_000) for name in (ESC, LONG, "other")] == [*names, None]
    assert Tree.of(tmp_path).named("esc50") == ESC


@pytest.mark.parametrize(
    ("there", "in_archives", "wanted", "rate"),
    [
        ([], [48_000], 16_000, 48_000),
        ([], [16_000, 48_000], 16_000, 16_000),
        ([48_000], [16_000], 16_000, 16_000),
        ([48_000], [16_000], 48_000, None),
        ([48_000], [16_000], 44_100, None),
        ([16_000], [48_000], 44_100, 48_000),
        ([16_000], [16_000], 16_000, None),
    ],
)
def test_an_archive_is_unpacked_where_its_rate_serves_better_than_what_is_there(
    there, in_archives, wanted, rate, tmp_path
):
    if there:
        folder(tmp_path / "tasks" / ESC, *there)
    for one in in_archives:
        (tmp_path / f"hear2021-{ESC}-{one}.tar.gz").touch()
    assert packed(tmp_path, ESC, wanted) == (rate and f"hear2021-{ESC}-{rate}.tar.gz")


def test_hidden_folders_are_not_looked_into(tmp_path):
    folder(tmp_path / ".downloads" / ESC)
    assert Tree.of(tmp_path).folders == ()

"""Archives that lie where a corpus is looked for are unpacked, once, and never where nothing may be written."""

import shutil
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from earbench import packed, prepare, verify
from earbench.data import Place, locate
from earbench.errors import BenchError, MissingCorpus
from earbench.kit import hear_layout
from earbench.plan import load_task
from earbench.prepare import ANY_ENCODER
from earbench.progress import Progress
from earbench.record import Record
from earbench_tasks.hear import BEEHIVE

COUNTS = {"labels": 14, "folds": 2, "clips": 84}
HOME = "beehive_states_fold0-v2-full"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The two folders of `hear_beehive`, and both as published archives."""
    root = tmp_path_factory.mktemp("made")
    BEEHIVE.load(None).toy(root / "toy", 0)
    for home in BEEHIVE.folders:
        pack(root / "toy" / hear_layout.HOME / home, root / f"hear2021-{home}-16000.tar.gz")
    return root


@pytest.fixture
def archives(made, tmp_path):
    """The archives, alone in a folder."""
    return Path(shutil.copytree(made, tmp_path / "corpus", ignore=shutil.ignore_patterns("toy")))


def pack(folder, archive):
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, f"tasks/{folder.name}")


def opened(task, where, settings, progress):
    place = locate(load_task(task), where and str(where), settings, progress)
    return packed.unpacked(load_task(task), ANY_ENCODER, place, settings, progress)


def folds(task, place):
    return load_task(task).at(place.root, ANY_ENCODER).folds(place.root, ANY_ENCODER)


@pytest.fixture
def unwritable(monkeypatch):
    """Files cannot be made in folders called "corpus" (root may write anywhere, so permissions would not do)."""
    real = packed.tempfile.TemporaryFile

    def refusing(dir):
        if dir.name == "corpus":
            raise PermissionError(13, "Permission denied")
        return real(dir=dir)

    monkeypatch.setattr(packed, "tempfile", SimpleNamespace(TemporaryFile=refusing))


def test_archives_are_unpacked_beside_themselves_and_it_is_said(archives, settings, capsys):
    place = opened("hear_beehive", archives, settings, Progress())
    assert place == Place(archives, False)
    assert len(folds("hear_beehive", place)) == 2
    assert sorted(path.name for path in (archives / "tasks").iterdir()) == sorted(BEEHIVE.folders)
    assert len(list(archives.glob("*.tar.gz"))) == 2
    told = capsys.readouterr().err
    assert f"unpacked hear2021-{HOME}-16000.tar.gz: 131 files in {archives}/tasks/{HOME}" in told


def test_what_is_there_is_not_unpacked_again(archives, settings, quiet, monkeypatch):
    opened("hear_beehive", archives, settings, quiet)
    monkeypatch.setattr(packed, "spread", None)
    assert opened("hear_beehive", archives, settings, quiet) == Place(archives, False)


@pytest.mark.usefixtures("unwritable")
def test_where_nothing_may_be_written_the_cache_is_used(archives, settings, quiet):
    before = sorted(archives.rglob("*"))
    place = opened("hear_beehive", archives, settings, quiet)
    assert place.root.is_relative_to(settings.cache / "unpacked")
    assert len(folds("hear_beehive", place)) == 2
    assert sorted(archives.rglob("*")) == before


def test_an_archive_may_be_named_itself(archives, settings, quiet):
    archive = archives / f"hear2021-{HOME}-16000.tar.gz"
    for task, where in ((f"hear:{HOME}", archive), ("hear", archive)):
        place = opened(task, where, settings, quiet)
        assert place.root == archives / "tasks" / HOME
        assert len(folds(task, place)) == 1
    place = locate(load_task(f"hear:{archive}"), None, settings, quiet)
    assert packed.unpacked(load_task("hear"), ANY_ENCODER, place, settings, quiet).root == archives / "tasks" / HOME


def test_another_archive_of_the_same_name_is_unpacked_anew(archives, made, tmp_path, settings, quiet):
    archive = archives / f"hear2021-{HOME}-16000.tar.gz"
    opened("hear", archive, settings, quiet)
    toy = Path(shutil.copytree(made / "toy" / hear_layout.HOME / HOME, tmp_path / HOME))
    (toy / "labelvocabulary.csv").write_text("idx,label\n0,new\n")
    pack(toy, archive)
    place = opened("hear", archive, settings, quiet)
    assert (place.root / "labelvocabulary.csv").read_text() == "idx,label\n0,new\n"


def test_a_folder_that_was_removed_is_unpacked_again(archives, settings, quiet):
    archive = archives / f"hear2021-{HOME}-16000.tar.gz"
    shutil.rmtree(opened("hear", archive, settings, quiet).root)
    assert len(folds("hear", opened("hear", archive, settings, quiet))) == 1


def test_a_cut_off_archive_leaves_nothing_behind(archives, settings, quiet):
    archive = archives / f"hear2021-{HOME}-16000.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(BenchError, match="is damaged"):
        opened("hear", archive, settings, quiet)
    assert not (archives / "tasks").exists()
    assert archive.is_file()


def test_two_runs_at_once_unpack_once(archives, settings, quiet, monkeypatch):
    done, real = [], packed.spread

    def counted(whole, *others):
        done.append(whole.name)
        return real(whole, *others)

    monkeypatch.setattr(packed, "spread", counted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(opened("hear_beehive", archives, settings, quiet)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(path.name for path in archives.glob("*.tar.gz"))
    assert found == [Place(archives, False)] * 3


def test_a_file_that_is_no_archive_is_refused(tmp_path, settings, quiet):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(MissingCorpus, match=r"notes.txt is not a folder"):
        opened("hear_beehive", tmp_path / "notes.txt", settings, quiet)


def test_a_damaged_archive_is_named_with_what_fetches_it(archives, settings, quiet):
    archive = archives / f"hear2021-{HOME}-16000.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(BenchError, match=f"{archive.name} is damaged") as caught:
        opened("hear_beehive", archives, settings, quiet)
    assert f"delete {archive}; `bench prepare --task hear_beehive --download` fetches it anew" in str(caught.value)
    assert "the same command" not in str(caught.value)
    with pytest.raises(BenchError, match=f"delete {archive}; fetch it anew by hand$"):
        opened(f"hear:{archive}", None, settings, quiet)


def test_an_archive_that_holds_another_rate_than_its_name_says_is_refused(archives, settings, quiet):
    for archive in archives.glob("*.tar.gz"):
        archive.rename(archives / archive.name.replace("16000", "48000"))
    place = opened("hear_beehive", archives, settings, quiet)
    with pytest.raises(MissingCorpus, match=f"hear2021-{HOME}-48000.tar.gz does not hold the audio"):
        load_task("hear_beehive").at(place.root, replace(ANY_ENCODER, sample_rate=48_000))


def test_prepare_looks_into_archives_too(archives, settings, quiet):
    (found,) = prepare.prepared(["hear_beehive"], str(archives), settings, False, quiet)
    assert found["counts"] == COUNTS
    assert found["differences"] == ["labels: expected 2, found 14", "clips: expected 576, found 84"]


def test_prepare_notices_audio_that_is_not_there(archives, settings, quiet):
    place = opened("hear_beehive", archives, settings, quiet)
    for path in list(place.root.glob(f"tasks/{HOME}/16000/test/*"))[:4]:
        path.unlink()
    (found,) = prepare.prepared(["hear_beehive"], str(archives), settings, False, quiet)
    assert "16000/: 4 of 126 audio files are not there" in found["problem"]


def test_the_labels_that_a_bundle_is_verified_by_may_be_packed(archives, settings, quiet):
    upstream = {"name": "any", "family": "any", "licence": "any", "sample_rate": 16_000, "hop": 0.01, "layers": 1}
    facts = {"upstream": upstream | {"width": 1}, "task": {"demo": False, "corpus": "hear", "census": COUNTS}}
    record = Record(Path("x-1.json"), facts | {"effort": "standard"})
    _, found = verify.folds_for(record, load_task("hear_beehive"), verify.Wish(str(archives)), settings, quiet)
    assert len(found) == 2
    assert all(fold.test.clips for fold in found)

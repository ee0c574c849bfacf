"""An archive is unpacked whole or not at all, and whatever it holds, nothing is written outside its folder."""

import io
import random
import stat
import tarfile
import zipfile

import pytest

from earbench import unpack as unpacking
from earbench.errors import BenchError
from earbench.unpack import Damaged, unpack

TREE = {"words/yes/a b.wav": b"x" * 40_000, "words/no/é.wav": b"", "list.txt": b"yes\nno\n"}


def tarred(path, *members):
    """A .tar.gz of (name, content) and of TarInfo as they are."""
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path, *members):
    """A .zip of (name, content) and of (ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def folder(name):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o000
    return info


def special(kind, target=""):
    info = tarfile.TarInfo("words/special")
    info.type, info.linkname = kind, target
    return info


def linked(target):
    info = zipfile.ZipInfo("words/special")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(path, error=BenchError):
    """The message of a refusal that left nothing behind, inside or outside of the folder."""
    before = tree(path.parent)
    with pytest.raises(error) as caught:
        unpack(path, path.parent / "into", path.name, lambda _: None)
    assert not (path.parent / "into").exists()
    assert tree(path.parent) == before
    return str(caught.value)


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "zip"])
def test_files_and_folders_come_out_as_they_went_in(tmp_path, ending):
    path, members = tmp_path / f"corpus.{ending}", TREE.items()
    tarred(path, folder("./words/"), *members) if "t" in ending else zipped(path, ("words/", b""), *members)
    seen = []
    found = unpack(path, tmp_path / "into", path.name, seen.append)
    assert tree(tmp_path / "into") == TREE
    assert found == {name: len(content) for name, content in TREE.items()}
    assert 0 < sum(seen) <= path.stat().st_size


NAMES = ["../out.wav", "words/../../out.wav", "/tmp/out.wav", "//host/out.wav", "..\\out.wav", "C:\\a.wav", "C:a.wav"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name, ending):
    make = tarred if ending == "tar.gz" else zipped
    message = refused(make(tmp_path / f"corpus.{ending}", ("fine.wav", b"fine"), (name, b"bad")))
    assert "leads out of its folder" in message


SPECIAL = {
    "symbolic link": special(tarfile.SYMTYPE, "/etc/passwd"),
    "link inside": special(tarfile.SYMTYPE, "yes"),
    "hard link": special(tarfile.LNKTYPE, "list.txt"),
    "character device": special(tarfile.CHRTYPE),
    "block device": special(tarfile.BLKTYPE),
    "pipe": special(tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_and_devices_are_refused(tmp_path, kind):
    message = refused(tarred(tmp_path / "corpus.tar.gz", *TREE.items(), SPECIAL[kind]))
    assert "'words/special' is neither a file nor a folder" in message


def test_links_in_a_zip_are_refused(tmp_path):
    assert "neither a file nor a folder" in refused(zipped(tmp_path / "corpus.zip", linked("/etc/passwd")))


def test_a_file_with_holes_is_refused(tmp_path):
    """GNU's sparse files state sizes that the archive does not hold."""
    info = tarfile.TarInfo("words/special")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50), "GNU.sparse.numblocks": "1"}
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert "neither a file nor a folder" in refused(tmp_path / "corpus.tar.gz")


def test_a_file_written_through_a_link_is_refused(tmp_path):
    (tmp_path / "outside").mkdir()
    link = special(tarfile.SYMTYPE, str(tmp_path / "outside"))
    refused(tarred(tmp_path / "corpus.tar.gz", link, ("words/special/out.wav", b"bad")))


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_for_two_files_is_refused(tmp_path, ending):
    make = tarred if ending == "tar.gz" else zipped
    assert "twice" in refused(make(tmp_path / f"corpus.{ending}", ("a.wav", b"1"), ("./a.wav", b"2")))


def test_an_encrypted_file_is_refused(tmp_path):
    path = zipped(tmp_path / "corpus.zip", ("a.wav", b"1"))
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(mark) + offset] |= 1
    path.write_bytes(raw)
    assert "'a.wav' is encrypted" in refused(path)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(unpacking, "FLOOR", 10_000)
    make = tarred if ending == "tar.gz" else zipped
    path = make(tmp_path / f"corpus.{ending}", *((f"{number}.wav", bytes(500_000)) for number in range(4)))
    assert path.stat().st_size * unpacking.RATIO < 500_000
    assert "it would fill more than" in refused(path)


def test_very_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MEMBERS", 3)
    path = tmp_path / "corpus.tar.gz"
    assert "entries" in refused(tarred(path, *((f"{number}.wav", b"") for number in range(4))))


def test_a_zip_that_understates_its_sizes_is_damaged(tmp_path):
    path = zipped(tmp_path / "corpus.zip", ("a.wav", bytes(100_000)))
    path.write_bytes(path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "is damaged" in refused(path, Damaged)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_archive_that_was_cut_off_is_damaged(tmp_path, ending):
    make = tarred if ending == "tar.gz" else zipped
    path = make(tmp_path / f"corpus.{ending}", ("a.wav", random.Random(0).randbytes(100_000)), ("b.wav", b"b"))
    whole = path.read_bytes()
    for length in (0, 10, 5_000, len(whole) - 4):
        path.write_bytes(whole[:length])
        assert "is damaged" in refused(path, Damaged)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_a_single_wrong_bit_is_damage(tmp_path, ending):
    """It lies in audio that does not compress, so that only the checksums of the formats can tell."""
    make = tarred if ending == "tar.gz" else zipped
    path = make(tmp_path / f"corpus.{ending}", ("a.wav", random.Random(0).randbytes(100_000)))
    raw = bytearray(path.read_bytes())
    raw[50_000] ^= 1
    path.write_bytes(raw)
    assert "is damaged" in refused(path, Damaged)


def test_something_else_under_the_name_of_an_archive_is_damage(tmp_path):
    for ending in ("tar.gz", "zip"):
        path = tmp_path / f"corpus.{ending}"
        path.write_text("<html>Please log in</html>")
        assert "is damaged" in refused(path, Damaged)


def test_other_kinds_of_archives_are_refused_by_name(tmp_path):
    (tmp_path / "corpus.rar").write_bytes(b"")
    assert ".tar.gz, .tgz, .zip" in refused(tmp_path / "corpus.rar")

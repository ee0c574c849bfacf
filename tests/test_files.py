"""Files are whole or not there, and equal data has equal digits."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from earbench import files
from earbench.errors import BenchError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# ---- digests ---------------------------------------------------------------------------------------------------------


def test_digits_are_the_same_in_every_version_of_the_program():
    """Expected: blake2b of 8 bytes over the compact sorted JSON, by coreutils' `b2sum -l 64`. They name stored runs."""
    assert files.digest_of({"b": [1, 2.5, None, True], "a": "ä"}) == "ff1cfe00292a7023"


@given(st.dictionaries(st.text(), PLAIN, min_size=2))
def test_the_order_of_keys_does_not_change_the_digits(value):
    assert files.digest_of(value) == files.digest_of(dict(reversed(value.items())))


@pytest.mark.parametrize("other", [{"a": [2, 1]}, {"a": [1, 2, None]}, {"a": ["1", 2]}, {"b": [1, 2]}, [1, 2]])
def test_other_data_has_other_digits(other):
    assert files.digest_of({"a": [1, 2]}) != files.digest_of(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_what_has_no_plain_form_has_no_digest(value):
    with pytest.raises((ValueError, TypeError)):
        files.digest_of(value)


def test_a_checksum_is_of_the_bytes_alone(tmp_path):
    for name, data in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (files.checksum(tmp_path / name) for name in "abc")
    assert a == b != c


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_folders_are_made_and_nothing_but_the_file_is_left(tmp_path):
    files.write_text(tmp_path / "new" / "folder" / "a.txt", "ä\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "ä\n".encode()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_failure_midway_leaves_the_old_content_and_nothing_else(tmp_path, error):
    files.write_text(tmp_path / "a.txt", "old")

    def fill(path):
        path.write_text("half of the n")
        raise error

    with pytest.raises(BenchError if isinstance(error, OSError) else type(error)):
        files.write(tmp_path / "a.txt", fill)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_nobody_sees_a_half_written_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")

    def fill(path):
        path.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"

    files.write(tmp_path / "a.txt", fill)
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "whatever the system says"),
        OSError(errno.EDQUOT, "whatever the system says"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_as_such(tmp_path, error):
    """Features, fits and heads are written by safetensors, which has an error of its own."""

    def fill(_path):
        raise error

    with pytest.raises(BenchError, match=r"the disk is full: could not write a.txt(?s:.*)bench cache prune"):
        files.write(tmp_path / "a.txt", fill)


# ---- before the work -------------------------------------------------------------------------------------------------


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    files.check_writable(tmp_path / "new" / "results", "results")
    assert list((tmp_path / "new" / "results").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BenchError) as caught:
        files.check_writable(tmp_path / "file" / "results", "results")
    message = str(caught.value)
    for words in ("cannot write results to", str(tmp_path / "file" / "results"), "--results", "bench.toml"):
        assert words in message

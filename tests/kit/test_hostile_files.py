"""Files written by hand to hurt whoever reads them. Each is refused, quickly and before it has cost any memory.

The pickles are spelled out in opcodes, since no pickler writes them. Those that would end the process, or fill its
memory, are read in one of its own.
"""

import gzip
import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest
import torch

from earbench.errors import BadCheckpoint
from earbench.kit.unpickle import ALLOWED
from earbench.kit.weights import read_state

GIGABYTES = 6 << 30
TAR_PART = b"\x80\x02K\x00."  # the pickled number 0


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def named(module, name):
    return f"c{module}\n{name}\n".encode()


STORAGE = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"


def tensor(size, stride=b"K\x01\x85", offset=b"K\x00", storage=STORAGE):
    """The opcodes of a float tensor on the one storage of these files, which holds four numbers."""
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + offset + size + stride + b"\x89}tR"


def zip_file(path, value, storage=bytes(16)):
    """A file in today's format, `{"w": value}` with `value` in opcodes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}" + text("w") + value + b"s.")
        archive.writestr("archive/data/0", storage)
    return path


def legacy_file(path, value):
    """The same in the format before torch 1.6, without any storage."""
    head = io.BytesIO()
    torch.save({}, head, _use_new_zipfile_serialization=False)
    start = head.getvalue()[: head.getvalue().rindex(b"\x80\x02}")]
    path.write_bytes(start + b"\x80\x02}" + text("w") + value + b"s." + b"\x80\x02].")
    return path


def tar_file(path, value, storages=TAR_PART + b"\x80\x02].", tensors=TAR_PART):
    """The same in the format before torch 0.1.10."""
    with tarfile.open(path, "w") as archive:
        parts = {"storages": storages, "tensors": tensors, "pickle": b"\x80\x02}" + text("w") + value + b"s."}
        for name, raw in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


in_every_format = pytest.mark.parametrize("write", [zip_file, legacy_file, tar_file], ids=["zip", "legacy", "tar"])


def read_in_a_process_of_its_own(path):
    """What became of it: the name of the exception, or how the process ended."""
    code = """
import sys
from pathlib import Path
from earbench.errors import BadCheckpoint
from earbench.kit.weights import read_state
try:
    read_state(Path(sys.argv[1]))
except BadCheckpoint as error:
    print("BadCheckpoint")
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or f"exit code {done.returncode}: {done.stderr[-200:]}"


# ---- work that a few bytes ask for -----------------------------------------------------------------------------------

DEEP = b")" + b"\x85" * 300_000
# Sixty times POP GET GET TUPLE2 PUT, each a pair of the one before.
DOUBLED = b")q\x00" + b"".join(bytes((48, 104, i, 104, i, 134, 113, i + 1)) for i in range(60))


def test_a_key_nested_too_deep_to_hash_does_not_end_the_process(tmp_path):
    path = zip_file(tmp_path / "file", b"}" + DEEP + b"K\x01s")
    assert read_in_a_process_of_its_own(path) == "BadCheckpoint"


@in_every_format
@pytest.mark.parametrize(
    "value",
    [
        b"}" + DOUBLED + b"K\x01s",
        b"}(" + DOUBLED + b"K\x01u",
        b"(" + DOUBLED + b"K\x01d",
        b"\x8f(" + DOUBLED + b"\x90",
        b"(" + DOUBLED + b"\x91",
        named("collections", "OrderedDict") + b"]](" + DOUBLED + b"K\x01ea\x85R",
        b"}" + b"\x8b\x00\x00\x04\x00" + bytes(0x3FFFF) + b"\x01" + b"K\x01s",
    ],
    ids=["SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET", "OrderedDict", "a long number"],
)
def test_a_key_that_takes_years_to_hash_is_refused(tmp_path, write, value):
    with pytest.raises(BadCheckpoint, match="as a key"):
        read_state(write(tmp_path / "file", value))


LONG = text("x" * 100_000) + b"q\x000"  # kept as number 0, taken off the stack
MANY = b"(" + b"K\x00" * 10_000 + b"tq\x000"
PAIRS = b"](" + b"K\x00K\x00\x86" * 2_000 + b"eq\x000"


@in_every_format
@pytest.mark.parametrize(
    "value",
    [
        LONG + b"](" + (named("_codecs", "encode") + b"h\x00\x85R") * 300 + b"e",
        PAIRS + b"](" + (named("collections", "OrderedDict") + b"h\x00\x85R") * 300 + b"e",
        MANY + b"](" + (named("some", "Class") + b"h\x00R") * 300 + b"e",
    ],
    ids=["text", "pairs", "arguments"],
)
def test_copies_of_copies_are_refused(tmp_path, write, value):
    with pytest.raises(BadCheckpoint, match="more work"):
        read_state(write(tmp_path / "file", value))


@in_every_format
def test_a_file_cannot_name_classes_without_end(tmp_path, write):
    with pytest.raises(BadCheckpoint, match="more than 10,000 classes"):
        read_state(write(tmp_path / "file", b"](" + b"".join(b"ca\n%d\n" % i for i in range(11_000)) + b"e"))


@in_every_format
def test_one_class_named_often_is_one_class(tmp_path, write):
    found = read_state(write(tmp_path / "file", b"](" + named("some", "Class") * 20_000 + b"e"))["w"]
    assert len(set(found)) == 1


# ---- sizes that are claimed ------------------------------------------------------------------------------------------

BYTES = named("__builtin__", "bytearray") + number(GIGABYTES) + b"\x85R"


@in_every_format
def test_nothing_but_tensors_can_be_made_by_size(tmp_path, write):
    assert type(read_state(write(tmp_path / "file", BYTES))["w"]).__name__ == "bytearray"
    assert read_state(write(tmp_path / "file", BYTES))["w"].arguments == (GIGABYTES,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (tensor(number(1 << 40) + b"\x85", stride=b"K\x00\x85"), "more than is stored"),
        (tensor(b"K\x04\x85", stride=b"K\x02\x85"), "more than is stored"),
        (tensor(b"K\x02\x85", offset=b"K\x03"), "more than is stored"),
        (tensor(b"K\x02\x85", offset=number(-1)), "no whole numbers"),
        (tensor(b"K\x02\x85", stride=number(-1) + b"\x85"), "no whole numbers"),
        (tensor(number(-2) + number(-2) + b"\x86", stride=b"K\x01K\x01\x86"), "no whole numbers"),
        (tensor(b"K\x02K\x02\x86"), "no whole numbers"),
        (tensor(text("x") + number(GIGABYTES) + b"\x86", stride=b"K\x01K\x01\x86"), "no whole numbers"),
        (tensor(b"G\x40\x00\x00\x00\x00\x00\x00\x00\x85"), "no whole numbers"),
        (tensor(b"K\x04"), "without a storage"),
        (tensor(b"K\x04\x85", storage=text("0")), "without a storage"),
        (tensor(b"K\x04\x85", storage=text("0") + b"Q"), "no storage"),
        (tensor(b"K\x04\x85", storage=STORAGE.replace(b"K\x04", number(-4))), "type, name and size"),
        (tensor(b"K\x04\x85", storage=STORAGE.replace(b"K\x04", text("x"))), "type, name and size"),
        (tensor(b"K\x04\x85", storage=STORAGE.replace(b"FloatStorage", b"Anything")), "type, name and size"),
        (b"](" + tensor(b"K\x04\x85") + tensor(b"K\x01\x85").replace(b"Float", b"Char") + b"e", "two types"),
    ],
)
def test_a_tensor_takes_part_of_its_storage_and_no_more(tmp_path, value, reason):
    with pytest.raises(BadCheckpoint, match=reason):
        read_state(zip_file(tmp_path / "file", value))


def test_tensors_within_their_storage_are_read(tmp_path):
    numbers = torch.arange(4.0)
    pairs = [
        (tensor(b"K\x02K\x02\x86", stride=b"K\x01K\x02\x86"), numbers.reshape(2, 2).t()),
        (tensor(b"K\x02\x85", offset=b"K\x02"), numbers[2:]),
        (tensor(b"K\x00" + number(1 << 40) + b"\x86", stride=b"K\x01K\x01\x86"), torch.empty(0, 1 << 40)),
        (tensor(b")", stride=b")", offset=b"K\x03"), numbers[3]),
    ]
    for value, wanted in pairs:
        found = read_state(zip_file(tmp_path / "file", value, numbers.numpy().tobytes()))["w"]
        assert found.shape == wanted.shape
        assert torch.equal(found, wanted)


def test_storages_without_values_are_refused_and_not_filled_with_what_memory_held(tmp_path):
    torch.save({"w": torch.arange(5.0)}, tmp_path / "file", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(raw[: raw.rindex(b"\x80\x02]")] + b"\x80\x02].")
    with pytest.raises(BadCheckpoint, match="no values for 1 storages"):
        read_state(tmp_path / "file")


def test_a_tar_file_cannot_multiply_a_size_into_bytes(tmp_path):
    stored = b"\x80\x02K\x01." + b"\x80\x02(K\x07" + text("cpu") + b"(ia\nb\n}" + text("itemsize") + b"U\x01xsbt."
    path = tar_file(tmp_path / "file", b"N", storages=stored + struct.pack("<q", GIGABYTES))
    with pytest.raises(BadCheckpoint, match="without a type"):
        read_state(path)


def test_a_compressed_tar_file_is_not_unpacked_to_see_what_it_is(tmp_path):
    tar_file(tmp_path / "file", b"N")
    (tmp_path / "small").write_bytes(gzip.compress((tmp_path / "file").read_bytes()))
    with pytest.raises(BadCheckpoint, match=r"is no weight file: it starts with b'\\x1f"):
        read_state(tmp_path / "small")


# ---- what is reached and changed -------------------------------------------------------------------------------------


@in_every_format
@pytest.mark.parametrize(("module", "name"), list(ALLOWED))
def test_a_file_cannot_change_the_functions_that_read_it(tmp_path, write, module, name):
    function = ALLOWED[module, name]
    before = getattr(function, "__defaults__", None), dict(vars(function))
    value = named(module, name) + b"N}" + text("__defaults__") + b")s\x86b"
    with pytest.raises(BadCheckpoint, match="attributes"):
        read_state(write(tmp_path / "file", value))
    assert (getattr(function, "__defaults__", None), dict(vars(function))) == before


def test_a_file_cannot_change_a_tensor_it_holds(tmp_path):
    state = b"(" + STORAGE + b"K\x00" + number(1 << 32) + b"\x85K\x01\x85t"
    for change, reason in (
        (state + b"b", "attributes"),
        (b"K\x00K\x07s", "items of a Tensor"),
        (b"K\x07a", "appends"),
        (b"(K\x07e", "appends"),
        (b"(K\x07\x90", "adds to"),
    ):
        with pytest.raises(BadCheckpoint, match=reason):
            read_state(zip_file(tmp_path / "file", tensor(b"K\x04\x85") + change))


@in_every_format
@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_the_registry_of_extensions_is_out_of_reach(tmp_path, write, opcode, monkeypatch):
    monkeypatch.setattr("copyreg._extension_cache", {1: print})
    monkeypatch.setattr("pickle._extension_cache", {1: print})
    with pytest.raises(BadCheckpoint):
        read_state(write(tmp_path / "file", opcode))


called = []


def spring():
    called.append("called")


class Trap:
    def __reduce__(self):
        return spring, ()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_function_that_a_library_allows_torch_to_call_is_not_called(tmp_path, new):
    torch.save({"w": Trap()}, tmp_path / "file", _use_new_zipfile_serialization=new)
    with torch.serialization.safe_globals([spring]):
        read_state(tmp_path / "file")
        assert called == []
        torch.load(tmp_path / "file", weights_only=True)
        assert called == ["called"]
    called.clear()


@in_every_format
@pytest.mark.parametrize(
    "value",
    [
        b"N)R",
        b"K\x01)\x81",
        b"(K\x01o",
        named("collections", "OrderedDict") + b")}" + text("a") + b"K\x01s\x92",
        b"(K\x01K\x02\x85o",
        named("torch", "FloatStorage") + b")R",
        b"ca\nb\nNR",
    ],
    ids=["REDUCE", "NEWOBJ", "OBJ", "NEWOBJ_EX", "OBJ with arguments", "a type", "without arguments"],
)
def test_only_classes_and_the_functions_of_tensors_are_called(tmp_path, write, value):
    with pytest.raises(BadCheckpoint, match=r"it calls|without arguments"):
        read_state(write(tmp_path / "file", value))


@in_every_format
def test_a_dotted_name_is_the_name_of_a_bag(tmp_path, write):
    found = read_state(write(tmp_path / "file", b"\x8c\x02os\x8c\x0bpath.exists\x93\x8c\x01/\x85R"))["w"]
    assert type(found).__name__ == "path.exists"
    assert found.arguments == ("/",)


# ---- containers ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    zip_file(tmp_path / "file", tensor(b"K\x04\x85"))
    with zipfile.ZipFile(tmp_path / "file", "a") as archive:
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(BadCheckpoint, match="same name"):
        read_state(tmp_path / "file")


def test_a_zip_member_that_claims_more_than_the_file_is_refused(tmp_path):
    raw = bytearray(zip_file(tmp_path / "file", tensor(b"K\x04\x85")).read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(BadCheckpoint, match="claim 1,0"):
        read_state(tmp_path / "file")


def test_a_zip_member_that_claims_2_to_the_60_bytes_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "file", "w") as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as f,
    ):
        f.write(b"\x80\x02}.")
    raw = (tmp_path / "file").read_bytes()
    entry = raw.rindex(b"PK\x01\x02")
    extra = struct.pack("<HHQQ", 1, 16, 1 << 60, 1 << 60)
    central = bytearray(raw[entry : entry + 46 + len("archive/data.pkl")])
    central[20:28] = b"\xff" * 8
    central[30:32] = struct.pack("<H", len(extra))
    end = bytearray(raw[raw.rindex(b"PK\x05\x06") :])
    end[12:16] = struct.pack("<I", len(central) + len(extra))
    (tmp_path / "file").write_bytes(raw[:entry] + central + extra + end)
    with pytest.raises(BadCheckpoint, match="claim 1,152,921,504,606,846,976"):
        read_state(tmp_path / "file")


def test_a_program_of_torchscript_is_refused_with_what_to_do(tmp_path):
    zip_file(tmp_path / "file", b"N")
    with zipfile.ZipFile(tmp_path / "file", "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr("archive/code/__torch__.py", b"boom()")
    with pytest.raises(BadCheckpoint, match=r"TorchScript(.|\n)*state_dict\(\)"):
        read_state(tmp_path / "file")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_file_are_refused(tmp_path, kind):
    path = tmp_path / "file"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(BadCheckpoint, match="not a plain file"):
        read_state(path)


def test_a_sparse_member_of_a_tar_file_is_refused(tmp_path):
    path = tar_file(tmp_path / "file", b"N")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": f"0,{1 << 40}"}
            archive.addfile(member)
    with pytest.raises(BadCheckpoint, match="not a plain file"):
        read_state(path)


def safetensors(path, header, data=bytes(16), size=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if size is None else size) + raw + data)
    return path


ONE = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": ONE, "b": ONE},
        {"a": ONE, "b": {**ONE, "data_offsets": [8, 24]}},
        {"a": {**ONE, "data_offsets": [16, 32]}},
        {"a": {**ONE, "data_offsets": [-16, 0]}},
        {"a": {**ONE, "data_offsets": [0, 1 << 60]}},
        {"a": {**ONE, "data_offsets": [16, 0]}},
        {"a": {**ONE, "shape": [1 << 62, 4]}},
        {"a": {**ONE, "shape": [-4]}},
        {"a": {**ONE, "dtype": "EVIL"}},
        b'{"a":' + b"[" * 200_000,
    ],
)
def test_safetensors_whose_header_lies_are_refused(tmp_path, header):
    with pytest.raises(BadCheckpoint):
        read_state(safetensors(tmp_path / "file", header))


@pytest.mark.parametrize("size", [1 << 60, (1 << 64) - 1, 200_000_000])
def test_a_safetensors_header_of_any_claimed_length_is_refused(tmp_path, size):
    with pytest.raises(BadCheckpoint):
        read_state(safetensors(tmp_path / "file", {"a": ONE}, size=size))


# ---- tensors that share a storage ------------------------------------------------------------------------------------


def test_views_of_a_storage_in_tar_files_begin_where_they_say(tmp_path):
    """A storage could be part of another, and a tensor's offset counts from where that part begins."""
    numbers = struct.pack("<q6f", 6, *range(6))
    whole = b"\x80\x02K\x01." + b"\x80\x02(K\x07" + text("cpu") + named("torch", "FloatStorage") + b"t." + numbers
    part = b"\x80\x02]((K\x08K\x07K\x03K\x02te."  # storage 8 is two values of storage 7 from the fourth on

    def file(size, offset):
        tensors = b"\x80\x02K\x01." + b"\x80\x02(K\x09K\x08Nt." + struct.pack("<ii3q", 1, 0, size, 1, offset)
        return tar_file(tmp_path / "file", b"K\x09Q", storages=whole + part, tensors=tensors)

    assert read_state(file(1, 1))["w"].tolist() == [4.0]
    with pytest.raises(BadCheckpoint, match="more than is stored"):
        read_state(file(3, 0))


def test_views_of_a_storage_in_legacy_files_are_read_as_torch_reads_them(tmp_path):
    torch.save({"w": torch.arange(6.0)[4:5]}, tmp_path / "file", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "file").read_bytes()
    whole, part = b"K\x06Nt", b"K\x06" + text("part") + b"K\x03K\x02\x87t"
    assert raw.count(whole) == 1
    (tmp_path / "file").write_bytes(raw.replace(whole, part).replace(b"K\x04K\x01\x85", b"K\x01K\x01\x85"))
    theirs = torch.load(tmp_path / "file", weights_only=True)["w"]
    assert theirs.tolist() == [4.0]
    assert torch.equal(read_state(tmp_path / "file")["w"], theirs)

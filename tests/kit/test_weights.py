"""The safe reader: nothing in a weight file runs, and what cannot be right is refused."""

import argparse
import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from earbench.errors import BadCheckpoint
from earbench.kit.torch_files import read_legacy, read_tar, read_zip
from earbench.kit.unpickle import Bag
from earbench.kit.weights import file_digest, load_strict, modern_weight_norm, read_state, strip_prefix

REAL = Path(__file__).parents[3] / "shared" / "data" / "weights"
ZIP, LEGACY = True, False
both_formats = pytest.mark.parametrize("new", [ZIP, LEGACY], ids=["zip", "legacy"])


class Trap:
    """Pickles as a call that creates a file."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def traps(marker):
    return {
        "os.system": Trap(os.system, f"touch {marker}"),
        "eval": Trap(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Trap(exec, f"open({str(marker)!r}, 'w')"),
        "open": Trap(open, str(marker), "w"),
        "getattr": Trap(getattr, Trap(__import__, "os"), "system"),
        "nested": OrderedDict(a=[{"b": (1, Trap(os.system, f"touch {marker}"))}]),
        "as an argument": Trap(OrderedDict, [("a", Trap(os.system, f"touch {marker}"))]),
    }


def saved(path, content, new=ZIP):
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


@both_formats
@pytest.mark.parametrize("kind", list(traps("x")))
def test_nothing_in_a_file_runs_and_the_weights_beside_it_are_read(tmp_path, kind, new):
    marker = tmp_path / "marker"
    weight = torch.arange(6.0).reshape(2, 3)
    path = saved(tmp_path / "file.pt", {"model": {"w": weight}, "evil": traps(marker)[kind]}, new)
    found = read_state(path)
    assert not marker.exists()
    assert torch.equal(found["model"]["w"], weight)


@both_formats
def test_the_traps_of_these_tests_do_spring_when_a_file_is_trusted(tmp_path, new):
    marker = tmp_path / "marker"
    torch.load(saved(tmp_path / "file.pt", traps(marker)["os.system"], new), weights_only=False)
    assert marker.exists()


def rewritten(path, change, **storing):
    """The zip file `path` with `change(name, content)` applied to each member."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", **storing) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_a_function_in_place_of_a_storage_type_is_not_called(tmp_path):
    marker = tmp_path / "marker"
    path = saved(tmp_path / "file.pt", {"w": torch.ones(3)})
    evil = b"cos\nsystem\n(X" + struct.pack("<I", len(f"touch {marker}")) + f"touch {marker}".encode() + b"tR"
    path = rewritten(path, lambda _name, raw: raw.replace(b"ctorch\nFloatStorage\n", evil))
    with pytest.raises(BadCheckpoint):
        read_state(path)
    assert not marker.exists()


def test_attributes_that_a_file_hangs_on_an_object_are_not_called_either(tmp_path):
    # An empty class instance gets `__setstate__` = os.system by BUILD; a second BUILD then calls it with its state.
    marker = tmp_path / "marker"
    script = f"touch {marker}".encode()
    evil = (
        b"(ifoo\nBar\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX" + struct.pack("<I", len(script)) + script + b"b."
    )
    path = rewritten(
        saved(tmp_path / "file.pt", {}), lambda name, raw: b"\x80\x02" + evil if name.endswith("data.pkl") else raw
    )
    with pytest.raises(BadCheckpoint, match="holds a Bar"):
        read_state(path)
    assert not marker.exists()


@both_formats
def test_objects_of_unknown_classes_become_bags_of_attributes(tmp_path, new):
    path = saved(tmp_path / "file.pt", {"args": argparse.Namespace(lr=0.5, layers=[1, 2]), "w": torch.ones(2)}, new)
    arguments = read_state(path)["args"]
    assert isinstance(arguments, Bag)
    assert type(arguments).__name__ == "Namespace"
    assert (arguments.lr, arguments.layers) == (0.5, [1, 2])


def varied():
    grid = torch.arange(12.0).reshape(3, 4)
    return OrderedDict(
        [(str(dtype), torch.tensor([1, 0, 1]).to(dtype)) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
        + [(str(dtype), torch.tensor([1, 0, 1]).to(dtype)) for dtype in (torch.int64, torch.uint8, torch.bool)]
        + [("turned", grid.t()), ("part", grid[1:, ::2]), ("scalar", torch.tensor(3.5)), ("none", torch.empty(0, 4))]
        + [("parameter", nn.Parameter(grid))]
    )


@both_formats
@pytest.mark.parametrize("protocol", [2, 4])
def test_our_reader_agrees_with_torch(tmp_path, new, protocol):
    path = tmp_path / "file.pt"
    torch.save(varied(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    ours, theirs = (read_zip if new else read_legacy)(path), torch.load(path, weights_only=protocol == 2)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        assert torch.equal(ours[key], value), key


def test_types_without_a_storage_class_of_their_own_are_read(tmp_path):
    numbers = torch.tensor([1, 2, 65_535], dtype=torch.uint16)[1:]
    assert torch.equal(read_state(saved(tmp_path / "file.pt", {"w": numbers}))["w"], numbers)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real weights of shared/data")
@pytest.mark.parametrize(("name", "parameters"), [("VGG_best.pth", 290_292), ("CRNN_best.pth", 948_116)])
def test_real_files_saved_from_a_gpu_are_read_like_torch_reads_them(name, parameters):
    path = REAL / name
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = read_legacy(path)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(value.numel() for key, value in read_state(path).items() if not key.endswith(statistics)) == parameters


def tar_file(path, content, storage_numbers=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0), sizes=(2, 2)):
    """The container torch wrote before 0.1.10: one storage 7, tensor 9 on it from offset 1, and a pickle with ids."""

    class Ids(pickle.Pickler):
        def persistent_id(self, value):
            return 9 if value == "tensor 9" else None

    def dump(*values):
        return b"".join(pickle.dumps(value, 2) for value in values)

    numbers = struct.pack(f"<q{len(storage_numbers)}f", len(storage_numbers), *storage_numbers)
    named = pickle.dumps((7, "cpu", torch.FloatStorage), 2), pickle.dumps((9, 7, torch.FloatTensor), 2)
    body = io.BytesIO()
    Ids(body, 2).dump(content)
    parts = {
        "sys_info": dump({"little_endian": True}),
        "storages": dump(1) + named[0] + numbers + dump([]),
        "tensors": dump(1) + named[1] + struct.pack("<ii5q", 2, 0, *sizes, sizes[1], 1, 1),
        "pickle": body.getvalue(),
    }
    with tarfile.open(path, "w") as archive:
        for name, raw in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def test_the_oldest_format_is_read_like_torch_reads_it(tmp_path):
    path = tar_file(tmp_path / "file.pt", OrderedDict(w="tensor 9"))
    theirs = torch.load(path, weights_only=False)
    assert torch.equal(read_state(path)["w"], theirs["w"])
    assert read_tar(path)["w"].tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_nothing_in_the_oldest_format_runs(tmp_path):
    for name, trap in traps(tmp_path / "marker").items():
        read_state(tar_file(tmp_path / "file.pt", {"w": "tensor 9", "evil": trap}))
        assert not (tmp_path / "marker").exists(), name


def test_a_tensor_larger_than_its_storage_is_refused_in_the_oldest_format(tmp_path):
    with pytest.raises(BadCheckpoint, match="more than is stored"):
        read_state(tar_file(tmp_path / "file.pt", {"w": "tensor 9"}, sizes=(1 << 20, 1 << 20)))


HUGE = b"\x8a\x08" + (1 << 60).to_bytes(8, "little")  # LONG1: 2**60 values


@both_formats
@pytest.mark.parametrize("what", ["tensor", "storage"])
def test_sizes_beyond_the_file_are_refused(tmp_path, new, what):
    path = saved(tmp_path / "file.pt", {"w": torch.zeros(10)}, new)
    claims = (b"K\x0a\x85", HUGE + b"\x85") if what == "tensor" else (b"K\x0at", HUGE + b"t")
    if what == "storage" and not new:
        claims = (b"K\x0aN", HUGE + b"N")
    if new:
        path = rewritten(path, lambda name, raw: raw.replace(*claims) if name.endswith("data.pkl") else raw)
    else:
        raw = path.read_bytes()
        assert raw.count(claims[0]) == 1
        path.write_bytes(raw.replace(*claims))
    with pytest.raises(BadCheckpoint, match=r"claims|bytes in a file"):
        read_state(path)


def test_a_compressed_zip_file_is_refused_before_anything_is_unpacked(tmp_path):
    path = saved(tmp_path / "file.pt", {"w": torch.zeros(1_000_000)})
    path = rewritten(path, lambda _name, raw: raw, compression=zipfile.ZIP_DEFLATED)
    assert torch.load(path, weights_only=True)["w"].numel() == 1_000_000
    with pytest.raises(BadCheckpoint, match="compressed"):
        read_state(path)


@pytest.mark.parametrize("writer", ["zip", "legacy", "tar", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, writer, kept):
    path = tmp_path / "file"
    if writer == "tar":
        tar_file(path, {"w": "tensor 9"})
        kept *= 0.4  # the rest is zeros that only fill the last block
    elif writer == "safetensors":
        save_file({"w": torch.ones(200)}, path)
    else:
        saved(path, {"w": torch.ones(200)}, writer == "zip")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(BadCheckpoint):
        read_state(path)


def test_a_safetensors_header_that_claims_too_much_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"w": torch.ones(4)}, path)
    path.write_bytes(path.read_bytes().replace(b'"shape":[4]', b'"shape":[9]'))
    with pytest.raises(BadCheckpoint):
        read_state(path)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_other_files_are_refused_with_their_first_bytes(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=re.escape(repr(content[:16]))):
        read_state(path)


def test_a_missing_file_and_a_bare_tensor_are_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match="no weight file"):
        read_state(tmp_path / "nowhere.pt")
    with pytest.raises(BadCheckpoint, match="holds a Tensor"):
        read_state(saved(tmp_path / "file.pt", torch.ones(3)))


def test_the_content_decides_how_a_file_is_read_and_not_its_name(tmp_path):
    save_file({"w": torch.ones(4)}, tmp_path / "pytorch_model.bin")
    saved(tmp_path / "model.safetensors", {"w": torch.ones(4)})
    for name in ("pytorch_model.bin", "model.safetensors"):
        assert torch.equal(read_state(tmp_path / name)["w"], torch.ones(4))


def test_the_digest_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # the one-block example of FIPS 180
    assert file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_prefix_is_not_stripped_onto_a_key_that_is_there():
    with pytest.raises(BadCheckpoint, match=r"both 'module\.a' and 'a'"):
        strip_prefix({"module.a": 1, "a": 2}, ["module."])


def test_both_spellings_of_weight_norm_fill_the_same_module():
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 4), dim=2)
    state = convolution.state_dict()
    old = {
        "bias": state["bias"],
        "weight_g": state["parametrizations.weight.original0"],
        "weight_v": state["parametrizations.weight.original1"],
    }
    other = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 4), dim=2)
    load_strict(other, modern_weight_norm(old))
    assert torch.equal(other.weight, convolution.weight)


def small():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_strict_loading_lists_what_does_not_fit():
    state = small().state_dict()
    del state["0.bias"], state["1.running_var"]
    state["0.weight"] = torch.ones(3, 5)
    state |= {f"extra.{number}": torch.ones(1) for number in range(7)} | {"1.bias": "text"}
    with pytest.raises(BadCheckpoint) as caught:
        load_strict(small(), state)
    assert caught.value.hints == (
        "missing (2): 0.bias, 1.running_var",
        "left over (7): extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more",
        "not as expected (2): 0.weight is (3, 5), expected (3, 2), 1.bias is a str",
    )


def test_numbers_of_another_kind_are_refused():
    state = small().state_dict()
    for value in (state["0.weight"].to(torch.int8), state["0.weight"].to(torch.complex64)):
        with pytest.raises(BadCheckpoint, match=rf"0\.weight is of {value.dtype}, expected torch\.float32"):
            load_strict(small(), {**state, "0.weight": value})


def test_strict_loading_ignores_the_patterns_it_is_given_on_both_sides():
    state = small().state_dict()
    del state["1.num_batches_tracked"]
    module = small()
    load_strict(module, {**state, "head.weight": torch.ones(1)}, ignore=["head.*", "*.num_batches_tracked"])
    assert torch.equal(module[0].weight, state["0.weight"])


def test_strict_loading_fills_a_module_on_the_meta_device_in_its_own_dtype():
    state = {key: value.half() if value.is_floating_point() else value for key, value in small().state_dict().items()}
    with torch.device("meta"):
        module = small()
    load_strict(module, state)
    assert module[0].weight.device.type == "cpu"
    assert module[0].weight.dtype == torch.float32
    assert torch.equal(module[0].weight, state["0.weight"].float())

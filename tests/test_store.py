"""Features on disk: whole or not there, never wrong, and never in anybody's way."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from earbench import store as stores
from earbench.errors import BenchError
from earbench.progress import Progress
from earbench.store import Damaged, Store, entries, prune


def rows(seed, count=1):
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed))


def shard(store, features, times=None):
    store.write(list(features.items()), [1.0] * len(features), 0.02, 0.0125, 1.0, "cpu", times or {})


def opened(cache, upstream="abc", grain="mean"):
    return Store(cache, upstream, grain, "fp32")


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path)


def names(store, ending="*"):
    return sorted(path.name for path in store.folder.glob(ending) if path.name != "extract.lock")


# ---- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[1] * 6, [3, 1, 5, 2, 4, 1]], ids=["one row", "several rows"])
def test_features_come_back_in_any_order(tmp_path, store, counts):
    features = {f"key{i}": rows(i, count) for i, count in enumerate(counts)}
    for start in (0, 2, 4):
        shard(store, dict(list(features.items())[start : start + 2]))
    for order in ([0, 1, 2, 3, 4, 5], [5, 0, 3, 1, 4, 2], [4], [2, 2, 0]):
        keys = [f"key{i}" for i in order]
        found, lengths = opened(tmp_path).read(keys)
        assert torch.equal(found, torch.cat([features[key] for key in keys]))
        assert lengths.tolist() == [counts[i] for i in order]


def test_half_precision_is_kept_as_it_is(tmp_path, store):
    half = rows(0, 4).half()
    shard(store, {"a": half})
    found, _ = opened(tmp_path).read(["a"])
    assert found.dtype == torch.float16
    assert torch.equal(found, half)


def test_what_is_missing_is_what_was_not_written(store):
    shard(store, {"a": rows(0)})
    assert store.missing(["a", "b", "c"]) == {"b", "c"}


def test_shards_of_other_processes_are_taken_in(tmp_path, store):
    other = opened(tmp_path)
    shard(other, {"a": rows(0)})
    assert store.missing(["a"]) == {"a"}
    store.refresh()
    assert torch.equal(store.read(["a"])[0], rows(0))


def test_irregular_times_come_back_by_clip_and_old_shards_have_none(tmp_path, store):
    """A file without times is as shards were before there were any."""
    own = {"b": torch.tensor([0.1, 0.3, 1.0 / 3], dtype=torch.float64), "c": torch.tensor([0.7], dtype=torch.float64)}
    shard(store, {"a": rows(0, 2), "b": rows(1, 3), "c": rows(2)}, own)
    shard(store, {"d": rows(3, 2)})
    again = opened(tmp_path)
    found = again.irregular(["d", "c", "a", "b"])
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)
    assert torch.equal(again.read(["b", "a"])[0], torch.cat((rows(1, 3), rows(0, 2))))
    (plain,) = [path for path in store.folder.glob("*.safetensors") if len(load_file(path)) == 1]
    assert torch.equal(load_file(plain)["rows"], rows(3, 2))


def test_rows_of_clips_lie_in_the_mapped_files_where_they_are_said_to(tmp_path, store):
    shard(store, {"a": rows(0, 2), "b": rows(1, 3)})
    shard(store, {"c": rows(2, 1)})
    files, file, row = opened(tmp_path).mapped(["b", "c", "a"])
    found = torch.stack([files[one][other] for one, other in zip(file.tolist(), row.tolist(), strict=True)])
    assert torch.equal(found, torch.cat((rows(1, 3), rows(2, 1), rows(0, 2))))
    assert store.lengths(["b", "c", "a"]) == [3, 1, 2]


def test_frame_times_and_cost_come_back(tmp_path, store):
    shard(store, {"a": rows(0), "b": rows(1)})
    again = opened(tmp_path)
    assert again.times() == (0.02, 0.0125)
    assert again.cost(["a"]) == {"extract_seconds": 0.5, "audio_seconds": 1.0, "extracted_on": ["cpu"]}


def test_encoders_grains_and_types_do_not_meet(tmp_path, store):
    shard(store, {"a": rows(0)})
    for other in (opened(tmp_path, "abd"), opened(tmp_path, grain="frame"), Store(tmp_path, "abc", "mean", "bf16")):
        assert other.missing(["a"]) == {"a"}


# ---- what is not whole -----------------------------------------------------------------------------------------------


def test_a_shard_without_an_index_does_not_exist(tmp_path, store):
    shard(store, {"a": rows(0)})
    next(store.folder.glob("*.json")).unlink()
    assert opened(tmp_path).missing(["a"]) == {"a"}
    assert entries(tmp_path) == []


def test_an_index_without_its_shard_does_not_exist(tmp_path, store):
    shard(store, {"a": rows(0)})
    next(store.folder.glob("*.safetensors")).unlink()
    assert opened(tmp_path).missing(["a"]) == {"a"}
    assert entries(tmp_path) == []


@pytest.mark.parametrize("text", ["", '{"file": "x', '{"some": "json"}', "[]"])
def test_an_index_that_makes_no_sense_is_passed_over(tmp_path, store, text):
    shard(store, {"a": rows(0)})
    (store.folder / "ffff.json").write_text(text)
    assert opened(tmp_path).missing(["a"]) == set()
    assert len(entries(tmp_path)) == 1


def test_what_a_killed_run_left_is_passed_over_and_cleared_by_the_next(tmp_path, store):
    shard(store, {"a": rows(0)})
    whole = names(store)
    for half in (".beef.safetensors.x1y2.part", ".beef.json.x1y2.part", "beef.safetensors"):
        (store.folder / half).write_bytes(b"half")
    again = opened(tmp_path)
    assert torch.equal(again.read(["a"])[0], rows(0))
    with again.extracting(Progress(quiet=True)):
        assert names(again) == whole


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_shard_is_never_read_and_goes_away_alone(tmp_path, store):
    shard(store, {"a": rows(0)})
    damaged = next(store.folder.glob("*.safetensors"))
    shard(store, {"b": rows(1)})
    flip_a_byte(damaged)
    again = opened(tmp_path)
    with pytest.raises(Damaged, match="1 shards"):
        again.read(["a", "b"])
    assert again.missing(["a", "b"]) == {"a"}
    assert not damaged.exists()
    assert torch.equal(again.read(["b"])[0], rows(1))


def test_verify_removes_what_is_damaged_from_the_whole_cache(tmp_path):
    for upstream in ("one", "two"):
        shard(opened(tmp_path, upstream), {"a": rows(0)})
    flip_a_byte(next((tmp_path / "features" / "two").rglob("*.safetensors")))
    assert [entry.folder.parent.name for entry in stores.verify(tmp_path)] == ["two"]
    assert [entry.folder.parent.name for entry in entries(tmp_path)] == ["one"]
    assert stores.verify(tmp_path) == []


def test_features_pruned_while_in_use_are_an_error_that_says_what_to_do(tmp_path, store):
    shard(store, {"a": rows(0)})
    store.verify(["a"])
    prune(tmp_path, 0)
    with pytest.raises(Damaged, match="give the same command again"):
        store.read(["a"])


# ---- a full disk -----------------------------------------------------------------------------------------------------


def full_in_the_shard(monkeypatch):
    def save(_tensors, path):
        Path(path).write_bytes(b"half a shard")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(stores, "save_file", save)


def full_in_the_index(monkeypatch):
    def write(path, text, *args, write=Path.write_text):
        write(path, text[:9], *args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write)


def full_at_the_rename(monkeypatch):
    def replace(path, _target):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("full", [full_in_the_shard, full_in_the_index, full_at_the_rename])
def test_a_full_disk_is_said_clearly_and_leaves_nothing_behind(tmp_path, store, monkeypatch, full):
    shard(store, {"a": rows(0)})
    before = names(store)
    with monkeypatch.context() as patch:
        full(patch)
        with pytest.raises(BenchError, match=r"the disk is full(?s:.*)nothing is lost(?s:.*)bench cache prune"):
            shard(store, {"b": rows(1)})
    assert names(store) == before
    assert store.missing(["a", "b"]) == {"b"}
    shard(store, {"b": rows(1)})
    assert torch.equal(opened(tmp_path).read(["b", "a"])[0], torch.cat([rows(1), rows(0)]))


def test_another_trouble_with_the_disk_is_told_in_its_own_words(store, monkeypatch):
    def save(_tensors, _path):
        raise SafetensorError("I/O error: Input/output error (os error 5)")

    monkeypatch.setattr(stores, "save_file", save)
    with pytest.raises(BenchError, match=r"could not write .*Input/output error"):
        shard(store, {"a": rows(0)})


# ---- the budget ------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    """Shards of three encoders, last used in the order b, c, a."""
    made = {name: opened(tmp_path, name) for name in "abc"}
    for name, used in (("a", 3), ("b", 1), ("c", 2)):
        shard(made[name], {"x": rows(0, 100)})
        os.utime(next(made[name].folder.glob("*.json")), (used, used))
    return made


def left(cache):
    return [entry.folder.parent.name for entry in entries(cache)]


def test_the_least_recently_used_go_first(tmp_path, three):
    size = entries(tmp_path)[0].bytes
    assert left(tmp_path) == ["b", "c", "a"]
    assert prune(tmp_path, 3 * size) == 0
    assert prune(tmp_path, 2.5 * size) == size
    assert left(tmp_path) == ["c", "a"]
    assert prune(tmp_path, 0) == 2 * size
    assert left(tmp_path) == []
    assert names(three["a"]) == []


def test_a_shard_of_another_version_takes_space_and_can_be_pruned(tmp_path, store):
    shard(store, {"a": rows(0)})
    next(store.folder.glob("*.json")).write_text('{"layout": "of another version"}')
    assert opened(tmp_path).missing(["a"]) == {"a"}
    (entry,) = entries(tmp_path)
    assert entry.clips == 0
    assert prune(tmp_path, 0) == entry.bytes


def test_pruning_spares_the_features_in_use(tmp_path, three):
    size = entries(tmp_path)[0].bytes
    assert prune(tmp_path, 1.5 * size, keep=three["b"].files_of(["x"])) == 2 * size
    assert left(tmp_path) == ["b"]


def test_reading_makes_features_recent(tmp_path, three):
    three["b"].read(["x"])
    assert left(tmp_path) == ["c", "a", "b"]


def test_the_index_tells_what_a_shard_holds(tmp_path, store):
    """Other programs may read it: keys in row order, rows of each, and the checksum of the file beside it."""
    shard(store, {"a": rows(0, 2), "b": rows(1, 3)})
    index = json.loads(next(store.folder.glob("*.json")).read_text())
    assert (index["keys"], index["rows"]) == (["a", "b"], [2, 3])
    assert [entry.clips for entry in entries(tmp_path)] == [2]

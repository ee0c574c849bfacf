"""Features of every clip: forwarded once, whatever was stored, in whatever company, or not at all."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds, write_noise

from earbench import audio
from earbench.contract import Clip
from earbench.errors import BenchError
from earbench.extract import distinct, estimate_bytes, extract, packs_of
from earbench.forward import encode
from earbench.plan import ENGINE

MIXED = [0.5, 0.31, 0.5, 0.8, 0.123, 1.0, 0.5, 0.77, 0.31, 0.64, 0.2, 0.5]


@pytest.fixture
def clips(tmp_path):
    return noise_clips(tmp_path / "audio", MIXED)


@pytest.fixture
def small(settings):
    """Settings under which a pack holds two seconds."""
    return settings.with_(pack_seconds=2)


@pytest.fixture
def run(small, quiet):
    """Extract all clips of some folds; the shelf."""

    def run(upstream, *folds, grain="mean", settings=small, cache=None):
        task = ListedTask(*folds, grain=grain)
        found = prepared(task, Path("unused"), settings, quiet)
        return extract(cell(upstream, task), found, settings, cache or settings.cache, quiet)

    return run


def alone(upstream, clip, grain="mean"):
    """What the encoder says of one clip by itself."""
    wave = audio.read(clip, upstream.sample_rate)
    return encode(upstream, [wave], grain, "fp32", torch.device("cpu")).rows[0]


def shards(cache):
    return sorted(cache.rglob("*.safetensors"))


# ---- once ------------------------------------------------------------------------------------------------------------


def test_every_clip_is_forwarded_once_over_splits_folds_and_runs(run, clips):
    upstream = CountingUpstream()
    folds = [thirds(clips[start:] + clips[:start], f"fold {start}") for start in range(3)]
    run(upstream, *folds)
    run(upstream, folds[1])
    assert len(upstream.clips) == len(set(upstream.clips)) == len(clips)


def test_the_same_sound_under_two_names_is_forwarded_once(tmp_path, run, clips):
    copies = tuple(replace(clip, id=f"copy of {clip.id}", audio=tmp_path / clip.audio.name) for clip in clips)
    for clip, copy in zip(clips, copies, strict=True):
        copy.audio.write_bytes(clip.audio.read_bytes())
    upstream = CountingUpstream()
    shelf = run(upstream, thirds(clips + copies))
    assert len(upstream.clips) == len(clips)
    assert torch.equal(shelf.read(clips)[0], shelf.read(copies)[0])


def test_other_effects_or_stretches_of_one_file_are_other_features(run, clips):
    one = clips[5]
    louder = replace(one, id="louder", effects=(("gain_db", 6.0),))
    shorter = replace(one, id="shorter", stop=0.5)
    shelf = run(CountingUpstream(), thirds((one, louder, shorter)))
    found, _ = shelf.read([one, louder, shorter])
    assert len(set(shelf.keys.values())) == 3
    assert torch.allclose(found[1, :, 1], found[0, :, 1] * 10 ** (6 / 20))
    assert not torch.equal(found[2], found[0])


# ---- the right features ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grain", ["mean", "clip"])
def test_features_are_those_of_the_clip_alone_in_clip_order(run, clips, grain):
    upstream = CountingUpstream()
    order = [clips[i] for i in (7, 0, 11, 4, 2)]
    found, lengths = run(upstream, thirds(clips), grain=grain).read(order)
    expected = torch.cat([alone(upstream, clip, grain) for clip in order])
    assert torch.allclose(found, expected, atol=1e-6, rtol=1e-6)
    assert lengths.tolist() == [1] * 5


def test_grain_clip_is_the_encoders_own_embedding(run, clips):
    by_grain = {grain: run(CountingUpstream(), thirds(clips), grain=grain).read(clips)[0] for grain in ("mean", "clip")}
    for clip, embedded in zip(clips, by_grain["clip"], strict=True):
        samples = torch.from_numpy(audio.read(clip, 16_000))
        loudest = float(samples.unfold(0, 160, 160).abs().mean(1).max())
        assert embedded[:, 1].tolist() == pytest.approx([loudest, 2 * loudest], abs=1e-6)
    assert not torch.allclose(by_grain["mean"], by_grain["clip"], atol=1e-3)


def test_grain_frame_keeps_true_frames_in_half_precision(run, clips):
    upstream = CountingUpstream()
    shelf = run(upstream, thirds(clips), grain="frame")
    found, lengths = shelf.read(clips)
    assert found.dtype == torch.float16
    assert lengths.tolist() == [round(seconds * 16_000) // 160 for seconds in MIXED]
    for clip, frames in zip(clips, found.float().split(lengths.tolist()), strict=True):
        wave = torch.from_numpy(audio.read(clip, 16_000))[None]
        exact = upstream.encode(wave, torch.tensor([wave.shape[1]])).frames[0].transpose(0, 1)
        assert torch.allclose(frames, exact, rtol=2**-11, atol=1e-7)
    assert shelf.store.times() == (0.01, 0.005)


def test_clips_under_a_tenth_of_a_second_are_padded(tmp_path, run):
    short = noise_clips(tmp_path, [0.02, 0.05, 0.099])
    upstream = CountingUpstream()
    run(upstream, thirds(short))
    assert [length for _, lengths in upstream.shapes for length in lengths] == [1_600] * 3


def test_a_clip_padded_to_a_tenth_of_a_second_keeps_its_samples(tmp_path, run):
    short = noise_clips(tmp_path, [0.02, 0.05, 0.099])
    upstream = CountingUpstream()
    run(upstream, thirds(short))
    for clip, seen in zip(short, upstream.clips, strict=True):
        samples = audio.read(clip, 16_000)
        seen = np.frombuffer(seen, np.float32)
        assert np.array_equal(seen[: len(samples)], samples)
        assert not seen[len(samples) :].any()


def test_an_encoder_of_equal_lengths_never_sees_padding(run, clips):
    upstream = CountingUpstream(batching="equal")
    found, _ = run(upstream, thirds(clips)).read(clips)
    assert all(set(lengths) == {shape[1]} for shape, lengths in upstream.shapes)
    assert max(len(lengths) for _, lengths in upstream.shapes) > 1
    assert torch.allclose(found, torch.cat([alone(upstream, clip) for clip in clips]), atol=1e-6)


def test_files_of_several_rates_are_forwarded_at_the_encoders(tmp_path, run):
    paths = [write_noise(tmp_path / f"{rate}.wav", 0.5, rate=rate) for rate in (8_000, 16_000, 44_100)]
    upstream = CountingUpstream()
    run(upstream, thirds(tuple(Clip(path.name, path, "yes", "anna") for path in paths)))
    assert [lengths for _, lengths in upstream.shapes] == [[8_000] * 3]


# ---- packs and resumption --------------------------------------------------------------------------------------------


def test_packs_hold_every_clip_once_within_the_padded_budget(clips, small, quiet):
    items = distinct(prepared(ListedTask(thirds(clips)), Path("unused"), small, quiet))
    found = packs_of(items, "mean", small)
    assert [item for pack in found for item in pack] == list(items)
    assert all(len(pack) == 1 or len(pack) * max(item.seconds for item in pack) <= 2.0 for pack in found)
    assert len(found) < len(items)


def test_a_clip_longer_than_a_pack_has_a_pack_of_its_own(clips, small, quiet):
    items = distinct(prepared(ListedTask(thirds(clips)), Path("unused"), small, quiet))
    assert [len(pack) for pack in packs_of(items, "mean", small.with_(pack_seconds=0.1))] == [1] * len(items)


def test_a_resumed_extraction_gives_the_same_digits(tmp_path, run, clips, monkeypatch):
    """A shard after every pack; some go away, with their clips in the midst of packs that are otherwise there."""
    monkeypatch.setattr("earbench.extract.SHARD_BYTES", 1)
    whole = CountingUpstream()
    undisturbed = run(whole, thirds(clips)).read(clips)[0]
    cut = tmp_path / "cut"
    run(CountingUpstream(), thirds(clips), cache=cut)
    assert len(shards(cut)) > 3
    for path in shards(cut)[::2]:
        path.unlink()
    resumed = CountingUpstream()
    assert torch.equal(run(resumed, thirds(clips), cache=cut).read(clips)[0], undisturbed)
    assert 0 < len(resumed.clips) < len(clips)
    assert set(map(str, resumed.shapes)) < set(map(str, whole.shapes))


def test_what_another_run_stored_is_not_forwarded_again(run, clips):
    one, rest = CountingUpstream(), CountingUpstream()
    run(one, thirds(clips[:3]))
    run(rest, thirds(clips))
    assert len(one.clips) == 3
    assert len(rest.clips) == len(clips) - 3
    assert set(one.clips).isdisjoint(rest.clips)


def test_a_run_goes_on_with_the_packs_it_began_with(tmp_path, run, clips, monkeypatch):
    """Also where another run had stored some of the clips before it."""
    monkeypatch.setattr("earbench.extract.SHARD_BYTES", 1)
    whole, resumed = CountingUpstream(), CountingUpstream()
    run(CountingUpstream(), thirds(clips[:3]))
    before = set(shards(tmp_path / "cache"))
    undisturbed = run(whole, thirds(clips)).read(clips)[0]
    for path in sorted(set(shards(tmp_path / "cache")) - before)[::2]:
        path.unlink()
    assert torch.equal(run(resumed, thirds(clips)).read(clips)[0], undisturbed)
    assert 0 < len(resumed.clips) < len(whole.clips)
    assert set(map(str, resumed.shapes)) < set(map(str, whole.shapes))


def test_the_order_of_files_does_not_matter(tmp_path, run, clips):
    one = run(CountingUpstream(), thirds(clips), cache=tmp_path / "one").read(clips)[0]
    two = run(CountingUpstream(), thirds(clips[::-1]), cache=tmp_path / "two").read(clips)[0]
    assert torch.equal(one, two)


def test_damaged_features_are_extracted_again_with_the_same_digits(run, clips, small, monkeypatch, capsys):
    monkeypatch.setattr("earbench.extract.SHARD_BYTES", 1)
    undisturbed = run(CountingUpstream(), thirds(clips)).read(clips)[0]
    victim = shards(small.cache)[1]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    upstream = CountingUpstream()
    assert torch.equal(run(upstream, thirds(clips)).read(clips)[0], undisturbed)
    assert 0 < len(upstream.clips) < len(clips)
    assert "1 shards of features are damaged and were removed; extracting them again" in capsys.readouterr().err


# ---- memory and disk -------------------------------------------------------------------------------------------------


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
    BenchError("encode of somebody's module fails: MemoryError"),
]
MEMORY_ERRORS[-1].__cause__ = MemoryError()


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=str)
def test_running_out_of_memory_halves_the_batch(tmp_path, run, clips, error):
    roomy, narrow = CountingUpstream(), CountingUpstream(room=2, error=error)
    plenty = run(roomy, thirds(clips), cache=tmp_path / "plenty").read(clips)[0]
    scarce = run(narrow, thirds(clips), cache=tmp_path / "scarce").read(clips)[0]
    assert max(shape[0] for shape, _ in roomy.shapes) > 2
    assert max(shape[0] for shape, _ in narrow.shapes) == 2
    assert torch.allclose(scarce, plenty, atol=1e-6)


def test_a_clip_that_does_not_fit_alone_is_an_error(run, clips):
    with pytest.raises(BenchError, match=r"one clip of 0\.1 s does not fit in the memory of 'cpu'"):
        run(CountingUpstream(room=0, error=MEMORY_ERRORS[0]), thirds(clips))


def test_another_error_of_the_encoder_is_not_taken_for_memory(run, clips):
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        run(CountingUpstream(room=2, error=RuntimeError("sizes of tensors must match")), thirds(clips))


def test_features_that_cannot_fit_the_store_are_refused_before_the_first_batch(run, clips, small):
    upstream = CountingUpstream()
    with pytest.raises(BenchError, match=r"12 clips need(?s:.*)raise budget_gb in \[cache\]"):
        run(upstream, thirds(clips), settings=small.with_(budget_gb=1e-9))
    assert upstream.clips == []


@pytest.mark.parametrize("grain", ["mean", "frame"])
def test_the_estimate_is_about_what_is_stored(clips, small, quiet, run, grain):
    items = distinct(prepared(ListedTask(thirds(clips)), Path("unused"), small, quiet))
    shelf = run(CountingUpstream(), thirds(clips), grain=grain)
    stored, _ = shelf.store.read(list(shelf.keys.values()))
    assert estimate_bytes(CountingUpstream(), grain, items) == pytest.approx(stored.nbytes, rel=0.05)


def test_room_is_made_by_removing_features_of_other_encoders(run, clips, small):
    other = ListedTask(thirds(clips))
    assert run(CountingUpstream(), other.listed[0], grain="clip").store.missing([]) == set()
    (old,) = shards(small.cache)
    tight = small.with_(budget_gb=(old.stat().st_size + 100) / 1e9)
    run(CountingUpstream(), thirds(clips), settings=tight)
    assert not old.exists()
    assert len(shards(small.cache)) == 1


def test_a_run_after_a_full_disk_completes(tmp_path, run, clips, monkeypatch):
    monkeypatch.setattr("earbench.extract.SHARD_BYTES", 1)
    undisturbed = run(CountingUpstream(), thirds(clips), cache=tmp_path / "whole").read(clips)[0]
    upstream, cache = CountingUpstream(), tmp_path / "full"
    with monkeypatch.context() as patch:
        fill_after(2, patch)
        with pytest.raises(BenchError, match="the disk is full"):
            run(upstream, thirds(clips), cache=cache)
    assert len(shards(cache)) == 2
    assert torch.equal(run(upstream, thirds(clips), cache=cache).read(clips)[0], undisturbed)


def fill_after(number, patch):
    """The disk is full after so many shards."""
    from earbench import store

    left = iter(range(number))

    def save(tensors, path, save=store.save_file):
        if next(left, None) is None:
            raise store.SafetensorError("I/O error: No space left on device (os error 28)")
        save(tensors, path)

    patch.setattr(store, "save_file", save)


# ---- what must not be stored -----------------------------------------------------------------------------------------


class Spoiling(CountingUpstream):
    """Gives `value` in the first frame of any clip that is as long as this."""

    def __init__(self, samples, value):
        super().__init__()
        self.samples, self.value = samples, value

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        features.frames[lengths == self.samples, 0, 0, 0] = self.value
        return features


class Interrupted(CountingUpstream):
    """Meets Ctrl-C at its third batch."""

    def encode(self, waves, lengths):
        if len(self.shapes) == 2:
            raise KeyboardInterrupt
        return super().encode(waves, lengths)


def test_what_was_computed_before_ctrl_c_is_kept(run, clips):
    upstream = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(upstream, thirds(clips))
    again = CountingUpstream()
    run(again, thirds(clips))
    seen = upstream.clips + again.clips
    assert len(upstream.clips) > 0
    assert len(seen) == len(set(seen)) == len(clips)


@pytest.mark.parametrize("grain", ["mean", "clip", "frame"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused_with_the_clip(run, clips, small, grain, value):
    with pytest.raises(BenchError, match=r"'counting' gives NaN or infinite .* for 1 clips, the first: clip-5"):
        run(Spoiling(16_000, value), thirds(clips), grain=grain)
    assert shards(small.cache) == []


def test_frames_too_large_for_half_precision_are_refused_with_the_clip(run, clips, small):
    with pytest.raises(BenchError, match=r"larger than 65,504(?s:.*)the first: clip-5"):
        run(Spoiling(16_000, 65_530.0), thirds(clips), grain="frame")
    assert shards(small.cache) == []
    run(Spoiling(16_000, 65_500.0), thirds(clips), grain="frame")


class LoudPadding(CountingUpstream):
    """Anything may stand behind a clip's last frame."""

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        behind = torch.arange(features.frames.shape[2]) >= features.lengths[:, None]
        features.frames.masked_fill_(behind[:, None, :, None], float("nan"))
        return features


@pytest.mark.parametrize("grain", ["mean", "frame"])
def test_what_stands_behind_the_last_frame_does_not_matter(tmp_path, run, clips, grain):
    loud = run(LoudPadding(), thirds(clips), grain=grain, cache=tmp_path / "loud").read(clips)[0]
    assert torch.equal(loud, run(CountingUpstream(), thirds(clips), grain=grain).read(clips)[0])


def test_single_and_half_width_encoders_do_not_share_features(run, clips, small):
    upstream = CountingUpstream()
    run(upstream, thirds(clips))
    shelf = run(upstream, thirds(clips), settings=small.with_(dtype="bf16"))
    assert len(upstream.clips) == 2 * len(clips)
    assert {path.parent.name for path in shards(small.cache)} == {f"mean-fp32-e{ENGINE}", f"mean-bf16-e{ENGINE}"}
    assert shelf.read(clips)[0].dtype == torch.float32


# ---- two processes ---------------------------------------------------------------------------------------------------

PROCESS = """
import hashlib, sys
from pathlib import Path
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds
from earbench import config
from earbench.extract import extract
from earbench.progress import Progress

root, own, durations, quiet = Path(sys.argv[1]), sys.argv[2], map(float, sys.argv[3:]), Progress(quiet=True)
settings = config.load(root / "bench.toml").with_(cache=root / "cache", pack_seconds=2)
task, upstream = ListedTask(thirds(noise_clips(root / own, durations))), CountingUpstream(pause=0.05)
print("ready", flush=True)
sys.stdin.readline()
shelf = extract(cell(upstream, task), prepared(task, root, settings, quiet), settings, settings.cache, quiet)
features, _ = shelf.read(task.listed[0].train.clips)
print(len(upstream.clips), hashlib.sha256(features.numpy().tobytes()).hexdigest())
"""


def test_two_processes_fill_one_store_together(tmp_path, run, clips):
    """They start at the same moment, on their own copies of the audio, and between them forward every clip once."""
    expected = run(CountingUpstream(), thirds(clips), cache=tmp_path / "single").read(clips[0::3])[0]
    both = [started(tmp_path, name) for name in "ab"]
    for process in both:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [finished(process) for process in both]
    assert sorted(int(count) for count, _ in answers) == [0, len(clips)]
    assert {digits for _, digits in answers} == {hashlib.sha256(expected.numpy().tobytes()).hexdigest()}


def started(root, own):
    command = [sys.executable, "-W", "error", "-c", PROCESS, str(root), own, *map(str, MIXED)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=Path(__file__).parent, **pipes)


def finished(process):
    """How many clips it forwarded, and the digest of its features."""
    out, errors = process.communicate()
    waited = "warning: another process is extracting with this encoder; waiting for it\n"
    assert (process.returncode, errors.replace(waited, "")) == (0, "")
    return out.split()

"""Features that were computed elsewhere: the same record as from the encoder itself, or the reason why not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fakes import ListedTask, noise_clips, prepared, thirds
from fitting import rates
from typer.testing import CliRunner

from earbench import audio, clips, line
from earbench import record as records
from earbench.boards import board
from earbench.checks import upstream as check_upstream
from earbench.cli import app
from earbench.contract import Labels, Task
from earbench.errors import BadFeatures, RequestError
from earbench.kit.arrays import FOLDERS, described, stated
from earbench.plan import Request, load_upstream
from earbench.supplied import misfit

README = Path(__file__).parents[1] / "upstreams" / "earbench_upstreams" / "README.md"
DURATIONS = [0.4, 0.31, 0.5, 0.8, 0.123, 1.0, 0.5, 0.77, 0.31, 0.64, 0.05, 1.5] * 2
SPEC = f"py:{Path(__file__).with_name('fakes.py')}:CountingUpstream"
NAME = "py-fakes.py-CountingUpstream"
SAID = ("scores", "search", "recipe", "layers", "decoding", "columns")


class Loudness(ListedTask):
    """Is the noise soft or loud? At any grain."""

    batches, weights = Task.batches, Task.weights

    def space(self, fold):
        return Labels(("soft", "loud"))

    def recipes(self, effort, demo):
        return rates(1e-2, 1e-3, batch=4, steps=12, every=4)


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Stands for `ks`: the task at some grain, on noise with gains and stretches, one clip below 0.1 s."""
    gains = np.random.default_rng(0).normal(0, 6, len(DURATIONS)) + [-2.0, 2.0] * (len(DURATIONS) // 2)
    noise = [
        replace(clip, label=("soft", "loud")[number % 2], effects=(("gain_db", float(gain)),))
        for number, (clip, gain) in enumerate(zip(noise_clips(tmp_path / "noise", DURATIONS), gains, strict=True))
    ]
    noise[3] = replace(noise[3], start=0.2, stop=0.7)

    def at(grain):
        found = Loudness(thirds(tuple(noise)), grain=grain)
        monkeypatch.setattr("earbench.plan.load_task", lambda _: found)
        monkeypatch.setattr("earbench.clips.load_task", lambda _: found)
        return found

    return at


@pytest.fixture
def run(tmp_path, settings, quiet):
    """The record of an encoder on the task."""

    def run(upstream, settings=settings, **options):
        request = Request(upstream, "ks", data=str(tmp_path / "noise"), partial=True, **options)
        return line.run(request, settings, quiet)

    return run


@pytest.fixture
def filled(tmp_path, settings, quiet):
    """A folder that `bench extract` filled; gives its path."""

    def filled(spec=SPEC, settings=settings):
        request = Request(spec, "ks", data=str(tmp_path / "noise"), partial=True)
        clips.write_features(request, tmp_path / "mine", settings, quiet)
        return tmp_path / "mine"

    return filled


def arrays(folder, kind="means"):
    return sorted((folder / kind).glob("*.npy"))


def change(folder, **facts):
    path = folder / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


# ---- the same record -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grain", FOLDERS)
def test_features_written_by_extract_give_the_record_of_their_encoder(grain, task, run, filled):
    task(grain)
    original, copy = run(SPEC), run(f"features:{filled()}")
    assert original.facts["scores"]["accuracy"]["value"] not in (0, 100), "scores that could not differ show nothing"
    for part in SAID:
        assert copy.facts[part] == original.facts[part]
    assert copy.rows() == original.rows()
    added = [one for one in copy.facts["deviations"] if one not in original.facts["deviations"]]
    assert added == ["features-supplied: computed elsewhere from the list of clips, not by this program"]


@pytest.mark.parametrize("grain", ["mean", "frame"])
@pytest.mark.parametrize("layers", ["each", "0", "last"])
def test_layers_are_chosen_as_of_any_encoder(layers, grain, task, run, filled):
    task(grain)
    original, copy = run(SPEC, layers=layers), run(f"features:{filled()}", layers=layers)
    assert all(copy.facts[part] == original.facts[part] for part in SAID)


def test_a_folder_holds_every_layer_although_the_task_looks_at_one(task, filled):
    task("frame").layers = "last"
    assert {np.load(path).shape[0] for path in arrays(filled(), "frames")} == {2}


def test_the_record_says_what_the_folder_states(task, run, filled):
    task("mean")
    folder = filled()
    change(folder, licence="private", parameters=None, pretraining="supervised", weights="2024-05")
    upstream = run(f"features:{folder}").facts["upstream"]
    assert upstream["name"] == f"features:{NAME}"
    assert (upstream["licence"], upstream["parameters"], upstream["pretraining"]) == ("private", None, "supervised")
    assert upstream["source"] == {"weights": "2024-05"}
    assert str(folder) not in json.dumps(upstream)


def test_a_forecast_of_supplied_features_works(tmp_path, task, settings, quiet, filled):
    task("frame")
    request = Request(f"features:{filled()}", "ks", data=str(tmp_path / "noise"), partial=True)
    assert line.forecast(request, settings, quiet).clips == len(DURATIONS)


def test_no_extraction_is_charged_for(task, run, filled):
    task("mean")
    cost = run(f"features:{filled()}").facts["cost"]
    assert (cost["audio_seconds"], cost["real_time_factor"], cost["extract_seconds"]) == (0, None, 0)


def test_frames_beyond_the_budget_are_read_from_the_folder_and_score_the_same(task, run, filled, settings):
    task("frame")
    folder = filled()
    stored = run(f"features:{folder}")
    streamed = run(f"features:{folder}", settings.with_(budget_gb=1e-9, cache=settings.cache / "other"), again=True)
    assert streamed.facts["cost"]["features"] == "streamed"
    assert all(streamed.facts[part] == stored.facts[part] for part in SAID)


def test_extract_writes_the_same_arrays_when_frames_do_not_fit_the_store(task, filled, settings):
    task("frame")
    stored = {path.name: path.read_bytes() for path in arrays(filled(), "frames")}
    for path in arrays(filled(), "frames"):
        path.unlink()
    streamed = arrays(filled(settings=settings.with_(budget_gb=1e-9, cache=settings.cache / "other")), "frames")
    assert {path.name: path.read_bytes() for path in streamed} == stored


def test_without_means_the_frames_are_averaged(task, run, filled):
    task("frame")
    folder = filled()
    task("mean")
    copy, original = run(f"features:{folder}"), run(SPEC)
    assert not (folder / "means").exists()
    ours, theirs = (one.facts["scores"]["accuracy_logistic"]["value"] for one in (copy, original))
    assert ours == theirs


def test_supplied_features_stand_on_boards_with_a_footnote(task, run, filled, settings):
    task("mean")
    record = run(f"features:{filled()}")
    plan = replace(settings.boards["demo"], corpus="published")
    whole = [one for one in record.facts["deviations"] if not one.startswith("partial")]
    found = board(plan, [replace(record, facts={**record.facts, "deviations": whole})])
    assert [row.upstream for row in found.rows] == [f"features:{NAME}"]
    assert any(note.startswith("features-supplied: ") for note in found.notes)


# ---- by anybody's program --------------------------------------------------------------------------------------------


def program():
    """What the README shows for filling a folder."""
    shown = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (found,) = [code for code in shown if "np.save" in code]
    return found


@pytest.mark.parametrize("grain", ["frame", "mean"])
def test_ten_lines_of_numpy_give_the_scores_of_the_encoder_they_copy(
    grain, task, run, tmp_path, settings, quiet, monkeypatch
):
    assert len([row for row in program().splitlines() if row.strip() and "import" not in row]) <= 10
    task(grain)
    clips.write_list(clips.Wish("ks", str(tmp_path), True), tmp_path / "mine", True, settings, quiet)
    monkeypatch.chdir(tmp_path)
    exec(compile(program(), str(README), "exec"), {})
    original, copy = run("log_stft"), run(f"features:{tmp_path / 'mine'}")
    assert copy.facts["upstream"]["name"] == "features:my_log_stft"
    assert original.facts["scores"]["accuracy"]["value"] not in (0, 100), "scores that could not differ show nothing"
    for name, score in original.scores.items():
        for part in ("value", "low", "high"):
            assert copy.scores[name][part] == pytest.approx(score[part], abs=1e-5), name


# ---- the list of clips -----------------------------------------------------------------------------------------------


def test_the_list_has_the_keys_and_stretches_that_the_engine_asks_for(task, tmp_path, settings, quiet):
    asked = prepared(task("mean"), Path("unused"), settings, quiet)
    rows = clips.listed(clips.Wish("ks", str(tmp_path), True), settings, quiet)
    by_key = {asked.key(clip): clip for clip in asked.clips()}
    assert {row["key"] for row in rows} == by_key.keys()
    for row in rows:
        clip = by_key[row["key"]]
        assert (row["audio"], row["start"], row["stop"]) == (str(clip.audio), clip.start, clip.stop)
        assert row["effects"] == [["gain_db", clip.effects[0][1]]]
        assert row["seconds"] == pytest.approx(asked.seconds()[clip.id])


def test_keys_are_by_content_whatever_the_task_or_the_place(task, tmp_path, settings, quiet):
    wish = clips.Wish("ks", str(tmp_path), True)
    task("mean")
    here = clips.listed(wish, settings, quiet)
    moved = (tmp_path / "noise").rename(tmp_path / "moved")
    train = task("frame").listed[0].train.clips
    noise = [replace(clip, audio=moved / clip.audio.name, id=f"other {clip.id}") for clip in train]
    there = prepared(ListedTask(thirds(tuple(noise)), grain="frame"), Path("unused"), settings, quiet)
    assert {there.key(clip) for clip in noise} <= {row["key"] for row in here}


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_the_audio_that_is_written_is_what_an_encoder_would_get(rate, task, tmp_path, settings, quiet):
    asked = prepared(task("mean"), Path("unused"), settings, quiet)
    clips.write_list(clips.Wish("ks", str(tmp_path), True, rate), tmp_path / "mine", True, settings, quiet)
    peaks = []
    for clip in asked.clips():
        found, found_rate = soundfile.read(tmp_path / "mine" / "audio" / f"{asked.key(clip)}.wav", dtype="float32")
        wave = audio.read(clip, rate)
        assert found_rate == rate
        assert np.array_equal(found[: len(wave)], wave)
        assert not found[len(wave) :].any()
        assert len(found) == max(len(wave), rate // 10)
        peaks.append(np.abs(wave).max())
    assert max(peaks) > 1, "samples beyond full scale must survive"


def test_audio_of_another_rate_is_written_anew(task, tmp_path, settings, quiet):
    task("mean")
    for rate in (16_000, 8_000):
        clips.write_list(clips.Wish("ks", str(tmp_path), True, rate), tmp_path / "mine", True, settings, quiet)
    assert {soundfile.info(path).samplerate for path in (tmp_path / "mine" / "audio").iterdir()} == {8_000}


def test_the_list_follows_what_the_folder_states(task, tmp_path, filled, settings, quiet):
    task("mean")
    folder = filled()
    for said, wrong in {"--sample-rate": {"sample_rate": 8_000}, "--hop": {"hop": 0.5}}.items():
        with pytest.raises(RequestError, match=said):
            clips.write_list(clips.Wish("ks", str(tmp_path), True, **wrong), folder, False, settings, quiet)
    clips.write_list(clips.Wish("ks", str(tmp_path), True), folder, False, settings, quiet)
    lines = (folder / "clips" / "ks.csv").read_text().splitlines()
    assert lines[0] == "key,audio,start,stop,effects,seconds"
    assert {one.partition(",")[0] for one in lines[1:]} == {path.stem for path in arrays(folder)}


def test_two_encoders_cannot_share_a_folder(task, filled):
    task("mean")
    filled()
    with pytest.raises(RequestError, match=rf"holds features of '{NAME}'(?s:.*)choose another folder"):
        filled("fbank_no_cmvn")


def test_a_folder_of_features_is_not_extracted_again(task, filled):
    task("mean")
    with pytest.raises(RequestError, match="a folder of features already"):
        filled(f"features:{filled()}")


# ---- what is wrong is told before any work ---------------------------------------------------------------------------


def nan(folder):
    path = arrays(folder)[0]
    np.save(path, np.full_like(np.load(path), np.nan))


def reshaped(folder):
    np.save(arrays(folder)[0], np.zeros((2, 5), np.float32))


def other_type(folder):
    np.save(arrays(folder)[0], np.zeros((2, 3), np.int64))


def header(kind, shape):
    """How a .npy file begins that says it holds this."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(117).encode() + b"\n"


def pickled(folder):
    arrays(folder)[0].write_bytes(header("|O", (2, 3)) + b"cos\nsystem\n(S'false'\ntR.")


def archived(folder):
    with arrays(folder)[0].open("wb") as file:
        np.savez(file, np.zeros((2, 3), np.float32))


def cut_off(folder):
    path = arrays(folder)[0]
    path.write_bytes(path.read_bytes()[:-8])


def claiming_a_lot(folder):
    arrays(folder)[0].write_bytes(header("<f4", (99_999_999_999, 3)))


def text(folder):
    arrays(folder)[0].write_bytes(b"text")


SPOILED = {
    nan: "holds NaN or infinite numbers",
    reshaped: r"has shape \[2, 5\], not \[2, 3\] as features.json says",
    other_type: "is of type int64, not one of float16, float32, float64",
    pickled: "is no array that numpy can read: .*Python objects",
    archived: "is an archive of arrays",
    cut_off: "is no array that numpy can read: .*greater than file size",
    claiming_a_lot: "is no array that numpy can read: .*greater than file size",
    text: "is no array that numpy can read",
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_an_array_that_cannot_be_used_is_named_with_the_reason(spoil, task, run, filled, settings):
    task("mean")
    folder = filled()
    spoil(folder)
    where, reason = f"means/{arrays(folder)[0].name}", SPOILED[spoil]
    with pytest.raises(BadFeatures, match=rf"1 of its files cannot be used(?s:.*){where} {reason}.*, of clip-"):
        run(f"features:{folder}")
    assert not list(settings.results.rglob("*.json"))


def test_missing_clips_are_counted_and_the_first_are_named(task, run, filled):
    task("mean")
    folder = filled()
    for path in arrays(folder)[:8]:
        path.unlink()
    with pytest.raises(BadFeatures, match=r"lacks 8 of the 24 clips of task 'ks'") as caught:
        run(f"features:{folder}")
    named = re.findall(r"missing: frames/\w{16}.npy, of clip-\d+", str(caught.value))
    assert len(named) == 5
    assert "and 3 more" in str(caught.value)
    assert "bench clips --task ks" in str(caught.value)


def test_files_of_other_clips_do_not_matter(task, run, filled):
    task("mean")
    folder = filled()
    first = run(f"features:{folder}")
    (folder / "means" / "0123456789abcdef.npy").write_bytes(b"of another task")
    assert run(f"features:{folder}").path == first.path


@pytest.mark.parametrize("hop", [0.005, 0.02])
def test_a_hop_that_does_not_fit_the_durations_is_found(hop, task, run, filled):
    task("frame")
    folder = filled()
    change(folder, hop=hop)
    with pytest.raises(BadFeatures, match=rf"frames; with a hop of {hop:g} s from .* the last is at"):
        run(f"features:{folder}")


REACHING = [(100, 1.0, True), (99, 1.0, True), (50, 1.0, False), (200, 1.0, False), (1, 0.01, True)]


@pytest.mark.parametrize(("frames", "seconds", "fits"), REACHING)
def test_frames_reach_about_as_far_as_the_clip(frames, seconds, fits, task, filled):
    task("mean")
    upstream = load_upstream(f"features:{filled()}")
    assert (misfit(upstream, frames, seconds) is None) == fits


def test_embeddings_of_different_widths_are_refused(task, run, filled):
    task("clip")
    folder = filled()
    np.save(arrays(folder, "embeddings")[-1], np.zeros((2, 7), np.float32))
    with pytest.raises(BadFeatures, match=r"has 2 x \d+ numbers, others 2 x \d+"):
        run(f"features:{folder}")


def test_vectors_are_no_frames(task, run, filled):
    task("mean")
    folder = filled()
    task("frame")
    with pytest.raises(BadFeatures, match="lacks 24 of the 24 clips"):
        run(f"features:{folder}")


def test_an_untrained_twin_is_refused_with_the_reason(task, run, filled):
    task("mean")
    with pytest.raises(RequestError, match="no network here to draw weights for"):
        run(f"features:{filled()}~random")


def test_what_needs_an_encoder_is_refused(task, run, filled, settings):
    task("mean")
    folder = filled()
    with pytest.raises(RequestError, match="--dtype bf16: the features of"):
        run(f"features:{folder}", settings.with_(dtype="bf16"))
    with pytest.raises(RequestError, match="nothing here could encode audio"):
        load_upstream(f"features:{folder}").encode(torch.zeros(1, 16_000), torch.tensor([16_000]))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"hop": 0}, "hop: 0 is less than or equal to the minimum of 0"),
        ({"layers": 2.5}, "layers: 2.5 is not of type 'integer'"),
        ({"name": "a/b"}, "name: 'a/b' does not match"),
        ({"licence": ""}, "licence: '' "),
        ({"pretraining": "yes"}, "pretraining: 'yes' is not one of"),
        ({"licnse": "MIT"}, "'licnse' was unexpected"),
    ],
)
def test_wrong_facts_are_named(facts, said, task, run, filled):
    task("mean")
    folder = filled()
    change(folder, **facts)
    with pytest.raises(BadFeatures, match=r"features.json does not describe an encoder") as caught:
        run(f"features:{folder}")
    assert said in str(caught.value)
    assert "it may hold name, weights, licence" in str(caught.value)


def test_every_missing_fact_is_named(tmp_path):
    (tmp_path / "features.json").write_text('{"name": "mine"}')
    with pytest.raises(BadFeatures) as caught:
        load_upstream(f"features:{tmp_path}")
    for fact in ("weights", "licence", "sample_rate", "hop", "first", "layers", "width"):
        assert f"'{fact}' is a required property" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"text"'])
def test_facts_that_are_none_are_refused(text, tmp_path):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(BadFeatures):
        load_upstream(f"features:{tmp_path}")


def test_a_folder_without_facts_is_refused_with_what_they_are(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RequestError, match="name, weights, licence, sample_rate"):
            load_upstream(f"features:{folder}")


# ---- changed arrays --------------------------------------------------------------------------------------------------


def changed(folder):
    for path in arrays(folder):
        np.save(path, np.load(path) * 2 + 1)


def test_changed_arrays_are_found_and_need_other_weights(task, run, filled, settings):
    task("mean")
    folder = filled()
    first = run(f"features:{folder}")
    changed(folder)
    with pytest.raises(RequestError, match=r"not those that its record of task 'ks'(?s:.*)change `weights`"):
        run(f"features:{folder}")
    change(folder, weights="second")
    second = run(f"features:{folder}")
    assert second.facts["upstream"]["digest"] != first.facts["upstream"]["digest"]
    assert len(records.every(settings.results)) == 2


def test_changed_arrays_are_never_taken_for_stored_ones(task, run, filled, settings):
    """The store is keyed by what is in the files, even where the record was thrown away and `weights` kept."""
    task("mean")
    folder = filled()
    first = run(f"features:{folder}")
    changed(folder)
    other = settings.with_(results=settings.results / "other")
    second = run(f"features:{folder}", other)
    assert second.facts["upstream"]["digest"] == first.facts["upstream"]["digest"]
    assert second.facts["plan"]["id"] != first.facts["plan"]["id"]
    assert second.facts["layers"]["heads"] != first.facts["layers"]["heads"]


def test_facts_that_tell_nothing_of_the_encoder_do_not_change_the_plan(task, run, filled):
    task("mean")
    folder = filled()
    first = run(f"features:{folder}")
    change(folder, licence="CC0")
    assert run(f"features:{folder}").path == first.path


def test_an_array_is_read_whole_only_once(task, run, filled, monkeypatch):
    task("mean")
    folder = filled()
    run(f"features:{folder}")
    monkeypatch.setattr("earbench.supplied.probe", lambda *_: pytest.fail("read again"))
    run(f"features:{folder}")


# ---- the check -------------------------------------------------------------------------------------------------------


def test_the_check_looks_at_every_array(task, filled):
    task("mean")
    folder = filled()
    (sound,) = check_upstream.run(load_upstream(f"features:{folder}"))
    nan(folder)
    (spoiled,) = check_upstream.run(load_upstream(f"features:{folder}"))
    assert (sound.ok, spoiled.ok) == (True, False)
    assert "24 arrays" in sound.detail
    assert "NaN" in spoiled.detail


def test_a_written_description_is_read_back(task, filled):
    task("mean")
    facts = stated(filled())
    assert described(facts) == (filled() / "features.json").read_text()
    assert (facts.layers, facts.width, facts.sample_rate, facts.pretraining) == (2, 3, 16_000, "self-supervised")


def test_one_layer_needs_no_axis(task, run, filled):
    """[time, width] and [width] are the one layer."""
    task("mean")
    folder = filled("fbank_no_cmvn")
    first = run(f"features:{folder}")
    for path in arrays(folder):
        np.save(path, np.load(path)[0])
    change(folder, weights="flat")
    assert run(f"features:{folder}").facts["scores"] == first.facts["scores"]


# ---- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path):
    """What a command prints as JSON; it must end with `code`."""

    def bench(*words, code=0):
        cache = [] if words[0] == "check" else ["--cache", str(tmp_path / "cache")]
        done = CliRunner().invoke(app, [*words, *cache, "--json"])
        assert done.exit_code == code, done.output
        return done

    return bench


def test_the_commands_fill_a_folder_that_the_check_passes(toy, tmp_path, bench):
    places = ("--task", "ks", "--data", str(toy), "--partial", "--effort", "quick")
    out = ("--out", str(tmp_path / "mine"))
    listed = json.loads(bench("clips", *places).stdout)
    (written,) = json.loads(bench("clips", *places, *out).stdout)
    (extracted,) = json.loads(bench("extract", *places, *out, "--upstream", "mfcc").stdout)
    assert written == extracted == {**written, "task": "ks", "clips": len(listed), "written": str(tmp_path / "mine")}
    assert {path.stem for path in arrays(tmp_path / "mine")} == {row["key"] for row in listed}
    (finding,) = json.loads(bench("check", "--upstream", f"features:{tmp_path / 'mine'}").stdout)
    assert finding["ok"], finding


def test_audio_needs_a_folder(bench):
    done = bench("clips", "--task", "ks", "--audio", code=2)
    assert done.stdout == ""
    assert "--audio needs a folder to write to" in done.stderr

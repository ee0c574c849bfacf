"""The whole line through the real command, on a tiny corpus in the official layout."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HubertConfig, HubertModel

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one results folder for the runs of this module, as a user has."""
    return tmp_path_factory.mktemp("line")


def bench(*words: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; it must end with `code`."""
    places = ["--cache", str(folder / "cache"), "--results", str(folder / "results")] if words[0] == "run" else []
    command = [sys.executable, "-m", "earbench.cli", *words, *places]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == code, done.stderr + done.stdout
    return done


def record(*words: str, toy: Path, folder: Path) -> dict[str, Any]:
    """The one record of a run on the toy corpus."""
    done = bench("run", "--task", "ks", "--data", str(toy), "--partial", "--json", *words, folder=folder)
    (found,) = json.loads(done.stdout)["records"]
    return found


def test_the_toy_run_learns(toy: Path, folder: Path) -> None:
    found = record("--upstream", "fbank_no_cmvn", toy=toy, folder=folder)
    assert found["scores"]["accuracy"]["value"] > 3 * 100 / 12
    assert found["scores"]["accuracy"]["low"] <= found["scores"]["accuracy"]["value"]
    assert found["deviations"][0].startswith("silence-pool-64")


def test_a_second_run_answers_from_the_record(toy: Path, folder: Path) -> None:
    first = record("--upstream", "fbank_no_cmvn", toy=toy, folder=folder)
    again = record("--upstream", "fbank_no_cmvn", toy=toy, folder=folder)
    assert again == first


def test_again_without_the_cache_gives_the_same_digits(toy: Path, folder: Path) -> None:
    first = record("--upstream", "fbank_no_cmvn", toy=toy, folder=folder)
    fresh = record("--upstream", "fbank_no_cmvn", "--again", "--no-cache", toy=toy, folder=folder)
    assert fresh["provenance"]["when"] >= first["provenance"]["when"]
    assert fresh["cost"] != first["cost"]
    for part in ("plan", "scores", "search", "layers", "recipe"):
        assert fresh[part] == first[part]
    assert not list((folder / "cache").glob("no-cache-*"))


def test_every_option_that_changes_scores_is_a_plan_of_its_own(toy: Path, folder: Path) -> None:
    choices = [
        (),
        ("--layers", "each"),
        ("--layers", "0"),
        ("--seeds", "3"),
        ("--effort", "standard"),
        ("--dtype", "bf16"),
    ]
    quick = ("--upstream", "mfcc", "--effort", "quick")
    found = [record(*quick, *choice, toy=toy, folder=folder) for choice in choices]
    assert len({one["plan"]["id"] for one in found}) == len(choices)
    paths = list((folder / "results").glob("records/mfcc-*/ks-v1/*.json"))
    assert sorted(path.stem for path in paths) == sorted(f"{one['plan']['id']}-1" for one in found)
    assert len(found[3]["scores"]["accuracy"]["per_seed"]) == 3
    assert [layer["layer"] for layer in found[1]["layers"]["each"]] == [0]


def test_mean_normalised_features_are_constant_and_the_run_says_so(toy: Path, folder: Path) -> None:
    words = ("run", "--upstream", "fbank", "--task", "ks", "--data", str(toy), "--partial", "--effort", "quick")
    done = bench(*words, folder=folder)
    assert "warning: 240 of 240 pooled features of 'fbank' are the same for every clip" in done.stderr


def test_the_demo_corpus_runs_without_any_configuration(folder: Path) -> None:
    words = ("run", "--upstream", "fbank_no_cmvn", "--task", "ks", "--data", "demo", "--effort", "quick", "--json")
    (found,) = json.loads(bench(*words, folder=folder).stdout)["records"]
    assert found["task"]["demo"]
    assert "partial" not in " ".join(found["deviations"])


def test_nothing_on_stderr_is_progress_when_nobody_watches(toy: Path, folder: Path) -> None:
    words = ("run", "--upstream", "mel", "--task", "ks", "--data", str(toy), "--partial", "--json")
    done = bench(*words, "--effort", "quick", folder=folder)
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())
    json.loads(done.stdout)


def test_a_cell_that_fails_does_not_stop_the_others(toy: Path, folder: Path) -> None:
    words = ("run", "--upstream", "hubert@/no/such/folder,mfcc", "--task", "ks", "--data", str(toy), "--partial")
    done = bench(*words, "--effort", "quick", folder=folder, code=1)
    assert "hubert@/no/such/folder on ks" in done.stderr
    assert "mfcc" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--upstream", "hubertt"), ["no upstream called 'hubertt'", "did you mean: hubert"]),
        (("--upstream", "mfcc", "--task", "kss"), ["no task called 'kss'", "did you mean: ks"]),
        (("--upstream", "mfcc", "--task", "@nothing"), ["no suite called '@nothing'", "@superb"]),
        (("--upstream", "mfcc", "--layers", "7"), ["upstream 'mfcc' has layers 0 to 0"]),
        (("--upstream", "mfcc", "--layers", "best"), ["'best' is not mix, last, each or a layer number"]),
        (("--upstream", "mfcc", "--effort", "slow"), ["effort 'slow' is not one of quick, standard, reference"]),
        (("--upstream", "mfcc", "--device", "quantum"), ["device 'quantum' cannot be used here"]),
        (("--upstream", "mfcc", "--seeds", "0"), ["seeds must be positive"]),
        (("--upstream", "mfcc@x.pt"), ["upstream 'mfcc' takes no checkpoint"]),
        (("--upstream", "mfcc~random"), ["upstream 'mfcc' has no learned weights"]),
        (("--upstream", "mfcc", "--data", "/no/such/folder"), ["/no/such/folder is not a folder", "bench prepare"]),
    ],
)
def test_a_wrong_request_says_what_was_asked_what_was_found_and_what_to_do(
    words: tuple[str, ...], said: list[str], toy: Path, folder: Path
) -> None:
    rest = [*(() if "--task" in words else ("--task", "ks")), *(() if "--data" in words else ("--data", str(toy)))]
    done = bench("run", *words, *rest, "--partial", folder=folder, code=2)
    assert all(text in done.stderr for text in said), done.stderr
    assert "Traceback" not in done.stderr


def test_a_corpus_that_is_not_whole_is_refused_with_the_first_difference(toy: Path, folder: Path) -> None:
    done = bench("run", "--upstream", "mfcc", "--task", "ks", "--data", str(toy), folder=folder, code=2)
    assert "train/yes: expected 1,860, found" in done.stderr
    assert "--partial" in done.stderr


def test_results_that_cannot_be_written_stop_the_run_before_it_starts(toy: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file where the folder should be")
    words = ["run", "--upstream", "mfcc", "--task", "ks", "--data", str(toy), "--partial"]
    done = bench(*words, folder=tmp_path, code=1)
    assert "cannot write results to" in done.stderr
    assert not (tmp_path / "cache" / "features").exists()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real pieces of Speech Commands, unpacked side by side."""
    archives = [SHARED / f"speech_commands_{part}v0.02-small.zip" for part in ("", "test_set_")]
    if not all(archive.is_file() for archive in archives):
        pytest.skip("the real pieces of Speech Commands are not beside this checkout")
    root = tmp_path_factory.mktemp("real")
    for archive in archives:
        zipfile.ZipFile(archive).extractall(root / archive.stem)
    return root


def test_the_real_speech_commands_pieces_run_to_the_end(real: Path, folder: Path) -> None:
    found = record("--upstream", "fbank_no_cmvn", toy=real, folder=folder)
    assert found["scores"]["accuracy"]["groups"] == 76
    assert "partial" in " ".join(found["deviations"])


def test_a_transformers_folder_runs_on_the_real_pieces(real: Path, folder: Path) -> None:
    config = HubertConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    torch.manual_seed(0)
    HubertModel(config).save_pretrained(folder / "small_hubert")
    found = record("--upstream", f"hf:{folder / 'small_hubert'}", toy=real, folder=folder)
    twin = record("--upstream", f"hf:{folder / 'small_hubert'}~random", toy=real, folder=folder)
    assert found["upstream"]["name"] == "hf:small_hubert"
    assert len(found["layers"]["weights"][0][0]) == 3
    assert twin["upstream"]["pretraining"] == "none (random weights)"
    assert twin["upstream"]["digest"] != found["upstream"]["digest"]
    assert str(folder) not in json.dumps(found)
    first = record("--upstream", f"hf:{folder / 'small_hubert'}", "--layers", "1", toy=real, folder=folder)
    assert first["plan"]["id"] != found["plan"]["id"]
    assert first["layers"]["weights"] == [[None]]
    assert first["columns"]["knn"]["layer"] == 1


LISTENING = """
import signal
from earbench.cli import main
from earbench.stack import Stack

def first(stack, move=Stack.move):
    print("training", flush=True)
    Stack.move = move
    move(stack)

Stack.move = first
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command, which says when training begins, with Ctrl-C as a terminal's programs have it: what a script starts with
& ignores it, and so does all that this starts, be it pytest.
"""


def test_ctrl_c_stops_politely_and_leaves_no_half_record(toy: Path, tmp_path: Path) -> None:
    places = ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")]
    words = ["run", "--upstream", "fbank_no_cmvn", "--task", "ks", "--data", str(toy), "--partial"]
    command = [sys.executable, "-c", LISTENING, *words, "--effort", "reference", *places]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "training\n"
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("results/records/*/*/*"))


def test_a_plan_says_what_a_run_would_take_and_starts_nothing(toy: Path, tmp_path: Path) -> None:
    words = ("run", "--upstream", "log_stft", "--task", "ks", "--data", str(toy), "--partial", "--json")
    (before,) = json.loads(bench(*words, "--plan", folder=tmp_path).stdout)["plans"]
    assert before["clips"] > 200
    assert before["disk_bytes"] == before["clips"] * 257 * 4
    assert before["heads"] == 5
    assert not before["recorded"]
    assert not list(tmp_path.glob("results/records/*"))
    (found,) = json.loads(bench(*words, folder=tmp_path).stdout)["records"]
    (after,) = json.loads(bench(*words, "--plan", folder=tmp_path).stdout)["plans"]
    assert after["plan"] == found["plan"]["id"]
    assert (after["disk_bytes"], after["extract_seconds"], after["recorded"]) == (0, 0.0, True)


def test_a_layer_of_its_own_is_named_beside_its_score(toy: Path, folder: Path) -> None:
    words = ("run", "--upstream", "mfcc", "--task", "ks", "--data", str(toy), "--partial", "--layers", "each")
    assert "accuracy, layer 0" in bench(*words, "--effort", "quick", folder=folder).stdout


def test_a_board_without_records_says_why(toy: Path, tmp_path: Path) -> None:
    places = ("--results", str(tmp_path / "results"))
    assert "no records yet" in bench("report", *places, folder=tmp_path).stdout
    words = ("run", "--upstream", "mfcc", "--task", "ks", "--data", str(toy), "--partial", "--effort", "quick")
    bench(*words, folder=tmp_path)
    assert "1 records, none on a board: partial (1), quick (1)" in bench("report", *places, folder=tmp_path).stdout

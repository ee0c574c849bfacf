"""kill -9 at every kind of moment of `bench pretrain`, then the same command: the digits of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
from pretraining import noisy_speakers
from safetensors.torch import load_file

# Torch is imported once; every command is a process of its own, forked from there. The network is a small one.
DRIVER = """
import json, os, signal, sys
from functools import partial

import torch
torch.set_num_threads(1)

from earbench import files
from earbench.cli import app
from earbench.kit.cpc import Shape
from earbench.pretrain import command, loop
from earbench_upstreams import cpc_objective

torch.optim.Adam([torch.zeros(1)])  # imports much, which the children then need not
cpc_objective.Shape = partial(Shape, width=16)
loop.VALID_BATCHES = 2
write, step = files.write, loop._step

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def deadly(name, number, moment):
    seen = 0
    def dying(path, fill):
        nonlocal seen
        seen += path.name == name
        if path.name != name or seen < number:
            return write(path, fill)
        write(path, (lambda temporary: (fill(temporary), die())) if moment == "before" else fill)
        die()
    files.write = dying

def dying_step(number):
    loop._step = lambda run: die() if run.step == number else step(run)

def process(words, prepare=lambda: None):
    child = os.fork()
    if child == 0:
        prepare()
        app(words)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

moments, killed, undisturbed = json.loads(sys.stdin.read())
codes = [process(killed, partial(dying_step if len(one) == 1 else deadly, *one)) for one in moments]
print(json.dumps([*codes, process(killed), process(undisturbed)]))
"""

# What the process that dies has written by then, of a run over 8 steps that is saved at every second one.
MOMENTS = [
    ("audio.i16", 1, "before"),
    ("audio.json", 1, "before"),
    ("weights.safetensors", 1, "after"),
    ("checkpoint.safetensors", 1, "before"),
    ("log.csv", 2, "after"),  # by now step 2 is saved
    ("checkpoint.safetensors", 1, "after"),  # and step 4
    (5,),  # in the middle of an interval
    ("checkpoint.safetensors", 2, "before"),  # step 6 is saved, step 8 is not
    ("published.pt", 1, "before"),
]


def test_a_pretraining_killed_again_and_again_ends_with_the_digits_of_an_undisturbed_one(tmp_path):
    root = noisy_speakers(tmp_path / "speech", seconds=14.0)
    words = ["pretrain", "cpc", "--data", str(root), "--steps", "8", "--every", "2", "--batch", "1", "--perturb"]
    words += ["--probe", "none", "--json"]
    killed, undisturbed = ([*words, "--out", str(tmp_path / name)] for name in ("killed", "undisturbed"))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([MOMENTS, killed, undisturbed]),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [-signal.SIGKILL] * len(MOMENTS) + [0, 0], done.stderr

    logs = [pd.read_csv(tmp_path / name / "log.csv").drop(columns="seconds") for name in ("killed", "undisturbed")]
    assert logs[0]["step"].tolist() == [2, 4, 6, 8]
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    for name in ("checkpoint.safetensors", "weights.safetensors"):
        one, other = (load_file(tmp_path / folder / name) for folder in ("killed", "undisturbed"))
        assert one.keys() == other.keys()
        assert all(bool((one[key] == other[key]).all()) for key in one)

"""s3prl's own SuperbKS on given folders: what `benchmarks/beside_s3prl.py` runs with the interpreter of that package.

usage: s3prl_ks.py JSON     with train, test, out, name, path (or null), steps, judge, rate, seed

s3prl 0.4.18 calls functions that torchaudio dropped; they are put back here, in soundfile and a few lines of torch,
before it is imported. It is given the seed where it has none of its own to go by: `train.seed` alone changes nothing.
Building an encoder sets torch's seed to 0, for the noise that it is tried on, and the head is built after that; and the
sampler has a fixed seed. So all seeds give the same run, to the last digit. Nothing that s3prl computes is changed.

Prints one JSON line: accuracy and loss on test, and the seconds from its start to its end.
"""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import soundfile
import torch
import torchaudio
import yaml

FIRST_SEED, APART = 12_345_678, 1_000_000
"""The sampler's own seed, to which s3prl adds the number of the epoch, and how far ours lie apart for that reason."""


def main(wish: dict[str, Any]) -> None:
    put_back()
    from s3prl.problem import SuperbKS

    class Seeded(SuperbKS):  # type: ignore[misc]
        def build_downstream(self, *args: Any, **named: Any) -> torch.nn.Module:
            torch.manual_seed(wish["seed"])
            return super().build_downstream(*args, **named)

    problem = Seeded()
    config = problem.default_config()
    steps, judge = wish["steps"], wish["judge"]
    config["target_dir"] = wish["out"]
    config["prepare_data"] = {"gsc1": wish["train"], "gsc1_test": wish["test"]}
    config["build_upstream"] = {"name": wish["name"]} | ({"path_or_url": wish["path"]} if wish["path"] else {})
    config["train"] |= {"total_steps": steps, "eval_step": judge, "save_step": judge, "log_step": steps}
    config["train"]["seed"] = wish["seed"]
    config["build_batch_sampler"]["train"]["seed"] = FIRST_SEED + APART * wish["seed"]
    config["build_optimizer"]["conf"]["lr"] = wish["rate"]
    started = time.perf_counter()
    problem.run(**config, device="cpu", num_workers=0, world_size=1, rank=0, eval_batch=-1)
    seconds = time.perf_counter() - started
    (result,) = Path(wish["out"]).glob("evaluate/*/test/result.yaml")
    found = yaml.safe_load(result.read_text())
    print(json.dumps({"accuracy": 100 * found["accuracy"], "loss": found["loss"], "seconds": seconds}))


def put_back() -> None:
    """Torchaudio's loading and its sox effects, as far as SuperbKS uses them: mono, 16 kHz, a gain."""
    sox = types.ModuleType("torchaudio.sox_effects")
    sox.apply_effects_tensor = changed  # type: ignore[attr-defined]
    sox.apply_effects_file = lambda path, effects, **_: changed(*load(path), effects)  # type: ignore[attr-defined]
    sys.modules["torchaudio.sox_effects"] = torchaudio.sox_effects = sox  # type: ignore[assignment]
    torchaudio.load, torchaudio.info = load, info  # type: ignore[assignment]
    torchaudio.set_audio_backend = lambda *_: None


def load(path: str, frame_offset: int = 0, num_frames: int = -1, **_: Any) -> tuple[torch.Tensor, int]:
    samples, rate = soundfile.read(path, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def info(path: str) -> types.SimpleNamespace:
    facts = soundfile.info(path)
    return types.SimpleNamespace(
        num_frames=facts.frames, sample_rate=facts.samplerate, num_channels=facts.channels, bits_per_sample=16
    )


def changed(wave: torch.Tensor, rate: int, effects: list[list[str]], **_: Any) -> tuple[torch.Tensor, int]:
    for name, *values in effects:
        if name == "channels":
            wave = wave.mean(0, keepdim=True)
        elif name == "gain":
            wave = wave * 10 ** (float(values[0]) / 20)
        elif name != "rate" or int(values[0]) != rate:
            raise SystemExit(f"no effect {name} {values} at {rate} Hz here")
    return wave, rate


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

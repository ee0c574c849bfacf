"""Pretraining, from the first step to the last: everything random is drawn from (seed, step), so that a run that was
killed goes on with the very losses it would have had.

In the run's folder: `checkpoint.safetensors` (everything needed to go on), `weights.safetensors` (the encoder alone),
`log.csv` (one line per judgement), `run.json` (what was asked for) and the decoded audio.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from earbench import files, tensors
from earbench.errors import BadCheckpoint, BenchError, RequestError
from earbench.kit.pretraining import Objective, Outcome
from earbench.kit.seeds import derive, generator
from earbench.pretrain import perturb
from earbench.pretrain.speech import Speech
from earbench.progress import Progress

VALID_BATCHES = 24


@dataclass(frozen=True)
class Schedule:
    """What a pretraining run does. `every` steps it is judged and saved; it is probed when judged, once `probe_every`
    steps have passed.
    """

    steps: int
    batch: int
    rate: float
    every: int = 100
    probe_every: int = 500
    perturbed: bool = False
    seed: int = 0


@dataclass
class Run:
    """A training run in its folder; `step` counts finished steps, `seconds` the time spent in them."""

    folder: Path
    objective: Objective
    schedule: Schedule
    speech: Speech
    device: torch.device
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objective.to(self.device)
        self.optimiser = torch.optim.Adam(self.objective.parameters(), self.schedule.rate, fused=True)

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"


Probe = Callable[[Path], float]
"""How good the encoder in a weight file is, as one number."""


def train(run: Run, probe: Probe | None, progress: Progress) -> None:
    """Go on from the folder's checkpoint, if there is one, to the last step of the schedule."""
    _resume(run)
    with progress.bar(f"pretraining on {run.speech.facts['minutes']} min", run.schedule.steps, "steps") as bar:
        bar.advance(run.step)
        while run.step < run.schedule.steps:
            started, outcomes = time.perf_counter(), []
            steps = min(run.schedule.every - run.step % run.schedule.every, run.schedule.steps - run.step)
            for _ in range(steps):
                outcomes.append(_step(run))
                bar.advance(1)
            run.seconds += time.perf_counter() - started
            _judge(run, outcomes, probe)
            bar.advance(0, f"held-out loss {run.log[-1]['valid_loss']:.3f}")


def _step(run: Run) -> tuple[Tensor, Tensor]:
    run.step += 1
    outcome = _outcome(run, "train", run.step)
    run.optimiser.zero_grad(set_to_none=True)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    return outcome.loss.detach(), outcome.accuracy


def _outcome(run: Run, split: str, number: int) -> Outcome:
    """The loss of one batch, which `split` and `number` alone decide."""
    names = ("pretrain", run.schedule.seed, split, number)
    rng, window = generator(*names), run.objective.window
    if split == "train" and run.schedule.perturbed:
        factors = perturb.draw(rng)
        waves = run.speech.stretches(split, run.schedule.batch, perturb.needed(window, factors), rng)
        waves = perturb.perturb(waves, window, factors, rng)
    else:
        waves = run.speech.stretches(split, run.schedule.batch, window, rng)
    torch.manual_seed(derive(*names))
    found: Outcome = run.objective(torch.from_numpy(waves).to(run.device))
    return found


def _judge(run: Run, outcomes: list[tuple[Tensor, Tensor]], probe: Probe | None) -> None:
    """A line of the log, the encoder's weights and the checkpoint; the checkpoint last."""
    loss, accuracy = (float(torch.stack(values).mean()) for values in zip(*outcomes, strict=True))
    valid_loss, valid_accuracy = _validate(run)
    if not math.isfinite(loss + valid_loss):
        raise BenchError(
            f"training went astray by step {run.step:,}: the loss is {loss}, on held-out audio {valid_loss}",
            f"what {run.folder} holds is from before; try a lower --rate with another --out",
        )
    line = {
        "step": run.step,
        "seconds": round(run.seconds, 1),
        "loss": loss,
        "accuracy": accuracy,
        "valid_loss": valid_loss,
        "valid_accuracy": valid_accuracy,
        "probe": "",
    }
    files.write(run.weights, lambda path: save_file(_contiguous(run.objective.weights()), path))
    probes = [step // run.schedule.probe_every for step in (run.step - len(outcomes), run.step)]
    if probe is not None and (probes[1] > probes[0] or run.step == run.schedule.steps):
        line["probe"] = probe(run.weights)
    run.log.append(line)
    _write_log(run)
    _save(run)


def _validate(run: Run) -> tuple[float, float]:
    """Mean loss and accuracy of the same stretches and negatives every time."""
    run.objective.eval()
    with torch.no_grad():
        outcomes = [_outcome(run, "valid", number) for number in range(VALID_BATCHES)]
    run.objective.train()
    loss, accuracy = (float(torch.stack(values).mean()) for values in zip(*outcomes, strict=True))
    return loss, accuracy


def _write_log(run: Run) -> None:
    def fill(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(run.log[0]))
            writer.writeheader()
            writer.writerows(run.log)

    files.write(run.folder / "log.csv", fill)


def _save(run: Run) -> None:
    state = {f"objective/{name}": value for name, value in run.objective.state_dict().items()}
    for number, moments in run.optimiser.state_dict()["state"].items():
        state |= {f"optimiser/{number}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    facts = {"step": run.step, "seconds": run.seconds, "log": run.log, "asked": _asked(run)}
    said = {"facts": json.dumps(facts), "checksum": tensors.digest(state)}
    files.write(run.folder / "checkpoint.safetensors", lambda path: save_file(_contiguous(state), path, metadata=said))


def _resume(run: Run) -> None:
    path = run.folder / "checkpoint.safetensors"
    if path.is_file():
        facts, state = _read(path)
        _same(facts["asked"], _asked(run), run.folder)
        if facts["step"] > run.schedule.steps:
            raise RequestError(
                f"{run.folder} holds a run of {facts['step']:,} steps, more than --steps {run.schedule.steps:,}",
                "give --steps of at least that, or another --out",
            )
        _restore(run, facts, state)
    files.write_text(run.folder / "run.json", json.dumps(_asked(run), indent=1))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `_save` wrote. Damage is an error: hours of training are not begun anew in silence."""
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
        state = load_file(path)
    except (OSError, SafetensorError):
        said, state = {}, {}
    if said.get("checksum") != tensors.digest(state):
        raise BadCheckpoint(
            f"{path} is damaged: it is not what was saved",
            "without it the same command begins at the first step; weights.safetensors beside it is a file of its own",
        )
    return json.loads(said["facts"]), state


def _restore(run: Run, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    run.objective.load_state_dict(_below(state, "objective/"))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(state, "optimiser/").items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    groups = run.optimiser.state_dict()["param_groups"]
    run.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    run.step, run.seconds, run.log = facts["step"], facts["seconds"], facts["log"]


def _asked(run: Run) -> dict[str, Any]:
    return {"objective": type(run.objective).__name__, "schedule": asdict(run.schedule), "speech": run.speech.facts}


def _same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """A run goes on only with what it began with; more steps, or other intervals, are no difference."""
    free = {"steps", "every", "probe_every"}
    flat = [{**asked["schedule"], **asked["speech"], "objective": asked["objective"]} for asked in (before, now)]
    other = [key for key in flat[0] if key not in free and flat[0][key] != flat[1].get(key)]
    if other:
        found = ", ".join(f"{key} {flat[0][key]} (now {flat[1].get(key)})" for key in other)
        raise RequestError(f"{folder} holds a run that began with {found}", "give the same again, or another --out")


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}

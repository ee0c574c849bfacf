"""`hear:MODULE[@PATH]`: any module with HEAR's API (protocol sheet hear §1), as an upstream of one layer; and
`hear_alone:`, for one whose embeddings of a clip depend on its batch mates.

Frames are its timestamp embeddings and the clip embedding is its scene embedding, which may be of another width. The
module is code that the user installed and runs as such: what its own loader does with PATH is up to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from earbench.contract import SWAY, Features, Spec, Upstream, UpstreamCard
from earbench.errors import BenchError, RequestError
from earbench.kit.code_digest import files_digest, package_digest
from earbench.kit.hear_layout import RATES
from earbench.kit.weights import file_digest

FUNCTIONS = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")
FACTS = ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")

ELSEWHERE = "compute its features where it runs and use features:DIR"
NOISE_SECONDS = 2
ADVISED = 0.05
"""Seconds: the last time should be no further from the end of a clip, or than the module's own spacing (sheet §7)."""
SAME = 1e-4
"""Of the embeddings' root mean square: how far those of a clip alone and in a batch may lie apart, as in the checks."""
EXACT = 1e-9
"""Seconds: times that stay within it of hop and first are told by these. Rounded ones are not: events are compared with
them."""


class Hear(Upstream):
    """A HEAR module. It hears clips of one length together, and is refused where batch mates change what it says."""

    card = UpstreamCard(
        "hear",
        family="HEAR",
        version=2,
        licence="that of the module",
        weights="hear:MODULE[@PATH]",
        pretraining="unknown",
        layers=1,
        parity="run",
    )
    layers, batching = 1, "equal"

    def __init__(self, module: ModuleType, model: nn.Module) -> None:
        super().__init__()
        self.module, self.model = module, model.eval().requires_grad_(False)
        self.sample_rate, self.scene_width, self.width = (_fact(module.__name__, model, name) for name in FACTS)
        if self.sample_rate not in RATES:
            raise _bad(
                module.__name__, f"wants audio at {self.sample_rate} Hz; HEAR knows {', '.join(map(str, RATES))}"
            )
        self.hop, self.first = self._listen()
        self.card = replace(
            type(self).card,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            sample_rate=self.sample_rate,
            hop=self.hop,
            widths=tuple(dict.fromkeys((self.width, self.scene_width))),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        name, _, path = (spec.argument or "").partition("@")
        if not name or spec.checkpoint:
            raise RequestError(f"'{spec.text}' names no HEAR module", f"write {spec.name}:MODULE[@PATH]")
        if spec.random:
            raise RequestError(
                f"'{spec.text}': HEAR's API has no way of asking for fresh weights",
                "a module whose load_model leaves them untrained can be the control",
            )
        module = _import(name)
        path = str(Path(path).expanduser()) if path.startswith("~") else path
        found = cls(module, _model(module, path))
        digest = _digest(Path(path)) if path else None
        found.options = {"module": name, "code": package_digest(name), "path": digest or path}
        found.source = {"module": name} | ({"file": Path(path).name, "file_sha256": digest} if digest else {})
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        """Frames at the module's own times, which need not be told where they are those of hop and first."""
        self._check_lengths(waves, lengths)
        frames, times = self._timestamps(waves)
        grid = self.first + self.hop * torch.arange(frames.shape[1], dtype=times.dtype)
        regular = bool((times - grid).abs().max() <= EXACT)
        counts = torch.full_like(lengths, frames.shape[1])
        return Features(frames[:, None], counts, self.hop, self.first, None if regular else times)

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """The scene embeddings, [clip, 1, scene width]."""
        self._check_lengths(waves, lengths)
        return self._scenes(waves)[:, None]

    def _listen(self) -> tuple[float, float]:
        """Hop and first centre in seconds, from noise.

        A module that says something else of the same clips the second time is refused, and so is one that says
        something else of a clip alone, unless it hears every clip alone.
        """
        seeded = torch.Generator().manual_seed(0)
        waves = torch.rand(2, NOISE_SECONDS * self.sample_rate, generator=seeded) * 0.2 - 0.1
        with torch.no_grad():
            frames, times = self._timestamps(waves)
            scenes = self._scenes(waves)
            again = self._timestamps(waves)[0], self._scenes(waves)
            own = self._timestamps(waves[1:])[0], self._scenes(waves[1:])
        if not all(said.isfinite().all() for said in (frames, scenes, *again, *own)):
            raise _bad(self.module.__name__, "gives NaN or infinite embeddings for noise")
        moved = max(_distance(frames, again[0]), _distance(scenes, again[1]))
        if moved > SAME:
            raise _bad(
                self.module.__name__,
                f"says something else of the same clips the second time, by {moved:.1g} of the embeddings' scale",
                "dropout, dither or running statistics must be off: its load_model has to call eval()",
            )
        apart = max(_distance(frames[1:], own[0]), _distance(scenes[1:], own[1]))
        if apart > SAME and self.batching != "alone":
            raise _bad(
                self.module.__name__,
                f"says something else of a clip when other clips are in the batch, by {apart:.1g} of the embeddings' "
                "scale",
                "normalise by clip; or run it as it is with hear_alone:MODULE, which hears one clip at a time and has "
                "a footnote that says so",
            )
        self.notes = _times_notes(self.module.__name__, times[0], self.sample_rate)
        return spacing(times[0], self.sample_rate), float(times[0, 0])

    def _timestamps(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [clip, time, width] and their times in seconds, [clip, time], which are on the CPU."""
        answer = self._ask("get_timestamp_embeddings", waves)
        frames, times = _timestamps(self.module.__name__, answer, len(waves), self.width)
        return frames.to(waves.device), times

    def _scenes(self, waves: Tensor) -> Tensor:
        """Embeddings [clip, scene width]."""
        answer = self._ask("get_scene_embeddings", waves)
        return _scenes(self.module.__name__, answer, len(waves), self.scene_width).to(waves.device)

    def _ask(self, function: str, waves: Tensor) -> Any:
        """What the module says of a copy of `waves`. Its API is fp32 in and out, so autocast stops here."""
        what = f"{function} of the HEAR module '{self.module.__name__}'"
        with _theirs(what), torch.autocast(waves.device.type, enabled=False):
            return getattr(self.module, function)(waves.float().clone(), self.model)

    def _check_lengths(self, waves: Tensor, lengths: Tensor) -> None:
        if bool((lengths != waves.shape[1]).any()):
            raise BenchError("a HEAR module hears clips of one length, unpadded", f"got {lengths.tolist()} samples")


class HearAlone(Hear):
    """A HEAR module that hears one clip at a time: HEAR 2021 had modules that need it (serab_byols scales by mean and
    deviation of the whole batch).
    """

    card = replace(Hear.card, name="hear_alone", weights="hear_alone:MODULE[@PATH]")
    batching = "alone"


def spacing(times: Tensor, sample_rate: int) -> float:
    """The hop in seconds behind the times [time] of a clip of `NOISE_SECONDS`; a single time says it is no less.

    Where rounding made the spacings uneven and a whole number of samples explains the times, that is the hop.

    >>> spacing(torch.tensor([0.0, 0.012, 0.023, 0.035, 0.046, 0.058]), 44_100) == 512 / 44_100
    True
    """
    if len(times) < 2:
        return float(NOISE_SECONDS)
    even = float(times[-1] - times[0]) / (len(times) - 1)
    samples = round(even * sample_rate)
    uneven = float((times.diff() - even).abs().max()) > 1e-5
    explained = abs(samples / sample_rate - even) * (len(times) - 1) <= SWAY
    return samples / sample_rate if uneven and explained and samples else round(even, 9)


def _times_notes(name: str, times: Tensor, sample_rate: int) -> tuple[str, ...]:
    """A warning if the times [time] of a clip of `NOISE_SECONDS` end far before it does; times outside the clip are
    refused, but for one sample (sheet §7, rows 7 and 8).
    """
    first, last, sample = float(times[0]), float(times[-1]), 1 / sample_rate
    span = f"from {first * 1000:g} to {last * 1000:g} ms for a clip of {NOISE_SECONDS * 1000} ms"
    if first < -sample or last > NOISE_SECONDS + sample:
        raise _bad(name, f"gives timestamps {span}", "they are the centres of frames, in milliseconds")
    between = (last - first) / max(1, len(times) - 1)
    if len(times) < 2 or last >= NOISE_SECONDS - max(ADVISED, between) - EXACT:
        return ()
    why = ": are they in seconds? HEAR's API has milliseconds" if last * 1000 <= NOISE_SECONDS + sample else ""
    return (f"the HEAR module '{name}' gives timestamps {span}{why}",)


def _timestamps(name: str, answer: Any, clips: int, width: int) -> tuple[Tensor, Tensor]:
    """The embeddings and times (in seconds, float64) of an answer that keeps what HEAR's API says of it."""
    if not (isinstance(answer, tuple | list) and len(answer) == 2 and all(isinstance(x, Tensor) for x in answer)):
        raise _bad(name, "does not answer get_timestamp_embeddings with two tensors, embeddings and timestamps")
    frames, times = answer
    _check_embeddings(name, "timestamp", frames, (clips, "time", width))
    if times.shape != frames.shape[:2]:
        raise _bad(name, f"gives timestamps {list(times.shape)} for embeddings {list(frames.shape)}")
    if not frames.shape[1]:
        raise _bad(name, "gives no timestamp for a clip: it may be too short for this module")
    times = times.cpu().double() / 1000
    if not (times.isfinite().all() and (times.diff(dim=1) > 0).all()):
        raise _bad(name, "gives timestamps that do not increase")
    return frames, times


def _scenes(name: str, answer: Any, clips: int, width: int) -> Tensor:
    if not isinstance(answer, Tensor):
        raise _bad(name, f"answers get_scene_embeddings with a {type(answer).__name__}, not a tensor")
    _check_embeddings(name, "scene", answer, (clips, width))
    return answer


def _check_embeddings(name: str, kind: str, found: Tensor, declared: tuple[int | str, ...]) -> None:
    if found.dtype is not torch.float32:
        raise _bad(name, f"gives {kind} embeddings in {found.dtype}, where HEAR's API has torch.float32")
    sizes = list(found.shape)
    if len(sizes) != len(declared) or any(
        want not in ("time", size) for size, want in zip(sizes, declared, strict=True)
    ):
        raise _bad(name, f"gives {kind} embeddings {sizes}, declared are [{', '.join(map(str, declared))}]")


def _import(name: str) -> ModuleType:
    with _theirs(f"importing the HEAR module '{name}'"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and name.startswith(error.name):
                raise RequestError(
                    f"no module called '{error.name}'", "install it, or put its folder on PYTHONPATH"
                ) from error
            raise BenchError(
                f"the HEAR module '{name}' needs '{error.name}', which is not installed",
                f"pip install it, or {ELSEWHERE}",
            ) from error
    if missing := [function for function in FUNCTIONS if not callable(getattr(module, function, None))]:
        raise RequestError(f"'{name}' is no HEAR module: it has no {', '.join(missing)}")
    return module


def _model(module: ModuleType, path: str) -> nn.Module:
    name = module.__name__
    with _theirs(f"load_model of the HEAR module '{name}'"):
        model = module.load_model(path) if path else module.load_model()
    if not isinstance(model, nn.Module):
        raise BenchError(
            f"load_model of the HEAR module '{name}' gives a {type(model).__name__}, no torch.nn.Module",
            f"if it is of another framework, {ELSEWHERE}",
        )
    return model


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """Around somebody else's code, which may fail in any way: it may exit, or raise what is no `Exception`."""
    try:
        yield
    except (KeyboardInterrupt, BenchError):
        raise
    except BaseException as error:
        raise BenchError(f"{what} fails: {type(error).__name__}: {error}") from error


def _fact(name: str, model: nn.Module, fact: str) -> int:
    found = getattr(model, fact, None)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise _bad(name, f"has a model whose {fact} is {found!r}, where HEAR's API has a whole number")
    return found


def _digest(path: Path) -> str | None:
    """Of a file, or of all files of a folder; None where PATH is no file but whatever the module takes it for."""
    if path.is_dir():
        return files_digest([(file.relative_to(path), file) for file in path.rglob("*") if file.is_file()])
    return file_digest(path) if path.is_file() else None


def _distance(one: Tensor, two: Tensor) -> float:
    """The largest difference, in units of the root mean square; infinite between unequal shapes."""
    if one.shape != two.shape:
        return float("inf")
    apart = (one - two).abs().max() / two.double().square().mean().sqrt().clamp_min(1e-6)
    return float(apart.nan_to_num(float("inf")))


def _bad(name: str, what: str, *hints: str) -> BenchError:
    return BenchError(f"the HEAR module '{name}' {what}", *hints)

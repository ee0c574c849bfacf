"""What s3prl's code is given to run in: files of ours, the safe reader, and nothing that evaluates a stranger's text.

s3prl unpickles weights and evaluates strings of their settings, and either may run a stranger's code: here `torch.load`
is our own safe reader, `eval` knows lists of numbers, and code from torch's hub is refused. The two names of torchaudio
that it may miss are put back.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.util
import io
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import nn

from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.weights import file_digest, read_state

OWN_NAMES = re.compile(r"self(\.[A-Za-z]\w*|\[\d+\])*|torchaudio\.compliance\.kaldi\.(fbank|mfcc|spectrogram)")
"""What s3prl itself evaluates: parts of a network by their names, and Kaldi's front ends."""
MOST = 10_000
"""How often, in all, a list of numbers may be repeated."""
NUMBERS = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.BinOp, ast.Add, ast.Mult, ast.USub, ast.UnaryOp)


@dataclass
class Supply:
    """Where an upstream's files come from, and which were read: the given one, or what s3prl fetches."""

    name: str
    given: Path | None
    asked: set[Any] = field(default_factory=set)
    read: dict[str, str] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.given and not self.given.is_file():
            folder = ["for a model folder of transformers use `hf:DIR`"] if self.given.is_dir() else []
            raise BadCheckpoint(f"no weight file at {self.given}", *folder)
        if self.given:  # settings are files that nothing unpickles
            self.read[self.given.name] = file_digest(self.given)

    def instead_of(self, fetch: Callable[..., Any]) -> Callable[..., Any]:
        """What s3prl calls to turn addresses into files."""

        def files(*addresses: str, **how: Any) -> Any:
            self.asked.update(addresses)
            if self.given and len(self.asked) == 1:
                return str(self.given)
            if self.given:
                raise RequestError(f"s3prl's '{self.name}' takes {len(self.asked)} files; only one can be given")
            try:
                return fetch(*addresses, **how)
            except Exception as error:  # connection errors belong to whichever HTTP library it uses
                raise BadCheckpoint(
                    f"the weights of s3prl's '{self.name}' are not there and cannot be fetched ({error})",
                    f"fetch {' and '.join(addresses)} where there is a network,",
                    f"and use `--upstream s3prl:{self.name}@FILE`",
                ) from error

        return files

    def fill(self, trusted: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for the step in which a module takes its own tensors out of a file's, and watches it."""

        def step(module: nn.Module, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
            own = {prefix + name for name, _ in module.named_parameters(recurse=False)}
            self.filled |= own & state.keys()
            self.missing |= own - state.keys()
            trusted(module, state, prefix, *rest)

        return step

    def check(self) -> list[str]:
        """A note on weights that the file does not have, which some of s3prl's upstreams do without; not on all."""
        if self.missing and not self.filled:
            raise BadCheckpoint(f"none of the weights of s3prl's '{self.name}' are in {' '.join(self.read)}")
        names = sorted(self.missing - self.filled)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return [f"not in the file and drawn at random: {', '.join(names[:3])}{more}"] if names else []

    def torch_load(self, trusted: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for `torch.load`: the safe reader, for every file that has a name."""

        def load(file: Any, *_: Any, **__: Any) -> Any:
            if not isinstance(file, str | os.PathLike):
                return trusted(file, map_location="cpu", weights_only=True)
            path = Path(file)
            self.read[path.name] = file_digest(path)
            return read_state(path)

        return load


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """While s3prl's code runs: what it evaluates is looked at, what it prints and warns of is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _replaced(vars(builtins), "eval", _evaluate):
            yield


def _evaluate(text: Any, *names: Any, trusted: Callable[..., Any] = eval) -> Any:
    """`eval` for s3prl's modules: lists of numbers, and the names that s3prl's own code writes; others are let be."""
    caller = sys._getframe(1)
    names = names or (caller.f_globals, caller.f_locals)
    if not str(caller.f_globals.get("__name__")).startswith("s3prl."):
        return trusted(text, *names)
    if OWN_NAMES.fullmatch(text):
        return trusted(text, *names)
    nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    if all(isinstance(node, (*NUMBERS, ast.Load)) for node in nodes) and _repeats(nodes) <= MOST:
        return trusted(text.strip(), {"__builtins__": {}})
    raise BadCheckpoint(f"its settings hold code where a list of numbers belongs: {text[:80]!r}")


def _repeats(nodes: list[ast.AST]) -> float:
    """What the numbers multiply to by which something in a text is multiplied; infinite if anything is no number."""
    constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
    if not all(type(value) in (int, float) for value in constants):
        return math.inf
    products = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)]
    factors = [side.value for node in products for side in (node.left, node.right) if isinstance(side, ast.Constant)]
    return math.prod(max(1, abs(float(value))) for value in factors)  # type: ignore[arg-type]


@contextlib.contextmanager
def overheard(said: list[str]) -> Iterator[None]:
    """The errors that s3prl logs while this lasts are in `said`, and nowhere else."""
    handler, logger = logging.Handler(logging.ERROR), logging.getLogger("s3prl")
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    kept = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = kept


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """The names that torchaudio dropped and s3prl still asks for."""
    torchaudio = importlib.import_module("torchaudio")  # untyped

    sox = ModuleType("torchaudio.sox_effects")
    sox.apply_effects_tensor = _gone  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        if not hasattr(torchaudio, "set_audio_backend"):
            stack.enter_context(_replaced(vars(torchaudio), "set_audio_backend", lambda *_: None))
        if importlib.util.find_spec("torchaudio.sox_effects") is None:
            stack.enter_context(_replaced(sys.modules, "torchaudio.sox_effects", sox))
        yield


@contextlib.contextmanager
def supplied(supply: Supply) -> Iterator[None]:
    """Files come from `supply` while this lasts, weights are read safely, and no code comes from torch's hub."""
    with contextlib.ExitStack() as stack:
        for part in [module for key, module in list(sys.modules.items()) if key.startswith("s3prl.")]:
            for name in ("_urls_to_filepaths", "urls_to_filepaths"):
                if fetch := vars(part).get(name):
                    stack.enter_context(_replaced(vars(part), name, supply.instead_of(fetch)))
        stack.enter_context(_replaced(vars(torch), "load", supply.torch_load(torch.load)))
        filling = supply.fill(nn.Module._load_from_state_dict)
        stack.enter_context(mock.patch.object(nn.Module, "_load_from_state_dict", filling))
        stack.enter_context(_replaced(vars(torch.hub), "load", _hub))
        yield


@contextlib.contextmanager
def _replaced(names: Any, name: str, value: Any) -> Iterator[None]:
    absent = object()
    before = names.get(name, absent)
    names[name] = value
    try:
        yield
    finally:
        if before is absent:
            del names[name]
        else:
            names[name] = before


def _gone(*_: Any, **__: Any) -> None:
    raise RequestError("this upstream of s3prl wants sox effects, which torchaudio dropped")


def _hub(*_: Any, **__: Any) -> None:
    raise BadCheckpoint("this upstream of s3prl is code from torch's hub, which is never run")

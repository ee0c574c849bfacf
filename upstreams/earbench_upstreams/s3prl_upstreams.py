"""`s3prl:NAME[@FILE]`: any upstream of s3prl 0.4.18, under the name it has there (protocol sheet upstreams, §2.3).

Only the family of NAME is imported, with the two names of torchaudio that it may miss put back meanwhile. FILE stands
in for whatever NAME would download. s3prl unpickles weights and evaluates strings of their settings, and either may
run a stranger's code: here `torch.load` is our own safe reader, `eval` knows lists of numbers, and code from torch's
hub is refused. What cannot be loaded so is not loaded.

Each clip goes through alone, so that nothing depends on batch mates. Of the frames that come out, the first
round(n / stride) of n samples count, as in SUPERB (superb sheet §1.2). Where a frame is centred s3prl does not say: it
is taken to be the middle of its stride.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import difflib
import importlib
import importlib.util
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from earbench.contract import Features, Group, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, BenchError, MissingExtra, RequestError
from earbench.kit.torchaudio_guard import shield
from earbench.kit.weights import file_digest, read_state

WRITTEN_FOR = "0.4.18"
SAMPLE_RATE = 16_000
TOLERATED = 5
"""The output must differ from the samples over the stride by fewer frames than this, as in s3prl."""
TAKES_A_FILE = ("_local", "_custom", "_url")
OWN_NAMES = re.compile(r"self(\.[A-Za-z]\w*|\[\d+\])*|torchaudio\.compliance\.kaldi\.(fbank|mfcc|spectrogram)")
"""What s3prl itself evaluates: parts of a network by their names, and Kaldi's front ends."""
NAMES = re.compile(r"^def ([A-Za-z]\w*)\(|^from \S+ import \w+ as ([a-z]\w*)", re.MULTILINE)
"""What a file of s3prl calls its upstreams."""
NUMBERS = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.BinOp, ast.Add, ast.Mult, ast.USub, ast.UnaryOp)


class S3prl(Upstream):
    """One upstream of s3prl. Layers of another stride or width than most are groups, `hop320_width512` and so on."""

    card = UpstreamCard(
        "s3prl",
        family="s3prl",
        licence="that of the weights",
        weights="s3prl:NAME[@FILE]",
        pretraining="unknown",
        sample_rate=SAMPLE_RATE,
        parity="run",
    )
    sample_rate = SAMPLE_RATE

    def __init__(self, expert: nn.Module, card: UpstreamCard) -> None:
        super().__init__()
        self.expert = expert.eval().requires_grad_(False)
        states = self._states(torch.sin(torch.arange(SAMPLE_RATE) ** 1.2 / 20))
        strides = expert.get_downsample_rates("hidden_states")
        strides = [strides] * len(states) if isinstance(strides, int | float) else list(strides)
        self.kinds = [(int(stride), state.shape[-1]) for stride, state in zip(strides, states, strict=True)]
        self.main = max(reversed(self.kinds), key=self.kinds.count)
        stride, self.width = self.main
        self.hop, self.layers = stride / SAMPLE_RATE, self.kinds.count(self.main)
        self.groups = {
            _title(kind): Group(self.kinds.count(kind), kind[1], kind[0] / SAMPLE_RATE)
            for kind in dict.fromkeys(self.kinds)
            if kind != self.main
        }
        widths = (self.width, *sorted({width for _, width in self.kinds} - {self.width}))
        parameters = sum(parameter.numel() for parameter in expert.parameters())
        self.card = replace(
            card,
            parameters=parameters,
            hop=self.hop,
            layers=self.layers,
            widths=widths,
            groups=tuple(self.groups),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The upstream called NAME, with the weights s3prl fetches for it or those of FILE; `~random` redraws them."""
        name, _, file = (spec.argument or "").partition("@")
        _require()
        family = _family(name)
        supply = Supply(name, Path(file).expanduser() if file else None)
        expert = _build(family, name, supply)
        found = cls(expert, replace(cls.card, family=f"s3prl {family}"))
        digests = sorted(supply.read.values())
        found.options = {"s3prl": version("s3prl"), "function": f"{family}.{name}", "files": digests}
        found.source = {"s3prl": f"{name} of {version('s3prl')}"}
        if supply.read:
            found.source |= {"file": " ".join(supply.read), "file_sha256": " ".join(supply.read.values())}
        if version("s3prl") != WRITTEN_FOR:
            found.notes = [f"s3prl {version('s3prl')} is installed; this was compared with {WRITTEN_FOR}"]
        if spec.random:
            if not found.card.parameters:
                raise RequestError(f"s3prl's '{name}' has no learned weights, so '~random' means nothing for it")
            redraw(expert, spec.seed)
            found.source |= {"weights": "random", "seed": str(spec.seed)}
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        clips = [self._states(wave[:length]) for wave, length in zip(waves, lengths.tolist(), strict=True)]
        groups = {kind: self._group(kind, clips, lengths) for kind in dict.fromkeys(self.kinds)}
        main = groups.pop(self.main)
        return replace(main, groups={_title(kind): group for kind, group in groups.items()})

    def _states(self, wave: Tensor) -> list[Tensor]:
        """The hidden states [time, width] of one clip."""
        with _guarded(), torch.no_grad():
            output = self.expert([wave])
        if not isinstance(output, Mapping) or not output.get("hidden_states"):
            raise BenchError(f"s3prl's {type(self.expert).__module__} gives no hidden states")
        states = output["hidden_states"]
        return [state[0] for state in (states.values() if isinstance(states, Mapping) else states)]

    def _group(self, kind: tuple[int, int], clips: Sequence[Sequence[Tensor]], lengths: Tensor) -> Features:
        members = [index for index, other in enumerate(self.kinds) if other == kind]
        counts = [
            true_frames(length, kind[0], min(len(states[index]) for index in members))
            for states, length in zip(clips, lengths.tolist(), strict=True)
        ]
        frames = clips[0][0].new_zeros(len(clips), len(members), max(counts), kind[1])
        for clip, (states, count) in enumerate(zip(clips, counts, strict=True)):
            frames[clip, :, :count] = torch.stack([states[index][:count] for index in members])
        hop = kind[0] / SAMPLE_RATE
        return Features(frames, torch.tensor(counts, device=lengths.device), hop, hop / 2)


def _title(kind: tuple[int, int]) -> str:
    """What layers of this stride and width are called as a group."""
    return f"hop{kind[0]}_width{kind[1]}"


@dataclass
class Supply:
    """Where an upstream's files come from, and which were read: the given one, or what s3prl fetches."""

    name: str
    given: Path | None
    asked: set[Any] = field(default_factory=set)
    read: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.given and not self.given.is_file():
            raise BadCheckpoint(f"no weight file at {self.given}")
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

    def torch_load(self, trusted: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for `torch.load`: the safe reader, for every file that has a name."""

        def load(file: Any, *_: Any, **__: Any) -> Any:
            if not isinstance(file, str | os.PathLike):
                return trusted(file, map_location="cpu", weights_only=True)
            path = Path(file)
            self.read[path.name] = file_digest(path)
            return read_state(path)

        return load


def true_frames(samples: int, stride: int, available: int) -> int:
    """The frames of one clip that count: SUPERB's rule, half to even, one at least.

    >>> true_frames(16_000, 320, 49), true_frames(16_000, 160, 101)
    (49, 100)
    """
    wanted = round(samples / stride)
    if abs(available - wanted) >= TOLERATED:
        raise BenchError(f"{available} frames for {samples} samples, where a stride of {stride} makes {wanted}")
    return max(1, min(available, wanted))


def redraw(module: nn.Module, seed: int) -> None:
    """Fill `module` with fresh weights from `seed`, as its layers begin. The global random state is left alone.

    What no layer knows how to begin is drawn as Xavier's normal if it is a matrix, ones if a scale and zeros if a bias.
    """
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for part in module.modules():
            if callable(begin := getattr(part, "reset_parameters", None)):
                begin()
        for name, parameter in module.named_parameters():
            if not torch.equal(parameter, before[name]):
                continue
            if parameter.numel() > max(parameter.shape, default=1):
                nn.init.xavier_normal_(parameter)
            else:
                parameter.fill_(0.0 if "bias" in name.rpartition(".")[2] else 1.0)


def _require() -> None:
    if importlib.util.find_spec("s3prl") is None:
        raise MissingExtra("s3prl", "s3prl", "'s3prl:NAME'")
    why = shield()
    if why or sys.modules.get("torchaudio") is None:
        raise RequestError(f"s3prl needs torchaudio, which does not import here: {why}", "`bench doctor` says more")


def _family(name: str) -> str:
    """The folder of s3prl that defines the upstream `name`. The files are read, nothing is imported."""
    folders = sorted(_folder().glob("upstream/*/hubconf.py"))
    named = {path: {first or second for first, second in NAMES.findall(path.read_text("utf-8"))} for path in folders}
    own = [path.parent.name for path, found in named.items() if name in found]
    if own:
        return next((family for family in own if name.startswith(family)), own[0])
    if any(path.parent.name == name for path in folders):  # `cpc` is a family, its functions are others
        return name
    known = sorted(set().union(*named.values()))
    close = difflib.get_close_matches(name, known, n=5)
    raise RequestError(
        f"s3prl has no upstream called '{name}'",
        f"known: {', '.join(close or sorted(path.parent.name for path in folders))}",
    )


def _folder() -> Path:
    found = importlib.util.find_spec("s3prl")
    return Path(str(found and found.origin)).parent


def _build(family: str, name: str, supply: Supply) -> nn.Module:
    try:
        with _guarded(), _put_back():
            hubconf = importlib.import_module(f"s3prl.upstream.{family}.hubconf")
            with _supplied(supply), torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)  # what a file lacks s3prl draws, and says so where nobody reads
                return _call(hubconf, family, name, supply)
    except BenchError:
        raise
    except ModuleNotFoundError as error:
        raise RequestError(
            f"s3prl's '{name}' needs the package '{error.name}', which is not installed", f"pip install {error.name}"
        ) from error
    except Exception as error:  # a file of another layout fails somewhere in s3prl, in any way
        where = supply.given.name if supply.given else "what it fetched"
        raise BadCheckpoint(f"s3prl's '{name}' cannot be made from {where}: {type(error).__name__}: {error}") from error


def _call(hubconf: ModuleType, family: str, name: str, supply: Supply) -> nn.Module:
    ways = (name, *(family + ending for ending in TAKES_A_FILE)) if name == family else (name,)
    function = next(getattr(hubconf, way) for way in ways if hasattr(hubconf, way))
    first = next(iter(inspect.signature(function).parameters.values()), None)
    required = first is not None and first.kind is first.POSITIONAL_OR_KEYWORD and first.default is first.empty
    takes_a_file = required or function.__name__.endswith(TAKES_A_FILE)
    if takes_a_file and not supply.given:
        raise RequestError(f"s3prl's '{name}' needs a file", f"use `--upstream s3prl:{name}@FILE`")
    expert: nn.Module = function(str(supply.given)) if takes_a_file else function()
    if supply.given and not takes_a_file and not supply.asked:
        raise RequestError(f"s3prl's '{name}' takes no weights, got '@{supply.given.name}'")
    return expert


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
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
    nodes = ast.walk(ast.parse(text.strip(), mode="eval"))
    if all(isinstance(node, (*NUMBERS, ast.Load)) for node in nodes):
        return trusted(text.strip(), {"__builtins__": {}})
    raise BadCheckpoint(f"its settings hold code where a list of numbers belongs: {text[:80]!r}")


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """The names that torchaudio dropped and s3prl still asks for."""
    import torchaudio

    sox = ModuleType("torchaudio.sox_effects")
    sox.apply_effects_tensor = _gone  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        if not hasattr(torchaudio, "set_audio_backend"):
            stack.enter_context(_replaced(vars(torchaudio), "set_audio_backend", lambda *_: None))
        if importlib.util.find_spec("torchaudio.sox_effects") is None:
            stack.enter_context(_replaced(sys.modules, "torchaudio.sox_effects", sox))
        yield


@contextlib.contextmanager
def _supplied(supply: Supply) -> Iterator[None]:
    """Files come from `supply` while this lasts, weights are read safely, and no code comes from torch's hub."""
    with contextlib.ExitStack() as stack:
        for part in [module for key, module in list(sys.modules.items()) if key.startswith("s3prl.")]:
            for name in ("_urls_to_filepaths", "urls_to_filepaths"):
                if fetch := vars(part).get(name):
                    stack.enter_context(_replaced(vars(part), name, supply.instead_of(fetch)))
        stack.enter_context(_replaced(vars(torch), "load", supply.torch_load(torch.load)))
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

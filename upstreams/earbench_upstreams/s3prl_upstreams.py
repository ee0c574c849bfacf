"""`s3prl:NAME[@FILE]`: any upstream of s3prl 0.4.18, under the name it has there (protocol sheet upstreams, §2.3).

Only the family of NAME is imported, with the two names of torchaudio that it may miss put back meanwhile. FILE stands
in for whatever NAME would download. Nothing in it runs: `earbench.kit.s3prl_guard` stands between. What cannot be
loaded so is not loaded.

Each clip goes through alone, unless clips of one length were found to give the same together, so that nothing depends
on batch mates. Of the frames that come out, the first round(n / stride) of n samples count, as in SUPERB (superb sheet
§1.2). Where a frame is centred s3prl does not say: it is taken to be the middle of its stride, or of a clip that ends
before that. A clip too short for an upstream is followed by zeros, to the first tenth of a second that is enough.
One of more than 300 s is heard in stretches, whatever the upstream: which could do without, s3prl does not say.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Features, Group, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, BenchError, MissingExtra, RequestError
from earbench.kit.attention import LONGEST
from earbench.kit.s3prl_guard import Supply, guarded, overheard, put_back, supplied
from earbench.kit.torchaudio_guard import shield

WRITTEN_FOR = "0.4.18"
SAMPLE_RATE = 16_000
TENTHS = tuple(range(SAMPLE_RATE // 10, SAMPLE_RATE + 1, SAMPLE_RATE // 10))
SAME = 1e-4
"""Of the states' root mean square: how far those of a clip alone and in a batch may lie apart, as in the checks."""
TOLERATED = 5
"""The output must differ from the samples over the stride by fewer frames than this, as in s3prl."""
TAKES_A_FILE = ("_local", "_custom", "_url")
NAMES = re.compile(r"^def ([A-Za-z]\w*)\(|^from \S+ import \w+ as ([a-z]\w*)", re.MULTILINE)
"""What a file of s3prl calls its upstreams."""


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
    sample_rate, longest = SAMPLE_RATE, LONGEST

    def __init__(self, expert: nn.Module, card: UpstreamCard) -> None:
        super().__init__()
        self.expert = expert.eval().requires_grad_(False)
        probe = torch.sin(torch.arange(SAMPLE_RATE) ** 1.2 / 20)
        states = self._states([probe])[0]
        self.shortest = next((samples for samples in TENTHS if self._takes(probe[:samples])), SAMPLE_RATE)
        self.together = self._same_together(probe)
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
        notes = supply.check()
        found = cls(expert, replace(cls.card, family=f"s3prl {family}"))
        found.notes = notes
        digests = sorted(supply.read.values())
        found.options = {"s3prl": version("s3prl"), "function": f"{family}.{name}", "files": digests}
        found.source = {"s3prl": f"{name} of {version('s3prl')}"}
        if supply.read:
            found.source |= {"file": " ".join(supply.read), "file_sha256": " ".join(supply.read.values())}
        if version("s3prl") != WRITTEN_FOR:
            found.notes = [*notes, f"s3prl {version('s3prl')} is installed; this was compared with {WRITTEN_FOR}"]
        if spec.random:
            if not found.card.parameters:
                raise RequestError(f"s3prl's '{name}' has no learned weights, so '~random' means nothing for it")
            redraw(expert, spec.seed)
            found.source |= {"weights": "random", "seed": str(spec.seed)}
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        heard = [self._lengthened(wave[:length]) for wave, length in zip(waves, lengths.tolist(), strict=True)]
        equal = self.together and bool((lengths == lengths[0]).all())
        clips = self._states(heard) if equal else [self._states([wave])[0] for wave in heard]
        groups = {kind: self._group(kind, clips, lengths) for kind in dict.fromkeys(self.kinds)}
        main = groups.pop(self.main)
        return replace(main, groups={_title(kind): group for kind, group in groups.items()})

    def _states(self, waves: list[Tensor]) -> list[list[Tensor]]:
        """The hidden states [time, width] of each clip."""
        with guarded(), torch.no_grad():
            output = self.expert(waves)
        if not isinstance(output, Mapping) or not output.get("hidden_states"):
            raise BenchError(f"s3prl's {type(self.expert).__module__} gives no hidden states")
        states = output["hidden_states"]
        states = list(states.values() if isinstance(states, Mapping) else states)
        return [[state[clip] for state in states] for clip in range(len(waves))]

    def _takes(self, wave: Tensor) -> bool:
        try:
            return all(len(state) for state in self._states([wave])[0])
        except Exception:  # convolutions and unfoldings that find too little raise several kinds
            return False

    def _lengthened(self, wave: Tensor) -> Tensor:
        return functional.pad(wave, (0, max(0, self.shortest - len(wave))))

    def _same_together(self, probe: Tensor) -> bool:
        """Whether clips of one length give in a batch what they give alone."""
        waves = [probe, probe.flip(0) * 0.3]
        try:
            pairs = zip(self._states(waves)[1], self._states(waves[1:])[0], strict=True)
        except Exception:  # some take one clip at a time, and say so in any way
            return False
        return all(one.shape == two.shape and _distance(one, two) <= SAME for one, two in pairs)

    def _group(self, kind: tuple[int, int], clips: Sequence[Sequence[Tensor]], lengths: Tensor) -> Features:
        members = [index for index, other in enumerate(self.kinds) if other == kind]
        counts = [
            true_frames(length, kind[0], min(len(states[index]) for index in members), max(length, self.shortest))
            for states, length in zip(clips, lengths.tolist(), strict=True)
        ]
        frames = clips[0][0].new_zeros(len(clips), len(members), max(counts), kind[1])
        for clip, (states, count) in enumerate(zip(clips, counts, strict=True)):
            frames[clip, :, :count] = torch.stack([states[index][:count] for index in members])
        hop, seconds = kind[0] / SAMPLE_RATE, lengths[:, None] / SAMPLE_RATE
        middles = (torch.arange(max(counts), device=lengths.device) + 0.5) * hop
        times = torch.where(seconds < hop / 2, seconds / 2, middles) if bool((seconds < hop / 2).any()) else None
        return Features(frames, torch.tensor(counts, device=lengths.device), hop, hop / 2, times)


def _title(kind: tuple[int, int]) -> str:
    """What layers of this stride and width are called as a group."""
    return f"hop{kind[0]}_width{kind[1]}"


def true_frames(samples: int, stride: int, available: int, heard: int | None = None) -> int:
    """The frames of one clip that count: SUPERB's rule, half to even, one at least. `heard` counts zeros behind it too.

    >>> true_frames(16_000, 320, 49), true_frames(16_000, 160, 101)
    (49, 100)
    """
    heard = heard or samples
    expected = round(heard / stride)
    if abs(available - expected) >= TOLERATED:
        raise BenchError(f"{available} frames for {heard} samples, where a stride of {stride} makes {expected}")
    return max(1, min(available, round(samples / stride)))


def _distance(one: Tensor, two: Tensor) -> float:
    """The largest difference, in units of the root mean square."""
    return float((one - two).abs().max() / two.double().square().mean().sqrt().clamp_min(1e-6))


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
    said: list[str] = []
    try:
        with guarded(), put_back(), overheard(said):
            hubconf = importlib.import_module(f"s3prl.upstream.{family}.hubconf")
            with supplied(supply), torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)  # what a file lacks s3prl draws, and says so where nobody reads
                return _call(hubconf, family, name, supply)
    except BenchError:
        raise
    except ModuleNotFoundError as error:
        raise RequestError(
            f"s3prl's '{name}' needs the package '{error.name}', which is not installed", f"pip install {error.name}"
        ) from error
    except SystemExit as error:  # what a missing package makes of some of them
        raise RequestError(f"s3prl's '{name}' gives up: {' '.join(said) or 'it does not say why'}") from error
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

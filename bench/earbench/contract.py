"""The types a plugin author meets; they know nothing of the engine.

Units: `sample_rate` in hertz, `hop`, `first`, `start`, `stop` and `times` in seconds, `lengths` in samples for waves
and in frames for features. Shapes are written [clip, layer, time, width].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

Grain = Literal["frame", "mean", "clip"]
Effort = Literal["quick", "standard", "reference"]
Search = Literal["fold", "first", "all"]
Better = Literal["higher", "lower"]
Batching = Literal["any", "equal", "alone"]
Example = Literal["clip", "frame"]
Effect = tuple[str, float]
"""A named change to a clip's samples, for example `("gain_db", -3.0)`; `earbench.kit.effects` lists them."""
SWAY = 1e-3
"""Seconds: frame times that stay within it of an even grid will do where a regular hop is needed. HEAR's validator lets
spacings vary as much (HEAR sheet 7), since models round their times, some of them to whole milliseconds.
"""


# ---- audio with answers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """A stretch of audio with its answer.

    `start` and `stop` are seconds in the file (None: from its beginning, to its end). `group` is what the bootstrap
    resamples (speaker, recording). `leak` must not straddle splits, where the protocol promises it. Clips of one
    `pool` stand for one unit of the corpus: one of them is drawn per visit (random crops, stretches of silence).
    `whole` names the recording that the predictions of its chunks are joined into.
    """

    id: str
    audio: Path
    label: Any
    group: str
    start: float | None = None
    stop: float | None = None
    pool: str | None = None
    leak: str | None = None
    whole: str | None = None
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True)
class Split:
    """Clips in a fixed order; `truth` holds what is not per clip (trial lists, reference segments).

    `seconds`, one duration per clip, is filled in by the engine once it has read the audio.
    """

    clips: tuple[Clip, ...]
    truth: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, ...] = ()

    def units(self) -> list[list[int]]:
        """Clip indices, grouped: the clips of one pool together, every other clip alone; order of first appearance.

        >>> a, b, c = (Clip(i, Path("x.wav"), "yes", "anna", pool=p) for i, p in [("1", None), ("2", "p"), ("3", "p")])
        >>> Split((a, b, c)).units()
        [[0], [1, 2]]
        """
        found: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            found.setdefault(f"pool {clip.pool}" if clip.pool else f"clip {clip.id}", []).append(index)
        return list(found.values())


@dataclass(frozen=True)
class Fold:
    """One train/valid/test triple. K-fold cross-validation is a longer list of these."""

    train: Split
    valid: Split
    test: Split
    name: str = "main"

    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def each(self, change: Callable[[str, Split], Split]) -> Fold:
        """The same fold with every split changed by its name."""
        changed = {name: change(name, split) for name, split in self.splits().items()}
        return Fold(changed["train"], changed["valid"], changed["test"], self.name)


@dataclass(frozen=True)
class Archive:
    """A file that anyone may download, and the folder below the corpus root that it is unpacked into ("": the root).

    `bytes` is the size of the file. `checksum` is "sha256:" or "md5:" and hexadecimal digits; None where none is
    publicly known, and the download then says that it is unverified.
    """

    url: str
    into: str = ""
    bytes: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Corpus:
    """One body of data on disk: how it lies there, how much of it there is, and where to get it.

    `counts` is the published census, in the keys of the task's `census` ("train + valid": of both together); a corpus
    that differs is refused unless the user says `--partial`. `archives` are all it takes, if they may be downloaded
    without registration.
    """

    id: str
    title: str
    page: str
    licence: str
    layout: str
    counts: Mapping[str, int] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()


class Draft(Protocol):
    """A corpus that is about to be made from an original one, which was read and found to be as published.

    `folder` is the name it is written under, its length is the number of clips.
    """

    @property
    def folder(self) -> str: ...

    def __len__(self) -> int: ...

    def sources(self) -> Sequence[Path]:
        """Every audio file of the original that will be read, once."""

    def bytes(self, rates: Sequence[int]) -> int:
        """What the audio will take on the disk, at each of these sample rates."""

    def write(self, path: Path, rates: Sequence[int], tick: Callable[[], None]) -> None:
        """All of it at `path`, which is not there yet; `tick` is called after each clip."""


class Space(Protocol):
    """What a head can say: labels, symbols, speakers. `len` is the width of the head's output."""

    def __len__(self) -> int: ...


class Labels(tuple[str, ...]):
    """A space of named classes; the position of a name is its class index.

    >>> Labels(("yes", "no")).index("no")
    1
    """

    __slots__ = ()


# ---- facts about plugins ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UpstreamCard:
    """Facts about an encoder, as plain data; None where only the loaded weights can tell.

    `pretraining` is "self-supervised", "supervised", "none" or "unknown". `weights` says where they come from: "hub:
    ORG/MODEL" is fetched on first use, "package: NAME …" lies in an installed package, an address is fetched by hand.
    `parity` says whether the features were compared with the reference implementation ("run") or only written from its
    source ("source only"). `groups` names the layers beside the encoder's own that `--layers NAME` reaches; `widths`
    lists theirs as well. `corpora` are all that the weights of its plain name heard in training, teachers included, by
    the ids that tasks have for theirs ("librispeech"); None where that is not known for sure.
    """

    name: str
    family: str
    licence: str
    weights: str
    pretraining: str = "self-supervised"
    version: int = 1
    parameters: int | None = None
    sample_rate: int | None = None
    hop: float | None = None
    layers: int | None = None
    widths: tuple[int, ...] = ()
    normalise: bool | None = None
    parity: str = "source only"
    groups: tuple[str, ...] = ()
    corpora: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TaskCard:
    """Facts about a task, as plain data. `verified` is how far it is proven: "layout", "vectors" or "scores"."""

    name: str
    version: int
    title: str
    corpus: Corpus
    grain: Grain
    metrics: tuple[Metric, ...]
    suite: str
    protocol: str
    verified: str = "layout"


# ---- encoders --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """What the user wrote after `--upstream`, taken apart: `name@checkpoint`, `scheme:argument`, with or without
    `~random`. `seed` is what fresh weights are drawn from.
    """

    text: str
    name: str
    argument: str | None = None
    checkpoint: str | None = None
    random: bool = False
    seed: int = 0

    def refuse_argument(self) -> None:
        """For encoders that take none: what nobody reads is an error and not a footnote."""
        from earbench.errors import RequestError

        if self.argument is not None:
            raise RequestError(
                f"upstream '{self.name}' takes no argument, got ':{self.argument}'",
                f"a file or folder is {self.name}@PATH",
            )


@dataclass(frozen=True)
class Group:
    """The size of a named group of layers: how many, how wide, and the seconds from one of their frames to the next."""

    layers: int
    width: int
    hop: float


@dataclass(frozen=True)
class Features:
    """All layers of an encoder, with time.

    `frames` [clip, layer, time, width]; `lengths` [clip] counts the true frames of each clip. Frame i is centred at
    `first + i * hop` seconds; where that is not so, at `times[clip, i]`. An encoder that gives `times` for some clips
    only has one hop and one first for all. Layers of another width or rate are further `groups`, by the names and sizes
    that the encoder declares; a group has no groups.
    """

    frames: Tensor
    lengths: Tensor
    hop: float = 0.0
    first: float = 0.0
    times: Tensor | None = None
    groups: Mapping[str, Features] = field(default_factory=dict)

    def pooled(self) -> Tensor:
        """The mean over true frames: [clip, layer, width], in float32 whatever the frames are stored in."""
        steps = torch.arange(self.frames.shape[2], device=self.frames.device)
        mask = (steps < self.lengths[:, None]).to(torch.float32)[:, None, :, None]
        total = torch.where(mask > 0, self.frames.float(), 0.0).sum(2)
        return total / self.lengths.clamp_min(1).to(torch.float32)[:, None, None]


class Upstream(nn.Module, ABC):
    """A frozen encoder: waves in, all layers out.

    `encode` is only ever called in eval mode, without gradients, at `sample_rate`, with clips of at least 0.1 s.
    `batching` is "any" if the features of a clip do not depend on how far it is padded, "equal" if only clips of the
    same length may share a batch; `bench check` decides which is true, not the author. One whose batch mates change its
    features is called with one clip at a time if it says "alone", and fails the check all the same.
    """

    card: UpstreamCard
    sample_rate: int
    hop: float
    layers: int
    width: int
    batching: Batching = "any"
    longest: float = math.inf
    """Seconds of a clip that it takes at once. Longer ones it hears in overlapping stretches of at most that, which may
    change features: a fact of the encoder, whatever the machine. An `embed` of its own gets the whole clip.
    """
    groups: Mapping[str, Group] = {}
    """Layers that cannot be mixed with the others, their width or rate being another; `--layers NAME` takes these."""
    options: Mapping[str, Any] = {}
    """Whatever besides the weights changes the features (strides, activations, statistics), as plain data."""
    source: Mapping[str, str] = {}
    """Where the loaded weights came from, for the record: hub name, commit, file digest. Never a local path."""
    notes: Sequence[str] = ()
    """What the user should know about how it was loaded; printed once and kept in the record."""

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The encoder that `spec` names. The default is for encoders without weights."""
        from earbench.errors import RequestError

        spec.refuse_argument()
        if spec.checkpoint:
            raise RequestError(f"upstream '{spec.name}' takes no checkpoint, got '@{spec.checkpoint}'")
        if spec.random:
            raise RequestError(f"upstream '{spec.name}' has no learned weights, so '~random' means nothing for it")
        return cls()

    @abstractmethod
    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        """Features of zero-padded `waves` [clip, sample] whose true lengths are `lengths` [clip] samples."""

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """One vector per clip and layer, [clip, layer, width]: the time mean unless the encoder has its own."""
        return self.encode(waves, lengths).pooled()


class Supplied(Upstream):
    """Features that were computed elsewhere: looked up by a clip's key, never made from waves.

    `options` hold what tells one encoder from another; what is in the files the engine digests itself. `first` is the
    centre of the first frame in seconds.
    """

    first: float

    @abstractmethod
    def path(self, key: str, grain: Grain) -> Path:
        """The file that the features of the clip `key` are in for a task of this grain, if they are there."""

    @abstractmethod
    def read(self, key: str, grain: Grain) -> Features:
        """What that file holds, [1, layer, time, width]; one frame and a hop of 0 where it holds no frames."""

    @abstractmethod
    def keys(self, grain: Grain) -> Sequence[str]:
        """The clips that there are features of."""

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        from earbench.errors import RequestError

        raise RequestError(
            f"the features of '{self.card.name}' were computed elsewhere: nothing here could encode audio",
            "`bench run` looks them up by the keys of clips, which `bench clips` writes",
        )


class UpstreamPlugin(Protocol):
    """What an entry point of the group `earbench.upstreams` names: an `Upstream` class, or any object like this."""

    card: UpstreamCard

    def load(self, spec: Spec) -> Upstream: ...


# ---- heads -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """One point of the head grid. One step is `accum` batches; `every` steps the valid split is judged, and training
    ends after `patience` judgements without a better one (None: never before `steps`).

    With `unit` "epoch", `steps` and `every` count passes over the units of the train split, or over its frames where
    frames are the examples; the engine turns them into steps fold by fold, since folds differ in size. Every `keep`
    steps the head is also kept as it is then, for tasks whose `published` score is the best of those.

    With `finite`, training ends at the first judgement that is NaN or infinite, as HEAR's reference does (sheet 4.4); a
    recipe that never had another one then counts as the worst there can be, not as one without a value.

    Recipes of a seed whose heads have the same shape begin with the same weights, so that a grid compares its points
    and not their luck; another `start` is another draw, for protocols whose points each have their own.
    """

    lr: float
    batch: int
    steps: int
    every: int
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    clip: float | None = None
    accum: int = 1
    patience: int | None = None
    unit: Literal["step", "epoch"] = "step"
    keep: int | None = None
    finite: bool = False
    start: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def with_(self, **changes: Any) -> Recipe:
        return replace(self, **changes)


class Head(nn.Module, ABC):
    """The small trained part, behind the layer weights (which are the engine's).

    Random draws in training come from `self.generator`. A head that is a pure function of its parameters and input
    (no dropout, no buffers, no recurrent kernels) says `stackable = True`, and recipes then train as one. The engine
    sets `generator`.
    """

    stackable: ClassVar[bool] = False
    generator: torch.Generator

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Output for `x` [clip, width] (lengths None) or [clip, time, width], zeros behind each clip's true frames.

        It must not depend on how far a clip is padded: what is judged together is the engine's choice. Where frames are
        the examples of a task, training and the loss on valid give [frame, width] (lengths None), and clips are given
        whole only to be predicted.
        """

    @abstractmethod
    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """The scalar that training minimises. `targets` are padded with zeros to the longest of `target_lengths`."""

    @abstractmethod
    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """One prediction per clip in the task's own units: labels, strings, seconds, vectors; never frame numbers.

        `times` [clip, time] are the centres of the frames in seconds: double precision, on the CPU. Behind a clip's
        last frame they go on at the encoder's hop.
        """


# ---- scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rows:
    """What a test set says, unit by unit; the only thing a metric sees. Rows are themselves and equal to no others.

    `groups` holds one name per unit, or several (a trial has two speakers): a unit's bootstrap weight is the product
    of the weights of its groups. Every array has one entry per unit along its first axis; what metrics do not look at,
    such as a list of events, may be an array of objects that JSON knows.
    """

    ids: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    arrays: Mapping[str, np.ndarray[Any, Any]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Metric:
    """What a number means, and the one function behind it: `value(rows, weights)`, with a weight per unit.

    `bounds` are the lowest and highest possible values (infinite where there is none); `best` is a perfect score.
    """

    name: str
    unit: str
    better: Better
    best: float
    bounds: tuple[float, float]
    value: Callable[[Rows, np.ndarray[Any, Any]], float] = field(repr=False)


# ---- tasks -----------------------------------------------------------------------------------------------------------


class Task(ABC):
    """A question put to the features: facts and a few methods, no training loop of its own."""

    card: TaskCard
    layers: str = "mix"
    select: str
    """What the valid split is judged by: the name of a metric, or "loss"."""
    search: Search = "fold"
    decodings: tuple[Mapping[str, Any], ...] = ({},)
    """Ways to read predictions off a trained head. Where there are several, every judgement on valid tries them all:
    the best is the judgement, of equals the first, and test is read as it was at the best step. The loss cannot choose
    between them, so a task that is judged by it has one.
    """
    example: Example = "clip"
    """What one row of a training batch is. With "frame" (at the grain "frame") every frame of the train split is an
    example of its own, in the order of the clips: `Recipe.batch` and epochs count frames, `frame_batches` orders them,
    and the loss on valid is the mean over all its frames.
    """
    published: str | None = None
    """A metric that the protocol tunes on the *test* split. Beside the honest score the engine then gives
    `<metric>_published`: the best on test over `published_decodings` and over the heads kept every `Recipe.keep` steps.
    """
    published_decodings: tuple[Mapping[str, Any], ...] = ({},)
    readings: Mapping[str, Mapping[str, Any]] = {}
    """Decodings that are no choice but a score of their own: on test each gives `<first metric>_<name>`. A corpus may
    lack what some of them need, which `at` then leaves out.
    """
    trials: bool = False
    """Whether a row is of something else than a clip or the recording that it belongs to, such as a pair of clips: its
    resamples, which are drawn from the clips, can then not be made again from rows alone.
    """
    probable: bool = False
    """Whether a prediction is the probability of each of the `Labels`, in their order, and not one of them."""
    shortest_train: float = 0.0
    """Seconds: training clips that are no longer than this, once their effects are applied, are left out."""
    root: Path | None = None
    """Where the corpus lies, for a task whose argument says so."""

    @classmethod
    def load(cls, argument: str | None) -> Task:
        """The task that `name` or `name:argument` names. The default takes no argument."""
        from earbench.errors import RequestError

        if argument is not None:
            raise RequestError(f"task '{cls.card.name}' takes no argument, got ':{argument}'")
        return cls()

    def builder(self) -> Callable[[Path], Draft] | None:
        """What reads the original corpus under a folder into a draft of the one that this task is run on, for a task
        whose protocol prepares its corpus first. All that is wrong with the original is one error.
        """
        return None

    def packed(self, root: Path, upstream: UpstreamCard) -> Sequence[Path]:
        """Archives at any depth below `root` that hold what this task lacks there; the engine unpacks them first."""
        return ()

    def at(self, root: Path, upstream: UpstreamCard) -> Task:
        """The task as the corpus under `root` states it, for this encoder: itself, unless overridden.

        Some corpora carry their own labels, metrics and audio at several rates (HEAR's task folders do); before they
        are found, a card can only say what is usual. The engine asks this once the corpus is located, and everything
        below of what it got.
        """
        return self

    @abstractmethod
    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        """The splits of the corpus under `root`, in a fixed order. The encoder's hop is known: label frames, chunks."""

    def rates(self, root: Path) -> Sequence[int]:
        """The sample rates in hertz that the whole corpus under `root` lies there in, if each encoder reads one of
        several copies; `bench prepare` checks them all, by the headers of their files.
        """
        return ()

    def check_audio(self, folds: Sequence[Fold], rates: Mapping[Path, int]) -> None:  # noqa: B027 (most need none)
        """Refuse audio that is not what the corpus says it is: `folds` have their seconds, `rates` is the hertz of
        every file. The engine asks once it has read the files, before any work.
        """

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """What is held against the published counts: units per split of the first fold, unless overridden."""
        return {name: len(split.units()) for name, split in folds[0].splits().items()}

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        """Footnotes: how this task differs from its protocol at `effort`, by name, each with its reason."""
        return {}

    @abstractmethod
    def space(self, fold: Fold) -> Space: ...

    @abstractmethod
    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        """The published grid (small declared recipes on the demo corpus). The engine adds early stopping by effort."""

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        """Endless batches of clip indices: epochs of shuffled units, one clip of each pool per visit.

        Of `recipe` only the batch size counts: recipes that share it see the same batches, made once for all of them.
        """
        from earbench.kit.sampling import shuffled

        return shuffled(split, recipe.batch, rng)

    def frame_batches(self, count: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        """Endless batches of frame numbers, for tasks whose examples are the `count` frames of the train split.

        In order and the same each time unless overridden (HEAR sheet 4.1); a last batch of one frame gets a second.
        """
        from earbench.kit.sampling import consecutive

        return consecutive(count, recipe.batch)

    def batching_note(self, examples: int, recipe: Recipe) -> str | None:
        """What the record should say of how the `examples` of a train split are cut into batches, if anything."""
        return None

    def weights(self, split: Split, effort: Effort) -> np.ndarray[Any, Any]:
        """How much each row of the *valid* split counts when a head is judged: every unit once unless overridden.

        Where rows are not clips (trials, recordings), a task has to say so itself.
        """
        from earbench.kit.sampling import unit_weights

        return unit_weights(split)

    @abstractmethod
    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        """The answer as a tensor, a scalar for one class per clip; the engine stacks scalars to [clip] and pads others.

        `times` [time] are the centres of the clip's frames in seconds, in double precision (None without frames). Where
        frames are the examples, there is one answer for each: [time] classes or [time, label].
        """

    @abstractmethod
    def head(self, width: int, space: Space, recipe: Recipe) -> Head: ...

    @abstractmethod
    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        """What the metrics see, per clip, trial or recording; `predictions` are keyed by clip id.

        A smoke run ("quick") cuts clips from a split but not from its `truth`: what refers to a clip that is not there
        is left out.
        """

    def again(self, split: Split, rows: Rows) -> Rows:
        """The rows made anew from the answers of `split` and what `rows` say was predicted, for `bench verify`.

        What was predicted for a unit is its entry in the array "prediction", else "score", else "guess". An array that
        takes more than rows hold is left out, and so are all of them where rows hold none of the three.
        """
        for name in ("prediction", "score", "guess"):
            if name in rows.arrays:
                return self.rows(split, dict(zip(rows.ids, rows.arrays[name].tolist(), strict=True)))
        return replace(rows, arrays={})

    @abstractmethod
    def ideal(self, split: Split) -> Mapping[str, Any]:
        """What a perfect head would predict."""

    @abstractmethod
    def toy(self, root: Path, seed: int) -> None:
        """Write a tiny tree in the official layout, learnable in seconds."""


class Match(Task):
    """A task without a head: it answers from the features of one layer alone (query by example, ABX).

    The engine asks it for every layer, chooses the layer on valid and scores test. The train split may be empty.
    """

    layers = "each"

    @abstractmethod
    def match(self, split: Split, features: Callable[[str], Tensor]) -> Mapping[str, Any]:
        """Predictions for `split`; `features(id)` gives a clip's frames [time, width], or its vector [width]."""

    def space(self, fold: Fold) -> Space:
        return Labels(())

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        return ()

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        raise NotImplementedError("a task without a head has no targets")

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        raise NotImplementedError("a task without a head")

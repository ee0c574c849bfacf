"""What every upstream must hold to. Each check is a function whose docstring is its promise."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from earbench.checks import Finding, Verdict, attempt
from earbench.contract import Features, Grain, Group, Supplied, Upstream
from earbench.supplied import probe

TOLERANCE = 1e-4
MIXED = (1.5, 0.1, 0.737, 0.25, 1.0)
EQUAL = (0.8, 0.8, 0.8)
GRAINS: Sequence[Grain] = ("frame", "mean", "clip")


def run(upstream: Upstream) -> list[Finding]:
    """One finding per check, in the order of `CHECKS`. The upstream is put in eval mode, as the engine does.

    Features that were computed elsewhere cannot be asked for more of them: their files are looked at instead.
    """
    upstream.eval()
    if isinstance(upstream, Supplied):
        return [attempt(every_array_can_be_used, upstream)]
    with torch.no_grad():
        return [attempt(check, upstream) for check in CHECKS]


def every_array_can_be_used(upstream: Supplied) -> Verdict:
    """Every file of supplied features can be read, has the stated shape and holds finite numbers."""
    found = [(grain, key) for grain in GRAINS for key in upstream.keys(grain)]
    bad = [f"{key}: {array.problem}" for grain, key in found if (array := probe(upstream, key, grain)).problem]
    if bad:
        return False, f"{len(bad):,} of {len(found):,} arrays cannot be used, the first: {bad[0]}"
    if not found:
        return False, "there are no arrays: `bench clips` lists the clips that a task needs them for"
    return True, f"{len(found):,} arrays; whether they are all of a task's, `bench run` sees"


def declared_sizes_are_true(upstream: Upstream) -> Verdict:
    """Sample rate, hop, layers, width, groups and parameters are what the attributes and the card say."""
    features = upstream.encode(*noise(upstream, MIXED[:1]))
    problems = [
        *_shape_problems(upstream, features),
        *_group_problems(upstream, features.groups),
        *_card_problems(upstream, [part.frames.shape[-1] for _, part in parts(features)]),
    ]
    if problems:
        return False, "; ".join(problems) + ": correct the declaration, or the features"
    return True, f"{upstream.layers} layers of {upstream.width}, a frame every {upstream.hop * 1000:g} ms"


def alone_equals_batched(upstream: Upstream) -> Verdict:
    """The features of a clip are those of the clip alone, whatever else is in the batch."""
    waves, lengths = noise(upstream, MIXED if upstream.batching == "any" else EQUAL)
    together = upstream.encode(waves, lengths)
    own = type(upstream).embed is not Upstream.embed  # the mean of equal frames is equal
    embedded = upstream.embed(waves, lengths) if own else None
    worst = 0.0
    for index, length in enumerate(lengths.tolist()):
        single = waves[index : index + 1, :length].clone(), lengths[index : index + 1].clone()
        for (name, one), (_, many) in zip(parts(upstream.encode(*single)), parts(together), strict=True):
            frames = int(one.lengths[0])
            if frames != int(many.lengths[index]):
                return False, f"{name}: {frames} frames alone, {int(many.lengths[index])} in a batch: fix `lengths`"
            worst = max(worst, _distance(many.frames[index, :, :frames], one.frames[0, :, :frames]))
        if embedded is not None:
            worst = max(worst, _distance(embedded[index], upstream.embed(*single)[0]))
    found = f"largest difference {worst:.1e} of the layer's scale, batching '{upstream.batching}'"
    if worst <= TOLERANCE:
        return True, found
    if upstream.batching == "any":
        return False, f"{found}: mask the padding exactly (attention, statistics), or say batching = 'equal'"
    return False, f"{found}: batch mates change features (normalise by clip); `bench run` has it hear one at a time"


def repeated_calls_agree(upstream: Upstream) -> Verdict:
    """The same input twice gives the same features, digit for digit."""
    waves, lengths = noise(upstream, EQUAL)
    first, second = upstream.encode(waves, lengths), upstream.encode(waves, lengths)
    for (name, one), (_, two) in zip(parts(first), parts(second), strict=True):
        if not torch.equal(_true(one), _true(two)):
            return False, f"{name}: two calls differ: switch off dropout, dither and other random or running state"
    return True, "two calls gave the same features"


def weights_stay_frozen(upstream: Upstream) -> Verdict:
    """No parameter asks for a gradient, and encoding changes neither weights, buffers nor eval mode."""
    before = _state(upstream)
    for call in (upstream.encode, upstream.embed):
        call(*noise(upstream, EQUAL))
    after = _state(upstream)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    if changed:
        return False, f"encoding changed {', '.join(changed[:3])}: keep no state between calls"
    asking = [name for name, parameter in upstream.named_parameters() if parameter.requires_grad]
    if asking:
        return False, f"{len(asking)} parameters ask for gradients ({asking[0]}): call requires_grad_(False) on loading"
    training = [name or "the upstream" for name, module in upstream.named_modules() if module.training]
    if training:
        return False, f"in training mode after encoding: {', '.join(training[:3])}: never call train()"
    return True, f"{len(before)} tensors unchanged"


def silence_and_short_clips_are_finite(upstream: Upstream) -> Verdict:
    """Digital silence and clips of 0.1 s give at least one frame, and only finite numbers."""
    waves = {f"{seconds} s of noise": noise(upstream, (seconds,)) for seconds in (0.1, 0.13)}
    waves |= {f"{seconds} s of silence": noise(upstream, (seconds,), loudness=0.0) for seconds in (0.1, 1.0)}
    for title, wave in waves.items():
        for name, part in parts(upstream.encode(*wave)):
            if int(part.lengths.min()) < 1:
                return False, f"{title}: no frame in {name}: pad short clips, or count one frame at least"
            if not torch.isfinite(_true(part)).all():
                return False, f"{title}: infinite or NaN in {name}: put a floor under logarithms and divisions"
        if not torch.isfinite(upstream.embed(*wave)).all():
            return False, f"{title}: infinite or NaN in the embedding: put a floor under logarithms and divisions"
    return True, f"finite on {', '.join(waves)}"


def frame_times_lie_inside_the_clip(upstream: Upstream) -> Verdict:
    """Frame centres rise steadily and lie within the clip, up to one sample; `hop` and `first` are the same for all."""
    grids: dict[str, tuple[float, float]] = {}
    for seconds in MIXED:
        waves, lengths = noise(upstream, (seconds,))
        for name, part in parts(upstream.encode(waves, lengths)):
            times, grid = _times(part), (part.hop, part.first)
            if grids.setdefault(name, grid) != grid:
                return False, f"{name}: hop and first are {grids[name]}, then {grid}: they must not depend on the clip"
            if not (times.diff() > 0).all():
                return False, f"{name}, {seconds} s: times do not rise: give `hop` in seconds, or rising `times`"
            end = (int(lengths[0]) + 1) / upstream.sample_rate
            if len(times) and not -1 / upstream.sample_rate <= float(times[0]) <= float(times[-1]) <= end:
                span = f"{float(times[0]):.4f} to {float(times[-1]):.4f} s"
                return False, f"{name}: frames at {span} in a clip of {seconds} s: correct `first`, `hop` or `lengths`"
    return True, f"inside the clip for {', '.join(f'{seconds:g}' for seconds in MIXED)} s"


def input_stays_untouched(upstream: Upstream) -> Verdict:
    """Neither the waves nor their lengths are changed in place."""
    waves, lengths = noise(upstream, EQUAL)
    for call in (upstream.encode, upstream.embed):
        given = waves.clone(), lengths.clone()
        call(*given)
        if not (torch.equal(given[0], waves) and torch.equal(given[1], lengths)):
            return False, f"{call.__name__} changed its input: work on a copy"
    return True, "waves and lengths unchanged"


def embedding_has_one_vector_per_layer(upstream: Upstream) -> Verdict:
    """`embed` gives [clip, layer, width]."""
    shape = list(upstream.embed(*noise(upstream, EQUAL)).shape)
    if len(shape) == 3 and shape[0] == len(EQUAL):
        return True, f"shape {shape}"
    return False, f"shape {shape} for {len(EQUAL)} clips: return [clip, layer, width], one layer at least"


CHECKS: Sequence[Callable[[Upstream], Verdict]] = (
    declared_sizes_are_true,
    alone_equals_batched,
    repeated_calls_agree,
    weights_stay_frozen,
    silence_and_short_clips_are_finite,
    frame_times_lie_inside_the_clip,
    input_stays_untouched,
    embedding_has_one_vector_per_layer,
)


# ---- what the checks look at -----------------------------------------------------------------------------------------


def noise(upstream: Upstream, seconds: Sequence[float], loudness: float = 0.1) -> tuple[Tensor, Tensor]:
    """Zero-padded white noise, one clip for each duration, with true lengths; the same at every call."""
    lengths = torch.tensor([round(duration * upstream.sample_rate) for duration in seconds])
    waves = torch.randn(len(seconds), int(lengths.max()), generator=torch.Generator().manual_seed(0)) * loudness
    return torch.where(torch.arange(waves.shape[1]) < lengths[:, None], waves, 0.0), lengths


def parts(features: Features, name: str = "features") -> Iterator[tuple[str, Features]]:
    """The features and all their groups, each with a name."""
    yield name, features
    for group, further in features.groups.items():
        yield from parts(further, f"{name}/{group}")


def _true(part: Features) -> Tensor:
    """All true frames, padding left out: [frame, layer, width]."""
    inside = torch.arange(part.frames.shape[2]) < part.lengths[:, None]
    return part.frames.transpose(1, 2)[inside]


def _times(part: Features) -> Tensor:
    """The centres of the first clip's frames, in seconds."""
    count = int(part.lengths[0])
    if part.times is not None:
        return part.times[0, :count].double()
    return part.first + part.hop * torch.arange(count, dtype=torch.float64)


def _distance(one: Tensor, two: Tensor) -> float:
    """The largest difference between two tensors [layer, …], in units of each layer's root mean square."""
    one, two = one.double().flatten(1), two.double().flatten(1)
    scale = two.square().mean(1).sqrt().clamp_min(1e-6)
    return float(((one - two).abs().amax(1) / scale).max().nan_to_num(float("inf")))


def _state(upstream: Upstream) -> dict[str, str]:
    """A digest of every parameter and buffer, saved with the weights or not."""
    tensors = dict(upstream.named_parameters()) | dict(upstream.named_buffers())
    raw = {name: tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for name, tensor in tensors.items()}
    return {name: hashlib.blake2b(values.numpy().tobytes()).hexdigest() for name, values in raw.items()}


def _shape_problems(declared: Upstream | Group, features: Features, whose: str = "") -> Iterator[str]:
    if features.frames.dim() != 4:
        yield f"{whose}frames are {list(features.frames.shape)}, not [clip, layer, time, width]"
        return
    clips, layers, steps, width = features.frames.shape
    if (clips, layers, width) != (1, declared.layers, declared.width):
        said = f"declared {declared.layers} layers of width {declared.width}"
        yield f"{whose}{said}, frames are {list(features.frames.shape)}"
    if features.lengths.shape != (1,) or features.lengths.is_floating_point() or int(features.lengths.max()) > steps:
        yield f"{whose}lengths {features.lengths.tolist()} do not count the true frames of {steps}"
    if features.times is None and abs(features.hop - declared.hop) > 1e-9:
        yield f"{whose}declared a hop of {declared.hop:g} s, features have {features.hop:g} s"


def _group_problems(upstream: Upstream, groups: Mapping[str, Features]) -> Iterator[str]:
    if set(groups) != set(upstream.groups):
        yield f"declared groups {sorted(upstream.groups)}, the features have {sorted(groups)}"
    for name in groups.keys() & upstream.groups.keys():
        yield from _shape_problems(upstream.groups[name], groups[name], f"group {name}: ")
        if groups[name].groups:
            yield f"group {name} has groups of its own"
    for name in upstream.groups:
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in ("mix", "last", "each"):
            yield f"a group is called '{name}': use small letters, digits and _, and not mix, last or each"


def _card_problems(upstream: Upstream, widths: Sequence[int]) -> Iterator[str]:
    card = upstream.card
    for name in ("sample_rate", "hop", "layers"):
        said, true = getattr(card, name), getattr(upstream, name)
        if said is not None and said != true:
            yield f"the card says {name} {said}, the upstream {true}"
    if card.groups and set(card.groups) != set(upstream.groups):
        yield f"the card says groups {sorted(card.groups)}, the upstream {sorted(upstream.groups)}"
    if card.widths and not set(widths) <= set(card.widths):
        yield f"the card says widths {list(card.widths)}, the features have {list(widths)}"
    parameters = sum(parameter.numel() for parameter in upstream.parameters())
    if card.parameters is not None and card.parameters != parameters:
        yield f"the card says {card.parameters:,} parameters, there are {parameters:,}"

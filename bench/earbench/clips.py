"""`bench clips` and `bench extract`: the exact clips of a task for other programs, and features as files.

The layout of the folder both write into is that of `earbench.kit.arrays`.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from earbench import audio, data, files, line, packed
from earbench.config import Settings
from earbench.contract import SWAY, Supplied
from earbench.errors import BenchError, RequestError
from earbench.examples import centres
from earbench.extract import Item, Shelf, ahead, distinct, extract
from earbench.forward import padded
from earbench.kit.arrays import FACTS, FOLDERS, Stated, described, stated
from earbench.plan import Cell, Request, load_task
from earbench.prepare import ANY_ENCODER
from earbench.progress import Progress
from earbench.record import slug

COLUMNS = ("key", "audio", "start", "stop", "effects", "seconds")
AHEAD = 8
LONGEST_NAME = 150


@dataclass(frozen=True)
class Wish:
    """Which clips: those of a task as an encoder with this sample rate (hertz) and hop (seconds) gets them.

    None: as the folder states them that the list goes to, else as most encoders have them.
    """

    task: str
    data: str | None = None
    partial: bool = False
    sample_rate: int | None = None
    hop: float | None = None

    @property
    def rate(self) -> int:
        return self.sample_rate or ANY_ENCODER.sample_rate or 16_000


def listed(wish: Wish, settings: Settings, progress: Progress) -> list[dict[str, Any]]:
    """Every distinct clip of the task, shortest first.

    `key` is what its features go by, in whatever task. `audio` is the file, of which `start` to `stop` (seconds, null:
    all of it) is heard; then `effects` change it, [name, value] one after another. `seconds` are left of it.
    """
    return [_row(item) for item in _items(wish, settings, progress)]


def write_list(wish: Wish, out: Path, with_audio: bool, settings: Settings, progress: Progress) -> dict[str, Any]:
    """The list as OUT/clips/TASK.csv and, if asked, each clip ready for an encoder as OUT/audio/KEY.wav."""
    wish = _as_stated(wish, out)
    items = _items(wish, settings, progress)
    files.write_text(out / "clips" / f"{slug(wish.task)}.csv", _table([_row(item) for item in items]))
    if with_audio:
        with progress.bar("writing audio", len(items), "clips") as bar:
            for _ in ahead(partial(_write_audio, out=out, rate=wish.rate), items, AHEAD):
                bar.advance(1)
    return _told(wish.task, items, out)


def write_features(request: Request, out: Path, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Features of every clip of a task at the grain it needs, as `features:OUT` reads them: the store's own numbers."""
    cell, prepared = line.opened(request, settings, progress)
    if isinstance(cell.upstream, Supplied):
        raise RequestError(f"'{request.upstream}' is a folder of features already")
    _state(cell, out, settings)
    shelf = extract(cell.with_all_layers(), prepared, settings, settings.cache, progress)
    items = distinct(prepared)
    with progress.bar("writing features", len(items), "clips") as bar:
        for item in items:
            _write_array(item, shelf, out / FOLDERS[cell.grain])
            bar.advance(1)
    return _told(request.task, items, out)


def _told(task: str, items: Sequence[Item], out: Path) -> dict[str, Any]:
    hours = sum(item.seconds for item in items) / 3600
    return {"task": task, "clips": len(items), "hours": round(hours, 3), "written": str(out)}


# ---- clips -----------------------------------------------------------------------------------------------------------


def _items(wish: Wish, settings: Settings, progress: Progress) -> tuple[Item, ...]:
    card = replace(ANY_ENCODER, sample_rate=wish.rate, hop=wish.hop or ANY_ENCODER.hop)
    asked = load_task(wish.task)
    place = packed.unpacked(asked, card, data.locate(asked, wish.data, settings, progress), settings, progress)
    task = data.at(asked, card, place)
    return distinct(data.prepare(task, card, place, settings.effort, wish.partial, settings, progress))


def _as_stated(wish: Wish, out: Path) -> Wish:
    """The wish with sample rate and hop as the folder states them already, if it does; other ones are refused."""
    if not (out / FACTS).is_file():
        return wish
    facts = stated(out)
    for name, said, known in (("--sample-rate", wish.sample_rate, facts.sample_rate), ("--hop", wish.hop, facts.hop)):
        if said not in (None, known):
            raise RequestError(f"{name} {said:g}: {out / FACTS} says {known:g}", "choose another folder, or correct it")
    return replace(wish, sample_rate=facts.sample_rate, hop=facts.hop)


def _row(item: Item) -> dict[str, Any]:
    clip = item.clip
    effects = [list(effect) for effect in clip.effects]
    values = (item.key, str(clip.audio), clip.start, clip.stop, effects, item.seconds)
    return dict(zip(COLUMNS, values, strict=True))


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV; effects are a JSON list in their column, and nothing is null."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "effects": json.dumps(row["effects"])} for row in rows)
    return out.getvalue()


def _write_audio(item: Item, out: Path, rate: int) -> None:
    """The clip as an encoder gets it, mono 32-bit floats: cut, resampled, with its effects, never below 0.1 s."""
    path = out / "audio" / f"{item.key}.wav"
    if path.is_file() and soundfile.info(path).samplerate == rate:
        return
    waves, _ = padded([audio.read(item.clip, rate)], rate)
    samples = waves[0].numpy()
    files.write(path, lambda at: soundfile.write(at, samples, rate, subtype="FLOAT", format="WAV"))


# ---- features --------------------------------------------------------------------------------------------------------


def _state(cell: Cell, out: Path, settings: Settings) -> None:
    """Write features.json, or refuse a folder that holds features of something else."""
    facts = facts_of(cell, settings.dtype)
    if (out / FACTS).is_file() and (found := stated(out)) != facts:
        raise RequestError(
            f"{out} holds features of '{found.name}' (weights {found.weights}), "
            f"not of '{facts.name}' (weights {facts.weights})",
            "choose another folder",
        )
    files.write_text(out / FACTS, described(facts))


def facts_of(cell: Cell, dtype: str) -> Stated:
    """What features.json says of an encoder; a second of silence tells when its first frame is."""
    upstream, card = cell.upstream.to(cell.device), cell.upstream.card
    silence = torch.zeros(1, upstream.sample_rate, device=cell.device)
    with torch.inference_mode():
        heard = upstream.encode(silence, torch.tensor([upstream.sample_rate], device=cell.device))
    twin = cell.name.endswith("~random")
    return Stated(
        name=slug(cell.name)[:LONGEST_NAME],
        weights=cell.digest + ("" if dtype == "fp32" else f" in {dtype}"),
        licence=card.licence,
        sample_rate=upstream.sample_rate,
        hop=upstream.hop,
        first=max(0.0, heard.first),
        layers=upstream.layers,
        width=upstream.width,
        family=card.family,
        pretraining="none" if twin else card.pretraining,
        parameters=sum(parameter.numel() for parameter in upstream.parameters()),
    )


def _write_array(item: Item, shelf: Shelf, folder: Path) -> None:
    """Frames [layer, time, width] in half precision, or one vector per layer in single precision."""
    path = folder / f"{item.key}.npy"
    if path.is_file():
        return
    rows = shelf.rows(item.clip).cpu()
    _refuse_irregular(item, shelf)
    array = (rows.transpose(0, 1) if folder.name == FOLDERS["frame"] else rows[0]).contiguous().numpy()

    def fill(at: Path) -> None:
        with at.open("wb") as file:
            np.save(file, array)

    files.write(path, fill)


def _refuse_irregular(item: Item, shelf: Shelf) -> None:
    """A folder of features states one hop and one first centre: frames at other times would be taken for these."""
    times = shelf.irregular([item.clip]).get(item.clip.id)
    if times is not None and float((times - centres(None, *shelf.times(), len(times))).abs().max()) > SWAY:
        raise BenchError(
            f"the frames of {item.clip.id} are at irregular times, and a folder of features holds regular ones only",
            "`bench run` with the encoder itself takes any times",
        )

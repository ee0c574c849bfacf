"""A HEAR task folder that is about to be written: which sound under which name into which split, with which answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from earbench.kit import hear_layout
from earbench.kit.hear_raw.samples import Source, prepared, resampled, save

MADE_HERE = {"prepared_by": "earbench"}
"""Tells the folder from a published one: names, splits and labels are HEAR's, audio was resampled here."""


@dataclass(frozen=True)
class Draft:
    """A task folder without its audio.

    `clips[split]` are the answer and the source of every clip by the stem of its file. `facts` are the metadata, with
    `task_name`, `version` and `mode`, which name the folder, and `sample_duration` in seconds.
    """

    facts: Mapping[str, Any]
    clips: Mapping[str, Mapping[str, tuple[Any, Source]]]

    @property
    def folder(self) -> str:
        """The name of the task folder (sheet 2)."""
        return "{task_name}-{version}-{mode}".format_map(self.facts)

    def __len__(self) -> int:
        """How many clips it has."""
        return sum(map(len, self.clips.values()))

    def sources(self) -> list[Path]:
        """Every file of the original corpus that is read, once."""
        return sorted({source.path for clips in self.clips.values() for _, source in clips.values()})

    def bytes(self, rates: Sequence[int]) -> int:
        """What the audio takes at these rates."""
        return sum(len(self) * (44 + 2 * round(self.facts["sample_duration"] * rate)) for rate in rates)

    def write(self, path: Path, rates: Sequence[int], tick: Callable[[], None]) -> None:
        """The whole task folder at `path`, which must not be there; `tick` is called after each clip."""
        for rate in rates:
            for split in self.clips:
                (path / str(rate) / split).mkdir(parents=True)
        jobs = [
            partial(_save, source, self.facts["sample_duration"], path, Path(split, f"{stem}.wav"), rates)
            for split, clips in self.clips.items()
            for stem, (_, source) in clips.items()
        ]
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda job: job(), jobs):
                tick()
        answers = {
            split: {f"{stem}.wav": [label] for stem, (label, _) in clips.items()} for split, clips in self.clips.items()
        }
        labels = sorted({label for clips in self.clips.values() for label, _ in clips.values()})
        hear_layout.describe(path, {**hear_layout.SCENE, **self.facts, **MADE_HERE}, labels, answers)


def _save(source: Source, seconds: float, path: Path, name: Path, rates: Sequence[int]) -> None:
    """Write one clip at every rate."""
    rate, samples = prepared(source, seconds)
    for wanted in rates:
        save(path / str(wanted) / name, resampled(samples, rate, wanted), wanted)

"""Writes Kaldi's data folders, as the diarisation fork of LibriMix does; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mixture:
    """One recording: its id, its path as wav.scp shall name it, its length and who talks when, in seconds."""

    id: str
    path: str
    seconds: float
    turns: Sequence[tuple[str, float, float]]


def write_folder(folder: Path, mixtures: Sequence[Mixture]) -> None:
    """`wav.scp segments utt2spk spk2utt reco2dur rttm` for the mixtures, in their order."""
    lines: Mapping[str, list[str]] = {
        name: [] for name in ("wav.scp", "segments", "utt2spk", "spk2utt", "reco2dur", "rttm")
    }
    said: dict[str, list[str]] = {}
    for mixture in mixtures:
        lines["wav.scp"].append(f"{mixture.id} {mixture.path}")
        lines["reco2dur"].append(f"{mixture.id} {mixture.seconds}")
        for speaker, start, stop in mixture.turns:
            utterance = f"{mixture.id}_{round(start * 1000):06}_{round(stop * 1000):06}"
            lines["segments"].append(f"{utterance} {mixture.id} {start} {stop}")
            lines["utt2spk"].append(f"{utterance} {speaker}")
            shown = f"{start}\t{round(stop - start, 6)}"
            lines["rttm"].append(f"SPEAKER\t{mixture.id}\t1\t{shown}\t<NA>\t<NA>\t{speaker}\t<NA>")
            said.setdefault(speaker, []).append(utterance)
    lines["spk2utt"].extend(f"{speaker} {' '.join(utterances)}" for speaker, utterances in sorted(said.items()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, written in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in written), encoding="utf-8", newline="\n")

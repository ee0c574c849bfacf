"""Recorded prompts of a telephone exchange in five languages, 131 minutes of real speech by four people, as FLAC.

`python -m earbench.pretrain.prompts DIR` fetches the Debian packages asterisk-core-sounds-{en,es,fr,it,ru}-g722 with
apt, unpacks them without installing anything, decodes their 16 kHz G.722 and writes DIR/<voice>/**.flac. With
`--demo-voices` it adds what the training voices of the demo corpus say (none of its valid or test voices). It needs
Debian or Ubuntu for `apt-get` and `dpkg-deb`, and the extra `pretrain` for PyAV. The recordings are CC BY-SA 3.0
(Russian: CC BY 3.0).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earbench.demo.speakers import TRACTS, TRAIN_VOICES, recordings
from earbench.errors import BenchError, MissingExtra

PACKAGES = tuple(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "it", "ru"))
RATE = 16_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m earbench.pretrain.prompts", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--demo-voices", action="store_true", help="add the training voices of the demo corpus")
    chosen = parser.parse_args(arguments)
    try:
        count = write_prompts(chosen.folder)
        count += write_demo_voices(chosen.folder) if chosen.demo_voices else 0
    except BenchError as error:
        sys.exit(f"error: {error}")
    print(f"{count:,} files in {chosen.folder}")


def write_prompts(folder: Path) -> int:
    """Fetch, unpack and decode all packages; how many files that made."""
    _av()  # if it is missing, that is said before anything is fetched
    with tempfile.TemporaryDirectory() as name:
        for package in PACKAGES:
            _call("apt-get", "download", package, cwd=Path(name))
        for archive in sorted(Path(name).glob("*.deb")):
            _call("dpkg-deb", "--extract", archive.name, "unpacked", cwd=Path(name))
        sounds = Path(name) / "unpacked" / "usr" / "share" / "asterisk" / "sounds"
        everything = (path for path in sounds.rglob("*.g722") if path.parent.name != "silence")
        recorded = sorted(path for path in everything if path.stat().st_size)  # one of them is empty
        for path in recorded:
            save(folder / path.relative_to(sounds).with_suffix(".flac"), decoded(path))
    return len(recorded)


def write_demo_voices(folder: Path) -> int:
    """Everything the demo pack holds of its training voices, a folder per voice and setting; how many files."""
    count = 0
    for voice in TRAIN_VOICES:
        for setting in TRACTS:
            for number, samples in enumerate(recordings(voice, setting).values()):
                save(folder / f"demo-{voice}-{setting}" / f"{number:03}.flac", samples)
                count += 1
    return count


def decoded(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """The samples of a raw G.722 file at 16 kHz."""
    with _av().open(str(path), format="g722") as container:
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)]).astype(np.int16)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtra("av", "pretrain", "decoding G.722") from None
    return av


def save(path: Path, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def _call(program: str, *arguments: str, cwd: Path) -> None:
    if shutil.which(program) is None:
        raise BenchError(f"'{program}' is not here", "these recordings come as Debian packages: use Debian or Ubuntu")
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"`{program} {' '.join(arguments)}` failed", *done.stderr.strip().splitlines()[-3:])


if __name__ == "__main__":
    main()

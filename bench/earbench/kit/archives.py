"""The archives of corpora that anyone may download, as their publishers and the loaders of others name them.

A checksum stands here where public sources give one: torchaudio and TensorFlow Datasets the same (Speech Commands
v0.02, LibriSpeech), torchaudio alone (v0.01), dcase_util and soundata the same (TAU). None is known for the others.
"""

from __future__ import annotations

from earbench.contract import Archive

_COMMANDS = "https://storage.googleapis.com/download.tensorflow.org/data/"
_LIBRISPEECH = "https://www.openslr.org/resources/12/"
_HEAR = "https://zenodo.org/records/6332517/files/"
_TAU = "https://zenodo.org/records/2589280/files/TAU-urban-acoustic-scenes-2019-development."

SPEECH_COMMANDS_V1 = (
    Archive(
        f"{_COMMANDS}speech_commands_v0.01.tar.gz",
        "speech_commands_v0.01",
        1_489_096_277,
        "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    ),
    Archive(f"{_COMMANDS}speech_commands_test_set_v0.01.tar.gz", "speech_commands_test_set_v0.01"),
)
SPEECH_COMMANDS_V2 = (
    Archive(
        f"{_COMMANDS}speech_commands_v0.02.tar.gz",
        "speech_commands_v0.02",
        2_428_923_189,
        "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
)
LIBRISPEECH = (
    Archive(
        f"{_LIBRISPEECH}train-clean-100.tar.gz",
        bytes=6_387_309_499,
        checksum="sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    ),
    Archive(
        f"{_LIBRISPEECH}dev-clean.tar.gz",
        bytes=337_926_286,
        checksum="sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    ),
    Archive(
        f"{_LIBRISPEECH}test-clean.tar.gz",
        bytes=346_663_984,
        checksum="sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    ),
)
"""Each unpacks into LibriSpeech/."""

TAU_2019 = tuple(
    Archive(f"{_TAU}{part}.zip", bytes=size, checksum=f"md5:{digest}")
    for part, size, digest in (
        ("doc", 11_299, "1f6879544e80da70099a191613e7e51f"),
        ("meta", 156_863, "09782f2097e4735687af73c44919329c"),
        ("audio.1", 1_657_550_587, "aca4ebfd9ed03d5f747d6ba8c24bc728"),
        ("audio.2", 1_666_219_450, "c4f170408ce77c8c70c532bf268d7be0"),
        ("audio.3", 1_817_901_591, "c7214a07211f10f3250290d05e72c37e"),
        ("audio.4", 1_821_710_642, "a6a62110f6699cf4432072acb1dffda6"),
        ("audio.5", 1_803_118_466, "091a0b6d3c84b8e60e46940aa7d4a8a0"),
        ("audio.6", 1_789_566_029, "114f4ca13e074391b98a1cfd8140de65"),
        ("audio.7", 1_747_953_866, "5951dd2968f7a514e2afbe279c4f060d"),
        ("audio.8", 1_728_724_513, "b0b63dc95b327e1509857c8d8a663cc3"),
        ("audio.9", 1_667_106_209, "3c32a693a6b111ffb957be3c1dd22e9b"),
        ("audio.10", 1_632_636_175, "0ffbf60006da520cc761fb74c878b98b"),
        ("audio.11", 1_671_793_546, "599055d93b4c11057c29be2df54538d4"),
        ("audio.12", 1_672_592_150, "98b8d162ff3665695c4c910e6c372cc8"),
        ("audio.13", 1_673_481_614, "a356c08b1a5a21d433eba37ef87587f4"),
        ("audio.14", 1_666_137_450, "f8969771e7faf7dd471d1cf78b0cf011"),
        ("audio.15", 1_675_127_004, "4758c4b0fb7484faa632266e78850820"),
        ("audio.16", 1_648_240_966, "a18acad9ede8ea76574216feb887f0bc"),
        ("audio.17", 1_698_414_214, "1af7703484632f340da5c33662dc9632"),
        ("audio.18", 1_731_093_704, "b67402bf3e08f4da394a7c18756c0fd2"),
        ("audio.19", 1_745_153_640, "035db315f19106eb848b6f9b32bcc47c"),
        ("audio.20", 1_774_038_704, "9cb28c74911bf8a3eadcf53f50a5b5d6"),
        ("audio.21", 1_333_808_800, "0e44ed85c88ec036a9725b4dd1dfaea0"),
    )
)
"""Each unpacks into TAU-urban-acoustic-scenes-2019-development/."""


def hear(*folders: str) -> tuple[Archive, ...]:
    """HEAR's prepared task folders, which unpack into tasks/, from the newest version of the record."""
    return tuple(Archive(f"{_HEAR}hear2021-{folder}-48000.tar.gz") for folder in folders)

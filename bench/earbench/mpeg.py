"""MPEG audio (.mp3, .mp2): how long it is, and how it is read to its end.

libsndfile believes the header frame that most encoders put first (Xing or Info). Without one it takes the file's size
over that of the first frames for the length, far off where the bit rate varies, and reads no further than that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import Any

VERSION_1, LAYER_2, LAYER_3 = 3, 2, 1
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Samples per second by the two bits of the version (1, 2, 2.5) and those of the rate (ISO 11172-3, 13818-3)."""
LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
KILOBITS = {
    (True, LAYER_2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, LAYER_3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, LAYER_2): LOW,
    (False, LAYER_3): LOW,
}
HEADER = re.compile(rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f]", re.DOTALL)
"""The frame that says how many follow: where the lowest of its flags is set."""
TRIMMED = 2 * 4_095
"""At most so many samples are the encoder's delay and padding, which a header frame lets the decoder cut away."""


@dataclass(frozen=True)
class Frame:
    """One frame: where it lies, what it holds, and the `kind` (version, layer, rate) that all of a file share."""

    start: int
    stop: int
    samples: int
    kind: tuple[int, int, int]


@dataclass(frozen=True)
class Walk:
    """All frames of a file: where they lie, their samples (but for a header frame), and if the last is there whole."""

    start: int
    stop: int
    samples: int
    whole: bool


def stated(data: bytes) -> bool:
    """Whether the first frame of `data` is a header that says how many follow; it holds no sound."""
    first = next(_frames(data), None)
    return first is not None and HEADER.search(data, first.start, min(first.start + 64, first.stop)) is not None


def walk(data: bytes) -> Walk:
    """What the frames of `data` add up to; no samples where there are no frames of layer II or III."""
    found = list(_frames(data))
    there = [frame for frame in found if frame.stop <= len(data)]
    if not there:
        return Walk(0, 0, 0, whole=not found)
    samples = sum(frame.samples for frame in there[stated(data) :])
    return Walk(there[0].start, there[-1].stop, samples, whole=len(there) == len(found))


class Unstated(BytesIO):
    """The frames of a file without a header frame, for libsndfile, which thinks them endless and so reads them all.

    Only when asked from the end does it learn a size, a huge one; there, where a tag could be, are zeros.
    """

    SIZE = 2**40

    def __init__(self, data: bytes, found: Walk) -> None:
        super().__init__(data[found.start : found.stop])

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(self.SIZE + offset) if whence == SEEK_END else super().seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        if self.tell() < self.SIZE // 2:
            return super().readinto(buffer)
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def _frames(data: bytes) -> Iterator[Frame]:
    """Frame after frame; the last may reach beyond the end. What lies between them, before and behind is passed over.

    After such a gap (a tag, damage) two frames must follow one another: a single one might be chance.
    """
    frame = _next(data, _tags(data), None)
    while frame:
        yield frame
        kind, stop = frame.kind, frame.stop
        frame = _frame(data, stop, kind) or _next(data, stop, kind)


def _next(data: bytes, at: int, kind: tuple[int, int, int] | None) -> Frame | None:
    """The first frame from `at` on that another one follows."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data, at, kind)
        if frame and (frame.stop == len(data) or _frame(data, frame.stop, frame.kind)):
            return frame
        at += 1
    return None


def _frame(data: bytes, at: int, kind: tuple[int, int, int] | None) -> Frame | None:
    """The frame that begins at `at`, if one of this `kind` does (None: of any)."""
    head = data[at : at + 3]
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version not in RATES or (version == VERSION_1, layer) not in KILOBITS or not 0 < bits < 15 or rate == 3:
        return None
    if kind not in (None, (version, layer, rate)):
        return None
    samples = 1_152 if version == VERSION_1 or layer == LAYER_2 else 576
    kilobits = KILOBITS[version == VERSION_1, layer][bits - 1]
    size = samples * 125 * kilobits // RATES[version][rate] + (head[2] >> 1 & 1)
    return Frame(at, at + size, samples, (version, layer, rate))


def _tags(data: bytes) -> int:
    """Where the ID3v2 tags at the front end."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        first, second, third, fourth = data[at + 6 : at + 10]
        at += 10 + (first << 21 | second << 14 | third << 7 | fourth) + 10 * (data[at + 5] >> 4 & 1)
    return at

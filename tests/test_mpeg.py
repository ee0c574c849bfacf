"""MP3 files whose length only their frames tell, and stretches of MP3 files: nothing is silently shorter or shifted."""

from io import BytesIO

import numpy as np
import pytest
import soundfile

from earbench import audio, mpeg
from earbench.contract import Clip
from earbench.errors import BadAudio

SECONDS = 6.0
DELAY = 1_105
"""Samples that LAME and the decoder put in front; a header frame lets the decoder cut them away."""
PER_FRAME = {8_000: 576, 16_000: 576, 44_100: 1_152}


def encoded(rate, noisy, mode="VARIABLE"):
    """The bytes of an MP3: silence but for its `noisy` half. At a variable rate silent frames are the smaller."""
    sound = np.zeros(round(SECONDS * rate))
    half = slice(0, len(sound) // 2) if noisy == "first" else slice(len(sound) // 2, None)
    sound[half] = np.random.default_rng(0).normal(0, 0.3, len(sound) // 2)
    file, kind = BytesIO(), {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": mode}
    with soundfile.SoundFile(file, "w", samplerate=rate, channels=1, compression_level=0.5, **kind) as out:
        out.write(sound)
    return file.getvalue()


def bare(data):
    """The same frames without the first, which holds no sound but says how many follow."""
    second = data.index(data[:2], 100)
    assert b"LAME" in data[:second]
    return data[second:]


def read(path, start=None, stop=None, rate=16_000):
    return audio.read(Clip("one", path, "yes", "anna", start, stop), rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize(("noisy", "mode"), [("first", "VARIABLE"), ("second", "VARIABLE"), ("first", "CONSTANT")])
def test_an_mp3_without_a_header_frame_is_read_to_its_end(tmp_path, rate, noisy, mode):
    """libsndfile's own count is far too low where the first half is noise, far too high where it is silence."""
    data = encoded(rate, noisy, mode)
    (tmp_path / "whole.mp3").write_bytes(data)
    (tmp_path / "bare.mp3").write_bytes(bare(data))
    whole, found, facts = (
        read(tmp_path / "whole.mp3", rate=rate),
        read(tmp_path / "bare.mp3", rate=rate),
        audio.probe(tmp_path / "bare.mp3"),
    )
    assert (facts.problem, facts.frames, facts.sample_rate) == (None, len(found), rate)
    assert len(whole) == SECONDS * rate
    assert facts.frames % PER_FRAME[rate] == 0
    assert np.abs(found[DELAY : DELAY + len(whole)] - whole).max() < 1e-5


def test_what_is_around_and_between_the_frames_is_no_sound(tmp_path):
    """Two ID3v2 tags in front, one with a picture of sync bytes; an ID3v1 tag behind."""
    frames = bare(encoded(16_000, "first"))
    tags = b"ID3\x03\0\0\0\0\1\0" + b"\xff\xfb" * 64 + b"ID3\x03\0\0\0\0\0\x05title"
    (tmp_path / "plain.mp3").write_bytes(frames)
    (tmp_path / "tagged.mp3").write_bytes(tags + frames + b"TAG" + b"\xff" * 125)
    assert audio.probe(tmp_path / "tagged.mp3").problem is None
    assert np.array_equal(read(tmp_path / "tagged.mp3"), read(tmp_path / "plain.mp3"))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("noisy", ["first", "second"])
@pytest.mark.parametrize("header", [True, False])
def test_an_mp3_that_is_cut_within_a_frame_is_found(tmp_path, rate, noisy, header):
    data = encoded(rate, noisy)
    data = data if header else bare(data)
    for part in (0.5, 0.7, 0.9, 0.99):
        (tmp_path / "cut.mp3").write_bytes(data[: data.index(data[:2], int(part * len(data))) + 20])
        assert "is cut off" in str(audio.probe(tmp_path / "cut.mp3").problem), part


def test_an_mp3_that_goes_on_behind_what_its_header_says_is_refused(tmp_path):
    """Two files put into one: decoders stop where the first ends."""
    (tmp_path / "two.mp3").write_bytes(encoded(16_000, "first") + encoded(16_000, "second"))
    assert "of which 6.000 s can be read" in str(audio.probe(tmp_path / "two.mp3").problem)


def test_an_mp3_that_cannot_be_decoded_to_its_last_frame_is_refused(tmp_path):
    data = bare(encoded(16_000, "first"))
    half = data.index(data[:2], len(data) // 2)
    (tmp_path / "gap.mp3").write_bytes(data[:half] + b"\xff\xfbgarbage" * 900 + data[half:])
    assert "can be read: its header is wrong or a part is damaged" in str(audio.probe(tmp_path / "gap.mp3").problem)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("noisy", ["first", "second"])
def test_a_stretch_of_an_mp3_is_that_part_of_the_whole(tmp_path, rate, noisy, header):
    """A decoder that starts there has not seen the frames which hold a part of the first one's bits."""
    data = encoded(rate, noisy)
    (tmp_path / "long.mp3").write_bytes(data if header else bare(data))
    whole = read(tmp_path / "long.mp3", rate=rate)
    for start in range(0, len(whole) - 1_000, 4_999):
        stretch = read(tmp_path / "long.mp3", start / rate, (start + 1_000) / rate, rate)
        assert np.abs(stretch - whole[start : start + 1_000]).max() < 1e-5, start


def test_a_file_that_became_shorter_since_it_was_checked_is_an_error(tmp_path):
    (tmp_path / "long.mp3").write_bytes(data := encoded(16_000, "first"))
    assert audio.probe(tmp_path / "long.mp3").problem is None
    (tmp_path / "long.mp3").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadAudio, match="samples could be read"):
        read(tmp_path / "long.mp3")


@pytest.mark.parametrize(
    ("head", "size", "samples"),
    [
        ("fffb90c4", 417, 1152),  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz
        ("fffb92c4", 418, 1152),  # the same, padded
        ("fff388c4", 288, 576),  # MPEG 2, layer III, 64 kbit/s, 16 kHz
        ("ffe388c4", 576, 576),  # MPEG 2.5, layer III, 64 kbit/s, 8 kHz
        ("fffd84c4", 384, 1152),  # MPEG 1, layer II, 128 kbit/s, 48 kHz
        ("fff584c4", 384, 1152),  # MPEG 2, layer II, 64 kbit/s, 24 kHz
    ],
)
def test_frames_have_the_sizes_of_the_standard(head, size, samples):
    """ISO 11172-3, 2.4.3.1: 144 times the bit rate over the sampling rate, in layer III of MPEG 2 half of that."""
    frame = bytes.fromhex(head).ljust(size, b"\0")
    assert mpeg.walk(frame * 3) == mpeg.Walk(0, 3 * size, 3 * samples, whole=True)
    assert not mpeg.walk((frame * 3)[:-1]).whole


def test_what_is_no_mpeg_audio_has_no_frames():
    assert mpeg.walk(np.random.default_rng(0).bytes(20_000).replace(b"\xff", b"")).samples == 0
    assert mpeg.walk(b"").samples == 0

"""Audio is held against what a HEAR task folder says of it (HEAR sheet 2)."""

from pathlib import Path

import pytest

from earbench.contract import Clip, Fold, Split
from earbench.errors import BadAudio
from earbench.kit.events import Event
from earbench.kit.hear_audio import check_events, check_rates

HOME = Path("task", "16000", "train")


def test_files_at_another_rate_than_their_folder_are_counted_and_one_is_named():
    rates = {HOME / f"{one}.wav": 8_000 if one < 3 else 16_000 for one in range(9)}
    with pytest.raises(BadAudio, match="3 of 9 audio files in 16000/ are not at 16000 Hz") as caught:
        check_rates(rates, 16_000)
    assert f"{HOME / '0.wav'} is at 8000 Hz" in str(caught.value)
    assert "resample these to 16000 Hz, or delete" in str(caught.value)


def test_a_folder_under_a_wrong_name_is_told_its_right_one():
    with pytest.raises(BadAudio, match=f"give the folder its name, {Path('task', '44100')}"):
        check_rates(dict.fromkeys((HOME / "a.wav", HOME / "b.wav"), 44_100), 16_000)


def test_true_headers_pass():
    check_rates({HOME / "a.wav": 16_000}, 16_000)


def fold(start, stop, seconds=4.0):
    empty = Split((), seconds=())
    test = Split((Clip("test/a.wav", HOME, (Event("x", 0.0, 1.0), Event("y", start, stop)), "a"),), seconds=(seconds,))
    return Fold(empty, empty, test)


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1e9), (9.0, 99.0), (4.5, 4.6), (3.0, 5.1)])
def test_events_outside_their_clip_are_refused(start, stop):
    with pytest.raises(BadAudio, match="1 clips have events outside them") as caught:
        check_events([fold(start, stop)])
    assert f"test/a.wav lasts 4000 ms, and has 'y' from {1000 * start:.0f} to {1000 * stop:.0f} ms" in str(caught.value)


@pytest.mark.parametrize(("start", "stop"), [(3.0, 4.0), (3.0, 5.0), (4.0, 4.0), (0.0, 0.0)])
def test_events_may_end_a_second_late(start, stop):
    check_events([fold(start, stop)])

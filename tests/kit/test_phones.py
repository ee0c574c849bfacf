"""Phone symbols and lexica: Appendix B of the sheet, first pronunciations, and everything that is wrong at once."""

from pathlib import Path

import pytest
import torch

from earbench.contract import Clip, Split
from earbench.errors import BenchError, MissingCorpus
from earbench.kit.heads.ctc import FramewiseCTC
from earbench.kit.phones import PHONES, pronounced, read_lexica

STRESSED = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"


def lexica(folder, *texts):
    paths = [folder / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, "utf-8")
    return paths


def said(*texts):
    return Split(tuple(Clip(f"clip {at}", Path("x.flac"), text, "anna") for at, text in enumerate(texts)))


def test_the_symbols_are_the_published_74_in_their_order():
    """Expected: SUPERB sheet 2.1 and Appendix B: alphabetical behind the five that stand for no sound."""
    sounds = sorted([f"{vowel}{stress}" for vowel in STRESSED for stress in "012"] + CONSONANTS.split())
    assert list(PHONES) == ["<pad>", "<eos>", "<unk>", "SIL", "SPN", *sounds]
    assert len(PHONES) == 74


def test_targets_are_phones_and_an_end_which_is_read_away_again():
    assert PHONES.encode("Y EH1 S") == [PHONES.index("Y"), PHONES.index("EH1"), PHONES.index("S"), 1]
    assert PHONES.decode(PHONES.encode("Y EH1 S")) == "Y EH1 S"
    assert PHONES.decode([]) == PHONES.decode([1, 1]) == ""


def test_a_path_loses_blanks_and_ends_but_only_after_repeats_are_joined():
    """By hand: N N <eos> N _ OW1, then S S behind the clip's end; dropping `<eos>` first would leave one N."""
    sounds = [PHONES.index(one) for one in ("N", "OW1", "S")]
    path = [sounds[0], sounds[0], 1, sounds[0], 0, sounds[1], sounds[2], sounds[2]]
    output = torch.nn.functional.one_hot(torch.tensor([path]), 74).float()
    assert FramewiseCTC(4, 3, PHONES).predict(output, torch.tensor([6]), None) == ["N N OW1"]


def test_the_published_head_has_two_linear_maps_and_nothing_else():
    """Expected by hand for 768 dimensions: Linear to 256, Linear to 74, both with a bias (SUPERB sheet 1.5)."""
    head = FramewiseCTC(768, 256, PHONES)
    assert sum(weight.numel() for weight in head.parameters()) == 769 * 256 + 257 * 74
    assert [type(part).__name__ for part in head.children()] == ["Linear", "Linear"]


def test_frames_do_not_see_their_neighbours_and_means_are_refused():
    head, x = FramewiseCTC(4, 3, PHONES), torch.randn(1, 5, 4)
    whole, alone = head(x, torch.tensor([5])), head(x[:, 2:3], torch.tensor([1]))
    torch.testing.assert_close(whole[:, 2:3], alone)
    with pytest.raises(BenchError, match="needs every frame"):
        head(x[:, 0], None)


def test_the_first_pronunciation_wins_within_a_file_and_between_files(tmp_path):
    paths = lexica(tmp_path, "ON\tAA1 N\nON\tAO1 N\n\nNO  N OW1\n", "NO\tN AO1\nUP\tAH1 P\n")
    assert read_lexica(paths) == {"ON": ("AA1", "N"), "NO": ("N", "OW1"), "UP": ("AH1", "P")}
    assert read_lexica(paths[::-1])["NO"] == ("N", "AO1")


def test_every_bad_line_of_every_file_is_told_at_once(tmp_path):
    paths = lexica(tmp_path, "ON\tAA1 N\nOFF\n", "NO\t0.5 N OW1\nUP\tAH P\nGO\t<eos>\n")
    with pytest.raises(MissingCorpus, match="4 lines of the lexicon") as error:
        read_lexica(paths)
    assert [line.strip() for line in str(error.value).splitlines()[1:5]] == [
        f"{paths[0]}, line 2: no phones for the word OFF",
        f"{paths[1]}, line 1: NO has '0.5', which is no phone of the protocol",
        f"{paths[1]}, line 2: UP has 'AH', which is no phone of the protocol",
        f"{paths[1]}, line 3: GO has '<eos>', which is no phone of the protocol",
    ]


def test_words_become_phones_with_nothing_between_them():
    (found,) = pronounced([said("NO ON", "ON")], {"NO": ("N", "OW1"), "ON": ("AA1", "N")})
    assert [clip.label for clip in found.clips] == ["N OW1 AA1 N", "AA1 N"]


def test_missing_words_of_all_splits_are_one_list_with_a_clip_each():
    splits = [said("NO WAY", "WAY OUT"), said("OUT HERE")]
    with pytest.raises(MissingCorpus, match="3 words of the transcripts") as error:
        pronounced(splits, {"NO": ("N", "OW1")})
    assert [line.strip() for line in str(error.value).splitlines()[1:4]] == [
        "HERE (in clip 0)",
        "OUT (in clip 1)",
        "WAY (in clip 0)",
    ]


def test_a_hundred_missing_words_are_shown_and_the_others_counted():
    with pytest.raises(MissingCorpus) as error:
        pronounced([said(" ".join(f"W{number}" for number in range(150)))], {})
    assert len([line for line in str(error.value).splitlines() if "(in clip 0)" in line]) == 100
    assert "and 50 more" in str(error.value)

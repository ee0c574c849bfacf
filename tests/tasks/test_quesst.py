"""The reader of QUESST 2014, on a small tree with odd but legal content and on hand-made mistakes.

The lists are as s3prl and torchaudio read them, the `LEXEME` lines as s3prl reads them; lists of terms and excerpts are
NIST's of 2006, which the documentation of the scorer names. No file of the archive itself was at hand.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earbench.audio import read as audio_of
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.metrics.detection import MTWV, searches
from earbench.kit.quesst import LANGUAGE, QUESST14, quesst14

DOCUMENTS = {
    "quesst14_00001": LANGUAGE,
    "quesst14_00002": "czech",
    "quesst14_00003": LANGUAGE,
    "quesst14_00004": "basque",
    "quesst14_00005": LANGUAGE,
}
QUERIES = {
    "dev": {"quesst14_dev_0001": LANGUAGE, "quesst14_dev_0002": "czech", "quesst14_dev_0003": LANGUAGE},
    "eval": {"quesst14_eval_0001": "basque", "quesst14_eval_0002": LANGUAGE, "quesst14_eval_0003": "slovak"},
}
SAID = {
    "dev": {"quesst14_dev_0001": ("00001", "00005", "00004"), "quesst14_dev_0002": ("00002",)},
    "eval": {"quesst14_eval_0001": ("00004",), "quesst14_eval_0002": ("00003",)},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """One folder above the database; in it a space, upper case, FLAC, hidden and further files."""
    root = tmp_path_factory.mktemp("quesst") / "my corpora"
    home = root / "quesst14Database"
    audio(home / "Audio", DOCUMENTS, {"quesst14_00003": ".WAV", "quesst14_00005": ".flac"})
    listing(home, "utterances", "Audio", DOCUMENTS)
    for subset, queries in QUERIES.items():
        audio(home / f"{subset}_queries", queries, {})
        listing(home, subset, f"{subset}_queries", queries)
        key(home / "scoring" / f"groundtruth_quesst14_{subset}", subset, queries)
    (home / "Audio" / "._quesst14_00001.wav").write_bytes(b"")
    (home / "Audio" / "unlisted.wav").write_bytes(b"")
    (home / "scoring" / "MediaEvalQUESST2014.jar").write_bytes(b"")
    (home / "scoring" / "groundtruth_quesst14_dev" / ".quesst14_dev.rttm").write_text("")
    (root / ".Trash").mkdir()
    return root


def audio(folder, names, endings):
    folder.mkdir(parents=True)
    for name in names:
        ending = endings.get(name, ".wav")
        soundfile.write(folder / f"{name}{ending}", np.full(800, 0.1), 8_000, format=ending.strip(".").upper())


def listing(home, subset, folder, languages):
    (home / "scoring").mkdir(exist_ok=True)
    lines = [f"quesst14Database/{folder}/{name}.wav\t{language}\r\n" for name, language in languages.items()]
    (home / "scoring" / f"language_key_{subset}.lst").write_text("".join(lines), newline="")


def key(folder, subset, queries):
    folder.mkdir()
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    terms = [f'<term termid="{name}"><termtext>x &amp; y</termtext></term>' for name in queries]
    excerpts = [f'<excerpt audio_filename="{name}.wav" channel="1" tbeg="0" dur="1"/>' for name in DOCUMENTS]
    lines = [
        f"LEXEME quesst14_{document} 1 0.10 0.50 {query} lex <NA> <NA>"
        for query, documents in SAID[subset].items()
        for document in documents
    ]
    lines += ["LEXEME quesst14_00003 1 0.00 1.00 NO_KEYWORD lex <NA> <NA>", ";; a comment", "", lines[0]]
    (folder / f"quesst14_{subset}.tlist.xml").write_text(f"{head}<termlist>{''.join(terms)}</termlist>")
    (folder / f"quesst14_{subset}.ECF.xml").write_text(f"{head}<ecf>{''.join(excerpts)}</ecf>")
    (folder / f"quesst14_{subset}.rttm").write_text("\n".join(lines))


@pytest.fixture
def root(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "root")


def refused(root):
    """What the one error says, line by line."""
    with pytest.raises(BadAudio) as error:
        quesst14(root)
    return str(error.value).splitlines()


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_corpus_states_the_published_total():
    """Expected: SUPERB sheet 2.4; its parts are not verified there, so they are not asked for."""
    assert QUESST14.counts == {"recordings": 2_714}


@pytest.mark.parametrize("inside", ["", "quesst14Database"])
def test_english_recordings_are_read_from_the_database_or_one_folder_above(root, inside):
    fold = quesst14(root / inside)
    documents = ["Audio/quesst14_00001", "Audio/quesst14_00003", "Audio/quesst14_00005"]
    assert fold.train.clips == ()
    assert [clip.id for clip in fold.valid.clips] == [
        "dev_queries/quesst14_dev_0001",
        "dev_queries/quesst14_dev_0003",
        *documents,
    ]
    assert [clip.id for clip in fold.test.clips] == ["eval_queries/quesst14_eval_0002", *documents]
    assert fold.valid.clips[2:] == fold.test.clips[1:]
    for clip in (*fold.valid.clips, *fold.test.clips):
        assert clip.audio.is_file()
        assert clip.audio.stem == clip.id.split("/")[1]
        assert (clip.group, clip.effects, clip.leak) == (clip.id, (("gain_db", -3.0),), None)
        assert clip.label == ("document" if clip.id in documents else "query")


def test_answer_key_says_who_holds_what_here_and_elsewhere(root):
    fold = quesst14(root)
    sought = fold.valid.truth["queries"]
    said = sought["dev_queries/quesst14_dev_0001"]
    assert said.found_in == ("Audio/quesst14_00001", "Audio/quesst14_00005")
    assert (said.held_elsewhere, said.not_held_elsewhere) == (1, 1)
    never = sought["dev_queries/quesst14_dev_0003"]
    assert (never.found_in, never.held_elsewhere, never.not_held_elsewhere) == ((), 0, 2)


def test_share_is_that_of_the_queries_which_are_said_anywhere(root):
    """Of dev one English and one Czech query are said, of eval one English and one Basque; the Slovak one never."""
    fold = quesst14(root)
    assert [split.truth["share"] for split in (fold.valid, fold.test)] == [0.5, 0.5]


def test_a_perfect_search_is_worth_the_english_share(root):
    split = quesst14(root).test
    (query,) = split.truth["queries"]
    rows = searches(split, {query: {"Audio/quesst14_00003": 2.0, "Audio/quesst14_00001": 0.0}})
    assert MTWV.value(rows, np.ones(len(rows))) == pytest.approx(0.5)


def test_a_folder_without_the_database_is_refused_with_where_was_looked(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(MissingCorpus, match=r"language_key_utterances\.lst, found 0") as error:
        quesst14(tmp_path)
    assert str(tmp_path / "other") in str(error.value)


def test_two_databases_are_refused(root):
    shutil.copytree(root / "quesst14Database", root / "copy")
    with pytest.raises(MissingCorpus, match="found 2"):
        quesst14(root)


def test_all_problems_are_one_list(root):
    home = root / "quesst14Database"
    (home / "Audio/quesst14_00001.wav").unlink()
    (home / "scoring/language_key_dev.lst").unlink()
    (home / "scoring/groundtruth_quesst14_dev/quesst14_dev.tlist.xml").unlink()
    (home / "scoring/groundtruth_quesst14_eval/more.rttm").write_text("")
    said = refused(root)
    assert said[0].startswith("5 things are wrong")
    for part in (
        "no recording",
        "language_key_dev.lst is not there",
        "no recording in 'nnenglish'",
        "need one file *.tlist.xml, found none",
        "need one file *.rttm, found more.rttm, quesst14_eval.rttm",
        "unpack the archive again",
    ):
        assert any(part in line for line in said), part


@pytest.mark.parametrize(
    ("path", "old", "new", "part"),
    [
        (
            "language_key_eval.lst",
            "quesst14Database/eval_queries/quesst14_eval_0002.wav\tnn",
            "nn",
            "no path and language",
        ),
        ("language_key_eval.lst", "quesst14Database/eval_queries/quesst", "quesst14Database/../quesst", "no path and"),
        ("language_key_eval.lst", "0001.wav\tbasque", "0002.wav\tnnenglish", "stands there twice"),
        ("groundtruth_quesst14_dev/quesst14_dev.rttm", "1 0.10 0.50 quesst14_dev_0001", "", "no document and query"),
        ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "</termlist>", "", "cannot be read"),
        ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "termid", "kwid", "no <term termid=...>"),
        ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "quesst14_dev_0003", "other", "does not know dev_queries/"),
        (
            "groundtruth_quesst14_dev/quesst14_dev.ECF.xml",
            "quesst14_00005",
            "other",
            "does not know Audio/quesst14_00005",
        ),
    ],
)
def test_broken_lists_and_keys_are_refused_with_the_reason(root, path, old, new, part):
    change(root / "quesst14Database/scoring" / path, old, new)
    assert any(part in line for line in refused(root))


def test_entities_in_an_answer_key_are_refused_unexpanded(root):
    path = root / "quesst14Database/scoring/groundtruth_quesst14_dev/quesst14_dev.tlist.xml"
    bomb = '<!DOCTYPE t [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><termlist><term termid="&b;"/></termlist>'
    path.write_text(bomb)
    assert any("declares the entity 'a'" in line for line in refused(root))


def test_resampling_and_gain_are_soxs_to_one_part_in_ten_thousand(root, tmp_path):
    """s3prl has SoX do both. Their difference lies 80 dB below the sound; another resampler's lies some 60 below."""
    if not shutil.which("sox"):
        pytest.skip("no sox here")
    clip = quesst14(root).valid.clips[2]
    rng = np.random.default_rng(0)
    wave = np.convolve(rng.standard_normal(24_000), [0.25, 0.5, 0.25])
    soundfile.write(clip.audio, 0.5 * wave / np.abs(wave).max(), 8_000, subtype="PCM_16")
    made = tmp_path / "made.wav"
    command = ["sox", clip.audio, "-b", "32", "-e", "floating-point", made, "rate", "16000", "gain", "-3"]
    subprocess.run(command, check=True)
    theirs, rate = soundfile.read(made, dtype="float32")
    ours = audio_of(clip, 16_000)
    assert (rate, ours.shape) == (16_000, theirs.shape)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()

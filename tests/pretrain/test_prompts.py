"""The recorded prompts: packages are fetched, unpacked and decoded, here by stand-ins that need no network."""

import shutil
import sys

import numpy as np
import pytest
import soundfile

from earbench.demo.speakers import TRAIN_VOICES
from earbench.pretrain import prompts

FETCH = """#!/bin/sh
test "$1 $3" = "download " || exit 9
echo "$2" >> "$FAKES/fetched"
echo package > "$2_1.6_all.deb"
"""
UNPACK = """#!/bin/sh
test "$1" = --extract || exit 9
cp -r "$FAKES/unpacked" "$3"
"""
REFUSE = """#!/bin/sh
echo "E: Unable to locate package $2" >&2
exit 100
"""


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="PyAV, of the extra 'pretrain', is not here")


@pytest.fixture
def tone():
    return (10_000 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)).astype(np.int16)


def encode(av, path, samples):
    """A raw G.722 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs of these names and contents on the path, and nothing else but `cp`."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("FAKES", str(tmp_path))
    (folder / "cp").symlink_to(shutil.which("cp"))
    monkeypatch.setenv("PATH", str(folder))

    def put(**contents):
        for name, text in contents.items():
            path = folder / name.replace("_", "-")
            path.write_text(text)
            path.chmod(0o755)

    return put


@pytest.fixture
def packages(av, tone, tmp_path):
    """What all packages hold together, unpacked."""
    sounds = tmp_path / "unpacked" / "usr" / "share" / "asterisk" / "sounds"
    for name in ("en_US_f_Allison/hello", "en_US_f_Allison/digits/1", "ru_RU_f_IvrvoiceRU/hello"):
        encode(av, sounds / f"{name}.g722", tone)
    encode(av, sounds / "en_US_f_Allison" / "silence" / "1.g722", 0 * tone)
    (sounds / "en_US_f_Allison" / "empty.g722").touch()


@pytest.mark.usefixtures("packages")
def test_packages_become_a_folder_per_voice(programs, tmp_path, tone, capsys):
    programs(apt_get=FETCH, dpkg_deb=UNPACK)
    prompts.main([str(tmp_path / "speech")])
    assert capsys.readouterr().out == f"3 files in {tmp_path / 'speech'}\n"
    found = sorted(str(path.relative_to(tmp_path / "speech")) for path in (tmp_path / "speech").rglob("*.flac"))
    assert found == ["en_US_f_Allison/digits/1.flac", "en_US_f_Allison/hello.flac", "ru_RU_f_IvrvoiceRU/hello.flac"]
    assert tuple((tmp_path / "fetched").read_text().split()) == prompts.PACKAGES
    samples, rate = soundfile.read(tmp_path / "speech" / found[0], dtype="int16")
    assert (rate, len(samples)) == (16_000, len(tone))
    delayed = samples[22:].astype(float)  # by the filters of G.722
    assert np.corrcoef(delayed, tone[:-22])[0, 1] > 0.99


def test_demo_voices_are_the_training_voices_only(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prompts, "write_prompts", lambda _: 0)
    prompts.main([str(tmp_path), "--demo-voices"])
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {f"demo-{voice}-{setting}" for voice in TRAIN_VOICES for setting in ("low", "high")}
    files = list(tmp_path.rglob("*.flac"))
    assert capsys.readouterr().out == f"{len(files):,} files in {tmp_path}\n"
    assert len(files) > 300


def test_a_missing_decoder_is_said_before_anything_is_fetched(programs, monkeypatch, tmp_path):
    programs(apt_get=FETCH, dpkg_deb=UNPACK)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SystemExit, match=r"needs the package 'av'(?s:.*)pip install 'earbench\[pretrain\]'"):
        prompts.main([str(tmp_path / "speech")])
    assert not (tmp_path / "fetched").exists()


@pytest.mark.usefixtures("av")
def test_another_system_than_debian_is_told_so(programs, tmp_path):
    programs()
    with pytest.raises(SystemExit, match=r"'apt-get' is not here(?s:.*)use Debian or Ubuntu"):
        prompts.main([str(tmp_path / "speech")])


@pytest.mark.usefixtures("av")
def test_what_the_package_manager_says_is_passed_on(programs, tmp_path):
    programs(apt_get=REFUSE)
    said = r"`apt-get download asterisk-core-sounds-en-g722` failed(?s:.*)E: Unable to locate package asterisk"
    with pytest.raises(SystemExit, match=said):
        prompts.main([str(tmp_path / "speech")])

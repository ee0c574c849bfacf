"""Building into the cache: whole or not at all, once, whoever asks."""

import subprocess
import sys
import threading
import time

import pytest

from earbench.demo import build as demo
from earbench.errors import UnknownName


@pytest.fixture
def builder(monkeypatch):
    """A stand-in corpus that takes a moment and counts how often it is written; `fail` makes it stop half-way."""

    class Builder:
        calls, fail = 0, False

        def __call__(self, folder):
            self.calls += 1
            folder.mkdir(parents=True)
            (folder / "half.txt").write_text("a")
            if self.fail:
                raise KeyboardInterrupt
            time.sleep(0.2)
            (folder / "whole.txt").write_text("b")

    made = Builder()
    monkeypatch.setattr(demo, "BUILDERS", {"tiny": made})
    return made


def test_a_second_request_is_answered_without_building(tmp_path, builder):
    told = []
    assert demo.build(tmp_path, told.append) == demo.build(tmp_path, told.append) == tmp_path / "demo" / "demo-1"
    assert (builder.calls, len(told)) == (1, 1)
    assert demo.root(tmp_path, "tiny").joinpath("whole.txt").is_file()


def test_a_killed_build_leaves_nothing_under_the_demos_name_and_the_next_one_is_whole(tmp_path, builder):
    builder.fail = True
    with pytest.raises(KeyboardInterrupt):
        demo.build(tmp_path)
    assert not (tmp_path / "demo" / "demo-1").exists()
    builder.fail = False
    demo.build(tmp_path)
    assert {path.name for path in demo.root(tmp_path, "tiny").iterdir()} == {"half.txt", "whole.txt"}
    assert not (tmp_path / "demo" / ".demo-1.partial").exists()


def test_two_who_ask_at_once_get_one_build(tmp_path, builder):
    threads = [threading.Thread(target=demo.build, args=(tmp_path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builder.calls == 1


def test_a_demo_of_fewer_corpora_is_built_anew(tmp_path, builder, monkeypatch):
    demo.build(tmp_path)
    monkeypatch.setattr(demo, "BUILDERS", {"tiny": builder, "other": builder})
    demo.build(tmp_path)
    assert demo.root(tmp_path, "other").joinpath("whole.txt").is_file()


def test_an_unknown_corpus_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(UnknownName, match="speech_commands_v1"):
        demo.root(tmp_path, "voxceleb1")


def test_the_demo_is_built_without_torch():
    code = "import sys, earbench.demo.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

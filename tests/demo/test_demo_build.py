"""Building into the cache: whole or not at all, once, whoever asks."""

import subprocess
import sys
import threading
import time
from importlib import import_module

import pytest

from earbench.demo import build as demo
from earbench.errors import UnknownName


@pytest.fixture
def builder(monkeypatch):
    """A stand-in corpus that takes a moment and counts how often it is written; `fail` makes it stop half-way."""

    class Builder:
        calls, fail = 0, False

        def write(self, folder):
            self.calls += 1
            folder.mkdir(parents=True)
            (folder / "half.txt").write_text("a")
            if self.fail:
                raise KeyboardInterrupt
            time.sleep(0.2)
            (folder / "whole.txt").write_text("b")

    made = Builder()
    monkeypatch.setitem(sys.modules, "earbench.demo.tiny", made)
    monkeypatch.setattr(demo, "CORPORA", {"tiny": "tiny"})
    return made


def test_a_second_request_is_answered_without_building(tmp_path, builder):
    assert demo.build(tmp_path, "tiny") == demo.build(tmp_path, "tiny") == tmp_path / "demo" / "demo-3" / "tiny"
    assert builder.calls == 1
    assert (tmp_path / "demo" / "demo-3" / "tiny" / "whole.txt").is_file()


def test_a_killed_build_leaves_nothing_under_the_demos_name_and_the_next_one_is_whole(tmp_path, builder):
    builder.fail = True
    with pytest.raises(KeyboardInterrupt):
        demo.build(tmp_path, "tiny")
    home = tmp_path / "demo" / "demo-3"
    assert not (home / "tiny").exists()
    builder.fail = False
    assert {path.name for path in demo.build(tmp_path, "tiny").iterdir()} == {"half.txt", "whole.txt"}
    assert not (home / ".tiny.partial").exists()


def test_two_who_ask_at_once_get_one_build(tmp_path, builder):
    threads = [threading.Thread(target=demo.build, args=(tmp_path, "tiny")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builder.calls == 1


def test_an_unknown_corpus_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(UnknownName, match="speech_commands_v1"):
        demo.build(tmp_path, "esc50")


def test_every_corpus_can_write_itself_and_says_how_much_it_holds():
    for corpus in demo.CORPORA:
        corner = import_module(f"earbench.demo.{demo.CORPORA[corpus]}")
        assert callable(corner.write)
        assert all(demo.census(corpus, task) for task in corner.CENSUS)
        assert demo.census(corpus, "no such task") == {}


def test_the_demo_is_built_without_torch():
    code = """
import sys
from importlib import import_module
from earbench.demo import build
for name in build.CORPORA.values():
    import_module(f"earbench.demo.{name}")
sys.exit('torch' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

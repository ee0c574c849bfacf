"""`py:MODULE:CLASS`: a class in a user's own file is an upstream like any other, and the record says whose code ran."""

import re
import sys

import pytest
import torch
from safetensors.torch import save_file

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import RequestError
from earbench.plan import load_upstream, public_name, upstream_digest
from earbench_upstreams.own_python import OwnPython

CODE = """
import torch
from earbench.contract import Features, Upstream, UpstreamCard


class Pebble(Upstream):
    card = UpstreamCard("pebble", "pebble", "MIT", weights="none", sample_rate=16_000, hop=0.02, layers=1, widths=(4,))
    sample_rate, hop, layers, width = 16_000, 0.02, 1, 4

    def __init__(self):
        super().__init__()
        self.front = torch.nn.Conv1d(1, 4, kernel_size=400, stride=320)

    @classmethod
    def load(cls, spec):
        torch.manual_seed(spec.seed)
        found = cls()
        if not spec.random:
            from safetensors.torch import load_file
            found.load_state_dict(load_file(spec.checkpoint))
        return found

    def encode(self, waves, lengths):
        frames = self.front(waves[:, None]).transpose(1, 2)[:, None]
        return Features(frames, (lengths - 400) // 320 + 1, self.hop, 0.0125)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pebble.py"
    path.write_text(CODE)
    return path


def load(argument, **more):
    return OwnPython.load(Spec(f"py:{argument}", "py", argument=str(argument), **more))


def test_a_class_in_a_file_keeps_the_contract(file):
    findings = check_upstream.run(load_upstream(f"py:{file}:Pebble~random"))
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_a_checkpoint_behind_the_class_reaches_its_load(file, tmp_path):
    twin = load(f"{file}:Pebble", random=True, seed=5)
    save_file(twin.state_dict(), tmp_path / "w.safetensors")
    loaded = load_upstream(f"py:{file}:Pebble@{tmp_path / 'w.safetensors'}")
    assert torch.equal(loaded.front.weight, twin.front.weight)


def test_the_record_says_whose_code_ran_and_shows_no_local_path(file):
    loaded = load(f"{file}:Pebble", random=True)
    assert loaded.source["code"] == "run from pebble.py, class Pebble"
    assert re.fullmatch("[0-9a-f]{64}", loaded.source["code_sha256"])
    assert str(file.parent) not in f"{loaded.source}{loaded.options}{loaded.notes}"
    assert public_name(f"py:{file}:Pebble@{file.parent}/w.pt") == "py:pebble.py:Pebble@w.pt"


def test_an_edited_file_is_another_encoder(file):
    before = upstream_digest(load(f"{file}:Pebble", random=True))
    assert upstream_digest(load(f"{file}:Pebble", random=True)) == before
    file.write_text(CODE.replace("0.0125)", "0.0125)  # edited"))
    assert upstream_digest(load(f"{file}:Pebble", random=True)) != before


def test_a_file_may_import_its_neighbours_and_says_so(file):
    (file.parent / "gravel_beside.py").write_text("WIDTH = 4\n")
    file.write_text("from gravel_beside import WIDTH\n" + CODE)
    path = list(sys.path)
    loaded = load(f"{file}:Pebble", random=True)
    assert any("gravel_beside.py" in note for note in loaded.notes)
    assert sys.path == path


def test_an_installed_module_is_taken_by_its_name():
    found = load("earbench_upstreams.fbank:Fbank")
    assert found.source["code"] == "run from fbank.py, class Fbank"
    assert found.card.name == "fbank"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("FILE", "names no class"),
        ("FILE:Gravel", "its encoders: Pebble"),
        ("FILE:torch", "is no encoder"),
        ("nowhere.py:Pebble", "no file"),
        ("no_such_module_of_anybody:Pebble", "could not be imported"),
    ],
)
def test_what_cannot_be_loaded_is_told(file, argument, told):
    with pytest.raises(RequestError, match=told):
        load(argument.replace("FILE", str(file)), random=True)


def test_an_error_in_the_file_is_told_with_its_line(file):
    file.write_text("import torch\n1 / 0\n")
    with pytest.raises(RequestError, match=r"pebble\.py, line 2.*ZeroDivisionError"):
        load(f"{file}:Pebble")


def test_a_load_that_returns_something_else_is_told(file):
    file.write_text(CODE.replace("return found", "return 3"))
    with pytest.raises(RequestError, match="returned a int"):
        load(f"{file}:Pebble", random=True)

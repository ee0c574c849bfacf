"""`py:MODULE:CLASS`: a class in a user's own file is an upstream like any other, and the record says whose code ran."""

import importlib
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


def with_neighbour(folder, width=4):
    folder.mkdir(exist_ok=True)
    (folder / "gravel.py").write_text(f"WIDTH = {width}\n")
    (folder / "pebble.py").write_text("from gravel import WIDTH\n" + CODE.replace("Conv1d(1, 4", "Conv1d(1, WIDTH"))
    return folder / "pebble.py"


def test_a_file_may_import_its_neighbours_and_says_so(tmp_path):
    path = list(sys.path)
    loaded = load(f"{with_neighbour(tmp_path / 'one')}:Pebble", random=True)
    assert loaded.source["code"] == "run from pebble.py, gravel.py, class Pebble"
    assert len(loaded.source["code_sha256"].split()) == 2
    assert sys.path == path


def test_an_edited_neighbour_is_another_encoder_and_is_read_anew(tmp_path):
    digests, widths = [], []
    for width in (4, 5, 4):
        loaded = load(f"{with_neighbour(tmp_path / 'one', width)}:Pebble", random=True)
        digests.append(upstream_digest(loaded))
        widths.append(loaded.front.out_channels)
    assert widths == [4, 5, 4]
    assert digests[0] == digests[2] != digests[1]
    assert not list((tmp_path / "one").glob("__pycache__"))


def test_neighbours_of_the_same_name_in_two_folders_are_not_mixed_up(tmp_path):
    first, second = (with_neighbour(tmp_path / name, width) for name, width in (("one", 4), ("two", 6)))
    loaded = [load(f"{file}:Pebble", random=True) for file in (first, second, first)]
    assert [one.front.out_channels for one in loaded] == [4, 6, 4]
    assert upstream_digest(loaded[0]) == upstream_digest(loaded[2])


def test_a_neighbour_imported_before_it_was_edited_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "one")
    with_neighbour(tmp_path / "one", 4)
    monkeypatch.setitem(sys.modules, "gravel", importlib.import_module("gravel"))
    loaded = load(f"{with_neighbour(tmp_path / 'one', 6)}:Pebble", random=True)
    assert loaded.front.out_channels == 6


def test_installed_packages_beside_a_file_are_left_alone(file, monkeypatch):
    import transformers

    monkeypatch.setattr("sysconfig.get_paths", lambda: {"purelib": str(file.parent)})
    monkeypatch.setattr(transformers, "__file__", str(file.with_name("transformers") / "__init__.py"))
    loaded = load(f"{file}:Pebble", random=True)
    assert sys.modules["transformers"] is transformers
    assert loaded.source["code"] == "run from pebble.py, class Pebble"


@pytest.mark.parametrize("name", ["my pebble.py", "my-pebble.py", "p@ebble.py", "pebble.v2.py"])
def test_files_of_any_name_and_relative_ones_are_found(file, name, monkeypatch):
    file.rename(file.with_name(name))
    monkeypatch.chdir(file.parent.parent)
    upstream = load_upstream(f"py:{file.parent.name}/{name}:Pebble~random")
    assert upstream.source["code"] == f"run from {name}, class Pebble"


@pytest.mark.parametrize(
    "folder", ["models", "/home/anna/models", "/home/anna@work.org/models", "~/models", "a/b/c", "./models"]
)
@pytest.mark.parametrize("checkpoint", ["", "@/data/anna@work.org/w.pt", "@runs/w.pt"])
def test_no_folder_enters_the_name_that_records_show(folder, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for inside in ("models", "a/b/c", "runs"):
        (tmp_path / inside).mkdir(parents=True)
        (tmp_path / inside / "pebble.py").touch()
    (tmp_path / "runs" / "w.pt").touch()
    shown = public_name(f"py:{folder}/pebble.py:Pebble{checkpoint}~random")
    assert shown in (f"py:pebble.py:Pebble{'@w.pt' if checkpoint else ''}~random", "py:w.pt~random")


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
        ("pebble_here:Pebble", "use `py:pebble_here.py:CLASS`|a file pebble_here.py is here"),
        ("sys:Pebble", "part of Python itself"),
        ("FOLDER:Pebble", "could not be imported"),
    ],
)
def test_what_cannot_be_loaded_is_told(file, argument, told, monkeypatch):
    monkeypatch.chdir(file.parent)
    file.with_name("pebble_here.py").touch()
    with pytest.raises(RequestError, match=told):
        load(argument.replace("FILE", str(file)).replace("FOLDER", str(file.parent)), random=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import torch\n1 / 0\n", r"pebble\.py, line 2\): ZeroDivisionError"),
        ("import torch\nclass Pebble(:\n", r"pebble\.py, line 2\): SyntaxError"),
        ("\nimport nothing_of_this_name\n", r"pebble\.py, line 2\): ModuleNotFoundError: .*nothing_of_this_name"),
        ("import sys\nsys.exit(3)\n", r"pebble\.py, line 2\): SystemExit: 3"),
        ("\n\nfrom torch import nothing_of_this_name\n", r"pebble\.py, line 3\): ImportError"),
    ],
)
def test_an_error_in_the_file_is_told_with_its_line(file, code, told):
    file.write_text(code)
    with pytest.raises(RequestError, match=told):
        load(f"{file}:Pebble")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("super().__init__()", "super().__init__(1)"), r"Pebble\.load of pebble\.py failed .*TypeError"),
        (
            ("        torch.manual_seed(spec.seed)", "        raise ValueError('no')"),
            r"failed \(pebble\.py, line \d+\): Val",
        ),
        (("def encode(", "def encoded("), r"abstract method '?encode"),
        (
            ("sample_rate, hop, layers, width = 16_000, 0.02, 1, 4", "sample_rate, hop = 16_000, 0.02"),
            "its layers, width",
        ),
        (("return found", "return 3"), "returned a int"),
        (("    card = Up", "    kart = Up"), "is no encoder: it needs a `card`"),
        (("class Pebble(Upstream)", "class Pebble"), "object has no|returned a Pebble|failed"),
    ],
)
def test_a_class_that_is_no_encoder_or_cannot_be_made_is_told(file, change, told):
    assert CODE.count(change[0]) == 1
    file.write_text(CODE.replace(*change).replace("self.hop", "0.02"))
    with pytest.raises(RequestError, match=told):
        load(f"{file}:Pebble", random=True)

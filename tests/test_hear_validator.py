"""The official HEAR validator (hearvalidator 2021.0.6), run as its command does, on our upstreams as HEAR modules.

It imports TensorFlow to ask whether a model is one of its; a stand-in serves, since none here is. `make test` installs
it as the Makefile says: the package itself claims to need a Python before 3.9.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hearvalidator") is None,
    reason="pip install --no-deps --ignore-requires-python hearvalidator==2021.0.6",
)
STAND_IN = """class Module:
    pass
"""
VIEW = """import earbench
load_model, get_scene_embeddings, get_timestamp_embeddings = earbench.hear_api("{spec}")
"""
TWICE_AS_LATE = """
right = get_timestamp_embeddings
def get_timestamp_embeddings(audio, model):
    frames, times = right(audio, model)
    return frames, times * 2
"""
MODULES = {spec: VIEW.format(spec=spec) for spec in ("cpc", "fbank_no_cmvn", "hear_naive")}
MODULES["late"] = MODULES["fbank_no_cmvn"] + TWICE_AS_LATE
COMMAND = """
import contextlib, io, json, sys
from hearvalidator.validate import main

verdicts = {}
for name in sys.argv[1:]:
    sys.argv, said = ["hear-validator", f"view_of_{name}", "--device", "cpu"], io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main()
        verdicts[name] = said.getvalue()
    except BaseException as error:  # what its errors derive from
        verdicts[name] = f"{type(error).__name__}: {error}"
print(json.dumps(verdicts))
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What the command says of every module, all in one process, which is slow to start."""
    folder = tmp_path_factory.mktemp("hear")
    (folder / "tensorflow.py").write_text(STAND_IN)
    for name, text in MODULES.items():
        (folder / f"view_of_{name}.py").write_text(text)
    places = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    words = [sys.executable, "-c", COMMAND, *MODULES]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": places})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("spec", ["cpc", "fbank_no_cmvn", "hear_naive"])
def test_the_official_validator_passes_our_upstreams(spec, verdicts):
    said = verdicts[spec]
    assert said.splitlines()[-1] == "Looks good!", said
    assert said.count("Received embedding of shape") == 4  # three lengths with timestamps, one of scenes


def test_the_official_validator_still_refuses_what_is_wrong(verdicts):
    """So that the test above says something: times behind the end of a clip, for one."""
    assert verdicts["late"].startswith("ModelError: Your timestamps end at")

"""Encoders of transformers: exact padding, the library's own numbers, strict and safe loading, the hub, torchaudio.

The models are tiny, with random weights, and the kernels and strides of the published ones.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from earbench import forward
from earbench.contract import Spec, UpstreamCard
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.hf import Pretrained
from earbench.kit.hf_models import CLASSES, fresh, settings
from earbench.kit.hf_waves import SpeechTransformer
from earbench.plan import load_upstream, upstream_digest
from earbench_upstreams.hf import HF

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {**TINY, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
FAMILIES = {
    "hubert": ("hubert", TINY),
    "hubert large": ("hubert", LARGE),
    "hubert with batch norm": ("hubert", {**TINY, "conv_pos_batch_norm": True}),
    "distilhubert": ("hubert", {**TINY, "feat_proj_layer_norm": False}),
    "wav2vec2": ("wav2vec2", TINY),
    "wav2vec2 large": ("wav2vec2", LARGE),
    "wavlm": ("wavlm", TINY),
    "wavlm large": ("wavlm", {**LARGE, "conv_bias": False}),
    "data2vec": ("data2vec-audio", {**TINY, "num_conv_pos_embeddings": 5}),
    "unispeech": ("unispeech", TINY),
    "unispeech sat": ("unispeech-sat", TINY),
    "unispeech sat large": ("unispeech-sat", LARGE),
}
SQUEEZED = {**TINY, "conv_dim": [16] * 13}
EQUAL = {
    "sew": ("sew", SQUEEZED),
    "sew-d": ("sew-d", SQUEEZED),
    "conformer": ("wav2vec2-conformer", TINY),
    "conformer, rotary": ("wav2vec2-conformer", {**TINY, "position_embeddings_type": "rotary"}),
}
SECONDS = (0.1, 0.1003, 0.25, 0.7, 1.5)
CARD = UpstreamCard("tiny", "test", "none", "none")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model(kind, facts):
    """A tiny encoder whose every parameter and statistic is random, so that nothing is hidden by a zero or a one."""
    made = fresh(settings({"model_type": kind, **facts}, "tiny"), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if not name.endswith(("running_var", "num_batches_tracked")):
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return made


def encoder(kind, facts, normalise=False):
    return SpeechTransformer(model(kind, facts), CARD, normalise, {}, [])


def clips():
    generator = torch.Generator().manual_seed(3)
    return [0.1 * torch.randn(int(16_000 * seconds), generator=generator) + 0.02 for seconds in SECONDS]


@torch.no_grad()
def encode(upstream, waves):
    return upstream.encode(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))


@torch.no_grad()
def library_states(kind, facts, wave, normalise, attention):
    """What transformers gives for one clip: its own feature extractor and an untouched model."""
    theirs = getattr(transformers, CLASSES[kind] + "Model")(settings({"model_type": kind, **facts}, "tiny"))
    theirs.load_state_dict(model(kind, facts).state_dict(), strict=False)
    theirs.set_attn_implementation(attention)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    inputs = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="np").input_values
    output = theirs.eval()(torch.from_numpy(np.asarray(inputs)), output_hidden_states=True)
    return output.hidden_states, output.last_hidden_state


@pytest.mark.parametrize("normalise", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("family", FAMILIES)
def test_features_do_not_depend_on_batch_mates(family, normalise):
    upstream, waves = encoder(*FAMILIES[family], normalise), clips()
    together = encode(upstream, waves)
    assert upstream.batching == "any"
    for index, wave in enumerate(waves):
        alone = encode(upstream, [wave])
        count = int(alone.lengths[0])
        assert together.lengths[index] == count == alone.frames.shape[2]
        torch.testing.assert_close(together.frames[index, :, :count], alone.frames[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize(("normalise", "attention"), [(False, "eager"), (True, "sdpa")])
@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_those_of_the_library(family, normalise, attention):
    kind, facts = FAMILIES[family]
    attention = "eager" if kind == "wavlm" else attention  # it has no other
    upstream = encoder(kind, facts, normalise)
    for wave in (clips()[0], clips()[3]):
        states, last = library_states(kind, facts, wave, normalise, attention)
        features = encode(upstream, [wave])
        torch.testing.assert_close(features.frames[0], torch.stack([*states[:-1], last], 1)[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", EQUAL)
def test_other_families_take_clips_of_one_length_and_give_the_numbers_of_the_library(family):
    kind, facts = EQUAL[family]
    upstream = encoder(kind, facts)
    waves = [clips()[3], clips()[3].flip(0)]
    together = encode(upstream, waves)
    assert upstream.batching == "equal"
    for index, wave in enumerate(waves):
        states, last = library_states(kind, facts, wave, False, "eager")
        states = states if upstream.squeeze == 2 else [*states[:-1], last]
        assert together.lengths[index] == states[0].shape[1]
        torch.testing.assert_close(together.frames[index], torch.stack(list(states), 1)[0], atol=2e-5, rtol=0)


def test_the_last_state_of_a_large_model_is_behind_its_final_layer_norm():
    upstream = encoder("hubert", LARGE)
    upstream.model.encoder.layer_norm = nn.LayerNorm(32, elementwise_affine=False)
    last = encode(upstream, [clips()[3]]).frames[0, -1]
    torch.testing.assert_close(last.mean(-1), torch.zeros(len(last)), atol=1e-5, rtol=0)
    torch.testing.assert_close(last.var(-1, correction=0), torch.ones(len(last)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", [*FAMILIES, *EQUAL])
def test_stretches_of_a_long_clip_give_as_many_frames_at_the_same_times(family):
    upstream, wave = encoder(*(FAMILIES | EQUAL)[family]), clips()[-1].numpy()
    whole = forward.encode(upstream, [wave], "frame", "fp32", torch.device("cpu"))
    upstream.longest = 1.0
    parts = forward.encode(upstream, [wave], "frame", "fp32", torch.device("cpu"))
    assert parts.rows[0].shape == whole.rows[0].shape
    assert (parts.hop, parts.first) == (whole.hop, whole.first)
    assert not torch.equal(parts.rows[0], whole.rows[0])


def test_how_much_is_heard_at_once_goes_by_the_kind_of_attention():
    taken = {family: encoder(*facts).longest for family, facts in (FAMILIES | EQUAL).items()}
    tables = {"wavlm": 100, "wavlm large": 100, "sew-d": 200, "conformer": 100, "conformer, rotary": 100}
    assert taken == pytest.approx({family: tables.get(family, 300) for family in taken})


def test_frames_are_centred_on_what_they_see():
    # Only samples 320 i to 320 i + 399 reach the convolution output behind frame i.
    upstream = encoder("hubert", LARGE)
    wave = torch.zeros(4_000, requires_grad=True)
    upstream.model.feature_extractor(wave[None])[0, :, 3].sum().backward()
    touched = wave.grad.nonzero().flatten()
    features = encode(upstream, [wave.detach()])
    assert (features.hop, features.first) == (0.02, 0.0125)
    assert touched.min() == 960
    assert touched.max() == 960 + 399
    assert pytest.approx(features.first + 3 * features.hop) == (960 + 400 / 2) / 16_000


def test_reduced_precision_keeps_features_finite_and_near():
    upstream, waves = encoder("hubert", TINY), clips()
    exact = encode(upstream, waves)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encode(upstream, waves)
    assert torch.isfinite(rough.pooled()).all()
    torch.testing.assert_close(rough.pooled(), exact.pooled(), atol=0.1, rtol=0)


def test_waves_are_left_as_they_are_and_nothing_is_trained():
    upstream, waves = encoder("wavlm", TINY, normalise=True), pad_sequence(clips(), batch_first=True)
    before = waves.clone()
    with torch.no_grad():
        upstream.encode(waves, torch.tensor([len(wave) for wave in clips()]))
    assert torch.equal(waves, before)
    assert not upstream.training
    assert not any(parameter.requires_grad for parameter in upstream.parameters())
    assert not any("masked_spec_embed" in name for name in upstream.state_dict())


# ---- loading ---------------------------------------------------------------------------------------------------------


def saved(folder, kind="hubert", facts=TINY, preprocessor=None):
    """A model folder written by transformers itself."""
    made = model(kind, facts)
    made.save_pretrained(folder)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return made


def hf(argument, **changes):
    return HF.load(Spec(f"hf:{argument}", "hf", argument=str(argument), **changes))


def states(upstream):
    return encode(upstream, [clips()[3]]).frames


def test_a_folder_gives_the_features_of_the_model_saved_there(tmp_path):
    made = saved(tmp_path)
    loaded = hf(tmp_path)
    assert torch.equal(states(loaded), states(SpeechTransformer(made, CARD, False, {}, [])))
    assert (loaded.card.layers, loaded.card.widths, loaded.card.hop) == (4, (32,), 0.02)
    assert loaded.card.parameters == sum(parameter.numel() for parameter in made.parameters())
    assert loaded.source["file"] == "model.safetensors"
    assert str(tmp_path) not in str(loaded.source)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in (FAMILIES | EQUAL).values()}))
def test_heads_and_prefixes_of_other_classes_are_dropped(tmp_path, kind):
    facts = SQUEEZED if kind.startswith("sew") else {**TINY, "num_conv_pos_embeddings": 5} if "data" in kind else TINY
    config = settings({"model_type": kind, "vocab_size": 32, **facts}, "x")
    endings = [end for end in ("ForCTC", "ForPreTraining", "ForXVector") if hasattr(transformers, CLASSES[kind] + end)]
    for ending in endings:
        whole = getattr(transformers, CLASSES[kind] + ending)(config)
        whole.save_pretrained(tmp_path / ending)
        part = getattr(whole, whole.base_model_prefix)
        loaded = hf(tmp_path / ending)
        for name, value in loaded.model.state_dict().items():
            assert torch.equal(value, part.state_dict()[name]), name


def old_style(folder, change=lambda state: state, facts=TINY):
    """The same model as a pickle, with weight norm as torch spelled it before version 2."""
    made = saved(folder, facts=facts)
    (folder / "model.safetensors").unlink()
    convolution = "encoder.pos_conv_embed.conv."
    names = {
        f"{convolution}parametrizations.weight.original{i}": f"{convolution}weight_{x}" for i, x in enumerate("gv")
    }
    state = {f"hubert.{names.get(key, key)}": value for key, value in made.state_dict().items()}
    torch.save(change(state), folder / "pytorch_model.bin")
    return made


def test_pickled_weights_are_read_without_asking_anyone(tmp_path, monkeypatch):
    made = old_style(tmp_path)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    assert torch.equal(states(hf(tmp_path)), states(SpeechTransformer(made, CARD, False, {}, [])))


def test_sharded_weights_are_put_together(tmp_path):
    made = model("hubert", TINY)
    made.save_pretrained(tmp_path, max_shard_size="60KB")
    assert not (tmp_path / "model.safetensors").exists()
    loaded = hf(tmp_path)
    assert torch.equal(states(loaded), states(SpeechTransformer(made, CARD, False, {}, [])))
    assert len(loaded.source["file"].split()) == len(loaded.source["file_sha256"].split()) > 1
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(BadCheckpoint, match="not there"):
        hf(tmp_path)


def test_adapters_inside_the_blocks_belong_to_the_encoder(tmp_path):
    """As in facebook/mms-1b-all, whose main file has those of English."""
    config = settings({"model_type": "wav2vec2", **LARGE, "adapter_attn_dim": 4}, "x")
    whole = transformers.Wav2Vec2ForCTC(config)
    whole.save_pretrained(tmp_path)
    loaded = hf(tmp_path).model.state_dict()
    adapters = [name for name in loaded if "adapter_layer" in name]
    assert adapters
    assert all(torch.equal(loaded[name], whole.wav2vec2.state_dict()[name]) for name in adapters)


@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_a_conformer_folder_has_the_positions_that_its_files_lack(tmp_path, positions):
    facts = {**TINY, "position_embeddings_type": positions}
    made = saved(tmp_path, "wav2vec2-conformer", facts)
    assert torch.equal(states(hf(tmp_path)), states(SpeechTransformer(made, CARD, False, {}, [])))


def test_half_precision_weights_are_used_in_single_precision(tmp_path):
    saved(tmp_path).half().save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in hf(tmp_path).parameters()} == {torch.float32}


def without(state, *names):
    return {key: value for key, value in state.items() if not key.endswith(names)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: without(state, "layers.1.final_layer_norm.bias"), r"missing \(1\): .*final_layer_norm\.bias"),
        (lambda state: {**state, "hubert.encoder.extra.weight": torch.ones(1)}, r"left over \(1\): .*extra\.weight"),
        (lambda state: {**state, "quantizer.codevectors": torch.ones(1)}, r"left over \(1\): quantizer"),
        (lambda state: {**state, "hubert.encoder.layer_norm.bias": torch.ones(7)}, r"is \(7,\), expected \(32,\)"),
    ],
)
def test_weights_that_do_not_fit_exactly_are_refused(tmp_path, change, named):
    old_style(tmp_path, change)
    with pytest.raises(BadCheckpoint, match=named):
        hf(tmp_path)


def test_a_batch_norm_without_its_training_counter_is_loaded(tmp_path):
    facts = {**TINY, "conv_pos_batch_norm": True}
    old_style(tmp_path, lambda state: without(state, "num_batches_tracked"), facts)
    assert torch.isfinite(states(hf(tmp_path))).all()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"model_type": "mert_model", "auto_map": {"AutoModel": "code.Model"}}, "never run"),
        ({"model_type": "bert"}, "not a known audio encoder"),
        ({}, "not a known audio encoder"),
    ],
)
def test_models_of_other_kinds_are_refused_by_name(tmp_path, facts, said):
    (tmp_path / "config.json").write_text(json.dumps(facts))
    (tmp_path / "code.py").write_text("raise SystemExit('code of a model was run')")
    with pytest.raises(RequestError, match=said):
        hf(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "hubert", "hidden_size": "wide"}'])
def test_a_config_that_describes_nothing_is_refused(tmp_path, content):
    saved(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadCheckpoint, match="config"):
        hf(tmp_path)


@pytest.mark.parametrize("argument", ["", "/no/such/folder", "just-a-name", "a/b/c"])
def test_an_argument_that_names_nothing_is_refused(argument):
    with pytest.raises(RequestError, match="neither a folder nor a name"):
        hf(argument)


def test_normalisation_follows_the_file_and_without_one_the_kind_of_norm(tmp_path):
    for name, facts, preprocessor, expected, said in [
        ("stated", TINY, {"do_normalize": True}, True, "its preprocessor file says so"),
        ("stated off", LARGE, {"do_normalize": False}, False, "its preprocessor file says so"),
        ("group", TINY, None, False, "by its group norm"),
        ("layer", LARGE, None, True, "by its layer norm"),
    ]:
        saved(tmp_path / name, facts=facts, preprocessor=preprocessor)
        loaded = hf(tmp_path / name)
        assert loaded.normalise is loaded.card.normalise is expected
        assert said in loaded.notes[0]


def tiny_plugin(**changes):
    facts = {"name": "tiny", "layers": 4, "widths": (32,), "normalise": False, "sample_rate": 16_000, **changes}
    return Pretrained(
        UpstreamCard(**{"family": "HuBERT", "licence": "x", "weights": "x", **facts}), "a/b", "hubert", TINY
    )


def test_a_published_model_follows_its_training_and_notes_a_file_that_disagrees(tmp_path):
    saved(tmp_path, preprocessor={"do_normalize": True})
    loaded = tiny_plugin().load(Spec("tiny@DIR", "tiny", checkpoint=str(tmp_path)))
    assert loaded.normalise is False
    assert "normalise=False as in the published training" in loaded.notes[0]
    assert "do_normalize=True" in loaded.notes[0]


def test_another_architecture_under_a_published_name_is_refused(tmp_path):
    saved(tmp_path, facts={**TINY, "num_hidden_layers": 2})
    with pytest.raises(BadCheckpoint, match="hubert with 3 of width 32"):
        tiny_plugin().load(Spec("tiny@DIR", "tiny", checkpoint=str(tmp_path)))


def test_the_untrained_twin_is_the_same_for_a_seed_and_leaves_the_global_state_alone(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (hf(tmp_path, random=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(states(first), states(again))
    assert not torch.equal(states(first), states(other))
    assert first.source == {"weights": "random", "seed": "1"}
    plugin = tiny_plugin().load(Spec("tiny~random", "tiny", random=True, seed=1))
    assert torch.equal(states(plugin), states(first))


# ---- the hub ---------------------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a download needs, for the model `org/tiny`."""

    folder: Path
    asked: list[str]

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, whole):
        self.asked.append(f"{self.command} {self.path}")
        parts = self.path.strip("/").split("/")
        known = parts[:3] == ["org", "tiny", "resolve"] and parts[3] in ("main", COMMIT)
        file = self.folder / parts[-1]
        found = known and file.is_file()
        body = file.read_bytes() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        if known:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{parts[-1]}"')
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.end_headers()
        self.wfile.write(body if whole else b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path) -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (Hub,), {"folder": tmp_path / "served", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def child(script, home, port, **environment):
    """Run `script` in a fresh process whose hub is 127.0.0.1:`port` and whose cache is `home`."""
    settled = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{port}", **environment}
    settled = {key: value for key, value in settled.items() if "proxy" not in key.lower()}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=settled, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOAD = """
import json, torch
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench_upstreams.hf import HF
found = HF.load(Spec("hf:org/tiny", "hf", argument="org/tiny"))
with torch.no_grad():
    frames = found.encode(torch.ones(1, 1600), torch.tensor([1600])).frames
try:
    HF.load(Spec("hf:org/other", "hf", argument="org/other"))
except BadCheckpoint as error:
    print(json.dumps({"source": found.source, "total": frames.double().sum().item(), "error": str(error)}))
"""

FETCH = """
import json, time
from earbench.errors import BadCheckpoint
from earbench.kit.hub import fetch
cached = fetch("org/tiny", None, "tiny@DIR")
pauses = []
time.sleep = pauses.append
try:
    fetch("org/other", None, "other@DIR")
except BadCheckpoint as error:
    print(json.dumps({"source": cached.source, "error": str(error), "slept": sum(pauses)}))
"""


def test_a_model_is_downloaded_once_and_then_used_offline(tmp_path, hub):
    made = saved(tmp_path / "served", preprocessor={"do_normalize": False})
    (tmp_path / "served" / "training.py").write_text("raise SystemExit")
    found = child(LOAD, tmp_path / "home", hub.server_port)
    ours = SpeechTransformer(made, CARD, False, {}, [])
    with torch.no_grad():
        expected = ours.encode(torch.ones(1, 1600), torch.tensor([1600])).frames.double().sum().item()
    assert found["total"] == pytest.approx(expected, abs=1e-3)
    assert found["source"]["hub"] == "org/tiny"
    assert found["source"]["commit"] == COMMIT
    assert "the hub has no model org/other" in found["error"]
    fetched = {line.rpartition("/")[2] for line in hub.RequestHandlerClass.asked if re.match("GET .*/resolve/", line)}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}
    offline = child(FETCH, tmp_path / "home", port=9)  # nobody listens there
    assert offline["source"] == {"hub": "org/tiny", "commit": COMMIT}
    for word in ("org/other", "cannot be reached", "config.json", "model.safetensors", "other@DIR"):
        assert word in offline["error"]
    assert offline["slept"] < 5  # the hub client's own retries would pause for half a minute


# ---- torchaudio ------------------------------------------------------------------------------------------------------

BROKEN = """
import json, torch, transformers
assert transformers.utils.is_torchaudio_available()
from earbench.contract import Spec
from earbench.kit.torchaudio_guard import shield
from earbench_upstreams.hf import HF
found = HF.load(Spec("hf:DIR", "hf", argument=FOLDER))
with torch.no_grad():
    frames = found.encode(torch.ones(2, 1600), torch.tensor([1600, 1600])).frames
print(json.dumps({"shape": list(frames.shape), "reason": shield()}))
"""


def test_a_broken_torchaudio_does_not_matter_even_to_a_transformers_that_has_looked_for_it(tmp_path):
    package, metadata = tmp_path / "path" / "torchaudio", tmp_path / "path" / "torchaudio-2.11.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.11.0\n")
    saved(tmp_path / "model")
    script = BROKEN.replace("FOLDER", repr(str(tmp_path / "model")))
    found = child(script, tmp_path / "home", port=9, PYTHONPATH=str(tmp_path / "path"))
    assert found == {"shape": [2, 4, 4, 32], "reason": "OSError: libcudart.so.13: cannot open shared object file"}


def test_a_setting_without_weights_is_part_of_the_digest_and_the_folder_is_not(tmp_path):
    one = tmp_path / "one"
    transformers.HubertModel(transformers.HubertConfig(**TINY)).save_pretrained(one)
    for name, change in (("same", {}), ("other", {"hidden_act": "relu"}), ("trained", {"mask_time_prob": 0.5})):
        shutil.copytree(one, tmp_path / name)
        facts = json.loads((one / "config.json").read_text()) | change
        (tmp_path / name / "config.json").write_text(json.dumps(facts))
    names = ("one", "same", "other", "trained")
    digests = {name: upstream_digest(load_upstream(f"hf:{tmp_path / name}")) for name in names}
    assert digests["one"] == digests["same"] == digests["trained"]
    assert digests["other"] != digests["one"]

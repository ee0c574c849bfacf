"""`s3prl:NAME@FILE`: its upstreams give what s3prl gives, from files that cannot run anything.

The files are tiny ones with random weights, written by s3prl's own networks in the layout that its upstreams read.
"""

import argparse
import builtins
import importlib
import logging
import os
import re
import sys

import pytest
import torch

from earbench import forward, registry
from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint, BenchError, MissingExtra, RequestError
from earbench.kit import s3prl_guard
from earbench.plan import public_name, upstream_digest
from earbench_upstreams.s3prl_upstreams import S3prl, redraw, true_frames

# s3prl's own modules, which are the reference here, warn when they are built.
pytestmark = [
    pytest.mark.filterwarnings("ignore:At least one mel filterbank"),
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated"),
    pytest.mark.filterwarnings("ignore:The distutils package is deprecated"),
    pytest.mark.filterwarnings("ignore:Positional args are being deprecated"),
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),
]
SECONDS = (1.0, 0.1, 0.7371)
FBANK = {"feat_type": "fbank", "feat_dim": 40, "frame_length": 25, "frame_shift": 10, "decode_wav": False, "cmvn": True}


def load(argument, **more):
    return S3prl.load(Spec(f"s3prl:{argument}", "s3prl", argument=str(argument), **more)).eval()


@pytest.fixture(scope="module")
def s3prl():
    """How to import a part of s3prl."""
    try:
        importlib.import_module("s3prl")
        importlib.import_module("torchaudio")
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl does not import here: {problem}")
    return lambda part: importlib.import_module(f"s3prl.upstream.{part}")


def apc(s3prl, path, **more):
    settings = {"hidden_size": 24, "num_layers": 3, "dropout": 0.1, "residual": True, **more}
    network = s3prl("apc.apc").APC(40, **settings)
    torch.save(
        {"config": {"data": {"audio": FBANK}, "model": {"paras": settings}}, "model": network.state_dict()}, path
    )


def vq_apc(s3prl, path):
    apc(s3prl, path, vq={"codebook_size": [8], "code_dim": [24], "gumbel_temperature": 0.5})


def npc(s3prl, path):
    settings = {
        "kernel_size": 15,
        "mask_size": 5,
        "n_blocks": 2,
        "hidden_size": 24,
        "dropout": 0.1,
        "residual": True,
        "batch_norm": True,
        "activate": "relu",
        "disable_cross_layer": False,
    }
    network = s3prl("npc.npc").NPC(40, **settings)
    torch.save(
        {"config": {"data": {"audio": FBANK}, "model": {"paras": settings}}, "model": network.state_dict()}, path
    )


def masked(s3prl, path, shared=False):
    """A checkpoint of the Mockingjay family. Public ones hold a Namespace too, which is no dictionary of weights."""
    transformer = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "hidden_act": "gelu",
        "intermediate_size": 48,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.2,
        "layer_norm_eps": 1e-12,
        "share_layer": shared,
        "pre_layer_norm": False,
    }
    audio = {
        "kaldi": {"feat_type": "fbank", "fbank": {"num_mel_bins": 20, "use_log_fbank": True}},
        "delta": {"order": 1, "win_length": 5},
        "cmvn": {"use_cmvn": True},
    }
    model = s3prl("mockingjay.model")
    network = model.TransformerModel(model.TransformerConfig(transformer), 40)
    config = {"transformer": transformer, "audio": audio, "task": {"sequence_length": 0}}
    paras = argparse.Namespace(seed=1)
    torch.save({"Config": config, "Transformer": network.state_dict(), "Settings": {"Paras": paras}}, path)


def cpc(s3prl, path):
    expert = s3prl("cpc.expert")
    arguments = expert.get_default_cpc_config()
    vars(arguments).update(hiddenEncoder=16, hiddenGar=16)
    network = expert.cpcmodel(expert.getEncoder(arguments), expert.getAR(arguments))
    torch.save({"config": vars(arguments), "weights": network.state_dict()}, path)


def hubert(s3prl, path, norm="default"):
    """s3prl's converted layout. What it evaluates from the settings are the convolutions."""
    module = s3prl("hubert.hubert_model")
    settings = {
        "label_rate": 50.0,
        "extractor_mode": norm,
        "encoder_layers": 2,
        "encoder_embed_dim": 24,
        "encoder_ffn_embed_dim": 48,
        "encoder_attention_heads": 2,
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "conv_pos": 16,
        "conv_pos_groups": 2,
        "final_dim": 8,
    }
    task = {"label_rate": 50.0, "sample_rate": 16_000, "normalize": norm == "layer_norm"}
    symbols = [["a", "b", "c"]]
    network = module.HubertModel(module.HubertConfig(**settings), module.HubertPretrainingConfig(**task), symbols)
    kept = {"task_cfg": task, "model_cfg": settings, "model_weight": network.state_dict()}
    torch.save({**kept, "dictionaries_symbols": symbols}, path)


CONVOLUTIONS = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
SPEECH = {
    "encoder_layers": 2,
    "encoder_embed_dim": 24,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 2,
    "conv_feature_layers": CONVOLUTIONS,
    "conv_pos": 16,
    "conv_pos_groups": 2,
}


def converted(s3prl, path, part, names, settings, normalize=False, **more):
    """A file of fairseq as s3prl converts it, of the classes `names` in the module `part`."""
    module, merge = s3prl(part), s3prl("utils").merge_with_parent
    network, config = (getattr(module, name) for name in names)
    made = network(merge(config, settings))
    if normalize:  # data2vec's, whose converted files have lost the teacher
        made.remove_pretraining_modules()
    task = {"normalize": normalize, "sample_rate": 16_000}
    torch.save({"task_cfg": task, "model_cfg": settings, "model_weight": {**made.state_dict(), **more}}, path)


def wav2vec(s3prl, path, kind="none"):
    convolutions = [(16, 10, 5), (16, 8, 4), *[(16, 4, 2)] * 3, *[(16, 1, 1)] * (2 if kind == "none" else 3)]
    settings = {
        "infonce": False,
        "conv_feature_layers": str(convolutions),
        "conv_aggregator_layers": str([(16, kernel, 1) for kernel in (2, 3, 4)]),
        "activation": "relu" if kind == "none" else "gelu",
        "vq_type": kind,
        "vq_vars": 8,
        "vq_dim": 16,
        "vq_depth": 2,
        "vq_temp": (2.0, 0.5, 0.999995),
    }
    converted(s3prl, path, "wav2vec.wav2vec_model", ("Wav2VecModel", "Wav2VecConfig"), settings)


def wav2vec2(s3prl, path):
    settings = {**SPEECH, "final_dim": 8, "quantize_targets": True, "latent_vars": 4}
    converted(s3prl, path, "wav2vec2.wav2vec2_model", ("Wav2Vec2Model", "Wav2Vec2Config"), settings)


def data2vec(s3prl, path):
    settings = {**SPEECH, "extractor_mode": "layer_norm", "conv_pos": 15, "pos_conv_depth": 5}
    names = ("Data2VecAudioModel", "Data2VecAudioConfig")
    converted(s3prl, path, "data2vec.data2vec_model", names, settings, normalize=True, _ema={})


def wavlm(s3prl, path):
    module = s3prl("wavlm.WavLM")
    settings = {**SPEECH, "relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 32}
    torch.save({"cfg": settings, "model": module.WavLM(module.WavLMConfig(settings)).state_dict()}, path)


def distiller(s3prl, path):
    module = s3prl("distiller.model")
    settings = {**SPEECH, "extractor_conv_feature_layers": CONVOLUTIONS, "final_dim": 24, "n_tasks": 2}
    network = module.DistillerModel(module.DistillerConfig(settings))
    torch.save({"Config": {"distiller": settings}, "Distiller": network.state_dict()}, path)


WRITERS = {
    "wav2vec_large": ("wav2vec", wav2vec),
    "vq_wav2vec_gumbel": ("vq_wav2vec", lambda s3prl, path: wav2vec(s3prl, path, "gumbel")),
    "vq_wav2vec_kmeans": ("vq_wav2vec", lambda s3prl, path: wav2vec(s3prl, path, "kmeans")),
    "wav2vec2_base_960": ("wav2vec2", wav2vec2),
    "data2vec_base_960": ("data2vec", data2vec),
    "wavlm_base": ("wavlm", wavlm),
    "unispeech_sat_base": ("unispeech_sat", wavlm),
    "distilhubert": ("distiller", distiller),
    "apc": ("apc", apc),
    "vq_apc_960hr": ("apc", vq_apc),
    "npc": ("npc", npc),
    "mockingjay": ("mockingjay", masked),
    "tera": ("mockingjay", masked),
    "audio_albert": ("mockingjay", lambda s3prl, path: masked(s3prl, path, shared=True)),
    "cpc": ("cpc", cpc),
    "modified_cpc": ("cpc", cpc),
    "hubert_base": ("hubert", hubert),
    "hubert_large_ll60k": ("hubert", lambda s3prl, path: hubert(s3prl, path, norm="layer_norm")),
}


@pytest.fixture(params=WRITERS)
def written(request, s3prl, tmp_path):
    """The name of an upstream, a file for it, and s3prl's own class."""
    family, write = WRITERS[request.param]
    try:
        expert = s3prl(f"{family}.expert").UpstreamExpert
    except ImportError as problem:  # mockingjay imports distutils, which Python 3.12 dropped
        pytest.skip(f"this family does not import here: {problem}")
    path = tmp_path / "tiny.ckpt"
    torch.manual_seed(7)
    write(s3prl, path)
    return request.param, path, expert


def clips():
    return [torch.randn(round(s * 16_000), generator=torch.Generator().manual_seed(1)) * 0.1 for s in SECONDS]


def batch(waves):
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves])


def theirs(expert, wave):
    with torch.no_grad():
        return torch.stack([state[0] for state in expert([wave])["hidden_states"]])


def test_features_are_those_of_s3prl(written):
    name, path, expert = written
    reference = expert(str(path)).eval()
    features = load(f"{name}@{path}").encode(*batch(clips()))
    for clip, wave in enumerate(clips()):
        wanted = theirs(reference, wave)
        count = int(features.lengths[clip])
        assert count == min(wanted.shape[1], round(len(wave) / (16_000 * features.hop)))
        assert (features.frames[clip, :, :count] - wanted[:, :count]).abs().max() < 1e-6


def test_a_clip_too_long_to_be_heard_at_once_has_as_many_frames_from_stretches(s3prl, tmp_path):
    apc(s3prl, tmp_path / "apc.ckpt")
    upstream = load(f"apc@{tmp_path / 'apc.ckpt'}")
    assert upstream.longest == 300.0
    wave = [torch.randn(38_400, generator=torch.Generator().manual_seed(0)).numpy()]
    whole, stretched = (heard(upstream, wave, longest) for longest in (300.0, 1.0))
    assert stretched.rows[0].shape == whole.rows[0].shape
    assert not torch.equal(stretched.rows[0], whole.rows[0])


def heard(upstream, waves, longest):
    upstream.longest = longest
    return forward.encode(upstream, waves, "frame", "fp32", torch.device("cpu"))


def test_every_family_keeps_the_contract(written):
    name, path, _ = written
    findings = check_upstream.run(load(f"{name}@{path}"))
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_the_twin_has_the_same_shape_and_other_weights(written):
    name, path, _ = written
    trained, twin, same, other = (load(f"{name}@{path}", random=bool(seed), seed=seed) for seed in (0, 1, 1, 2))
    assert twin.card == trained.card
    assert upstream_digest(twin) == upstream_digest(same) != upstream_digest(other)
    matrices = [
        key for key, value in trained.named_parameters() if value.dim() > 1 and value.numel() > max(value.shape)
    ]
    kept = [key for key in matrices if torch.equal(trained.state_dict()[key], twin.state_dict()[key])]
    assert matrices
    assert kept == []
    assert twin.source["weights"] == "random"


def test_hand_made_features_are_those_of_s3prl(s3prl):
    for name in ("fbank", "fbank_no_cmvn", "mfcc", "mel", "linear", "spectrogram"):
        reference = getattr(s3prl("baseline.hubconf"), name)()
        features = load(name).encode(*batch(clips()))
        for clip, wave in enumerate(clips()):
            count = int(features.lengths[clip])
            assert torch.equal(features.frames[clip, :, :count], theirs(reference, wave)[:, :count])


# ---- short clips, long strides, weights that are not there ----------------------------------------------------------


class Window(torch.nn.Module):
    """An upstream with one frame a second, like several of s3prl's, that takes no clip under 0.35 s."""

    def __init__(self, *_):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.calls = []

    def get_downsample_rates(self, key):
        return 16_000

    def forward(self, waves):
        self.calls.append([len(wave) for wave in waves])
        long = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True).unfold(1, 5_600, 16_000)
        return {"hidden_states": [long.std(-1, keepdim=True) * self.scale]}


def test_a_clip_too_short_for_an_upstream_is_followed_by_zeros_and_its_frame_is_its_middle():
    upstream = S3prl(Window(), S3prl.card)
    assert upstream.shortest == 6_400
    upstream.expert.calls.clear()
    features = upstream.encode(torch.ones(1, 1_600), torch.tensor([1_600]))
    assert upstream.expert.calls == [[6_400]]
    assert features.lengths.tolist() == [1]
    assert features.times.tolist() == [[pytest.approx(0.05)]]
    assert [one for one in check_upstream.run(upstream) if not one.ok] == []


def test_clips_of_one_length_go_through_together_where_that_was_seen_to_change_nothing():
    class Leaking(Window):
        def forward(self, waves):
            (states,) = super().forward(waves)["hidden_states"]
            return {"hidden_states": [states + 0.1 * states.mean(0)]}

    class Single(Window):
        def forward(self, waves):
            assert len(waves) == 1
            return super().forward(waves)

    for kind, calls in ((Window, [[16_000] * 3]), (Leaking, [[16_000]] * 3), (Single, [[16_000]] * 3)):
        upstream = S3prl(kind(), S3prl.card)
        upstream.expert.calls.clear()
        upstream.encode(torch.randn(3, 16_000), torch.full((3,), 16_000))
        assert upstream.expert.calls == calls


def test_weights_that_a_file_lacks_are_told_and_a_file_without_any_is_refused(s3prl, tmp_path):
    """s3prl fills some networks with whatever of a file fits, and draws the rest."""
    cpc(s3prl, tmp_path / "w.ckpt")
    kept = torch.load(tmp_path / "w.ckpt", weights_only=False)
    del kept["weights"]["gAR.baseNet.weight_hh_l0"]
    torch.save(kept, tmp_path / "w.ckpt")
    assert load(f"modified_cpc@{tmp_path / 'w.ckpt'}").notes == [
        "not in the file and drawn at random: gAR.baseNet.weight_hh_l0"
    ]
    torch.save({**kept, "weights": {"other": torch.ones(1)}}, tmp_path / "w.ckpt")
    with pytest.raises(BadCheckpoint, match=r"none of the weights of s3prl's 'modified_cpc' are in w\.ckpt"):
        load(f"modified_cpc@{tmp_path / 'w.ckpt'}")


def test_an_upstream_that_ends_the_program_is_told_with_what_it_said(s3prl, monkeypatch):
    def give_up(*_):
        logging.getLogger("s3prl.upstream.apc.expert").error("APC requires 'sloth==0.4.5' to work")
        sys.exit(1)

    monkeypatch.setattr(s3prl("apc.hubconf"), "apc", give_up)
    with pytest.raises(RequestError, match=r"'apc' gives up: APC requires 'sloth==0\.4\.5'"):
        load("apc")


@pytest.mark.usefixtures("s3prl")
def test_a_folder_is_told_where_it_belongs(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"no weight file at(.|\n)*hf:DIR"):
        load(f"hf_hubert_custom@{tmp_path}")


@pytest.mark.usefixtures("s3prl")
def test_a_name_without_a_checkpoint_has_no_twin_and_takes_no_file(tmp_path):
    with pytest.raises(RequestError, match="no learned weights"):
        load("fbank", random=True)
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(RequestError, match="takes no weights"):
        load(f"fbank@{tmp_path / 'w.pt'}")


def test_only_the_family_asked_for_is_imported(s3prl, tmp_path):
    apc(s3prl, tmp_path / "w.ckpt")
    load(f"apc@{tmp_path / 'w.ckpt'}")
    assert "s3prl.hub" not in sys.modules


def test_the_record_names_the_file_and_its_digest_but_no_folder(s3prl, tmp_path):
    apc(s3prl, tmp_path / "w.ckpt")
    loaded = load(f"apc@{tmp_path / 'w.ckpt'}")
    assert loaded.source["file"] == "w.ckpt"
    assert re.fullmatch("[0-9a-f]{64}", loaded.source["file_sha256"])
    assert str(tmp_path) not in f"{loaded.source}{loaded.options}{loaded.notes}"
    assert public_name(f"s3prl:apc@{tmp_path / 'w.ckpt'}") == "s3prl:apc@w.ckpt"


class Hostile:
    """Unpickles by making a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["apc", "tera"])  # s3prl unpickles the latter with weights_only=False
def test_nothing_in_a_file_is_run(s3prl, tmp_path, name):
    {"apc": apc, "tera": masked}[name](s3prl, tmp_path / "w.ckpt")
    kept = torch.load(tmp_path / "w.ckpt", weights_only=False)
    torch.save({**kept, "Optimizer": Hostile(tmp_path / "ran")}, tmp_path / "w.ckpt")
    load(f"{name}@{tmp_path / 'w.ckpt'}")
    assert not (tmp_path / "ran").exists()


def test_code_in_settings_is_refused(s3prl, tmp_path):
    masked(s3prl, tmp_path / "w.ckpt")
    kept = torch.load(tmp_path / "w.ckpt", weights_only=False)
    kept["Config"]["audio"]["kaldi"]["feat_type"] = f"fbank if __import__('os').mkdir({str(tmp_path / 'ran')!r}) else 0"
    torch.save(kept, tmp_path / "w.ckpt")
    with pytest.raises(BadCheckpoint, match="hold code"):
        load(f"tera@{tmp_path / 'w.ckpt'}")
    assert not (tmp_path / "ran").exists()


def test_settings_may_be_lists_of_numbers_and_s3prl_reads_its_own_names():
    names = {"__name__": "s3prl.upstream.hubert.hubert_model", "found": s3prl_guard._evaluate}
    exec("def read(text):\n    self = [5]\n    return found(text)", names)
    assert names["read"]("[(512,10,5)] + [(512,3,2)] * 2") == [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    assert names["read"]("self[0]") == 5
    for code in (
        "print(1)",
        "().__class__",
        "self.__class__",
        "[x for x in ()]",
        "torchaudio.os.system",
        "[1] * 999 * 999",
        "'a' * 9",
    ):
        with pytest.raises(BadCheckpoint, match="hold code"):
            names["read"](code)


def test_loading_and_encoding_leave_the_process_as_it_was(s3prl, tmp_path, capsys):
    import torchaudio

    masked(s3prl, tmp_path / "w.ckpt")
    before = torch.load, torch.hub.load, builtins.eval, set(vars(torchaudio)), torch.random.get_rng_state().tolist()
    load(f"mockingjay@{tmp_path / 'w.ckpt'}", random=True).encode(*batch(clips()))
    after = torch.load, torch.hub.load, builtins.eval, set(vars(torchaudio)), torch.random.get_rng_state().tolist()
    assert before == after
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("s3prl")
def test_what_is_not_there_is_told(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match=r"no upstream called 'apc_36hr'(.|\n)*apc_360hr"):
        load("apc_36hr")
    with pytest.raises(BadCheckpoint, match="no weight file"):
        load(f"apc@{tmp_path / 'nowhere.ckpt'}")
    with pytest.raises(RequestError, match="needs a file"):
        load("cpc")
    torch.save({"model": {}}, tmp_path / "w.ckpt")
    with pytest.raises(BadCheckpoint, match=r"cannot be made from w\.ckpt: KeyError"):
        load(f"apc@{tmp_path / 'w.ckpt'}")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(MissingExtra):
        load("fbank")


def test_without_a_network_the_address_of_the_weights_is_told(s3prl, monkeypatch):
    def broken(*_, **__):
        raise OSError("no network")

    for name in ("apc", "tera"):
        monkeypatch.setattr(s3prl(f"{name}.hubconf"), "_urls_to_filepaths", broken)
        with pytest.raises(BadCheckpoint, match=rf"fetch https://\S+ where(.|\n)*s3prl:{name}@FILE"):
            load(name)


def test_frames_are_counted_as_in_superb():
    assert true_frames(16_000, 160, 98) == 98
    assert true_frames(16_240, 160, 102) == 102  # 101.5 goes to the even one
    assert true_frames(16_080, 160, 102) == 100
    with pytest.raises(BenchError, match="90 frames"):
        true_frames(16_000, 160, 90)


def test_redrawn_weights_begin_as_their_layers_do():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    network.register_parameter("scale", torch.nn.Parameter(torch.full((1, 4, 1), 3.0)))
    network.register_parameter("codes", torch.nn.Parameter(torch.full((4, 4), 3.0)))
    torch.nn.init.constant_(network[1].weight, 5.0)
    redraw(network, 1)
    assert network[1].weight.tolist() == [1.0] * 4
    assert network.scale.flatten().tolist() == [1.0] * 4
    assert network.codes.unique().numel() == 16


def test_the_scheme_is_installed():
    assert registry.load("upstream", "s3prl") is S3prl

"""Encoders of transformers that begin with a spectrogram: the library's numbers, chunks, padding, loading.

The models are tiny, with random weights; Whisper takes 1 s here, CLAP 1 s, AST 64 spectra. What goes into the library's
model is what the library's own feature extractor made.
"""

import json

import pytest
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from earbench import forward
from earbench.checks import upstream as check_upstream
from earbench.contract import Spec, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.hf import Pretrained, upstream_of
from earbench.kit.hf_models import HEADS, encoder_class, fresh, settings
from earbench.layers import GroupView
from earbench.plan import load_upstream, upstream_digest
from earbench_upstreams.hf import HF

CARD = UpstreamCard("tiny", "test", "none", "none")
TOLERANCE = 5e-5
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 60}
TOKENS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2}
FACTS = {
    "whisper": {
        "d_model": 32,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "max_source_positions": 50,
        **DECODER,
        **TOKENS,
    },
    "audio-spectrogram-transformer": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "num_mel_bins": 48,
        "max_length": 64,
    },
    "clap_audio_model": {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 32,
        "depths": [2, 2, 1],
        "num_attention_heads": [2, 2, 4],
        "window_size": 4,
    },
    "wav2vec2-bert": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_depthwise_kernel_size": 5,
    },
}
HEARD = {
    "whisper": {"feature_size": 80, "chunk_length": 1},
    "audio-spectrogram-transformer": {"num_mel_bins": 48, "max_length": 64, "mean": -5.0, "std": 4.0},
    "clap_audio_model": {
        "feature_size": 16,
        "max_length_s": 1,
        "frequency_min": 50,
        "truncation": "rand_trunc",
        "fft_window_size": 512,
    },
    "wav2vec2-bert": {},
}
EXTRACTORS = {
    "whisper": transformers.WhisperFeatureExtractor,
    "audio-spectrogram-transformer": transformers.ASTFeatureExtractor,
    "clap_audio_model": transformers.ClapFeatureExtractor,
    "wav2vec2-bert": transformers.SeamlessM4TFeatureExtractor,
}
KINDS = list(FACTS)
FIXED = [kind for kind in KINDS if kind != "wav2vec2-bert"]
LONGEST = {"whisper": 16_000, "audio-spectrogram-transformer": 64 * 160 + 240, "clap_audio_model": 48_000}
STEP = {**LONGEST, "audio-spectrogram-transformer": 50 * 160}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model(kind, **more):
    """A tiny encoder whose every parameter and statistic is random, so that nothing is hidden by a zero or a one."""
    made = fresh(settings({"model_type": kind, **FACTS[kind], **more}, "tiny"), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.is_floating_point() and not name.endswith("running_var"):
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return made


def encoder(kind, **more):
    return upstream_of(model(kind, **more), CARD, HEARD[kind], {}, False)


def clips(kind, seconds=(0.1, 0.31, 0.6137)):
    rate, generator = (48_000 if "clap" in kind else 16_000), torch.Generator().manual_seed(3)
    return [0.1 * torch.randn(round(rate * length), generator=generator) + 0.02 for length in seconds]


@torch.no_grad()
def encode(upstream, waves):
    return upstream.encode(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))


@torch.no_grad()
def embed(upstream, waves):
    return upstream.embed(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))


@torch.no_grad()
def of_library(kind, wave, **more):
    """An untouched model of the library on what its own extractor makes of one clip, all states asked for."""
    theirs = encoder_class(kind)(settings({"model_type": kind, **FACTS[kind], **more}, "tiny"))
    theirs.load_state_dict(model(kind, **more).state_dict(), strict=False)
    extractor = EXTRACTORS[kind](**HEARD[kind])
    inputs = dict(extractor(wave.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"))
    wanted = {"output_hidden_states": True}
    if kind == "clap_audio_model":
        inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
        before = theirs.eval()(**inputs, **wanted, output_hidden_states_before_downsampling=True)
        return theirs(**inputs, **wanted), before
    return theirs.eval()(**inputs, **wanted)


def columns(states):
    """AST's tokens as the mean of three rows (48 bands) of five columns, worked out token by token."""
    return torch.stack(
        [torch.stack([states[:, 2 + 5 * row + step] for row in range(4)]).mean(0) for step in range(5)], 1
    )


def library_frames(kind, wave):
    """All states of one clip as the library has them, [layer, time, width]; for CLAP those of its last stage."""
    output = of_library(kind, wave)
    if kind == "clap_audio_model":
        after, _ = output
        return torch.stack([flattened(after.hidden_states[2]), after.last_hidden_state[0].mean(1).T])
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    states = [columns(state) for state in states] if kind.startswith("audio") else states
    return torch.cat(states)


def flattened(state, ratio=4):
    """A spatial state [1, width, height, width of the image] as frames [time, width], worked out piece by piece."""
    height = state.shape[2] // ratio
    stretches = [state[0, :, height * stretch : height * (stretch + 1)].mean(1) for stretch in range(ratio)]
    return torch.cat(stretches, 1).T


# ---- the library's numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_library(kind):
    upstream = encoder(kind)
    for wave in clips(kind):
        ours, theirs = encode(upstream, [wave]), library_frames(kind, wave)
        count = int(ours.lengths[0])
        assert ours.frames.shape[1:] == (upstream.layers, count, 32)
        torch.testing.assert_close(ours.frames[0], theirs[:, :count], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("positions", ["relative", "rotary", "relative_key", None])
def test_every_kind_of_position_of_w2v_bert_is_that_of_the_library_and_padding_is_exact(positions):
    kind, more = "wav2vec2-bert", {"position_embeddings_type": positions}
    upstream, waves = encoder(kind, **more), clips("wav2vec2-bert")
    together = encode(upstream, waves)
    for index, wave in enumerate(waves):
        output = of_library(kind, wave, **more)
        theirs = torch.cat([*output.hidden_states[:-1], output.last_hidden_state])
        count = int(together.lengths[index])
        torch.testing.assert_close(together.frames[index, :, :count], theirs[:, :count], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_every_stage_of_clap_is_that_of_the_library(fused):
    upstream = encoder("clap_audio_model", enable_fusion=fused)
    for wave in clips("clap_audio_model"):
        after, before = of_library("clap_audio_model", wave, enable_fusion=fused)
        ours = encode(upstream, [wave])
        stages = [*ours.groups.values(), ours]
        for stage, features in enumerate(stages):
            count, last = int(features.lengths[0]), stage == len(stages) - 1
            begun, ended = features.frames[0, 0], features.frames[0, -1]
            theirs = after.last_hidden_state[0].mean(1).T if last else flattened(before.hidden_states[stage + 1])
            torch.testing.assert_close(begun, flattened(after.hidden_states[stage])[:count], atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(ended, theirs[:count], atol=TOLERANCE, rtol=0)


def test_stages_of_clap_are_groups_of_half_the_rate_and_twice_the_width():
    upstream = encoder("clap_audio_model")
    sizes = {name: (group.layers, group.width, group.hop) for name, group in upstream.groups.items()}
    assert sizes == {"stage_1": (3, 8, 1 / 64), "stage_2": (3, 16, 1 / 32)}
    assert (upstream.layers, upstream.width, upstream.hop) == (2, 32, 1 / 16)
    assert upstream.card.groups == ("stage_1", "stage_2")
    assert upstream.card.widths == (32, 8, 16)


@pytest.mark.parametrize("kind", ["audio-spectrogram-transformer", "clap_audio_model"])
def test_the_clip_embedding_is_what_the_library_pools(kind):
    for wave in clips(kind):
        output = of_library(kind, wave)
        theirs = output[0].pooler_output if "clap" in kind else output.pooler_output
        torch.testing.assert_close(embed(encoder(kind), [wave])[:, -1], theirs, atol=TOLERANCE, rtol=0)


# ---- long clips, short clips, batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIXED)
def test_a_long_clip_is_the_library_on_consecutive_chunks(kind):
    upstream, (wave,) = encoder(kind), clips(kind, [2.4])
    ours = encode(upstream, [wave]).frames[0]
    starts = range(0, len(wave), STEP[kind])
    pieces = [library_frames(kind, wave[start : start + LONGEST[kind]]) for start in starts if len(wave) - start >= 400]
    assert len(pieces) > 2
    torch.testing.assert_close(ours, torch.cat(pieces, 1)[:, : ours.shape[1]], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_as_many_as_there_is_audio_and_evenly_spaced_across_chunks(kind):
    upstream = encoder(kind)
    for wave in clips(kind, [0.4, 1.0, 1.0001, 2.4]):
        features, seconds = encode(upstream, [wave]), len(wave) / upstream.sample_rate
        assert features.times is None
        count = int(features.lengths[0])
        last = features.first + (count - 1) * features.hop
        assert last <= seconds
        assert seconds - last <= features.hop + features.first + 0.0125


def test_stretches_of_a_long_clip_of_w2v_bert_give_as_many_frames_at_the_same_times():
    upstream, (wave,) = encoder("wav2vec2-bert"), clips("wav2vec2-bert", [2.4])
    assert upstream.longest == pytest.approx(100)
    whole, parts = (said(upstream, wave, longest) for longest in (100.0, 1.0))
    assert parts.rows[0].shape == whole.rows[0].shape
    assert (parts.hop, parts.first) == (whole.hop, whole.first)


def said(upstream, wave, longest):
    upstream.longest = longest
    return forward.encode(upstream, [wave.numpy()], "frame", "fp32", torch.device("cpu"))


@pytest.mark.parametrize("kind", KINDS)
def test_features_do_not_depend_on_batch_mates(kind):
    upstream, waves = encoder(kind), clips(kind, [0.1, 2.4, 0.31, 1.0, 0.1003])
    together, embedded = encode(upstream, waves), embed(upstream, waves)
    for index, wave in enumerate(waves):
        alone = encode(upstream, [wave])
        parts = [(alone, together), *zip(alone.groups.values(), together.groups.values(), strict=True)]
        for one, many in parts:
            count = int(one.lengths[0])
            assert int(many.lengths[index]) == count == one.frames.shape[2]
            torch.testing.assert_close(many.frames[index, :, :count], one.frames[0], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(embedded[index], embed(upstream, [wave])[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_is_kept(kind):
    assert [finding for finding in check_upstream.run(encoder(kind)) if not finding.ok] == []


def test_a_clip_too_short_for_the_first_frame_of_clap_has_it_at_its_end():
    upstream = upstream_of(model("clap_audio_model"), CARD, {**HEARD["clap_audio_model"], "max_length_s": 2}, {}, False)
    assert upstream.hop / 2 > 0.05
    features = encode(upstream, [torch.ones(2_400)])
    assert features.times[0, :1].tolist() == pytest.approx([0.05])


def test_the_embedding_of_a_long_clip_weighs_its_chunks_by_their_length():
    upstream, (wave,) = encoder("clap_audio_model"), clips("clap_audio_model", [1.5])
    parts = [embed(upstream, [wave[:48_000]]), embed(upstream, [wave[48_000:]])]
    torch.testing.assert_close(embed(upstream, [wave]), (2 * parts[0] + parts[1]) / 3, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_centred_on_what_they_see(kind):
    """What a click moves in the first state has its middle where the click is."""
    upstream, (wave,) = encoder(kind), clips(kind, [0.6])
    features = encode(upstream, [wave])
    for frame in [1, 2] if kind.startswith("audio") else [2, 4]:
        clicked = wave.clone()
        clicked[round((features.first + frame * features.hop) * upstream.sample_rate)] += 0.5
        moved = (encode(upstream, [clicked]).frames[0, 0] - features.frames[0, 0]).square().sum(-1)
        near = moved[max(0, frame - 3) : frame + 4]  # standardised bands, and a bound under the loudest, move all
        middle = (near * torch.arange(len(near))).sum() / near.sum() + max(0, frame - 3)
        assert float(middle) == pytest.approx(frame, abs=0.5)


def test_reduced_precision_keeps_features_finite_and_near():
    for kind in KINDS:
        upstream, waves = encoder(kind), clips(kind)
        exact = encode(upstream, waves)
        with torch.autocast("cpu", torch.bfloat16):
            rough = encode(upstream, waves)
        assert torch.isfinite(rough.pooled()).all()
        torch.testing.assert_close(rough.pooled(), exact.pooled(), atol=0.2, rtol=0)


# ---- loading ---------------------------------------------------------------------------------------------------------


def whole_models():
    """Classes of the library whose files hold more than the encoder, and the encoder inside."""
    config = {kind: settings({"model_type": kind, **FACTS[kind]}, "tiny") for kind in KINDS}
    bert = transformers.Wav2Vec2BertConfig(**FACTS["wav2vec2-bert"], vocab_size=20, add_adapter=True)
    clap = transformers.ClapConfig(
        text_config=TEXT, audio_config=FACTS["clap_audio_model"], projection_dim=8, num_attention_heads=4
    )
    ast = "audio-spectrogram-transformer"
    return {
        "whisper to text": (
            "whisper",
            transformers.WhisperForConditionalGeneration(config["whisper"]),
            "model.encoder",
        ),
        "whisper": ("whisper", transformers.WhisperModel(config["whisper"]), "encoder"),
        "whisper classes": ("whisper", transformers.WhisperForAudioClassification(config["whisper"]), "encoder"),
        "ast": (ast, transformers.ASTModel(config[ast]), ""),
        "ast classes": (ast, transformers.ASTForAudioClassification(config[ast]), "audio_spectrogram_transformer"),
        "clap": ("clap_audio_model", transformers.ClapModel(clap), "audio_model"),
        "clap audio": ("clap_audio_model", transformers.ClapAudioModel(config["clap_audio_model"]), ""),
        "w2v-bert ctc": ("wav2vec2-bert", transformers.Wav2Vec2BertForCTC(bert), "wav2vec2_bert"),
        "w2v-bert": ("wav2vec2-bert", transformers.Wav2Vec2BertModel(config["wav2vec2-bert"]), ""),
    }


WHOLE = list(whole_models())


@pytest.mark.parametrize("name", WHOLE)
def test_a_folder_gives_the_features_of_the_encoder_inside(name, tmp_path):
    kind, whole, inside = whole_models()[name]
    whole.save_pretrained(tmp_path)
    EXTRACTORS[kind](**HEARD[kind]).save_pretrained(tmp_path)
    loaded = HF.load(Spec("hf", "hf", argument=str(tmp_path)))
    part = whole.get_submodule(inside)
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, part.state_dict()[key]), key
    assert loaded.card.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert loaded.notes == []
    direct = upstream_of(part.eval(), CARD, HEARD[kind], {}, False)
    if "ctc" not in name:  # whose adapter would be run
        assert torch.equal(encode(loaded, clips(kind)).frames, encode(direct, clips(kind)).frames)


def test_the_tables_that_files_lack_are_worked_out(tmp_path):
    for positions in ("relative", "rotary"):
        made = model("wav2vec2-bert", position_embeddings_type=positions)
        made.save_pretrained(tmp_path / positions)
        loaded = HF.load(Spec("hf", "hf", argument=str(tmp_path / positions)))
        assert torch.isfinite(encode(loaded, clips("wav2vec2-bert")).pooled()).all()
        assert not any(buffer.is_meta for buffer in loaded.buffers())


def test_ast_is_published_in_the_names_of_transformers_4(tmp_path):
    """Keys of MIT/ast-finetuned-audioset-10-10-0.4593, as transformers 4.25 to 4.57 spell them."""
    from safetensors.torch import load_file

    _, whole, _ = whole_models()["ast classes"]
    whole.save_pretrained(tmp_path)
    keys = set(load_file(tmp_path / "model.safetensors"))
    block = "audio_spectrogram_transformer.encoder.layer.0."
    for key in ("attention.attention.query", "attention.output.dense", "intermediate.dense", "output.dense"):
        assert f"{block}{key}.weight" in keys


def test_weights_without_a_block_are_refused_by_name(tmp_path):
    kind, whole, _ = whole_models()["whisper to text"]
    whole.save_pretrained(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(facts | {"encoder_layers": 4}))
    with pytest.raises(BadCheckpoint, match=r"missing \(\d+\): layers\.3"):
        HF.load(Spec("hf", "hf", argument=str(tmp_path)))
    assert "decoder.*" in HEADS[kind]


def plugin(kind, heard):
    card = UpstreamCard("tiny", "test", "x", "x", sample_rate=16_000, hop=0.1, layers=4, widths=(32,))
    return Pretrained(card, "a/b", kind, FACTS[kind], heard)


def test_a_preprocessor_that_differs_from_training_is_noted_with_both_values_and_hf_follows_it(tmp_path):
    kind = "audio-spectrogram-transformer"
    model(kind).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(**{**HEARD[kind], "mean": -7.0}).save_pretrained(tmp_path)
    pinned = plugin(kind, {"mean": -5.0, "std": 4.0}).load(Spec("tiny", "tiny", checkpoint=str(tmp_path)))
    followed = HF.load(Spec("hf", "hf", argument=str(tmp_path)))
    assert (pinned.mean, followed.mean) == (-5.0, -7.0)
    (note,) = pinned.notes
    assert "mean=-5.0 as in the published training" in note
    assert "mean=-7.0" in note
    assert upstream_digest(pinned) != upstream_digest(followed)


def test_a_folder_without_a_preprocessor_file_has_the_librarys_defaults_and_says_so(tmp_path):
    model("whisper").save_pretrained(tmp_path)
    (note,) = HF.load(Spec("hf", "hf", argument=str(tmp_path))).notes
    assert "no preprocessor file" in note


@pytest.mark.parametrize(
    ("kind", "heard", "said"),
    [
        ("whisper", {"hop_length": 200}, "hop_length = 200: Whisper is known with 160"),
        ("audio-spectrogram-transformer", {"max_length": 1024}, "gives 1024 spectra, the network takes 64"),
        ("clap_audio_model", {"padding": "mirror"}, "padding 'mirror'"),
        ("wav2vec2-bert", {"sampling_rate": 8_000}, "sampling_rate = 8000"),
    ],
)
def test_a_preprocessor_that_does_not_fit_is_refused(kind, heard, said):
    with pytest.raises(BadCheckpoint, match=said):
        upstream_of(model(kind), CARD, {**HEARD[kind], **heard}, {}, False)


def test_the_untrained_twin_of_a_folder_needs_no_weights(tmp_path):
    kind, whole, _ = whole_models()["clap"]
    whole.save_pretrained(tmp_path)
    EXTRACTORS[kind](**HEARD[kind]).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    twin = load_upstream(f"hf:{tmp_path}~random")
    assert twin.card.layers == 2
    assert twin.source["weights"] == "random"
    assert torch.isfinite(encode(twin, clips(kind)).pooled()).all()


def test_a_stage_of_clap_is_an_encoder_by_itself():
    upstream = encoder("clap_audio_model")
    view = GroupView(upstream, "stage_1")
    assert encode(view, clips("clap_audio_model")).frames.shape[1::2] == (3, 8)
    assert [finding for finding in check_upstream.run(view) if not finding.ok] == []


def test_whisper_is_the_librarys_encoder_without_its_decoder():
    assert isinstance(model("whisper"), WhisperEncoder)

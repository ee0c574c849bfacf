"""`kit.log_mels` against the feature extractors of transformers, alone and in a batch of several lengths."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from earbench.errors import BadCheckpoint
from earbench.kit.clap import LIBRARY, padded
from earbench.kit.frontends import fitting_frames
from earbench.kit.log_mels import AstFbank, DecibelMel, SeamlessFbank, WhisperMel, demand

SECONDS = (0.1, 0.7371, 1.3)


def waves(rate=16_000):
    """A tone that swells over soft noise and half a second of silence: loud and empty bands side by side."""
    random = np.random.default_rng(5)

    def wave(seconds):
        time = np.arange(round(seconds * rate)) / rate
        tone = 0.4 * np.sin(2 * np.pi * 440 * time) * np.abs(np.sin(5 * time)) + 1e-3 * random.normal(size=len(time))
        return torch.from_numpy(np.where((time > 0.5) & (time < 0.7), 0.0, tone).astype("float32"))

    return [wave(seconds) for seconds in SECONDS]


def batch(clips):
    return pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


def farthest(ours, theirs):
    theirs = torch.as_tensor(np.asarray(theirs))
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("bands", [80, 128])
def test_whisper_mel_is_that_of_the_library(bands):
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands, chunk_length=2)
    given, lengths = batch([*waves(), torch.zeros(32_000)])
    ours = WhisperMel(bands)(given, lengths).transpose(1, 2)
    theirs = extractor([clip.numpy() for clip in waves()], sampling_rate=16_000).input_features
    assert farthest(ours[:3], theirs) < 1e-6


def test_ast_fbank_is_that_of_the_library():
    extractor = transformers.ASTFeatureExtractor(max_length=140)
    given, lengths = batch(waves())
    ours = AstFbank(128, 16_000)(given, lengths)
    theirs = extractor([clip.numpy() for clip in waves()], sampling_rate=16_000, return_tensors="np").input_values
    for clip, count in enumerate(fitting_frames(lengths, 400, 160).tolist()):
        normalised = (ours[clip, :count] - extractor.mean) / (2 * extractor.std)
        assert farthest(normalised, theirs[clip, :count]) < 5e-5  # 1e-7 where the library has torchaudio
        assert np.all(theirs[clip, count:] == np.float32(-extractor.mean / (2 * extractor.std)))


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("low", [0, 50])
def test_clap_mel_is_that_of_the_library(truncation, padding, low):
    extractor = transformers.ClapFeatureExtractor(
        frequency_min=low, max_length_s=2, truncation=truncation, padding=padding
    )
    clips = waves(48_000)
    given, lengths = batch([*clips, torch.zeros(96_000)])
    scale = "htk" if truncation == "fusion" else "slaney"
    front = DecibelMel(64, 480, 1024, 48_000, low, 14_000, scale)
    ours = front(padded(given, lengths, padding), lengths)[:3]
    theirs = extractor([clip.numpy() for clip in clips], sampling_rate=48_000, return_tensors="np").input_features
    assert farthest(ours, theirs[:, 0]) < 2e-5  # decibels


def test_our_defaults_for_clap_are_those_of_the_library():
    extractor = transformers.ClapFeatureExtractor()
    assert {key: getattr(extractor, key) for key in LIBRARY} == LIBRARY


def test_seamless_fbank_is_that_of_the_library():
    extractor = transformers.SeamlessM4TFeatureExtractor()
    given, lengths = batch(waves())
    ours = SeamlessFbank(80)(given, lengths)
    for clip, wave in enumerate(waves()):
        theirs = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="np").input_features[0]
        count = int(fitting_frames(lengths[clip], 400, 160)) // 2
        assert farthest(ours[clip, : 2 * count].reshape(count, 160), theirs[:count]) < 2e-5
        assert not ours[clip, int(fitting_frames(lengths[clip], 400, 160)) :].any()


@pytest.mark.parametrize("front", [WhisperMel(80), AstFbank(128, 16_000), SeamlessFbank(80)], ids=type)
def test_autocasting_changes_nothing(front):
    given, lengths = batch(waves())
    with torch.autocast("cpu", torch.bfloat16):
        rough = front(given, lengths)
    assert torch.equal(rough, front(given, lengths))


def test_a_preprocessor_of_another_make_is_refused_with_both_values():
    demand({"hop_length": 160}, {"hop_length": 160, "n_fft": 400}, "Whisper")
    with pytest.raises(BadCheckpoint, match="hop_length = 200: Whisper is known with 160"):
        demand({"hop_length": 200}, {"hop_length": 160}, "Whisper")

"""The encoders of Whisper (Radford et al. 2023), supervised by transcripts (protocol sheet §9.1)."""

from earbench.kit.hf import Pretrained, published


def _whisper(name: str, hub: str, width: int, blocks: int, parameters: int, bands: int = 80) -> Pretrained:
    return published(
        name,
        hub,
        "whisper",
        family="Whisper",
        licence="apache-2.0",
        parameters=parameters,
        layers=blocks + 1,
        width=width,
        facts={
            "d_model": width,
            "encoder_layers": blocks,
            "encoder_attention_heads": width // 64,
            "encoder_ffn_dim": 4 * width,
            "num_mel_bins": bands,
        },
        pretraining="supervised",
    )


WHISPER_TINY = _whisper("whisper_tiny", "openai/whisper-tiny", 384, 4, 8_208_384)
WHISPER_BASE = _whisper("whisper_base", "openai/whisper-base", 512, 6, 20_590_592)
WHISPER_SMALL = _whisper("whisper_small", "openai/whisper-small", 768, 12, 88_154_112)
WHISPER_MEDIUM = _whisper("whisper_medium", "openai/whisper-medium", 1024, 24, 307_216_384)
WHISPER_LARGE_V3 = _whisper("whisper_large_v3", "openai/whisper-large-v3", 1280, 32, 636_968_960, bands=128)

"""SEW and SEW-D (Wu et al. 2022): wav2vec 2.0 squeezed to half the frame rate, SEW-D with disentangled attention.

Sizes as in the authors' training scripts. They trained on waves as they are (`normalize: false`); the preprocessor
files on the hub say otherwise, which earns a note. Their squeezed convolutions see padding, so only clips of one length
share a batch.
"""

from earbench.kit.hf import Pretrained, published


def _sew(
    name: str, kind: str, heads: int, blocks: int, parameters: int, channels: int = 64, positions: int = 31
) -> Pretrained:
    return published(
        name,
        f"asapp/{name.replace('_', '-')}-100k",
        kind,
        family=kind.upper(),
        licence="MIT",
        parameters=parameters,
        layers=blocks + 1,
        width=64 * heads,
        normalise=False,
        facts={
            "hidden_size": 64 * heads,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "intermediate_size": 256 * heads,
            "num_conv_pos_embeddings": positions,
            "conv_dim": (channels, *(2 * channels,) * 4, *(4 * channels,) * 4, *(8 * channels,) * 4),
        },
        hop=0.04,
    )


SEW_TINY = _sew("sew_tiny", "sew", 8, 12, 40_708_383)
SEW_SMALL = _sew("sew_small", "sew", 12, 12, 89_619_743)
SEW_MID = _sew("sew_mid", "sew", 12, 24, 174_674_207)

SEW_D_TINY = _sew("sew_d_tiny", "sew-d", 6, 12, 24_114_719)
SEW_D_SMALL = _sew("sew_d_small", "sew-d", 8, 12, 40_970_527)
SEW_D_MID = _sew("sew_d_mid", "sew-d", 8, 24, 78_799_135)
SEW_D_MID_K127 = _sew("sew_d_mid_k127", "sew-d", 8, 24, 80_372_095, positions=127)
SEW_D_BASE = _sew("sew_d_base", "sew-d", 12, 24, 175_067_423)
SEW_D_BASE_PLUS = _sew("sew_d_base_plus", "sew-d", 12, 24, 176_978_335, channels=96)

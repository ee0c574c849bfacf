"""wav2vec 2.0 with conformer blocks (Wang et al. 2020 in fairseq): relative positions, or rotary ones.

Its convolutions see padding, so only clips of one length share a batch.
"""

from typing import Any

from earbench.kit.hf import LARGE, Pretrained, published


def _conformer(name: str, hub: str, parameters: int, **facts: Any) -> Pretrained:
    return published(
        name,
        hub,
        "wav2vec2-conformer",
        family="wav2vec 2.0 Conformer",
        licence="apache-2.0",
        parameters=parameters,
        layers=25,
        width=1024,
        normalise=True,
        facts={**LARGE, "conv_bias": True, "hidden_act": "swish", **facts},
    )


WAV2VEC2_CONFORMER = _conformer("wav2vec2_conformer", "facebook/wav2vec2-conformer-rel-pos-large", 618_558_080)
WAV2VEC2_CONFORMER_ROPE = _conformer(
    "wav2vec2_conformer_rope",
    "facebook/wav2vec2-conformer-rope-large",
    593_343_104,
    position_embeddings_type="rotary",
)

"""WavLM (Chen et al. 2022): HuBERT's targets under mixing and noise, gated relative positions (protocol sheet §9.1).

The licence is tagged "unclear": the repository says MIT, the page of the weights links CC BY-SA 3.0.
"""

from earbench.kit.hf import LARGE, Pretrained, published


def _base(name: str, hub: str) -> Pretrained:
    return published(
        name,
        hub,
        "wavlm",
        family="WavLM",
        licence="unclear",
        parameters=94_381_168,
        layers=13,
        width=768,
        normalise=False,
    )


WAVLM = _base("wavlm", "microsoft/wavlm-base")
WAVLM_BASE_PLUS = _base("wavlm_base_plus", "microsoft/wavlm-base-plus")

WAVLM_LARGE = published(
    "wavlm_large",
    "microsoft/wavlm-large",
    "wavlm",
    family="WavLM",
    licence="unclear",
    parameters=315_452_096,
    layers=25,
    width=1024,
    normalise=True,
    facts=LARGE,  # unlike the other Large models, its convolutions have no bias
)

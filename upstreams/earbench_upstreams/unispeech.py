"""UniSpeech (Wang et al. 2021) and UniSpeech-SAT (Chen et al. 2022), whose Base was trained on waves as they are.

UniSpeech's contrastive task shares the encoder with phoneme recognition of 1,500 hours, so it counts as supervised.
"""

from earbench.kit.hf import LARGE, Pretrained, published

LICENCE = "cc-by-sa-3.0"
"""That of the authors' repository, which the pages of the weights name."""

UNISPEECH_LARGE = published(
    "unispeech_large",
    "microsoft/unispeech-large-1500h-cv",
    "unispeech",
    family="UniSpeech",
    licence=LICENCE,
    parameters=315_437_696,
    layers=25,
    width=1024,
    normalise=True,
    facts={**LARGE, "conv_bias": True},
    pretraining="supervised",
)


def _base(name: str, hub: str) -> Pretrained:
    return published(
        name,
        hub,
        "unispeech-sat",
        family="UniSpeech-SAT",
        licence=LICENCE,
        parameters=94_370_944,
        layers=13,
        width=768,
        normalise=False,
    )


UNISPEECH_SAT_BASE = _base("unispeech_sat_base", "microsoft/unispeech-sat-base")
UNISPEECH_SAT_BASE_PLUS = _base("unispeech_sat_base_plus", "microsoft/unispeech-sat-base-plus")
UNISPEECH_SAT_LARGE = published(
    "unispeech_sat_large",
    "microsoft/unispeech-sat-large",
    "unispeech-sat",
    family="UniSpeech-SAT",
    licence=LICENCE,
    parameters=315_434_112,
    layers=25,
    width=1024,
    normalise=True,
    facts=LARGE,
)

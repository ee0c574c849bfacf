"""wav2vec 2.0 (Baevski et al. 2020) and its multilingual successors XLSR-53 and XLS-R (protocol sheet §7.3)."""

from earbench.kit.hf import LARGE, Pretrained, published


def _large(name: str, hub: str, family: str) -> Pretrained:
    return published(
        name,
        hub,
        "wav2vec2",
        family=family,
        licence="apache-2.0",
        parameters=315_437_696,
        layers=25,
        width=1024,
        normalise=True,
        facts={**LARGE, "conv_bias": True},
    )


WAV2VEC2 = published(
    "wav2vec2",
    "facebook/wav2vec2-base",
    "wav2vec2",
    family="wav2vec 2.0",
    licence="apache-2.0",
    parameters=94_370_944,
    layers=13,
    width=768,
    normalise=False,
)

# The Large model of SUPERB's table: Libri-Light 60k, with layer norm on every convolution and normalised input.
WAV2VEC2_LARGE = _large("wav2vec2_large", "facebook/wav2vec2-large-lv60", "wav2vec 2.0")
XLSR_53 = _large("xlsr_53", "facebook/wav2vec2-large-xlsr-53", "XLSR")
XLS_R_300M = _large("xls_r_300m", "facebook/wav2vec2-xls-r-300m", "XLS-R")

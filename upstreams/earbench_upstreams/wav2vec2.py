"""wav2vec 2.0 (Baevski et al. 2020) and its multilingual successors XLSR-53, XLS-R and MMS (protocol sheet §7.3)."""

from earbench.kit.hf import LARGE, XLARGE, Pretrained, published


def _large(
    name: str, hub: str, family: str, licence: str = "apache-2.0", corpora: tuple[str, ...] | None = None
) -> Pretrained:
    return published(
        name,
        hub,
        "wav2vec2",
        family=family,
        licence=licence,
        parameters=315_437_696,
        layers=25,
        width=1024,
        normalise=True,
        facts={**LARGE, "conv_bias": True},
        corpora=corpora,
    )


def _extra_large(name: str, hub: str, family: str, licence: str) -> Pretrained:
    return published(
        name,
        hub,
        "wav2vec2",
        family=family,
        licence=licence,
        parameters=962_496_128,
        layers=49,
        width=1280,
        normalise=True,
        facts={**XLARGE, "conv_bias": True},
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
    corpora=("librispeech",),
)

# The Large model of SUPERB's table: Libri-Light 60k, with layer norm on every convolution and normalised input.
WAV2VEC2_LARGE = _large("wav2vec2_large", "facebook/wav2vec2-large-lv60", "wav2vec 2.0", corpora=("librilight",))
XLSR_53 = _large("xlsr_53", "facebook/wav2vec2-large-xlsr-53", "XLSR")
XLS_R_300M = _large("xls_r_300m", "facebook/wav2vec2-xls-r-300m", "XLS-R")
XLS_R_1B = _extra_large("xls_r_1b", "facebook/wav2vec2-xls-r-1b", "XLS-R", "apache-2.0")
XLS_R_2B = published(
    "xls_r_2b",
    "facebook/wav2vec2-xls-r-2b",
    "wav2vec2",
    family="XLS-R",
    licence="apache-2.0",
    parameters=2_159_257_728,
    layers=49,
    width=1920,
    normalise=True,
    facts={**XLARGE, "conv_bias": True, "hidden_size": 1920, "intermediate_size": 7680},
)

MMS_300M = _large("mms_300m", "facebook/mms-300m", "MMS", "cc-by-nc-4.0")
MMS_1B = _extra_large("mms_1b", "facebook/mms-1b", "MMS", "cc-by-nc-4.0")

"""HuBERT (Hsu et al. 2021): masked prediction of clustered features (protocol sheet §7.5)."""

from earbench.kit.hf import LARGE, XLARGE, published

HUBERT = published(
    "hubert",
    "facebook/hubert-base-ls960",
    "hubert",
    family="HuBERT",
    licence="apache-2.0",
    parameters=94_370_944,
    layers=13,
    width=768,
    normalise=False,
    corpora=("librispeech",),
)

HUBERT_LARGE = published(
    "hubert_large",
    "facebook/hubert-large-ll60k",
    "hubert",
    family="HuBERT",
    licence="apache-2.0",
    parameters=315_437_696,
    layers=25,
    width=1024,
    normalise=True,
    facts={**LARGE, "conv_bias": True},
    corpora=("librilight",),
)

# As its training settings say, without the biases of convolutions that the hub's copy of Large carries.
HUBERT_XLARGE = published(
    "hubert_xlarge",
    "facebook/hubert-xlarge-ll60k",
    "hubert",
    family="HuBERT",
    licence="apache-2.0",
    parameters=962_492_544,
    layers=49,
    width=1280,
    normalise=True,
    facts=XLARGE,
    corpora=("librilight",),
)

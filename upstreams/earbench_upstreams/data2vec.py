"""data2vec audio (Baevski et al. 2022): predicts the mean of a teacher's top blocks (protocol sheet §9.1)."""

from earbench.kit.hf import LARGE, published

DATA2VEC = published(
    "data2vec",
    "facebook/data2vec-audio-base",
    "data2vec-audio",
    family="data2vec",
    licence="apache-2.0",
    parameters=93_163_520,
    layers=13,
    width=768,
    normalise=True,
    corpora=("librispeech",),
)

DATA2VEC_LARGE = published(
    "data2vec_large",
    "facebook/data2vec-audio-large",
    "data2vec-audio",
    family="data2vec",
    licence="apache-2.0",
    parameters=313_275_392,
    layers=25,
    width=1024,
    normalise=True,
    facts=LARGE,
)

"""AST (Gong et al. 2021), the Audio Spectrogram Transformer, supervised on AudioSet (protocol sheet §9.2)."""

from earbench.kit.ast_encoder import AUDIOSET
from earbench.kit.hf import published

AST = published(
    "ast",
    "MIT/ast-finetuned-audioset-10-10-0.4593",
    "audio-spectrogram-transformer",
    family="AST",
    licence="BSD-3-Clause",
    parameters=86_187_264,
    layers=13,
    width=768,
    heard=AUDIOSET,
    pretraining="supervised",
    hop=0.1,
)

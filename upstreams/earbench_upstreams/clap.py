"""CLAP's audio encoder HTSAT (Wu et al. 2023), supervised by captions (protocol sheet §9.2).

`--layers stage_1`, `stage_2` and `stage_3` take its earlier stages: 96, 192 and 384 wide at 25.6, 12.8 and 6.4 frames
per second.
"""

from earbench.contract import UpstreamCard
from earbench.kit.hf import Pretrained

CLAP = Pretrained(
    UpstreamCard(
        "clap",
        family="CLAP",
        licence="apache-2.0",
        weights="hub: laion/clap-htsat-unfused",
        pretraining="supervised",
        parameters=27_534_488,
        sample_rate=48_000,
        hop=0.3125,
        layers=3,
        widths=(768, 96, 192, 384),
        parity="run",
        groups=("stage_1", "stage_2", "stage_3"),
    ),
    "laion/clap-htsat-unfused",
    "clap_audio_model",
    heard={"frequency_min": 50, "frequency_max": 14_000, "truncation": "rand_trunc", "padding": "repeatpad"},
)

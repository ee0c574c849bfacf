"""DistilHuBERT (Chang et al. 2022): the first two blocks of HuBERT, distilled (protocol sheet §9.1).

Unverified: that the hub's `ntu-spml/distilhubert` is a `HubertModel` of two blocks without the layer norm before its
projection. The parameter count of this description equals that of the original without its heads.

`distilhubert@FILE.ckpt` takes s3prl's own file (hub: `leo19941227/distilhubert`, `distilhubert_ls960_4-8-12.ckpt`). Its
heads, which predict blocks 4, 8 and 12 of the teacher, are dropped. State 0 is the input of block 1; s3prl has what the
positional convolution gets there, and what its heads predict as three states more.
"""

from earbench.kit.hf import published

DISTILHUBERT = published(
    "distilhubert",
    "ntu-spml/distilhubert",
    "hubert",
    family="DistilHuBERT",
    licence="apache-2.0",
    parameters=23_491_200,
    layers=3,
    width=768,
    normalise=False,
    facts={"num_hidden_layers": 2, "feat_proj_layer_norm": False},
    corpora=("librispeech",),
)

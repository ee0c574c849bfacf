"""w2v-BERT 2.0 (Seamless Communication 2023): 4.5 million hours, more than 143 languages (protocol sheet §9.1)."""

from earbench.kit.hf import published

W2V_BERT_2 = published(
    "w2v_bert_2",
    "facebook/w2v-bert-2.0",
    "wav2vec2-bert",
    family="w2v-BERT",
    licence="MIT",
    parameters=580_492_096,
    layers=25,
    width=1024,
)

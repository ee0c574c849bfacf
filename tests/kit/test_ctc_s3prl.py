"""The recognisers' heads against s3prl's own modules: same weights, same logits, same loss, same gradients."""

import pytest
import torch
from torch import nn

from earbench.kit.heads.ctc import FramewiseCTC, RecurrentCTC
from earbench.kit.phones import PHONES
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import LETTERS, collapsed

WIDTH, HIDDEN = 6, 8
LENGTHS = torch.tensor([30, 4, 22])
TARGETS = torch.tensor([[5, 6, 6, 4, 1], [9, 4, 1, 0, 0], [7, 4, 1, 0, 0]])
SIZES = torch.tensor([5, 3, 3])
RECURRENT = {"module": "LSTM", "bidirection": True, "dim": [HIDDEN] * 2, "dropout": [0.2] * 2}
PLAIN = {"layer_norm": [False] * 2, "proj": [False] * 2, "sample_rate": [1] * 2, "sample_style": "concat"}


class Theirs(nn.Module):
    """A projector and a model, and the loss, as s3prl's experts put them together."""

    def __init__(self, model, projected):
        super().__init__()
        self.projector, self.model = nn.Linear(WIDTH, projected), model
        self.objective = nn.CTCLoss(blank=0, zero_infinity=True)

    def forward(self, x):
        logits, lengths = self.model(self.projector(x), LENGTHS)
        assert torch.equal(torch.as_tensor(lengths), LENGTHS)
        return logits

    def loss(self, logits):
        return self.objective(logits.log_softmax(-1).transpose(0, 1), TARGETS, LENGTHS, SIZES)


@pytest.fixture
def framewise():
    """Our phone head and s3prl's `FrameLevel`, with the names of the weights of one in the other."""
    try:
        from s3prl.downstream.model import FrameLevel
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    torch.manual_seed(0)
    head = FramewiseCTC(WIDTH, HIDDEN, PHONES)
    return head, Theirs(FrameLevel(HIDDEN, len(PHONES)), HIDDEN), {"project": "projector", "spell": "model.linear"}


@pytest.fixture
def recurrent():
    """Our letter head and s3prl's `RNNs` of the published configuration, only narrower."""
    try:
        from s3prl.downstream.asr.model import RNNs
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    torch.manual_seed(0)
    head = RecurrentCTC(WIDTH, HIDDEN, LETTERS, SpecAugment())
    names = {"project": "projector", "spell": "model.linear"}
    names |= {f"recurrent.{number}": f"model.rnns.{number}.layer" for number in (0, 1)}
    return head, Theirs(RNNs(HIDDEN, len(LETTERS), 160, **RECURRENT, **PLAIN, total_rate=-1), HIDDEN), names


def translated(name, names):
    """Our name of a weight as s3prl says it: the LSTM that runs back has its names with `_reverse`."""
    ours = next(ours for ours in names if name.startswith(f"{ours}."))
    rest = name.removeprefix(ours)
    rest = f"{rest.replace('.back', '')}_reverse" if ".back." in rest else rest.replace(".ahead", "")
    return names[ours] + rest


@pytest.mark.parametrize("pair", ["framewise", "recurrent"])
def test_logits_loss_and_gradients_are_s3prls_with_equal_weights(pair, request):
    head, theirs, names = request.getfixturevalue(pair)
    theirs.load_state_dict({translated(name, names): weight for name, weight in head.state_dict().items()})
    head, theirs = head.double().eval(), theirs.double().eval()
    x = torch.randn(3, 30, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, expected = head(x, LENGTHS), theirs(x)
    for clip, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(found[clip, :length], expected[clip, :length])
    losses = head.loss(found, LENGTHS, TARGETS, SIZES), theirs.loss(expected)
    torch.testing.assert_close(*losses)
    weights = dict(theirs.named_parameters())
    reference = dict(zip(weights, torch.autograd.grad(losses[1], list(weights.values())), strict=True))
    for name, gradient in zip(
        dict(head.named_parameters()), torch.autograd.grad(losses[0], list(head.parameters())), strict=True
    ):
        torch.testing.assert_close(gradient, reference.pop(translated(name, names)))
    assert not reference


def test_symbols_and_readings_of_random_paths_are_those_of_s3prls_text_encoder():
    """Expected: `WordTextEncoder` on the paths as s3prl's expert filters them."""
    try:
        from s3prl.downstream.ctc.text import WordTextEncoder
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    encoder = WordTextEncoder(list(PHONES[3:]))
    assert encoder.vocab_size == len(PHONES) == 74
    for seed in range(50):
        path = torch.randint(0, 12, (20,), generator=torch.Generator().manual_seed(seed))
        kept = [one for one in path.unique_consecutive().tolist() if one not in (encoder.pad_idx, encoder.eos_idx)]
        text = PHONES.decode(collapsed(path.tolist()))
        assert text == encoder.decode(kept)
        if text and "<unk>" not in text:
            assert PHONES.encode(text) == encoder.encode(text)


def test_targets_and_readings_of_random_paths_are_those_of_s3prls_letter_dictionary(tmp_path):
    """Expected: fairseq's dictionary as s3prl carries it, its published letters in their order, and `token_to_word`."""
    try:
        from s3prl.downstream.asr.dictionary import Dictionary
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    letters = "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
    (tmp_path / "char.dict").write_text("".join(f"{letter} 1\n" for letter in letters))
    theirs = Dictionary.load(str(tmp_path / "char.dict"))
    assert theirs.symbols == list(LETTERS)
    text = "IT'S A TEST"
    spelled = " ".join(text.replace(" ", "|")) + " |"
    assert theirs.encode_line(spelled, line_tokenizer=str.split).tolist() == LETTERS.encode(text)
    for seed in range(50):
        path = torch.randint(0, 9, (20,), generator=torch.Generator().manual_seed(seed))
        kept = path.unique_consecutive()
        tokens = theirs.string(kept[kept != theirs.bos()].tolist())
        words = tokens.replace(" ", "").replace("|", " ").split()
        assert LETTERS.decode(collapsed(path.tolist())).split() == words

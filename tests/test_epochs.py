"""Recipes that count epochs, and HEAR's predictor trained by the engine against a plain loop."""

from dataclasses import replace

import pytest
import torch
from fitting import COLOURS, Colours, MadeUp, bench, fold, opener, rates
from torch.nn import functional

from earbench.contract import Recipe
from earbench.fit import _probe, grid
from earbench.kit.heads.shallow import Shallow
from earbench.kit.sampling import in_order
from earbench.search import search

EPOCHS = Recipe(lr=1e-2, batch=20, steps=4, every=2, unit="epoch")
STEPS_OF_AN_EPOCH = 3


class InOrder(Colours):
    """The colours by HEAR's predictor, without dropout, in the split's own order."""

    def __init__(self, **choices):
        super().__init__(lambda width, labels: Shallow(width, labels, True, 2, 16, 0.0, "normal"), **choices)

    def batches(self, split, recipe, rng):
        return in_order(split, recipe.batch)

    def rows(self, split, predictions):
        return super().rows(split, {name: COLOURS[one.argmax()] for name, one in predictions.items()})


def test_epochs_are_each_folds_own_steps(tmp_path, quiet):
    """48 clips are three batches of 20, 30 are two."""
    one, two = fold(0), fold(1)
    small = replace(two, train=replace(two.train, clips=two.train.clips[:30], seconds=two.train.seconds[:30]))
    given = opener(tmp_path, Colours(), [EPOCHS], MadeUp(), [one, small])
    outcome = search(*given[:4], quiet)
    assert [[step for step, _ in fits[0].curve] for fits in outcome.heads[None]] == [[6, 12], [4, 8]]
    assert [row["steps"] for row in outcome.table] == [12, 8]


def test_patience_counts_judgements_whatever_a_recipe_counts_in(tmp_path, quiet):
    given = opener(
        tmp_path, Colours(), rates(0.0, batch=20, steps=50, every=1, unit="epoch", patience=3), MadeUp(), [fold()]
    )
    (fitted,) = search(*given[:4], quiet).heads[None][0]
    assert [step for step, _ in fitted.curve] == [STEPS_OF_AN_EPOCH * epoch for epoch in (1, 2, 3, 4)]


def test_the_engine_trains_hears_predictor_as_a_plain_loop_does(tmp_path, quiet):
    """Expected: torch's own Adam over the batches in order, batch norm in training mode, the same first weights.

    Left out are biases before batch norm, and the running means that follow them: their gradients are zero but for
    rounding, which Adam blows up.
    """
    ready = bench(tmp_path, [EPOCHS], InOrder(), MadeUp(layers=1))
    head = _probe(ready, EPOCHS, 0).head.train()
    (fitted,) = grid(ready, [0], 0, None, quiet)
    optimiser = torch.optim.Adam(head.parameters(), lr=EPOCHS.lr)
    for _ in range(fitted.step // STEPS_OF_AN_EPOCH):
        for x, targets in zip(ready.train.rows.matrix(0).split(20), ready.train.targets.split(20), strict=True):
            optimiser.zero_grad()
            functional.cross_entropy(head(x, None), targets).backward()
            optimiser.step()
    for name, value in head.state_dict().items():
        if name not in ("hidden.0.bias", "hidden.1.bias", "norms.0.running_mean", "norms.1.running_mean"):
            assert fitted.state[f"head.{name}"].numpy() == pytest.approx(value.numpy(), abs=1e-4), name

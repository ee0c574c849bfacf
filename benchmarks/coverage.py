"""How often intervals hold the truth, and how often equal encoders seem to differ: `python benchmarks/coverage.py`.

Ten thousand simulated test sets for every number of speakers, who differ in how well they are understood (beta
distributions), eight clips of each. "plain" are the bootstrap's 2.5 and 97.5 percentiles, "interval" is what the
program reports, "alarms" the share of paired tests at 5 % that prefer one of two encoders of equal accuracy, which find
the same speakers hard and each some of its own.

The second table is of average precision and of the area under the ROC curve, both far from a mean over clips: a
thousand test sets, each a normal score per clip that is higher where the label is there.
"""

import numpy as np
from tabulate import tabulate

from earbench.intervals import REPLICATES, Sampled, interval
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.metrics.multilabel import AUROC
from earbench.kit.seeds import generator
from earbench.paired import Samples, contrasts, part

ROUNDS, SETS, EACH = 10, 1000, 8


def main() -> None:
    rows = [row(groups, *spread) for groups in (10, 15, 20, 30, 40, 100) for spread in ((3, 3), (6, 2), (18, 2))]
    print(tabulate(rows, headers="keys", floatfmt=".3f", tablefmt="github"))
    ranked = [ranking(clips, *kind) for kind in ((0.3, 1.0), (0.3, 2.5), (0.1, 1.5)) for clips in (40, 100, 300)]
    print(tabulate(ranked, headers="keys", floatfmt=".3f", tablefmt="github"))


def row(groups: int, a: int, b: int) -> dict[str, object]:
    facts = np.mean([one_round(groups, a, b, number) for number in range(ROUNDS)], axis=0)
    return {"speakers": groups, "accuracy": a / (a + b)} | dict(
        zip(("plain", "interval", "alarms"), facts, strict=True)
    )


def one_round(groups: int, a: int, b: int, number: int) -> list[float]:
    random, truth = generator("coverage", groups, a, b, number), 100 * a / (a + b)
    draws = random.multinomial(groups, np.full(groups, 1 / groups), REPLICATES) / groups
    common = random.beta(a, b, (SETS, groups))
    chances = ((common + random.beta(a, b, (SETS, groups))) / 2 for _ in range(2))
    shares = [100 * random.binomial(EACH, chance) / EACH for chance in chances]
    replicates = np.stack([one @ draws.T for one in shares])
    low, high = np.quantile(replicates[0], [0.025, 0.975], axis=1)
    errors = shares[0].std(axis=1, ddof=1) / np.sqrt(groups)
    made = zip(shares[0].mean(axis=1), replicates[0], errors, strict=True)
    found = [interval(ACCURACY, [[Sampled(*one, groups)]]) for one in made]
    return [
        np.mean((low <= truth) & (truth <= high)),
        np.mean([facts["low"] is not None and facts["low"] <= truth <= facts["high"] for facts in found]),
        np.mean([alarm([one[test] for one in shares], replicates[:, test], groups) for test in range(SETS)]),
    ]


def alarm(shares: list[np.ndarray], replicates: np.ndarray, groups: int) -> bool:
    per_seed = tuple(np.array([[one.mean()]]) for one in shares)
    return bool(contrasts([part(Samples(replicates, per_seed, groups))]).p[0, 1] <= 0.05)


def ranking(clips: int, share: float, distance: float) -> dict[str, object]:
    """Plain percentiles and the program's intervals; test sets with fewer than two clips of a kind are left out."""
    random = generator("ranking", clips, share, distance)
    truths = [one[0] for one in ranked(*labelled(random, 400_000, share, distance), np.ones((1, 400_000)))]
    held = []
    for _ in range(SETS):
        labels, scores = labelled(random, clips, share, distance)
        if 2 <= labels.sum() <= clips - 2:
            draws = random.multinomial(clips, np.full(clips, 1 / clips), REPLICATES).astype(float)
            values, replicates = (ranked(labels, scores, weights) for weights in (np.ones((1, clips)), draws))
            held.append([limits_hold(*one, clips) for one in zip(values, replicates, truths, strict=True)])
    precision, area = np.mean(held, axis=0)
    facts = {"clips": clips, "share": share, "mAP": truths[0], "plain": precision[0], "interval": precision[1]}
    return facts | {"auroc": truths[1], "plain ": area[0], "interval ": area[1]}


def labelled(random: np.random.Generator, clips: int, share: float, distance: float) -> tuple[np.ndarray, np.ndarray]:
    labels = random.random(clips) < share
    return labels, random.normal(size=clips) + distance * labels


def ranked(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and area of every row of weights; NaN where a resample has clips of one kind only."""
    order = np.argsort(-scores)
    there, weights = labels[order], weights[:, order]
    hits, all_ = np.cumsum(weights * there, axis=1), np.cumsum(weights, axis=1)
    misses = all_ - hits
    with np.errstate(invalid="ignore"):
        precision = (weights * there * hits / np.maximum(all_, 1)).sum(axis=1) / hits[:, -1]
        area = 1 - (weights * there * misses).sum(axis=1) / (hits[:, -1] * misses[:, -1])
    return precision, area


def limits_hold(value: np.ndarray, replicates: np.ndarray, truth: float, clips: int) -> tuple[bool, bool]:
    known = replicates[np.isfinite(replicates)]
    low, high = np.quantile(known, [0.025, 0.975])
    facts = interval(AUROC, [[Sampled(float(value[0]), replicates, float("nan"), clips)]])
    return low <= truth <= high, facts["low"] is not None and facts["low"] <= truth <= facts["high"]


if __name__ == "__main__":
    main()

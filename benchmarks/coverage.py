"""How often intervals hold the truth, and how often equal encoders seem to differ: `python benchmarks/coverage.py`.

Ten thousand simulated test sets for every number of speakers, who differ in how well they are understood (beta
distributions), eight clips of each. "plain" are the bootstrap's 2.5 and 97.5 percentiles, "interval" is what the
program reports, "alarms" the share of paired tests at 5 % that prefer one of two encoders of equal accuracy, which find
the same speakers hard and each some of its own.
"""

import numpy as np
from tabulate import tabulate

from earbench.intervals import REPLICATES, Sampled, interval
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.paired import Samples, contrasts, part

ROUNDS, SETS, EACH = 10, 1000, 8


def main() -> None:
    rows = [row(groups, *spread) for groups in (10, 15, 20, 30, 40, 100) for spread in ((3, 3), (6, 2), (18, 2))]
    print(tabulate(rows, headers="keys", floatfmt=".3f", tablefmt="github"))


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
        np.mean([facts["low"] <= truth <= facts["high"] for facts in found]),
        np.mean([alarm([one[test] for one in shares], replicates[:, test], groups) for test in range(SETS)]),
    ]


def alarm(shares: list[np.ndarray], replicates: np.ndarray, groups: int) -> bool:
    per_seed = tuple(np.array([[one.mean()]]) for one in shares)
    return bool(contrasts([part(Samples(replicates, per_seed, groups))]).p[0, 1] <= 0.05)


if __name__ == "__main__":
    main()

"""Records of made-up test sets, with replicates made as a run makes them."""

from collections.abc import Sequence

import numpy as np
from fitting import record_facts

from earbench import intervals
from earbench import record as records
from earbench.contract import Rows
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator


def hits(shares, each=4):
    """`each` hits or misses for every group, right with its share, in the order of the groups."""
    random = generator("hits", *np.asarray(shares).tolist())
    return (random.random((len(shares), each)) < np.asarray(shares)[:, None]).astype(float)


def rows(found, prefix="p"):
    """Rows of hits [group, clip]."""
    names = np.repeat([f"{prefix}{number:04}" for number in range(len(found))], found.shape[1])
    return Rows(tuple(map(str, range(found.size))), tuple((name,) for name in names), {"hit": found.flatten()})


def store(results, upstream, task="ks", tested="0" * 16, folds: Sequence = (), seeds: Sequence = (), **changes):
    """Write a record whose `accuracy` is that of hits [group, clip]: of each of `folds`, or of each of `seeds`."""
    by_seed = [[one] for one in seeds] or [list(folds)]
    version = changes.get("version", 1)
    samples = [
        [
            intervals.sample(ACCURACY, rows(found, f"{number}-"), task, version, tested, number)
            for number, found in enumerate(one)
        ]
        for one in by_seed
    ]
    facts = record_facts(upstream, task, tested=tested, **changes)
    facts["seeds"] = len(by_seed)
    facts["scores"] = {"accuracy": intervals.interval(ACCURACY, samples)}
    facts["scores"]["accuracy"]["per_seed"] = [[fold.value for fold in one] for one in samples]
    return records.write(results, facts, [], {"accuracy": intervals.replicates(samples)})

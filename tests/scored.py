"""Records of made-up test sets, with rows and replicates made as a run makes them."""

import numpy as np
from fitting import record_facts

from earbench import intervals
from earbench import record as records
from earbench.contract import Rows
from earbench.files import digest_of
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator


def hits(shares, each=4):
    """`each` hits or misses for every group, right with its share, in the order of the groups."""
    random = generator("hits", *np.asarray(shares).tolist())
    return (random.random((len(shares), each)) < np.asarray(shares)[:, None]).astype(float)


def rows(found, prefix=""):
    """Rows of hits [group, clip]."""
    names = np.repeat([f"{prefix}{number:04}" for number in range(len(found))], found.shape[1])
    ids = tuple(f"{prefix}clip{number}" for number in range(found.size))
    return Rows(ids, tuple((str(name),) for name in names), {"hit": found.flatten()})


def store(results, upstream, task="ks", tested=None, folds=(), seeds=(), census=None, **changes):
    """Write a record whose `accuracy` is that of hits [group, clip]: of each of `folds`, or of one fold with each of
    `seeds`. `tested` replaces the digest of its test list.
    """
    by_seed = [[rows(one, "0-")] for one in seeds] or [[rows(one, f"{fold}-") for fold, one in enumerate(folds)]]
    lists = {f"fold{fold}": sorted(zip(one.ids, one.groups, strict=True)) for fold, one in enumerate(by_seed[0])}
    facts = record_facts(upstream, task, tested=tested or digest_of(lists), **changes)
    names = (task, facts["task"]["version"])
    samples = [[intervals.sample(ACCURACY, one, *names, digest_of(list(one.ids))) for one in some] for some in by_seed]
    facts["task"] |= {"census": census} if census else {}
    facts["seeds"] = len(by_seed)
    facts["scores"] = {"accuracy": intervals.interval(ACCURACY, samples)}
    facts["scores"]["accuracy"]["per_seed"] = [[fold.value for fold in one] for one in samples]
    said = (
        line
        for seed, folds_ in enumerate(by_seed)
        for fold, one in enumerate(folds_)
        for line in records.plain_rows(f"fold{fold}", seed, one.ids, one.groups, one.arrays)
    )
    return records.write(results, facts, said, {"accuracy": intervals.replicates(samples)})

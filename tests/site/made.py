"""A small site out of made-up records: four encoders, one of them untrained and one hostile, on two tasks."""

import json

import numpy as np
from fitting import score
from scored import hits, store

from earbench import boards, config
from earbench import record as records
from earbench.config import BoardPlan
from earbench.site import pages
from earbench.site.build import write

EVIL = '<script>window.hacked = 1</script><img src=x onerror="window.hacked=2">'
"""Ends up in a name, a licence, a family, a note and a unit: wherever a stranger can write."""
GROUPS = 30
PLANS = (
    BoardPlan("words", "Words", ("ks", "sid"), columns=("ks accuracy", "sid accuracy"), published="superb"),
    BoardPlan("demo", "Demo", ("ks",), "demo"),
)
FACTS = {
    "learned": {"family": "HuBERT", "licence": "MIT", "parameters": 94_000_000},
    "learned~random": {"family": "HuBERT", "licence": "MIT", "parameters": 94_000_000},
    "floor": {"family": "hand-made", "licence": "Apache-2.0", "parameters": 0},
    EVIL: {"family": EVIL, "licence": EVIL, "parameters": 2_000_000},
}
SHARES = {"learned": 0.9, "learned~random": 0.3, "floor": 0.5, EVIL: 0.44}
CORPUS = {"id": "words", "title": "Spoken words", "page": "javascript:window.hacked=3", "licence": EVIL}
CARD = {"name": "ks", "title": "Keyword spotting", "suite": "superb", "protocol": "SUPERB KS", "grain": "mean"}
CARD |= {"version": 1, "verified": "scores", "corpus": CORPUS}
CARD |= {"metrics": [{"name": "accuracy", "unit": "%", "better": "higher"}]}
WEIGHTS = [0.125, 0.25, 0.625]
EACH = (40.0, 70.0, 55.0)


def site(folder, monkeypatch, plans=PLANS):
    """The folder of the site; a second call makes it anew."""
    cards = {"task": [CARD], "upstream": [{"name": "learned", "parity": "run", "weights": EVIL}]}
    monkeypatch.setattr(pages.registry, "cards", lambda kind, _: cards[kind])
    if not (folder / "results").exists():
        write_records(folder / "results")
    settings = config.load().with_(results=folder / "results", cache=folder / "cache")
    found = list(records.briefly(settings.results))
    return write([boards.board(plan, found) for plan in plans], found, settings, folder / "site").parent


def write_records(results):
    for name, share in SHARES.items():
        for task in ("ks",) if name == "floor" else ("ks", "sid"):
            changed(store(results, name, task, folds=[hits([share] * GROUPS)]), FACTS[name])
    changed(store(results, "learned", "ks", folds=[hits([0.9] * GROUPS)], demo=True, id="d" * 16), FACTS["learned"])
    by_layer = store(results, "learned", "ks", folds=[hits([0.9] * GROUPS)], id="e" * 16)
    each = [{"layer": layer, "scores": {"accuracy": score(value)}} for layer, value in enumerate(EACH)]
    changed(
        by_layer,
        FACTS["learned"],
        deviations=["layers-each: a head per layer"],
        layers={"choice": "each", "each": each},
    )


def changed(record, upstream, **changes):
    """Write the record again with other facts, and weights of the mix that is in every one of them."""
    facts = json.loads(record.path.read_text())
    facts["upstream"] |= upstream
    facts["layers"] = {"choice": "mix", "each": [], "weights": [[WEIGHTS]]}
    facts["notes"] = [EVIL]
    facts["cost"]["real_time_factor"] = float(np.log10(upstream["parameters"] + 10)) / 100
    record.path.write_text(json.dumps(facts | changes))

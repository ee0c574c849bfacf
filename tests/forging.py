"""Bundles that somebody changed, and made every digest fit again that can be made without the corpus."""

import gzip
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass

import numpy as np

from earbench import intervals
from earbench.contract import Rows
from earbench.files import digest_of
from earbench.kit.metrics.accuracy import ACCURACY

MANIFEST = "manifest.json"


@dataclass
class Opened:
    """The only record of a bundle, taken apart: change any part of it."""

    manifest: dict
    facts: dict
    rows: list
    replicates: dict
    rest: dict
    names: dict

    def main(self):
        """The rows of the chosen head."""
        return [row for row in self.rows if "score_of" not in row]

    def fit(self, score="accuracy"):
        """Score, interval, replicates and test list as these rows give them, drawn as a run does."""
        rows = self.main()
        names = tuple(row["id"] for row in rows)
        groups = tuple(tuple(row["groups"]) for row in rows)
        one = Rows(names, groups, {"hit": np.array([row["hit"] for row in rows])})
        task = self.facts["task"]
        drawn = (task["name"], task["version"], digest_of(list(names)))
        samples = [[intervals.sample(ACCURACY, one, *drawn)]]
        kept = {key: self.facts["scores"][score][key] for key in self.facts["scores"][score]}
        made = intervals.interval(ACCURACY, samples)
        self.facts["scores"][score] = kept | made | {"per_seed": [[samples[0][0].value]]}
        self.replicates[score] = intervals.replicates(samples)
        self.facts["task"]["tested"] = digest_of({"main": sorted(zip(names, groups, strict=True))})

    def rename(self):
        """Files named by the plan that the record has now."""
        plan = self.facts["plan"]["id"]
        self.names = {ending: f"{name.rpartition('/')[0]}/{plan}-1.{ending}" for ending, name in self.names.items()}


def opened(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop(MANIFEST))
    parts = {}
    for name in [name for name in members if name.startswith("records/")]:
        parts[name.rpartition("/")[2].partition(".")[2]] = (name, members.pop(name))
    rows = [json.loads(line) for line in gzip.decompress(parts["rows.jsonl.gz"][1]).splitlines()]
    replicates = dict(np.load(io.BytesIO(parts["replicates.npz"][1])))
    names = {ending: name for ending, (name, _) in parts.items()}
    return Opened(manifest, json.loads(parts["json"][1]), rows, replicates, members, names)


def forge(path, out, change):
    """`path` with its parts changed by `change`, written to `out` with a manifest that fits."""
    one = opened(path)
    change(one)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **one.replicates)
    members = dict(one.rest) | {
        one.names["json"]: json.dumps(one.facts).encode(),
        one.names["rows.jsonl.gz"]: gzip.compress("".join(json.dumps(row) + "\n" for row in one.rows).encode()),
        one.names["replicates.npz"]: buffer.getvalue(),
    }
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in members.items()}
    return zipped(out, {MANIFEST: json.dumps(one.manifest | {"files": listed}).encode()} | members)


def zipped(out, members):
    """A zip of these members, which may be called anything."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out

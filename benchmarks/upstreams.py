"""The encoders in one Markdown table: what they are, what they were compared with, how fast they are on this machine.

usage: python benchmarks/upstreams.py [NAME …]     (all plain names if none is given)

Weights are random: speed and counts do not depend on them. A throughput is the fastest of several passes over one clip
of ten seconds. The last line counts distinct encoders: names that share family and size are one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from earbench import registry
from earbench.checks.full import names, throughput, twin
from earbench.plan import load_upstream

README = Path(__file__).parents[1] / "upstreams" / "earbench_upstreams" / "README.md"
THREADS = (1, 2)


def main(asked: Sequence[str]) -> None:
    rows = [row(name) for name in asked or names()]
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
    distinct = {(one["family"], one["parameters"]) for one in rows}
    print(f"\n{len(rows)} names, {len(distinct)} distinct pairs of family and size")


def row(name: str) -> dict[str, str]:
    print(f"{name} …", file=sys.stderr)
    upstream = load_upstream(twin(name))
    speeds = {f"audio s/s, {count} thread{'s'[: count - 1]}": throughput(upstream, count) for count in THREADS}
    return {
        "name": f"`{name}`",
        "family": registry.load("upstream", name).card.family,
        "parameters": f"{sum(parameter.numel() for parameter in upstream.parameters()):,}",
        "parity": partner(name),
        **{title: f"{speed:,.1f}" for title, speed in speeds.items()},
    }


def partner(name: str) -> str:
    """What the README's row says the features were compared with; without a row, what the card says."""
    rows = [line for line in README.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` ")]
    return rows[0].rstrip(" |").rpartition("|")[2].strip() if rows else registry.load("upstream", name).card.parity


if __name__ == "__main__":
    main(sys.argv[1:])

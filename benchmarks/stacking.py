"""Five learning rates of the `ks` head as one stack, against one after another: milliseconds for a step of all five.

usage: python benchmarks/stacking.py [SECONDS PER ROW]
Steps of both kinds are interleaved, so that a slow moment of the machine hits both; each figure is the 10th percentile.
"""

import sys
import time

import torch
from tabulate import tabulate

from earbench.contract import Labels, Recipe
from earbench.kit.heads.pooled import PooledLinear
from earbench.stack import Batch, Probe, Stack

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LABELS = Labels(str(number) for number in range(12))


def main(seconds: float) -> None:
    torch.set_num_threads(1)
    rows = [row(width, layers, seconds) for width in (80, 240, 480, 768, 1536, 4096) for layers in (1, 13)]
    print(tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="github"))


def row(width: int, layers: int, seconds: float) -> dict[str, float]:
    recipes = [Recipe(lr=rate, batch=32, steps=1, every=1, clip=1.0) for rate in RATES]
    together = Stack(probe(width, layers), recipes, torch.device("cpu"))
    alone = Stack(probe(width, layers), recipes[:1], torch.device("cpu"))
    batch: Batch = (torch.randn(32, layers, width), None, torch.randint(len(LABELS), (32,)), torch.ones(32))
    stacked, single = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(stacked) < 20:
        stacked.append(timed(together, batch))
        single.append(timed(alone, batch))
    five = 5 * tenth(single)
    parameters = sum(parameter.numel() for parameter in probe(width, layers).parameters())
    facts = {"width": width, "layers": layers, "parameters": parameters}
    return facts | {"stacked ms": tenth(stacked), "five alone ms": five, "gain": five / tenth(stacked)}


def probe(width: int, layers: int) -> Probe:
    torch.manual_seed(0)
    head = PooledLinear(width, 256, LABELS)
    head.generator = torch.Generator()
    return Probe(head, layers)


def timed(stack: Stack, batch: Batch) -> float:
    started = time.perf_counter()
    stack.step([batch])
    return (time.perf_counter() - started) * 1e3


def tenth(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)

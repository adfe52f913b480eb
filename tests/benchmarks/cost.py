"""Cost of a network whose file is read, with a cold memo, against torchvision on meta; candidates a second."""

from __future__ import annotations

import itertools
import random
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

import blockforge
from blockforge import costing
from tests.benchmarks.measure import ratio, table
from tests.benchmarks.references import NAMES, constructor


def against_meta(name: str) -> list[object]:
    """One row: our cold cost against the reference on meta under FlopCounterMode."""
    network = blockforge.get_network(name)
    make = constructor(name)

    def ours() -> tuple[int, int]:
        costing.clear_memo()
        found = blockforge.cost(network)
        return found.params, found.macs

    def reference() -> tuple[int, int]:
        with torch.device("meta"):
            model = make().eval()
            counter = FlopCounterMode(display=False)
            with counter:
                model(torch.empty(1, *network.input))
        return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2

    exact = ours() == reference()
    factor, mine, theirs = ratio(ours, reference, rounds=9, least=0.1)
    return [name, mine * 1e3, theirs * 1e3, f"1/{1 / factor:.0f}", "exact" if exact else "DIFFERS"]


def candidates(count: int = 4000) -> list[list[object]]:
    """Distinct width/depth candidates of resnet50: network to cost, and with `Network.set` before it."""
    base = blockforge.get_network("resnet50")
    rng = random.Random(0)
    widths = list(
        itertools.product(range(64, 513, 64), range(128, 1025, 128), range(256, 2049, 256), range(512, 4097, 512))
    )
    depths = list(itertools.product(range(1, 5), range(1, 7), range(1, 9), range(1, 5)))
    edits = [
        {f"layer{i + 1}.width": w for i, w in enumerate(rng.choice(widths))}
        | {f"layer{i + 1}.depth": d for i, d in enumerate(rng.choice(depths))}
        for _ in range(count)
    ]
    start = time.process_time()
    networks = [base.set(edit) for edit in edits]
    edited = time.process_time() - start
    costing.clear_memo()
    start = time.process_time()
    for network in networks:
        blockforge.cost(network)
    costed = time.process_time() - start
    return [
        ["network to cost", f"{count / costed:,.0f}"],
        ["edits to network (Network.set, 8 edits)", f"{count / edited:,.0f}"],
        ["edits to cost", f"{count / (costed + edited):,.0f}"],
    ]


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    table(
        "Parameters and MACs: ours (cold memo) against the reference on meta with FlopCounterMode",
        ["network", "ours, ms", "reference, ms", "ratio", "counts"],
        [against_meta(name) for name in NAMES],
    )
    table("Distinct candidates of resnet50 a second a core, memo cold at start", ["what", "a second"], candidates())


if __name__ == "__main__":
    main()

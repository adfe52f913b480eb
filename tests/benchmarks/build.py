"""Building: without and with initialisation, against the reference's constructor."""

from __future__ import annotations

import sys
import time

import torch

import blockforge
from tests.benchmarks.measure import ratio, table
from tests.benchmarks.references import NAMES, constructor


def row(name: str) -> list[object]:
    """First build (nothing cached), then both ratios and the reference against itself."""
    network = blockforge.get_network(name)
    make = constructor(name)
    make()
    start = time.process_time()
    blockforge.build(network, init=False)
    first = time.process_time() - start
    bare, _, reference = ratio(lambda: blockforge.build(network, init=False), make, rounds=7, least=0.1)
    full, _, _ = ratio(lambda: blockforge.build(network), make, rounds=7, least=0.1)
    same, _, _ = ratio(make, make, rounds=7, least=0.1)
    return [name, reference * 1e3, first / reference, bare, full, same]


def main() -> None:
    """Print the table for the names given, or all."""
    torch.set_num_threads(1)
    table(
        "Building, as a ratio to the reference's constructor",
        ["network", "reference, ms", "first, init=False", "init=False", "with weights drawn", "A/A"],
        [row(name) for name in sys.argv[1:] or NAMES],
    )


if __name__ == "__main__":
    main()

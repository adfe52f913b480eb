"""Peak of live tensors in eval mode at batch 1: predicted, measured in our module, and measured in the reference."""

from __future__ import annotations

import torch

import blockforge
from tests.benchmarks.measure import table
from tests.benchmarks.references import NAMES, constructor
from tests.memory import measured_peak

MIB = 2**20


def row(name: str) -> list[object]:
    """Predicted and measured MiB, and both ratios."""
    network = blockforge.get_network(name)
    predicted = blockforge.cost(network).peak_memory
    ours = measured_peak(blockforge.build(network, init=False), network.input)
    reference = measured_peak(constructor(name)(), network.input)
    return [name, predicted / MIB, ours / MIB, reference / MIB, predicted / ours, ours / reference]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    table(
        "Peak of live tensors in eval mode, MiB at batch 1 and the canonical input, weights not counted",
        ["network", "predicted", "measured", "reference", "predicted / measured", "measured / reference"],
        [row(name) for name in NAMES],
    )


if __name__ == "__main__":
    main()

"""Running: forward in eval, and forward with backward in training, against the reference in eager mode."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

import blockforge
from tests.benchmarks.measure import ratio, table
from tests.benchmarks.references import NAMES, constructor


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Ours and the reference, with the same weights."""
    reference = constructor(name)()
    ours = blockforge.build(name, init=False)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def row(name: str, ours: nn.Module, reference: nn.Module, x: torch.Tensor, rounds: int, least: float) -> list[object]:
    """Both ratios, each with the reference against itself."""

    def forward(model: nn.Module) -> None:
        with torch.inference_mode():
            model(x)

    def both(model: nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        model(x).sum().backward()

    cells: list[object] = [name]
    for mode, run in ((False, forward), (True, both)):
        ours.train(mode)
        reference.train(mode)
        measured, _, _ = ratio(partial(run, ours), partial(run, reference), rounds=rounds, least=least)
        same, _, _ = ratio(partial(run, reference), partial(run, reference), rounds=rounds, least=least)
        cells += [measured, same]
    return cells


def tiny() -> list[object]:
    """MobileNetV2 at a tenth of its width and 32x32: all overhead."""
    import torchvision

    reference = torchvision.models.mobilenet_v2(width_mult=0.1, num_classes=10)
    widths = [m.out_channels for m in reference.modules() if isinstance(m, nn.Conv2d)]
    network = blockforge.get_network("mobilenet_v2")
    projections = [block.conv[-2].out_channels for block in reference.features[1:-1]]
    edits: dict[str, object] = {"input": [3, 32, 32], "classes": 10, "stem.width": widths[0], "last.width": widths[-1]}
    index = 0
    for stage in network.stages.values():
        if stage.name.startswith("stage"):
            edits[f"{stage.name}.width"] = projections[index]
            index += stage.depth
    ours = blockforge.build(network, edits=edits)
    ours.load_state_dict(reference.state_dict())
    return row("mobilenet_v2 x0.1, 32x32", ours, reference, torch.randn(2, 3, 32, 32), 15, 0.2)


def main() -> None:
    """Print the table for the names given, or all and the tiny network."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or NAMES

    def rows() -> Iterator[list[object]]:
        for name in names:
            yield row(name, *pair(name), torch.randn(2, 3, 224, 224), 9, 0.0)
        if not sys.argv[1:]:
            yield tiny()

    table(
        "Running, as a ratio to the reference in eager mode (batch 2, 224x224)",
        ["network", "forward", "A/A", "forward + backward", "A/A"],
        rows(),
    )


if __name__ == "__main__":
    main()

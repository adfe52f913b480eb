"""A small search space and small objectives that several tests share."""

from __future__ import annotations

import os
import time
from pathlib import Path

from blockforge.study.space import Space, space_from_yaml

TINY = """
base: resnet18_cifar
set: {input: [1, 8, 8], classes: 10, stem.width: 8, layer*.width: 8, layer*.depth: 1}
vary:
  layer1.width: {choice: [4, 8, 12]}
  layer4.depth: {range: [1, 3]}
objectives: {accuracy: maximize, macs: minimize}
data: digits
train: {epochs: 1, batch: 256}
"""


def tiny_space(text: str = TINY) -> Space:
    """Nine networks for the digits."""
    return space_from_yaml(text, "tiny")


def unheard(metrics):
    """A report that nobody listens to."""


def params(network, module, report):
    """An objective that trains nothing: the number of parameters that the module really has."""
    value = sum(parameter.numel() for parameter in module.parameters())
    report(1, half=value / 2)
    report(2, half=value / 2 + 1)
    return value


def picky(network, module, report):
    """An objective that fails for some depths, in several ways."""
    depth = len(module.layer4)
    if depth == 1:
        raise ValueError("depth 1\nis not for me")
    return float("nan") if depth == 2 else {"value": depth, "extra": 7}


def logged(folder: Path):
    """An objective that notes each of its calls in a folder, and takes a while."""

    def objective(network, module, report):
        file = folder / f"{network.hash}-{time.time_ns()}"
        file.write_text(str(os.getpid()))
        time.sleep(0.3)
        return sum(parameter.numel() for parameter in module.parameters())

    return objective

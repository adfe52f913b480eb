"""What torch itself counts while a module runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blockforge.conformance.modules import tensors
from blockforge.ops import Shape

if TYPE_CHECKING:
    from torch import nn

COUNTED = {"convolution", "_convolution", "addmm", "mm", "linear"}
"""The operations that make up convolutions and linear layers; a product of two activations (attention) is neither."""


def counted(module: nn.Module, inputs: Sequence[Shape]) -> int:
    """The multiply-accumulates of convolutions and linear layers at batch 1, by `FlopCounterMode`."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:  # with gradients: without, nn.MultiheadAttention takes a way on which nothing is counted
        module.eval()(*tensors(inputs, 1))
    flops = counter.get_flop_counts().get("Global", {})
    return sum(count for kind, count in flops.items() if str(kind).rpartition(".")[2] in COUNTED) // 2

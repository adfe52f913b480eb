"""The bytes that really live: what a forward's tensors hold at once, at most, as torch hands them out."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """The most bytes alive in tensors at once since it began, the given ones beside."""

    def __init__(self, *beside: torch.Tensor) -> None:
        super().__init__()
        self.beside = {x.untyped_storage()._cdata for x in beside}
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # Operands count too: tensors made of Python numbers don't come by otherwise.
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                key = storage._cdata
                if key not in self.live and key not in self.beside:
                    self.live[key] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, key, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return result


def measured_peak(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes alive at once in eval mode at batch 1, at most: the input among them, weights and buffers not."""
    x = torch.randn(1, *shape)
    module.eval()
    with torch.no_grad(), LiveMemory(x, *module.parameters(), *module.buffers()) as memory:
        module(x)
    return memory.peak + x.untyped_storage().nbytes()

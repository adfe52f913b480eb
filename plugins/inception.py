"""Inception: several receptive fields side by side, made affordable by 1x1 convolutions that reduce channels first.

Paper: Szegedy et al. 2014, arXiv:1409.4842; with batch normalisation: arXiv:1502.03167.
"""

from __future__ import annotations

from typing import ClassVar

from blockforge import Block, Channels, Kernel, Scope, Value, hookimpl

from .plain import Conv

NAMES = ("conv", "bn", "relu")


class Inception(Block):
    """Four branches, 1x1, 3x3, a larger one and a pooled one, joined by their channels."""

    paper: ClassVar[str] = "arXiv:1409.4842"
    branch1: Channels = 64  # the 1x1 branch
    branch2_reduce: Channels = 96
    branch2: Channels = 128  # the 3x3 branch
    branch3_reduce: Channels = 16
    branch3: Channels = 32  # the larger branch
    branch3_kernel: Kernel = 5
    branch4: Channels = 32  # the pooled branch

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, then join them."""
        return g.concat(
            "concat",
            branch(g, "branch1", x, self.branch1),
            branch(g, "branch2.1", branch(g, "branch2.0", x, self.branch2_reduce), self.branch2, 3),
            branch(g, "branch3.1", branch(g, "branch3.0", x, self.branch3_reduce), self.branch3, self.branch3_kernel),
            branch(g, "branch4.1", g.max_pool("branch4.0", x, 3, 1, 1, ceil_mode=True), self.branch4),
        )  # the branches' sum, h, w


def branch(g: Scope, name: str, x: Value, width: int, kernel: int = 1) -> Value:
    """One convolution-norm-relu of a branch."""
    return g.block(name, Conv(width=width, kernel=kernel, names=NAMES), x)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Inception]

"""Inception: several receptive fields side by side, made affordable by 1x1 convolutions that reduce channels first.

Paper: Szegedy et al. 2014, arXiv:1409.4842; with batch normalisation: arXiv:1502.03167.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blockforge import Block, Channels, Kernel, Probability, Scope, Search, Value, hookimpl

from .plain import Conv

NAMES = ("conv", "bn", "relu")


class Inception(Block):
    """Four branches, 1x1, 3x3, a larger one and a pooled one, joined by their channels."""

    paper: ClassVar[str] = "arXiv:1409.4842"
    branch1: Channels = 64  # the 1x1 branch
    branch2_reduce: Channels = 96  # the 1x1 convolution before the 3x3 one
    branch2: Channels = 128  # the 3x3 branch
    branch3_reduce: Channels = 16  # the 1x1 convolution before the larger one
    branch3: Channels = 32  # the larger branch
    branch3_kernel: Kernel = 5  # of the larger branch
    branch3_depth: Annotated[int, Field(ge=1), Search(1, 2)] = 1  # convolutions; two 3x3 see as far as one 5x5
    branch4: Channels = 32  # the pooled branch, whose 1x1 convolution comes after the pool
    reduce: bool = True  # whether branches 2 to 4 have their 1x1 convolutions; False: the paper's naive module
    bias: bool = False  # of the convolutions
    norm: bool = True  # whether batch normalisation follows each convolution

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, then join them."""
        branch1 = self.conv(g, "branch1", x, self.branch1)
        branch2 = self.conv(g, "branch2.#", x, self.branch2_reduce) if self.reduce else x
        branch2 = self.conv(g, "branch2.#", branch2, self.branch2, 3)
        branch3 = self.conv(g, "branch3.#", x, self.branch3_reduce) if self.reduce else x
        for _ in range(self.branch3_depth):
            branch3 = self.conv(g, "branch3.#", branch3, self.branch3, self.branch3_kernel)
        branch4 = g.max_pool("branch4.#", x, 3, 1, 1, ceil_mode=True)
        branch4 = self.conv(g, "branch4.#", branch4, self.branch4) if self.reduce else branch4
        return g.concat("concat", branch1, branch2, branch3, branch4)  # the branches' sum, h, w

    def conv(self, g: Scope, name: str, x: Value, width: int, kernel: int = 1) -> Value:
        """One convolution of a branch, with its norm and activation."""
        return g.block(name, Conv(width=width, kernel=kernel, bias=self.bias, norm=self.norm, names=NAMES), x)


class InceptionAux(Block):
    """A small classifier on maps in the middle of a network, which brings gradients there while it trains."""

    paper: ClassVar[str] = "arXiv:1409.4842"
    repeatable: ClassVar[bool] = False
    width: Channels = 1000  # the number of classes
    pool: Literal["adaptive", "avg"] = "adaptive"  # to 4x4, or the paper's 5x5 windows of stride 3: the same at 14x14
    reduce: Channels = 128  # the 1x1 convolution
    hidden: Channels = 1024  # the first linear layer
    dropout: Probability = 0.7  # before the last linear layer
    bias: bool = False  # of the convolution
    norm: bool = True  # whether batch normalisation follows the convolution

    def expand(self, g: Scope, x: Value) -> Value:
        """Pool, reduce, classify."""
        x = g.adaptive_avg_pool("avgpool", x, 4) if self.pool == "adaptive" else g.avg_pool("avgpool", x, 5, 3)
        x = g.block("conv", Conv(width=self.reduce, kernel=1, bias=self.bias, norm=self.norm, names=NAMES), x)
        x = g.relu("relu", g.linear("fc1", g.flatten("flatten", x), self.hidden))  # hidden
        return g.linear("fc2", g.dropout("dropout", x, self.dropout), self.width)  # width


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [Inception, InceptionAux]

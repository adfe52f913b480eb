"""Residual learning: a block computes what to add to its input, so that depth no longer degrades training.

Paper: He et al. 2015, arXiv:1512.03385 (basic blocks; shortcuts A, B and C).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from blockforge import Block, BlockSpec, Channels, Scope, Stride, Value, hookimpl
from blockforge.ops import ZeroPadShortcut

Shortcut = Literal["none", "A", "B", "C"]


class Residual(Block):
    """Two 3x3 convolutions with a shortcut around both."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    width: Channels = 64  # output channels
    stride: Stride = 1
    shortcut: Shortcut = "B"  # none; A: zero-padded; B: projected where the shape changes; C: always projected
    attention: BlockSpec | None = None  # any block that keeps its input's shape

    def expand(self, g: Scope, x: Value) -> Value:
        """Convolve twice, then add the shortcut."""
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, self.width, 3, stride=self.stride)))  # width, h/s, w/s
        y = g.norm("bn2", g.conv("conv2", y, self.width, 3))  # width, h/s, w/s
        if self.attention:
            y = g.block("se", self.attention, y, keeps_shape=True)
        return g.relu("relu2", add_shortcut(g, self.shortcut, x, y, self.stride))


def add_shortcut(g: Scope, kind: Shortcut, x: Value, y: Value, stride: int) -> Value:
    """The residual `y` plus the block's input `x`, brought to y's shape as the paper's options say."""
    if kind == "none":
        return y
    y = g.drop_path("drop_path", y)
    if kind == "C" or (kind == "B" and (x.shape != y.shape or stride != 1)):
        x = g.norm("downsample.1", g.conv("downsample.0", x, y.shape[0], stride=stride))
    elif kind == "A" and x.shape != y.shape:
        x = g.op("downsample", ZeroPadShortcut(y.shape[0], stride), x)
    return g.add("add", y, x)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Residual]

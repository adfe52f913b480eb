"""The bottleneck: a 3x3 convolution between two 1x1 ones that reduce and restore the channels.

Papers: He et al. 2015, arXiv:1512.03385; with groups, ResNeXt: Xie et al. 2016, arXiv:1611.05431.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Block, BlockSpec, Channels, Groups, Scope, Search, Stride, Value, hookimpl

from .residual import Shortcut, add_shortcut


class Bottleneck(Block):
    """1x1 reduce, 3x3, 1x1 widen, with a shortcut; groups=32 makes it ResNeXt."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    width: Channels = 256  # output channels
    stride: Stride = 1
    ratio: Annotated[int, Field(ge=1), Search(2, 4, 8)] = 4  # output channels / channels of the 3x3
    groups: Groups = 1
    shortcut: Shortcut = "B"  # none; A: zero-padded; B: projected where the shape changes; C: always projected
    attention: BlockSpec | None = None  # any block that keeps its input's shape

    def expand(self, g: Scope, x: Value) -> Value:
        """Reduce, convolve, widen, then add the shortcut."""
        mid = max(1, self.width // self.ratio)
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, mid)))  # mid, h, w
        y = g.conv("conv2", y, mid, 3, stride=self.stride, groups=self.groups)
        y = g.relu("relu2", g.norm("bn2", y))  # mid, h/s, w/s
        y = g.norm("bn3", g.conv("conv3", y, self.width))  # width, h/s, w/s
        if self.attention:
            y = g.block("se", self.attention, y, keeps_shape=True)
        return g.relu("relu3", add_shortcut(g, self.shortcut, x, y, self.stride))


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Bottleneck]

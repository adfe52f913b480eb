"""Res2Net: in place of one 3x3 convolution a ladder of small ones, so that a block sees at several scales.

Paper: Gao et al. 2019, arXiv:1904.01169. The networks are in res2net.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Block, BlockSpec, Channels, Scope, Search, Stride, Value, hookimpl


class Bottle2neck(Block):
    """A bottleneck whose 3x3 convolution is split in groups, each of which sees the result of the one before."""

    paper: ClassVar[str] = "arXiv:1904.01169"
    width: Channels = 256  # output channels
    stride: Stride = 1  # of the 3x3 convolutions
    scales: Annotated[int, Field(ge=2), Search(2, 4, 6, 8)] = 4  # groups, the one that isn't convolved among them
    base_width: Annotated[int, Field(ge=1), Search(14, 26, 48)] = 26  # channels of a group at an output of 256
    attention: BlockSpec | None = None  # any block that keeps its input's shape

    def expand(self, g: Scope, x: Value) -> Value:
        """Reduce, convolve group by group, widen, add."""
        group = max(1, self.width // 4 * self.base_width // 64)
        changes = x.shape[0] != self.width or self.stride != 1
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, group * self.scales)))  # group * scales, h, w
        *convolved, last = g.split("split", y, self.scales)  # group, h, w each
        done: list[Value] = []
        for n, part in enumerate(convolved):
            # Where the shape changes, the groups are on their own: the one before is smaller already.
            part = part if changes or not done else g.add(f"add{n}", done[-1], part)  # noqa: PLW2901
            y = g.conv(f"convs.{n}", part, group, 3, stride=self.stride)
            done.append(g.relu(f"relus.{n}", g.norm(f"bns.{n}", y)))  # group, h/s, w/s
        done.append(g.avg_pool("pool", last, 3, self.stride, 1) if changes else last)
        y = g.norm("bn3", g.conv("conv3", g.concat("concat", *done), self.width))  # width, h/s, w/s
        if self.attention:
            y = g.block("se", self.attention, y, keeps_shape=True)
        y = g.drop_path("drop_path", y)
        if changes:
            x = g.norm("downsample.1", g.conv("downsample.0", x, self.width, stride=self.stride))
        return g.relu("relu3", g.add("add", y, x))  # width, h/s, w/s


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Bottle2neck]


@hookimpl
def register_networks() -> list[Path]:
    """The networks beside this file."""
    return [Path(__file__).with_suffix(".yaml")]

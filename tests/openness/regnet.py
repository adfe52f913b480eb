"""RegNet: widths and depths that follow a straight line, of blocks as plain as can be.

Paper: Radosavovic et al. 2020, arXiv:2003.13678. The networks are in regnet.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from blockforge.plugins.plain import Conv
from pydantic import Field

from blockforge import Block, Channels, Scope, Search, Stride, Value, hookimpl


class Gate(Block):
    """Squeeze-and-excitation to an absolute number of channels; keeps its input's shape."""

    paper: ClassVar[str] = "arXiv:1709.01507"
    squeezed: Channels = 8  # channels between the two convolutions

    def expand(self, g: Scope, x: Value) -> Value:
        """Squeeze, excite, weigh."""
        y = g.adaptive_avg_pool("avgpool", x)  # c, 1, 1
        y = g.relu("activation", g.conv("fc1", y, self.squeezed, bias=True))  # squeezed, 1, 1
        y = g.sigmoid("scale_activation", g.conv("fc2", y, x.shape[0], bias=True))  # c, 1, 1
        return g.mul("mul", y, x)  # c, h, w


class RegnetBlock(Block):
    """A residual block of one width: 1x1, 3x3 in groups of a fixed width, a gate, 1x1."""

    paper: ClassVar[str] = "arXiv:2003.13678"
    width: Channels = 48  # output channels, and those between
    stride: Stride = 1  # of the 3x3 convolution
    group_width: Annotated[int, Field(ge=1), Search(8, 16, 24)] = 8  # channels of a group of the 3x3
    gate: Annotated[float, Field(gt=0, le=1)] | None = 0.25  # squeezed / the block's input channels; None: RegNetX

    def expand(self, g: Scope, x: Value) -> Value:
        """Project where the shape changes, convolve, add."""
        width, stride, shortcut = self.width, self.stride, x
        if x.shape[0] != width or stride != 1:
            projection = Conv(width=width, kernel=1, stride=stride, activation=None)
            shortcut = g.block("proj", projection, x)  # width, h/s, w/s
        y = g.block("f.a", Conv(width=width, kernel=1), x)  # width, h, w
        y = g.block("f.b", Conv(width=width, stride=stride, groups=max(1, width // self.group_width)), y)
        if self.gate:
            y = g.block("f.se", Gate(squeezed=max(1, round(self.gate * x.shape[0]))), y)  # width, h/s, w/s
        y = g.block("f.c", Conv(width=width, kernel=1, activation=None), y)  # width, h/s, w/s
        return g.relu("activation", g.add("add", shortcut, g.drop_path("drop_path", y)))


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [Gate, RegnetBlock]


@hookimpl
def register_networks() -> list[Path]:
    """The networks beside this file."""
    return [Path(__file__).with_suffix(".yaml")]

"""SqueezeNet: few channels go into the 3x3 convolutions, and the maps shrink late, so that few weights see much.

Paper: Iandola et al. 2016, arXiv:1602.07360. The networks are in squeezenet.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from blockforge import Block, Channels, Scope, Value, hookimpl


class Fire(Block):
    """A 1x1 convolution that squeezes the channels, then 1x1 and 3x3 ones side by side that expand them."""

    paper: ClassVar[str] = "arXiv:1602.07360"
    squeeze: Channels = 16  # channels between the two layers
    expand1x1: Channels = 64  # channels of the 1x1 convolution behind
    expand3x3: Channels = 64  # channels of the 3x3 one

    def expand(self, g: Scope, x: Value) -> Value:
        """Squeeze, expand twice, join."""
        x = g.relu("squeeze_activation", g.conv("squeeze", x, self.squeeze, bias=True))  # squeeze, h, w
        ones = g.relu("expand1x1_activation", g.conv("expand1x1", x, self.expand1x1, bias=True))
        threes = g.relu("expand3x3_activation", g.conv("expand3x3", x, self.expand3x3, 3, bias=True))
        return g.concat("concat", ones, threes)  # expand1x1 + expand3x3, h, w


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Fire]


@hookimpl
def register_networks() -> list[Path]:
    """The networks beside this file."""
    return [Path(__file__).with_suffix(".yaml")]

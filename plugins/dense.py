"""Dense connections: each layer reads all features before it and adds `growth` new ones; transitions thin them out.

Paper: Huang et al. 2016, arXiv:1608.06993.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Block, Channels, Scope, Search, Value, hookimpl

Expansion = Annotated[int, Field(ge=1)]


class DenseLayer(Block):
    """Norm, relu and convolution twice, 1x1 then 3x3; the new features are joined to the input."""

    paper: ClassVar[str] = "arXiv:1608.06993"
    growth: Channels = 32  # new features
    expansion: Annotated[Expansion | None, Search(2, 4)] = 4  # channels of the 1x1 / growth; null: no 1x1
    bias: bool = False  # of the convolutions

    def expand(self, g: Scope, x: Value) -> Value:
        """Compute new features and join them to the old."""
        y = g.relu("relu1", g.norm("norm1", x))  # c, h, w
        if self.expansion is None:
            return g.concat("concat", x, g.conv("conv1", y, self.growth, 3, bias=self.bias))  # c + growth, h, w
        y = g.conv("conv1", y, self.growth * self.expansion, bias=self.bias)
        y = g.relu("relu2", g.norm("norm2", y))  # growth * expansion, h, w
        return g.concat("concat", x, g.conv("conv2", y, self.growth, 3, bias=self.bias))  # c + growth, h, w


class Transition(Block):
    """Between dense blocks: norm, relu, a 1x1 convolution to fewer channels, and a pool that halves the size."""

    paper: ClassVar[str] = "arXiv:1608.06993"
    repeatable: ClassVar[bool] = False
    reduce: Annotated[float, Field(gt=0, le=1), Search(0.5)] = 0.5  # output channels / input channels
    bias: bool = False  # of the convolution

    def expand(self, g: Scope, x: Value) -> Value:
        """Thin out, then halve the size."""
        y = g.relu("relu", g.norm("norm", x))  # c, h, w
        y = g.conv("conv", y, max(1, int(x.shape[0] * self.reduce)), bias=self.bias)  # c * reduce, h, w
        return g.avg_pool("pool", y, 2)  # c * reduce, h/2, w/2


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [DenseLayer, Transition]

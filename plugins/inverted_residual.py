"""Inverted residual: widen, convolve each channel by itself, narrow linearly; the shortcut joins the narrow ends.

Paper: Sandler et al. 2018, arXiv:1801.04381 (MobileNetV2).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Activation, Block, BlockSpec, Channels, Kernel, Scope, Search, Stride, Value, hookimpl

from .plain import Conv


class InvertedResidual(Block):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; a shortcut where the shape stays."""

    paper: ClassVar[str] = "arXiv:1801.04381"
    width: Channels = 32  # output channels
    stride: Stride = 1
    kernel: Kernel = 3
    expansion: Annotated[int, Field(ge=1), Search(3, 4, 6)] = 6  # channels of the depthwise convolution / input's
    activation: Activation = "relu6"
    attention: BlockSpec | None = None  # any block that keeps its input's shape, on the expanded channels

    def expand(self, g: Scope, x: Value) -> Value:
        """Expand, convolve, project, and add the input."""
        mid = x.shape[0] * self.expansion
        y = x
        if self.expansion > 1:
            y = g.block("conv.#", Conv(width=mid, kernel=1, activation=self.activation), y)  # mid, h, w
        depthwise = Conv(width=mid, kernel=self.kernel, stride=self.stride, groups=mid, activation=self.activation)
        y = g.block("conv.#", depthwise, y)  # mid, h/s, w/s
        if self.attention:
            y = g.block("conv.#", self.attention, y, keeps_shape=True)
        y = g.norm("conv.#", g.conv("conv.#", y, self.width))  # width, h/s, w/s
        return g.add("add", g.drop_path("drop_path", y), x) if self.stride == 1 and x.shape == y.shape else y


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [InvertedResidual]

"""Inverted residual: widen, convolve each channel by itself, narrow linearly; the shortcut joins the narrow ends.

Papers: Sandler et al. 2018, arXiv:1801.04381 (MobileNetV2); with attention, Howard et al. 2019, arXiv:1905.02244
(MobileNetV3) and Tan and Le 2019, arXiv:1905.11946 (EfficientNet).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blockforge import (
    Activation,
    Block,
    BlockSpec,
    Channels,
    Kernel,
    Scope,
    Search,
    Stride,
    Value,
    hookimpl,
)

from .plain import Conv, Padding


class InvertedResidual(Block):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; a shortcut where the shape stays."""

    paper: ClassVar[str] = "arXiv:1801.04381"
    width: Channels = 32  # output channels
    stride: Stride = 1  # of the depthwise convolution
    kernel: Kernel = 3  # of the depthwise convolution
    padding: Padding | Literal["same"] | None = None  # of the depthwise convolution; null: half the kernel
    expansion: Annotated[int, Field(ge=1), Search(3, 4, 6)] = 6  # channels of the depthwise convolution / input's
    expanded: Channels | None = None  # those channels themselves; null: by the expansion
    activation: Activation = "relu6"  # after the expansion and the depthwise convolution
    attention: BlockSpec | None = None  # any block that keeps its input's shape, on the expanded channels
    names: tuple[str, str] = ("conv.#", "conv")  # of each part before the projection, and of the projection

    def expand(self, g: Scope, x: Value) -> Value:
        """Expand, convolve, project, and add the input."""
        part, projection = self.names
        mid = self.expanded or x.shape[0] * self.expansion
        y = x
        if mid != x.shape[0]:
            y = g.block(part, Conv(width=mid, kernel=1, activation=self.activation), y)  # mid, h, w
        depthwise = Conv(
            width=mid,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            groups=mid,
            activation=self.activation,
        )
        y = g.block(part, depthwise, y)  # mid, h/s, w/s
        if self.attention:
            y = g.block(part, self.attention, y, keeps_shape=True)
        y = g.block(projection, Conv(width=self.width, kernel=1, activation=None), y)  # width, h/s, w/s
        return g.add("add", g.drop_path("drop_path", y), x) if self.stride == 1 and x.shape == y.shape else y


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [InvertedResidual]

"""Depthwise separable convolution: filter each channel by itself, then mix them by a 1x1 convolution.

Paper: Howard et al. 2017, arXiv:1704.04861 (MobileNetV1).
"""

from __future__ import annotations

from typing import ClassVar

from blockforge import Activation, Block, Channels, Kernel, Scope, Stride, Value, hookimpl


class Separable(Block):
    """A depthwise convolution, then a 1x1 convolution that mixes the channels, each with norm and activation."""

    paper: ClassVar[str] = "arXiv:1704.04861"
    width: Channels = 64  # output channels
    stride: Stride = 1  # of the depthwise convolution
    kernel: Kernel = 3  # of the depthwise convolution
    activation: Activation = "relu6"  # after each convolution

    def expand(self, g: Scope, x: Value) -> Value:
        """Filter, then mix."""
        channels = x.shape[0]
        y = g.conv("conv_dw", x, channels, self.kernel, stride=self.stride, groups=channels)  # c, h/s, w/s
        y = g.activation("act1", g.norm("bn1", y), self.activation)
        y = g.norm("bn2", g.conv("conv_pw", y, self.width))  # width, h/s, w/s
        return g.activation("act2", y, self.activation)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Separable]

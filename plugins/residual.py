"""Residual learning: a block computes what to add to its input, so that depth no longer degrades training.

Papers: He et al. 2015, arXiv:1512.03385 (basic blocks; shortcuts A, B and C); He et al. 2016, arXiv:1603.05027
(pre-activation).
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from blockforge import Block, BlockSpec, Channels, Kernel, Scope, Stride, Value, hookimpl
from blockforge.ops import ZeroPadShortcut

Shortcut = Literal["none", "A", "B", "C"]


class Convolution(NamedTuple):
    """One of a residual block's convolutions."""

    width: int
    kernel: int
    stride: int = 1
    groups: int = 1


class Residual(Block):
    """Two 3x3 convolutions with a shortcut around both."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    width: Channels = 64  # output channels
    stride: Stride = 1  # of one convolution and of the shortcut
    stride_on: Literal[1, 2] = 1  # which convolution takes the stride
    pre_activation: bool = False  # norm and relu before each convolution, and none after the sum (arXiv:1603.05027)
    bias: bool = False  # of all convolutions, the shortcut's too
    shortcut: Shortcut = "B"  # none; A: zero-padded; B: projected where the shape changes; C: always projected
    shortcut_kernel: Kernel = 1  # of the projection
    shortcut_norm: bool = True  # whether a norm follows the projection
    attention: BlockSpec | None = None  # any block that keeps its input's shape
    attention_name: str = "se"  # the attention's part of the state_dict keys

    def convolutions(self) -> list[Convolution]:
        """The convolutions from the block's input to the sum."""
        first, second = self.strides()
        return [Convolution(self.width, 3, first), Convolution(self.width, 3, second)]

    def strides(self) -> tuple[int, int]:
        """The strides of the first two convolutions."""
        return (self.stride, 1) if self.stride_on == 1 else (1, self.stride)

    def expand(self, g: Scope, x: Value) -> Value:
        """Convolve, then add the shortcut; before or after each convolution a norm and relu."""
        layers, y = self.convolutions(), x
        for n, (width, kernel, stride, groups) in enumerate(layers, 1):
            if self.pre_activation:
                y = g.relu(f"relu{n}", g.norm(f"bn{n}", y))
            if self.pre_activation and n == 1:
                x = self.bring(g, x, y)  # width, h/s, w/s
            y = g.conv(f"conv{n}", y, width, kernel, stride=stride, groups=groups, bias=self.bias)
            if not self.pre_activation:
                y = g.norm(f"bn{n}", y)
            if not self.pre_activation and n < len(layers):
                y = g.relu(f"relu{n}", y)
        if self.attention:
            y = g.block(self.attention_name, self.attention, y, keeps_shape=True)  # width, h/s, w/s
        if self.shortcut != "none":
            y = g.drop_path("drop_path", y)
            y = g.add("add", y, x if self.pre_activation else self.bring(g, x, x))
        return y if self.pre_activation else g.relu(f"relu{len(layers)}", y)  # width, h/s, w/s

    def bring(self, g: Scope, x: Value, activated: Value) -> Value:
        """The shortcut: `x` itself, or what the paper's options make of the activated input where shapes differ."""
        differs = x.shape[0] != self.width or self.stride != 1
        if self.shortcut == "A" and differs:
            return g.op("downsample", ZeroPadShortcut(self.width, self.stride), activated)
        if not (self.shortcut == "C" or (self.shortcut == "B" and differs)):
            return x
        name = "downsample.0" if self.shortcut_norm else "downsample"
        y = g.conv(name, activated, self.width, self.shortcut_kernel, stride=self.stride, bias=self.bias)
        return g.norm("downsample.1", y) if self.shortcut_norm else y


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Residual]

"""What moves, drops, pads or rescales elements without mixing them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from blockforge.errors import OpError
from blockforge.ops.base import Argument, Call, Op, Shape, expect_rank, show_shape, sole, whole


@dataclass(frozen=True)
class Input(Op):
    """The source of a graph: no inputs, one output of shape `dims` (without the batch axis)."""

    dims: Shape

    def __post_init__(self) -> None:
        """Check the shape."""
        if not self.dims or not all([type(size) is int and size >= 1 for size in self.dims]):
            raise OpError(
                f"the input's shape {show_shape(self.dims)} must be of sizes of 1 or more; use (3, 32, 32), say"
            )

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape, `dims`."""
        if inputs:
            raise OpError(f"Input takes no inputs, but got {len(inputs)}; wire them to what follows")
        return self.dims


@dataclass(frozen=True)
class Identity(Op):
    """The input itself, of any shape."""

    view: ClassVar[bool] = True
    identity: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        return sole(self, inputs)

    def call(self, *inputs: Shape) -> Call:
        """`nn.Identity()`."""
        return Call("nn.Identity")


@dataclass(frozen=True)
class Dropout(Identity):
    """Elements set to zero with probability `p` in training, the rest scaled by 1 / (1 - p)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        """Check the probability."""
        if not 0 <= self.p <= 1:
            raise OpError(f"p={self.p} must lie between 0 and 1; it is the probability of dropping")

    def call(self, *inputs: Shape) -> Call:
        """`nn.Dropout(0.5)`."""
        return Call("nn.Dropout", (Argument("p", self.p, positional=True),))


@dataclass(frozen=True)
class DropPath(Dropout):
    """Stochastic depth (arXiv:1603.09382): whole samples set to zero with probability `p` in training."""

    helper: ClassVar[str] = '''\
class DropPath(nn.Module):
    """Stochastic depth: in training, zero a whole sample with probability `p` and scale the others up."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask.div_(keep) if keep > 0 else mask)

    def extra_repr(self):
        return f"p={self.p}"
'''

    def call(self, *inputs: Shape) -> Call:
        """`DropPath(0.2)`."""
        return Call("DropPath", (Argument("p", self.p, positional=True),))


@dataclass(frozen=True)
class Flatten(Op):
    """All axes in one: (C, H, W) to (C * H * W,)."""

    view: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape."""
        return (prod(sole(self, inputs)),)

    def expression(self, *names: str) -> str:
        """`torch.flatten(x, 1)`."""
        return f"torch.flatten({names[0]}, 1)"


@dataclass(frozen=True)
class Split(Op):
    """Equal parts along the channels: (C, H, W) to `parts` outputs of (C / parts, H, W)."""

    view: ClassVar[bool] = True

    parts: int = 2

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "parts")

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of each part."""
        x = sole(self, inputs)
        _expect_divisor(x[0], "parts", self.parts)
        return x[0] // self.parts, *x[1:]

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of all parts."""
        return (self.shape(*inputs),) * self.parts

    def expression(self, *names: str) -> str:
        """`x.chunk(2, 1)`."""
        return f"{names[0]}.chunk({self.parts}, 1)"


@dataclass(frozen=True)
class ChannelShuffle(Op):
    """ShuffleNet's permutation of the channels (arXiv:1707.01083): one of each of `groups` groups in turn."""

    groups: int

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "groups")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        x = sole(self, inputs)
        _expect_divisor(x[0], "groups", self.groups)
        return x

    def expression(self, *names: str) -> str:
        """`torch.stack(x.chunk(2, 1), 2).flatten(1, 2)`."""
        # Always a copy; a transpose would be a view where `groups` is 1 or the number of channels.
        return f"torch.stack({names[0]}.chunk({self.groups}, 1), 2).flatten(1, 2)"


@dataclass(frozen=True)
class ZeroPadShortcut(Op):
    """ResNet's shortcut "A": (C, H, W) to (width, ceil(H / stride), ceil(W / stride)) without parameters.

    Every `stride`-th pixel, and zero channels in front and behind (an odd one behind).
    Raises `OpError` if `width` is less than C.
    """

    width: int
    stride: int = 1

    helper: ClassVar[str] = '''\
class ZeroPadShortcut(nn.Module):
    """Every `stride`-th pixel, with zero channels in front and behind up to `width`."""

    def __init__(self, width, stride=1):
        super().__init__()
        self.width = width
        self.stride = stride

    def forward(self, x):
        more = self.width - x.shape[1]
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, more // 2, more - more // 2))

    def extra_repr(self):
        return f"{self.width}, stride={self.stride}"
'''

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "width", "stride")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape."""
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        if x[0] > self.width:
            raise OpError(f"width={self.width} is less than the {x[0]} input channels; use {x[0]} or more")
        return self.width, -(-x[1] // self.stride), -(-x[2] // self.stride)

    def call(self, *inputs: Shape) -> Call:
        """`ZeroPadShortcut(32, stride=2)`."""
        return Call(
            "ZeroPadShortcut", (Argument("width", self.width, positional=True), Argument("stride", self.stride, 1))
        )


@dataclass(frozen=True)
class ChannelAffine(Op):
    """x * scale[c] + shift[c] for each channel c of (C, H, W), by constants: a change of statistics."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    helper: ClassVar[str] = '''\
class ChannelAffine(nn.Module):
    """Multiply each channel by a constant and add another."""

    def __init__(self, scale, shift):
        super().__init__()
        self.scale = scale
        self.shift = shift

    def forward(self, x):
        return x * x.new_tensor(self.scale).view(-1, 1, 1) + x.new_tensor(self.shift).view(-1, 1, 1)

    def extra_repr(self):
        return f"scale={self.scale}, shift={self.shift}"
'''

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        if not len(self.scale) == len(self.shift) == x[0]:
            raise OpError(
                f"{len(self.scale)} scales and {len(self.shift)} shifts don't fit {x[0]} input channels; "
                f"use {x[0]} of each"
            )
        return x

    def scratch(self, *inputs: Shape) -> int:
        """The product, and the shifts as a tensor."""
        x = inputs[0]
        return prod(x) + x[0]

    def call(self, *inputs: Shape) -> Call:
        """`ChannelAffine((0.458, 0.448, 0.45), (-0.03, -0.088, -0.188))`."""
        return Call(
            "ChannelAffine",
            (Argument("scale", self.scale, positional=True), Argument("shift", self.shift, positional=True)),
        )


def _expect_divisor(channels: int, name: str, value: int) -> None:
    if channels % value:
        raise OpError(f"{name}={value} must divide the {channels} input channels; use a divisor of {channels}")

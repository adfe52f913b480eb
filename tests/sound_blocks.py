"""Blocks without a fault that ask more of the kit than the built-in ones do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blockforge import Block, BlockSpec, Channels, Op, OpError, Scope, Stride, Value
from blockforge.ops import Argument, Call, Shape, expect_rank, sole

PAPER = "arXiv:1512.03385"


class PoolDown(Block):
    """A convolution, and a pool that takes the stride and drops an odd row."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels
    stride: Stride = 1  # of the pool

    def expand(self, g: Scope, x: Value) -> Value:
        y = g.relu("relu", g.norm("bn", g.conv("conv", x, self.width, 3)))
        return g.avg_pool("pool", y, self.stride) if self.stride > 1 else y


class Dilated(Block):
    """Convolutions of several dilations, side by side."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels
    dilations: tuple[Annotated[int, Field(ge=1, le=4)], ...] = (1, 2)  # of the branches
    blocks: tuple[BlockSpec, ...] = ()  # behind them
    hidden: Annotated[int, Field(ge=8, multiple_of=8)] = 8  # channels of a branch
    mode: Annotated[str, Field(pattern="^(wide|narrow)$")] = "wide"  # how the branches are joined

    def expand(self, g: Scope, x: Value) -> Value:
        branches = [g.conv(f"branch{i}", x, self.hidden, 3, dilation=d) for i, d in enumerate(self.dilations)]
        y = g.conv("out", g.concat("cat", *branches), self.width, 1 if self.mode == "wide" else 3)
        for i, block in enumerate(self.blocks):
            y = g.block(f"block{i}", block, y, keeps_shape=True)
        return y


class Patches(Block):
    """An image cut into patches."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels
    patch: Literal[32, 16] = 32  # a patch's side

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("proj", x, self.width, self.patch, stride=self.patch, padding=0)


ATTENTION = """
class PixelAttention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        y = x.flatten(2).transpose(1, 2)
        y, _ = self.attention(y, y, y, need_weights=False)
        return y.transpose(1, 2).reshape(x.shape)
"""


@dataclass(frozen=True)
class PixelAttentionOp(Op):
    """Torch's attention over all pixels."""

    heads: int = 2
    helper: ClassVar[str] = ATTENTION

    def shape(self, *inputs: Shape) -> Shape:
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        if x[0] % self.heads:
            raise OpError(f"heads={self.heads} must divide the {x[0]} channels; use a divisor of {x[0]}")
        return x

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        c = inputs[0][0]
        return {
            "attention.in_proj_weight": (3 * c, c),
            "attention.in_proj_bias": (3 * c,),
            "attention.out_proj.weight": (c, c),
            "attention.out_proj.bias": (c,),
        }

    def macs(self, *inputs: Shape) -> int:
        c, h, w = inputs[0]
        return 4 * c * c * h * w

    def call(self, *inputs: Shape) -> Call:
        channels = Argument("channels", inputs[0][0], positional=True)
        return Call("PixelAttention", (channels, Argument("heads", self.heads, positional=True)))


class Attention(Block):
    """A convolution, and attention over all pixels."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels
    heads: Annotated[int, Field(ge=1, le=4)] = 2  # of the attention

    def expand(self, g: Scope, x: Value) -> Value:
        return g.op("attention", PixelAttentionOp(self.heads), g.conv("conv", x, self.width))


@dataclass(frozen=True)
class ELU(Op):
    """An activation that may work in place, whose gradient is then computed from its output."""

    in_place: ClassVar[bool] = True
    saves_output: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return sole(self, inputs)

    def call(self, *inputs: Shape) -> Call:
        return Call("nn.ELU")


@dataclass(frozen=True)
class AddAtSize(Op):
    """The first map, brought to the size of the second, and the second."""

    def shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or any(len(each) != 3 for each in inputs) or inputs[0][0] != inputs[1][0]:
            raise OpError("takes two maps of as many channels; give it such")
        return inputs[1]

    def expression(self, *names: str) -> str:
        return f"nn.functional.interpolate({names[0]}, size={names[1]}.shape[2:]) + {names[1]}"


class Pyramid(Block):
    """Two maps, brought to one width and size, and added."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels

    def expand(self, g: Scope, x: Value, y: Value) -> Value:
        top = g.op("elu", ELU(), g.conv("top", x, self.width))
        return g.op("up", AddAtSize(), top, g.conv("lateral", y, self.width))


SOUND: tuple[type[Block], ...] = (PoolDown, Dilated, Patches, Attention, Pyramid)

"""The primitive operations that blocks are made of."""

from blockforge.ops.activation import (
    ACTIVATIONS,
    GELU,
    Activation,
    Hardsigmoid,
    Hardswish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from blockforge.ops.base import Argument, Call, Op, Pair, Shape, expect_rank, pair, show_shape, sole
from blockforge.ops.convolution import Conv2d, Conv2dSame
from blockforge.ops.linear import Linear
from blockforge.ops.merge import Add, Concat, Mul
from blockforge.ops.norm import BatchNorm1d, BatchNorm2d, LayerNorm, LocalResponseNorm
from blockforge.ops.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, Mean
from blockforge.ops.shape import (
    ChannelAffine,
    ChannelShuffle,
    Dropout,
    DropPath,
    Flatten,
    Identity,
    Input,
    Split,
    ZeroPadShortcut,
)

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "Activation",
    "AdaptiveAvgPool2d",
    "Add",
    "Argument",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Call",
    "ChannelAffine",
    "ChannelShuffle",
    "Concat",
    "Conv2d",
    "Conv2dSame",
    "DropPath",
    "Dropout",
    "Flatten",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "Input",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Mean",
    "Mul",
    "Op",
    "Pair",
    "ReLU",
    "ReLU6",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Split",
    "Tanh",
    "ZeroPadShortcut",
    "expect_rank",
    "pair",
    "show_shape",
    "sole",
]

"""Activations: elementwise (softmax: over channels), without parameters, of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from blockforge.ops.base import Argument, Call, Op, Shape, sole


@dataclass(frozen=True)
class Activation(Op):
    """An activation; a subclass bears the name of its module in `torch.nn`."""

    # Some of them read their output in the backward pass always, others when they ran in place.
    saves_output: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        return inputs[0] if len(inputs) == 1 else sole(self, inputs)

    def call(self, *inputs: Shape) -> Call:
        """`nn.ReLU()`; `inplace=True` is added by who knows that it is safe."""
        return Call(f"nn.{type(self).__name__}")


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0)."""

    in_place: ClassVar[bool] = True


@dataclass(frozen=True)
class ReLU6(Activation):
    """min(max(x, 0), 6)."""

    in_place: ClassVar[bool] = True


@dataclass(frozen=True)
class SiLU(Activation):
    """x * sigmoid(x), also called swish."""

    in_place: ClassVar[bool] = True


@dataclass(frozen=True)
class Hardswish(Activation):
    """x * relu6(x + 3) / 6."""

    in_place: ClassVar[bool] = True


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Hardsigmoid(Activation):
    """relu6(x + 3) / 6."""

    in_place: ClassVar[bool] = True


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class GELU(Activation):
    """x times the normal distribution's cumulative function at x, exactly."""


@dataclass(frozen=True)
class Softmax(Activation):
    """exp(x) over the sum of exp(x) in all channels: (C,) or (C, H, W)."""

    def call(self, *inputs: Shape) -> Call:
        """`nn.Softmax(dim=1)`."""
        return Call("nn.Softmax", (Argument("dim", 1),))


ACTIVATIONS: dict[str, type[Activation]] = {
    activation.__name__.lower(): activation
    for activation in (ReLU, ReLU6, SiLU, Hardswish, Sigmoid, Hardsigmoid, Tanh, GELU, Softmax)
}
"""The activations by the names that files and the command line use."""

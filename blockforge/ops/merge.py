"""What makes one tensor of several: sum, product, concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from blockforge.errors import OpError
from blockforge.ops.base import Op, Shape, show_shape


@dataclass(frozen=True)
class Add(Op):
    """The sum of two or more tensors of one shape; in place it is `a += b`."""

    in_place: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: that of every input."""
        _expect(self, len(inputs) >= 2, inputs, "two or more inputs")
        first = inputs[0]
        for other in inputs:
            if other != first:
                raise OpError(
                    f"Add takes inputs of one shape, but they are {_list(inputs)}; "
                    "bring them to one shape, by a 1x1 convolution with a stride for example"
                )
        return first

    def scratch(self, *inputs: Shape) -> int:
        """The partial sum, with more than two inputs."""
        return prod(inputs[0]) if len(inputs) > 2 else 0

    def expression(self, *names: str) -> str:
        """`a + b`."""
        return " + ".join(names)


@dataclass(frozen=True)
class Mul(Op):
    """The product of two tensors: of one shape, or (C, 1, 1) times (C, H, W) in either order."""

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: that of the larger input."""
        _expect(self, len(inputs) == 2, inputs, "two inputs")
        a, b = inputs
        if a == b or (len(a) == len(b) == 3 and a[0] == b[0] and b[1:] == (1, 1)):
            return a
        if len(a) == len(b) == 3 and a[0] == b[0] and a[1:] == (1, 1):
            return b
        raise OpError(
            f"Mul takes inputs of one shape, or (C, 1, 1) and (C, H, W), but they are {_list(inputs)}; "
            + (
                f"give both the same {'size' if a[0] == b[0] else 'channels'}"
                if len(a) == len(b)
                else "pool with adaptive_avg_pool, which keeps (C, 1, 1)"
            )
        )

    def expression(self, *names: str) -> str:
        """`a * b`."""
        return f"{names[0]} * {names[1]}"


@dataclass(frozen=True)
class Concat(Op):
    """The inputs behind each other along the channels: (C1, H, W) and (C2, H, W) to (C1 + C2, H, W)."""

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape."""
        _expect(self, len(inputs) >= 1, inputs, "one or more inputs")
        rest = inputs[0][1:]
        channels = 0
        for shape in inputs:
            if shape[1:] != rest or not shape:
                raise OpError(
                    f"Concat takes inputs that differ in channels only, but they are {_list(inputs)}; "
                    "give the branches the same strides and paddings"
                )
            channels += shape[0]
        return channels, *rest

    def expression(self, *names: str) -> str:
        """`torch.cat((a, b), 1)`."""
        return f"torch.cat(({', '.join(names)}{',' if len(names) == 1 else ''}), 1)"


def _expect(op: Op, enough: bool, inputs: tuple[Shape, ...], wanted: str) -> None:
    if not enough:
        raise OpError(f"{op.kind} takes {wanted}, but got {len(inputs)}; wire it to as many")


def _list(shapes: tuple[Shape, ...]) -> str:
    *others, last = map(show_shape, shapes)
    return f"{', '.join(others)} and {last}"

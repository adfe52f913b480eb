"""Squeeze-and-excitation: each channel is weighed by a gate that sees the mean of all channels.

Paper: Hu et al. 2017, arXiv:1709.01507.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Activation, Block, Scope, Search, Value, hookimpl


class SqueezeExcitation(Block):
    """Mean over space, two 1x1 convolutions, and a gate a channel; keeps its input's shape."""

    paper: ClassVar[str] = "arXiv:1709.01507"
    reduction: Annotated[int, Field(ge=1), Search(4, 8, 16)] = 16  # input channels / squeezed channels
    divisor: Annotated[int, Field(ge=1)] = 1  # the squeezed channels are rounded to a multiple of it
    round_limit: Annotated[float, Field(ge=0, le=1)] = 0.0  # rounding leaves at least this share of them
    activation: Activation = "relu"  # between the two convolutions
    gate: Activation = "sigmoid"  # after them: it makes each channel's weight

    def expand(self, g: Scope, x: Value) -> Value:
        """Squeeze, excite, weigh."""
        channels = x.shape[0]
        squeezed = max(self.divisor, round_half_up(channels / self.reduction, self.divisor))
        if squeezed < self.round_limit * channels / self.reduction:
            squeezed += self.divisor
        y = g.adaptive_avg_pool("avgpool", x)  # c, 1, 1
        y = g.activation("activation", g.conv("fc1", y, squeezed, bias=True), self.activation)  # squeezed, 1, 1
        y = g.activation("gate", g.conv("fc2", y, channels, bias=True), self.gate)  # c, 1, 1
        return g.mul("mul", x, y)  # c, h, w


def round_half_up(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to the value, the greater one of two."""
    return int(value + divisor / 2) // divisor * divisor if divisor > 1 else int(value)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [SqueezeExcitation]

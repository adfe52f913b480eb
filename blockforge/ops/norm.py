"""Normalisations; each keeps its input's shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from blockforge.errors import OpError
from blockforge.ops.base import Argument, Call, Op, Shape, expect_rank, show_shape, sole, whole


@dataclass(frozen=True)
class _BatchNorm(Op):
    ranks: ClassVar[tuple[int, ...]]

    eps: float = 1e-5
    momentum: float | None = 0.1

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        _check_eps(self.eps)
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise OpError(f"momentum={self.momentum} must lie between 0 and 1; or use None for a plain average")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        x = sole(self, inputs)
        if len(x) not in self.ranks:
            expect_rank(self, x, *self.ranks)
        return x

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """`weight` and `bias`, one number a channel each."""
        channels = inputs[0][:1]
        return {"weight": channels, "bias": channels}

    def params(self, *inputs: Shape) -> int:
        """The number of trainable parameters."""
        return 2 * inputs[0][0]

    def params_formula(self, *inputs: Shape) -> str:
        """`2*64`: scale and shift of each channel."""
        return f"2*{inputs[0][0]}"

    def hashed(self) -> str:
        """The momentum is left out: it acts on training alone."""
        return f"{type(self).__name__}(eps={self.eps!r})"

    def call(self, *inputs: Shape) -> Call:
        """`nn.BatchNorm2d(64)`."""
        return Call(
            f"nn.{type(self).__name__}",
            (
                Argument("num_features", inputs[0][0], positional=True),
                Argument("eps", self.eps, 1e-5),
                Argument("momentum", self.momentum, 0.1),
            ),
        )


@dataclass(frozen=True)
class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (C, H, W): by channel, over the batch and space."""

    ranks: ClassVar[tuple[int, ...]] = (3,)


@dataclass(frozen=True)
class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (C,) or (C, L): by channel, over the batch and what follows."""

    ranks: ClassVar[tuple[int, ...]] = (1, 2)


@dataclass(frozen=True)
class LayerNorm(Op):
    """Normalisation of each sample over its last `axes` axes, any number of axes.

    Raises `OpError` if the input has fewer axes.
    """

    axes: int = 1
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "axes")
        _check_eps(self.eps)

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        x = sole(self, inputs)
        if len(x) < self.axes:
            raise OpError(
                f"axes={self.axes} is more than the {len(x)} of the input {show_shape(x)}; use at most {len(x)}"
            )
        return x

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """`weight` and `bias` in the shape of the normalised axes, unless `affine` is off."""
        normalized = inputs[0][-self.axes :]
        return {"weight": normalized, "bias": normalized} if self.affine else {}

    def params_formula(self, *inputs: Shape) -> str:
        """`2*768`: scale and shift of each normalised element."""
        return "*".join(map(str, (2, *inputs[0][-self.axes :]))) if self.affine else ""

    def scratch(self, *inputs: Shape) -> int:
        """The mean and the deviation of each normalised slice."""
        return 2 * prod(inputs[0][: -self.axes])

    def call(self, *inputs: Shape) -> Call:
        """`nn.LayerNorm(768)`."""
        normalized = inputs[0][-self.axes :]
        return Call(
            "nn.LayerNorm",
            (
                Argument("normalized_shape", normalized if len(normalized) > 1 else normalized[0], positional=True),
                Argument("eps", self.eps, 1e-5),
                Argument("elementwise_affine", self.affine, True),
            ),
        )


@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """AlexNet's normalisation of (C, H, W): each element by the squares in `size` neighbouring channels."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "size")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: the input's."""
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        return x

    def scratch(self, *inputs: Shape) -> int:
        """The squares with their padding, or later three copies of them, in place of the output."""
        c, h, w = inputs[0]
        return max(c + self.size - 1, 2 * c) * h * w

    def call(self, *inputs: Shape) -> Call:
        """`nn.LocalResponseNorm(5)`."""
        return Call(
            "nn.LocalResponseNorm",
            (
                Argument("size", self.size, positional=True),
                Argument("alpha", self.alpha, 1e-4),
                Argument("beta", self.beta, 0.75),
                Argument("k", self.k, 1.0),
            ),
        )


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise OpError(f"eps={eps} must be positive; use 1e-5 or so")

"""Pooling over space: (C, H, W) to (C, H', W'), or to (C,) for the mean."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from blockforge.errors import InputTooSmall, OpError
from blockforge.ops.base import Argument, Call, Op, Pair, Shape, expect_rank, pair, settle, show_size, sole


@dataclass(frozen=True)
class MaxPool2d(Op):
    """The greatest element of each window; `stride` is the kernel unless said.

    Raises `OpError` for a padding of more than half the kernel, `InputTooSmall` if no window fits.
    """

    kernel: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    dilation: int | Pair = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        _check_window(self)
        if type(self.dilation) is not int or self.dilation < 1:
            settle(self, 1, "dilation")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape."""
        return _pooled(self, inputs, pair(self.dilation))

    def scratch(self, *inputs: Shape) -> int:
        """The index of each greatest element, 8 bytes each: torch makes them in eval mode too."""
        return 2 * prod(self.shape(*inputs))

    def call(self, *inputs: Shape) -> Call:
        """`nn.MaxPool2d(3, 2, padding=1)`."""
        return Call(
            "nn.MaxPool2d",
            (
                Argument("kernel_size", self.kernel, positional=True),
                Argument("stride", self.stride, positional=True),
                Argument("padding", self.padding, 0),
                Argument("dilation", self.dilation, 1),
                Argument("ceil_mode", self.ceil_mode, False),
            ),
        )


@dataclass(frozen=True)
class AvgPool2d(Op):
    """The mean of each window; `stride` is the kernel unless said.

    Raises `OpError` for a padding of more than half the kernel, `InputTooSmall` if no window fits.
    """

    kernel: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        _check_window(self)

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape."""
        return _pooled(self, inputs, (1, 1))

    def call(self, *inputs: Shape) -> Call:
        """`nn.AvgPool2d(2, 2)`."""
        return Call(
            "nn.AvgPool2d",
            (
                Argument("kernel_size", self.kernel, positional=True),
                Argument("stride", self.stride, positional=True),
                Argument("padding", self.padding, 0),
                Argument("ceil_mode", self.ceil_mode, False),
                Argument("count_include_pad", self.count_include_pad, True),
            ),
        )


@dataclass(frozen=True)
class AdaptiveAvgPool2d(Op):
    """The mean of as many windows as make an output of `size`: (C, H, W) to (C, *size)."""

    size: int | Pair = 1

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        settle(self, 1, "size")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape, `(C, *size)`."""
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        return x[0], *pair(self.size)

    def call(self, *inputs: Shape) -> Call:
        """`nn.AdaptiveAvgPool2d(1)`."""
        return Call("nn.AdaptiveAvgPool2d", (Argument("output_size", self.size, positional=True),))


@dataclass(frozen=True)
class Mean(Op):
    """The mean over space: (C, H, W) to (C,)."""

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape, `(C,)`."""
        x = sole(self, inputs)
        expect_rank(self, x, 3)
        return x[:1]

    def expression(self, *names: str) -> str:
        """`x.mean((2, 3))`."""
        return f"{names[0]}.mean((2, 3))"


def _check_window(op: MaxPool2d | AvgPool2d) -> None:
    """Check the window's fields, and put the kernel where no stride is given."""
    if op.stride is None:
        object.__setattr__(op, "stride", op.kernel)
    kernel, stride, padding = op.kernel, op.stride, op.padding
    # One look for the usual case, as in a convolution.
    if type(kernel) is type(stride) is type(padding) is int and kernel >= 1 <= stride and 0 <= padding <= kernel // 2:
        return
    settle(op, 1, "kernel", "stride")
    settle(op, 0, "padding")
    if op.padding == 0:
        return
    for kernel, padding in zip(pair(op.kernel), pair(op.padding), strict=True):
        if padding > kernel // 2:
            raise OpError(f"padding {padding} is more than half of kernel {kernel}; use at most {kernel // 2}")


def _pooled(op: MaxPool2d | AvgPool2d, inputs: tuple[Shape, ...], dilation: Pair) -> Shape:
    """The output's shape by PyTorch's arithmetic."""
    x = inputs[0] if len(inputs) == 1 else sole(op, inputs)
    if len(x) != 3:
        expect_rank(op, x, 3)
    kernel, stride, padding = op.kernel, op.stride, op.padding
    if type(kernel) is type(stride) is type(padding) is int:  # the usual case, in one look
        kh, sh, ph = kw, sw, pw = kernel, stride, padding
    else:
        (kh, kw), (sh, sw), (ph, pw) = pair(kernel), pair(stride or kernel), pair(padding)
    # What is left of the padded input beside one window.
    rest_h, rest_w = x[1] + 2 * ph - dilation[0] * (kh - 1) - 1, x[2] + 2 * pw - dilation[1] * (kw - 1) - 1
    h, w = rest_h // sh + 1, rest_w // sw + 1
    if op.ceil_mode:
        # One more window over the rest, if it starts inside the input or its left padding.
        h += rest_h % sh > 0 and h * sh < x[1] + ph
        w += rest_w % sw > 0 and w * sw < x[2] + pw
    if h < 1 or w < 1:
        wide = f" with dilation {show_size(dilation)}" if dilation != (1, 1) else ""
        raise InputTooSmall(
            f"kernel {show_size(op.kernel)}{wide} is larger than the padded input "
            f"{x[1] + 2 * ph}x{x[2] + 2 * pw}; "
            "use a larger input or a smaller kernel or stride"
        )
    return x[0], h, w

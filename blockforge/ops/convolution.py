"""Two-dimensional convolutions, with PyTorch's padding or TensorFlow's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from blockforge.errors import InputTooSmall, OpError
from blockforge.ops.base import Argument, Call, Op, Pair, Shape, expect_rank, pair, settle, show_size, sole, whole


@dataclass(frozen=True)
class Conv2d(Op):
    """A 2-d convolution: (C, H, W) to (out_channels, H', W'), weight (out_channels, C / groups, kh, kw).

    Raises `OpError` if `groups` doesn't divide the channels, `InputTooSmall` if the kernel doesn't fit.
    """

    out_channels: int
    kernel: int | Pair = 1
    stride: int | Pair = 1
    padding: int | Pair = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        kernel, stride, padding, dilation = self.kernel, self.stride, self.padding, self.dilation
        # One look for the usual case: a search makes these ops by the hundred thousand a second.
        if not (
            type(kernel) is type(stride) is type(padding) is type(dilation) is int
            and type(self.out_channels) is type(self.groups) is int
            and kernel >= 1 <= stride
            and dilation >= 1 <= self.groups
            and self.out_channels >= 1
            and padding >= 0
        ):
            whole(self, 1, "out_channels", "groups")
            settle(self, 1, "kernel", "stride", "dilation")
            settle(self, 0, "padding")
        if self.out_channels % self.groups:
            self._divide(self.out_channels, "output")

    def _divide(self, channels: int, which: str) -> NoReturn:
        raise OpError(f"groups={self.groups} must divide the {channels} {which} channels; use a divisor of {channels}")

    def _input(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0] if len(inputs) == 1 else sole(self, inputs)
        if len(x) != 3:
            expect_rank(self, x, 3)
        if x[0] % self.groups:
            self._divide(x[0], "input")
        return x

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: each axis is (size + 2 * padding - span) // stride + 1."""
        _, h, w = self._input(inputs)
        kernel, stride, padding, dilation = self.kernel, self.stride, self.padding, self.dilation
        if type(kernel) is type(stride) is type(padding) is type(dilation) is int:  # the usual case, in one look
            kh, sh, ph, dh = kw, sw, pw, dw = kernel, stride, padding, dilation
        else:
            (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel), pair(stride), pair(padding), pair(dilation)
        # What is left of the padded input beside one window.
        rest_h, rest_w = h + 2 * ph - dh * (kh - 1) - 1, w + 2 * pw - dw * (kw - 1) - 1
        if rest_h < 0 or rest_w < 0:
            wide = f" with dilation {show_size(self.dilation)}" if self.dilation != 1 else ""
            raise InputTooSmall(
                f"kernel {show_size(self.kernel)}{wide} is larger than the padded input "
                f"{h + 2 * ph}x{w + 2 * pw}; use a larger input or a smaller kernel or stride"
            )
        return self.out_channels, rest_h // sh + 1, rest_w // sw + 1

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """`weight`, and `bias` unless it is switched off."""
        weight = (self.out_channels, inputs[0][0] // self.groups, *pair(self.kernel))
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def params(self, *inputs: Shape) -> int:
        """The number of trainable parameters."""
        kh, kw = pair(self.kernel)
        return (inputs[0][0] // self.groups * kh * kw + self.bias) * self.out_channels

    def params_formula(self, *inputs: Shape) -> str:
        """`(5*5*1+1)*6`: (kernel * kernel * input channels of a group + bias) * output channels."""
        kh, kw = pair(self.kernel)
        fan_in = f"{kh}*{kw}*{inputs[0][0] // self.groups}"
        return f"({fan_in}+1)*{self.out_channels}" if self.bias else f"{fan_in}*{self.out_channels}"

    def macs(self, *inputs: Shape) -> int:
        """Output elements times the inputs that each is made of."""
        width, h, w = self.shape(*inputs)
        kh, kw = pair(self.kernel)
        return width * h * w * (inputs[0][0] // self.groups) * kh * kw

    def call(self, *inputs: Shape) -> Call:
        """`nn.Conv2d(64, 128, 3, padding=1)`."""
        return Call(
            "nn.Conv2d",
            (
                Argument("in_channels", inputs[0][0], positional=True),
                Argument("out_channels", self.out_channels, positional=True),
                Argument("kernel_size", self.kernel, positional=True),
                Argument("stride", self.stride, 1),
                Argument("padding", self.padding, 0),
                Argument("dilation", self.dilation, 1),
                Argument("groups", self.groups, 1),
                Argument("bias", self.bias, True),
            ),
        )


@dataclass(frozen=True)
class Conv2dSame(Conv2d):
    """A convolution padded as TensorFlow's "same": (C, H, W) to (out_channels, ceil(H / sh), ceil(W / sw)).

    The padding follows from the input's size; where it is odd, the bottom and the right get more.
    Raises `OpError` if `groups` doesn't divide both channel counts, or if given a padding.
    """

    helper: ClassVar[str] = '''\
class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's padding: ceil(size / stride) outputs, the odd row and column last."""

    def forward(self, x):
        sizes = zip(x.shape[2:], self.kernel_size, self.stride, self.dilation)
        height, width = (
            max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            for size, kernel, stride, dilation in sizes
        )
        if height % 2 or width % 2:
            x = nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        padding = height // 2, width // 2
        return nn.functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )
'''

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        super().__post_init__()
        if self.padding != 0:
            raise OpError(f"padding={self.padding} clashes with 'same'; leave it out, or use Conv2d")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape: each axis is ceil(size / stride)."""
        _, h, w = self._input(inputs)
        sh, sw = pair(self.stride)
        return self.out_channels, -(-h // sh), -(-w // sw)

    def scratch(self, *inputs: Shape) -> int:
        """The elements of the padded copy, which an odd padding needs."""
        c, h, w = inputs[0]
        more_h, more_w = (
            max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            for size, kernel, stride, dilation in zip(
                (h, w), pair(self.kernel), pair(self.stride), pair(self.dilation), strict=True
            )
        )
        return c * (h + more_h) * (w + more_w) if more_h % 2 or more_w % 2 else 0

    def call(self, *inputs: Shape) -> Call:
        """`Conv2dSame(64, 128, 3, stride=2)`."""
        return Call("Conv2dSame", super().call(*inputs).arguments)

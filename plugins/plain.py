"""The plain parts of most networks: convolution-norm-activation, pools, fully connected layers, stem and head.

LeCun et al. 1998, "Gradient-based learning applied to document recognition"; VGG: arXiv:1409.1556.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blockforge import (
    Activation,
    Block,
    Channels,
    Groups,
    Kernel,
    Probability,
    Scope,
    Stride,
    Value,
    hookimpl,
    ops,
)

Padding = Annotated[int, Field(ge=0)]


class Conv(Block):
    """A convolution, batch normalisation and an activation, each of the last two optional."""

    paper: ClassVar[str] = "arXiv:1502.03167"
    width: Channels = 64  # output channels
    kernel: Kernel = 3  # the window's side
    stride: Stride = 1  # of the window
    padding: Padding | Literal["same"] | None = None  # null: half the kernel, which keeps the size at stride 1
    dilation: Annotated[int, Field(ge=1)] = 1  # the step between the window's own elements
    groups: Groups = 1  # of channels that don't see each other
    bias: bool = False  # of the convolution
    norm: bool = True  # whether batch normalisation follows
    activation: Activation | None = "relu"  # what comes last; null: linear
    names: tuple[str, str, str] = ("#", "#", "#")  # of convolution, norm and activation

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the convolution, then what is asked for."""
        conv, norm, activation = self.names
        y = g.conv(
            conv,
            x,
            self.width,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )  # width, h/s, w/s
        if self.norm:
            y = g.norm(norm, y)
        return g.activation(activation, y, self.activation) if self.activation else y


class NormActivation(Block):
    """Batch normalisation and an activation: what ends a network of pre-activation blocks."""

    paper: ClassVar[str] = "arXiv:1603.05027"
    repeatable: ClassVar[bool] = False
    activation: Activation = "relu"  # after the norm
    names: tuple[str, str] = ("#", "#")  # of norm and activation

    def expand(self, g: Scope, x: Value) -> Value:
        """Add both."""
        norm, activation = self.names
        return g.activation(activation, g.norm(norm, x), self.activation)  # c, h, w


class Pool(Block):
    """Max or average pooling, or an average over a fixed grid."""

    paper: ClassVar[str] = "LeCun et al. 1998"
    repeatable: ClassVar[bool] = False
    kind: Literal["max", "avg", "adaptive_avg"] = "max"  # adaptive_avg: over a grid, whatever the input's size
    kernel: Annotated[int, Field(ge=1)] = 2  # the window's side; for adaptive_avg: the grid's
    stride: Annotated[int, Field(ge=1)] | None = None  # null: the kernel
    padding: Padding = 0  # rows and columns added at each edge
    ceil_mode: bool = False  # whether a window may reach over the far edges
    count_include_pad: bool = True  # whether padding counts in an average

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the pool at the scope itself."""
        if self.kind == "adaptive_avg":
            return g.adaptive_avg_pool("", x, self.kernel)  # c, kernel, kernel
        if self.kind == "max":
            return g.max_pool("", x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return g.avg_pool(
            "",
            x,
            self.kernel,
            self.stride,
            self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )


class LocalResponseNorm(Block):
    """Each element divided by how strongly its neighbouring channels respond, so that they compete."""

    paper: ClassVar[str] = "Krizhevsky et al. 2012"
    repeatable: ClassVar[bool] = False
    size: Annotated[int, Field(ge=1)] = 5  # how many channels count, the element's own in their middle
    alpha: Annotated[float, Field(gt=0)] = 1e-4  # the weight of their mean square, as torch and Caffe have it
    beta: Annotated[float, Field(gt=0)] = 0.75  # the power of the divisor
    k: Annotated[float, Field(gt=0)] = 2.0  # what the divisor starts from

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the norm at the scope itself."""
        return g.op("", ops.LocalResponseNorm(self.size, self.alpha, self.beta, self.k), x)  # c, h, w


class Dropout(Block):
    """Elements set to zero at random in training, so that none relies on another."""

    paper: ClassVar[str] = "arXiv:1207.0580"
    repeatable: ClassVar[bool] = False
    p: Probability = 0.5  # an element's chance to be dropped

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the dropout at the scope itself."""
        return g.dropout("", x, self.p)  # x's shape


class Linear(Block):
    """A fully connected layer, with dropout before and an activation after it where they are asked for."""

    paper: ClassVar[str] = "LeCun et al. 1998"
    width: Channels = 10  # output features
    bias: bool = True  # whether each output has an offset
    activation: Activation | None = None  # after the linear layer
    dropout: Probability | None = None  # before the linear layer
    names: tuple[str, str, str] = ("#", "#", "#")  # of dropout, linear layer and activation

    def expand(self, g: Scope, x: Value) -> Value:
        """Flatten maps first."""
        dropout, linear, activation = self.names
        if len(x.shape) > 1:
            x = g.flatten("flatten", x)  # c*h*w
        if self.dropout is not None:
            x = g.dropout(dropout, x, self.dropout)
        x = g.linear(linear, x, self.width, bias=self.bias)  # width
        return g.activation(activation, x, self.activation) if self.activation else x


class Stem(Block):
    """The first convolution of an ImageNet network, with its norm, activation and pool."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    repeatable: ClassVar[bool] = False
    width: Channels = 64  # output channels
    kernel: Kernel = 7  # of the convolution
    stride: Stride = 2  # of the convolution
    activation: Activation = "relu"  # after the norm
    pool: Literal["max"] | None = "max"  # 3x3, stride 2
    names: tuple[str, str, str, str] = ("conv1", "bn1", "relu", "maxpool")  # of convolution, norm, activation, pool

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the convolution, then a pool that halves the size."""
        conv, norm, activation, pool = self.names
        y = g.norm(norm, g.conv(conv, x, self.width, self.kernel, stride=self.stride))  # width, h/s, w/s
        y = g.activation(activation, y, self.activation)
        return g.max_pool(pool, y, 3, 2, 1) if self.pool else y  # width, h/2s, w/2s


class Classifier(Block):
    """Global average pooling, dropout where it is asked for, and a fully connected layer, if there is one."""

    paper: ClassVar[str] = "arXiv:1312.4400"
    repeatable: ClassVar[bool] = False
    width: Channels | None = 1000  # the classes; null: a map for each came in
    pool: Literal["adaptive", "mean"] = "adaptive"  # a module, or a mean written out
    dropout: Probability | None = None  # before the linear layer
    names: tuple[str, str, str] = ("avgpool", "dropout", "fc")  # of pool, dropout and linear layer

    def expand(self, g: Scope, x: Value) -> Value:
        """Pool over space, then classify."""
        pool, dropout, linear = self.names
        if len(x.shape) > 1 and self.pool == "mean":
            x = g.mean(pool, x)  # c
        elif len(x.shape) > 1:
            x = g.flatten("flatten", g.adaptive_avg_pool(pool, x))  # c
        if self.dropout is not None:
            x = g.dropout(dropout, x, self.dropout)
        return g.linear(linear, x, self.width) if self.width else x  # width


class Add(Block):
    """The sum of its inputs, which must have one shape."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    repeatable: ClassVar[bool] = False

    def expand(self, g: Scope, *xs: Value) -> Value:
        """Add them up."""
        return g.add("", *xs)


class Concat(Block):
    """Its inputs' channels behind each other; they must agree in size."""

    paper: ClassVar[str] = "arXiv:1409.4842"
    repeatable: ClassVar[bool] = False

    def expand(self, g: Scope, *xs: Value) -> Value:
        """Join the channels."""
        return g.concat("", *xs)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [Conv, NormActivation, Pool, LocalResponseNorm, Dropout, Linear, Stem, Classifier, Add, Concat]

"""Inception v3: large convolutions factorised into small and oblong ones, in a module for each size of the maps.

Paper: Szegedy et al. 2015, arXiv:1512.00567. The modules' letters and names are torchvision's.
"""

from __future__ import annotations

from typing import ClassVar

from blockforge import Block, Channels, Kernel, Scope, Stride, Value, hookimpl

from .plain import Padding


class ConvNormRelu(Block):
    """A convolution without bias, whose kernel may be oblong, batch normalisation and ReLU."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    width: Channels = 64  # output channels
    kernel: Kernel | tuple[Kernel, Kernel] = 3  # (1, 7) is a row of seven
    stride: Stride = 1  # of the convolution
    padding: Padding | tuple[Padding, Padding] = 0  # at each edge; half the kernel keeps the size at stride 1

    def expand(self, g: Scope, x: Value) -> Value:
        """Add the three."""
        y = g.conv("conv", x, self.width, self.kernel, stride=self.stride, padding=self.padding)  # width, h/s, w/s
        return g.relu("relu", g.norm("bn", y))


class InceptionA(Block):
    """For large maps: the 5x5 branch keeps its kernel, and beside it two 3x3 in a row see as far."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    branch1x1: Channels = 64  # the 1x1 branch
    branch5x5_reduce: Channels = 48  # the 1x1 convolution before the 5x5 one
    branch5x5: Channels = 64  # the 5x5 convolution
    branch3x3dbl_reduce: Channels = 64  # the 1x1 convolution before the two 3x3
    branch3x3dbl: Channels = 96  # each of the two 3x3
    branch_pool: Channels = 32  # the 1x1 convolution behind the pool

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, then join them."""
        branch1x1 = conv(g, "branch1x1", x, self.branch1x1)
        branch5x5 = conv(g, "branch5x5_1", x, self.branch5x5_reduce)
        branch5x5 = conv(g, "branch5x5_2", branch5x5, self.branch5x5, 5)
        double = conv(g, "branch3x3dbl_1", x, self.branch3x3dbl_reduce)
        double = conv(g, "branch3x3dbl_2", double, self.branch3x3dbl, 3)
        double = conv(g, "branch3x3dbl_3", double, self.branch3x3dbl, 3)
        pooled = conv(g, "branch_pool", g.avg_pool("avgpool", x, 3, 1, 1), self.branch_pool)
        return g.concat("concat", branch1x1, branch5x5, double, pooled)  # the branches' sum, h, w


class InceptionB(Block):
    """To maps of half the size: strided convolutions beside a pool, so that nothing is squeezed before it is pooled."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    repeatable: ClassVar[bool] = False
    branch3x3: Channels = 384  # the 3x3 branch
    branch3x3dbl_reduce: Channels = 64  # the 1x1 convolution before the two 3x3
    branch3x3dbl: Channels = 96  # each of the two 3x3

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, the last layer of each with stride 2 and no padding, then join them."""
        branch3x3 = conv(g, "branch3x3", x, self.branch3x3, 3, 2, 0)
        double = conv(g, "branch3x3dbl_1", x, self.branch3x3dbl_reduce)
        double = conv(g, "branch3x3dbl_2", double, self.branch3x3dbl, 3)
        double = conv(g, "branch3x3dbl_3", double, self.branch3x3dbl, 3, 2, 0)
        return g.concat("concat", branch3x3, double, g.max_pool("maxpool", x, 3, 2))  # c + the branches' sum, h/2, w/2


class InceptionC(Block):
    """For maps of middle size: a 7x7 convolution is a 1x7 and a 7x1 one, at two sevenths of the cost."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    branch1x1: Channels = 192  # the 1x1 branch
    branch7x7_reduce: Channels = 128  # all but the last convolution of both 7x7 branches
    branch7x7: Channels = 192  # the last one of each
    branch_pool: Channels = 192  # the 1x1 convolution behind the pool

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, then join them."""
        mid = self.branch7x7_reduce
        branch1x1 = conv(g, "branch1x1", x, self.branch1x1)
        branch7x7 = conv(g, "branch7x7_1", x, mid)
        branch7x7 = conv(g, "branch7x7_2", branch7x7, mid, (1, 7))
        branch7x7 = conv(g, "branch7x7_3", branch7x7, self.branch7x7, (7, 1))
        double = conv(g, "branch7x7dbl_1", x, mid)
        double = conv(g, "branch7x7dbl_2", double, mid, (7, 1))
        double = conv(g, "branch7x7dbl_3", double, mid, (1, 7))
        double = conv(g, "branch7x7dbl_4", double, mid, (7, 1))
        double = conv(g, "branch7x7dbl_5", double, self.branch7x7, (1, 7))
        pooled = conv(g, "branch_pool", g.avg_pool("avgpool", x, 3, 1, 1), self.branch_pool)
        return g.concat("concat", branch1x1, branch7x7, double, pooled)  # the branches' sum, h, w


class InceptionD(Block):
    """To maps of half the size once more, with a factorised 7x7 before the second branch's stride."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    repeatable: ClassVar[bool] = False
    branch3x3_reduce: Channels = 192  # the 1x1 convolution before the 3x3 one
    branch3x3: Channels = 320  # the 3x3 convolution
    branch7x7x3: Channels = 192  # each convolution of this branch

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, the last layer of each with stride 2 and no padding, then join them."""
        branch3x3 = conv(g, "branch3x3_1", x, self.branch3x3_reduce)
        branch3x3 = conv(g, "branch3x3_2", branch3x3, self.branch3x3, 3, 2, 0)
        branch7x7x3 = conv(g, "branch7x7x3_1", x, self.branch7x7x3)
        branch7x7x3 = conv(g, "branch7x7x3_2", branch7x7x3, self.branch7x7x3, (1, 7))
        branch7x7x3 = conv(g, "branch7x7x3_3", branch7x7x3, self.branch7x7x3, (7, 1))
        branch7x7x3 = conv(g, "branch7x7x3_4", branch7x7x3, self.branch7x7x3, 3, 2, 0)
        pooled = g.max_pool("maxpool", x, 3, 2)
        return g.concat("concat", branch3x3, branch7x7x3, pooled)  # c + the branches' sum, h/2, w/2


class InceptionE(Block):
    """For the smallest maps: 1x3 and 3x1 side by side, not in a row, widen the features."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    branch1x1: Channels = 320  # the 1x1 branch
    branch3x3: Channels = 384  # each 1x3, 3x1 and 3x3 convolution, and the 1x1 one before the single pair
    branch3x3dbl_reduce: Channels = 448  # the 1x1 convolution before the 3x3 one
    branch_pool: Channels = 192  # the 1x1 convolution behind the pool

    def expand(self, g: Scope, x: Value) -> Value:
        """Run the branches, then join them."""
        width = self.branch3x3
        branch1x1 = conv(g, "branch1x1", x, self.branch1x1)
        single = conv(g, "branch3x3_1", x, width)
        row = conv(g, "branch3x3_2a", single, width, (1, 3))
        column = conv(g, "branch3x3_2b", single, width, (3, 1))
        double = conv(g, "branch3x3dbl_1", x, self.branch3x3dbl_reduce)
        double = conv(g, "branch3x3dbl_2", double, width, 3)
        double_row = conv(g, "branch3x3dbl_3a", double, width, (1, 3))
        double_column = conv(g, "branch3x3dbl_3b", double, width, (3, 1))
        pooled = conv(g, "branch_pool", g.avg_pool("avgpool", x, 3, 1, 1), self.branch_pool)
        return g.concat("concat", branch1x1, row, column, double_row, double_column, pooled)  # the sum, h, w


class InceptionAuxV3(Block):
    """A classifier in the middle that acts as a regulariser: it is trained beside the last one, then left out."""

    paper: ClassVar[str] = "arXiv:1512.00567"
    repeatable: ClassVar[bool] = False
    width: Channels = 1000  # the number of classes
    reduce: Channels = 128  # the 1x1 convolution
    hidden: Channels = 768  # the 5x5 convolution

    def expand(self, g: Scope, x: Value) -> Value:
        """Pool, reduce, look at 5x5, classify."""
        x = conv(g, "conv0", g.avg_pool("avgpool0", x, 5, 3), self.reduce)  # reduce, 5, 5 for maps of 17x17
        x = conv(g, "conv1", x, self.hidden, 5, 1, 0)  # hidden, 1, 1
        x = g.flatten("flatten", g.adaptive_avg_pool("avgpool1", x))
        return g.linear("fc", x, self.width)  # width


def conv(
    g: Scope,
    name: str,
    x: Value,
    width: int,
    kernel: int | tuple[int, int] = 1,
    stride: int = 1,
    padding: int | tuple[int, int] | None = None,
) -> Value:
    """One convolution of a branch, with its norm and ReLU; the padding keeps the size unless it is given."""
    if padding is None:
        padding = (kernel[0] // 2, kernel[1] // 2) if isinstance(kernel, tuple) else kernel // 2
    return g.block(name, ConvNormRelu(width=width, kernel=kernel, stride=stride, padding=padding), x)


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [ConvNormRelu, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, InceptionAuxV3]

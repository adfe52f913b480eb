"""The bottleneck: a 3x3 convolution between two 1x1 ones that reduce and restore the channels.

Papers: He et al. 2015, arXiv:1512.03385; with groups, ResNeXt: Xie et al. 2016, arXiv:1611.05431; with a smaller
ratio, wide residual networks: Zagoruyko and Komodakis 2016, arXiv:1605.07146.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blockforge import Block, Channels, Groups, Search, hookimpl

from .residual import Convolution, Residual


class Bottleneck(Residual):
    """1x1 reduce, 3x3, 1x1 widen, with a shortcut; groups=32 makes it ResNeXt."""

    paper: ClassVar[str] = "arXiv:1512.03385"
    width: Channels = 256  # output channels
    stride_on: Literal[1, 2] = 2  # which convolution takes the stride; the paper's is the first
    ratio: Annotated[int, Field(ge=1), Search(2, 4, 8)] = 4  # output channels / channels of the 3x3
    reduce_first: Annotated[int, Field(ge=1)] = 1  # channels of the 3x3 / channels of the first 1x1
    groups: Groups = 1  # of the 3x3

    def convolutions(self) -> list[Convolution]:
        """Reduce, convolve, widen."""
        mid = max(1, self.width // self.ratio)
        first, second = self.strides()
        return [
            Convolution(max(1, mid // self.reduce_first), 1, first),
            Convolution(mid, 3, second, self.groups),
            Convolution(self.width, 1),
        ]


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [Bottleneck]

"""Channel shuffle: the channels are dealt out anew, so that cheap branches or groups of channels mix.

Papers: Zhang et al. 2017, arXiv:1707.01083 (ShuffleNetV1); Ma et al. 2018, arXiv:1807.11164 (ShuffleNetV2).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Block, Channels, Groups, Kernel, OpError, Scope, Search, Stride, Value, hookimpl


class ShuffleUnit(Block):
    """Half of the channels through 1x1, depthwise, 1x1; joined with the other half and shuffled."""

    paper: ClassVar[str] = "arXiv:1807.11164"
    width: Channels = 116  # output channels
    stride: Stride = 1  # of the depthwise convolutions
    kernel: Kernel = 3  # of the depthwise convolutions

    def expand(self, g: Scope, x: Value) -> Value:
        """Split, or reduce both branches where the shape changes, then join and shuffle."""
        half = self.width // 2
        if self.stride == 1 and x.shape[0] == self.width:
            x, y = g.split("split", x, 2)  # half, h, w
        else:
            y = x
            x = g.norm("branch1.#", depthwise(g, "branch1.#", x, self))  # c, h/s, w/s
            x = g.relu("branch1.#", g.norm("branch1.#", g.conv("branch1.#", x, self.width - half)))  # half, h/s, w/s
        y = g.relu("branch2.#", g.norm("branch2.#", g.conv("branch2.#", y, half)))  # half, h, w
        y = g.norm("branch2.#", depthwise(g, "branch2.#", y, self))  # half, h/s, w/s
        y = g.relu("branch2.#", g.norm("branch2.#", g.conv("branch2.#", y, half)))
        return g.channel_shuffle("shuffle", g.concat("concat", x, y), 2)  # width, h/s, w/s


def depthwise(g: Scope, name: str, x: Value, unit: ShuffleUnit) -> Value:
    """A convolution of each channel by itself."""
    channels = x.shape[0]
    return g.conv(name, x, channels, unit.kernel, stride=unit.stride, groups=channels)


class GroupedShuffleUnit(Block):
    """1x1 convolutions in groups, a shuffle between; the input is added, or pooled and joined at stride 2."""

    paper: ClassVar[str] = "arXiv:1707.01083"
    width: Channels = 272  # output channels
    stride: Stride = 1  # of the depthwise convolution, and of the pool beside it
    kernel: Kernel = 3  # of the depthwise convolution
    groups: Annotated[Groups, Search(2, 3, 4, 8)] = 4  # of both 1x1 convolutions
    entry_groups: Groups | None = None  # of the first 1x1 convolution where the shape changes; null: groups
    ratio: Annotated[int, Field(ge=1), Search(2, 4, 8)] = 4  # output channels / channels of the depthwise convolution
    bias: bool = False  # of both 1x1 convolutions

    def expand(self, g: Scope, x: Value) -> Value:
        """Reduce, shuffle, filter, widen, then add or join the input."""
        channels = x.shape[0]
        keeps = self.stride == 1 and channels == self.width
        if not keeps and channels >= self.width:
            raise OpError(
                f"width must be more than the {channels:,} channels of the input where the shape changes, since they"
                f" are a part of it, but is {self.width:,}; make it larger"
            )
        mid = max(1, self.width // self.ratio)
        groups = self.groups if keeps or self.entry_groups is None else self.entry_groups
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, mid, groups=groups, bias=self.bias)))  # mid, h, w
        if self.groups > 1:
            y = g.channel_shuffle("shuffle", y, self.groups)
        y = g.norm("bn2", g.conv("conv2", y, mid, self.kernel, stride=self.stride, groups=mid))  # mid, h/s, w/s
        rest = self.width if keeps else self.width - channels
        y = g.norm("bn3", g.conv("conv3", y, rest, groups=self.groups, bias=self.bias))  # rest, h/s, w/s
        if keeps:
            return g.relu("relu3", g.add("add", y, x))  # width, h, w
        x = g.avg_pool("avgpool", x, 3, self.stride, 1)  # c, h/s, w/s
        return g.relu("relu3", g.concat("concat", x, y))  # width, h/s, w/s


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [ShuffleUnit, GroupedShuffleUnit]

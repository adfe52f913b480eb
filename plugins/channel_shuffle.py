"""Channel shuffle: half of the channels pass untouched, then all are dealt out anew, so that cheap branches mix.

Paper: Ma et al. 2018, arXiv:1807.11164 (ShuffleNetV2).
"""

from __future__ import annotations

from typing import ClassVar

from blockforge import Block, Channels, Kernel, Scope, Stride, Value, hookimpl


class ShuffleUnit(Block):
    """Half of the channels through 1x1, depthwise, 1x1; joined with the other half and shuffled."""

    paper: ClassVar[str] = "arXiv:1807.11164"
    width: Channels = 116  # output channels
    stride: Stride = 1
    kernel: Kernel = 3

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


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The block of this file."""
    return [ShuffleUnit]

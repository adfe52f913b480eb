"""ShuffleNet's units: where the groups are, what is joined, and what a unit refuses."""

from __future__ import annotations

from typing import Any

import pytest

from blockforge.assembler import graph_of
from blockforge.errors import BlockforgeError
from blockforge.registry import get_registry

GroupedShuffleUnit: Any = get_registry().block("grouped_shuffle_unit")


def layers(block: Any, *shape: int) -> list[tuple[Any, ...]]:
    """A block's convolutions, shuffles, pools and joins, in order: kind, channels made, groups."""
    kinds = ("Conv2d", "ChannelShuffle", "AvgPool2d", "Add", "Concat")
    nodes = [node for node in graph_of(block, shape) if node.op.kind in kinds]
    return [(node.op.kind, node.shapes[0][0], getattr(node.op, "groups", None)) for node in nodes]


def test_a_unit_that_keeps_the_shape_adds_its_input() -> None:
    assert layers(GroupedShuffleUnit(width=240, groups=3, entry_groups=1), 240, 8, 8) == [
        ("Conv2d", 60, 3),
        ("ChannelShuffle", 60, 3),
        ("Conv2d", 60, 60),
        ("Conv2d", 240, 3),
        ("Add", 240, None),
    ]


def test_a_unit_with_a_stride_joins_its_pooled_input() -> None:
    assert layers(GroupedShuffleUnit(width=240, groups=3, entry_groups=1, stride=2), 24, 8, 8) == [
        ("Conv2d", 60, 1),
        ("ChannelShuffle", 60, 3),
        ("Conv2d", 60, 60),
        ("Conv2d", 216, 3),
        ("AvgPool2d", 24, None),
        ("Concat", 240, None),
    ]
    assert layers(GroupedShuffleUnit(width=480, groups=3, stride=2), 240, 8, 8)[0] == ("Conv2d", 120, 3)


def test_one_group_needs_no_shuffle() -> None:
    assert "ChannelShuffle" not in [kind for kind, *_ in layers(GroupedShuffleUnit(width=144, groups=1), 144, 8, 8)]


@pytest.mark.parametrize(("channels", "stride"), [(24, 2), (48, 2), (48, 1)])
def test_the_input_must_leave_room_for_new_channels(channels: int, stride: int) -> None:
    with pytest.raises(BlockforgeError) as caught:
        graph_of(GroupedShuffleUnit(width=24, groups=1, stride=stride), (channels, 8, 8))
    assert str(caught.value) == (
        f"grouped_shuffle_unit: width must be more than the {channels} channels of the input where the shape changes,"
        " since they are a part of it, but is 24; make it larger"
    )

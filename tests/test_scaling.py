"""Compound scaling: how widths and depths are rounded, what stays, and what is said of a wrong scale."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockforge import Network, cost, get_network
from blockforge.errors import InvalidNetwork
from blockforge.scaling import _at_least, make_divisible
from tests.published import PUBLISHED

TEXT = """\
input: [3, 16, 16]
classes: 10
stages:
  stem: {{block: conv, width: 24}}
  body: {{block: residual, width: 24, depth: 2{more}}}
  head: {{block: classifier, width: classes}}
scale: {scale}
"""


def scaled(scale: str, more: str = "") -> Network:
    return Network.from_yaml(TEXT.format(scale=scale, more=more))


def sizes(network: Network) -> dict[str, tuple[Any, int]]:
    """Each stage's width and depth."""
    return {name: (getattr(stage.block, "width", None), stage.depth) for name, stage in network.stages.items()}


def mistakes(scale: str, more: str = "") -> list[str]:
    with pytest.raises(InvalidNetwork) as caught:
        scaled(scale, more)
    return [each.partition(": ")[2] for each in caught.value.mistakes]


# Rounding


@pytest.mark.parametrize(
    ("value", "divisor", "expected"),
    [
        (32, 8, 32),
        (32 * 0.5, 8, 16),
        (24 * 0.5, 8, 16),  # half way between 8 and 16: the greater one
        (24 * 1.4, 8, 32),
        (16 * 0.75, 8, 16),
        (1, 8, 8),  # at least the divisor
        (11.2, 8, 16),  # 8 is nearer, but less than 90 %
        (19.5, 8, 24),  # 16 is nearer, but less than 90 %
        (17.7, 8, 16),
        (116 * 0.5, 4, 60),
        (33.6, 1, 34),
        (8.5, 1, 9),
    ],
)
def test_make_divisible(value: float, divisor: int, expected: int) -> None:
    assert make_divisible(value, divisor) == expected


@given(st.floats(0.01, 10_000), st.integers(1, 64))
def test_a_rounded_width_is_divisible_near_and_never_below_90_percent(value: float, divisor: int) -> None:
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert rounded >= 0.9 * value
    assert rounded - value <= divisor  # one step up at the most


# What is scaled, and what stays


def test_widths_and_depths_are_scaled_but_not_the_classes() -> None:
    assert sizes(scaled("{width: 2.0, depth: 1.2}")) == {"stem": (48, 1), "body": (48, 3), "head": (10, 1)}
    assert sizes(scaled("{depth: 0.1}")) == {"stem": (24, 1), "body": (24, 1), "head": (10, 1)}  # depth rounds up
    assert sizes(scaled("{width: 1.4, divisor: 1}"))["body"] == (34, 2)
    assert scaled("{}") == scaled("{width: 1, depth: 1.0}")


def test_a_width_of_1_changes_none_that_is_not_divisible() -> None:
    assert scaled("{width: 1.0, divisor: 16}").stages["stem"].block.width == 24  # type: ignore[attr-defined]


def test_a_stage_that_says_so_stays() -> None:
    assert sizes(scaled("{width: 2.0, depth: 2.0}", ", scale: false")) == {
        "stem": (48, 1), "body": (24, 2), "head": (10, 1),
    }  # fmt: skip
    assert scaled("{width: 2.0}", ", scale: true") == scaled("{width: 2.0}")


def test_a_width_left_at_its_default_is_scaled_and_a_depth_left_out_is_1() -> None:
    text = "input: [3, 8, 8]\nstages: {a: {block: conv}}\nscale: {width: 0.5, depth: 3}\n"
    assert sizes(Network.from_yaml(text)) == {"a": (32, 1)}


def test_nested_blocks_are_scaled_too() -> None:
    found = scaled("{width: 2.0}", ", attention: {block: conv, width: 24}").stages["body"].block
    assert found.attention.width == 48  # type: ignore[attr-defined]


def test_a_scale_acts_on_what_is_extended_and_edits_have_the_last_word() -> None:
    small = Network.from_yaml("extends: resnet18\nscale: {width: 0.5}\nset: {layer4.width: 100}\n")
    assert [size for size, _ in sizes(small).values()] == [32, 32, 64, 128, 100, 1000]
    assert sizes(Network.from_yaml(small.to_yaml(flat=True))) == sizes(small)  # scaled once, not again
    assert sizes(Network.from_yaml("name: own\nextends: mobilenet_v2_x0_5\n")) == sizes(
        get_network("mobilenet_v2_x0_5")
    )


# Every width and depth is that of the multipliers


def by_hand(name: str, width: float, depth: float, stays: tuple[str, ...] = ()) -> Network:
    """The network with each width and depth multiplied and set by itself."""
    network, edits = get_network(name), dict[str, Any]()
    for stage in network.stages.values():
        if stage.name not in stays and stage.name != "head":
            edits[f"{stage.name}.width"] = make_divisible(stage.block.width * width, 8)  # type: ignore[attr-defined]
            if "depth" in network.flat["stages"][stage.name]:
                edits[f"{stage.name}.depth"] = ceil(stage.depth * depth)
    return network.set(edits)


@given(st.floats(0.05, 3), st.floats(0.05, 3))
def test_a_scaled_network_is_that_of_the_multipliers(width: float, depth: float) -> None:
    given = f"extends: mobilenet_v2\nscale: {{width: {width!r}, depth: {depth!r}}}\n"
    assert Network.from_yaml(given).stages == by_hand("mobilenet_v2", width, depth).stages


@pytest.mark.parametrize(
    ("name", "base", "width", "depth", "stays"),
    [
        ("mobilenet_v2_x0_5", "mobilenet_v2", 0.5, 1.0, ("last",)),
        ("mobilenet_v2_x0_75", "mobilenet_v2", 0.75, 1.0, ("last",)),
        ("mobilenet_v2_x1_4", "mobilenet_v2", 1.4, 1.0, ()),
        ("efficientnet_b1", "efficientnet_b0", 1.0, 1.1, ()),
        ("efficientnet_b4", "efficientnet_b0", 1.4, 1.8, ()),
    ],
)
def test_the_scaled_networks_have_the_published_parameters(
    name: str, base: str, width: float, depth: float, stays: tuple[str, ...]
) -> None:
    assert sizes(get_network(name)) == sizes(by_hand(base, width, depth, stays))
    assert cost(name).params == cost(by_hand(base, width, depth, stays)).params == PUBLISHED[name][1]


def test_half_of_mobilenet_v2_has_so_many_parameters() -> None:
    assert cost("mobilenet_v2_x0_5").params == 1_968_680


# Mistakes


def test_the_factor_that_is_asked_for_works_and_the_narrowest_place_decides() -> None:
    assert sizes(scaled("{width: 0.02084, divisor: 1}"))["stem"] == (1, 1)
    assert sizes(scaled("{depth: 0.0001}"))["body"] == (24, 1)
    assert mistakes("{width: 0.03}", ", attention: {block: conv, width: 12}") == [
        "scale.width: body.attention.width=12 times 0.03 is 0.36, which rounds to 0 channels; give at least 0.04167"
    ]
    assert mistakes("{width: 0.01}", ", scale: false")[0].startswith("scale.width: stem.width=24 times 0.01 ")


@given(st.integers(1, 2**20))
def test_the_least_factor_works_for_any_width(width: int) -> None:
    factor = _at_least(0.5 / width)
    assert 0.5 <= factor * width < 0.5011


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("3", "scale: must be a mapping such as {width: 1.4, depth: 1.8}, but is 3"),
        ("null", "scale: must be a mapping such as {width: 1.4, depth: 1.8}, but is None"),
        ("[2]", "scale: must be a mapping such as {width: 1.4, depth: 1.8}, but is [2]"),
        ("{width: 0}", "scale.width: must be greater than 0, but is 0"),
        ("{depth: -1.5}", "scale.depth: must be greater than 0, but is -1.5"),
        ("{width: true}", "scale.width: must be a number, but is True"),
        ("{width: wide}", "scale.width: must be a number, but is 'wide'"),
        ("{divisor: 0}", "scale.divisor: must be at least 1, but is 0"),
        ("{divisor: 1.5}", "scale.divisor: must be a whole number, but is 1.5"),
        (
            "{widht: 2}",
            "scale.widht: scale has no parameter 'widht'; did you mean 'width'? it has width, depth, divisor",
        ),
        (
            "{width: {choice: [1, 2]}}",
            "scale.width: must be a number, but is {'choice': [1, 2]}; that is a choice for a search to make; "
            "use the file with `blockforge search`",
        ),
        ("{depth: 1000}", "body.depth: must be a whole number from 1 to 1,000, but is 2,000"),
        (
            "{width: 0.0001, divisor: 1}",
            "scale.width: stem.width=24 times 0.0001 is 0.0024, which rounds to 0 channels; give at least 0.02084",
        ),
        (
            "{width: 0.0208}",  # although the divisor makes 8 of it
            "scale.width: stem.width=24 times 0.0208 is 0.499, which rounds to 0 channels; give at least 0.02084",
        ),
        ("{width: 1e5}", "scale.width: must be at most 1,000, but is 100,000"),
        ("{depth: 1e308}", f"scale.depth: must be at most 1,000, but is {int(1e308):,}"),
    ],
)
def test_a_wrong_scale(scale: str, message: str) -> None:
    assert mistakes(scale)[0] == message


@pytest.mark.parametrize(
    ("given", "said"), [("3", "3"), ("no", "'no'"), ("null", "None"), ("{}", "{}"), ("any-other", "'any-other'")]
)
def test_whether_a_stage_is_scaled_is_true_or_false(given: str, said: str) -> None:
    assert mistakes("{width: 2}", f", scale: {given}") == [f"body.scale: must be true or false, but is {said}"]


def test_the_block_s_mistake_is_told_once() -> None:
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml("input: [3, 8, 8]\nstages: {a: {block: con, width: 8}}\nscale: {width: 2}\n")
    assert str(caught.value) == (
        "text:2:14: a.block: con: no block of this name; did you mean 'conv' or 'concat'? "
        "`blockforge list --blocks` lists all"
    )


def test_a_nested_block_is_scaled_however_it_is_written() -> None:
    text = "input: [3, 8, 8]\nstages:\n  a: {{block: bottleneck, width: 64, attention: {}}}\nscale: {{width: 2.0}}\n"
    for attention in ("conv", "{block: conv}", "{block: conv, width: 64}"):
        network = Network.from_yaml(text.format(attention))
        assert network.stages["a"].block.attention.width == network.stages["a"].block.width == 128
    plain = Network.from_yaml(text.format("squeeze_excitation"))
    assert plain.flat["stages"]["a"]["attention"] == "squeeze_excitation"

"""Pydantic's findings as one line in the field's terms."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from blockforge.explain import block_name, explain
from blockforge.registry import get_registry


def explained(block, **fields):
    cls = get_registry().block(block)
    with pytest.raises(ValidationError) as caught:
        cls.model_validate(fields, context={"resolve": get_registry().block})
    return list(explain(caught.value, cls, block_name(cls)))


@pytest.mark.parametrize(
    ("block", "fields", "place", "message"),
    [
        ("conv", {"width": 0}, "width", "must be at least 1, but is 0"),
        ("conv", {"width": 2**20 + 1}, "width", "must be at most 1,048,576, but is 1,048,577"),
        ("conv", {"width": 8.0}, "width", "must be a whole number, but is 8.0"),
        ("conv", {"bias": 1}, "bias", "must be true or false, but is 1"),
        ("conv", {"padding": "none"}, "padding", "must be a whole number, but is 'none'"),
        ("conv", {"padding": -1}, "padding", "must be at least 0, but is -1"),
        ("linear", {"dropout": 1.0}, "dropout", "must be less than 1, but is 1"),
        ("linear", {"dropout": float("nan")}, "dropout", "must be a finite number, but is nan"),
        ("linear", {"names": ("a",) * 4}, "names", "must have 3 entries, but has 4"),
        ("linear", {"names": "a"}, "names", "must be a list, but is 'a'"),
        ("linear", {"names": (1, "b", "c")}, "names.0", "must be text, but is 1"),
        ("linear", {"names": ("a", "b")}, "names.2", "is missing: the list has 2 entries; add it"),
        (
            "pool",
            {"kind": "maxx"},
            "kind",
            "must be 'max', 'avg' or 'adaptive_avg', but is 'maxx'; did you mean 'max'?",
        ),
        ("pool", {"kind": 3}, "kind", "must be 'max', 'avg' or 'adaptive_avg', but is 3"),
        (
            "residual",
            {"strid": 1},
            "strid",
            "block residual has no parameter 'strid'; did you mean 'stride' or 'stride_on'? it has width, stride, "
            "stride_on, pre_activation, bias, shortcut, shortcut_kernel, shortcut_norm, attention, attention_name",
        ),
        ("add", {"x": 1}, "x", "block add has no parameter 'x'; it has none"),
        (
            "residual",
            {"attention": "conf"},
            "attention",
            "conf: no block of this name; did you mean 'conv' or 'concat'? `blockforge list --blocks` lists all",
        ),
        (
            "residual",
            {"attention": {"block": "squeeze_excitation", "gat": 1}},
            "attention.gat",
            "block squeeze_excitation has no parameter 'gat'; did you mean 'gate'? "
            "it has reduction, divisor, round_limit, activation, gate",
        ),
    ],
)
def test_one_line_for_one_mistake(block, fields, place, message):
    found = [(".".join(map(str, loc)), text) for loc, text in explained(block, **fields)]
    assert found == [(place, message)]


def test_several_mistakes_are_told_in_turn():
    assert dict(explained("conv", width=0, bias=3)) == {
        ("width",): "must be at least 1, but is 0",
        ("bias",): "must be true or false, but is 3",
    }

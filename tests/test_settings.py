"""What holds for a whole network: defaults, bounds, and messages in the field's terms."""

from __future__ import annotations

import pytest

from blockforge.documents import Flat
from blockforge.settings import Init, Norm, read_settings


def read(**given):
    flat = Flat(marks={(): "net"})
    found = read_settings({"name": "net", "input": [3, 8, 8], **given}, flat)
    return found, flat.mistakes


def test_defaults_are_torchs():
    settings, mistakes = read()
    assert mistakes == []
    assert (settings.input, settings.classes, settings.drop_path) == ((3, 8, 8), 1000, 0.0)
    assert (settings.norm, settings.init) == (Norm(eps=1e-5, momentum=0.1), Init(conv="default"))


def test_all_are_read():
    settings, mistakes = read(
        input=[7], classes=2, norm={"eps": 0.1, "momentum": None}, drop_path=0.5, init={"linear": "zeros"}
    )
    assert mistakes == []
    assert (settings.input, settings.classes, settings.drop_path) == ((7,), 2, 0.5)
    assert (settings.norm, settings.init) == (Norm(eps=0.1, momentum=None), Init(linear="zeros"))
    hash(settings)


_SEARCH = "is a choice for a search to make; give a value, or use the file with `blockforge search`"
_SCHEMES = "'default', 'zeros', 'kaiming_normal_fan_out', 'kaiming_normal_fan_in', 'normal_0.01' or 'trunc_normal_0.01'"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": 0}, "classes: must be at least 1, but is 0"),
        ({"classes": 10**9}, "classes: must be at most 1,048,576, but is 1,000,000,000"),
        ({"classes": True}, "classes: must be a whole number, but is True"),
        ({"classes": "any"}, f"classes: any {_SEARCH}"),
        ({"input": {"choice": [[3, 8, 8]]}}, f"input: {{'choice': [[3, 8, 8]]}} {_SEARCH}"),
        ({"input": 3}, "input: must be a list, but is 3"),
        ({"input": [3, 8]}, "input: must be [channels, height, width], or [features], but is [3, 8]"),
        ({"input": []}, "input: must be [channels, height, width], or [features], but is []"),
        ({"input": [3, 8, 0]}, "input.2: must be at least 1, but is 0"),
        ({"norm": {"eps": 0}}, "norm.eps: must be greater than 0, but is 0"),
        ({"norm": {"eps": float("inf")}}, "norm.eps: must be a finite number, but is inf"),
        ({"norm": {"momentum": 2}}, "norm.momentum: must be at most 1, but is 2"),
        ({"norm": {"ep": 1}}, "norm.ep: norm has no parameter 'ep'; did you mean 'eps'? it has eps, momentum"),
        ({"norm": 3}, "norm: must be a mapping, but is 3"),
        ({"drop_path": 1}, "drop_path: must be less than 1, but is 1"),
        ({"drop_path": "a"}, "drop_path: must be a number, but is 'a'"),
        ({"init": {"conv": "zero"}}, f"init.conv: must be {_SCHEMES}, but is 'zero'; did you mean 'zeros'?"),
        (
            {"init": {"x": "zeros"}},
            "init.x: init has no parameter 'x'; it has conv, conv_bias, linear, linear_bias",
        ),
        ({"about": 3}, "about: must be text, but is 3"),
    ],
)
def test_mistakes(given, message):
    assert read(**given)[1] == [f"net: {message}"]


def test_an_input_is_needed_and_mistakes_are_told_together():
    flat = Flat(marks={(): "net"})
    assert read_settings({"name": "net", "classes": 0, "drop_path": 2}, flat) is None
    assert flat.mistakes == [
        "net: a network needs an input; write `input: [3, 224, 224]` (channels, height, width)",
        "net: classes: must be at least 1, but is 0",
        "net: drop_path: must be less than 1, but is 2",
    ]

"""What holds for a whole network: defaults, bounds, and messages in the field's terms."""

from __future__ import annotations

import pytest

from blockforge import get_network
from blockforge.assembler import DEVIATIONS, MEANS
from blockforge.documents import Flat
from blockforge.settings import SCHEMES, Init, Norm, Preprocess, read_settings


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


def test_preprocessing_is_read_and_holds_for_as_many_channels_as_it_names():
    settings, mistakes = read(preprocess={"mean": [0, 0.5, 1], "std": [1, 2, 3], "crop": 8}, input_transform=True)
    assert mistakes == []
    assert settings.preprocess == Preprocess(mean=(0.0, 0.5, 1.0), std=(1.0, 2.0, 3.0), resize=None, crop=8)
    assert settings.preprocess.interpolation == "bilinear"
    assert settings.input_transform
    hash(settings)
    resnet = get_network("resnet18")
    assert resnet.preprocess == Preprocess(mean=MEANS, std=DEVIATIONS, resize=256, crop=224)
    assert resnet.set({"input": [1, 64, 64]}).preprocess is None
    smaller = resnet.set({"input": [3, 64, 64], "preprocess.crop": 64, "preprocess.resize": 80})
    assert smaller.preprocess == Preprocess(mean=MEANS, std=DEVIATIONS, resize=80, crop=64)


@pytest.mark.parametrize("scheme", [*SCHEMES, "normal_0.01", "normal_1", "normal_.5", "trunc_normal_0.02"])
def test_every_scheme_is_one(scheme):
    settings, mistakes = read(init={"conv": scheme, "keys": {"*.weight": scheme}})
    assert (settings.init, mistakes) == (Init(conv=scheme, keys=(("*.weight", scheme),)), [])


ONE = {"mean": [0.5], "std": [0.5]}
_SEARCH = "is a choice for a search to make; give a value, or use the file with `blockforge search`"
_SCHEMES = (
    "default, zeros, ones, kaiming_normal_fan_out, kaiming_normal_fan_in, kaiming_normal_fan_out_grouped, "
    "xavier_uniform, uniform_fan_out, normal_STD or trunc_normal_STD (normal_0.01, say)"
)


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
        ({"input": 3, "input_transform": True}, "input: must be a list, but is 3"),
        (
            {"preprocess": {"mean": [0.0] * 3, "std": [1.0] * 3, "rezize": 4}},
            "preprocess.rezize: preprocess has no parameter 'rezize'; did you mean 'resize'? it has mean, std, resize, "
            "crop, interpolation",
        ),
        ({"init": {"linear": "normal_"}}, f"init.linear: must be {_SCHEMES}, but is 'normal_'"),
        ({"init": {"linear": "normal_-1"}}, f"init.linear: must be {_SCHEMES}, but is 'normal_-1'"),
        ({"init": {"keys": {"*.bn3.weight": "nought"}}}, f"init.keys.0.1: must be {_SCHEMES}, but is 'nought'"),
        (
            {"init": {"x": "zeros"}},
            "init.x: init has no parameter 'x'; it has conv, conv_bias, linear, linear_bias, keys",
        ),
        ({"about": 3}, "about: must be text, but is 3"),
        ({"preprocess": 3}, "preprocess: must be a mapping, but is 3"),
        ({"preprocess": "any"}, f"preprocess: any {_SEARCH}"),
        ({"preprocess": ONE | {"mean": 0.5}}, "preprocess.mean: must be a list, but is 0.5"),
        ({"preprocess": ONE | {"mean": ["a"]}}, "preprocess.mean.0: must be a number, but is 'a'"),
        ({"preprocess": ONE | {"std": [0]}}, "preprocess.std.0: must be greater than 0, but is 0"),
        (
            {"preprocess": ONE | {"mean": [0.5, 0.5, 0.5]}},
            "preprocess: mean has 3 entries, but std 1; give one for each channel",
        ),
        ({"preprocess": ONE | {"resize": 0}}, "preprocess.resize: must be at least 1, but is 0"),
        ({"preprocess": ONE | {"crop": 2**20 + 1}}, "preprocess.crop: must be at most 1,048,576, but is 1,048,577"),
        (
            {"preprocess": ONE | {"interpolation": "nearst"}},
            "preprocess.interpolation: must be 'nearest', 'bilinear' or 'bicubic', but is 'nearst'; "
            "did you mean 'nearest'?",
        ),
        ({"input_transform": 1}, "input_transform: must be true or false, but is 1"),
        ({"input_transform": "any"}, f"input_transform: any {_SEARCH}"),
        (
            {"input": [1, 8, 8], "input_transform": True},
            "input_transform: needs an input of 3 channels, but it has 1; set it to false",
        ),
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

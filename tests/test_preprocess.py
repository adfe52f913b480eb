"""What is done to images before a network: as torchvision's weights and timm's configurations say."""

from __future__ import annotations

import math

import pytest
import timm
import torchvision

from blockforge import Network, get_network, list_networks, source
from blockforge.references import reference_of
from blockforge.settings import Preprocess
from blockforge.study.space import load_space


@pytest.mark.parametrize("name", list_networks())
def test_every_network_says_it_for_its_own_channels(name: str) -> None:
    network = get_network(name)
    found = network.preprocess
    assert found
    assert len(found.mean) == len(found.std) == network.input[0]


@pytest.mark.parametrize("name", [name for name in list_networks() if reference_of(name, "torchvision")])
def test_torchvisions(name: str) -> None:
    found = reference_of(name, "torchvision")
    assert found
    transforms = torchvision.models.get_model_weights(found.name).DEFAULT.transforms()
    assert get_network(name).preprocess == Preprocess(
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
    )


@pytest.mark.parametrize("name", [name for name in list_networks() if reference_of(name, "timm")])
def test_timms(name: str) -> None:
    found = reference_of(name, "timm")
    assert found
    if reference_of(name, "torchvision"):
        pytest.skip("torchvision's counts")
    told = timm.get_pretrained_cfg(found.name)
    crop = told.input_size[-1]
    assert get_network(name).preprocess == Preprocess(
        mean=tuple(told.mean),
        std=tuple(told.std),
        resize=math.floor(crop / told.crop_pct),
        crop=crop,
        interpolation=told.interpolation,
    )


def sizes(network: Network) -> tuple[int | None, int | None]:
    assert network.preprocess
    return network.preprocess.resize, network.preprocess.crop


@pytest.mark.parametrize("name", list_networks())
def test_the_crop_is_the_input(name: str) -> None:
    network = get_network(name)
    assert sizes(network)[1] == network.input[1] == network.input[2]


@pytest.mark.parametrize(
    ("name", "size", "resize"), [("mobilenet_v2", 96, 99), ("vgg16_cifar", 64, 64), ("resnet18", 256, 292)]
)
def test_with_another_input_both_follow_in_proportion(name: str, size: int, resize: int) -> None:
    network = get_network(name)
    other = network.set({"input": [3, size, size]})
    assert sizes(other) == (resize, size)
    assert other.set({"input": list(network.input)}) == network
    for flat in (False, True):
        assert Network.from_yaml(other.to_yaml(flat=flat)) == other
    text = other.to_yaml(flat=True)
    assert f"resize: {resize}" in text
    assert f"crop: {size}" in text
    assert f"shorter side to {resize} pixels (bilinear), centre {size}x{size}, values" in source(other).replace(
        "\n", " "
    )


def test_before_an_input_that_is_not_square_only_the_values_are_known() -> None:
    network = get_network("resnet18").set({"input": [3, 224, 160]})
    assert sizes(network) == (None, None)
    assert "Images: values from 0 to 1, mean" in source(network)
    text = network.to_yaml(flat=True)
    assert "crop" not in text
    assert "mean: [0.485" in text
    assert Network.from_yaml(text) == network


@pytest.mark.parametrize(
    ("shape", "resize"), [([3, 256, 256], 256), ([3, 512, 256], 256), ([3, 64, 64], None), ([3, 512, 512], None)]
)
def test_a_resize_without_a_crop_is_of_the_input_or_of_none(shape: list[int], resize: int | None) -> None:
    network = get_network("resnet18").set({"preprocess.crop": None, "input": shape})
    assert sizes(network) == (resize, None)


@pytest.mark.parametrize("shape", [[1, 224, 224], [3]])
def test_other_channels_have_none_and_none_is_written(shape: list[int]) -> None:
    settings = get_network("resnet18").settings.preprocess
    assert settings
    assert settings.at(tuple(shape)) is None
    network = get_network("resnet18").set({"input": [1, 224, 224]})
    assert network.preprocess is None
    assert "preprocess" not in network.to_yaml(flat=True)
    assert Network.from_yaml(network.to_yaml(flat=True)) == network
    assert network.set({"input": [3, 224, 224]}) == get_network("resnet18")


def test_a_trial_says_nothing_of_other_channels() -> None:
    network = load_space("digits").first()
    assert network.preprocess is None
    for flat in (False, True):
        assert "preprocess" not in network.to_yaml(flat=flat)
        assert Network.from_yaml(network.to_yaml(flat=flat)) == network

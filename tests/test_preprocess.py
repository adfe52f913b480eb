"""What is done to images before a network: as torchvision's weights and timm's configurations say."""

from __future__ import annotations

import math

import pytest
import timm
import torchvision

from blockforge import get_network, list_networks
from blockforge.references import reference_of
from blockforge.settings import Preprocess


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


def test_other_channels_have_none() -> None:
    assert get_network("resnet18").set({"input": [1, 224, 224]}).preprocess is None

"""Initialisation: the mean and the standard deviation of every parameter are the library's, within sampling error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blockforge import build, get_network, list_networks
from blockforge.builder import initialise
from blockforge.references import Reference, reference_of
from blockforge.settings import Init

SEEDS = 3
# So many standard errors apart two means may lie: among a hundred thousand tensors none does by chance.
ERRORS = 6.0
QUICK = {"mobilenet_v1", "mobilenet_v3_small", "resnet18", "seresnet18", "shufflenet_v2_x0_5"}

Moments = dict[str, tuple[int, float, float]]
"""For each parameter the number of its elements over all seeds, their mean and their standard deviation."""


def library(name: str) -> Reference | None:
    return reference_of(name, "torchvision") or reference_of(name, "timm")


def moments(modules: list[nn.Module]) -> Moments:
    found: Moments = {}
    for key, weight in modules[0].named_parameters():
        values = torch.cat([module.get_parameter(key).detach().flatten() for module in modules]).double()
        found[key] = (values.numel(), values.mean().item(), values.std().item() if values.numel() > 1 else 0.0)
        assert weight.isfinite().all(), key
    return found


def seeded(make: object) -> list[nn.Module]:
    modules = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        modules.append(make())  # type: ignore[operator]
    return modules


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in list_networks()
        if library(name)
    ],
)
def test_every_parameter_is_drawn_as_the_library_draws_it(name: str) -> None:
    found = library(name)
    assert found
    assert found.make
    ours = moments(seeded(lambda: build(name)))
    theirs = moments(seeded(found.make))
    assert list(ours) == list(theirs)
    for key, (count, mean, deviation) in theirs.items():
        _, own_mean, own_deviation = ours[key]
        error = deviation * (2 / count) ** 0.5
        assert abs(own_mean - mean) <= ERRORS * error + 1e-9, (key, own_mean, mean)
        assert abs(own_deviation - deviation) <= ERRORS * error + 1e-9, (key, own_deviation, deviation)


@pytest.mark.parametrize("name", [name for name in list_networks() if not library(name)])
def test_what_has_no_library_declares_how_it_is_drawn(name: str) -> None:
    init = get_network(name).settings.init
    for scheme in (init.conv, init.conv_bias, init.linear, init.linear_bias, *(scheme for _, scheme in init.keys)):
        layer = nn.Conv2d(8, 16, 3, groups=2)
        initialise(nn.Sequential(layer), Init(conv=scheme))
        assert layer.weight.isfinite().all()


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("kaiming_normal_fan_out_grouped", (2 / (9 * 64 / 4)) ** 0.5),
        ("uniform_fan_out", (9 * 64) ** -0.5 / 3**0.5),
        ("xavier_uniform", (2 / (9 * 16 + 9 * 64)) ** 0.5),
        ("normal_0.07", 0.07),
        ("trunc_normal_.3", 0.3),
        ("zeros", 0.0),
    ],
)
def test_a_scheme_has_its_deviation(scheme: str, deviation: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3, groups=4)
    initialise(nn.Sequential(layer), Init(conv=scheme))
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.03)


def test_exceptions_go_by_keys_and_the_last_counts() -> None:
    init = Init(keys={"*.bn2.weight": "zeros", "layer1.0.bn2.weight": "ones", "layer4.1.bn2.bias": "ones"})
    module = build("resnet18", init=False)
    initialise(module, init)
    assert module.layer1[0].bn2.weight.eq(1).all()
    assert module.layer1[1].bn2.weight.eq(0).all()
    assert module.layer4[1].bn2.bias.eq(1).all()

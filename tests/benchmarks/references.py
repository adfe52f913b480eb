"""One or two networks of each family that torchvision or timm has, as those build them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from blockforge.references import reference_of

NAMES = (
    "alexnet",
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "googlenet",
    "inception_v3",
    "densenet121",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "seresnet50",
)


def constructor(name: str) -> Callable[[], nn.Module]:
    """What builds the reference, initialised as its library does."""
    found = reference_of(name, "torchvision") or reference_of(name, "timm")
    if found is None or found.make is None:
        raise ValueError(f"{name}: neither torchvision nor timm has it")
    return found.make

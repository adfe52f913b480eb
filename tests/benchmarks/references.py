"""The nine networks that torchvision or timm has, as those build them."""

from __future__ import annotations

from collections.abc import Callable

import torchvision
from torch import nn

NAMES = (
    "alexnet",
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "googlenet",
    "densenet121",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "seresnet50",
)


def constructor(name: str) -> Callable[[], nn.Module]:
    """What builds the reference, initialised as its library does."""
    if name.startswith("seresnet"):
        import timm

        return lambda: timm.create_model(name)
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return lambda: getattr(torchvision.models, name)(**options)

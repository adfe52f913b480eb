"""Canonical networks against torchvision and timm: the same keys, bits, gradients, parameters and MACs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blockforge import build, cost, get_network, list_networks
from blockforge.assembler import assemble
from tests.interpreter import backward, unsettle
from tests.memory import measured_peak


def vision(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(**options)


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "alexnet": vision("alexnet"),
    "densenet121": vision("densenet121"),
    "googlenet": vision("googlenet", aux_logits=False, init_weights=False),
    "mobilenet_v2": vision("mobilenet_v2"),
    "resnet18": vision("resnet18"),
    "resnet50": vision("resnet50"),
    "seresnet50": lambda: timm.create_model("seresnet50"),
    "shufflenet_v2_x1_0": vision("shufflenet_v2_x1_0"),
    "vgg16_bn": vision("vgg16_bn"),
}

# Trainable parameters, and MACs at the network's own input size.
NUMBERS = {
    "alexnet": (61_100_840, 714_188_480),
    "densenet121": (7_978_856, 2_834_161_664),
    "googlenet": (6_624_904, 1_498_376_192),
    "lenet5": (61_706, 416_520),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet18_cifar": (11_173_962, 555_422_720),
    "resnet50": (25_557_032, 4_089_184_256),
    "seresnet50": (28_088_024, 4_091_699_200),
    "shufflenet_v2_x1_0": (2_278_604, 144_907_992),
    "vgg16_bn": (138_365_992, 15_470_264_320),
}

# The largest gradient difference / the largest gradient, where it isn't zero: ops that run in another order.
TOLERANCES: dict[str, float] = {}

SIZES = {"alexnet": (224, 96)}  # of the images; others 128 and 64
HEAVY = ("alexnet", "densenet121", "vgg16_bn")


def by_weight(names: list[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in names]


pytestmark = pytest.mark.usefixtures("one_thread")
every_network = pytest.mark.parametrize("name", list_networks())
every_reference = pytest.mark.parametrize("name", by_weight(sorted(REFERENCES)))


@every_network
def test_every_network_is_compared(name: str) -> None:
    known = name in torchvision.models.list_models() or timm.is_model(name)
    assert not known or name in REFERENCES, f"write down how torchvision or timm builds {name}"
    assert name in NUMBERS, f"write down the parameters and MACs of {name}"


def empty_reference(name: str) -> nn.Module:
    """The library's module on the CPU, without the time that its own initialisation takes."""
    with torch.device("meta"):
        module = REFERENCES[name]()
    return module.to_empty(device="cpu")


def reference(name: str) -> nn.Module:
    """The library's module with weights of the usual size, and statistics that show in the output."""
    module = empty_reference(name)
    torch.manual_seed(0)
    for weight in module.parameters():
        fan_in = max(1, weight[0].numel())
        weight.data.normal_(0, (2 / fan_in) ** 0.5 if weight.ndim > 1 else 0.1)
    for key, buffer in module.named_buffers():
        if key.endswith("num_batches_tracked"):
            buffer.zero_()
    unsettle(module)
    return module


@every_reference
def test_keys_logits_and_gradients_are_the_references(name: str) -> None:
    theirs = reference(name)
    ours = build(name, init=False)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    large, small = SIZES.get(name, (128, 64))
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        for size in (large, small):
            x = torch.randn(1, 3, size, size)
            logits = theirs(x)
            assert logits.isfinite().all()
            assert logits.std() > 0
            assert torch.equal(ours(x), logits)
    x = torch.randn(2, 3, small, small)
    grads = []
    for module in (ours, theirs):
        module.train()
        for layer in module.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        backward(module(x))
        grads.append({key: weight.grad for key, weight in module.named_parameters()})
    mine, others = grads
    assert list(mine) == list(others)
    assert max(grad.abs().max() for grad in others.values()) > 0
    differences = {key: (mine[key] - others[key]).abs().max() / others[key].abs().max() for key in others}
    if name in TOLERANCES:
        assert max(differences.values()) <= TOLERANCES[name]
    else:
        assert [key for key in others if not torch.equal(mine[key], others[key])] == []


def test_the_canonical_input_gives_the_same_bits_too() -> None:
    theirs = reference("resnet18").eval()
    ours = build("resnet18", init=False).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@every_network
def test_parameters_and_macs_are_torchs_in_total_and_layer_by_layer(name: str) -> None:
    network = get_network(name)
    with torch.device("meta"):
        module = build(network, init=False).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.empty(1, *network.input))
    found = cost(network)
    assert (found.params, found.macs) == NUMBERS[name]
    assert found.params == sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    assert 2 * found.macs == counter.get_total_flops()
    counts = counter.get_flop_counts()
    for node in assemble(network):
        if node.inputs and node.op.call(*node.input_shapes):
            layer = module.get_submodule(node.name)
            assert node.params == sum(weight.numel() for weight in layer.parameters()), node.name
            assert node.op.weights(*node.input_shapes) == {
                key: tuple(weight.shape) for key, weight in layer.named_parameters()
            }, node.name
            flops = sum(counts.get(f"{type(module).__name__}.{node.name}", {}).values())
            assert 2 * node.macs == flops, node.name


@pytest.mark.parametrize("name", by_weight(sorted(REFERENCES)))
def test_peak_memory_is_as_predicted_and_no_more_than_the_references(name: str) -> None:
    network = get_network(name)
    measured = measured_peak(zeroed(build(network, init=False)), network.input)
    assert cost(network).peak_memory == measured
    assert measured <= measured_peak(zeroed(empty_reference(name)), network.input)


@pytest.mark.parametrize("name", sorted({*list_networks()} - {*REFERENCES}))
def test_peak_memory_is_as_predicted(name: str) -> None:
    network = get_network(name)
    assert cost(network).peak_memory == measured_peak(build(network), network.input)


def zeroed(module: nn.Module) -> nn.Module:
    """All weights zero: what isn't drawn may hold numbers that are slow to compute with."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.zero_()
    return module

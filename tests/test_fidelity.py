"""Canonical networks against torchvision, timm and rows of layers: keys, bits, gradients, parameters, MACs, memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blockforge import build, cost, get_network, list_networks
from blockforge.assembler import assemble, smallest_input
from blockforge.references import Reference, layer_rows, reference_of
from blockforge.verification import drawn, sizes, verify
from tests.interpreter import backward
from tests.memory import measured_peak
from tests.published import PUBLISHED

# One or two of each family; the others are compared in the long tests.
QUICK = {
    "alexnet_2012", "d2l_lenet_bn", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "lenet5",
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "nin_cifar10", "resnet18", "resnet18_cifar", "resnet20",
    "resnet50", "senet18_preact", "seresnet18", "shufflenet_v1_g3_x0_5", "shufflenet_v2_x1_0", "vgg11_cifar",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def library(name: str) -> Reference | None:
    """The reference that is a module: torchvision's or timm's."""
    return reference_of(name, "torchvision") or reference_of(name, "timm")


def marked(names: list[str]) -> list[object]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


every_network = pytest.mark.parametrize("name", marked(list_networks()))
every_reference = pytest.mark.parametrize("name", marked([name for name in list_networks() if library(name)]))


def reference(name: str) -> nn.Module:
    found = library(name)
    assert found
    return drawn(found)


def quiet(module: nn.Module) -> nn.Module:
    """The module in train mode without anything random."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout) or type(layer).__name__ in ("StochasticDepth", "DropPath"):
            layer.p = 0.0
        if isinstance(getattr(layer, "drop_rate", None), float):  # timm's, which calls dropout as a function
            layer.drop_rate = 0.0
    return module.train()


def test_all_published_networks_are_here() -> None:
    assert set(list_networks()) == set(PUBLISHED)
    assert set(list_networks()) >= QUICK


@pytest.mark.parametrize("name", list_networks())
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    network = get_network(name)
    found = cost(network)
    assert (network.input, found.params, found.macs) == PUBLISHED[name]


@every_reference
def test_keys_and_logits_are_the_references(name: str) -> None:
    theirs = reference(name)
    ours = build(name, init=False)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        for shape in sizes(get_network(name)):
            x = torch.randn(1, *shape)
            logits = theirs(x)
            assert logits.isfinite().all()
            assert logits.std() > 0
            assert torch.equal(ours(x), logits)


@every_reference
def test_gradients_are_the_references(name: str) -> None:
    theirs, ours = quiet(reference(name)), quiet(build(name, init=False))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    size = max(64, smallest_input(get_network(name)) or 0)
    x = torch.randn(2, 3, size, size)
    grads = []
    for module in (ours, theirs):
        outputs = module(x)
        backward(torch.cat([*outputs], 1) if isinstance(outputs, tuple) else outputs)
        grads.append({key: weight.grad for key, weight in module.named_parameters()})
    mine, others = grads
    assert list(mine) == list(others)
    assert max(grad.abs().max() for grad in others.values()) > 0
    assert [key for key in others if not torch.equal(mine[key], others[key])] == []


@pytest.mark.parametrize("name", ["googlenet_aux", "inception_v3_aux"])
def test_auxiliary_heads_come_out_by_name_and_in_training_only(name: str) -> None:
    module = build(name, init=False)
    names = [output.name for output in get_network(name).outputs]
    x = torch.randn(2, *get_network(name).input)
    with torch.no_grad():
        assert list(module.train()(x)._fields) == names
        assert isinstance(module.eval()(x), torch.Tensor)


def test_the_canonical_input_gives_the_same_bits_too() -> None:
    theirs = reference("resnet18").eval()
    ours = build("resnet18", init=False).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_input_transform_is_torchvisions(name: str) -> None:
    theirs = reference(name).eval()
    theirs.transform_input = True
    ours = build(name, init=False, edits={"input_transform": True}).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.skipif(not layer_rows(), reason="no rows of layers: neither $BLOCKFORGE_SHARED nor ../shared is there")
@pytest.mark.parametrize("name", [name for name in list_networks() if not library(name)])
def test_the_layers_are_those_that_were_recounted(name: str) -> None:
    (verdict,) = verify([name], "layers")
    assert verdict.same, verdict.why


@every_network
def test_parameters_and_macs_are_torchs_in_total_and_layer_by_layer(name: str) -> None:
    network = get_network(name)
    with torch.device("meta"):
        module = build(network, init=False).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.empty(1, *network.input))
    found = cost(network)
    assert found.params == sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    assert 2 * found.macs == counter.get_total_flops()
    counts = counter.get_flop_counts()
    graph = assemble(network)
    training = graph.training_nodes()
    for node in graph:
        if node.inputs and node.op.call(*node.input_shapes):
            layer = module.get_submodule(node.name)
            assert node.params == sum(weight.numel() for weight in layer.parameters()), node.name
            assert node.op.weights(*node.input_shapes) == {
                key: tuple(weight.shape) for key, weight in layer.named_parameters()
            }, node.name
            flops = sum(counts.get(f"{type(module).__name__}.{node.name}", {}).values())
            assert (0 if node.index in training else 2 * node.macs) == flops, node.name


@every_network
def test_peak_memory_is_as_predicted_and_no_more_than_the_references(name: str) -> None:
    network = get_network(name)
    if name not in QUICK:
        network = network.set({"input": list(sizes(network)[0])})
    measured = measured_peak(zeroed(build(network, init=False)), network.input)
    assert cost(network).peak_memory == measured
    if library(name):
        assert measured <= measured_peak(zeroed(reference(name)), network.input)


def zeroed(module: nn.Module) -> nn.Module:
    """All weights zero: what isn't drawn may hold numbers that are slow to compute with."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.zero_()
    return module

"""A second build without weights comes from a mould: it must be what the constructors make, and share nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from blockforge import Network, build, builder, cost, list_networks
from blockforge.codegen.text import source
from blockforge.mould import Mould, take_mould
from blockforge.registry import load_registry


def constructed(name: str) -> nn.Module:
    """What the constructors make, on meta to save the time of filling."""
    with torch.device("meta"):
        return builder._root(builder.module_of(source(name)))()


def described(module: nn.Module) -> list[object]:
    """Everything that a module holds beside the numbers in its weights."""
    return [
        (
            name,
            type(each),
            {key: value for key, value in vars(each).items() if key not in ("_parameters", "_buffers", "_modules")},
            [(key, None if w is None else (w.shape, w.dtype, w.requires_grad)) for key, w in each._parameters.items()],
            [(key, b.shape, b.dtype) for key, b in each._buffers.items() if b is not None],
            list(each._modules),
        )
        for name, each in module.named_modules()
    ]


@pytest.mark.parametrize("name", list_networks())
def test_a_cast_is_what_the_constructors_make(name: str) -> None:
    built = build(name, init=False)
    mould = take_mould(built)
    assert mould
    assert described(mould.cast()) == described(built) == described(constructed(name))
    for (key, buffer), (_, other) in zip(mould.cast().named_buffers(), built.named_buffers(), strict=True):
        assert torch.equal(buffer, other), key


def test_a_second_build_is_cast_and_shares_nothing_with_the_first() -> None:
    first, second, third = (build("resnet18", init=False) for _ in range(3))
    for one, other in ((first, second), (second, third)):
        assert not {id(m) for m in one.modules()} & {id(m) for m in other.modules()}
        tensors = [{t.data_ptr() for t in (*m.parameters(), *m.buffers()) if t.numel()} for m in (one, other)]
        assert not tensors[0] & tensors[1]
    calls: list[int] = []
    second.layer1[0].register_forward_hook(lambda *_: calls.append(1))
    weights = build("resnet18").state_dict()
    x = torch.randn(1, 3, 64, 64)
    outputs = []
    for module in (first, second, third):
        module.load_state_dict(weights)
        outputs.append(module.eval()(x))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert calls == [1]


SMALL = [name for name in list_networks() if cost(name).params < 8e6]


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_drawn_into_a_cast_as_into_what_the_constructors_make(name: str) -> None:
    builder.module_of.cache_clear()  # so that the first one is constructed, whatever was built before
    states = []
    for _ in range(3):
        torch.manual_seed(5)
        states.append(build(name).state_dict())
    generated = builder.module_of(source(name))
    assert isinstance(getattr(generated, builder.MOULD), Mould)
    for key, weight in states[0].items():
        assert torch.equal(weight, states[1][key]), key
        assert torch.equal(weight, states[2][key]), key


def test_a_network_that_is_built_once_leaves_no_mould() -> None:
    builder.module_of.cache_clear()
    build("lenet5")
    assert not hasattr(builder.module_of(source("lenet5")), builder.MOULD)


def test_a_cast_is_made_where_torch_makes_tensors_now() -> None:
    build("lenet5", init=False)
    with torch.device("meta"):
        assert {weight.device.type for weight in build("resnet18", init=False).parameters()} == {"meta"}
        assert {tensor.device.type for tensor in build("resnet18", init=False).state_dict().values()} == {"meta"}
    torch.set_default_dtype(torch.float64)
    try:
        assert {weight.dtype for weight in build("lenet5", init=False).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)
    assert {weight.dtype for weight in build("lenet5", init=False).parameters()} == {torch.float32}


class Scaled(nn.Module):
    """Holds a weight of its own, which its constructor draws."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))


def tied() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1)
    return nn.Sequential(conv, conv)


def tied_weights() -> nn.Module:
    one, two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    two.weight = one.weight
    return nn.Sequential(one, two)


def frozen() -> nn.Module:
    return nn.Conv2d(3, 3, 1).requires_grad_(False)


def hooked() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1)
    conv.register_forward_hook(lambda *_: None)
    return conv


def listing() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1)
    conv.others = [nn.ReLU()]
    return conv


def absent() -> nn.Module:
    return nn.BatchNorm2d(3, track_running_stats=False)


def half() -> nn.Module:
    return nn.Linear(2, 2, dtype=torch.float16)


def on_meta() -> nn.Module:
    return nn.BatchNorm2d(3, device="meta")


@pytest.mark.parametrize(
    "make", [Scaled, tied, tied_weights, frozen, hooked, listing, absent, half, on_meta], ids=lambda make: make.__name__
)
def test_what_a_mould_cannot_hold_has_none(make: Callable[[], nn.Module]) -> None:
    assert take_mould(make()) is None
    assert take_mould(nn.Sequential(nn.Sequential(nn.ReLU()), make())) is None


OWN = """
from dataclasses import dataclass
from typing import ClassVar
from blockforge import Block, Op, Scope, Value, hookimpl
from blockforge.ops.base import Call

@dataclass(frozen=True)
class Odd(Op):
    helper: ClassVar[str] = '''
class Odd(nn.Conv2d):
    made = 0

    def __init__(self):
        super().__init__(3, 3, 1)
        nn.init.zeros_(self.weight)
        self.seen = []
        Odd.made += 1
        self.number = Odd.made
        self.register_buffer("third", torch.full((), 1 / 3, dtype=torch.float64))
        self.register_buffer("dice", torch.rand(3))
'''
    def shape(self, *inputs):
        return inputs[0]

    def call(self, *inputs):
        return Call("Odd")

class Odder(Block):
    def expand(self, g: Scope, x: Value) -> Value:
        return g.op("odd", Odd(), x)

@hookimpl
def register_blocks():
    return [Odder]
"""


def test_what_an_author_constructs_is_constructed_each_time(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(OWN)
    load_registry([tmp_path / "odd.py"])
    network = Network.from_yaml("input: [3, 4, 4]\nstages:\n  a: {block: odder}\n")
    one, two, three = (build(network, init=False).a[0].odd for _ in range(3))
    assert [each.number for each in (one, two, three)] == [1, 2, 3]
    assert one.seen is not two.seen
    assert two.seen is not three.seen
    for each in (one, two, three):
        assert each.weight.eq(0).all()
        assert each.third.dtype == torch.float64
    assert not torch.equal(two.dice, three.dice)


def test_a_cast_is_fake_among_fakes() -> None:
    build("lenet5", init=False)
    with FakeTensorMode():
        module = build("lenet5", init=False)
        assert {type(weight.data) for weight in module.parameters()} == {FakeTensor}


def test_a_mould_is_forgotten_with_its_classes() -> None:
    first = build("lenet5", init=False)
    builder.module_of.cache_clear()
    assert type(build("lenet5", init=False)) is type(build("lenet5")) is not type(first)
    assert type(build("lenet5", init=False)) is type(build("lenet5"))

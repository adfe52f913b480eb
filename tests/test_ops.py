"""Every op against torch: shapes, parameters, MACs, memory, refusals, and the code that spells it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, dataclass, fields
from itertools import product
from math import prod

import hypothesis.strategies as st
import pytest
import timm.layers
import torch
import torchvision
from hypothesis import given, settings
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from blockforge import ops
from blockforge.errors import InputTooSmall, OpError
from blockforge.ops import Op, Shape
from tests.memory import LiveMemory


@dataclass
class Case:
    """Arguments and input shapes, valid or not: blockforge's op of them, and torch's."""

    make: Callable[[], Op]
    shapes: tuple[Shape, ...]
    reference: Callable[[], Callable[..., object]]


CASES: dict[type[Op], st.SearchStrategy[Case]] = {}


def cases(op: type[Op]) -> Callable[[Callable[..., Case]], None]:
    """Register what draws cases of an op."""

    def register(build: Callable[..., Case]) -> None:
        CASES[op] = st.composite(build)()

    return register


def strategy(op: type[Op]) -> st.SearchStrategy[Case]:
    assert op in CASES, f"{op.__name__} has no cases: write some, so that it is compared with torch"
    return CASES[op]


def all_ops(base: type[Op] = Op) -> Iterator[type[Op]]:
    for op in base.__subclasses__():
        if op.__module__.startswith("blockforge.ops.") and not op.__name__.startswith("_"):
            yield op
        yield from all_ops(op)


OPS = sorted({op for op in all_ops() if op not in (ops.Activation, ops.Input)}, key=lambda op: op.__name__)
every_op = pytest.mark.parametrize("op_class", OPS, ids=lambda op: op.__name__)


# What draws arguments: mostly valid ones, a few that torch refuses.

axis = st.integers(1, 9)
maps = st.tuples(st.integers(1, 6), axis, axis)


def size(least: int, most: int) -> st.SearchStrategy[int | tuple[int, int]]:
    """A number or a pair; in one of some draws too small by one."""
    number = st.integers(least, most)
    return st.one_of(number, number, st.tuples(number, number), st.integers(least - 1, most))


def two(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _convolution(draw, op: type[Op], reference: Callable[..., nn.Module], paddings) -> Case:
    x = draw(maps)
    divisors = [n for n in range(1, x[0] + 1) if x[0] % n == 0]
    groups = draw(st.one_of(st.sampled_from(divisors), st.sampled_from(divisors), st.integers(0, 3)))
    out = draw(st.integers(1, 4)) * draw(st.sampled_from((1, max(groups, 1))))
    arguments = {
        "stride": draw(size(1, 3)),
        "padding": draw(paddings),
        "dilation": draw(size(1, 3)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    kernel = draw(size(1, 5))
    return Case(
        lambda: op(out, kernel, **arguments),
        (x,),
        lambda: reference(x[0], out, kernel, **arguments),
    )


@cases(ops.Conv2d)
def _(draw) -> Case:
    return _convolution(draw, ops.Conv2d, nn.Conv2d, size(0, 2))


@cases(ops.Conv2dSame)
def _(draw) -> Case:
    return _convolution(draw, ops.Conv2dSame, timm.layers.Conv2dSame, st.just(0))


@cases(ops.Linear)
def _(draw) -> Case:
    x, out, bias = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.booleans())
    return Case(lambda: ops.Linear(out, bias), ((x,),), lambda: nn.Linear(x, out, bias))


def _batch_norm(draw, op: type[Op], reference: type[nn.Module]) -> Case:
    x = draw(st.one_of(st.tuples(axis), st.tuples(axis, axis), maps))
    eps, momentum = draw(st.sampled_from((1e-5, 1e-3))), draw(st.sampled_from((0.1, 0.0, 1.0, None)))
    return Case(lambda: op(eps, momentum), (x,), lambda: reference(x[0], eps, momentum))


@cases(ops.BatchNorm1d)
def _(draw) -> Case:
    return _batch_norm(draw, ops.BatchNorm1d, nn.BatchNorm1d)


@cases(ops.BatchNorm2d)
def _(draw) -> Case:
    return _batch_norm(draw, ops.BatchNorm2d, nn.BatchNorm2d)


@cases(ops.LayerNorm)
def _(draw) -> Case:
    x = draw(st.one_of(st.tuples(axis), st.tuples(axis, axis), maps))
    axes, affine = draw(st.integers(1, len(x))), draw(st.booleans())
    return Case(lambda: ops.LayerNorm(axes, 1e-6, affine), (x,), lambda: nn.LayerNorm(x[-axes:], 1e-6, affine))


@cases(ops.LocalResponseNorm)
def _(draw) -> Case:
    arguments = (
        draw(st.integers(0, 12)),
        draw(st.sampled_from((1e-4, 0.5))),
        0.75,
        draw(st.sampled_from((1.0, 2.0))),
    )
    return Case(lambda: ops.LocalResponseNorm(*arguments), (draw(maps),), lambda: nn.LocalResponseNorm(*arguments))


for _activation in ops.ACTIVATIONS.values():

    @cases(_activation)
    def _(draw, op=_activation) -> Case:
        arguments = {"dim": 1} if op is ops.Softmax else {}
        x = draw(st.one_of(st.tuples(axis), maps))
        return Case(op, (x,), lambda: getattr(nn, op.__name__)(**arguments))


@cases(ops.MaxPool2d)
def _(draw) -> Case:
    arguments = (
        draw(size(1, 5)),
        draw(st.none() | size(1, 4)),
        draw(size(0, 2)),
        draw(size(1, 3)),
        draw(st.booleans()),
    )
    kernel, stride, padding, dilation, ceil = arguments
    return Case(
        lambda: ops.MaxPool2d(*arguments),
        (draw(maps),),
        lambda: nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil),
    )


@cases(ops.AvgPool2d)
def _(draw) -> Case:
    arguments = (
        draw(size(1, 5)),
        draw(st.none() | size(1, 4)),
        draw(size(0, 2)),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    return Case(lambda: ops.AvgPool2d(*arguments), (draw(maps),), lambda: nn.AvgPool2d(*arguments))


@cases(ops.AdaptiveAvgPool2d)
def _(draw) -> Case:
    output = draw(st.one_of(axis, st.tuples(axis, axis)))
    return Case(lambda: ops.AdaptiveAvgPool2d(output), (draw(maps),), lambda: nn.AdaptiveAvgPool2d(output))


@cases(ops.Mean)
def _(draw) -> Case:
    return Case(ops.Mean, (draw(maps),), lambda: lambda x: x.flatten(2).mean(-1))


@cases(ops.Flatten)
def _(draw) -> Case:
    return Case(ops.Flatten, (draw(st.one_of(st.tuples(axis), maps)),), nn.Flatten)


@cases(ops.Add)
def _(draw) -> Case:
    x = draw(st.one_of(st.tuples(axis), maps))
    others = draw(st.lists(st.one_of(st.just(x), st.just(x), maps), min_size=1, max_size=3))
    # torch.stack refuses to broadcast, as the op does.
    return Case(ops.Add, (x, *others), lambda: lambda *xs: torch.stack(xs).sum(0))


@cases(ops.Mul)
def _(draw) -> Case:
    # No sizes of one but (1, 1): torch would broadcast them.
    channels, wide = st.integers(2, 4), st.integers(2, 4)
    shape = st.one_of(st.tuples(channels, st.just(1), st.just(1)), st.tuples(channels, wide, wide))
    a = draw(shape)
    b = draw(st.one_of(shape, st.just(a), st.just((a[0], 1, 1))))
    return Case(ops.Mul, draw(st.sampled_from(((a, b), (b, a)))), lambda: torch.mul)


@cases(ops.Concat)
def _(draw) -> Case:
    tail = draw(st.one_of(st.just(()), st.tuples(axis, axis)))
    first = st.integers(1, 4).map(lambda c: (c, *tail))
    shapes = draw(st.lists(st.one_of(first, first, first, maps), min_size=1, max_size=4))
    return Case(ops.Concat, tuple(shapes), lambda: lambda *xs: torch.cat(xs, 1))


@cases(ops.Split)
def _(draw) -> Case:
    parts = draw(st.integers(1, 4))
    x = draw(st.one_of(maps, st.tuples(st.integers(1, 3).map(lambda c: c * parts), axis, axis)))
    return Case(lambda: ops.Split(parts), (x,), lambda: lambda x: x.unflatten(1, (parts, -1)).unbind(1))


@cases(ops.ChannelShuffle)
def _(draw) -> Case:
    groups = draw(st.integers(0, 4))
    x = draw(st.one_of(maps, st.tuples(st.integers(1, 3).map(lambda c: c * max(groups, 1)), axis, axis)))
    return Case(lambda: ops.ChannelShuffle(groups), (x,), lambda: nn.ChannelShuffle(groups))


probability = st.sampled_from((0.0, 0.2, 1.0, -0.1, 1.1))


@cases(ops.Dropout)
def _(draw) -> Case:
    p = draw(probability)
    return Case(lambda: ops.Dropout(p), (draw(maps),), lambda: nn.Dropout(p))


@cases(ops.DropPath)
def _(draw) -> Case:
    p = draw(probability)
    return Case(lambda: ops.DropPath(p), (draw(maps),), lambda: torchvision.ops.StochasticDepth(p, "row"))


@cases(ops.Identity)
def _(draw) -> Case:
    return Case(ops.Identity, (draw(maps),), nn.Identity)


@cases(ops.ZeroPadShortcut)
def _(draw) -> Case:
    width, stride = draw(st.integers(1, 12)), draw(st.integers(1, 3))

    def reference(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        front = (width - c) // 2
        rows, columns = torch.arange(0, h, stride), torch.arange(0, w, stride)
        y = x.index_select(2, rows).index_select(3, columns)
        ends = y.new_zeros(n, front, *y.shape[2:]), y.new_zeros(n, width - c - front, *y.shape[2:])
        return torch.cat((ends[0], y, ends[1]), 1)

    return Case(lambda: ops.ZeroPadShortcut(width, stride), (draw(maps),), lambda: reference)


@cases(ops.ChannelAffine)
def _(draw) -> Case:
    x = draw(maps)
    numbers = st.floats(-2, 2, width=16)
    length = draw(st.sampled_from((x[0], x[0], x[0], x[0] + 1, 1)))
    scale, shift = (tuple(draw(st.lists(numbers, min_size=length, max_size=length))) for _ in range(2))

    def reference(x: torch.Tensor) -> torch.Tensor:
        planes = zip(x.unbind(1), scale, shift, strict=True)
        return torch.stack([plane * a + b for plane, a, b in planes], 1)

    return Case(lambda: ops.ChannelAffine(scale, shift), (x,), lambda: reference)


# Running the op's own spelling.

NAMES = ("a", "b", "c", "d")


def spell(call: ops.Call) -> str:
    """A call as source code, without the arguments that have their defaults."""
    shown = [
        repr(a.value) if a.positional else f"{a.name}={a.value!r}"
        for a in call.arguments
        if a.positional or a.value != a.default
    ]
    return f"{call.target}({', '.join(shown)})"


def written(op: Op, *shapes: Shape) -> Callable[..., object]:
    """What the op's own source code makes: a module, or a function of tensors."""
    names: dict[str, object] = {"torch": torch, "nn": nn}
    exec(op.helper, names)
    call = op.call(*shapes)
    if call is not None:
        return eval(spell(call), names).eval()
    code = op.expression(*NAMES[: len(shapes)])
    return lambda *xs: eval(code, {**names, **dict(zip(NAMES, xs, strict=False))})


def tensors(shapes: tuple[Shape, ...], batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, *shape, generator=generator) for shape in shapes]


def outputs(result: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def accepted(case: Case) -> Op | None:
    """The op of a case, or None if it refuses."""
    try:
        op = case.make()
        op.shapes(*case.shapes)
    except OpError:
        return None
    return op


def examples(op: type[Op], each: int) -> settings:
    """How many examples to try: `each` for every argument."""
    return settings(max_examples=each * (1 + len(fields(op))), deadline=None, derandomize=True)


def one_number(text: str) -> str:
    return re.sub(r"\((\d+), \1\)", r"\1", text)


@every_op
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_agrees_with_torch(op_class: type[Op]) -> None:
    seen = set()

    @examples(op_class, each=20)
    @given(strategy(op_class))
    def check(case: Case) -> None:
        xs = tensors(case.shapes)
        op = accepted(case)
        seen.add(op is not None)
        try:
            reference = case.reference()
            if isinstance(reference, nn.Module):
                reference.eval()
            with torch.no_grad():
                expected = reference(*xs)
        except (RuntimeError, ValueError, ZeroDivisionError, TypeError) as error:
            if op is not None:
                pytest.fail(f"{op} takes {case.shapes}, but torch says: {error}")
            return
        assert op is not None, f"torch makes {outputs(expected)[0].shape} of {case.shapes}"
        assert type(op) is op_class

        made = written(op, *case.shapes)
        if isinstance(made, nn.Module):
            weights = {name: tuple(p.shape) for name, p in made.named_parameters()}
            made.load_state_dict(getattr(reference, "state_dict", dict)())
            if not op.helper:
                assert one_number(repr(made)) == one_number(repr(reference))
        else:
            weights = {}
        assert list(op.weights(*case.shapes).items()) == list(weights.items())
        assert op.params(*case.shapes) == sum(map(prod, weights.values()))
        formula = op.params_formula(*case.shapes)
        assert (eval(formula) if formula else 0) == op.params(*case.shapes)

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            actual = made(*tensors(case.shapes, batch=1))
        assert op.shapes(*case.shapes) == tuple(tuple(y.shape[1:]) for y in outputs(actual))
        assert op.macs(*case.shapes) * 2 == counter.get_total_flops()
        with torch.no_grad():
            torch.testing.assert_close(outputs(made(*xs)), outputs(expected), equal_nan=True)

    check()
    assert True in seen, "no case was valid"


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_every_small_pool(ceil_mode: bool) -> None:
    for side, kernel, stride, padding, dilation in product(range(1, 8), range(1, 5), range(1, 5), (0, 1), (1, 2)):
        try:
            op = ops.MaxPool2d((kernel, 1), stride, (padding, 0), (dilation, 1), ceil_mode)
            shape = op.shape((1, side, 1))
        except OpError:
            shape = None
        try:
            pool = nn.MaxPool2d((kernel, 1), stride, (padding, 0), (dilation, 1), ceil_mode=ceil_mode)
            expected = tuple(pool(torch.zeros(1, 1, side, 1)).shape[1:])
        except RuntimeError:
            expected = None
        assert shape == expected, (side, kernel, stride, padding, dilation)


@every_op
def test_scratch_is_what_torch_allocates(op_class: type[Op]) -> None:
    @examples(op_class, each=15)
    @given(strategy(op_class))
    def check(case: Case) -> None:
        op = accepted(case)
        if op is None:
            return
        made = written(op, *case.shapes)
        xs = tensors(case.shapes, batch=1)
        weights = [*made.parameters(), *made.buffers()] if isinstance(made, nn.Module) else []
        with torch.no_grad(), LiveMemory(*xs, *weights) as memory:
            made(*xs)
        output = 0 if op.view else sum(map(prod, op.shapes(*case.shapes)))
        assert memory.peak == 4 * (output + op.scratch(*case.shapes))

    check()


@every_op
def test_claims_about_memory(op_class: type[Op]) -> None:
    """With `view` it shares the input's memory; without `saves_output` its backward pass reads no output."""

    @examples(op_class, each=6)
    @given(strategy(op_class))
    def check(case: Case) -> None:
        op = accepted(case)
        if op is None:
            return
        made = written(op, *case.shapes)
        xs = tensors(case.shapes)
        pointers = {x.untyped_storage().data_ptr() for x in xs}
        for y in outputs(made(*xs)):
            assert (y.untyped_storage().data_ptr() in pointers) == op.view
        if op.identity:
            assert torch.equal(outputs(made(*xs))[0], xs[0])

        saved: list[torch.Tensor] = []
        if isinstance(made, nn.Module):
            made.train()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            ys = outputs(made(*[x.requires_grad_() for x in xs]))
        kept = {t.untyped_storage().data_ptr() for t in saved} - pointers
        assert op.saves_output or not kept & {y.untyped_storage().data_ptr() for y in ys}

    check()


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


@pytest.mark.parametrize("op_class", ops.ACTIVATIONS.values(), ids=ops.ACTIVATIONS)
def test_activations_in_place(op_class: type[ops.Activation]) -> None:
    op = op_class()
    call = op.call((4, 3, 3))
    spelt = spell(ops.Call(call.target, (*call.arguments, ops.Argument("inplace", True, False))))
    if not op_class.in_place:
        with pytest.raises(TypeError, match="inplace"):
            eval(spelt, {"nn": nn})
        return
    plain, in_place = written(op, (4, 3, 3)), eval(spelt, {"nn": nn})
    gradients = []
    for module in (plain, in_place):
        (x,) = tensors(((4, 3, 3),))
        x.requires_grad_()
        convolved = x * 3  # a tensor that its maker doesn't need
        y = module(convolved)
        assert (y.data_ptr() == convolved.data_ptr()) == (module is in_place)
        y.square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_add_in_place() -> None:
    assert ops.Add.in_place
    a, b = (x.requires_grad_() for x in tensors(((4, 3, 3),) * 2))
    names = {"a": a * 2, "b": b * 3}
    before = names["a"].data_ptr()
    total = eval(ops.Add().expression("a", "b"), dict(names))
    exec("a += b", names)
    assert names["a"].data_ptr() == before
    assert torch.equal(names["a"], total)
    names["a"].square().sum().backward()
    torch.testing.assert_close(a.grad, 2 * 2 * total)


def test_only_add_and_activations_run_in_place() -> None:
    assert {op for op in OPS if op.in_place and not issubclass(op, ops.Activation)} == {ops.Add}


# Values against a plain definition.


def test_channel_shuffle_deals_the_groups_out() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert written(ops.ChannelShuffle(2), (6, 1, 1))(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert written(ops.ChannelShuffle(3), (6, 1, 1))(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_split_makes_equal_parts() -> None:
    parts = written(ops.Split(3), (6, 1, 1))(torch.arange(6.0).view(1, 6, 1, 1))
    assert [part.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


def test_zero_pad_shortcut_puts_the_odd_channel_behind() -> None:
    x = torch.arange(1.0, 10).view(1, 1, 3, 3)
    y = written(ops.ZeroPadShortcut(4, 2), (1, 3, 3))(x)
    assert y.tolist() == [[[[0, 0], [0, 0]], [[1, 3], [7, 9]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]


def test_drop_path_drops_whole_samples() -> None:
    x = torch.rand(64, 3, 2, 2) + 1
    module = written(ops.DropPath(0.5), (3, 2, 2)).train()
    reference = torchvision.ops.StochasticDepth(0.5, "row").train()
    with seeded():
        y = module(x)
    with seeded():
        assert torch.equal(y, reference(x))
    kept = y.flatten(1).ne(0).all(1)
    assert torch.equal(kept, y.flatten(1).ne(0).any(1))
    assert 16 < kept.sum() < 48
    assert torch.equal(y[kept], x[kept] * 2)


def test_drop_path_at_the_ends() -> None:
    x = torch.rand(4, 3)
    assert written(ops.DropPath(0.0), (3,)).train()(x) is x
    assert torch.equal(written(ops.DropPath(1.0), (3,)).train()(x), torch.zeros(4, 3))
    assert written(ops.DropPath(1.0), (3,)).eval()(x) is x


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2), (2, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("side", [7, 8, 11])
def test_same_padding_gives_timms_bits(kernel: int, stride: int, side: int) -> None:
    (x,) = tensors(((8, side, side),))
    reference = timm.layers.create_conv2d(8, 16, kernel, stride=stride, padding="same", bias=True)
    module = written(ops.Conv2dSame(16, kernel, stride), (8, side, side))
    module.load_state_dict(reference.state_dict())
    assert torch.equal(module(x), reference(x))


def test_same_padding_copies_only_where_it_is_odd() -> None:
    conv = ops.Conv2dSame(4, 3, 2)  # an odd side of 7 gets one row on both ends, a side of 8 one at the end
    scratch = {shape: conv.scratch(shape) for shape in ((3, 7, 7), (3, 7, 8), (3, 8, 7), (3, 8, 8))}
    assert scratch == {(3, 7, 7): 0, (3, 7, 8): 3 * 9 * 9, (3, 8, 7): 3 * 9 * 9, (3, 8, 8): 3 * 9 * 9}
    for shape, elements in scratch.items():
        with torch.no_grad(), LiveMemory() as memory:
            written(conv, shape)(*tensors((shape,), batch=1))
        beside = prod(shape) + sum(p.numel() for p in nn.Conv2d(3, 4, 3).parameters()) + 4 * 4 * 4
        assert memory.peak == 4 * (beside + elements)


def test_helpers_export_and_print() -> None:
    shape = (3, 9, 8)
    shown = {
        ops.Conv2dSame(4, 3, 2): "Conv2dSame(3, 4, kernel_size=(3, 3), stride=(2, 2))",
        ops.DropPath(0.2): "DropPath(p=0.2)",
        ops.ZeroPadShortcut(6, 2): "ZeroPadShortcut(6, stride=2)",
        ops.ChannelAffine((1.0, 2.0, 3.0), (0.0, 0.5, 1.0)): (
            "ChannelAffine(scale=(1.0, 2.0, 3.0), shift=(0.0, 0.5, 1.0))"
        ),
    }
    assert {type(op) for op in shown} == {op for op in OPS if op.helper}
    for op, text in shown.items():
        module = written(op, shape)
        assert repr(module) == text
        (x,) = tensors((shape,))
        assert torch.equal(torch.export.export(module, (x,)).module()(x), module(x))


# The classes themselves.


def test_every_op_is_public() -> None:
    assert {op.__name__ for op in OPS} <= set(ops.__all__)
    assert all(hasattr(ops, name) for name in ops.__all__)
    assert ops.__all__ == sorted(ops.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))


def test_activations_by_name() -> None:
    assert list(ops.ACTIVATIONS) == [
        "relu", "relu6", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh", "gelu", "softmax"
    ]  # fmt: skip
    assert ops.ACTIVATIONS["silu"] is ops.SiLU
    assert set(ops.Activation.__subclasses__()) == set(ops.ACTIVATIONS.values())


@every_op
def test_frozen_and_equal_by_value(op_class: type[Op]) -> None:
    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(strategy(op_class))
    def check(case: Case) -> None:
        op = accepted(case)
        if op is None:
            return
        assert op == case.make()
        assert hash(op) == hash(case.make())
        assert op.hashed().startswith(op_class.__name__)
        with pytest.raises(FrozenInstanceError):
            op.kernel = 3

    check()


def test_an_equal_pair_is_a_number() -> None:
    assert ops.Conv2d(8, (3, 3), (2, 2), (1, 1), (1, 1)) == ops.Conv2d(8, 3, 2, 1, 1)
    assert ops.MaxPool2d((2, 2)) == ops.MaxPool2d(2, 2)
    assert ops.MaxPool2d((3, 2)).stride == (3, 2)
    assert ops.AdaptiveAvgPool2d((1, 1)) == ops.AdaptiveAvgPool2d(1)
    assert ops.ReLU() != ops.Tanh()
    assert ops.Conv2d(8, 3) != ops.Conv2dSame(8, 3)


def test_what_a_hash_sees() -> None:
    assert ops.BatchNorm2d(1e-5, 0.1).hashed() == ops.BatchNorm2d(1e-5, None).hashed() == "BatchNorm2d(eps=1e-05)"
    assert ops.BatchNorm2d(1e-3).hashed() != ops.BatchNorm2d(1e-5).hashed()
    assert ops.BatchNorm1d().hashed() != ops.BatchNorm2d().hashed()
    assert ops.Conv2d(8, 3).hashed() != ops.Conv2dSame(8, 3).hashed()


def test_formulas_as_textbooks_write_them() -> None:
    assert ops.Conv2d(6, 5, padding=2).params_formula((1, 28, 28)) == "(5*5*1+1)*6"
    assert ops.Conv2d(64, 3, bias=False).params_formula((64, 56, 56)) == "3*3*64*64"
    assert ops.Conv2d(64, 3, groups=64, bias=False).params_formula((64, 56, 56)) == "3*3*1*64"
    assert ops.Linear(120).params_formula((400,)) == "(400+1)*120"
    assert ops.Linear(120, bias=False).params_formula((400,)) == "400*120"
    assert ops.BatchNorm2d().params_formula((64, 7, 7)) == "2*64"
    assert ops.LayerNorm(2).params_formula((3, 4, 5)) == "2*4*5"
    assert ops.ReLU().params_formula((3, 4, 5)) == ""


def test_code_as_people_write_it() -> None:
    x = (64, 56, 56)
    assert spell(ops.Conv2d(128, 3, 2, 1, bias=False).call(x)) == (
        "nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False)"
    )
    assert spell(ops.Conv2dSame(128, (3, 5), 2).call(x)) == "Conv2dSame(64, 128, (3, 5), stride=2)"
    assert spell(ops.BatchNorm2d().call(x)) == "nn.BatchNorm2d(64)"
    assert spell(ops.BatchNorm2d(0.001, None).call(x)) == "nn.BatchNorm2d(64, eps=0.001, momentum=None)"
    assert spell(ops.MaxPool2d(3, 2, 1).call(x)) == "nn.MaxPool2d(3, 2, padding=1)"
    assert spell(ops.Softmax().call(x)) == "nn.Softmax(dim=1)"
    assert spell(ops.LayerNorm(3).call(x)) == "nn.LayerNorm((64, 56, 56))"
    assert ops.Concat().expression("a", "b") == "torch.cat((a, b), 1)"
    assert ops.Concat().expression("a") == "torch.cat((a,), 1)"
    assert ops.Add().expression("a", "b", "c") == "a + b + c"


def test_the_input_is_a_source() -> None:
    assert ops.Input((3, 224, 224)).shapes() == ((3, 224, 224),)
    assert ops.Input((8,)).params() == ops.Input((8,)).macs() == 0


def test_torch_is_not_imported() -> None:
    code = "import sys, blockforge.ops; print(sorted({'torch', 'numpy', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


FITS = "use a larger input or a smaller kernel or stride"
REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "kernel": (
        lambda: ops.Conv2d(8, 0),
        "kernel=0 must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "kernel list": (
        lambda: ops.Conv2d(8, [3, 3]),
        "kernel=[3, 3] must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "kernel triple": (
        lambda: ops.MaxPool2d((1, 2, 3)),
        "kernel=(1, 2, 3) must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "stride": (
        lambda: ops.Conv2d(8, 3, (1, 0)),
        "stride=(1, 0) must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "padding": (
        lambda: ops.Conv2d(8, 3, padding=-1),
        "padding=-1 must be 0 or more, or a pair of such; use whole numbers >= 0",
    ),
    "padding same": (
        lambda: ops.Conv2d(8, 3, padding="same"),
        "padding='same' must be 0 or more, or a pair of such; use whole numbers >= 0",
    ),
    "padding twice": (
        lambda: ops.Conv2dSame(8, 3, padding=1),
        "padding=1 clashes with 'same'; leave it out, or use Conv2d",
    ),
    "dilation": (
        lambda: ops.MaxPool2d(2, dilation=0),
        "dilation=0 must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "out_channels": (lambda: ops.Conv2d(0), "out_channels=0 must be 1 or more; use a whole number >= 1"),
    "out_channels float": (
        lambda: ops.Conv2d(8.0),
        "out_channels=8.0 must be 1 or more; use a whole number >= 1",
    ),
    "groups": (lambda: ops.Conv2d(8, groups=0), "groups=0 must be 1 or more; use a whole number >= 1"),
    "out_features": (lambda: ops.Linear(-3), "out_features=-3 must be 1 or more; use a whole number >= 1"),
    "out groups": (
        lambda: ops.Conv2d(64, groups=3),
        "groups=3 must divide the 64 output channels; use a divisor of 64",
    ),
    "in groups": (
        lambda: ops.Conv2d(6, groups=3).shape((64, 8, 8)),
        "groups=3 must divide the 64 input channels; use a divisor of 64",
    ),
    "conv rank": (
        lambda: ops.Conv2d(6).shape((64,)),
        "Conv2d takes (C, H, W), but its input is (64,); feed it feature maps",
    ),
    "linear rank": (
        lambda: ops.Linear(6).shape((64, 7, 7)),
        "Linear takes (C,), but its input is (64, 7, 7); put a flatten before it",
    ),
    "norm rank": (
        lambda: ops.BatchNorm1d().shape((64, 7, 7)),
        "BatchNorm1d takes (C,) or (C, L), but its input is (64, 7, 7); feed it feature maps",
    ),
    "two inputs": (
        lambda: ops.ReLU().shape((4,), (4,)),
        "ReLU takes 1 input, but got 2; join them with an add or a concat first",
    ),
    "no input": (
        lambda: ops.Conv2d(4).shape(),
        "Conv2d takes 1 input, but got 0; join them with an add or a concat first",
    ),
    "eps": (lambda: ops.BatchNorm2d(0), "eps=0 must be positive; use 1e-5 or so"),
    "momentum": (
        lambda: ops.BatchNorm2d(1e-5, 1.5),
        "momentum=1.5 must lie between 0 and 1; or use None for a plain average",
    ),
    "axes": (
        lambda: ops.LayerNorm(2).shape((64,)),
        "axes=2 is more than the 1 of the input (64,); use at most 1",
    ),
    "no axes": (lambda: ops.LayerNorm(0), "axes=0 must be 1 or more; use a whole number >= 1"),
    "lrn size": (lambda: ops.LocalResponseNorm(0), "size=0 must be 1 or more; use a whole number >= 1"),
    "pool padding": (
        lambda: ops.MaxPool2d(3, 2, 2),
        "padding 2 is more than half of kernel 3; use at most 1",
    ),
    "pool padding pair": (
        lambda: ops.AvgPool2d((4, 2), 2, 2),
        "padding 2 is more than half of kernel 2; use at most 1",
    ),
    "adaptive size": (
        lambda: ops.AdaptiveAvgPool2d(0),
        "size=0 must be 1 or more, or a pair of such; use whole numbers >= 1",
    ),
    "add one": (lambda: ops.Add().shape((4,)), "Add takes two or more inputs, but got 1; wire it to as many"),
    "add shapes": (
        lambda: ops.Add().shape((4, 8, 8), (4, 4, 4)),
        "Add takes inputs of one shape, but they are (4, 8, 8) and (4, 4, 4); "
        "bring them to one shape, by a 1x1 convolution with a stride for example",
    ),
    "mul three": (
        lambda: ops.Mul().shape((4,), (4,), (4,)),
        "Mul takes two inputs, but got 3; wire it to as many",
    ),
    "mul shapes": (
        lambda: ops.Mul().shape((4, 8, 8), (8, 1, 1)),
        "Mul takes inputs of one shape, or (C, 1, 1) and (C, H, W), but they are (4, 8, 8) and (8, 1, 1); "
        "give both the same channels",
    ),
    "mul ranks": (
        lambda: ops.Mul().shape((4, 8, 8), (4,)),
        "Mul takes inputs of one shape, or (C, 1, 1) and (C, H, W), but they are (4, 8, 8) and (4,); "
        "pool with adaptive_avg_pool, which keeps (C, 1, 1)",
    ),
    "concat none": (
        lambda: ops.Concat().shape(),
        "Concat takes one or more inputs, but got 0; wire it to as many",
    ),
    "concat shapes": (
        lambda: ops.Concat().shape((4, 8, 8), (4, 8, 8), (4, 7, 8)),
        "Concat takes inputs that differ in channels only, but they are (4, 8, 8), (4, 8, 8) and (4, 7, 8); "
        "give the branches the same strides and paddings",
    ),
    "split": (
        lambda: ops.Split(2).shape((5, 8, 8)),
        "parts=2 must divide the 5 input channels; use a divisor of 5",
    ),
    "shuffle": (
        lambda: ops.ChannelShuffle(3).shape((64, 8, 8)),
        "groups=3 must divide the 64 input channels; use a divisor of 64",
    ),
    "p": (lambda: ops.DropPath(1.5), "p=1.5 must lie between 0 and 1; it is the probability of dropping"),
    "pad width": (
        lambda: ops.ZeroPadShortcut(16).shape((32, 8, 8)),
        "width=16 is less than the 32 input channels; use 32 or more",
    ),
    "affine": (
        lambda: ops.ChannelAffine((1.0, 2.0), (0.0,)).shape((3, 8, 8)),
        "2 scales and 1 shifts don't fit 3 input channels; use 3 of each",
    ),
    "input": (
        lambda: ops.Input((3, 0, 32)),
        "the input's shape (3, 0, 32) must be of sizes of 1 or more; use (3, 32, 32), say",
    ),
    "fed input": (
        lambda: ops.Input((3,)).shape((3,)),
        "Input takes no inputs, but got 1; wire them to what follows",
    ),
}
TOO_SMALL: dict[str, tuple[Callable[[], object], str]] = {
    "conv": (
        lambda: ops.Conv2d(8, 5).shape((3, 3, 3)),
        f"kernel 5 is larger than the padded input 3x3; {FITS}",
    ),
    "conv pair": (
        lambda: ops.Conv2d(8, (1, 7), padding=(0, 1)).shape((3, 9, 4)),
        f"kernel 1x7 is larger than the padded input 9x6; {FITS}",
    ),
    "conv dilated": (
        lambda: ops.Conv2d(8, 3, dilation=4).shape((3, 8, 8)),
        f"kernel 3 with dilation 4 is larger than the padded input 8x8; {FITS}",
    ),
    "max pool": (
        lambda: ops.MaxPool2d(4, padding=1).shape((3, 8, 1)),
        f"kernel 4 is larger than the padded input 10x3; {FITS}",
    ),
    "max pool dilated": (
        lambda: ops.MaxPool2d(3, dilation=(2, 1)).shape((3, 4, 4)),
        f"kernel 3 with dilation 2x1 is larger than the padded input 4x4; {FITS}",
    ),
    "avg pool": (
        lambda: ops.AvgPool2d(7).shape((3, 4, 4)),
        f"kernel 7 is larger than the padded input 4x4; {FITS}",
    ),
}


@pytest.mark.parametrize("key", REFUSALS)
def test_refusals(key: str) -> None:
    refused, text = REFUSALS[key]
    with pytest.raises(OpError) as caught:
        refused()
    assert str(caught.value) == text
    assert not isinstance(caught.value, InputTooSmall)


@pytest.mark.parametrize("key", TOO_SMALL)
def test_too_small_an_input_is_told_apart(key: str) -> None:
    refused, text = TOO_SMALL[key]
    with pytest.raises(InputTooSmall) as caught:
        refused()
    assert str(caught.value) == text

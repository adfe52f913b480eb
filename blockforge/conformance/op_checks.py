"""What every op that a block brings with it must hold, alone: its rules against what torch makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from textwrap import shorten
from typing import Any

from blockforge.codegen.text import source_of
from blockforge.conformance.modules import close, constructed, difference, lively, op_graph, outputs, run, same, tensors
from blockforge.conformance.report import Nonconformity
from blockforge.conformance.torch_counts import counted
from blockforge.errors import OpError
from blockforge.ops import Op, Shape, show_shape

Inputs = tuple[Shape, ...]
OpCheck = Callable[[Op, Inputs], None]
BATCH = 2


def text_of_op(op: Op, inputs: Inputs) -> str:
    """The source of a module of this op alone."""
    return source_of(op_graph(op, inputs), "Checked", op.kind)


def op_shape(op: Op, inputs: Inputs) -> None:
    """What torch makes of the op is shaped as its rule says."""
    module = constructed(text_of_op(op, inputs)).eval()
    got = [tuple(each.shape[1:]) for each in outputs(module, tensors(inputs, BATCH))]
    said = list(op.shapes(*inputs))
    if got != said:
        raise Nonconformity(
            f"torch makes {', '.join(map(show_shape, got))} of {', '.join(map(show_shape, inputs))}",
            f"its rule says {', '.join(map(show_shape, said))}",
            f"mend {op.kind}.shape, or its call",
        )


def op_parameters(op: Op, inputs: Inputs) -> None:
    """The op's weights are those of its module: names, order and shapes."""
    module = constructed(text_of_op(op, inputs))
    got = [(name.removeprefix("op."), tuple(weight.shape)) for name, weight in module.named_parameters()]
    said = list(op.weights(*inputs).items())
    if got != said:
        raise Nonconformity(
            f"the module has {_weights(got)}", f"weights says {_weights(said)}", f"mend {op.kind}.weights"
        )
    formula = op.params_formula(*inputs)
    if re.fullmatch(r"[\d+*()/ -]+", formula) and eval(formula) != op.params(*inputs):  # noqa: S307 (numbers alone)
        raise Nonconformity(
            f"params_formula says {formula}", f"params says {op.params(*inputs):,}", f"mend {op.kind}.params_formula"
        )
    number = sum(weight.numel() for weight in module.parameters())
    if number != op.params(*inputs):
        raise Nonconformity(
            f"the module has {number:,} parameters", f"params says {op.params(*inputs):,}", f"mend {op.kind}.params"
        )


def op_macs(op: Op, inputs: Inputs) -> None:
    """Torch counts as many multiply-accumulates in convolutions and linear layers as the op says."""
    got, said = counted(constructed(text_of_op(op, inputs)), inputs), op.macs(*inputs)
    if got != said:
        raise Nonconformity(f"torch counts {got:,} MACs", f"macs says {said:,}", f"mend {op.kind}.macs")


def op_identity(op: Op, inputs: Inputs) -> None:
    """An op that says that it is an identity returns its input in eval mode."""
    if not op.identity:
        return
    xs = tensors(inputs, BATCH)
    out = run(lively(constructed(text_of_op(op, inputs))), xs)
    if not same(out, xs[0]):
        raise Nonconformity(
            f"its output differs from its input in eval mode: {difference(out, xs[0])}",
            "identity says that it doesn't",
            f"leave {op.kind}.identity at False",
        )


def op_memory(op: Op, inputs: Inputs) -> None:
    """What the op says of memory is so: `view`, `in_place` and `saves_output`."""
    xs = tensors(inputs, BATCH)
    text = text_of_op(op, inputs)
    run(constructed(text), xs)
    if not all(same(x, before) for x, before in zip(xs, tensors(inputs, BATCH), strict=True)):
        raise Nonconformity(
            "it writes over its input",
            "that is for who knows that nobody else reads it",
            f"let {op.kind} make a tensor of its own, x * y and not x.mul_(y)",
        )
    storages = [out.untyped_storage().data_ptr() for out in outputs(constructed(text).eval(), xs)]
    shares = any(x.untyped_storage().data_ptr() in storages for x in xs)
    if shares != op.view:
        raise Nonconformity(
            f"its output {'shares' if shares else 'shares no'} memory with its input",
            f"view is {op.view}",
            f"set {op.kind}.view to {shares}: what works in place relies on it",
        )
    if op.in_place:
        _in_place(op, inputs)
    if not op.saves_output and not op.view:
        _saves_output(op, inputs)


def _in_place(op: Op, inputs: Inputs) -> None:
    """Behind an op whose output nobody else reads it may write over it: it must say the same then."""
    import torch

    call = op.call(*inputs)
    if call is None:
        return  # an expression is written as `y += x` by the generator's own rules
    made = []
    for inplace in (False, True):
        module = lively(constructed(text_of_op(op, inputs))).train()
        inner: Any = module.op
        if inplace and not hasattr(inner, "inplace"):
            raise Nonconformity(
                f"{type(inner).__name__} takes no inplace=True",
                "in_place is True",
                f"leave {op.kind}.in_place at False",
            )
        inner.inplace = inplace
        xs = [x.requires_grad_() for x in tensors(inputs, BATCH)]
        torch.manual_seed(0)
        out = module(*[x * 1.0 for x in xs])
        out.sum().backward()
        made.append((out.detach(), xs[0].grad))
    (out, grad), (other, other_grad) = made
    if not close(out, other) or grad is None or other_grad is None or not close(grad, other_grad):
        raise Nonconformity(
            "in place it gives another output or gradient", "in_place is True", f"leave {op.kind}.in_place at False"
        )


def _saves_output(op: Op, inputs: Inputs) -> None:
    """Its output is written over by a relu in place, as it may be in a network: its backward must not miss it."""
    import torch

    for port in range(len(op.shapes(*inputs))):
        module = constructed(text_of_op(op, inputs)).train()
        made = module(*[x.requires_grad_() * 1.0 for x in tensors(inputs, BATCH)])
        several = [made] if isinstance(made, torch.Tensor) else list(made)
        if not several[port].requires_grad:
            continue
        try:
            torch.relu_(several[port])
            sum(out.sum() for out in several).backward()  # type: ignore[union-attr]
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise Nonconformity(
                "its backward reads its output", "saves_output is False", f"set {op.kind}.saves_output to True"
            ) from None


def op_hash(op: Op, inputs: Inputs) -> None:
    """The op's identity is all its arguments that change what it computes, the same in each process."""
    try:
        hash(op)
    except TypeError as error:
        raise Nonconformity(str(error), "an op can be hashed", "use @dataclass(frozen=True)") from None
    if " at 0x" in op.hashed():
        raise Nonconformity(
            f"it is known by {op.hashed()}",
            "that is the same in each process",
            "use numbers, text and tuples as arguments",
        )
    for name, other in _variations(op, inputs):
        if other.hashed() == op.hashed() and _computes_otherwise(op, other, inputs):
            raise Nonconformity(
                f"its argument {name} is no part of what it is known by",
                "ops that compute something else are two ops",
                "let repr and compare of the field be True, and hashed say it",
            )


def _variations(op: Op, inputs: Inputs) -> Iterator[tuple[str, Op]]:
    """The op with one argument changed, where that makes one that takes these inputs."""
    for each in fields(op):
        value = getattr(op, each.name)
        tried = (
            [not value] if isinstance(value, bool) else [value + 1, value * 2] if isinstance(value, int | float) else []
        )
        for other in tried:
            with suppress(Exception):  # whatever an author's op refuses it with
                changed = replace(op, **{each.name: other})
                changed.shapes(*inputs)
                yield each.name, changed


def _computes_otherwise(op: Op, other: Op, inputs: Inputs) -> bool:
    """Whether two ops differ in shape, in the shapes of weights, or in an output in eval mode."""
    if op.shapes(*inputs) != other.shapes(*inputs) or op.weights(*inputs) != other.weights(*inputs):
        return True
    one, two = (run(constructed(text_of_op(each, inputs)), tensors(inputs, BATCH)) for each in (op, other))
    return not same(one, two)


def op_refusals(op: Op, inputs: Inputs) -> None:
    """What torch refuses, the op's rule refuses: another number of inputs or of axes, inputs that don't go together."""
    for wrong in _wrong_inputs(inputs):
        shown = " and ".join(map(show_shape, wrong))
        advice = f"let {op.kind}.shape raise OpError for such inputs"
        try:
            said = list(op.shapes(*wrong))
        except OpError:
            continue
        except Exception as error:
            raise Nonconformity(
                f"for {shown} its rule raises {type(error).__name__}: {error}",
                "it raises OpError for what it can't take",
                advice,
            ) from None
        rule = ", ".join(map(show_shape, said))
        try:
            made = outputs(constructed(text_of_op(op, wrong)).eval(), tensors(wrong, BATCH))
        except Exception as error:
            text = shorten(" ".join(str(error).split()), 80, placeholder=" ...")
            raise Nonconformity(
                f"torch refuses {shown} ({type(error).__name__}: {text})", f"its rule makes {rule} of it", advice
            ) from None
        got = [tuple(each.shape[1:]) for each in made]
        if got != said:
            raise Nonconformity(
                f"torch makes {', '.join(map(show_shape, got))} of {shown}", f"its rule says {rule}", advice
            )


def _wrong_inputs(inputs: Inputs) -> Iterator[Inputs]:
    yield tuple([shape[:1] for shape in inputs])
    yield tuple([(*shape, 3) for shape in inputs])
    yield (*inputs, inputs[0])
    if len(inputs) > 1:
        yield inputs[:-1]
        for axis in range(len(inputs[-1])):
            yield (*inputs[:-1], tuple([size + (i == axis) for i, size in enumerate(inputs[-1])]))


def _weights(weights: list[tuple[str, Shape]]) -> str:
    return ", ".join(f"{name} {show_shape(shape)}" for name, shape in weights) or "no parameters"


OP_CHECKS: dict[str, OpCheck] = {
    check.__name__: check for check in (op_shape, op_parameters, op_macs, op_identity, op_memory, op_hash, op_refusals)
}
"""By name, in the order in which they make sense."""

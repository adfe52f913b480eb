"""What every op that a block brings with it must hold, alone: its rules against what torch makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from blockforge.codegen.text import source_of
from blockforge.conformance.modules import constructed, difference, lively, op_graph, run, same, tensors
from blockforge.conformance.report import Nonconformity
from blockforge.conformance.torch_counts import counted
from blockforge.ops import Op, Shape, show_shape

Inputs = tuple[Shape, ...]
OpCheck = Callable[[Op, Inputs], None]
BATCH = 2


def text_of_op(op: Op, inputs: Inputs) -> str:
    """The source of a module of this op alone."""
    return source_of(op_graph(op, inputs), "Checked", op.kind)


def op_shape(op: Op, inputs: Inputs) -> None:
    """What torch makes of the op is shaped as its rule says."""
    import torch

    module = constructed(text_of_op(op, inputs)).eval()
    with torch.no_grad():
        made = module(*tensors(inputs, BATCH))
    got = [tuple(each.shape[1:]) for each in ([made] if isinstance(made, torch.Tensor) else made)]
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
    out = run(constructed(text), xs)
    shares = any(out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for x in xs)
    if shares != op.view:
        raise Nonconformity(
            f"its output {'shares' if shares else 'shares no'} memory with its input",
            f"view is {op.view}",
            f"set {op.kind}.view to {shares}: what works in place relies on it",
        )
    if op.in_place:
        _in_place(op, inputs)
    if not op.saves_output and len(op.shapes(*inputs)) == 1:
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
    if not same(out, other) or grad is None or other_grad is None or not same(grad, other_grad):
        raise Nonconformity(
            "in place it gives another output or gradient", "in_place is True", f"leave {op.kind}.in_place at False"
        )


def _saves_output(op: Op, inputs: Inputs) -> None:
    """Its output is written over by a relu in place, as it may be in a network: its backward must not miss it."""
    import torch

    module = constructed(text_of_op(op, inputs)).train()
    xs = [x.requires_grad_() for x in tensors(inputs, BATCH)]
    out = module(*[x * 1.0 for x in xs])
    if not isinstance(out, torch.Tensor) or not out.requires_grad or op.view:
        return
    try:
        torch.relu_(out).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise Nonconformity(
            "its backward reads its output", "saves_output is False", f"set {op.kind}.saves_output to True"
        ) from None


def op_hash(op: Op, inputs: Inputs) -> None:  # noqa: ARG001 (the signature is that of all these checks)
    """The op's identity is all its arguments and nothing else: equal ops are equal, others aren't."""
    hidden = [each.name for each in fields(op) if not each.repr or not each.compare]
    if hidden and type(op).hashed is Op.hashed:
        raise Nonconformity(
            f"its argument {hidden[0]} is no part of what it is known by",
            "two ops of other arguments are two ops",
            "let repr and compare of the field be True",
        )
    if " at 0x" in op.hashed():
        raise Nonconformity(
            f"it is known by {op.hashed()}",
            "that is the same in each process",
            "use numbers, text and tuples as arguments",
        )
    try:
        hash(op)
    except TypeError as error:
        raise Nonconformity(str(error), "an op can be hashed", "use @dataclass(frozen=True)") from None


def op_refusals(op: Op, inputs: Inputs) -> None:
    """What torch refuses, the op's rule refuses: inputs of another number of axes, or of another number."""
    import torch

    from blockforge.errors import OpError

    for wrong in (tuple([shape[:1] for shape in inputs]), tuple([(*shape, 3) for shape in inputs])):
        try:
            said = op.shapes(*wrong)
        except OpError:
            continue
        except Exception as error:
            raise Nonconformity(
                f"for {show_shape(wrong[0])} its rule raises {type(error).__name__}: {error}",
                "it raises OpError for what it can't take",
                f"check the number of axes in {op.kind}.shape",
            ) from None
        try:
            with torch.no_grad():
                module = constructed(text_of_op(op, wrong)).eval()
                made = module(*tensors(wrong, BATCH))
        except Exception as error:
            text = " ".join(str(error).split())[:80]
            raise Nonconformity(
                f"torch refuses {show_shape(wrong[0])} ({type(error).__name__}: {text})",
                f"its rule makes {show_shape(said[0])} of it",
                f"check the number of axes in {op.kind}.shape",
            ) from None
        got = tuple((made if isinstance(made, torch.Tensor) else made[0]).shape[1:])
        if got != said[0]:
            raise Nonconformity(
                f"torch makes {show_shape(got)} of {show_shape(wrong[0])}",
                f"its rule says {show_shape(said[0])}",
                f"check the number of axes in {op.kind}.shape",
            )


def _weights(weights: list[tuple[str, Shape]]) -> str:
    return ", ".join(f"{name} {show_shape(shape)}" for name, shape in weights) or "no parameters"


OP_CHECKS: dict[str, OpCheck] = {
    check.__name__: check for check in (op_shape, op_parameters, op_macs, op_identity, op_memory, op_hash, op_refusals)
}
"""By name, in the order in which they make sense."""

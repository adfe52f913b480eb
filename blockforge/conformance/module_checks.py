"""How a block's module behaves: gradients, a batch's items, copies, its source alone, other devices, export."""

from __future__ import annotations

import copy
import logging
import pickle
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

from blockforge.conformance.cases import Case
from blockforge.conformance.modules import (
    alone,
    close,
    constructed,
    difference,
    lively,
    outputs,
    run,
    same,
    smooth,
    tensors,
    text_of,
)
from blockforge.conformance.report import Nonconformity

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 2
SEEDS = 8  # tries, before a gradient of zero is believed


def gradients(case: Case) -> None:
    """A gradient reaches every parameter of the module, and each of several inputs."""
    import torch

    missing: set[str] = set()
    for seed in range(SEEDS):
        # In eval mode, since in train mode a norm takes away again what a bias adds; in train mode a gradient must be
        # there at least.
        module = smooth(lively(constructed(text_of(case), seed), seed))
        leaves: dict[str, Tensor] = {}
        for training in (True, False):
            module.train(training).zero_grad(set_to_none=True)
            xs = [x.requires_grad_() for x in tensors(case.inputs, 4, seed)]
            out = module(*xs)
            if out.requires_grad:
                (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))).sum().backward()
            leaves = {**dict(module.named_parameters())}
            leaves |= {f"input {i}": x for i, x in enumerate(xs, 1)} if len(xs) > 1 else {}
            cut_off = {name for name, leaf in leaves.items() if leaf.grad is None}
            if cut_off:
                break
        unreached = cut_off or {name for name, leaf in leaves.items() if not bool(leaf.grad.any())}  # type: ignore[union-attr]
        missing = unreached if cut_off or not seed else missing & unreached
        if not missing or cut_off:
            break
    if missing:
        raise Nonconformity(
            f"no gradient reaches {', '.join(sorted(missing))}",
            "each has a part in the output",
            "use what the op returns, and nothing that cuts gradients off",
        )


def batch_items(case: Case) -> None:
    """In eval mode an item's output depends on that item alone."""
    module = lively(constructed(text_of(case)))
    xs = tensors(case.inputs, 3)
    others = [x.clone() for x in xs]
    for x, fresh in zip(others, tensors(case.inputs, 3, seed=9), strict=True):
        x[1:] = 3 * fresh[1:]
    one, other = run(module, xs)[:1], run(module, others)[:1]
    if not same(one, other):
        raise Nonconformity(
            f"{difference(one, other)} in the first item when the others change",
            "in eval mode each item of a batch is on its own",
            "compute nothing over the batch axis",
        )
    alone_ = run(module, [x[:1] for x in xs])
    if not close(one, alone_):
        raise Nonconformity(
            f"{difference(one, alone_)} between an item alone and in a batch",
            "in eval mode each item of a batch is on its own",
            "compute nothing over the batch axis",
        )


def deterministic(case: Case) -> None:
    """In eval mode the same input gives the same output, and is left as it is."""
    module = lively(constructed(text_of(case)))
    xs = tensors(case.inputs, BATCH)
    kept = [x.clone() for x in xs]
    first = run(module, xs)
    if not all(same(x, before) for x, before in zip(xs, kept, strict=True)):
        raise Nonconformity(
            "the input is another after the forward", "it belongs to the caller", "compute nothing in place on it"
        )
    second = run(module, xs)
    if not same(first, second):
        raise Nonconformity(
            f"{difference(first, second)} between two runs in eval mode",
            "eval mode is deterministic",
            "draw random numbers in training only: `if self.training`",
        )


def instances(case: Case) -> None:
    """Two modules share nothing: what happens to one leaves the other as it is."""
    import torch

    one, other = constructed(text_of(case)), constructed(text_of(case))
    xs = tensors(case.inputs, 4)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    output = run(other, xs)
    with torch.no_grad():
        for weight in one.parameters():
            weight.add_(1)
        one.train()(*xs)
    changed = [key for key, tensor in other.state_dict().items() if not same(tensor, before[key])]
    again = run(other, xs)
    if changed or not same(output, again):
        what = f"{changed[0]} changes" if changed else f"its output changes: {difference(output, again)}"
        raise Nonconformity(
            f"{what} when another module is trained",
            "modules share nothing",
            "make state in __init__, not in the class",
        )


def state_dict(case: Case) -> None:
    """A state_dict holds all that the output depends on."""
    module = lively(constructed(text_of(case)))
    outputs(module.train(), tensors(case.inputs, 4))  # what training leaves behind belongs to it
    other = constructed(text_of(case), seed=7)
    other.load_state_dict(module.state_dict(), strict=True)
    _equal_outputs(case, module, other, "the state_dict was loaded into another module", "keep state in parameters and "
                   "persistent buffers")  # fmt: skip


def copies(case: Case) -> None:
    """Deepcopy and pickle give modules of the same output."""
    module = lively(constructed(text_of(case)))
    _equal_outputs(case, module, copy.deepcopy(module), "deepcopy", "hold nothing that can't be copied")
    _equal_outputs(case, module, pickle.loads(pickle.dumps(module)), "pickle", "hold nothing that can't be pickled")  # noqa: S301 (its own)


def source(case: Case) -> None:
    """The source alone, where only torch can be imported, is the same module."""
    module = lively(constructed(text_of(case)))
    other = alone(text_of(case))
    other.load_state_dict(module.state_dict(), strict=True)
    _equal_outputs(case, module, other, "its source was run alone", "bring with an op all that it needs")


def moves(case: Case) -> None:
    """The module goes to another device, and runs on images in channels_last."""
    import torch

    module = lively(constructed(text_of(case)))
    for name, each in module.named_modules():
        for attribute, value in vars(each).items():
            if isinstance(value, torch.Tensor):
                raise Nonconformity(
                    f"{'.'.join(filter(None, (name, attribute)))} is a tensor that .to(device) leaves where it is",
                    "a module moves as a whole",
                    "register it: self.register_buffer(NAME, tensor)",
                )
    maps = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in tensors(case.inputs, BATCH)]
    plain = run(module, tensors(case.inputs, BATCH))
    try:
        last = run(module.to(memory_format=torch.channels_last), maps)
    except RuntimeError as error:
        raise Nonconformity(
            f"in channels_last torch refuses it: {' '.join(str(error).split())[:100]}",
            "images may come in either layout",
            "use reshape instead of view, or flatten",
        ) from None
    if not close(plain, last):
        raise Nonconformity(
            f"{difference(plain, last)} in channels_last", "images may come in either layout", "ask nothing of strides"
        )


def export(case: Case) -> None:
    """`torch.export` takes the module, and what it makes has the same output."""
    import torch

    module = lively(constructed(text_of(case))).eval()
    xs = tuple(tensors(case.inputs, BATCH))
    before = logging.root.manager.disable
    logging.disable()  # what torch has to say of a failure is in its error, which it logs and prints, too
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), torch.no_grad():
            exported = torch.export.export(module, xs).module()
            got, wanted = exported(*xs), module(*xs)
    finally:
        logging.disable(before)
    if not torch.allclose(got, wanted, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise Nonconformity(
            f"{difference(got, wanted)} after torch.export",
            "it computes the same",
            "let nothing in a forward depend on values or on Python's state",
        )


def seed(case: Case) -> None:
    """Two modules that are built with one seed are equal."""
    one, other = (constructed(text_of(case), seed=5).state_dict() for _ in range(2))
    wrong = [key for key in one if not same(one[key], other[key])]
    if wrong:
        raise Nonconformity(
            f"{wrong[0]} differs between two builds with torch.manual_seed(5)",
            "torch's generator alone decides the weights",
            "draw with torch, in __init__",
        )


def _equal_outputs(case: Case, module: nn.Module, other: nn.Module, after: str, advice: str) -> None:
    xs = tensors(case.inputs, BATCH)
    one, two = run(module, xs), run(other, xs)
    if not same(one, two):
        raise Nonconformity(f"{difference(one, two)} after {after}", "the output is the same", advice)

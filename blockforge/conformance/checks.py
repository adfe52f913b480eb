"""What every block must hold, each a function of one case; the name of the function is the name of the check."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable

from blockforge.block import Block
from blockforge.conformance.cases import Case, accepts, made
from blockforge.conformance.modules import alone, constructed, difference, lively, run, same, smooth, tensors, text_of
from blockforge.conformance.report import Nonconformity
from blockforge.conformance.torch_counts import counted
from blockforge.errors import BlockforgeError
from blockforge.field_types import types_of
from blockforge.files import parse_yaml
from blockforge.ops import Shape, show_shape
from blockforge.paths import tupled
from blockforge.registry import get_registry
from blockforge.yaml_writer import dump_yaml

Check = Callable[[Case], None]
BATCH = 2
SEEDS = 8  # tries, before a gradient of zero is believed


def output_shape(case: Case) -> Shape:
    """What `expand` says of the output."""
    return case.graph().outputs["output"].shape


def shape(case: Case) -> None:
    """The real output is shaped as `expand` says."""
    got = tuple(run(constructed(text_of(case)), tensors(case.inputs, BATCH)).shape[1:])
    said = output_shape(case)
    if got != said:
        raise Nonconformity(
            f"torch makes {show_shape(got)}", f"expand says {show_shape(said)}", "mend the shape rule of an op"
        )


def parameters(case: Case) -> None:
    """The real module has the parameters that `expand` says, by number and by key."""
    module = constructed(text_of(case))
    graph = case.graph()
    got, said = sum(weight.numel() for weight in module.parameters()), sum(node.params for node in graph)
    if got != said:
        raise Nonconformity(f"the module has {got:,} parameters", f"the ops say {said:,}", "mend the weights of an op")
    keys = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    told = {
        f"{node.name}.{name}": weight for node in graph for name, weight in node.op.weights(*node.input_shapes).items()
    }
    if keys != told:
        wrong = sorted(set(keys.items()) ^ set(told.items()))
        raise Nonconformity(
            f"{wrong[0][0]} differs",
            f"the module's parameters are {sorted(keys)} and the ops' {sorted(told)}",
            "mend the weights of an op",
        )


def macs(case: Case) -> None:
    """Torch counts as many multiply-accumulates in convolutions and linear layers as the ops say."""
    got = counted(constructed(text_of(case)), case.inputs)
    said = sum(node.macs for node in case.graph())
    if got != said:
        raise Nonconformity(f"torch counts {got:,} MACs", f"the ops say {said:,}", "mend the macs of an op")


def stride(case: Case) -> None:
    """With stride s the output has 1/s of the rows and columns that it has with stride 1, rounded up."""
    field, step = type(case.block).model_fields.get("stride"), getattr(case.block, "stride", None)
    if field is None or step is None or type(None) in types_of(field.annotation):
        return  # where it may be left out, something else decides, as a pool's window does
    if any(getattr(node.op, "ceil_mode", False) for node in case.graph()):
        return  # windows that reach over the edge may be one more
    plain = made(type(case.block), {**_fields(case.block), "stride": (1, 1) if isinstance(step, tuple) else 1})
    said = output_shape(case)
    if plain is None or len(said) != 3 or not accepts(Case(plain, case.inputs)):
        return
    whole = output_shape(Case(plain, case.inputs))
    steps = step if isinstance(step, tuple) else (step, step)
    wanted = (*whole[:1], *(-(-size // each) for size, each in zip(whole[1:], steps, strict=True)))
    if said[1:] != wanted[1:]:
        raise Nonconformity(
            f"stride {step} makes {show_shape(said)}",
            f"stride 1 makes {show_shape(whole)}, so that it should be {show_shape((*said[:1], *wanted[1:]))}",
            "give one of the ops on each way through the block the stride",
        )


def width(case: Case) -> None:
    """A block's `width` is the number of its output channels."""
    wide = getattr(case.block, "width", None)
    channels = output_shape(case)[0]
    if isinstance(wide, int) and channels != wide:
        raise Nonconformity(
            f"width {wide} makes {channels} channels", "width is the output's channels", "rename the field, or use it"
        )


def gradients(case: Case) -> None:
    """A gradient reaches every parameter of the module."""
    import torch

    missing: set[str] = set()
    for seed in range(SEEDS):
        # In eval mode, since in train mode a norm takes away again what a bias adds.
        module = smooth(lively(constructed(text_of(case), seed), seed)).eval()
        out = module(*[x.requires_grad_() for x in tensors(case.inputs, 4, seed)])
        if out.requires_grad:
            (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))).sum().backward()
        weights = dict(module.named_parameters())
        unreached = {name for name, weight in weights.items() if weight.grad is None or not bool(weight.grad.any())}
        missing = missing & unreached if seed else unreached
        if not missing or all(weights[name].grad is None for name in missing):
            break
    if missing:
        raise Nonconformity(
            f"no gradient reaches {', '.join(sorted(missing))}",
            "each parameter has a part in the output",
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


def export(case: Case) -> None:
    """`torch.export` takes the module, and what it makes has the same output."""
    import torch

    module = lively(constructed(text_of(case))).eval()
    xs = tuple(tensors(case.inputs, BATCH))
    before = logging.root.manager.disable
    logging.disable()  # what torch has to say of a failure is in its error
    try:
        with torch.no_grad():
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


def hash_(case: Case) -> None:
    """The hash of the block's graph is the same each time, and is that of an equal block."""
    again = made(type(case.block), _fields(case.block))
    hashes = {case.graph().hash(), case.graph().hash()}
    hashes |= {Case(again, case.inputs).graph().hash()} if again else set()
    if len(hashes) > 1:
        raise Nonconformity(
            "expanded twice it has two hashes",
            "equal blocks make equal graphs",
            "let expand read its fields and x alone",
        )


def files(case: Case) -> None:
    """A file gives back the block that was written to it."""
    cls = type(case.block)
    try:
        text = dump_yaml({"block": cls.name, **case.block.parameters()})
        read = parse_yaml(text, cls.name).value
        read = {name: tupled(value) for name, value in read.items() if name != "block"}
        found: Block = cls.model_validate(read, context={"resolve": get_registry().block})
    except (BlockforgeError, ValueError, TypeError) as error:
        raise Nonconformity(
            " ".join(str(error).split()), "a file can hold each block", "use numbers, text, tuples and blocks as fields"
        ) from None
    if found != case.block or found.parameters() != case.block.parameters():
        raise Nonconformity(
            f"a file gives back {found.parameters()}",
            f"it was written as {case.block.parameters()}",
            "let validators leave a value that was validated as it is",
        )


CHECKS: dict[str, Check] = {
    check.__name__.rstrip("_"): check
    for check in (shape, parameters, macs, stride, width, gradients, batch_items, deterministic, instances, state_dict,
                  copies, source, export, seed, hash_, files)
}  # fmt: skip


def _equal_outputs(case: Case, module: object, other: object, after: str, advice: str) -> None:
    xs = tensors(case.inputs, BATCH)
    one, two = run(module, xs), run(other, xs)  # type: ignore[arg-type]
    if not same(one, two):
        raise Nonconformity(f"{difference(one, two)} after {after}", "the output is the same", advice)


def _fields(block: Block) -> dict[str, object]:
    return {name: getattr(block, name) for name in type(block).model_fields}

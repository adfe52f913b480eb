"""What `expand` says of a block, against torch: shapes, numbers, stride and width, identity, files."""

from __future__ import annotations

from blockforge.block import Block
from blockforge.conformance.cases import Case, accepts, made
from blockforge.conformance.modules import constructed, outputs, tensors, text_of
from blockforge.conformance.report import Nonconformity
from blockforge.conformance.torch_counts import counted
from blockforge.errors import BlockforgeError
from blockforge.field_types import types_of
from blockforge.files import parse_yaml
from blockforge.ops import Shape, show_shape
from blockforge.paths import tupled
from blockforge.registry import get_registry
from blockforge.yaml_writer import dump_yaml

BATCH = 2
FLOAT = "torch.float32"


def output_shape(case: Case) -> Shape:
    """What `expand` says of the output."""
    return case.graph().outputs["output"].shape


def shape(case: Case) -> None:
    """The real output is float32 and shaped as `expand` says, in both modes, of one item and of several."""
    import torch

    said = output_shape(case)
    module = constructed(text_of(case))
    for training, batch in ((False, BATCH), (False, 1), (True, BATCH)):
        found = outputs(module.train(training), tensors(case.inputs, batch))[0]
        mode = f"in {'train' if training else 'eval'} mode, of a batch of {batch}"
        if tuple(found.shape) != (batch, *said):
            raise Nonconformity(
                f"torch makes {show_shape(tuple(found.shape[1:]))} {mode}"
                if found.shape[:1] == (batch,)
                else f"torch makes a tensor of shape {show_shape(tuple(found.shape))} {mode}",
                f"expand says {show_shape(said)}",
                "mend the shape rule of an op",
            )
        if found.dtype != torch.float32:
            raise Nonconformity(f"torch makes {found.dtype} {mode}", "its input is float32", "keep the input's type")


def finite(case: Case) -> None:
    """Of ordinary inputs, weights, outputs and gradients are finite, in both modes."""
    for training in (False, True):
        module = constructed(text_of(case)).train(training)
        xs = [x.requires_grad_() for x in tensors(case.inputs, 4)]
        out = module(*xs)
        if out.requires_grad:
            out.sum().backward()
        named = [(f"weight {name}", weight) for name, weight in module.named_parameters()] + [("its output", out)]
        named += [
            (f"the gradient of {name}", each.grad)
            for name, each in [*module.named_parameters(), *((f"input {i}", x) for i, x in enumerate(xs, 1))]
            if each.grad is not None
        ]
        wrong = [name for name, tensor in named if not bool(tensor.isfinite().all())]
        if wrong:
            raise Nonconformity(
                f"{wrong[0]} is not finite in {'train' if training else 'eval'} mode",
                "of ordinary inputs everything is",
                "guard divisions, logarithms and roots",
            )


def parameters(case: Case) -> None:
    """The real module has the parameters that `expand` says, by number and by key."""
    module = constructed(text_of(case))
    graph = case.graph()
    got, said = sum(weight.numel() for weight in module.parameters()), sum(node.params for node in graph)
    if got != said:
        raise Nonconformity(f"the module has {got:,} parameters", f"the ops say {said:,}", "mend the weights of an op")
    other = [f"{name} is {weight.dtype}" for name, weight in module.named_parameters() if str(weight.dtype) != FLOAT]
    if other:
        raise Nonconformity(other[0], "parameters are float32", "let torch's default type be theirs")
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
    """With stride s the output has 1/s of the rows and columns that it has with stride 1, rounded up or down."""
    field, step = type(case.block).model_fields.get("stride"), getattr(case.block, "stride", None)
    if field is None or step is None or type(None) in types_of(field.annotation):
        return  # where it may be left out, something else decides, as a pool's window does
    plain = made(type(case.block), {**_fields(case.block), "stride": (1, 1) if isinstance(step, tuple) else 1})
    said = output_shape(case)
    if plain is None or len(said) != 3 or not accepts(Case(plain, case.inputs)):
        return
    whole = output_shape(Case(plain, case.inputs))
    steps = step if isinstance(step, tuple) else (step, step)
    # A window that may reach over the far edges makes one more.
    more = any(getattr(node.op, "ceil_mode", False) for node in case.graph())
    for size, full, each in zip(said[1:], whole[1:], steps, strict=True):
        if not full // each <= size <= -(-full // each) + more:
            wanted = (said[0], *(-(-size // each) for size, each in zip(whole[1:], steps, strict=True)))
            raise Nonconformity(
                f"stride {step} makes {show_shape(said)}",
                f"stride 1 makes {show_shape(whole)}, so that it should be {show_shape(wanted)}",
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


def _fields(block: Block) -> dict[str, object]:
    return {name: getattr(block, name) for name in type(block).model_fields}

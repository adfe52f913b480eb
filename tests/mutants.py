"""Blocks and ops with one fault each, by the check that is meant for it; `Sound` and `SoundOp` have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from blockforge import Block, Channels, Kernel, Op, Ratio, Scope, Search, Stride, Value, ops
from blockforge.errors import OpError
from blockforge.ops import Shape
from blockforge.ops.base import Argument, Call, sole

PAPER = "arXiv:1512.03385"


def kernel_of(x: Value) -> int:
    return 3 if len(x.shape) == 3 else 1


class Sound(Block):
    """A convolution and a norm, twice, with a shortcut where the shape allows one."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels
    kernel: Kernel = 3  # of the first convolution
    stride: Stride = 1  # of the first convolution
    ratio: Annotated[Ratio, Search(0.5, 1.0)] = 0.5  # channels between the two / output channels

    def expand(self, g: Scope, x: Value) -> Value:
        mid = max(1, int(self.width * self.ratio))
        y = g.relu("relu1", g.norm("bn1", g.conv("conv1", x, mid, self.kernel, stride=self.stride)))
        y = g.norm("bn2", g.conv("conv2", y, self.width))
        return g.relu("relu2", g.add("add", y, x) if y.shape == x.shape else y)


# -- an op of one's own, without a fault

SCALE = '''
class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels, start=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), start))

    def forward(self, x):
        return x * self.factor[:, None, None]
'''


@dataclass(frozen=True)
class ScaleOp(Op):
    """A factor for each channel, from `start` on."""

    start: float = 1.0
    helper: ClassVar[str] = SCALE

    def shape(self, *inputs: Shape) -> Shape:
        x = sole(self, inputs)
        if len(x) != 3:
            raise OpError("takes (C, H, W); feed it feature maps")
        return x

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        return {"factor": (inputs[0][0],)}

    def call(self, *inputs: Shape) -> Call:
        return Call("Scale", (Argument("channels", inputs[0][0], positional=True), Argument("start", self.start, 1.0)))


def with_op(op: Op, *, before: bool = True) -> type[Block]:
    """A block of a convolution and an op."""

    class WithOp(Block):
        """A convolution, and an op of one's own."""

        paper: ClassVar[str] = PAPER
        width: Channels = 16  # output channels

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.conv("conv", x, self.width, 3) if before else x
            y = g.op("own", op, y)
            return g.relu("relu", y)

    return WithOp


def changed(base: type[Op], **attributes: Any) -> Op:
    """An op of a class with something else in it."""
    return dataclass(frozen=True)(type(base.__name__, (base,), {**attributes, "__module__": __name__}))()


def scale_with(old: str, new: str, **more: Any) -> type[Block]:
    """A block with the scale op, whose module has another text."""
    assert old in SCALE
    return with_op(changed(ScaleOp, helper=SCALE.replace(old, new), **more))


SoundOp = with_op(ScaleOp())


def mutant(change: Callable[[Sound, Scope, Value], Value]) -> type[Block]:
    """A block like `Sound` with another `expand`."""

    class Mutant(Sound):
        """A block with a fault."""

        def expand(self, g: Scope, x: Value) -> Value:
            return change(self, g, x)

    return Mutant


# -- faults of expand


def ignores_stride(self: Sound, g: Scope, x: Value) -> Value:
    return Sound(width=self.width, kernel=self.kernel, ratio=self.ratio).expand(g, x)


def strides_twice(self: Sound, g: Scope, x: Value) -> Value:
    y = Sound.expand(self, g, x)
    return g.conv("again", y, self.width, 3, stride=self.stride)


def twice_as_wide(self: Sound, g: Scope, x: Value) -> Value:
    return g.conv("wide", Sound.expand(self, g, x), 2 * self.width)


def unused_convolution(self: Sound, g: Scope, x: Value) -> Value:
    g.conv("forgotten", x, self.width)
    return Sound.expand(self, g, x)


def one_name_twice(self: Sound, g: Scope, x: Value) -> Value:
    y = Sound.expand(self, g, x)
    return g.relu("relu1", y)


def one_name_twice_if_wide(self: Sound, g: Scope, x: Value) -> Value:
    y = Sound.expand(self, g, x)
    return g.relu("relu1", y) if self.width > 12 else y


def divides_by_zero(self: Sound, g: Scope, x: Value) -> Value:
    return g.conv("conv", Sound.expand(self, g, x), self.width, 1 + 0 // (x.shape[0] - 1))


def no_norm_mid(self: Sound, g: Scope, x: Value) -> Value:
    y = g.norm("bn1", g.conv("conv1", x, self.width, 3, stride=self.stride))
    return g.relu("relu", g.add("add", y, x) if y.shape == x.shape else y)


def nothing(self: Sound, g: Scope, x: Value) -> Value:
    Sound.expand(self, g, x)
    return None  # type: ignore[return-value]


COUNT = [0]


def another_each_time(self: Sound, g: Scope, x: Value) -> Value:
    COUNT[0] += 1
    return g.op("drop", ops.AvgPool2d(3, 1, 1, count_include_pad=COUNT[0] % 2 == 0), Sound.expand(self, g, x))


class Undocumented(Sound):
    def expand(self, g: Scope, x: Value) -> Value:
        return Sound.expand(self, g, x)


class NoPaper(Block):
    """A convolution of nobody's."""

    width: Channels = 16  # output channels

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width)


class NoMeaning(Block):
    """A convolution."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width)


class Lossy(Sound):
    """A block whose kernel grows each time that it is read."""

    kernel: Annotated[int, Field(ge=1, le=9), AfterValidator(lambda value: value + 2)] = 3  # of a convolution


class NoEffect(Sound):
    """A block with a field that nothing reads."""

    extra: bool = False  # said to do something


class RefusesAll(Sound):
    """A block whose groups divide nothing."""

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width, groups=7919)


# -- faults of ops


def half_shape(self: Op, *inputs: Shape) -> Shape:
    c, h, w = inputs[0]
    return c, max(1, h // 2), max(1, w // 2)


@dataclass(frozen=True)
class Expression(Op):
    """An op that is written out."""

    code: ClassVar[str] = "{0} * 2"

    def shape(self, *inputs: Shape) -> Shape:
        return sole(self, inputs)

    def expression(self, *names: str) -> str:
        return self.code.format(*names)


@dataclass(frozen=True)
class Projection(Op):
    """A 1x1 convolution, written anew."""

    def shape(self, *inputs: Shape) -> Shape:
        x = sole(self, inputs)
        if len(x) != 3:
            raise OpError("takes (C, H, W); feed it feature maps")
        return x

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (inputs[0][0], inputs[0][0], 1, 1)}

    def macs(self, *inputs: Shape) -> int:
        c, h, _ = inputs[0]
        return c * c * h  # and the width is forgotten

    def call(self, *inputs: Shape) -> Call:
        c = inputs[0][0]
        return Call(
            "nn.Conv2d",
            (
                Argument("in_channels", c, positional=True),
                Argument("out_channels", c, positional=True),
                Argument("kernel_size", 1, positional=True),
                Argument("bias", False, True),
            ),
        )


@dataclass(frozen=True)
class Squash(Op):
    """A sigmoid, which its backward reads; it says nothing of that."""

    def shape(self, *inputs: Shape) -> Shape:
        return sole(self, inputs)

    def call(self, *inputs: Shape) -> Call:
        return Call("nn.Sigmoid")


@dataclass(frozen=True)
class Half(Op):
    """A pool that says the wrong size."""

    def shape(self, *inputs: Shape) -> Shape:
        c, h, w = sole(self, inputs)
        return c, -(-h // 2), -(-w // 2)

    def call(self, *inputs: Shape) -> Call:
        return Call("nn.AvgPool2d", (Argument("kernel_size", 2, positional=True),))


@dataclass(frozen=True)
class HiddenScale(ScaleOp):
    """A scale whose start is no part of what it is known by."""

    start: float = field(default=1.0, repr=False)


STATE = SCALE.replace("        self.factor =", "        self.shift = torch.rand(1)\n        self.factor =").replace(
    "return x *", "return x * self.shift *"
)


def no_weights(self: Op, *inputs: Shape) -> dict[str, Shape]:
    return {}


def other_weights(self: Op, *inputs: Shape) -> dict[str, Shape]:
    return {"scale": (inputs[0][0],)}


def one(self: Op, *inputs: Shape) -> int:
    return 1


def any_shape(self: Op, *inputs: Shape) -> Shape:
    return inputs[0]


def forward_of(body: str, **more: Any) -> type[Block]:
    """A block with the scale op, whose forward is this."""
    return scale_with("        return x * self.factor[:, None, None]", body, **more)


@dataclass(frozen=True)
class Sum(Op):
    """The sum of two values, whatever their shapes."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def expression(self, *names: str) -> str:
        return " + ".join(names)


class Twice(Block):
    """A value and itself, by an op of two inputs."""

    paper: ClassVar[str] = PAPER

    def expand(self, g: Scope, x: Value) -> Value:
        return g.op("sum", Sum(), x, x)


class ReadsOne(Block):
    """Several inputs, of which one is read."""

    paper: ClassVar[str] = PAPER
    width: Channels = 16  # output channels

    def expand(self, g: Scope, *xs: Value) -> Value:
        return g.conv("conv", xs[0], self.width)


def strides_twice_with_a_pool(self: Sound, g: Scope, x: Value) -> Value:
    y = g.max_pool("pool", Sound.expand(self, g, x), 3, 1, 1, ceil_mode=True)
    return g.conv("again", y, self.width, 3, stride=self.stride)


def narrow_where_wide(self: Sound, g: Scope, x: Value) -> Value:
    y = Sound.expand(self, g, x)
    return g.conv("narrow", y, 64) if self.width > 64 else y


@dataclass(frozen=True)
class Blind(Op):
    """A factor that is no part of what it is known by."""

    by: float = 2.0

    def __repr__(self) -> str:
        return "Blind()"

    def shape(self, *inputs: Shape) -> Shape:
        return sole(self, inputs)

    def expression(self, *names: str) -> str:
        return f"{names[0]} * {self.by}"


PAIR = """
class Pair(nn.Module):
    def forward(self, x):
        return x * 2, torch.sigmoid(x)
"""


@dataclass(frozen=True)
class PairOp(Op):
    """Two outputs, of which the second is read by its backward."""

    helper: ClassVar[str] = PAIR

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (sole(self, inputs),) * 2

    def call(self, *inputs: Shape) -> Call:
        return Call("Pair")


class TwoOutputs(Block):
    """Two outputs of an op, added."""

    paper: ClassVar[str] = PAPER

    def expand(self, g: Scope, x: Value) -> Value:
        return g.add("add", *g.outputs("pair", PairOp(), x))


def wrong_formula(self: Op, *inputs: Shape) -> str:
    return f"2*{inputs[0][0]}"


MEAN_OVER_BATCH = "{0} - {0}.mean(0, keepdim=True)"

MUTANTS: dict[str, tuple[str, type[Block]]] = {
    "no docstring": ("documented", Undocumented),
    "no paper": ("documented", NoPaper),
    "a field without a meaning": ("documented", NoMeaning),
    "a stride that is ignored": ("stride", mutant(ignores_stride)),
    "a stride that is taken twice": ("stride", mutant(strides_twice)),
    "a width that isn't the output's": ("width", mutant(twice_as_wide)),
    "a convolution that nothing reads": ("gradients", mutant(unused_convolution)),
    "a name clash": ("expands", mutant(one_name_twice)),
    "a name clash at some widths": ("expands", mutant(one_name_twice_if_wide)),
    "a Python error at one channel": ("expands", mutant(divides_by_zero)),
    "nothing returned": ("expands", mutant(nothing)),
    "nothing accepted": ("expands", RefusesAll),
    "another graph each time": ("hash", mutant(another_each_time)),
    "a lossy field": ("files", Lossy),
    "a field without effect": ("field_extra", NoEffect),
    "a ratio that nothing reads": ("field_ratio", mutant(no_norm_mid)),
    "wrong MACs": ("op_macs", with_op(Projection())),
    "a wrong shape rule": ("op_shape", with_op(Half())),
    "weights that aren't the module's": ("op_parameters", with_op(changed(ScaleOp, weights=no_weights))),
    "a weight of another name": (
        "op_parameters", with_op(changed(ScaleOp, weights=other_weights)),
    ),
    "params that aren't the weights'": ("op_parameters", with_op(changed(ScaleOp, params=one))),
    "a sigmoid that may be written over": ("op_memory", with_op(Squash())),
    "a view that is none": ("op_memory", with_op(changed(Expression, view=True))),
    "a view that isn't said": ("op_memory", with_op(changed(Expression, code="{0}.flatten(1).view_as({0})"))),
    "in place without it": ("op_memory", with_op(changed(ScaleOp, in_place=True))),
    "an identity that changes": ("op_identity", with_op(changed(Expression, identity=True))),
    "an argument that isn't known": ("op_hash", with_op(HiddenScale())),
    "what torch refuses": ("op_refusals", with_op(changed(ScaleOp, shape=any_shape))),
    "a leak between a batch's items": ("batch_items", with_op(changed(Expression, code=MEAN_OVER_BATCH))),
    "random numbers in eval": ("deterministic", with_op(changed(Expression, code="{0} + torch.rand_like({0})"))),
    "an input that is written over": (
        "deterministic", with_op(changed(Expression, code="{0}.mul_(2).clone()"), before=False),
    ),
    "state shared between instances": (
        "instances", scale_with("        self.factor = nn.Parameter(torch.full((channels,), start))",
        "        self.factor = Scale.SHARED.setdefault(channels, nn.Parameter(torch.full((channels,), start)))\n\n"
        "    SHARED = {}"),
    ),
    "state that the state_dict lacks": ("state_dict", with_op(changed(ScaleOp, helper=STATE))),
    "a seed that doesn't count": (
        "seed", scale_with("        self.factor = nn.Parameter(torch.full((channels,), start))",
        "        torch.seed()\n        self.factor = nn.Parameter(torch.rand(channels))"),
    ),
    "what can't be pickled": (
        "copies", scale_with("        self.factor =", "        self.twice = lambda x: 2 * x\n        self.factor =")
    ),
    "an import that the source may not have": (
        "source", scale_with("        return x *", "        from blockforge import ops\n\n        return x *")
    ),
    "a forward that depends on values": (
        "export",
        scale_with("        return x *", "        if x.sum() > 0:\n            return x * 2\n        return x *"),
    ),
    "gradients that training cuts off": (
        "gradients",
        forward_of("        y = x * self.factor[:, None, None]\n        return y.detach() if self.training else y"),
    ),
    "an input that nothing reads": ("gradients", ReadsOne),
    "another shape in training": (
        "shape",
        forward_of("        y = x * self.factor[:, None, None]\n        return y[:, :1] if self.training else y"),
    ),
    "a batch of one that loses its axis": (
        "shape",
        forward_of("        y = x * self.factor[:, None, None]\n        return y.squeeze(0) + 0"),
    ),
    "half precision": ("shape", forward_of("        return (x * self.factor[:, None, None]).half()")),
    "a parameter in double precision": ("parameters", scale_with("start))", "start, dtype=torch.float64))")),
    "a logarithm of what may be negative": ("finite", with_op(changed(Expression, code="torch.log({0})"))),
    "a division by nothing": ("finite", with_op(changed(Expression, code="{0} / ({0} * 0)"))),
    "a tensor that doesn't move": (
        "moves", scale_with("        self.factor =", "        self.one = torch.ones(1)\n        self.factor =")
    ),
    "a view of what may lie otherwise": (
        "moves",
        forward_of("        return (x.view(x.shape[0], -1) * 2).view(x.shape) * self.factor[:, None, None]"),
    ),
    "what training leaves outside of buffers": (
        "state_dict",
        scale_with(
            "        return x * self.factor[:, None, None]",
            "        if self.training:\n            self.start = float(x.mean())\n"
            "        return x * self.factor[:, None, None] + getattr(self, 'start', 0)",
        ),
    ),
    "two inputs that don't go together": ("op_refusals", Twice),
    "an output of two that may be written over": ("op_memory", TwoOutputs),
    "a stride that is taken twice, with a pool": ("stride", mutant(strides_twice_with_a_pool)),
    "a width that is wrong where it is great": ("width", mutant(narrow_where_wide)),
    "a repr that hides an argument": ("op_hash", with_op(Blind())),
    "a formula of other parameters": ("op_parameters", with_op(changed(ScaleOp, params_formula=wrong_formula))),
    "a factor that is cut off": ("gradients", scale_with("self.factor[:, None, None]",
                                                        "self.factor.detach()[:, None, None]")),
}  # fmt: skip

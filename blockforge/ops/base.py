"""What a primitive operation is: output shapes, parameters, MACs, and how PyTorch spells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from blockforge.errors import OpError

Shape = tuple[int, ...]
"""The shape of a tensor without its batch axis: `(C, H, W)` or `(C,)`."""

Pair = tuple[int, int]

Helper = type[Any] | Callable[..., Any]
"""An author's own `nn.Module`, or a function, whose code goes into the generated file."""


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor call; it is left out of the source where it equals its default."""

    name: str
    value: object
    default: object = None
    positional: bool = False


@dataclass(frozen=True)
class Call:
    """How PyTorch makes a module: `nn.Conv2d(64, 128, 3, padding=1)`."""

    target: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Op:
    """A primitive tensor operation: a frozen dataclass whose fields are its arguments.

    A subclass says its output's shape and, where they aren't none, its weights and MACs; then either `call`
    (what makes its `nn.Module`) or `expression` (what computes it in a `forward`), of torch or of a `helper`.
    `shape` checks the inputs; the other methods are called with inputs that it accepted.

    Class attributes say what the generated code relies on: `view` (its output shares memory with its input),
    `saves_output` (its backward pass reads its output, so nobody may write over that), `in_place` (its module takes
    `inplace=True`), `identity` (in eval mode it returns its input: dropout), and `helper` (an author's own module or
    function). `blockforge check` holds all of them against torch, but not `scratch`.
    """

    saves_output: ClassVar[bool] = False
    """Its backward pass reads its output, so nobody may write over that."""
    view: ClassVar[bool] = False
    """Its output shares memory with its input (in eval mode at least)."""
    in_place: ClassVar[bool] = False
    """Its module takes `inplace=True`, which writes its output over its first input; of expressions only `Add` can."""
    helper: ClassVar[str | Helper | tuple[Helper, ...]] = ""
    """The `nn.Module` that `call` names, or the function in `expression`, where torch has none: the class or function
    itself, several in a tuple, or their source. Its code goes into the generated file, and may read what that has:
    `torch`, `nn`, builtins and the op's other helpers; anything else it imports inside its methods."""
    identity: ClassVar[bool] = False
    """In eval mode it returns its input unchanged (dropout): the hash and the cost pass it over."""

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape for these input shapes; raises `OpError` where torch would refuse."""
        raise OpError(f"{self.kind} says nothing of its output's shape; write `def shape(self, *inputs)` in its class")

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of all outputs; one for most ops."""
        return (self.shape(*inputs),)

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """The trainable parameters by name, in registration order, with their full shapes."""
        return {}

    def params(self, *inputs: Shape) -> int:
        """The number of trainable parameters."""
        weights = self.weights(*inputs)
        return sum(map(prod, weights.values())) if weights else 0

    def macs(self, *inputs: Shape) -> int:
        """Multiply-accumulates at batch 1: those of convolutions and linear layers, a helper's own among them."""
        return 0

    def params_formula(self, *inputs: Shape) -> str:
        """How the number of parameters comes about, as textbooks write it: `(5*5*1+1)*6`."""
        return ""

    def scratch(self, *inputs: Shape) -> int:
        """Elements that torch holds beside inputs and output while it computes (a padded copy, say)."""
        return 0

    def call(self, *inputs: Shape) -> Call | None:
        """What makes the module, or None for an op that is an expression."""
        return None

    def expression(self, *names: str) -> str:
        """The code that computes the op from variables of these names."""
        raise OpError(f"{self.kind} has neither a call nor an expression; write one of them in its class")

    def hashed(self) -> str:
        """What of the op is part of a network's identity: its type and its arguments."""
        return repr(self)

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with blockforge."""
        return type(self).__module__.startswith(__name__.rpartition(".")[0] + ".")

    @property
    def kind(self) -> str:
        """The type that tables show: the module's name in torch, or the op's own."""
        return type(self).__name__


def expect_rank(op: Op, shape: Shape, *ranks: int) -> None:
    """Refuse an input whose number of axes isn't one of `ranks`."""
    if len(shape) not in ranks:
        wanted = {3: "(C, H, W)", 2: "(C, L)", 1: "(C,)"}
        raise OpError(
            f"{op.kind} takes {' or '.join(wanted.get(r, f'{r} axes') for r in ranks)}, but its input is "
            f"{show_shape(shape)}; {'put a flatten before it' if ranks == (1,) else 'feed it feature maps'}"
        )


def show_shape(shape: Shape) -> str:
    """`(64, 56, 56)` as errors and tables print it."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def pair(value: int | Pair) -> Pair:
    """A number or a pair of numbers (height, width) as a pair."""
    return (value, value) if isinstance(value, int) else value


def sole(op: Op, inputs: tuple[Shape, ...]) -> Shape:
    """The only input of an op that takes one; any other number of inputs is refused."""
    if len(inputs) != 1:
        raise OpError(f"{op.kind} takes 1 input, but got {len(inputs)}; join them with an add or a concat first")
    return inputs[0]


def settle(op: Op, least: int, *fields: str) -> None:
    """Refuse fields other than a whole number, or a pair of them, of at least `least`; (3, 3) becomes 3."""
    for name in fields:
        value = getattr(op, name)
        if type(value) is int and value >= least:
            continue
        if not (isinstance(value, tuple) and len(value) == 2 and all(type(v) is int and v >= least for v in value)):
            raise OpError(f"{name}={value!r} must be {least} or more, or a pair of such; use whole numbers >= {least}")
        if value[0] == value[1]:
            object.__setattr__(op, name, value[0])


def whole(op: Op, least: int, *fields: str) -> None:
    """Refuse fields other than a whole number of at least `least`."""
    for name in fields:
        value = getattr(op, name)
        if type(value) is not int or value < least:
            raise OpError(f"{name}={value!r} must be {least} or more; use a whole number >= {least}")


def show_size(value: int | Pair) -> str:
    """`3` or `3x5`, as errors print a kernel or an image."""
    return str(value) if isinstance(value, int) else "x".join(map(str, value))

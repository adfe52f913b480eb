"""A plugin of blocks that a generator of source may stumble over: random wiring, odd names and numbers."""

from __future__ import annotations

from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from blockforge import Activation, Block, BlockSpec, Channels, Kernel, Scope, Stride, Value, hookimpl, ops

# Keywords, dashes, numbers, names of local variables and of arguments, shared scopes.
NAMES = (
    "conv", "class", "lambda", "a-b", "x", "y", "self", "nn", "skip", "mid", "width", "torch", "7", "_in",
    "#", "#", "part.#", "part.#", "part.z", "in.q.r", "in.q.#", "in.import", "part-2.#",
)  # fmt: skip
KINDS = (
    "relu",
    "relu",
    "relu",
    "relu6",
    "silu",
    "hardswish",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "gelu",
    "softmax",
)


class Soup(Block):
    """Random ops on random operands: the same wiring for the same `recipe`, whatever the numbers."""

    recipe: int = 0
    width: Channels = 8
    kernel: Kernel = 3
    stride: Stride = 1
    activation: Activation = "relu"
    gate: Activation = "sigmoid"
    mid: Annotated[int, Field(ge=1)] = 4
    skip: Annotated[int, Field(ge=1)] = 2
    in_channels: Annotated[int, Field(ge=1)] = 3
    final_add: bool = False
    inner: BlockSpec | None = None

    def expand(self, g: Scope, *xs: Value) -> Value:
        """Start from all inputs, add some ops, and return a late value."""
        rng = Random(self.recipe)
        taken: set[str] = set()
        values = list(xs)
        for _ in range(rng.randint(2, 9)):
            values += self._grow(g, rng, taken, values)
        late = [value for value in values if len(value.shape) == len(xs[0].shape)]
        last = rng.choice(late[-2:])
        if self.final_add and last.shape == xs[0].shape:
            return g.add(self._name(rng, taken), last, xs[0])
        return last

    def _name(self, rng: Random, taken: set[str]) -> str:
        """A name that is free: none twice, and none that is a scope for another."""
        while True:
            name = rng.choice(NAMES)
            if name.endswith("#"):
                return name
            if name not in taken:
                taken.add(name)
                return name

    def _grow(self, g: Scope, rng: Random, taken: set[str], values: list[Value]) -> list[Value]:
        x = values[-1] if rng.random() < 0.7 else rng.choice(values)
        like = [value for value in values if value.shape == x.shape]
        y, z = rng.choice(like), rng.choice(like)
        name = self._name(rng, taken)
        choice = rng.randrange(26)
        if len(x.shape) == 1:
            if choice < 8:
                return [g.linear(name, x, self.width)]
            if choice < 14:
                return [g.activation(name, x, rng.choice([self.activation, rng.choice(KINDS)]))]
            if choice < 18:
                return [g.add(name, x, y)]
            return [g.op(name, ops.BatchNorm1d(), x) if choice < 22 else g.dropout(name, x, 0.5)]
        if choice < 4:
            return [g.conv(name, x, rng.choice([self.width, self.mid, x.shape[0]]), self.kernel, stride=self.stride)]
        if choice < 6:
            y = g.conv(name, x, self.width, rng.choice([1, 3]), bias=rng.random() < 0.5)
            return [g.relu(self._name(rng, taken), g.norm(self._name(rng, taken), y))]
        if choice < 10:
            x = g.activation(name, x, rng.choice([self.activation, self.gate, rng.choice(KINDS)]))
            return [x if rng.random() < 0.5 else g.activation(self._name(rng, taken), x, rng.choice(KINDS))]
        if choice == 10:
            return [g.norm(name, x)]
        if choice < 14:
            return [g.add(name, x, y, z) if choice == 13 else g.add(name, *rng.sample([x, y], 2))]
        if choice == 14:
            return [g.mul(name, x, y)]
        if choice == 15:
            return [g.concat(name, x, y)]
        if choice == 16 and x.shape[0] % 2 == 0:
            return list(g.split(name, x, 2))[: rng.choice([1, 2])]
        if choice == 17 and x.shape[0] % 2 == 0:
            return [g.channel_shuffle(name, x, 2)]
        if choice == 18:
            return [rng.choice([lambda: g.dropout(name, x, 0.3), lambda: g.op(name, ops.Identity(), x)])()]
        if choice == 19:
            return [rng.choice([g.max_pool, g.avg_pool])(name, x, 3, 1, 1)]
        if choice == 20:
            squeezed = g.conv(self._name(rng, taken), g.adaptive_avg_pool(name, x), x.shape[0])
            return [g.mul(self._name(rng, taken), x, g.activation(self._name(rng, taken), squeezed, self.gate))]
        if choice == 21:
            norm = rng.choice([ops.LayerNorm(3), ops.LocalResponseNorm(self.skip), ops.ZeroPadShortcut(x.shape[0] + 2)])
            return [g.op(name, norm, x)]
        if choice == 22:
            return [g.conv(name, x, self.mid, 3, stride=2, padding="same")]
        if choice == 23:
            return [g.drop_path(name, x)]
        if choice == 24:
            scale = tuple(0.5 + 0.1 * i for i in range(x.shape[0]))
            return [g.op(name, ops.ChannelAffine(scale, scale), x)]
        if self.inner:
            return [g.block(name, self.inner, x)]
        return [rng.choice([g.flatten, g.mean, g.relu, g.relu])(name, x)]


class Join(Block):
    """Two inputs: a convolution of the one, a gate by the other, whatever their channels."""

    width: Channels = 8
    kernel: Kernel = 3

    def expand(self, g: Scope, x: Value, y: Value) -> Value:
        """Bring both to one shape, then multiply and add."""
        if x.shape[1:] != y.shape[1:] and len(x.shape) == 3:
            y = g.adaptive_avg_pool("fit", y, x.shape[1:])
        y = g.sigmoid("gate", g.conv("from", y, self.width))
        z = g.relu("class", g.conv("global", x, self.width, self.kernel))
        return g.add("add", g.mul("mul", z, y), z)


class Multiply(Block):
    """The product of two inputs of one shape."""

    repeatable: ClassVar[bool] = False

    def expand(self, g: Scope, x: Value, y: Value) -> Value:
        """Multiply them."""
        return g.mul("", x, y)


class Maybe(Block):
    """A chain whose sum with its input is optional: with and without are one class."""

    width: Channels = 8
    kernel: Kernel = 3
    groups: Annotated[int, Field(ge=1)] = 1
    add: bool = True

    def expand(self, g: Scope, x: Value) -> Value:
        """Norm and convolution, then perhaps the sum."""
        y = g.conv("body.#", g.relu("body.#", g.norm("body.#", x)), self.width, self.kernel, groups=self.groups)
        return g.add("add", y, x) if self.add and y.shape == x.shape else y


class Nest(Block):
    """Blocks inside of a block: in a row, side by side, and at the scope itself."""

    width: Channels = 8
    first: BlockSpec | None = None
    second: BlockSpec | None = None

    def expand(self, g: Scope, x: Value) -> Value:
        """A row of the first, then the second beside the row."""
        y = x
        if self.first:
            y = g.block("row.#", self.first, g.block("row.#", self.first, y))
        z = g.block("other", self.second, x) if self.second else x
        y = g.conv("last", y, self.width)
        return g.add("add", y, z) if y.shape == z.shape else y


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The blocks of this file."""
    return [Soup, Join, Multiply, Maybe, Nest]

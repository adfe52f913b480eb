"""Where a block adds its ops: a graph seen from under a name, with a method for each common op."""

from __future__ import annotations

import os
import traceback
from typing import Any, Literal

from pydantic import ValidationError

from blockforge import ops
from blockforge.errors import BlockforgeError, OpError, did_you_mean
from blockforge.graph import Expandable, Expansion, Graph, Value
from blockforge.ops import Op, Pair, show_shape
from blockforge.remedies import cure

Size = int | Pair


class Scope:
    """A graph, seen from under a scope's name: what `expand` adds its ops to.

    Every method takes the op's name first, then the values it reads, and returns the op's output. A name `#`
    takes the next free integer of the scope, a name may have dots (`downsample.0`), and an empty one puts the
    op at the scope itself. Each raises `OpError`, with the op's path, where torch would refuse.
    """

    def __init__(self, graph: Graph, path: str = "", expansion: Expansion | None = None) -> None:
        self._graph = graph
        self._path = path
        self._expansion = expansion

    def __repr__(self) -> str:
        return f"<Scope {self._path!r} of {self._graph!r}>"

    def __getattr__(self, name: str) -> Any:
        kind = name.replace("_", "")
        if kind in ops.ACTIVATIONS:
            raise AttributeError(f"a scope has no {name!r}; write g.activation(NAME, x, {kind!r})")
        known = [method for method in dir(Scope) if not method.startswith("_")]
        hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
        raise AttributeError(f"a scope has no {name!r}{hint}; any other op goes through g.op(NAME, OP, x)")

    def op(self, name: str, op: Op, *xs: Value) -> Value:
        """Add any op that has one output."""
        graph = self._graph
        try:
            value = graph.add(graph.path(self._path, name), op, xs, self._expansion)
        except OpError as error:
            error.located = True
            raise
        except (AttributeError, TypeError):
            self._refuse_call(name, op)
            raise
        if not isinstance(value, Value):
            raise self._at(name, OpError(f"{op.kind} has several outputs; use `outputs` for it"))
        return value

    def _refuse_call(self, name: object, op: object) -> None:
        """Refuse what can't be an op, which shows only when it is asked for its shape; raises `OpError`."""
        if not isinstance(name, str):
            raise self._at("", OpError(f"a name comes first, but got {type(name).__name__}; write g.op(NAME, OP, x)"))
        if isinstance(op, type) and issubclass(op, Op):
            raise self._at(name, OpError(f"takes an op, but got the class {op.__name__}; write {op.__name__}(...)"))
        if not isinstance(op, Op):
            got = op.__name__ if isinstance(op, type) else type(op).__name__
            raise self._at(
                name, OpError(f"takes an op, but got {got}; declare an Op, whose helper may be an nn.Module's class")
            )

    def outputs(self, name: str, op: Op, *xs: Value) -> tuple[Value, ...]:
        """Add any op and return all its outputs."""
        try:
            value = self._graph.add(self._graph.path(self._path, name), op, xs, self._expansion)
        except OpError as error:
            error.located = True
            raise
        return value if isinstance(value, tuple) else (value,)

    def _at(self, name: str, error: OpError) -> OpError:
        """The same error, its message begun with the path of the op of this name."""
        located = type(error)(f"{self._graph.path(self._path, name) or 'op'}: {error}")
        located.located = True
        return located

    def block(self, name: str, block: Expandable, *xs: Value, keeps_shape: bool = False) -> Value:
        """Expand another block under `name`; with `keeps_shape` its output must be shaped like its first input."""
        path = self._graph.path(self._path, name)
        value = expand(self._graph, path, block, xs, parent=self._expansion)
        if keeps_shape and value.shape != xs[0].shape:
            error = OpError(
                f"{path or block.name}: {block.name} must keep its input's shape here, but makes "
                f"{show_shape(value.shape)} of {show_shape(xs[0].shape)}; use a block that preserves the shape"
            )
            error.located = True
            raise error
        return value

    def conv(
        self,
        name: str,
        x: Value,
        width: int,
        kernel: Size = 1,
        *,
        stride: Size = 1,
        padding: Size | Literal["same"] | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> Value:
        """A convolution to `width` channels; the padding keeps the size at stride 1 unless it is given.

        `padding="same"` is TensorFlow's: it depends on the input's size and puts the odd row at the end.
        """
        conv: Op
        try:
            if padding == "same":
                conv = ops.Conv2dSame(width, kernel, stride, dilation=dilation, groups=groups, bias=bias)
            else:
                if padding is None and type(kernel) is type(dilation) is int:
                    padding = dilation * (kernel // 2)
                elif padding is None:
                    (kh, kw), (dh, dw) = ops.pair(kernel), ops.pair(dilation)
                    padding = (dh * (kh // 2), dw * (kw // 2))
                conv = ops.Conv2d(width, kernel, stride, padding, dilation, groups, bias)
        except OpError as error:  # groups that don't divide the width
            raise self._at(name, error) from None
        return self.op(name, conv, x)

    def linear(self, name: str, x: Value, width: int, *, bias: bool = True) -> Value:
        """A fully connected layer from `(C,)` to `(width,)`."""
        return self.op(name, ops.Linear(width, bias), x)

    def norm(self, name: str, x: Value) -> Value:
        """Batch normalisation with the network's eps and momentum, of maps `(C, H, W)` or features `(C,)`."""
        kind = ops.BatchNorm2d if len(x.shape) == 3 else ops.BatchNorm1d
        return self.op(name, kind(*self._graph.norm), x)

    def activation(self, name: str, x: Value, kind: str) -> Value:
        """An activation by its name: `relu`, `silu`, `hardswish`, ..."""
        make = ops.ACTIVATIONS.get(kind)
        if make is None:
            hint = did_you_mean(kind, ops.ACTIVATIONS) or ";"
            known = ", ".join(sorted(ops.ACTIVATIONS))
            raise self._at(name, OpError(f"no activation {kind!r}{hint} there are {known}"))
        return self.op(name, make(), x)

    def relu(self, name: str, x: Value) -> Value:
        """The larger of zero and x."""
        return self.op(name, ops.ReLU(), x)

    def sigmoid(self, name: str, x: Value) -> Value:
        """The logistic function."""
        return self.op(name, ops.Sigmoid(), x)

    def max_pool(
        self,
        name: str,
        x: Value,
        kernel: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        ceil_mode: bool = False,
    ) -> Value:
        """The greatest value of each window; the stride is the kernel unless it is given."""
        stride = kernel if stride is None else stride
        return self.op(name, ops.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode), x)

    def avg_pool(
        self,
        name: str,
        x: Value,
        kernel: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Value:
        """The mean of each window; the stride is the kernel unless it is given."""
        stride = kernel if stride is None else stride
        pool = ops.AvgPool2d(kernel, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
        return self.op(name, pool, x)

    def adaptive_avg_pool(self, name: str, x: Value, size: Size = 1) -> Value:
        """The mean over a grid of `size` windows, whatever the input's size."""
        return self.op(name, ops.AdaptiveAvgPool2d(size), x)

    def mean(self, name: str, x: Value) -> Value:
        """The mean over space: `(C, H, W)` to `(C,)`."""
        return self.op(name, ops.Mean(), x)

    def flatten(self, name: str, x: Value) -> Value:
        """`(C, H, W)` to `(C*H*W,)`."""
        return self.op(name, ops.Flatten(), x)

    def add(self, name: str, *xs: Value) -> Value:
        """The sum of values of one shape."""
        return self.op(name, ops.Add(), *xs)

    def mul(self, name: str, x: Value, y: Value) -> Value:
        """The product of two values of one shape, or of maps and one value a channel, `(C, 1, 1)`."""
        return self.op(name, ops.Mul(), x, y)

    def concat(self, name: str, *xs: Value) -> Value:
        """The values' channels behind each other."""
        return self.op(name, ops.Concat(), *xs)

    def split(self, name: str, x: Value, parts: int) -> tuple[Value, ...]:
        """The channels in `parts` equal parts."""
        return self.outputs(name, ops.Split(parts), x)

    def channel_shuffle(self, name: str, x: Value, groups: int) -> Value:
        """The channels, dealt out over `groups` groups. Paper: arXiv:1707.01083."""
        return self.op(name, ops.ChannelShuffle(groups), x)

    def dropout(self, name: str, x: Value, p: float) -> Value:
        """Dropout; it stays in the graph at p = 0 too, since it takes a place in a Sequential."""
        return self.op(name, ops.Dropout(p), x)

    def drop_path(self, name: str, x: Value) -> Value:
        """Stochastic depth with the probability that the network gives this block; nothing where it gives none."""
        return self.op(name, ops.DropPath(self._graph.drop_path), x) if self._graph.drop_path else x


def expand(
    graph: Graph,
    path: str,
    block: Expandable,
    xs: tuple[Value, ...],
    *,
    parent: Expansion | None = None,
    stage: str | None = None,
) -> Value:
    """Expand a block into a graph under a path and return its output; raises `BlockforgeError`."""
    expansion = Expansion(block, path, stage, parent, len(graph.nodes), 0, xs)
    graph.expansions.append(expansion)
    try:
        value = block.expand(Scope(graph, path, expansion), *xs)
    except OpError as error:
        if error.located:
            raise
        located = type(error)(f"{path or stage or block.name}: {error}")  # an op that couldn't even be made
        located.located = True
        raise located from None
    except BlockforgeError:
        raise
    except Exception as error:  # whatever an author's code raises
        message = f"{_author(path, block)}: {_said(error, block)}; {cure(error) or 'mend the block there'}"
        raise BlockforgeError(message).with_traceback(error.__traceback__) from error
    if not isinstance(value, Value):
        raise BlockforgeError(
            f"{_author(path, block)}: it must return the block's output, but returned {type(value).__name__}; "
            "end it with `return` and the last value"
        )
    if value.graph is not graph:
        raise BlockforgeError(
            f"{_author(path, block)}: it returned a value of another graph; return one made from its own inputs"
        )
    expansion.stop = len(graph.nodes)
    expansion.output = value
    return value


def _author(path: str, block: Expandable) -> str:
    return f"{path}: {block.name}.expand" if path else f"{block.name}.expand"


def _said(error: Exception, block: Expandable) -> str:
    """What an author's code raised, with its own file and line: those of the innermost frame in the block's file."""
    file = type(block).expand.__code__.co_filename
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    shown = os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file
    place = f"{shown}:{lines[-1]}: " if lines else ""
    if isinstance(error, ValidationError):  # of a block that it made
        first = error.errors(include_url=False)[0]
        text = ": ".join(part for part in (error.title, ".".join(map(str, first["loc"])), first["msg"]) if part)
    else:
        text = " ".join(str(error).split())
    return f"{place}{type(error).__name__}{': ' * bool(text)}{text}"

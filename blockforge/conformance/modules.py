"""The real modules that checks compare with: built from the source, their weights drawn so that each one counts."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from blockforge.builder import make
from blockforge.codegen.text import source_of
from blockforge.conformance.cases import Case
from blockforge.conformance.report import Nonconformity
from blockforge.graph import Graph
from blockforge.ops import Op, Shape
from blockforge.settings import Init

if TYPE_CHECKING:
    from torch import Tensor, nn

MAY_IMPORT = {"torch", "collections", "math", "typing", "__future__"}


@lru_cache(maxsize=512)
def text_of(case: Case) -> str:
    """The source of the block's module."""
    return source_of(case.graph(), "Checked", case.block.name)


def op_graph(op: Op, inputs: Sequence[Shape]) -> Graph:
    """A graph of one op alone."""
    graph = Graph()
    values = tuple([graph.input(shape, f"input{index}") for index, shape in enumerate(inputs, 1)])
    made = graph.add("op", op, values, None)
    graph.outputs = {f"output{i}": value for i, value in enumerate(made if isinstance(made, tuple) else (made,))}
    return graph


def constructed(text: str, seed: int = 0) -> nn.Module:
    """The module of a source by its constructors, in train mode, with torch's seed."""
    import torch

    torch.manual_seed(seed)
    return make(text, Init())


def lively(module: nn.Module, seed: int = 1) -> nn.Module:
    """The same module with weights and statistics that all have an effect: none at a constant 0 or 1."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        return torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 0.5

    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim < 2 or bool((weight == weight.flatten()[0]).all()):
                weight.add_(noise(weight))
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point() and name.endswith("running_var"):
                buffer.mul_(1 + noise(buffer))
            elif buffer.is_floating_point() and name.endswith("running_mean"):
                buffer.add_(noise(buffer))
    return module


def smooth(module: nn.Module) -> nn.Module:
    """The same module with activations that let each gradient through: of one channel a relu may be 0 everywhere."""
    from torch import nn

    flat = {nn.ReLU: 0, nn.ReLU6: 0, nn.Hardswish: 0, nn.Hardsigmoid: 1, nn.Softmax: 1}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in flat:
                setattr(parent, name, nn.Sigmoid() if flat[type(child)] else nn.LeakyReLU(0.1))
    return module


def tensors(inputs: Sequence[Shape], batch: int, seed: int = 2) -> list[Tensor]:
    """A batch of random inputs."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, *shape, generator=generator) for shape in inputs]


def run(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """The module's output in eval mode; the first one of several."""
    return outputs(module.eval(), inputs)[0]


def outputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """All outputs of the module in the mode that it is in, without gradients."""
    import torch

    with torch.no_grad():
        found = module(*inputs)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every element; NaN equals itself."""
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and bool(((one == other) | ((one != one) & (other != other))).all())  # noqa: PLR0124 (NaN differs from itself)


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree up to what another order of summation does; NaN equals itself."""
    import torch

    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


def difference(one: Tensor, other: Tensor) -> str:
    """How far two tensors are apart, in words."""
    if one.shape != other.shape:
        return f"shapes {tuple(one.shape)} and {tuple(other.shape)}"
    return f"a difference of {float((one - other).abs().max()):.3g}"


def alone(text: str) -> nn.Module:
    """The module of a source that is run where only torch can be imported; raises `Nonconformity` for anything else."""

    def only_torch(name: str, *others: Any) -> Any:
        if name.partition(".")[0] not in MAY_IMPORT:
            raise Nonconformity(
                f"the source imports {name}", "it must run with torch alone", "write what it needs in the op's helper"
            )
        return builtins.__import__(name, *others)

    names: dict[str, Any] = {
        "__name__": "checked_source",
        "__builtins__": {**vars(builtins), "__import__": only_torch},
    }
    exec(compile(text, "<checked source>", "exec"), names)  # noqa: S102 (the project's own generated source)
    root = [value for value in names.values() if getattr(value, "__module__", "") == "checked_source"][-1]
    module: nn.Module = root()
    return module

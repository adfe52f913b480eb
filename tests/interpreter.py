"""The graph, run op by op as plainly as can be: what every generated module is held against.

No classes, no Sequential, nothing in place and nothing freed: an op's module is made of its `call`, an
expression is evaluated as it stands, and every value is kept until the forward ends.
"""

from __future__ import annotations

import torch
from torch import nn

from blockforge.graph import Graph, Node

Values = dict[tuple[int, int], torch.Tensor]


class Interpreter(nn.Module):
    """A graph as a module whose parameters have the names of the graph's ops, in file order."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.made: dict[int, nn.Module] = {}
        position = {stage: index for index, stage in enumerate(graph.stages)}
        self.namespace = {"torch": torch, "nn": nn}
        for node in sorted(graph.nodes, key=lambda node: position.get(stage_of(node), 0)):
            if node.op.helper:
                exec(node.op.helper, self.namespace)
            call = node.op.call(*node.input_shapes) if node.inputs else None
            if call:
                arguments = [
                    f"{argument.value!r}" if argument.positional else f"{argument.name}={argument.value!r}"
                    for argument in call.arguments
                ]
                self._hang(node, eval(f"{call.target}({', '.join(arguments)})", self.namespace))

    def _hang(self, node: Node, module: nn.Module) -> None:
        self.made[node.index] = module
        *scope, last = node.name.split(".")
        place: nn.Module = self
        for part in scope:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place._modules[part]
        place.add_module(last, module)

    def values(self, *xs: torch.Tensor) -> Values:
        """Every value of the graph by (node's index, port)."""
        values: Values = {}
        given = iter(xs)
        for node in self.graph.nodes:
            operands = [values[value.node.index, value.port] for value in node.inputs]
            if not node.inputs:
                made = next(given)
            elif node.index in self.made:
                made = self.made[node.index](*operands)
            else:
                names = [f"x{i}" for i in range(len(operands))]
                made = eval(node.op.expression(*names), self.namespace, dict(zip(names, operands, strict=True)))
            for port, value in enumerate(made if isinstance(made, tuple) else (made,)):
                values[node.index, port] = value
        return values

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """The graph's only output."""
        values = self.values(*xs)
        (output,) = self.graph.outputs.values()
        return values[output.node.index, output.port]


def stage_of(node: Node) -> str:
    """The stage that an op came from, or nothing for an input."""
    expansion = node.expansion
    while expansion and expansion.parent:
        expansion = expansion.parent
    return (expansion.stage if expansion else None) or ""


def unsettle(module: nn.Module) -> None:
    """Give every normalisation statistics and weights that show in the output."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)


def backward(output: torch.Tensor) -> None:
    """Gradients of a loss that weighs each element of the output differently."""
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Whether two tensors are equal to the bit; what isn't a number is equal to its like."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)

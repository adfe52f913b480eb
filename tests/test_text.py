"""The generated file: its exact text, its length, and that Python reads it whatever things are called."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from blockforge import Block, Network, Scope, Value, __version__, build, get_network, list_networks, ops, source
from blockforge.assembler import assemble, graph_of
from blockforge.builder import make
from blockforge.codegen.layout import WIDTH
from blockforge.codegen.structure import structure
from blockforge.codegen.text import OUTPUTS, source_of
from blockforge.errors import BlockforgeError
from blockforge.ops import Call, Op, Shape
from tests.interpreter import Interpreter, unsettle
from tests.random_networks import from_text

TINY = '''\
"""tiny (arXiv:1512.03385), written by blockforge VERSION."""

import torch
from torch import nn


class Conv(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.conv2(y)
        y = self.bn2(y)
        y += x
        return self.relu2(y)


class ResidualDownsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.downsample = nn.Sequential(
            nn.Conv2d(16, 32, 1, stride=2, bias=False),
            nn.BatchNorm2d(32),
        )
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.conv2(y)
        y = self.bn2(y)
        x = self.downsample(x)
        y += x
        return self.relu2(y)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Conv()
        self.layer1 = nn.Sequential(*[Residual(16) for _ in range(3)])
        self.layer2 = nn.Sequential(
            ResidualDownsample(),
            Residual(32),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)
'''

ODD = '''\
"""odd-names, written by blockforge VERSION."""

from collections import OrderedDict

import torch
from torch import nn


class Conv(nn.Sequential):
    def __init__(self, in_channels, kernel=3):
        super().__init__(
            nn.Conv2d(in_channels, 8, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )


class OddNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("class", Conv(3))
        self.body = nn.ModuleList([Conv(8), Conv(8, kernel=1)])
        self.twins = nn.ModuleDict({"left": Conv(8), "right": Conv(8)})
        self.add_module(
            "a-b",
            nn.Sequential(
                OrderedDict(
                    x1=Conv(8),
                    x2=Conv(8),
                ),
            ),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = getattr(self, "class")(x)
        y = self.body[0](x)
        z = self.body[1](x)
        x = y + z + x
        del y, z
        y = self.twins["left"](x)
        x = self.twins["right"](x)
        x = y * x
        del y
        x = getattr(self, "a-b")(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)
'''


def test_the_text_of_a_small_network() -> None:
    network = Network.from_yaml("""
tiny:
  paper: arXiv:1512.03385
  input: [3, 16, 16]
  classes: 10
  stages:
    stem: {block: conv, width: 16, scope: stem}
    layer1: {block: residual, width: 16, depth: 3}
    layer2: {block: residual, width: 32, stride: 2, depth: 2}
    head: {block: classifier, width: classes, scope: ""}
""")
    assert source(network) == TINY.replace("VERSION", __version__)


def test_the_text_where_scopes_are_no_chains_and_names_no_attributes() -> None:
    network = from_text("""
odd-names:
  input: [3, 16, 16]
  classes: 4
  stages:
    in: {block: conv, width: 8, scope: class}
    a: {block: conv, width: 8, from: in, scope: "body.{n}"}
    b: {block: conv, width: 8, kernel: 1, from: in, scope: "body.{n}"}
    sum: {block: add, from: [a, b, in]}
    left: {block: conv, width: 8, from: sum, scope: twins.left}
    right: {block: conv, width: 8, from: sum, scope: twins.right}
    both: {block: multiply, from: [left, right]}
    row: {block: conv, width: 8, depth: 2, from: both, scope: "a-b.x{n+1}"}
    head: {block: classifier, width: classes, scope: ""}
""")
    assert source(network) == ODD.replace("VERSION", __version__)


# Lines: two that everybody knows stay short; the largest have many kinds of blocks.
LONGEST = {"resnet50": 150, "mobilenet_v2": 150}


@pytest.mark.parametrize("name", list_networks())
def test_every_network_reads_as_if_a_person_had_written_it(name: str) -> None:
    text = source(name)
    compile(text, name, "exec")
    lines = text.splitlines()
    assert len(lines) <= LONGEST.get(name, 250)
    assert max(map(len, lines)) <= WIDTH
    assert not any(line != line.rstrip() for line in lines)
    imports = [line for line in lines if line.startswith(("import", "from"))]
    collections = [each for each in ("OrderedDict", "namedtuple") if f"{each}(" in text]
    expected = {"from torch import nn", *([f"from collections import {', '.join(collections)}"] if collections else [])}
    assert set(imports) - {"import torch"} == expected
    assert (f"namedtuple({OUTPUTS!r}".replace("'", '"') in text) == (len(get_network(name).outputs) > 1)
    assert ("import torch" in imports) == ("torch." in text.replace("import torch", ""))
    names = re.findall(r"^class (\w+)", text, re.MULTILINE)
    assert len(set(names)) == len(names)
    for unused in {"OrderedDict", "namedtuple", *names[:-1]}:
        assert len(re.findall(rf"\b{unused}\b", text)) != 1, unused
    assert ast.get_docstring(ast.parse(text)).startswith(name)


def drop_path(depth: int) -> Network:
    return get_network("resnet18").set(
        {"drop_path": 0.2, "layer1.depth": 1, "layer2.depth": 1, "layer3.depth": depth, "layer4.depth": 1}
    )


def test_probabilities_that_differ_are_a_loop() -> None:
    text = source(drop_path(4).set({"drop_path": 0.875}))
    assert "            ResidualDownsample(128, 256, p=0.25),\n" in text
    assert "            *[ResidualDropPath(p=p) for p in (0.375, 0.5, 0.625)],\n" in text


def test_a_loop_that_is_too_long_is_broken() -> None:
    network = drop_path(12).set({"input": [3, 32, 32]})
    lines = source(network).splitlines()
    assert max(map(len, lines)) <= WIDTH
    start = lines.index("                ResidualDropPath(p=p)")
    assert lines[start - 1].strip() == "*["
    assert lines[start + 1].strip() == "for p in ("
    module, plain = build(network), Interpreter(assemble(network))
    unsettle(plain)
    module.load_state_dict(plain.state_dict(), strict=True)
    assert [layer.p for layer in module.modules() if type(layer).__name__ == "DropPath"] == [
        layer.p for layer in plain.modules() if type(layer).__name__ == "DropPath"
    ]
    x = torch.randn(4, 3, 32, 32)
    results = []
    for each in (module, plain):
        torch.manual_seed(0)
        results.append(each(x))
    assert torch.equal(*results)


# -- whatever things are called


@pytest.mark.parametrize(
    "name", ["none", "true", "42", "日本", "drop-path", "class", "nn", "ordered_dict", "conv", "-"]
)
def test_any_name_of_a_network(name: str) -> None:
    text = f"""
{name!r}:
  input: [3, 8, 8]
  classes: 2
  drop_path: 0.5
  stages:
    a: {{block: residual, width: 3, depth: 2}}
    b: {{block: conv, width: 4, scope: "b.x"}}
    head: {{block: classifier, width: classes}}
"""
    module = build(from_text(text))
    assert module(torch.randn(2, 3, 8, 8)).shape == (2, 2)


def test_any_title() -> None:
    graph = graph_of(block_of(lambda g, x: g.relu("act", x)), (4, 2, 2))
    for title in ('He "et al."', '"""', "a\nb", "C:\\new\\x", "\\", 'ends with "', "\x00\u2028", "naïve"):
        text = source_of(graph, "Net", title)
        compile(text, "net", "exec")
        assert ast.get_docstring(ast.parse(text)).endswith(f", written by blockforge {__version__}.")
        make(text, None)
    assert source_of(graph, "Net", "x\\y").startswith(f'"""x\\\\y, written by blockforge {__version__}."""\n')


def block_of(expand: Callable[[Scope, Value], Value]) -> Block:
    return type("Probe", (Block,), {"expand": lambda _, g, x: expand(g, x)})()


class Helped(Op):
    helper: ClassVar[str] = "class Extra(nn.Module):\n    def forward(self, x):\n        return x + 1\n"

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def call(self, *inputs: Shape) -> Call:
        return Call("Extra")


@dataclass(frozen=True)
class HelpedOtherwise(Helped):
    helper: ClassVar[str] = "class Extra(nn.Module):\n    def forward(self, x):\n        return x + 2\n"


def test_a_helper_class_is_written_once_and_two_of_a_name_are_refused() -> None:
    twice = block_of(lambda g, x: g.op("b", Helped(), g.op("a", Helped(), x)))
    text = source_of(graph_of(twice, (4,)), "Net", "net")
    assert text.count("class Extra") == 1
    assert torch.equal(make(text, None)(torch.zeros(1, 4)), torch.full((1, 4), 2.0))
    clash = block_of(lambda g, x: g.op("b", HelpedOtherwise(), g.op("a", Helped(), x)))
    with pytest.raises(BlockforgeError) as caught:
        source_of(graph_of(clash, (4,)), "Net", "net")
    assert str(caught.value) == "b: another op brings a class Extra of its own; rename one of them"


def test_several_inputs_are_numbered_arguments() -> None:
    class Three(Block):
        def expand(self, g: Scope, x: Value, y: Value, z: Value) -> Value:
            return g.concat("cat", g.conv("a", x, 2), y, g.op("same", ops.Identity(), z))

    text = source_of(graph_of(Three(), (3, 2, 2), (1, 2, 2), (2, 2, 2)), "Three", "three")
    assert "    def forward(self, x1, x2, x3):\n" in text
    module = make(text, None)
    assert module(*(torch.randn(1, c, 2, 2) for c in (3, 1, 2))).shape == (1, 5, 2, 2)


def test_a_numbered_block_alone_is_a_sequential() -> None:
    text = source_of(graph_of(block_of(lambda g, x: g.relu("#", g.conv("#", x, 4))), (3, 4, 4)), "Two", "two")
    assert text.endswith("""\
class Two(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 1, bias=False),
            nn.ReLU(inplace=True),
        )
""")


def test_the_source_is_the_same_however_often_it_is_written() -> None:
    for name in ("resnet50", "googlenet"):
        graph = assemble(get_network(name))
        assert source(name) == source(name)
        assert [item.attr for item in structure(graph).items] == [item.attr for item in structure(graph).items]

# ruff: noqa: E501 (messages in one line each)
"""What an author's op brings into the generated file, what it may read there, and whether its shape rule is true."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from blockforge import Block, BlockforgeError, Network, Op, Scope, Value, build, builder, source
from blockforge.assembler import graph_of
from blockforge.builder import make
from blockforge.codegen.text import source_of
from blockforge.ops import Argument, Call, Shape
from blockforge.registry import load_registry

SHAPE = (4, 6, 6)


class Same(Op):
    """What keeps its input's shape."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]


def block_of(*ops: Op) -> Block:
    """A block that runs these ops in turn: a, b, ..."""

    def expand(self: Block, g: Scope, x: Value) -> Value:
        for name, op in zip("abcd", ops, strict=False):
            x = g.op(name, op, x)
        return x

    return type("Probe", (Block,), {"expand": expand})()


def import_file(path: Path) -> ModuleType:
    """Run a file as a module, as any import does."""
    spec = importlib.util.spec_from_file_location(f"helpers_{path.stem}", path)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(*ops: Op, import_modules: bool = False) -> str:
    return source_of(graph_of(block_of(*ops), SHAPE), "Net", "net", import_modules=import_modules)


def refusal(*ops: Op, **options: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        text_of(*ops, **options)
    return str(caught.value)


def op_of(module: ModuleType, helper: Any, target: str = "", expression: str = "") -> Op:
    """An op, written in that module, with this helper."""
    body = {"helper": helper, "__module__": module.__name__}
    if expression:
        body["expression"] = lambda _, *names: expression.format(*names)
    else:
        body["call"] = lambda *_: Call(target or helper.__name__)
    return type("Probed", (Same,), body)()


# -- classes and functions instead of their source


def halved(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    """A function that a module and an expression use."""
    return x / by


class Base(nn.Module):
    """What `Halve` builds on."""

    steps = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.steps):
            x = halved(x)
        return x


class Halve(Base):
    """Half of half."""

    # A comment goes along.
    steps = 2


class HalveOp(Same):
    helper = (Halve, Base, halved)

    def call(self, *inputs: Shape) -> Call:
        return Call("Halve")


class HalvedOp(Same):
    helper = halved

    def expression(self, *names: str) -> str:
        return f"halved({names[0]})"


def test_classes_and_functions_are_written_once_each_behind_what_it_needs() -> None:
    text = text_of(HalveOp(), HalvedOp(), HalveOp())
    definitions = [line for line in text.splitlines() if line.startswith(("class ", "def "))]
    assert definitions[:3] == [
        "class Base(nn.Module):",
        "class Halve(Base):",
        "def halved(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:",
    ]
    assert "    # A comment goes along.\n" in text
    assert torch.equal(make(text, None)(torch.ones(1, *SHAPE)), torch.full((1, *SHAPE), 1 / 32))


def test_what_is_built_is_what_the_class_does() -> None:
    module = build(block_of(HalveOp()), input=SHAPE)
    x = torch.randn(2, *SHAPE)
    assert torch.equal(module(x), Halve()(x))
    assert type(module.a) is not Halve  # the file's own


def test_a_class_of_a_function_is_found_too() -> None:
    class Inner(nn.Module):
        def forward(self, x):
            def twice(y):
                return y + x

            return sum(twice(y) for y in (x,))

    text = text_of(op_of(sys.modules[__name__], Inner))
    assert "\nclass Inner(nn.Module):\n    def forward(self, x):\n        def twice(y):\n" in text
    assert torch.equal(make(text, None)(torch.ones(1, *SHAPE)), torch.full((1, *SHAPE), 2.0))


def test_a_function_in_a_string_is_written_too() -> None:
    op = op_of(sys.modules[__name__], "def more(x):\n    return x + 1\n", expression="more({0})")
    assert torch.equal(make(text_of(op), None)(torch.zeros(1, *SHAPE)), torch.ones(1, *SHAPE))


# -- what a helper may read

FILE = """
import math
import torch as th
import torch.nn.functional as F
from functools import partial
from math import sqrt
from torch import Tensor, nn
import torch.nn as layers
import torch

TAPS = (1, 2, 1)
round = max

def blur(x):
    return x

class Base(nn.Module):
    pass

"""
LACKS = "a: Probed's helper Layer reads the global {!r}, which the generated file lacks; {}"


@pytest.mark.parametrize(
    ("code", "name", "advice"),
    [
        ("return F.relu(x)", "F", "write nn.functional"),
        ("return th.relu(x)", "th", "write torch"),
        ("return layers.ReLU()(x)", "layers", "write nn"),
        ("return Tensor.relu(x)", "Tensor", "write torch.Tensor"),
        ("return x * math.pi", "math", "import it inside the method"),
        ("return x * sqrt(2)", "sqrt", "import it inside the method"),
        ("return partial(torch.add, x)(x)", "partial", "import it inside the method"),
        ("return x * TAPS[0]", "TAPS", "write its value into the method, or make it self.TAPS"),
        ("return blur(x)", "blur", "make it a helper too: helper = (Layer, blur)"),
        ("return [Base() for _ in '1'] and x", "Base", "make it a helper too: helper = (Layer, Base)"),
        ("return (lambda y: y + unknown)(x)", "unknown", "give it as an argument, or write it out"),
        ("return round(x, x)", "round", "make it a helper too: helper = (Layer, round)"),
    ],
)
def test_what_a_method_reads_must_be_in_the_file(
    write: Callable[[str, str], Path], code: str, name: str, advice: str
) -> None:
    text = FILE + f"class Layer(nn.Module):\n    def forward(self, x):\n        {code}\n"
    if name == "round":
        advice = "import it inside the method"  # the built-in max by another name
    module = import_file(write("lacking.py", text))
    assert refusal(op_of(module, module.Layer)) == LACKS.format(name, advice)


@pytest.mark.parametrize(
    ("code", "name", "advice"),
    [
        ("class Layer(Base):\n    pass", "Base", "make it a helper too: helper = (Layer, Base)"),
        (
            "class Layer(nn.Module):\n    by = math.pi",
            "math",
            "move what reads it into a method, and import it there",
        ),
        ("class Layer(nn.Module):\n    def __init__(self, by=TAPS): pass", "TAPS", "write its value into the method, or make it self.TAPS"),
        ("class Layer(nn.Module):\n    def forward(self, x: Tensor): pass", "Tensor", "write torch.Tensor"),
        ("@partial(lambda cls: cls)\nclass Layer(nn.Module): pass", "partial", "move what reads it into a method, and import it there"),
        ("def Layer(x):\n    return x * TAPS[0]", "TAPS", "write its value into the function"),
        ("def Layer(x):\n    return math.pi * x", "math", "import it inside the function"),
    ],
)  # fmt: skip
def test_so_must_what_a_definition_reads(write: Callable[[str, str], Path], code: str, name: str, advice: str) -> None:
    module = import_file(write("lacking.py", FILE + code + "\n"))
    assert refusal(op_of(module, module.Layer)) == LACKS.format(name, advice)


def test_another_nn_is_not_torchs(write: Callable[[str, str], Path]) -> None:
    text = "from torch.nn import Module\nimport torch.nn.functional as nn\nclass Layer:\n    def forward(self, x):\n        return nn.relu(x)\n"
    module = import_file(write("lacking.py", text))
    assert refusal(op_of(module, module.Layer)) == LACKS.format("nn", "write nn.functional")


def test_what_is_imported_inside_a_method_is_there(write: Callable[[str, str], Path]) -> None:
    text = (
        FILE + "class Layer(nn.Module):\n    def forward(self, x):\n        import math\n        return x * math.pi\n"
    )
    module = import_file(write("whole.py", text))
    made = make(text_of(op_of(module, module.Layer)), None)
    assert torch.equal(made(torch.ones(1, *SHAPE)), torch.full((1, *SHAPE), torch.pi))


@pytest.mark.parametrize(
    ("target", "expression", "message"),
    [
        ("Layer", "", "a: Probed.call() reads 'Layer', which the generated file lacks; write helper = Layer in its class"),
        ("F.relu", "", "a: Probed.call() reads 'F', which the generated file lacks; write nn.functional"),
        ("Absent", "", "a: Probed.call() reads 'Absent', which the generated file lacks; read torch, nn and helpers alone"),
        ("", "blur({0})", "a: Probed.expression() reads 'blur', which the generated file lacks; write helper = blur in its class"),
        ("", "F.relu({0})", "a: Probed.expression() reads 'F', which the generated file lacks; write nn.functional"),
        ("", "{0} * math.pi", "a: Probed.expression() reads 'math', which the generated file lacks; read torch, nn and helpers alone"),
        ("", "{0} +", "a: Probed.expression() gives 'x1 +', which isn't Python; mend it"),
    ],
)  # fmt: skip
def test_calls_and_expressions_read_what_is_in_the_file(
    write: Callable[[str, str], Path], target: str, expression: str, message: str
) -> None:
    module = import_file(write("lacking.py", FILE + "class Layer(nn.Module): pass\n"))
    assert refusal(op_of(module, "", target, expression)) == message


def test_the_advice_names_the_helpers_that_are_there(write: Callable[[str, str], Path]) -> None:
    module = import_file(write("lacking.py", FILE))
    message = refusal(op_of(module, module.blur, expression="blur(Base({0}))"))
    assert message.endswith("reads 'Base', which the generated file lacks; write helper = (blur, Base) in its class")


# -- what can't be a helper


def test_a_class_without_a_file_has_no_source() -> None:
    names: dict[str, Any] = {"nn": nn, "__name__": "nowhere"}
    exec("class Layer(nn.Module): pass", names)
    assert refusal(op_of(sys.modules[__name__], names["Layer"])) == (
        "a: Probed's helper Layer has no source to be found: it was made in an interactive session or by exec, or "
        "its file has changed; write it in a file and start Python anew, or give its source as a string"
    )


INTERACTIVE = """
from torch import nn
from blockforge import Op, Block, BlockforgeError, build
from blockforge.ops import Call
class Layer(nn.Module):
    def forward(self, x): return x

class LayerOp(Op):
    helper = Layer
    def shape(self, *inputs): return inputs[0]
    def call(self, *inputs): return Call("Layer")

class Row(Block):
    def expand(self, g, x): return g.op("a", LayerOp(), x)

try:
    build(Row(), input=(3, 4, 4))
except BlockforgeError as error:
    print(error)

"""


def test_nor_has_one_of_an_interactive_session() -> None:
    done = subprocess.run([sys.executable, "-i", "-q"], input=INTERACTIVE, capture_output=True, text=True, timeout=120)
    assert "a: LayerOp's helper Layer has no source to be found" in done.stdout, done.stderr


def test_a_file_that_changed_since_is_found_out(write: Callable[[str, str], Path]) -> None:
    path = write("changing.py", "def Layer(x):\n    return x\n")
    module = import_file(path)
    write("changing.py", "def other(x, y):\n    return x + y\n")
    assert refusal(op_of(module, module.Layer)) == (
        f"a: Probed's helper Layer is no longer where it was in {path}; start Python anew if the file has changed, "
        "or give its source as a string"
    )


def test_what_is_read_too_early_is_found_out(write: Callable[[str, str], Path]) -> None:
    text = "from __future__ import annotations\nfrom torch import nn\n\nclass Layer(nn.Module):\n    def same(self) -> Layer: pass\n"
    other = "\nclass Other(nn.Module):\n    def layer(self) -> Layer: pass\n"
    module = import_file(write("early.py", text + other))
    assert refusal(op_of(module, module.Layer)) == (
        "a: Probed's helper Layer reads 'Layer' before that is defined; write the annotation in quotes"
    )
    module = import_file(write("later.py", text.replace("-> Layer", "-> Other") + other))
    assert refusal(op_of(module, (module.Layer, module.Other), "Layer")) == (
        "a: Probed's helper Other reads 'Layer' before that is defined; write the annotation in quotes"
    )
    module = import_file(write("quoted.py", text.replace("-> Layer", "-> 'Layer'") + other))
    assert "-> 'Layer'" in text_of(op_of(module, (module.Other, module.Layer), "Layer"))


def test_a_helper_by_another_name_is_not_what_is_read(write: Callable[[str, str], Path]) -> None:
    text = "def blur(x):\n    return x\n\nkept = blur\n\ndef blur(x):\n    return x + 1\n\ndef Layer(x):\n    return blur(x)\n"
    module = import_file(write("twice.py", text))
    assert refusal(op_of(module, (module.Layer, module.kept), "Layer")) == LACKS.format(
        "blur", "the helper blur is another one; rename one of them"
    )


FORMS = "give a class, a function, a tuple of them, or their source as a string"


@pytest.mark.parametrize(
    ("helper", "message"),
    [
        (nn.PReLU, "a: Probed's helper PReLU is torch's own; leave helper out, and call nn.PReLU"),
        (5, f"a: Probed's helper is 5; {FORMS}"),
        ((Halve, 5), f"a: Probed's helper is 5; {FORMS}"),
        ("TAPS = 3", f"a: Probed's helper is 'TAPS = 3', which defines nothing; {FORMS}"),
    ],
)
def test_what_is_no_helper(helper: object, message: str) -> None:
    assert refusal(op_of(sys.modules[__name__], helper, "Layer")) == message


def test_a_lambda_is_no_helper() -> None:
    assert refusal(op_of(sys.modules[__name__], lambda x: x, "Layer")).endswith(f">; {FORMS}")


def test_names_that_clash(write: Callable[[str, str], Path]) -> None:
    code = "from torch import nn\nclass {}(nn.Module):\n    n = {}\n"
    one, two, taken = (
        import_file(write(f"{name}.py", code.format(cls, n)))
        for name, cls, n in (("one", "Layer", 1), ("two", "Layer", 2), ("three", "Outputs", 3))
    )
    both = (one.Layer, two.Layer)
    assert refusal(op_of(one, both, "Layer")) == "a: Probed has two helpers called Layer; rename one of them"
    assert refusal(op_of(one, one.Layer), op_of(two, two.Layer)) == (
        "b: another op brings a class Layer of its own; rename one of them"
    )
    assert refusal(op_of(taken, taken.Outputs)) == "a: Outputs is what the file has already; rename the class"


# -- imports instead of code

PACKAGE = '''
"""Ops of a package."""
from torch import nn
from blockforge import Op
from blockforge.ops import Call

LIMIT = 6  # a global is no matter where the module is imported

class Clip(nn.Module):
    def forward(self, x):
        return x.clamp(0, LIMIT)

def shifted(x):
    return x + LIMIT

class ClipOp(Op):
    helper = (Clip, shifted)
    def shape(self, *inputs): return inputs[0]
    def call(self, *inputs): return Call("Clip")
'''
PLUGIN = """
from blockforge import Block, hookimpl
from acme_test_blocks.ops import ClipOp

class Clipped(Block):
    def expand(self, g, x):
        return g.op("clip", ClipOp(), x)

@hookimpl
def register_blocks():
    return [Clipped]
"""
CLIPPED = "input: [3, 4, 4]\nstages:\n  a: {block: clipped}\n"


@pytest.fixture
def package(write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with an op whose helper reads a global of its module."""
    write("site/acme_test_blocks/__init__.py", "")
    path = write("site/acme_test_blocks/ops.py", PACKAGE)
    monkeypatch.syspath_prepend(path.parent.parent)
    for name in ("acme_test_blocks", "acme_test_blocks.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return path.parent.parent


def test_a_class_of_a_package_is_imported_if_asked_for(write: Callable[[str, str], Path], package: Path) -> None:
    load_registry([write("clipped.py", PLUGIN)])
    network = Network.from_yaml(CLIPPED)
    with pytest.raises(BlockforgeError) as caught:
        source(network)
    assert str(caught.value) == (
        "a.0.clip: ClipOp's helper Clip reads the global 'LIMIT', which the generated file lacks; "
        "write its value into the method, or make it self.LIMIT"
    )
    text = source(network, import_modules=True)
    head, _, rest = text.partition("\n\n\n")
    assert head.endswith('"""\n\nfrom acme_test_blocks.ops import Clip\nfrom torch import nn')
    assert "class Clip(" not in rest
    assert make(text, None)(torch.full((1, 3, 4, 4), 9.0)).max() == 6


def test_export_imports_modules(write: Callable[[str, str], Path], package: Path) -> None:
    plugin, network = write("clipped.py", PLUGIN), write("net.yaml", CLIPPED)

    def export(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "blockforge", "export", str(network), "--python", "-", "--plugin", str(plugin), *options],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(package), "PATH": ""},
        )  # fmt: skip

    done = export("--import-modules")
    assert done.returncode == 0, done.stderr
    assert "\nfrom acme_test_blocks.ops import Clip\n" in done.stdout
    done = export()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("a.0.clip: ClipOp's helper Clip reads the global 'LIMIT'")


def test_a_plugin_file_can_not_be_imported_and_says_why(write: Callable[[str, str], Path]) -> None:
    path = write("layers.py", FILE + "class Layer(nn.Module):\n    def forward(self, x):\n        return x\n")
    module = import_file(path)
    op = op_of(module, module.Layer)
    assert refusal(op, import_modules=True) == (
        f"a: Layer can't be imported: {path} is of no package that Python finds; leave out --import-modules "
        "(import_modules=True), which writes its code instead, or install it as a package"
    )
    assert "class Layer(nn.Module)" in text_of(op)


def test_source_in_a_string_and_built_in_helpers_stay_code() -> None:
    op = op_of(sys.modules[__name__], "class More(nn.Module):\n    def forward(self, x):\n        return x + 1", "More")
    assert "\nclass More(nn.Module):\n" in text_of(op, import_modules=True)
    network = Network.from_yaml("input: [3, 4, 4]\ndrop_path: 0.5\nstages:\n  a: {block: residual, width: 3}\n")
    assert source(network, import_modules=True) == source(network)


def test_only_what_is_used_is_imported_in_one_line_a_module() -> None:
    text = text_of(HalveOp(), HalvedOp(), import_modules=True)
    assert text.partition('"""\n\n')[2].startswith(
        f"from {__name__} import Halve, halved\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
    )


# -- shape rules


@dataclass(frozen=True)
class Shrink(Op):
    """An op whose rule may be wrong."""

    code: str
    ruled: Shape = (4, 3, 3)
    as_module: bool = True

    helper = """\
class Run(nn.Module):
    def __init__(self, code, scale=1):
        super().__init__()
        self.code = compile(code, "", "eval")
        self.weight = nn.Parameter(torch.randn(3))
        eval("None" if "broken" not in code else "broken")

    def forward(self, x):
        return eval(self.code)
"""

    def shape(self, *inputs: Shape) -> Shape:
        return self.ruled

    def call(self, *inputs: Shape) -> Call | None:
        return Call("Run", (Argument("code", self.code, positional=True),)) if self.as_module else None

    def expression(self, *names: str) -> str:
        return self.code.replace("x", names[0])


def checked(op: Op) -> str:
    """What `build` says of a block of this op; empty if nothing."""
    try:
        build(block_of(op), input=SHAPE)
    except BlockforgeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x[:, :, ::2, ::2]", ""),
        ("x[:, :, ::2, ::2] * x.sum().item()", ""),  # which needs numbers
        ("x", "a: Shrink made (4, 6, 6), but its shape rule says (4, 3, 3); mend shape() or {}()"),
        ("x * x.sum().item()", "a: Shrink made (4, 6, 6), but its shape rule says (4, 3, 3); mend shape() or {}()"),
        ("x.chunk(2, 1)", "a: Shrink made (2, 6, 6), (2, 6, 6), but its shape rule says (4, 3, 3); mend shape() or {}()"),
        ("x[:1]", "a: Shrink fails on (4, 6, 6), which shape() accepts: ValueError: of a batch of 2 it made a tensor of shape (1, 4, 6, 6); mend shape() or {}()"),
        ("x.shape[0]", "a: Shrink fails on (4, 6, 6), which shape() accepts: TypeError: it made int, no tensor; mend shape() or {}()"),
        ("x.nothing", "a: Shrink fails on (4, 6, 6), which shape() accepts: AttributeError: 'Tensor' object has no attribute 'nothing'; mend shape() or {}()"),
    ],
)  # fmt: skip
def test_what_an_op_makes_is_held_against_its_rule(code: str, message: str) -> None:
    assert checked(Shrink(code)) == message.format("call")
    assert checked(Shrink(code, as_module=False)) == message.format("expression")


def test_a_module_that_can_not_be_made_is_named() -> None:
    assert checked(Shrink("broken(x)")) == (
        "a: Shrink fails on (4, 6, 6), which shape() accepts: NameError: name 'broken' is not defined; "
        "mend shape() or call()"
    )


def test_networks_are_checked_too_and_the_op_named_by_its_path(write: Callable[[str, str], Path]) -> None:
    load_registry([
        write("wrong.py", """
            from blockforge import Block, Op, hookimpl

            class Twice(Op):
                def shape(self, *inputs): return inputs[0]
                def expression(self, x): return f"torch.cat(({x}, {x}), 1)"

            class Doubled(Block):
                def expand(self, g, x): return g.op("twice", Twice(), x)

            @hookimpl
            def register_blocks(): return [Doubled]
        """)
    ])  # fmt: skip
    network = Network.from_yaml("input: [3, 4, 4]\nstages:\n  layer1: {block: doubled, depth: 2}\n")
    message = "layer1.0.twice: Twice made (6, 4, 4), but its shape rule says (3, 4, 4); mend shape() or expression()"
    for init in (True, False):
        with pytest.raises(BlockforgeError) as caught:
            build(network, init=init)
        assert str(caught.value) == message


def test_an_op_is_checked_once_for_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Shape] = []
    run = builder._made
    monkeypatch.setattr(builder, "_made", lambda node, *others: ran.append(node.input_shapes[0]) or run(node, *others))
    block = block_of(Shrink("x[:, :, ::2, ::2] + 0"), Shrink("x + 0.0"), Shrink("x + 0.0"))
    for shape in (SHAPE, SHAPE, (4, 5, 5)):
        build(block, input=shape)
    assert ran == [(4, 6, 6), (4, 3, 3), (4, 5, 5)]
    build("resnet18_cifar", init=False)
    build(block_of(), input=SHAPE)
    assert len(ran) == 3  # built-in ops are never run


@dataclass(frozen=True)
class Sized(Op):
    """Its number isn't shown, and may be of any type."""

    by: Any = field(default=1, repr=False)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def expression(self, *names: str) -> str:
        return f"torch.cat([{names[0]}] * {len(self.by) if isinstance(self.by, list) else self.by}, 1)"


def test_an_op_is_known_by_all_that_it_is() -> None:
    message = "a: Sized made (8, 6, 6), but its shape rule says (4, 6, 6); mend shape() or expression()"
    assert [checked(Sized(by)) for by in (1, 2, 1, [0], [0, 0])] == ["", message, "", "", message]


def test_the_check_draws_nothing_from_torchs_generator() -> None:
    for code in ("x[:, :, ::2, ::2] + 1", "x[:, :, ::2, ::2] + x.sum().item()"):
        torch.manual_seed(0)
        state = torch.get_rng_state()
        graph = graph_of(block_of(Shrink(code)), SHAPE)
        text = source_of(graph, "Net", "net")
        builder._check_ops(graph, text)
        assert torch.equal(torch.get_rng_state(), state)

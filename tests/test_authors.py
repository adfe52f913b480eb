"""What who writes a block can get wrong, and what is said then: one line, with the place and what to change."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal

import pytest
from click.testing import CliRunner, Result
from pydantic import Field, ValidationError

from blockforge import Block, Network, Scope, Value, build, cost, get_network, source
from blockforge.assembler import assemble, graph_of
from blockforge.block import is_block
from blockforge.cli import main
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.registry import Registry, get_registry, load_registry

HEAD = """\
from typing import Annotated, ClassVar
from pydantic import Field
from blockforge import Block, BlockSpec, Channels, Scope, Search, Value, hookimpl, ops

class Mine(Block):
    '''A block of my own.'''
{fields}
    def expand(self, g: Scope, x: Value) -> Value:
        {expand}

@hookimpl
def register_blocks():
    return [Mine]
"""


def plugin(fields: str = "", expand: str = "return x", before: str = "") -> str:
    """A plugin file's text; its fields begin in line 7."""
    lines = "".join(f"    {line}\n" for line in dedent(fields).strip().splitlines())
    return before + HEAD.format(fields=lines or "    pass\n", expand=expand)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that messages name files as they were given."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def refusal(make: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        make()
    assert caught.value.exit_code == 2
    return str(caught.value)


# What a class may not be


CLASSES = {
    "no type": (
        plugin("width = 8"),
        "line 5: block Mine: field 'width' has no type; write `width: TYPE = 8`",
    ),
    "a Field without a type": (
        plugin("width = Field(ge=1)"),
        "line 5: block Mine: field 'width' has no type; write `width: TYPE = ...`",
    ),
    "no type in a subclass": (
        plugin("width: Channels = 8") + "\n\nclass Wider(Mine):\n    width = 16\n",
        "line 17: block Wider: field 'width' has no type; write `width: TYPE = ...`",
    ),
    "no hash": (
        plugin("sizes: dict[str, int] = {}"),
        "block Mine: field 'sizes' is a dict, which can't be hashed; use a tuple or a frozen type",
    ),
    "no plain data": (
        plugin("sizes: Sizes | None = None", before="class Sizes:\n    __hash__ = None\n\n"),
        "line 8: block Mine: a field is a Sizes, which no file can say; use numbers, text, true and false, tuples of "
        "them, Literal or BlockSpec",
    ),
    "no such type": (
        plugin("width: Chanels = 8"),
        "NameError: name 'Chanels' is not defined",
    ),
    "no such type, looked up later": (
        plugin("width: Chanels = 8", before="from __future__ import annotations\n"),
        "block Mine: there is no 'Chanels', which a field's type names; import it",
    ),
    "a wrong default of a type that comes later": (
        plugin("width: Later = 0", before="from __future__ import annotations\n") + "\n\nLater = Channels\n",
        "block Mine: the default of field 'width' must be at least 1, but is 0; give another default, or wider bounds",
    ),
    "a built-in one's subclass": (
        plugin("width: Channels = 0")
        .replace("Mine(Block)", "Mine(registry.get_registry().block('conv'))")
        .replace("import Block", "import registry, Block"),
        "block Mine: the default of field 'width' must be at least 1, but is 0; give another default, or wider bounds",
    ),
    "bounds": (
        plugin("width: Annotated[int, Field(ge=5, le=3)] = 4"),
        "block Mine: field 'width' can have no value: it must be at least 5 and at most 3; mend its bounds",
    ),
    "bounds of what may be null": (
        plugin("width: Annotated[float, Field(gt=1, le=1)] | None = None"),
        "block Mine: field 'width' can have no value: it must be above 1 and at most 1; mend its bounds",
    ),
    "nothing to search": (
        plugin("width: Annotated[int, Search()] = 4"),
        "block Mine: field 'width' has an empty Search(); name the values to try, as in Search(2, 4)",
    ),
    "a search out of bounds": (
        plugin("width: Annotated[int, Field(ge=1), Search(2, 0)] = 4"),
        "block Mine: in Search of field 'width', a value must be at least 1, but is 0; leave it out",
    ),
    "a default out of bounds": (
        plugin("needed: int\nwidth: Channels = 0"),
        "block Mine: the default of field 'width' must be at least 1, but is 0; give another default, or wider bounds",
    ),
    "a default of another type": (
        plugin("width: Channels = 8.0"),
        "block Mine: the default of field 'width' must be a whole number, but is 8.0; give another default, or wider "
        "bounds",
    ),
    **{
        f"a field called {name}": (
            plugin(f"{name}: int = 1"),
            f"block Mine: {whose} a {name!r} already; name the field otherwise",
        )
        for whose, names in {
            "stages have": ("depth", "block", "scope", "scale", "after"),
            "every block has": ("copy", "name"),
        }.items()
        for name in names
    },
    "a field called from": (
        plugin("__annotations__ = {'from': int}"),
        "block Mine: stages have a 'from' already; name the field otherwise",
    ),
    "an __init__": (
        plugin("def __init__(self, width):\n    self.width = width"),
        "block Mine: it has an __init__; a block has fields instead: write `width: Channels = 64`",
    ),
    "a number that expand takes": (
        plugin().replace("x: Value)", "x: Value, in_channels: int)"),
        "block Mine: expand takes values, but 'in_channels' is none; make it a field, or read it off x.shape",
    ),
    "an op that isn't frozen": (
        plugin(
            before="import dataclasses as d\nfrom blockforge import Op\n@d.dataclass\nclass Mark(Op):\n    by: int\n"
        ),
        "line 3: TypeError: cannot inherit non-frozen dataclass from a frozen one; write @dataclass(frozen=True) above "
        "the op's class",
    ),
    "no expand": (
        plugin().replace("expand(", "expands("),
        "block Mine: it has no expand; write `def expand(self, g: Scope, x: Value) -> Value`",
    ),
    "an instance": (
        plugin().replace("[Mine]", "[Mine()]"),
        "register_blocks returned Mine(), which is no block; return subclasses of Block",
    ),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_that_is_no_block_is_refused_in_one_line(here, case, recwarn):
    text, message = CLASSES[case]
    (here / "mine.py").write_text(text)
    assert refusal(lambda: Registry(["mine.py"])) == f"mine.py: {message}"
    assert not recwarn.list  # pydantic's own words would be a second line


def test_sound_fields_are_all_accepted(here):
    (here / "mine.py").write_text(
        plugin(
            """
            one: Annotated[int, Field(ge=3, le=3)] = 3
            between: Annotated[float, Field(gt=0, lt=1)] = 0.5
            later: Annotated[int, Field(ge=1)] | None = None
            needed: int
            nested: BlockSpec | None = None
            named: BlockSpec = "conv"
            known: ClassVar[int] = 3
            """
        )
    )
    block = load_registry(["mine.py"]).block("mine")
    assert list(block.model_fields) == ["one", "between", "later", "needed", "nested", "named"]


def test_ranges_and_defaults_are_checked_where_a_class_is_defined():
    def empty() -> None:
        class Bad(Block):
            size: Annotated[int, Field(gt=3, lt=3)] = 3

            def expand(self, g: Scope, x: Value) -> Value:
                return x

    def out() -> None:
        class Bad(Block):
            size: Literal["a", "b"] = "c"  # type: ignore[assignment]

            def expand(self, g: Scope, x: Value) -> Value:
                return x

    assert refusal(empty) == (
        "block Bad: field 'size' can have no value: it must be above 3 and below 3; mend its bounds"
    )
    assert refusal(out) == (
        "block Bad: the default of field 'size' must be 'a' or 'b', but is 'c'; give another default, or wider bounds"
    )


@pytest.mark.parametrize("name", get_registry().blocks)
def test_the_built_in_blocks_pass_the_check_that_they_are_spared_at_the_start(name):
    cls = get_registry().block(name)
    cls.model_rebuild(force=True)

    class Again(cls):  # type: ignore[misc, valid-type]
        pass

    assert Again.__pydantic_complete__


def test_a_wrong_value_in_python_is_pydantics_error():
    with pytest.raises(ValidationError, match="Input should be greater than or equal to 1"):
        get_registry().block("conv")(width=0)


# What `expand` may not do


EXPANDS = {
    "nothing": (
        "g.relu('relu', x)",
        "{at}mine.expand: it must return the block's output, but returned NoneType; end it with `return` and the last "
        "value",
    ),
    "several": (
        "return x, x",
        "{at}mine.expand: it must return the block's output, but returned tuple; end it with `return` and the last "
        "value",
    ),
    "another graph's": (
        "from blockforge.graph import Graph; return Graph().input((3, 8, 8))",
        "{at}mine.expand: it returned a value of another graph; return one made from its own inputs",
    ),
    "an operand of another graph": (
        "from blockforge.graph import Graph; return g.relu('relu', Graph().input((3, 8, 8)))",
        "{op}relu: an operand belongs to another graph; pass values of this expand's own",
    ),
    "a name twice": (
        "return g.relu('relu', g.relu('relu', x))",
        "{op}relu: this name is taken already; give each op of a scope a name of its own",
    ),
    "a number": (
        "return g.relu('relu', 3)",
        "{op}relu: an operand must be a value of the graph, but got int; pass what expand was given or what an earlier "
        "op returned",
    ),
    "python": (
        "return g.conv('conv', x, 8 // 0)",
        "{at}mine.expand: mine.py:10: ZeroDivisionError: integer division or modulo by zero; mend the block there",
    ),
    "no message": (
        "raise KeyError",
        "{at}mine.expand: mine.py:10: KeyError; mend the block there",
    ),
    "no such method": (
        "return g.silu('act', x)",
        "{at}mine.expand: mine.py:10: AttributeError: a scope has no 'silu'; write g.activation(NAME, x, 'silu'); mend "
        "the block there",
    ),
    "an op's argument": (
        "return g.op('conv', ops.Conv2d(8, kernal=3), x)",
        "{at}mine.expand: mine.py:10: TypeError: Conv2d.__init__() got an unexpected keyword argument 'kernal'; mend "
        "the block there",
    ),
    "a sum of values": (
        "return x + x",
        "{at}mine.expand: mine.py:10: TypeError: unsupported operand type(s) for +: 'Value' and 'Value'; values have "
        "no operators: write g.add(NAME, x, y) or g.mul(NAME, x, y)",
    ),
    "torch's function": (
        "import torch; return torch.relu(x)",
        "{at}mine.expand: mine.py:10: TypeError: relu(): argument 'input' (position 1) must be Tensor, not Value; a "
        "value is no tensor: use what g has, g.relu(NAME, x) or g.op(NAME, OP, x)",
    ),
    "a module": (
        "from torch import nn; return g.op('act', nn.ReLU(), x)",
        "{op}act: takes an op, but got ReLU; declare an Op, whose helper may be an nn.Module's class",
    ),
    "an op's class": (
        "return g.op('act', ops.ReLU, x)",
        "{op}act: takes an op, but got the class ReLU; write ReLU(...)",
    ),
    "no name": (
        "return g.op(ops.ReLU(), 'act', x)",
        "{own}a name comes first, but got ReLU; write g.op(NAME, OP, x)",
    ),
    "no dataclass": (
        "Mark = type('Mark', (ops.Op,), dict(__annotations__=dict(by=int))); return g.op('mark', Mark(3), x)",
        "{at}mine.expand: mine.py:10: TypeError: Op.__init__() takes 1 positional argument but 2 were given; write "
        "@dataclass(frozen=True) above the op's class",
    ),
    "a nested block": (
        "return g.block('inner', Mine(width=0), x)",
        "{at}mine.expand: mine.py:10: ValidationError: Mine: width: Input should be greater than or equal to 1; mend "
        "the block there",
    ),
    "no end": (
        "return g.block('inner', self, x)",
        None,
    ),
}


@pytest.mark.parametrize("case", EXPANDS)
def test_a_wrong_expand_ends_show_with_one_line(here, case):
    expand, message = EXPANDS[case]
    (here / "mine.py").write_text(plugin("width: Channels = 8", expand))
    shown = run("show", "--block", "mine", "--plugin", "mine.py")
    assert (shown.exit_code, shown.stdout) == (2, "")
    staged = run("show", "lenet5", "--plugin", "mine.py", "--set", "conv1.block=mine")
    assert (staged.exit_code, staged.stdout) == (2, "")
    text = staged.stderr.splitlines()[-1]  # the notes of the edit come before
    if message is None:
        assert "RecursionError: maximum recursion depth exceeded" in shown.stderr
        assert shown.stderr.count("\n") == 1
        return
    assert shown.stderr == message.format(at="", op="", own="op: ") + "\n"
    path = get_network("lenet5").stages["conv1"].scope  # none: it stands at the network's own
    assert text == "lenet5: " + message.format(
        at=f"{path}: " * bool(path), op=f"{path}." * bool(path), own=f"{path or 'op'}: "
    )


def test_debug_shows_the_authors_line(here):
    (here / "mine.py").write_text(plugin("width: Channels = 8", "return g.conv('conv', x, 8 // 0)"))
    for target in (["--block", "mine"], ["lenet5", "--set", "conv1.block=mine"]):
        shown = run("show", *target, "--plugin", "mine.py", "--debug")
        assert shown.exit_code == 2
        assert "return g.conv('conv', x, 8 // 0)" in shown.stderr
        assert shown.stderr.splitlines()[-1].endswith("; mend the block there")


def test_an_error_in_expand_keeps_its_cause_in_python():
    class Broken(Block):
        def expand(self, g: Scope, x: Value) -> Value:
            return self.helper(x)

        def helper(self, x: Value) -> Value:
            raise LookupError("no\nluck")

    with pytest.raises(BlockforgeError) as caught:
        graph_of(Broken(), (3, 8, 8))
    assert isinstance(caught.value.__cause__, LookupError)
    line = Broken.helper.__code__.co_firstlineno + 1
    place = os.path.relpath(__file__) if __file__.startswith(os.getcwd() + os.sep) else __file__
    assert str(caught.value) == f"broken.expand: {place}:{line}: LookupError: no luck; mend the block there"
    with pytest.raises(BlockforgeError, match="LookupError: no luck"):
        build(Broken(), input=(3, 8, 8))


# Composition by name


SWAPPED = """\
from blockforge import Block, Channels, Scope, Value, hookimpl

class KeepShape(Block):
    '''A gate for every pixel.'''

    kernel: int = 3

    def expand(self, g: Scope, x: Value) -> Value:
        return g.mul("mul", x, g.sigmoid("gate", g.conv("conv", x, x.shape[0], self.kernel, bias=True)))

class Halve(Block):
    '''A convolution to half of the channels.'''

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, x.shape[0] // 2, 3, stride=2)

@hookimpl
def register_blocks():
    return [KeepShape, Halve]
"""

NESTING = [
    (name, field)
    for name, cls in get_registry().blocks.items()
    for field, info in cls.model_fields.items()
    if is_block(info)
]


def test_the_blocks_with_a_place_for_others_are_those_that_people_expect():
    assert {"residual", "bottleneck", "inverted_residual"} <= {name for name, _ in NESTING}


def holder(name: str, field: str, inner: str) -> str:
    cls = get_registry().block(name)
    width = "width: 16, " if "width" in cls.model_fields else ""
    return f"input: [16, 8, 8]\nstages:\n  a: {{block: {name}, {width}{field}: {inner}}}\n"


@pytest.mark.parametrize(("name", "field"), NESTING)
def test_anybodys_block_that_keeps_the_shape_goes_into_any_block(write, name, field):
    registry = load_registry([write("swapped.py", SWAPPED)])
    keep = registry.block("keep_shape")
    plain = Network.from_yaml(holder(name, field, "null"))
    by_file = Network.from_yaml(holder(name, field, "keep_shape"))
    by_mapping = Network.from_yaml(holder(name, field, "{block: keep_shape, kernel: 5}"))
    by_name = plain.set({f"a.{field}": "keep_shape"})
    by_python = plain.set({f"a.{field}": keep()})
    of_block = registry.block(name)(
        **({"width": 16} if "width" in registry.block(name).model_fields else {}), **{field: keep()}
    )
    assert by_file == by_name == by_python
    assert by_file.hash == by_name.hash != plain.hash
    assert by_file.stages["a"].block == of_block
    assert getattr(by_mapping.stages["a"].block, field) == keep(kernel=5)
    graph = assemble(by_file)
    (inner,) = [each for each in graph.expansions if isinstance(each.block, keep)]
    channels = inner.inputs[0].shape[0]
    assert inner.output.shape == inner.inputs[0].shape
    assert cost(by_file).params - cost(plain).params == channels * channels * 9 + channels
    assert cost(by_mapping).params - cost(plain).params == channels * channels * 25 + channels
    assert "class KeepShape(nn.Module):" in source(by_file)


@pytest.mark.parametrize(("name", "field"), NESTING)
def test_one_that_changes_the_shape_is_refused_with_both(write, name, field):
    load_registry([write("swapped.py", SWAPPED)])
    network = Network.from_yaml(holder(name, field, "halve"))
    message = refusal(lambda: assemble(network))
    path, _, rest = message.removeprefix(f"{network.name}: ").partition(": ")
    channels = next(size for size in (16, 96) if f"of ({size}, 8, 8)" in rest)  # 96: the expanded ones
    assert path.startswith("a.0.")
    assert rest == (
        f"halve must keep its input's shape here, but makes ({channels // 2}, 4, 4) of ({channels}, 8, 8); use a block "
        "that preserves the shape"
    )
    assert refusal(lambda: cost(network)) == message
    plain = Network.from_yaml(holder(name, field, "null"))
    assert refusal(lambda: cost(plain.set({f"a.{field}": "halve"}))) == message


def test_composition_by_name_on_the_command_line(here):
    (here / "swapped.py").write_text(SWAPPED)
    given = ["--plugin", "swapped.py", "--by", "stage", "--json"]
    shown = run("show", "resnet18", "--set", "layer*.attention=keep_shape", *given)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout != run("show", "resnet18", *given).stdout
    refused = run("show", "resnet50", "--set", "layer2.attention=halve", *given)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "resnet50: layer2.0.se: halve must keep its input's shape here, but makes (256, 14, 14) of (512, 28, 28); use "
        "a block that preserves the shape\n"
    )


def test_wrong_names_and_values_of_a_nested_block(write):
    load_registry([write("swapped.py", SWAPPED)])

    def mistakes(inner: str) -> str:
        with pytest.raises(InvalidNetwork) as caught:
            Network.from_yaml(holder("residual", "attention", inner))
        return str(caught.value)

    assert mistakes("keep_shap") == (
        "text:3:35: a.attention: keep_shap: no block of this name; did you mean 'keep_shape'? `blockforge list "
        "--blocks` lists all"
    )
    assert mistakes("{block: keep_shape, kernel: x}") == (
        "text:3:66: a.attention.kernel: must be a whole number, but is 'x'"
    )


# A name that nobody knows


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zyx", "zyx: no block of this name; `blockforge list --blocks` lists all; one of a plugin file needs --plugin "
                "FILE"),
        ("zyx_bottleneck", "zyx_bottleneck: no block of this name; did you mean 'bottleneck'? `blockforge list "
                           "--blocks` lists all; one of a plugin file needs --plugin FILE"),
        ("botleneck", "botleneck: no block of this name; did you mean 'bottleneck'? `blockforge list --blocks` lists "
                      "all"),
        ("se", "se: no block of this name; did you mean 'squeeze_excitation'? `blockforge list --blocks` lists all"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_slip_may_be_in_a_file_that_was_not_given(name, message):
    with pytest.raises(BlockforgeError) as caught:
        Registry().block(name)
    assert str(caught.value) == message

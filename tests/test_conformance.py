"""The conformance kit: every block that is here passes it, and each fault is found by the check meant for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from blockforge import conformance
from blockforge.cli import main
from blockforge.conformance import blocks_of, check_all, check_block, check_names
from blockforge.conformance.checks import CHECKS
from blockforge.conformance.op_checks import OP_CHECKS
from blockforge.errors import BlockforgeError
from blockforge.ops import Conv2d
from blockforge.registry import get_registry, load_registry
from blockforge.testing import parametrize_with_checks
from tests.mutants import MUTANTS, Sound, SoundOp
from tests.sound_blocks import SOUND

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = 4


@parametrize_with_checks(get_registry().blocks.values(), examples=FEW)
def test_every_block_passes(block, check):
    check(block)


@pytest.mark.slow
@pytest.mark.parametrize("name", get_registry().blocks)
def test_every_block_passes_over_many_cases(name):
    for seed in (1, 2):
        for _, failure in check_all(get_registry().block(name), examples=40, seed=seed):
            assert failure is None, failure.line()


@parametrize_with_checks([Sound, SoundOp, *SOUND], examples=FEW)
def test_a_sound_block_passes(block, check):
    check(block)


@pytest.mark.parametrize("fault", MUTANTS)
def test_each_fault_is_found_by_its_check(fault):
    name, cls = MUTANTS[fault]
    failure = check_block(cls, name)
    assert failure, fault
    assert (failure.block, failure.check) == (cls.name, name)
    assert "\n" not in failure.line()
    assert failure.line().startswith(f"{cls.name}: {name}")
    expected = f", but {failure.expected}" if failure.expected else ""
    assert failure.line().endswith(f"{failure.got}{expected}; {failure.advice}")


def test_each_check_has_a_fault_to_find():
    found = {name for name, _ in MUTANTS.values()}
    # What a block says of its MACs is the sum of what its ops say: only a built-in op can be wrong there.
    assert set(CHECKS) | set(OP_CHECKS) | {"documented", "expands"} <= found | {"macs"}
    assert len(MUTANTS) >= 15


def test_a_built_in_op_that_counts_wrongly_is_found(monkeypatch):
    monkeypatch.setattr(Conv2d, "macs", lambda *_: 1)
    failure = check_block(Sound, "macs")
    assert failure
    assert failure.line() == (
        "sound: macs with input (16, 12, 12): torch counts 184,320 MACs, but the ops say 2; mend the macs of an op"
    )


EXACT = {
    "a stride that is ignored": (
        "mutant: stride with stride=2, input (16, 12, 12): stride 2 makes (16, 12, 12), but stride 1 "
        "makes (16, 12, 12), so that it should be (16, 6, 6); give one of the ops on each way through the"
        " block the stride"
    ),
    "a width that isn't the output's": (
        "mutant: width with input (16, 12, 12): width 16 makes 32 channels, but width is the output's "
        "channels; rename the field, or use it"
    ),
    "a convolution that nothing reads": (
        "mutant: gradients with input (16, 12, 12): no gradient reaches forgotten.weight, but each "
        "has a part in the output; use what the op returns, and nothing that cuts gradients off"
    ),
    "a name clash": (
        "mutant: expands with input (16, 12, 12): relu1: this name is taken already; give each op of a scope a name of "
        "its own"
    ),
    "what can't be pickled": (
        "with_op: copies with input (16, 12, 12): AttributeError: Can't pickle local object 'Scale.__init__.<locals>."
        "<lambda>'; mend what raises this, so that deepcopy and pickle give modules of the same output"
    ),
    "nothing accepted": (
        "refuses_all: expands: it accepts none of the parameters and inputs that were tried (with its "
        "defaults and input (64, 56, 56): conv: groups=7919 must divide the 16 output channels; use a "
        "divisor of 16), but its fields' types and bounds say what it takes; narrow the bounds, or mend "
        "expand"
    ),
    "a lossy field": (
        "lossy: files with kernel=5, input (16, 12, 12): a file gives back {'kernel': 7}, but it was "
        "written as {'kernel': 5}; let validators leave a value that was validated as it is"
    ),
    "a field without effect": (
        "no_effect: field_extra: no value of extra was found that changes anything, but a field has an "
        "effect; read self.extra in expand, or leave it out"
    ),
    "wrong MACs": (
        "with_op: op_macs with input (16, 12, 12): own (Projection): torch counts 36,864 MACs, but macs "
        "says 3,072; mend Projection.macs"
    ),
    "a wrong shape rule": (
        "with_op: op_shape with input (16, 12, 7): own (Half): torch makes (16, 6, 3) of (16, 12, 7), but"
        " its rule says (16, 6, 4); mend Half.shape, or its call"
    ),
    "a sigmoid that may be written over": (
        "with_op: op_memory with input (16, 12, 12): own (Squash): its backward reads its output, but "
        "saves_output is False; set Squash.saves_output to True"
    ),
    "an import that the source may not have": (
        "with_op: source with input (16, 12, 12): the source imports blockforge, but it must run with "
        "torch alone; write what it needs in the op's helper"
    ),
    "a field without a meaning": (
        "no_meaning: documented: field width says nothing of its meaning, but a comment behind each field"
        " does; write `width: ... = ...  # what it means`"
    ),
}


@pytest.mark.parametrize("fault", EXACT)
def test_what_a_fault_is_told_as(fault):
    name, cls = MUTANTS[fault]
    failure = check_block(cls, name)
    assert failure
    assert failure.line() == EXACT[fault]


def test_where_an_op_is_wrong_the_module_is_not_checked():
    names = [name for name, _ in check_all(MUTANTS["wrong MACs"][1], examples=2)]
    assert names == ["documented", "expands", "field_width", *OP_CHECKS]
    assert [name for name, _ in check_all(MUTANTS["a name clash"][1], examples=2)] == ["documented", "expands"]
    assert tuple(name for name, _ in check_all(Sound, examples=2)) == check_names(Sound)


# The command


PLUGIN = """
from typing import ClassVar
from blockforge import Block, Channels, Scope, Stride, Value, hookimpl

class Fine(Block):
    \"\"\"A convolution.\"\"\"

    paper: ClassVar[str] = "arXiv:1512.03385"
    width: Channels = 16  # output channels
    stride: Stride = 1  # of the convolution

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width, 3, stride=self.stride)

class Faulty(Fine):
    \"\"\"A convolution that forgets its stride.\"\"\"

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width, 3)

@hookimpl
def register_blocks():
    return [Fine, Faulty]
"""
STRIDE = (
    "faulty: stride with stride=2, input (16, 12, 12): stride 2 makes (16, 12, 12), but stride 1 makes "
    "(16, 12, 12), so that it should be (16, 6, 6); give one of the ops on each way through the block the"
    " stride"
)
FIELD = (
    "faulty: field_stride: no value of stride was found that changes anything, but a field has an effect;"
    " read self.stride in expand, or leave it out"
)


def run(*arguments: str):
    return CliRunner().invoke(main, ["check", *arguments])


def test_a_plugin_file_is_checked_block_by_block(write):
    path = write("convolutions.py", PLUGIN)
    done = run(str(path), "--examples", "4")
    assert done.exit_code == 1
    fine = f"fine: all {len(check_names(load_registry([path]).block('fine')))} checks hold, each over up to 4 cases"
    assert done.stdout.splitlines() == [fine, FIELD, STRIDE]
    done = run("faulty", "--plugin", str(path), "--examples", "4", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["target"], told["examples"]) == ("faulty", 4)
    assert [failure["check"] for failure in told["failures"]] == ["field_stride", "stride"]
    assert told["failures"][1] == {
        "block": "faulty",
        "check": "stride",
        "parameters": {"stride": 2},
        "inputs": [[16, 12, 12]],
        "got": "stride 2 makes (16, 12, 12)",
        "expected": "stride 1 makes (16, 12, 12), so that it should be (16, 6, 6)",
        "advice": "give one of the ops on each way through the block the stride",
    }


def test_a_block_of_that_name_is_checked():
    done = run("transition", "--examples", "3")
    assert (done.exit_code, done.stderr) == (0, "[1/1] transition\n")
    assert re.fullmatch(r"transition: all \d+ checks hold, each over up to 3 cases\n", done.stdout)


def test_targets():
    registry = get_registry()
    assert [cls.name for cls in blocks_of("dense", registry)] == ["dense_layer", "transition"]
    assert {cls.name for cls in blocks_of("blockforge", registry)} == set(registry.blocks)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bottelneck", "bottelneck: no block, plugin file or distribution of this name; did you mean 'bottleneck'? "
                       "`blockforge plugins` lists all, and one of a file needs --plugin FILE"),
        (str(Path(__file__).parent), f"{Path(__file__).parent}: a folder; name a plugin file in it"),
        ("nowhere.py", "nowhere.py: no such file; give the path of a Python file"),
        ("resnet50", "resnet50: no block, plugin file or distribution of this name; "
                     "`blockforge plugins` lists all, and one of a file needs --plugin FILE"),
    ],
)  # fmt: skip
def test_a_target_that_is_none(target, message):
    with pytest.raises(BlockforgeError) as caught:
        conformance.check(target, get_registry())
    assert str(caught.value) == message

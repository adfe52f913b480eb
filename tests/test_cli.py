"""The command line: what it prints, what it says of mistakes, and what it doesn't import."""

# ruff: noqa: E501 (messages stand here in one piece, as people see them)

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import blockforge
from blockforge import registry
from blockforge.cli import main

OWN_BLOCK = '''
"""A block in a file of its own."""

from __future__ import annotations

from typing import ClassVar

from blockforge import Block, Channels, Scope, Search, Value, hookimpl
from pydantic import Field
from typing import Annotated


class Twice(Block):
    """The same convolution twice."""

    paper: ClassVar[str] = "nobody 2024"
    width: Channels = 8
    kernel: Annotated[int, Field(ge=1), Search(1, 3)] = 3

    def expand(self, g: Scope, x: Value) -> Value:
        """Convolve, then convolve."""
        y = g.relu("relu", g.conv("conv1", x, self.width, self.kernel))
        return g.conv("conv2", y, self.width, self.kernel)


@hookimpl
def register_blocks() -> list[type[Block]]:
    return [Twice]
'''


@pytest.fixture(autouse=True)
def _own_plugins():
    """What a test loads with `--plugin` is gone after it."""
    yield
    registry._current.clear()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that messages name files as they were given."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def squeezed(*arguments: str) -> str:
    """The output with single spaces: what a table says, however wide its columns are."""
    return "\n".join(" ".join(line.split()) for line in output(*arguments).splitlines())


def message(*arguments: str, code: int = 2) -> str:
    """What a command that fails says; it prints nothing else."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert "Traceback" not in result.stderr
    return result.stderr.removesuffix("\n")


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(blockforge.__file__).parent.parent)}
    command = [sys.executable, "-m", "blockforge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)  # type: ignore[call-overload]


# -- show

LENET = """\
lenet5: Convolution and subsampling in turn learn features of digits from pixels, end to end.
paper: LeCun et al. 1998

layer    type       input (HxWxC)  output (HxWxC)  kernel  stride            parameters     MACs
-------  ---------  -------------  --------------  ------  ------  --------------------  -------
input    Input                     32x32x1                                            0        0
conv1    Conv2d     32x32x1        28x28x6         5x5     1          (5*5*1+1)*6 = 156  117,600
tanh1    Tanh       28x28x6        28x28x6                                            0        0
pool1    AvgPool2d  28x28x6        14x14x6         2x2     2                          0        0
conv2    Conv2d     14x14x6        10x10x16        5x5     1       (5*5*6+1)*16 = 2,416  240,000
tanh2    Tanh       10x10x16       10x10x16                                           0        0
pool2    AvgPool2d  10x10x16       5x5x16          2x2     2                          0        0
flatten  Flatten    5x5x16         400                                                0        0
fc1      Linear     400            120                             (400+1)*120 = 48,120   48,000
tanh3    Tanh       120            120                                                0        0
fc2      Linear     120            84                               (120+1)*84 = 10,164   10,080
tanh4    Tanh       84             84                                                 0        0
fc3      Linear     84             10                                   (84+1)*10 = 850      840

trainable parameters     61,706
MACs                    416,520  convolutions and linear layers: torch's FlopCounterMode / 2
activations              15,002  elements of all layers' outputs
peak memory           0.0417 MB  tensors alive at once in eval mode, float32, batch 1

input             0.262 MB  batch 64, float32; 1 MB = 1,000,000 bytes
forward/backward   7.68 MB  2 x 15,002 activations x 64 x 4 bytes
parameters        0.247 MB  without gradients and the optimiser's state
sum                8.19 MB
"""


def test_show_prints_the_textbook_table():
    assert output("show", "lenet5", "--formula", "--batch", "64") == LENET


def test_show_sums_by_stage_and_by_block():
    by_stage = squeezed("show", "resnet18", "--by", "stage")
    assert "stage type depth input (HxWxC) output (HxWxC) parameters MACs" in by_stage
    assert "layer2 residual 2 56x56x64 28x28x128 525,568 411,041,792" in by_stage
    by_block = squeezed("show", "resnet18", "--by", "block", "--stage", "layer2")
    rows = [line.split() for line in by_block.splitlines() if line.startswith("layer2.")]
    assert rows == [
        ["layer2.0", "residual", "56x56x64", "28x28x128", "230,144", "179,830,784"],
        ["layer2.1", "residual", "28x28x128", "28x28x128", "295,424", "231,211,008"],
    ]
    assert "parameters of layer2 525,568 of these rows alone" in by_block


def test_show_takes_edits_and_notes_what_they_changed():
    result = run("show", "resnet18", "--set", "layer1.block=bottleneck", "--set", "layer1.width=256", "--by", "stage")
    assert result.exit_code == 0
    assert "layer1  bottleneck      2  56x56x64       56x56x256 " in result.stdout
    result = run("show", "resnet18", "--set", "layer2.block=dense_layer")
    assert result.stderr == "note: layer2: dense_layer has no width, stride; dropped\n"


def test_show_says_which_linear_layers_another_input_changes():
    result = run("show", "lenet5", "--input", "1,64,64", "--stage", "fc*")
    assert result.stderr == (
        "note: fc1: has 2,704 input features at input (1, 64, 64) instead of 400 at (1, 32, 32); "
        "weights for the one don't fit the other\n"
    )
    assert output("show", "resnet18", "--input", "3,64,64").startswith("resnet18: ")


def test_show_as_csv_has_numbers_without_commas():
    rows = list(csv.DictReader(io.StringIO(output("show", "lenet5", "--format", "csv", "--formula"))))
    assert rows[1] == {
        "layer": "conv1",
        "type": "Conv2d",
        "input": "32x32x1",
        "output": "28x28x6",
        "kernel": "5x5",
        "stride": "1",
        "parameters": "156",
        "macs": "117600",
        "formula": "(5*5*1+1)*6",
    }
    assert sum(int(row["parameters"]) for row in rows) == 61_706


def test_show_as_markdown():
    text = output("show", "lenet5", "--format", "markdown", "--formula", "--batch", "2")
    assert text.startswith("## lenet5\n\nConvolution and")
    assert "| layer   | type      | input (HxWxC) | output (HxWxC) |" in text
    assert "(5\\*5\\*1+1)\\*6 = 156 | 117,600 |" in text
    assert "| trainable parameters |    61,706 |" in text


def test_show_as_json():
    record = json.loads(output("show", "lenet5", "--batch", "64", "--json"))
    assert list(record) == [
        "name", "about", "paper", "input", "classes", "outputs", "input_transform", "preprocess", "hash", "by", "rows",
        "selected", "totals", "memory", "notes",
    ]  # fmt: skip
    assert record["input"] == [1, 32, 32]
    assert record["rows"][1] == {
        "name": "conv1",
        "stage": "conv1",
        "type": "Conv2d",
        "depth": None,
        "inputs": [[1, 32, 32]],
        "outputs": [[6, 28, 28]],
        "kernel": [5, 5],
        "stride": [1, 1],
        "params": 156,
        "formula": "(5*5*1+1)*6",
        "macs": 117_600,
        "activations": 4704,
        "training": False,
    }
    assert record["outputs"] == [{"name": "logits", "stage": "fc3", "when": "always", "weight": 1.0}]
    assert (record["input_transform"], record["preprocess"]) == (
        False,
        {"mean": [0.1307], "std": [0.3081], "resize": 32, "crop": 32, "interpolation": "bilinear"},
    )
    changed = json.loads(output("show", "resnet18", "--input", "1,64,64", "--json"))
    assert changed["preprocess"] is None  # it is of three channels
    changed = json.loads(output("show", "mobilenet_v2", "--input", "3,96,96", "--json"))["preprocess"]
    assert (changed["resize"], changed["crop"]) == (99, 96)  # 232 and 224 at its own input
    cost = blockforge.cost("lenet5")
    assert record["totals"] == {
        "params": cost.params,
        "macs": cost.macs,
        "activations": cost.activations,
        "peak_memory": cost.peak_memory,
        "training_macs": cost.macs,
    }
    assert record["memory"] == {
        "batch": 64,
        "input": 64 * 32 * 32 * 4,
        "forward_backward": 2 * 64 * cost.activations * 4,
        "params": 4 * cost.params,
        "total": 64 * 32 * 32 * 4 + 2 * 64 * cost.activations * 4 + 4 * cost.params,
    }
    assert record["hash"] == blockforge.get_network("lenet5").hash
    found = json.loads(output("show", "googlenet_aux", "--by", "stage", "--json"))
    assert [(each["name"], each["when"], each["weight"]) for each in found["outputs"]] == [
        ("logits", "always", 1.0), ("aux2", "training", 0.3), ("aux1", "training", 0.3),
    ]  # fmt: skip
    assert [row["name"] for row in found["rows"] if row["training"]] == ["aux1", "aux2"]
    assert (found["totals"]["macs"], found["totals"]["training_macs"]) == (1_498_376_192, 1_506_748_416)
    assert found["preprocess"] == {
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "resize": 256, "crop": 224,
        "interpolation": "bilinear",
    }  # fmt: skip
    selected = json.loads(output("show", "lenet5", "--stage", "fc*", "--json"))["selected"]
    assert selected == {"stage": "fc*", "params": 59_134, "macs": 58_920, "activations": 818}


def test_show_reads_files_by_name_and_number(here: Path):
    many = (
        "a:\n  input: [3, 8, 8]\n  stages: {c: {block: conv}}\nb:\n  input: [1, 8, 8]\n  stages: {c: {block: conv}}\n"
    )
    (here / "many.yaml").write_text(many)
    (here / "one.yaml").write_text(blockforge.get_network("lenet5").set({"fc1.width": 60}).to_yaml(flat=True))
    assert "c.0.0 Conv2d 8x8x1" in squeezed("show", "many.yaml#b")
    assert "fc1 Linear 400 60" in squeezed("show", "one.yaml")
    assert message("show", "many.yaml") == "many.yaml: holds 2 networks; name one, as in many.yaml#a"
    assert message("show", "many.yaml#c") == "c: no network in many.yaml of this name; it has a, b"


def test_show_block_gives_fields_and_layers():
    text = squeezed("show", "--block", "bottleneck", "--set", "width=64", "--input", "64,8,8")
    assert "ratio whole number at least 1 4 2, 4, 8 output channels / channels of the 3x3\n" in text
    assert "attention block or null null any block that keeps its input's shape\n" in text
    assert "●─╯ add Add 8x8x64" in text
    assert "At input (64, 8, 8) (channels, height, width):" in text
    assert "conv2 Conv2d 8x8x16 8x8x16 3x3 1 2,304 147,456" in text
    record = json.loads(output("show", "--block", "concat", "--input", "8,4,4", "--input", "4,4,4", "--json"))
    assert record["inputs"] == [[8, 4, 4], [4, 4, 4]]
    assert record["rows"][-1]["outputs"] == [[12, 4, 4]]


@pytest.mark.parametrize("name", blockforge.list_blocks())
def test_show_block_shows_every_block_without_being_told_an_input(name: str):
    record = json.loads(output("show", "--block", name, "--json"))
    assert all(field["meaning"] for field in record["fields"])
    cls = registry.get_registry().block(name)
    assert record["about"] == cls.about
    assert [field["name"] for field in record["fields"]] == list(cls.model_fields)
    assert output("show", "--block", name).startswith(f"{name}: ")


# -- list and plugins


def test_list_gives_all_by_family():
    text = output("list")
    for name in [*blockforge.list_networks(), *blockforge.list_blocks(), "digits"]:
        assert f" {name} " in text
    found = json.loads(output("list", "--json"))
    assert list(found) == ["networks", "blocks", "spaces"]
    assert sorted(each["name"] for each in found["networks"]) == blockforge.list_networks()
    for each in found["networks"]:
        network = blockforge.get_network(each["name"])
        assert (each["paper"], each["about"]) == (network.paper, network.settings.about)
    assert next(each for each in found["networks"] if each["name"] == "seresnet50")["extends"] == "resnet50"


def test_list_narrows_by_section_and_pattern():
    assert list(json.loads(output("list", "--blocks", "--json"))) == ["blocks"]
    found = json.loads(output("list", "resnet*", "--networks", "--json"))
    assert [each["name"] for each in found["networks"]] == [
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_v1", "resnet101_v1", "resnet152_v1",
        "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
        "resnet18_cifar", "resnet34_cifar", "preact_resnet18_cifar", "resnet20", "resnet32", "resnet44", "resnet56",
        "resnet110", "d2l_resnet18",
    ]  # fmt: skip
    nin = json.loads(output("list", "nin*", "--networks", "--json"))["networks"]
    assert [(each["name"], each["year"]) for each in nin] == [
        ("nin_imagenet", 2013), ("d2l_nin", 2013), ("nin_cifar10", 2013),
    ]  # fmt: skip
    assert "family network" in squeezed("list", "CIFAR")
    assert "block" not in output("list", "lenet").splitlines()[0]
    assert message("list", "resnt18", "--networks") == (
        "resnt18: no network matches; did you mean 'resnet18', 'seresnet18' or 'resnet152'?"
    )
    assert message("list", "xyz") == (
        "xyz: no network, block or space matches; `blockforge list` without a pattern lists all"
    )


LENETS = """\
family  network          paper              year  input    parameters     MACs
------  ---------------  -----------------  ----  -------  ----------  -------
lenet   lenet5           LeCun et al. 1998  1998  1x32x32      61,706  416,520
        lenet5_relu_max  LeCun et al. 1998  1998  1x28x28      61,706  416,520
        d2l_lenet        LeCun et al. 1998  1998  1x28x28      61,706  416,520
        d2l_lenet_bn     LeCun et al. 1998  1998  1x28x28      44,878  281,640
"""


def test_list_gives_the_networks_of_a_family_with_their_costs_within_limits():
    assert output("list", "--family", "lenet", "--costs") == LENETS
    assert (
        output("list", "--max-macs", "416520", "--family", "lenet") == LENETS
    )  # a limit is inclusive, and shows costs
    assert list(json.loads(output("list", "--family", "nin", "--json"))) == ["networks"]
    (only,) = json.loads(output("list", "lenet", "--max-params", "5e4", "--networks", "--json"))["networks"]
    assert (only["name"], only["params"], only["macs"], only["input"]) == ("d2l_lenet_bn", 44_878, 281_640, [1, 28, 28])
    assert "parameters" not in output("list", "--family", "lenet")
    assert message("list", "--family", "lenet", "--max-params", "1000") == (
        "list: none of 4 networks is within the limits; the smallest, d2l_lenet_bn, has 44,878 parameters and "
        "281,640 MACs; raise the limits"
    )
    assert message("list", "--family", "resne") == (
        "resne: no family of this name; did you mean 'resnet', 'densenet' or 'senet'? there are alexnet, densenet, "
        "efficientnet, googlenet, inception, lenet, mobilenet, nin, resnet, senet, shufflenet, vgg"
    )
    assert message("list", "res*", "--family", "lenet") == (
        "res*: matches 22 networks, but none of the family lenet; they are of resnet; leave out --family"
    )


def test_plugins_says_what_came_from_where(here: Path):
    (here / "twice.py").write_text(OWN_BLOCK)
    text = squeezed("plugins", "--plugin", "twice.py")
    digest = hashlib.sha256(OWN_BLOCK.encode()).hexdigest()[:12]
    assert f"residual built-in blockforge {blockforge.__version__} blocks: residual\n" in text
    assert f"\ntwice file twice.py {digest} blocks: twice" in text
    last = json.loads(output("plugins", "--plugin", "twice.py", "--json"))[-1]
    assert last == {
        "name": "twice",
        "origin": "file",
        "distribution": None,
        "version": None,
        "location": "twice.py",
        "sha256": digest,
        "error": None,
        "hooks": ["register_blocks"],
        "registered": {"blocks": ["twice"], "networks": [], "spaces": [], "objectives": [], "datasets": []},
    }


def test_a_broken_package_is_listed_as_failed_and_all_else_works(here: Path, monkeypatch: pytest.MonkeyPatch):
    (here / "broken_blocks.py").write_text("raise RuntimeError('no luck\\ntoday')\n")
    info = here / "broken_blocks-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-blocks\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[blockforge]\nbroken = broken_blocks\n")
    monkeypatch.syspath_prepend(here)
    assert "\nbroken package broken-blocks 1.2 FAILED: RuntimeError: no luck today" in squeezed("plugins")
    assert output("show", "lenet5", "--by", "stage").startswith("lenet5: ")
    monkeypatch.setenv("BLOCKFORGE_DISABLE_PLUGINS", "all")
    assert "broken" not in output("plugins")


# -- someone else's block


def test_a_block_in_a_file_is_listed_shown_and_used(here: Path):
    (here / "twice.py").write_text(OWN_BLOCK)
    assert "twice twice nobody 2024 The same convolution twice." in squeezed("list", "twice", "--plugin", "twice.py")
    shown = squeezed("show", "--block", "twice", "--plugin", "twice.py", "--input", "4,8,8")
    assert "kernel whole number at least 1 3 1, 3\n" in shown
    assert "conv2 Conv2d 8x8x8 8x8x8 3x3 1 576 36,864\n" in shown
    edited = squeezed("show", "resnet18", "--plugin", "twice.py", "--set", "layer1.block=twice", "--by", "stage")
    assert "layer1 twice 2 56x56x64 56x56x64 " in edited
    assert message("show", "--block", "twice").startswith("twice: no block of this name")


def test_a_network_alone_in_its_file_has_the_file_s_name(here: Path):
    (here / "mine.yaml").write_text("about: Mine.\ninput: [3, 8, 8]\nstages: {c: {block: conv}}\n")
    (here / "nets.py").write_text(
        "from pathlib import Path\nfrom blockforge import hookimpl\n\n\n@hookimpl\n"
        "def register_networks():\n    return [Path(__file__).with_name('mine.yaml')]\n"
    )
    assert "\nmine mine Mine." in squeezed("list", "mine", "--plugin", "nets.py")
    assert output("show", "mine", "--plugin", "nets.py").startswith("mine: Mine.\n")


def test_a_plugin_s_own_error_is_one_line_with_its_place(here: Path):
    (here / "wrong.py").write_text(OWN_BLOCK.replace("self.width, self.kernel))", "self.width // 0))"))
    assert message("show", "--block", "twice", "--plugin", "wrong.py") == (
        "twice.expand: wrong.py:22: ZeroDivisionError: integer division or modulo by zero; mend the block there"
    )


# -- export


def test_export_writes_source_that_runs_and_never_over_a_file(here: Path):
    result = run("export", "lenet5", "--python", "net.py", "--set", "fc1.width=60")
    assert (result.exit_code, result.stdout) == (0, "")
    source = (here / "net.py").read_text()
    assert result.stderr == f"net.py: lenet5 in {len(source.splitlines())} lines\n"
    assert "nn.Linear(400, 60)" in source
    assert message("export", "lenet5", "--python", "net.py") == (
        "net.py: exists already; give another name, or --force to write over it"
    )
    assert (here / "net.py").read_text() == source
    assert run("export", "lenet5", "--python", "net.py", "--force").exit_code == 0
    assert "nn.Linear(400, 120)" in (here / "net.py").read_text()
    assert output("export", "lenet5", "--python", "-") == blockforge.source(blockforge.get_network("lenet5"))


def test_export_names_what_can_t_be_written(here: Path):
    assert message("export", "lenet5", "--python", "no/net.py") == (
        "no/net.py: can't be written (No such file or directory); name another file"
    )
    (here / "folder").mkdir()
    assert message("export", "lenet5", "--python", "folder", "--force") == (
        "folder: can't be written (Is a directory); name another file"
    )


# -- wrong input: one clear line each, exit code 2

LISTS = {
    "networks": "`blockforge list --networks` lists all",
    "blocks": "`blockforge list --blocks` lists all",
    "spaces": "`blockforge list --spaces` lists all",
}
BOTTLENECK = (
    "width, stride, stride_on, pre_activation, bias, shortcut, shortcut_kernel, shortcut_norm, attention, "
    "attention_name, ratio, reduce_first, groups"
)
STAGES = "stem, layer1, layer2, layer3, layer4, head"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "resnet5"], f"resnet5: no network of this name; did you mean 'resnet56', 'resnet50' or 'resnet152'? {LISTS['networks']}"),
        (["show", "digits"], "digits: a search space, not a network; use it with `blockforge search digits`"),
        (["list", "--max-params", "5M"], "--max-params 5M: not a number; write 5e6"),
        (["list", "--max-macs", "1.5b"], "--max-macs 1.5b: not a number; write 1.5e9"),
        (["list", "--max-params", "few"], "--max-params few: not a number; write 5e6"),
        (["list", "--max-params", "nan"], "--max-params nan: must be a finite number of at least 0; write 5e6"),
        (["list", "--max-macs", "inf"], "--max-macs inf: must be a finite number of at least 0; write 5e6"),
        (["list", "--max-macs=-1"], "--max-macs -1: must be a finite number of at least 0; write 5e6"),
        (["list", "--max-macs="], "--max-macs : not a number; write 5e6"),
        (["show", "--block", "botleneck"], f"botleneck: no block of this name; did you mean 'bottleneck'? {LISTS['blocks']}"),
        (["search", "digit"], f"digit: no space of this name; did you mean 'digits'? {LISTS['spaces']}"),
        (["search", "digits", "--sampler", "tpee"], "search: no sampler 'tpee'; did you mean 'tpe'? there are nsga2, random, tpe"),
        (["search", "digits", "--limit", "param=3"], "limits: no objective 'param'; did you mean 'params'? those with a limit are activations, macs, params, peak_memory"),
        (["search", "digits", "--limit", "params<=100"], "--limit params<=100: must be NAME=NUMBER; write params=100"),
        (["search", "digits", "--limit", "macs < 1e6"], "--limit macs < 1e6: must be NAME=NUMBER; write macs=1e6"),
        (["search", "digits", "--limit", "params==5"], "--limit params==5: must be NAME=NUMBER; write params=5"),
        (["show", "resnet18", "--input", "224"], "--input 224: resnet18 takes no input of 1 number(s); write --input C,H,W, as in 3,224,224"),
        (["export", "lenet5", "--input", "28,28", "--python", "-"], "--input 28,28: lenet5 takes no input of 2 number(s); write --input C,H,W, as in 1,32,32"),
        (["show", "/"], "/: a folder, not a network; name a YAML file in it"),
        (["search", "digits", "--limit", "params"], "--limit params: must be NAME=NUMBER, as in params=2e5"),
        (["show", "resnet50", "--set", "layer1.widht=3"], f"resnet50: layer1.widht: block bottleneck has no parameter 'widht'; did you mean 'width'? it has {BOTTLENECK}"),
        (["show", "resnet50", "--set", "layr1.width=3"], f"resnet50: layr1.width: no stage 'layr1'; did you mean 'layer1', 'layer4' or 'layer3'? there are {STAGES}"),
        (["show", "resnet50", "--set", "stag*.width=3"], f"resnet50: stag*.width: no stage matches 'stag*'; there are {STAGES}"),
        (["show", "resnet50", "--set", "layer1=3"], "resnet50: layer1: names a whole stage; write layer1.FIELD, as in layer1.depth"),
        (["show", "resnet50", "--set", "layer1.width"], "--set layer1.width: must be PATH=VALUE, as in layer3.depth=23"),
        (["show", "resnet50", "--set", "layer1.width="], "--set layer1.width: '': no value; write null, or \"\" for an empty text"),
        (["show", "resnet50", "--set", "layer1.width=0"], "resnet50: layer1.width: must be at least 1, but is 0"),
        (["show", "resnet50", "--set", "layer1.width=wide"], "resnet50: layer1.width: must be a whole number, but is 'wide'"),
        (["show", "resnet50", "--set", "layer1.attention={block: squeeze_excitation, reducton: 4}"], "resnet50: layer1.attention.reducton: block squeeze_excitation has no parameter 'reducton'; did you mean 'reduction'? it has reduction, divisor, round_limit, activation, gate"),
        (["show", "resnet50", "--set", "layer1.attention=[4]"], "resnet50: layer1.attention: must be a block's name or {block: NAME, ...}, but is (4,)"),
        (["show", "resnet50", "--set", "layer1.groups=3"], "resnet50: layer1.0.conv2: groups=3 must divide the 64 output channels; use a divisor of 64"),
        (["show", "resnet50", "--set", "layer1.width=1000000000"], "resnet50: layer1.width: must be at most 1,048,576, but is 1,000,000,000"),
        (["show", "resnet50", "--set", "layer1.depth=1000000000"], "resnet50: layer1.depth: must be a whole number from 1 to 1,000, but is 1,000,000,000"),
        (["show", "resnet50", "--input", "3,0,4"], "resnet50: input.1: must be at least 1, but is 0"),
        (["show", "resnet50", "--input", "3x4"], "--input 3x4: must be whole numbers C,H,W, as in 3,224,224"),
        (["show", "vgg16_bn", "--input", "3,16,16"], "vgg16_bn: features.43: kernel 2 is larger than the padded input 1x1; use a larger input or a smaller kernel or stride, at input (3, 16, 16); the smallest input that works is 32x32"),
        (["show", "lenet5", "--input", "1,1048576,1048576"], "lenet5: conv1: its output of (6, 1048572, 1048572) would have 6,597,019,435,104 elements, more than 1,099,511,627,776; make it smaller"),
        (["show", "lenet5", "--stage", "fc4"], "fc4: no stage of this name; did you mean 'fc3', 'fc2' or 'fc1'? there are conv1, pool1, conv2, pool2, fc1, fc2, fc3"),
        (["show", "--block", "bottleneck", "--set", "ratio=0"], "bottleneck: ratio: must be at least 1, but is 0"),
        (["show", "nope.yaml"], "nope.yaml: no such file; check the path"),
        (["list", "--plugin", "nope.py"], "nope.py: no such file; give the path of a Python file"),
        (["best", "nope"], "nope: holds no run (there is no run.json); give the folder of a search"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(here: Path, arguments: list[str], expected: str):
    assert message(*arguments) == expected


FIVE = """\
input: [3, 32]
classes: many
stages:
  stem: {block: conv, width: 16, kernal: 3}
  body: {block: residul, width: 32}
  head: {block: classifier, width: classes, from: bdy}
"""

FILES = {
    "five.yaml": (
        FIVE,
        """\
five.yaml:1:1: input: must be [channels, height, width], or [features], but is [3, 32]
five.yaml:2:1: classes: must be a whole number, but is 'many'
five.yaml:4:34: stem.kernal: block conv has no parameter 'kernal'; did you mean 'kernel'? it has width, kernel, stride, padding, dilation, groups, bias, norm, activation, names
five.yaml:5:10: body.block: residul: no block of this name; did you mean 'residual'? `blockforge list --blocks` lists all
five.yaml:6:45: head.from: no stage 'bdy' to read from; did you mean 'body'? there are input, stem, body, head""",
    ),
    "marks.yaml": (
        "stages:\n  a: &x {block: conv}\n  b: *x\n  c: {<<: {block: conv}}\n  a: {block: conv}\n",
        """\
marks.yaml:2:6: stages.a: &x is an anchor; take it out, and write the value where needed
marks.yaml:3:6: stages.b: *x is an alias; write the value out, or put text in quotes: "*x"
marks.yaml:4:7: stages.c: << is a merge key; write the keys out, or use `extends`
marks.yaml:5:3: stages.a: given twice, first in line 2; remove or rename one""",
    ),
    "cycle.yaml": (
        "input: [3, 8, 8]\nstages:\n  a: {block: concat, from: [input, b]}\n  b: {block: conv, from: a}\n",
        "cycle.yaml:3:22: a.from: the stages a -> b -> a feed each other in a cycle; change a `from`",
    ),
    "unread.yaml": (
        "input: [3, 8, 8]\nstages:\n  a: {block: conv}\n  b: {block: conv, from: input}\n  c: {block: conv, from: a}\n",
        "unread.yaml:4:20: b.from: no stage reads it, and it isn't the last one (c, which is the output); "
        "read it with `from`, or remove it",
    ),
    "unreachable.yaml": (
        "input: [3, 8, 8]\nstages:\n  a: {block: conv, from: []}\n",
        "unreachable.yaml:3:20: a.from: is unreachable: `from: []` feeds it nothing; name a stage or `input`",
    ),
    "two.yaml": (
        "input: [3, 8, 8]\nstages:\n  a: {block: conv}\n  b: {block: conv, from: [a, input]}\n",
        "two.yaml:4:20: b.from: block conv takes 1 input, but `from` gives 2 (a, input); "
        "join them first with a stage of block `add` or `concat`",
    ),
    "clash.yaml": (
        "input: [3, 8, 8]\nstages:\n  a: {block: conv, width: 4}\n  b: {block: conv, width: 8, from: input}\n"
        "  c: {block: add, from: [a, b]}\n",
        "clash: c: Add takes inputs of one shape, but they are (4, 8, 8) and (8, 8, 8); "
        "bring them to one shape, by a 1x1 convolution with a stride for example",
    ),
    "space.yaml": (
        "base: lenet5\nvary: {fc1.width: {choice: [60, 120]}}\n",
        "space.yaml:1:1: a search space, not a network; use it with `blockforge search`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_wrong_files_give_all_mistakes_with_their_positions(here: Path, name: str):
    text, expected = FILES[name]
    (here / name).write_text(text)
    assert message("show", name) == expected


PLUGINS = {
    "syntax.py": ("def f(:\n", "syntax.py: line 1: invalid syntax; mend the file's syntax"),
    "raises.py": ("1 / 0\n", "raises.py: ZeroDivisionError: division by zero"),
    "clash.py": (
        OWN_BLOCK.replace("Twice", "Conv"),
        "clash.py: block 'conv' is registered by blockforge's own plugin plain already; choose another name",
    ),
    "misspelt.py": (
        OWN_BLOCK.replace("register_blocks", "register_block"),
        "misspelt.py: no hook 'register_block'; the hooks are register_blocks, register_networks, register_spaces, "
        "register_objectives, register_datasets",
    ),
    "argument.py": (
        OWN_BLOCK.replace("register_blocks()", "register_blocks(registry)"),
        "argument.py: register_blocks declares arguments; a hook takes none",
    ),
    "no_list.py": (
        OWN_BLOCK.replace("return [Twice]", "return Twice"),
        "no_list.py: register_blocks returned ModelMetaclass; return a list",
    ),
    "no_hash.py": (
        OWN_BLOCK.replace("width: Channels = 8", "width: Channels = 8\n    names: list[str] = []"),
        "no_hash.py: block Twice: field 'names' is a list, which can't be hashed; use a tuple or a frozen type",
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize("command", [["list"], ["show", "lenet5"], ["export", "lenet5", "--python", "-"]])
def test_a_faulty_plugin_file_stops_every_command(here: Path, name: str, command: list[str]):
    text, expected = PLUGINS[name]
    (here / name).write_text(text)
    assert message(*command, "--plugin", name) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shwo"], "blockforge: no command 'shwo'; did you mean 'show'? `blockforge --help` shows what it takes"),
        (["xyz"], "blockforge: no command 'xyz'; there are new-block, check, schema, list, show, export, verify, plugins, search, best; `blockforge --help` shows what it takes"),
        (["show"], "blockforge show: give a NETWORK, or a block with --block BLOCK; `blockforge show --help` shows what it takes"),
        (["show", "lenet5", "--frmula"], "blockforge show: no option '--frmula'; did you mean '--formula' or '--format'? `blockforge show --help` shows what it takes"),
        (["show", "lenet5", "--json", "--format", "csv"], "blockforge show: give --json or --format, not both; `blockforge show --help` shows what it takes"),
        (["show", "lenet5", "--by", "block", "--formula"], "blockforge show: --formula is of layers; leave out --by; `blockforge show --help` shows what it takes"),
        (["show", "lenet5", "--input", "1,8,8", "--input", "1,8,8"], "blockforge show: a network has one input; give --input once; `blockforge show --help` shows what it takes"),
        (["show", "--block", "conv", "--by", "stage"], "blockforge show: a block has no stages; leave out --by and --stage; `blockforge show --help` shows what it takes"),
        (["list", "--costs", "--blocks"], "blockforge list: --family, --costs, --max-params and --max-macs are of networks alone; `blockforge list --help` shows what it takes"),
        (["export", "lenet5"], "blockforge export: missing option '--python'; `blockforge export --help` shows what it takes"),
        (["show", "lenet5", "--batch", "0"], "blockforge show: invalid value for '--batch': 0 is not in the range x>=1; `blockforge show --help` shows what it takes"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(arguments: list[str], expected: str):
    assert message(*arguments) == expected


# -- how it ends


def test_debug_shows_the_traceback_before_the_message():
    result = run("show", "resnet51", "--debug")
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.splitlines()[-1].startswith("resnet51: no network of this name")
    assert run("--debug", "show", "resnet51").stderr.startswith("Traceback")


def test_ctrl_c_ends_with_130(here: Path):
    (here / "stop.py").write_text("raise KeyboardInterrupt\n")
    result = run("list", "--plugin", "stop.py")
    assert (result.exit_code, result.stdout, result.stderr.strip()) == (130, "", "")


def test_version_and_help():
    assert output("--version") == f"blockforge {blockforge.__version__}\n"
    text = output("-h")
    assert output() == text == output("--help")
    for command in main.commands:
        assert f"  {command} " in text
        help_text = output(command, "-h")
        assert "--plugin FILE" in help_text
        assert "--debug" in help_text
        assert ("--json" in help_text) == (command not in ("export", "new-block", "schema"))
        # A line of help that click had to cut ends in dots.
        assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"torch", "optuna", "sklearn", "numpy", "pydantic", "networkx", "ruamel", "rich"}),
        (["list"], {"torch", "optuna", "sklearn", "numpy", "networkx", "ruamel", "rich", "matplotlib"}),
        (["plugins"], {"torch", "optuna", "sklearn", "numpy", "networkx", "ruamel", "rich", "matplotlib"}),
        (["show", "resnet50"], {"torch", "optuna", "sklearn", "numpy", "networkx", "rich", "matplotlib"}),
        (
            ["show", "--block", "conv"],
            {"torch", "optuna", "sklearn", "numpy", "networkx", "rich", "matplotlib"},
        ),
        (
            ["export", "lenet5", "--python", "-"],
            {"torch", "optuna", "sklearn", "numpy", "rich", "matplotlib"},
        ),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], absent: set[str]):
    code = (
        "import sys\nfrom blockforge.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        f"print(*({absent!r} & {{name.partition('.')[0] for name in sys.modules}}), file=sys.stderr)"
    )
    environment = {**os.environ, "BLOCKFORGE_DISABLE_PLUGINS": "all"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout
    assert done.stderr.strip() == ""


def test_a_real_process_ends_as_it_should():
    done = process("show", "lenet5", "--formula", "--batch", "64")
    assert (done.returncode, done.stdout, done.stderr) == (0, LENET, "")
    done = process("show", "lenet6")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m blockforge show densenet121 | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("densenet121: ")
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_gets_a_folded_table():
    import pty

    reading, writing = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "blockforge", "show", "resnet18", "--stage", "layer2"]
    subprocess.run(command, stdout=writing, stdin=subprocess.DEVNULL, check=True, env=environment)
    os.close(writing)
    text = ""
    try:
        while part := os.read(reading, 65536):
            text += part.decode()
    except OSError:  # Linux says so when the other side has closed
        pass
    finally:
        os.close(reading)
    table = text.replace("\r", "").split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 80
    assert max(map(len, output("show", "resnet18", "--stage", "layer2").split("\n\n")[1].splitlines())) > 80


# -- search and best

SPACE = """\
about: Blocks of one's own.
base: lenet5
set: {input: [1, 8, 8], conv1.kernel: 3, conv2.kernel: 3, conv1.block: twice, conv1.scope: twice, fc1.width: 16, fc2.width: 16}
vary:
  conv1.width: {choice: [2, 4]}
objectives: {accuracy: maximize, macs: minimize}
data: digits
train: {epochs: 2, batch: 128}
"""


@pytest.mark.slow
def test_a_search_over_somebody_s_block_and_its_front(here: Path):
    (here / "twice.py").write_text(OWN_BLOCK)
    (here / "mine.yaml").write_text(SPACE)
    own = ["--plugin", "twice.py"]
    done = process(
        "search", "mine.yaml", *own, "--trials", "2", "--workers", "1", "--device", "cpu", "--json", cwd=here
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["space", "run", "objectives", "trials", "failed", "front"]
    assert report["objectives"] == {"accuracy": "maximize", "macs": "minimize"}
    assert (report["space"], report["trials"], report["failed"]) == ("mine", 2, 0)
    assert done.stderr.splitlines()[-1] == (
        f"{Path('runs', 'mine')}: all trials, front.md and front.png; `blockforge best runs/mine` prints this again"
    )
    assert json.loads(output("best", "runs/mine", "--json", *own)) == report
    front = output("best", "runs/mine", *own)
    assert front.startswith(f"Front of mine: {len(report['front'])} of 2 trials.")
    best = report["front"][0]
    assert f"{best['values']['accuracy']:.2%}".replace("%", " %") in front
    shown = json.loads(output("show", best["network"], *own, "--by", "stage", "--json"))
    assert shown["rows"][1]["type"] == "twice"
    assert shown["totals"]["macs"] == best["values"]["macs"]


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        ("fc1.width: {choice: []}", "mine.yaml:2:8: fc1.width: a choice needs a list with at least one value, but is []; name what to choose from"),
        ("fc1.width: any", "mine.yaml:2:8: fc1.width: `any` needs bounds, but there are none; write {choice: [...]} or {range: [low, high]}"),
        ("fc9.width: any", "mine.yaml:2:8: fc9.width: no stage 'fc9'; did you mean 'fc3', 'fc2' or 'fc1'? there are conv1, pool1, conv2, pool2, fc1, fc2, fc3"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused_before_anything_is_written(here: Path, vary: str, expected: str):
    (here / "mine.yaml").write_text(
        f"base: lenet5\nvary: {{{vary}}}\nobjectives: {{accuracy: maximize}}\ndata: digits\n"
    )
    assert message("search", "mine.yaml") == expected
    assert not (here / "runs").exists()


def test_a_folder_of_something_else_is_left_alone(here: Path):
    (here / "run").mkdir()
    (here / "run" / "thesis.txt").write_text("years of work")
    assert message("search", "digits", "--run", "run") == "run: is not empty, and holds no run; give another --run"
    assert [file.name for file in (here / "run").iterdir() if not file.name.startswith(".")] == ["thesis.txt"]
    (here / "file").write_text("")
    assert (
        message("search", "digits", "--run", "file/run")
        == "file/run: can't be written: Not a directory; give another --run"
    )

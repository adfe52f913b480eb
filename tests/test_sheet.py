"""What is shown of a block: its idea, the networks that use it, its fields, its picture and its cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blockforge.plugins.dense import DenseLayer
from blockforge.plugins.residual import Residual
from blockforge.plugins.squeeze_excitation import SqueezeExcitation

import blockforge
from blockforge import Block, BlockforgeError, BlockSpec, Scope, Value, sheet
from blockforge.fields import field_meanings
from blockforge.registry import Registry
from blockforge.sheet import View, block_sheet, network_sheet, networks_with

REGISTRY = Registry()  # without what another test may have loaded
TOTAL = len(REGISTRY.networks)


def text_of(name: str, width: int | None = None, style: str = "text", **edits: object) -> str:
    return block_sheet(REGISTRY.block(name), REGISTRY, edits, [(8, 4, 4)], View(style=style)).text(width)


def test_a_field_that_must_be_given_is_asked_for_as_the_command_line_gives_it() -> None:
    class Blur(Block):
        """It blurs."""

        taps: int  # filter taps
        attention: BlockSpec | None = None  # any block

        def expand(self, g: Scope, x: Value) -> Value:
            return g.relu("relu", x)

    with pytest.raises(BlockforgeError) as caught:
        block_sheet(Blur, REGISTRY, {}, [], View())
    assert str(caught.value) == "blur: taps: block blur needs a 'taps'; give one, as --set taps=VALUE"
    with pytest.raises(BlockforgeError) as caught:
        block_sheet(Blur, REGISTRY, {"taps": "x"}, [], View())
    assert str(caught.value) == "blur: taps: must be a whole number, but is 'x'"


def test_a_block_has_its_idea_networks_fields_picture_and_cost():
    assert (
        text_of("dense_layer", growth=4, expansion=2)
        == f"""\
dense_layer: Norm, relu and convolution twice, 1x1 then 3x3; the new features are joined to the input.
paper: arXiv:1608.06993
used by 5 of {TOTAL} networks: all 5 of densenet

field      type                             default  searched  meaning
---------  -------------------------------  -------  --------  ------------------------------------------
growth     whole number at least 1          32                 new features
expansion  whole number at least 1 or null  4        2, 4      channels of the 1x1 / growth; null: no 1x1
bias       true or false                    false    all       of the convolutions

At input (8, 4, 4) (channels, height, width):

●─╮  input   Input        4x4x8
● │  norm1   BatchNorm2d  4x4x8
● │  relu1   ReLU         4x4x8
● │  conv1   Conv2d 1x1   4x4x8
● │  norm2   BatchNorm2d  4x4x8
● │  relu2   ReLU         4x4x8
● │  conv2   Conv2d 3x3   4x4x4
●─╯  concat  Concat       4x4x12

layer   type         input (HxWxC)  output (HxWxC)  kernel  stride  parameters   MACs
------  -----------  -------------  --------------  ------  ------  ----------  -----
input   Input                       4x4x8                                    0      0
norm1   BatchNorm2d  4x4x8          4x4x8                                   16      0
relu1   ReLU         4x4x8          4x4x8                                    0      0
conv1   Conv2d       4x4x8          4x4x8           1x1     1               64  1,024
norm2   BatchNorm2d  4x4x8          4x4x8                                   16      0
relu2   ReLU         4x4x8          4x4x8                                    0      0
conv2   Conv2d       4x4x8          4x4x4           3x3     1              288  4,608
concat  Concat       4x4x8, 4x4x4   4x4x12                                   0      0

trainable parameters         384
MACs                       5,632  convolutions and linear layers: torch's FlopCounterMode / 2
activations                  896  elements of all layers' outputs
peak memory           0.00154 MB  tensors alive at once in eval mode, float32, batch 1"""
    )


def test_markdown_has_the_picture_in_a_fence():
    text = text_of("dense_layer", style="markdown")
    assert text.startswith(
        "## dense_layer\n\n"
        "Norm, relu and convolution twice, 1x1 then 3x3; the new features are joined to the input.\n\n"
        f"Paper: arXiv:1608.06993\n\nUsed by 5 of {TOTAL} networks: all 5 of densenet\n\n| field "
    )
    assert "\n\n```text\n●─╮  input   Input        4x4x8\n" in text
    assert "\n●─╯  concat  Concat       4x4x40\n```\n\n| layer " in text


def test_a_terminal_folds_the_head():
    lines = text_of("squeeze_excitation", 60).splitlines()
    assert lines[:5] == [
        "squeeze_excitation: Mean over space, two 1x1 convolutions,",
        "  and a gate a channel; keeps its input's shape.",
        "paper: arXiv:1709.01507",
        f"used by 20 of {TOTAL} networks: all 8 of efficientnet;",
        "  mobilenet_v3_large, mobilenet_v3_small; all 10 of senet",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("add", "used by no registered network"),
        ("inception_e", f"used by 2 of {TOTAL} networks: inception_v3, inception_v3_aux"),
        ("local_response_norm",
         f"used by 4 of {TOTAL} networks: alexnet_2012, alexnet_2012_single; googlenet_2014; vgg11_lrn"),
        ("bottleneck", f"used by 17 of {TOTAL} networks: resnet50, resnet101, resnet152 and 8 more of resnet; "
         "seresnet50, seresnet101, seresnet152 and 3 more of senet"),
    ],
)  # fmt: skip
def test_the_networks_that_use_a_block_by_family(name: str, text: str):
    inputs = [(8, 4, 4)] * (2 if name == "add" else 1)
    assert text in block_sheet(REGISTRY.block(name), REGISTRY, {}, inputs, View()).text().splitlines()


def test_all_networks_that_use_a_block_are_those_whose_resolved_files_name_it():
    files = {name: blockforge.get_network(name).to_yaml(flat=True) for name in blockforge.list_networks()}
    for name in blockforge.list_blocks():
        pattern = re.compile(rf"\b(block|attention): {name}\b")
        named = [network for network, text in files.items() if pattern.search(text)]
        assert networks_with(REGISTRY.block(name), REGISTRY) == (named, []), name
    assert "seresnet50" in networks_with(SqueezeExcitation, REGISTRY)[0]  # an attention
    assert "resnet50" not in networks_with(Residual, REGISTRY)[0]  # of another class, though it inherits this one


def test_as_data_a_block_has_its_meanings_and_all_networks():
    record = block_sheet(Residual, REGISTRY, {}, [], View(style="json")).record()
    assert {field["name"]: field["meaning"] for field in record["fields"]} == field_meanings(Residual)
    assert record["networks"] == networks_with(Residual, REGISTRY)[0]
    assert len(record["networks"]) == 15


def test_a_network_that_cannot_be_read_is_noted(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "mine: {input: [3, 8, 8], stages: {a: {block: dense_layer}}}\n"
        "wrong: {input: [3, 8, 8], stages: {a: {block: dense_layer}, b: {block: x}}}\n"
    )
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n\nfrom blockforge import hookimpl\n\n\n@hookimpl\ndef register_networks():\n"
        "    return [Path(__file__).with_name('mine.yaml')]\n"
    )
    registry = Registry([tmp_path / "mine.py"])
    shown = block_sheet(DenseLayer, registry, {}, [], View())
    assert shown.notes == (
        "wrong: can't be read, so whether it uses dense_layer is unknown; `blockforge show wrong` says why",
    )
    assert f"used by 6 of {TOTAL + 2} networks: all 5 of densenet; mine" in shown.text().splitlines()


def test_networks_are_read_only_where_they_are_shown(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(sheet, "networks_with", refuse)
    assert text_of("dense_layer", style="csv").startswith("layer,type,input,output,kernel,stride,parameters,macs\n")
    network = blockforge.get_network("lenet5")
    assert "networks" not in network_sheet(network, network.input, View(style="json")).record()
    with pytest.raises(AssertionError, match=r"^read$"):
        text_of("dense_layer")

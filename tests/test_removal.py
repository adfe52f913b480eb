"""An output that is set to null goes, with the stages that it alone needs, wherever the edit is written."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from blockforge import BlockforgeError, Network, assemble, get_network, list_networks
from blockforge.cli import main
from blockforge.removal import without_output

NET = """
input: [3, 8, 8]
stages:
  a: {block: conv, width: 4}
  b: {block: conv, width: 4}
  side1: {block: conv, width: 2, from: a}
  side2: {block: conv, width: 2}
  c: {block: conv, width: 4, from: [b]}
outputs: {logits: c, side: {stage: side2, when: training}, maps: {stage: b}}
"""


def refusal(network: Network, edits: dict[str, Any]) -> str:
    with pytest.raises(BlockforgeError) as caught:
        network.set(edits)
    return str(caught.value)


def test_the_stages_that_it_alone_needs_go_with_it() -> None:
    network = Network.from_yaml(NET)
    other = network.set({"outputs.side": None})
    assert list(other.stages) == ["a", "b", "c"]
    assert [output.name for output in other.outputs] == ["logits", "maps"]
    assert list(other.notes) == [
        f"{name}: only the output side needs it; removed with it" for name in ("side1", "side2")
    ]
    assert list(network.set({"outputs.maps": None}).stages) == list(network.stages)
    assert list(network.set({"outputs.logits": None}).stages) == ["a", "b", "side1", "side2"]
    assert list(network.set({"outputs.side": None, "outputs.logits": None, "b.width": 8}).stages) == ["a", "b"]


def test_it_is_written_and_read_without_loss_and_works_in_files() -> None:
    network = Network.from_yaml(NET).set({"outputs.side": None, "c.width": 8})
    for flat in (False, True):
        assert Network.from_yaml(network.to_yaml(flat=flat)) == network
    variant = Network.from_yaml("extends: inception_v3_aux\nset: {outputs.aux: null}\n")
    assert variant.hash == get_network("inception_v3").hash
    assert Network.from_yaml(variant.to_yaml()) == variant


@pytest.mark.parametrize(
    "name", [name for name in list_networks() if any(each.when == "training" for each in get_network(name).outputs)]
)
def test_without_its_outputs_of_training_a_network_has_no_stages_of_training(name: str) -> None:
    network = get_network(name)
    assert network.training_stages
    edits = {f"outputs.{each.name}": None for each in network.outputs if each.when == "training"}
    slim = network.set(edits)
    assert set(slim.stages) == set(network.stages) - network.training_stages
    assert not assemble(slim).training


def test_it_works_on_the_command_line() -> None:
    arguments = ["show", "inception_v3_aux", "--input", "3,96,96", "--by", "stage", "--set", "outputs.aux=null"]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stderr) == (0, "note: AuxLogits: only the output aux needs it; removed with it\n")
    assert "AuxLogits" not in done.stdout


def test_what_cannot_be_removed() -> None:
    network = Network.from_yaml(NET)
    assert refusal(network, {"outputs.sid": None}) == (
        "text: outputs.sid: no output 'sid'; did you mean 'side'? there are logits, side, maps"
    )
    assert refusal(network, {"outputs.logits": None, "outputs.maps": None}) == (
        "text: outputs: nothing leaves the network in eval mode; give one output without `when: training`"
    )
    assert refusal(get_network("resnet18"), {"outputs.logits": None}) == (
        "resnet18: outputs.logits: there is no output 'logits': the last stage is the only one; leave it as it is"
    )
    only = network.set({"outputs.side": None, "outputs.maps": None})
    assert refusal(only, {"outputs.logits": None}) == (
        "text: outputs.logits: it is the only output; a network needs one, so leave it or set another first"
    )


def test_a_stage_is_not_removed_by_an_edit_which_says_what_is() -> None:
    only = "null removes a stage only under a file's `stages`"
    assert refusal(get_network("inception_v3_aux"), {"AuxLogits": None}) == (
        f"inception_v3_aux: AuxLogits: {only}; set outputs.aux to null, and the stage goes with it"
    )
    assert refusal(get_network("resnet18"), {"layer4": None}) == (f"resnet18: layer4: {only}, in a variant of this one")


def test_a_document_with_mistakes_raises_no_other_error() -> None:
    broken = {"stages": {"a": 3, "b": {"from": ["nowhere", 4]}, "c": {"from": "c"}}, "outputs": {"x": "c", "y": 7}}
    assert without_output(broken, "y")[0] == {**broken, "outputs": {"x": "c"}}

"""Cost: exact, the same with and without its memo, and without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from random import Random

import pytest
from blockforge.plugins.bottleneck import Bottleneck
from blockforge.plugins.plain import Conv

from blockforge import (
    Block,
    BlockforgeError,
    Channels,
    Network,
    Scope,
    Value,
    cost,
    costing,
    get_network,
    list_networks,
    source,
)
from blockforge.assembler import assemble, graph_of
from blockforge.costing import block_counts
from blockforge.errors import InputTooSmall
from blockforge.field_types import ScaledWidth
from blockforge.graph import Graph
from tests.random_networks import from_text, random_network


def summed(graph: Graph) -> tuple[int, int, int]:
    """Parameters, MACs and activations, op by op; what runs in training only has parameters alone."""
    params = sum(node.params for node in graph)
    training = graph.training_nodes()
    ops = [node for node in graph if node.inputs and node.index not in training]
    elements = 0
    for node in ops:
        for shape in node.shapes:
            size = 1
            for axis in shape:
                size *= axis
            elements += 0 if node.op.identity else size
    return params, sum(node.macs for node in ops), elements


def counts(found: costing.Cost) -> tuple[int, int, int]:
    return found.params, found.macs, found.activations


@pytest.mark.parametrize("name", list_networks())
def test_the_memo_is_the_sum_over_the_graph(name: str) -> None:
    costing.clear_memo()
    network = get_network(name)
    expected = summed(assemble(network))
    assert counts(cost(network)) == expected
    assert counts(cost(network)) == expected  # from the memo
    assert counts(cost(name)) == expected
    assert counts(cost(assemble(network))) == expected
    assert counts(cost(network).training) == counts(cost(assemble(network)).training)


def test_edits_that_share_blocks_and_stages_keep_their_own_counts() -> None:
    costing.clear_memo()
    rng = Random(0)
    base = get_network("resnet50").set({"input": [3, 64, 64]})
    for _ in range(60):
        edits = {
            f"layer{rng.randint(1, 4)}.{field}": rng.choice(values)
            for field, values in (
                ("width", [64, 128, 256]), ("depth", [1, 2, 3]), ("stride", [1, 2]), ("ratio", [2, 4]),
                ("attention", [None, "squeeze_excitation"]),
            )
        }  # fmt: skip
        network = base.set(edits)
        assert counts(cost(network)) == summed(assemble(network)), edits


def test_one_block_at_several_input_sizes_is_counted_for_each() -> None:
    block = Conv(width=4)
    for shape in ((3, 8, 8), (3, 9, 9), (5, 8, 8), (3, 8, 8)):
        shape_out, params, macs, activations = block_counts(block, (shape,))
        graph = graph_of(block, shape)
        assert shape_out == graph.outputs["output"].shape
        assert (params, macs, activations) == summed(graph)


def test_a_stage_whose_blocks_grow_is_counted_block_by_block() -> None:
    network = from_text("""
grows:
  input: [3, 8, 8]
  stages:
    dense: {block: dense_layer, growth: 4, depth: 5}
    same: {block: residual, width: 23, depth: 4}
    down: {block: bottleneck, width: 8, depth: 3, stride: 2}
""")
    assert counts(cost(network)) == summed(assemble(network))


def test_two_equal_numbers_of_other_types_are_not_one_in_the_memo() -> None:
    class Flag(Block):
        value: int | bool = True

        def expand(self, g: Scope, x: Value) -> Value:
            return g.conv("conv", x, 7 if self.value is True else 3)

    assert block_counts(Flag(value=True), ((3, 4, 4),))[0] == (7, 4, 4)
    assert block_counts(Flag(value=1), ((3, 4, 4),))[0] == (3, 4, 4)


def test_two_classes_of_one_name_are_not_one_in_the_memo() -> None:
    def make(width: int) -> Block:
        class Same(Block):
            def expand(self, g: Scope, x: Value) -> Value:
                return g.conv("conv", x, width)

        return Same()

    assert [block_counts(make(width), ((3, 4, 4),))[0] for width in (2, 5)] == [(2, 4, 4), (5, 4, 4)]


def test_a_full_memo_is_emptied_and_still_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costing, "MEMO_LIMIT", 3)
    costing.clear_memo()
    for name in ("resnet18", "mobilenet_v2", "resnet18"):
        assert counts(cost(name)) == summed(assemble(get_network(name)))
        assert len(costing._memo) <= 3


def test_what_only_training_sees_costs_nothing() -> None:
    base = get_network("mobilenet_v2")
    other = base.set({"drop_path": 0.2, "norm.eps": 0.01, "init.conv": "zeros", "head.dropout": 0.7})
    assert counts(cost(other)) == counts(cost(base))
    assert cost(other).peak_memory == cost(base).peak_memory
    assert counts(cost(other)) == counts(cost(assemble(other)))


def test_the_head_is_priced_by_the_classes() -> None:
    assert cost(get_network("resnet18").set({"classes": 10})).params == 11_689_512 - 990 * 513


def test_a_cost_is_a_value() -> None:
    found = cost("lenet5")
    assert repr(found) == f"Cost(params=61706, macs=416520, activations={found.activations})"
    assert found == cost("lenet5")
    with pytest.raises(FrozenInstanceError):
        found.params = 0


def test_too_small_an_input_names_the_op_and_the_smallest_that_works() -> None:
    network = get_network("alexnet").set({"input": [3, 32, 32]})
    with pytest.raises(InputTooSmall) as caught:
        cost(network)
    assert str(caught.value) == (
        "alexnet: features.12: kernel 3 is larger than the padded input 1x1; use a larger input or a smaller"
        " kernel or stride, at input (3, 32, 32); the smallest input that works is 63x63"
    )


def test_shapes_that_do_not_fit_are_named_by_the_full_path() -> None:
    network = from_text("""
clash:
  input: [3, 8, 8]
  stages:
    a: {block: conv, width: 4}
    b: {block: conv, width: 6, from: a, stride: 2}
    c: {block: add, from: [a, b]}
""")
    with pytest.raises(BlockforgeError) as caught:
        cost(network)
    assert str(caught.value) == (
        "clash: c: Add takes inputs of one shape, but they are (4, 8, 8) and (6, 4, 4); "
        "bring them to one shape, by a 1x1 convolution with a stride for example"
    )


def test_unknown_names_are_refused() -> None:
    with pytest.raises(BlockforgeError, match=r"^resnet19: no network of this name; did you mean"):
        cost("resnet19")


def test_a_width_of_a_million_and_a_depth_of_a_thousand_are_counted_quickly() -> None:
    network = Network.from_yaml("""
large:
  input: [3, 512, 512]
  stages:
    a: {block: conv, width: 1048576, kernel: 1, depth: 1000}
""")
    found = cost(network)
    assert found.params == 3 * 2**20 + 999 * 2**40 + 1000 * 2**21
    assert found.macs == 2**18 * (3 * 2**20 + 999 * 2**40)


def test_torch_is_not_imported_for_cost() -> None:
    script = """
import sys, blockforge
for name in blockforge.list_networks():
    network = blockforge.get_network(name)
    found = blockforge.cost(network)
    assert found.params and found.macs and found.activations and found.peak_memory
    blockforge.source(network)
    network.hash
print([name for name in ("torch", "numpy", "optuna") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_peak_memory_of_a_graph_and_of_its_network_agree() -> None:
    for seed in range(10):
        network = random_network(seed)
        assert cost(network).peak_memory == cost(assemble(network)).peak_memory


def test_channels_of_every_block_matter() -> None:
    """A width that changes nothing would be a field that `expand` forgets."""
    small, large = (
        cost(graph_of(Bottleneck(width=64), (64, 8, 8))),
        cost(graph_of(Bottleneck(width=128), (64, 8, 8))),
    )
    assert small.params < large.params
    assert any(isinstance(item, ScaledWidth) for item in Bottleneck.model_fields["width"].metadata)
    assert Channels


def test_a_network_is_read_from_a_path_too(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(get_network("lenet5").to_yaml(flat=True))
    assert cost(file) == cost("lenet5")
    assert assemble(file).hash() == get_network("lenet5").hash
    assert source(file) == source("lenet5")

"""A network as data: edits that change nothing in place, YAML without loss, and all mistakes at once."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from blockforge import Network, cost, get_network, list_blocks, list_networks
from blockforge.errors import BlockforgeError, InvalidNetwork, UnknownName
from blockforge.registry import get_registry, load_registry

SMALL = """\
input: [3, 32, 32]
classes: 10
stages:
  stem: {block: conv, width: 8}
  layer1: {block: residual, width: 8, depth: 2}
  layer2: {block: residual, width: 16, stride: 2}
  head: {block: classifier, width: classes}
"""


def refusal(call: Any, *args: Any, kind: type[BlockforgeError] = InvalidNetwork) -> list[str]:
    with pytest.raises(kind) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n")


GHOSTS = """\
from blockforge import Block, hookimpl

class Ghosts(Block):
    \"\"\"A block that leaves its input as it is.\"\"\"

    paper = "none"

    def expand(self, g, x):
        return g.relu("relu", x)

@hookimpl
def register_blocks():
    return [Ghosts]
"""


@pytest.fixture
def small() -> Network:
    return Network.from_yaml(SMALL)


# Reading


def test_a_network_knows_what_its_file_says():
    network = get_network("resnet18_cifar")
    assert (network.name, network.input, network.classes) == ("resnet18_cifar", (3, 32, 32), 10)
    assert network.paper == "arXiv:1512.03385"
    assert network.settings.about == "ResNet-18 for small images, with a 3x3 stem that keeps the size."
    assert repr(network) == "<Network resnet18_cifar: stem, layer1, layer2, layer3, layer4, head>"
    stem, layer1, head = (network.stages[name] for name in ("stem", "layer1", "head"))
    assert (stem.block.kernel, stem.block.stride, stem.block.pool) == (3, 1, None)
    assert (layer1.depth, layer1.sources, layer1.scope) == (2, ("stem",), "layer1.{n}")
    assert (head.block.width, head.scope) == (10, "")
    assert network.sources[:2] == (("stem", ("input",)), ("layer1", ("stem",)))


def test_all_networks_and_blocks_are_listed_and_sorted():
    assert list_networks() == sorted(list_networks())
    assert {"alexnet", "resnet18", "resnet18_cifar", "vgg16_bn"} <= set(list_networks())
    assert list_blocks() == sorted(list_blocks())
    assert {"add", "concat", "conv", "residual"} <= set(list_blocks())


def test_a_file_of_one_network_is_named_by_the_file_or_by_itself(write):
    assert get_network(write("my_net.yaml", SMALL)).name == "my_net"
    assert get_network(str(write("my_net.yml", SMALL))).name == "my_net"
    assert get_network(write("my_net.yaml", f"name: other\n{SMALL}")).name == "other"
    inner = "".join(f"  {line}\n" for line in SMALL.splitlines())
    assert get_network(write("nets.yaml", f"inner:\n{inner}")).name == "inner"


def test_one_of_several_networks_of_a_file_is_named_behind_a_number_sign(write, monkeypatch):
    path = write(
        "nets.yaml",
        """\
        wide: {extends: resnet18, set: {layer1.width: 128}}
        deep: {extends: wide, set: {layer1.depth: 4}}
        """,
    )
    monkeypatch.chdir(path.parent)
    deep = get_network("nets.yaml#deep")
    assert (deep.name, deep.stages["layer1"].depth, deep.stages["layer1"].block.width) == ("deep", 4, 128)
    assert Network.from_yaml("nets.yaml#deep") == deep
    assert refusal(get_network, "nets.yaml", kind=BlockforgeError) == [
        "nets.yaml: holds 2 networks; name one, as in nets.yaml#wide"
    ]
    assert refusal(get_network, "nets.yaml#wild", kind=UnknownName) == [
        "wild: no network in nets.yaml of this name; did you mean 'wide'? it has wide, deep"
    ]
    assert refusal(get_network, "missing.yaml", kind=BlockforgeError) == ["missing.yaml: no such file; check the path"]
    assert refusal(Network.from_yaml, path.read_text(encoding="utf-8"), kind=BlockforgeError) == [
        "text: holds 2 networks; give one"
    ]


def test_an_unknown_name_brings_the_closest():
    assert refusal(get_network, "resnet19", kind=UnknownName) == [
        "resnet19: no network of this name; did you mean 'resnet18', 'resnet152' or 'resnet110'? "
        "`blockforge list --networks` lists all"
    ]


def test_a_space_is_no_network(write, monkeypatch):
    monkeypatch.chdir(write("space.yaml", "base: resnet18\nvary: {layer1.depth: any}\n").parent)
    assert refusal(get_network, "space.yaml") == [
        "space.yaml:1:1: a search space, not a network; use it with `blockforge search`"
    ]


def test_all_mistakes_of_a_file_are_told_at_once(write, monkeypatch):
    path = write(
        "nets.yaml",
        """\
        small:
          input: [3, 32, 32]
          stages:
            stem: {block: conv, width: 8.5}
            layer1: {block: residul, width: 8}
            layer2: {block: residual, widht: 8, stride: 0}
            layer3: {block: residual, shortcut: D, from: layr2}
            head: {block: classifier, width: classes, depth: 0}
          clases: 10
        """,
    )
    monkeypatch.chdir(path.parent)
    assert refusal(get_network, "nets.yaml") == [
        "nets.yaml:9:3: clases: no such key of a network; did you mean 'classes'?",
        "nets.yaml:4:25: stem.width: must be a whole number, but is 8.5",
        "nets.yaml:5:14: layer1.block: residul: no block of this name; did you mean 'residual'? "
        "`blockforge list --blocks` lists all",
        "nets.yaml:6:41: layer2.stride: must be at least 1, but is 0",
        "nets.yaml:6:31: layer2.widht: block residual has no parameter 'widht'; did you mean 'width'? "
        "it has width, stride, stride_on, pre_activation, bias, shortcut, shortcut_kernel, shortcut_norm, attention, "
        "attention_name",
        "nets.yaml:7:31: layer3.shortcut: must be 'none', 'A', 'B' or 'C', but is 'D'",
        "nets.yaml:8:47: head.depth: must be a whole number from 1 to 1,000, but is 0",
        "nets.yaml:7:44: layer3.from: no stage 'layr2' to read from; did you mean 'layer2', 'layer3' or 'layer1'? "
        "there are input, stem, layer1, layer2, layer3, head",
    ]


def test_what_yaml_surprises_with_is_refused(write, monkeypatch):
    path = write(
        "nets.yaml",
        """\
        input: [3, 32, 32]
        stages:
          a: &first {block: conv, width: 8}
          b: *first
          c: {<<: {width: 3}, block: conv}
          a: {block: conv}
        """,
    )
    monkeypatch.chdir(path.parent)
    assert refusal(get_network, "nets.yaml") == [
        "nets.yaml:3:6: stages.a: &first is an anchor; take it out, and write the value where needed",
        'nets.yaml:4:6: stages.b: *first is an alias; write the value out, or put text in quotes: "*first"',
        "nets.yaml:5:7: stages.c: << is a merge key; write the keys out, or use `extends`",
        "nets.yaml:6:3: stages.a: given twice, first in line 3; remove or rename one",
    ]


@pytest.mark.parametrize("stages", ["", "stages: {}\n", "stages: null\n"])
def test_a_network_without_stages(stages, write, monkeypatch):
    monkeypatch.chdir(write("net.yaml", f"input: [3, 32, 32]\nname: net\n{stages}").parent)
    (*_, last) = refusal(get_network, "net.yaml")
    place = "net.yaml:3:1" if stages else "net.yaml:1:1"
    assert last == f"{place}: a network needs stages; write `stages:` with one of them a line"


def test_registered_networks_are_made_once():
    registry = load_registry()
    assert get_network("resnet18") is get_network("resnet18")
    assert registry.made["resnet18"] is get_network("resnet18")
    before = get_network("resnet18").to_yaml(), get_network("resnet18").hash
    get_network("resnet18").set({"layer*.attention": {"block": "squeeze_excitation"}, "classes": 3})
    get_network("resnet18").set({"stem.pool": None, "init.conv": "zeros", "layer1.block": "conv"})
    network = get_network("resnet18")
    assert (network.to_yaml(), network.hash) == before
    load_registry()
    assert get_network("resnet18") is not network
    assert get_network("resnet18") == network
    assert get_registry() is not registry


def test_files_are_read_anew(write):
    path = write("net.yaml", SMALL)
    before = get_network(path)
    write("net.yaml", SMALL.replace("depth: 2", "depth: 3"))
    assert (before.stages["layer1"].depth, get_network(path).stages["layer1"].depth) == (2, 3)


# Edits


def test_an_edit_gives_a_new_network_and_changes_nothing_in_place(small):
    before = small.to_yaml(), small.to_yaml(flat=True), hash(small), dict(small.stages)
    edits = {"layer1.depth": 3, "classes": 100, "norm.eps": 0.01, "layer*.attention": "squeeze_excitation"}
    edited = small.set(edits)
    assert edited is not small
    assert (edited.stages["layer1"].depth, edited.classes, edited.settings.norm.eps) == (3, 100, 0.01)
    assert edited.stages["head"].block.width == 100
    assert edited.stages["layer2"].block.attention.name == "squeeze_excitation"
    assert (small.to_yaml(), small.to_yaml(flat=True), hash(small), dict(small.stages)) == before
    assert edits == {
        "layer1.depth": 3,
        "classes": 100,
        "norm.eps": 0.01,
        "layer*.attention": "squeeze_excitation",
    }
    for name in ("settings", "stages", "document", "flat"):
        with pytest.raises(FrozenInstanceError):
            setattr(small, name, None)


def test_an_edit_makes_only_the_stages_anew_that_it_touches(small):
    edited = small.set({"layer1.depth": 3})
    assert edited.stages["layer1"] is not small.stages["layer1"]
    assert all(edited.stages[name] is small.stages[name] for name in ("stem", "layer2", "head"))
    assert edited.sources is small.sources


def test_a_value_that_several_stages_share_is_edited_in_one_alone(small):
    given_block = {"block": "squeeze_excitation", "reduction": 4}
    both = small.set({"layer*.attention": given_block})
    one = both.set({"layer1.attention.reduction": 2})
    given_block["reduction"] = 99
    reductions = [
        [network.stages[name].block.attention.reduction for name in ("layer1", "layer2")]
        for network in (both, one, both.set({"classes": 7}), one.set({"classes": 7}))
    ]
    assert reductions == [[4, 4], [2, 4], [4, 4], [2, 4]]


def test_values_may_be_tuples_and_blocks(small):
    blocks = get_registry().blocks
    attention = blocks["squeeze_excitation"](reduction=4)
    edited = small.set({"input": (1, 16, 16), "layer1.attention": attention})
    assert edited.input == (1, 16, 16)
    assert edited.stages["layer1"].block.attention == attention
    assert edited == small.set(
        {"input": [1, 16, 16], "layer1.attention": {"block": "squeeze_excitation", "reduction": 4}}
    )
    assert "layer1.attention: {block: squeeze_excitation, reduction: 4}" in edited.to_yaml()
    whole = small.set({"layer1.block": blocks["bottleneck"](width=12, ratio=2)})
    assert whole.stages["layer1"].block == blocks["bottleneck"](width=12, ratio=2)
    assert whole.stages["layer1"].depth == 2


def test_all_mistakes_of_an_edit_are_told_at_once(small):
    edits = {"layr1.depth": 1, "classes": 0, "layer1.width": "8", "layer2.depth": 0, "stem.strid": 2}
    assert refusal(small.set, edits) == [
        "text: layr1.depth: no stage 'layr1'; did you mean 'layer1' or 'layer2'? there are stem, layer1, layer2, head",
        "text: classes: must be at least 1, but is 0",
        "text: stem.strid: block conv has no parameter 'strid'; did you mean 'stride'? it has "
        + ", ".join(get_registry().block("conv").model_fields),
        "text: layer1.width: must be a whole number, but is '8'",
        "text: layer2.depth: must be a whole number from 1 to 1,000, but is 0",
    ]
    del edits["classes"], edits["layr1.depth"]
    assert len(refusal(small.set, edits)) == 3


def test_another_block_drops_the_fields_that_it_lacks_and_notes_say_so():
    base = get_network("seresnet50")
    edited = base.set({"layer1.block": "conv", "layer2.block": "residual"})
    assert edited.notes == ("layer1: conv has no attention; dropped",)
    assert (edited.stages["layer1"].block.width, edited.stages["layer1"].depth) == (256, 3)
    assert "attention" in edited.flat["stages"]["layer2"]
    assert base.notes == ()
    assert edited.set({"layer3.depth": 1}).notes == edited.notes


@pytest.mark.parametrize("field", ["depth", "width"])
def test_a_billion_is_refused_at_once(small, field):
    limit = "a whole number from 1 to 1,000" if field == "depth" else "at most 1,048,576"
    assert refusal(small.set, {f"layer1.{field}": 10**9}) == [
        f"text: layer1.{field}: must be {limit}, but is 1,000,000,000"
    ]


def test_the_wiring_is_checked_when_an_edit_changes_it(small):
    assert small.set({"layer2.from": ["layer1"]}) == small
    assert refusal(small.set, {"layer2.from": "stem"}) == [
        "text: layer1.from: no stage reads it, and it isn't the last one (head, which is the output); "
        "read it with `from`, or remove it"
    ]


def test_an_edit_of_a_registered_network_extends_it():
    edited = get_network("resnet18").set({"layer1.depth": 3}).set({"classes": 10}).set({"layer1.depth": 4})
    assert edited.document == {
        "name": "resnet18",
        "extends": "resnet18",
        "set": {"classes": 10, "layer1.depth": 4},
    }
    assert edited.to_yaml() == "name: resnet18\nextends: resnet18\nset: {classes: 10, layer1.depth: 4}\n"


# YAML


@pytest.mark.parametrize("name", list_networks())
def test_every_network_is_written_without_loss(name):
    network = get_network(name)
    for flat in (False, True):
        again = Network.from_yaml(network.to_yaml(flat=flat))
        assert (again, again.flat, hash(again)) == (network, {**network.flat, "name": name}, hash(network))
    assert "extends" not in network.to_yaml(flat=True)
    assert "set:" not in network.to_yaml(flat=True)


def test_the_flat_text_stands_alone(small):
    text = get_network("resnet18_cifar").set({"layer*.depth": 1, "name": "shallow"}).to_yaml(flat=True)
    assert text == (
        "name: shallow\n"
        "paper: arXiv:1512.03385\n"
        "about: ResNet-18 for small images, with a 3x3 stem that keeps the size.\n"
        "input: [3, 32, 32]\n"
        "preprocess: {mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616], resize: 32, crop: 32}\n"
        "init: {conv: kaiming_normal_fan_out}\n"
        "stages:\n"
        '  stem: {block: stem, width: 64, kernel: 3, stride: 1, pool: null, scope: ""}\n'
        "  layer1: {block: residual, width: 64, depth: 1}\n"
        "  layer2: {block: residual, width: 128, depth: 1, stride: 2}\n"
        "  layer3: {block: residual, width: 256, depth: 1, stride: 2}\n"
        "  layer4: {block: residual, width: 512, depth: 1, stride: 2}\n"
        '  head: {block: classifier, width: classes, scope: ""}\n'
        "classes: 10\n"
    )


def test_the_text_is_flat_where_the_short_one_would_say_something_else(write):
    path = write("nets.yaml", "other: {extends: resnet18}\nmine: {extends: other, classes: 5}\n")
    mine = get_network(f"{path}#mine")
    assert "extends" not in mine.to_yaml()
    assert Network.from_yaml(mine.to_yaml()) == mine
    # `layer1.depth` must come between two edits of `layer*.depth`, and a mapping holds a path once.
    edited = get_network("resnet18").set({"layer1.attention": "squeeze_excitation"})
    edited = edited.set({"layer1.attention.reduction": 4}).set({"layer1.attention": "squeeze_excitation"})
    edited = edited.set({"layer1.attention.divisor": 2})
    assert Network.from_yaml(edited.to_yaml()) == edited


_PATHS = {
    "layer1.depth": st.integers(1, 3),
    "layer*.depth": st.integers(1, 3),
    "layer[12].width": st.sampled_from([8, 16]),
    "*.width": st.just(24),
    "layer2.block": st.sampled_from(
        ["residual", "bottleneck", "conv", {"block": "bottleneck", "ratio": 2, "groups": 2}]
    ),
    "layer*.block": st.sampled_from(["residual", "bottleneck"]),
    "layer1.attention": st.sampled_from(
        [None, "squeeze_excitation", {"block": "squeeze_excitation", "gate": "hardsigmoid"}]
    ),
    "layer*.attention": st.sampled_from([None, "squeeze_excitation"]),
    "layer*.attention.reduction": st.integers(1, 4),
    "layer2.ratio": st.integers(1, 4),
    "layer2.shortcut": st.sampled_from(["none", "A", "B", "C"]),
    "stem.scope": st.sampled_from(["", "a.{n}", "no", "1"]),
    "layer1.from": st.sampled_from(["stem", ["stem"], "input"]),
    "head.dropout": st.sampled_from([None, 0.0, 0.25]),
    "classes": st.integers(1, 20),
    "input": st.sampled_from([[1, 8, 8], (3, 16, 16)]),
    "norm.eps": st.floats(1e-9, 1.0),
    "norm.momentum": st.sampled_from([None, 0.0, 0.5, 1]),
    "norm": st.sampled_from([{}, {"eps": 0.1}]),
    "drop_path": st.sampled_from([0, 0.0, 0.5]),
    "init.conv": st.sampled_from(["zeros", "default"]),
    "about": st.text(max_size=8).filter(lambda text: text.isprintable()),
    "name": st.sampled_from(["x", "resnet18", "yes", "1", "a b"]),
}
_EDITS = st.lists(
    st.lists(st.sampled_from(sorted(_PATHS)), min_size=1, max_size=3, unique=True).flatmap(
        lambda paths: st.fixed_dictionaries({path: _PATHS[path] for path in paths})
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(base=st.sampled_from(["resnet18", "resnet18_cifar", "text"]), rounds=_EDITS)
def test_edits_are_written_without_loss(base, rounds):
    network = Network.from_yaml(SMALL) if base == "text" else get_network(base)
    before = network.to_yaml(flat=True)
    start = network
    for edits in rounds:
        try:
            network = network.set(edits)
        except InvalidNetwork:
            continue
    assert start.to_yaml(flat=True) == before
    for flat in (False, True):
        again = Network.from_yaml(network.to_yaml(flat=flat))
        assert (again, hash(again)) == (network, hash(network))
        # The preprocess is that of the settings, which are equal: what was said of another input isn't written.
        said = [{**each.flat, "name": each.name, "preprocess": None} for each in (again, network)]
        assert said[0] == said[1]


# Equality and identity


def test_networks_are_equal_when_they_say_the_same(small):
    assert small == Network.from_yaml(SMALL)
    assert hash(small) == hash(Network.from_yaml(SMALL))
    assert small == small.set({"layer1.depth": 3}).set({"layer1.depth": 2})
    assert small == small.set({"norm.eps": 1e-5, "layer1.shortcut": "B"})  # the defaults
    assert small != small.set({"layer1.depth": 3})
    assert small != small.set({"classes": 11})
    assert small != "text"
    assert len({small, Network.from_yaml(SMALL), small.set({"layer1.depth": 3})}) == 2


def test_the_order_of_stages_is_part_of_what_a_network_says():
    tail = "c: {block: add, from: [a, b]}"
    texts = [
        f"input: [3, 8, 8]\nstages:\n  {first}\n  {second}\n  {tail}\n"
        for first, second in (
            ("a: {block: conv, width: 8, from: input}", "b: {block: conv, width: 8, from: input}"),
            ("b: {block: conv, width: 8, from: input}", "a: {block: conv, width: 8, from: input}"),
        )
    ]
    one, other = map(Network.from_yaml, texts)
    assert [*one.stages] == ["a", "b", "c"]
    assert [*other.stages] == ["b", "a", "c"]
    assert one != other


def test_one_architecture_has_one_identity_however_it_is_written():
    short = get_network("resnet18").set({"layer*.depth": 3})
    flat = Network.from_yaml(short.to_yaml(flat=True))
    long = Network.from_yaml(
        "extends: resnet18\nname: long\nstages:\n"
        + "".join(f"  layer{i}: {{depth: 3, shortcut: B}}\n" for i in (1, 2, 3, 4))
    )
    assert short.hash == flat.hash == long.hash
    assert short != long
    assert cost(short).params == cost(long).params
    others = [{"layer1.depth": 2}, {"layer1.shortcut": "C"}, {"classes": 10}, {"norm.eps": 0.1}]
    assert len({short.hash, *[short.set(edit).hash for edit in others]}) == 5


def kept(network: Network) -> list[Any]:
    return [network, hash(network), network.hash, network.to_yaml(), network.notes, network.document, network.outputs]


@pytest.mark.parametrize("name", list_networks())
def test_every_network_is_pickled_and_copied_without_loss(name):
    network = get_network(name)
    again = pickle.loads(pickle.dumps(network))
    assert kept(again)[:4] == kept(network)[:4]
    assert copy.deepcopy(network) == copy.copy(network) == network


def test_an_edited_network_is_pickled_with_its_notes_and_its_short_text(small):
    for network in (small.set({"layer1.block": "bottleneck"}), get_network("resnet50").set({"layer3.depth": 2})):
        again = pickle.loads(pickle.dumps({"found": [network]}))["found"][0]
        assert kept(again) == kept(network)
        assert kept(copy.deepcopy(network)) == kept(network)
        assert again.set({"classes": 7}) == network.set({"classes": 7})
    assert "extends: resnet50" in again.to_yaml()


def test_a_pickled_network_is_read_in_another_process(small, tmp_path):
    network = small.set({"layer2.block": "bottleneck"})
    (tmp_path / "network.pickle").write_bytes(pickle.dumps(network))
    script = """
import pathlib, pickle, sys
network = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
print(network.hash, [*network.stages], network.registry is __import__("blockforge").registry.get_registry())
"""
    command = [sys.executable, "-c", script, str(tmp_path / "network.pickle")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{network.hash} ['stem', 'layer1', 'layer2', 'head'] True\n"


def test_a_pickled_network_says_where_to_get_a_block_that_is_missing(tmp_path):
    (tmp_path / "ghosts.py").write_text(GHOSTS)
    load_registry([tmp_path / "ghosts.py"])
    pickled = pickle.dumps(Network.from_yaml(SMALL).set({"layer1.block": "ghosts"}))
    load_registry()
    with pytest.raises(BlockforgeError) as caught:
        pickle.loads(pickled)
    assert str(caught.value) == (
        "text: layer1.block: no block 'ghosts'; it came with file ghosts.py: load ghosts.py with --plugin"
    )


def test_edits_that_are_no_mapping(small):
    with pytest.raises(BlockforgeError) as caught:
        small.set("layer3.depth=2")
    assert str(caught.value) == "text: edits are a mapping, but got 'layer3.depth=2'; write {\"layer3.depth\": 2}"


def test_an_open_path_may_be_any_path_like(write):
    path: os.PathLike[str] = write("net.yaml", SMALL)
    assert get_network(path) == get_network(str(path)) == Network.from_yaml(Path(path))

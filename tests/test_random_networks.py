"""Generated modules of 150 random networks: equal to the graph run plainly, op by op, to the bit."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from math import prod
from pathlib import Path

import pytest
import torch
from torch import nn

from blockforge import Network, build, cost, ops, source, wiring
from blockforge.assembler import assemble
from blockforge.codegen.classes import plan_classes
from blockforge.codegen.structure import structure
from blockforge.graph import Graph
from blockforge.ops import ACTIVATIONS, show_shape
from tests.interpreter import Interpreter, backward, same, unsettle
from tests.memory import measured_peak
from tests.random_networks import from_text, random_network, registry

SEEDS = range(150)
PARTS = ["nn.ModuleDict(", "nn.ModuleList(", "OrderedDict(", "in range(", "skip)", '"lambda")', "+=", "del "]
PARTS += ["inplace=True", "(nn.Sequential):", "x1, x2)", "activation=nn.", "getattr(", "add_module("]
pytestmark = pytest.mark.usefixtures("one_thread")
every_seed = pytest.mark.parametrize("seed", SEEDS)


@lru_cache(maxsize=8)
def graph_of(seed: int) -> Graph:
    return assemble(random_network(seed))


def built(network: Network, graph: Graph) -> tuple[nn.Module, Interpreter]:
    """The generated module and the interpreter, with the same weights."""
    torch.manual_seed(1)
    plain = Interpreter(graph)
    unsettle(plain)
    module = build(network)
    module.load_state_dict(plain.state_dict(), strict=True)
    return module, plain


@every_seed
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_outputs_and_gradients_are_those_of_the_plain_graph(seed: int, mode: str) -> None:
    network, graph = random_network(seed), graph_of(seed)
    module, plain = built(network, graph)
    x = torch.randn(2, *network.input)
    seen: dict[str, torch.Tensor] = {}
    for name, child in module.named_modules():
        if type(child).__module__.startswith("blockforge_generated"):
            child.register_forward_hook(lambda *given, name=name: seen.update({name: given[-1]}))
    runs = []
    for each in (module, plain):
        each.train(mode == "train")
        torch.manual_seed(2)  # of dropout
        given = x.clone().requires_grad_()
        values = plain.values(given) if each is plain else {}
        (output,) = graph.outputs.values()
        result = values[output.node.index, output.port] if values else module(given)
        backward(result)
        runs.append((result, given.grad, dict(each.named_parameters()), dict(each.named_buffers())))
    (ours, our_grad, our_weights, our_buffers), (theirs, their_grad, weights, buffers) = runs
    assert same(ours, theirs)
    assert same(our_grad, their_grad)
    assert [name for name in weights if not same(our_weights[name].grad, weights[name].grad)] == []
    assert [name for name in buffers if not same(our_buffers[name], buffers[name])] == []
    # What a hook was given is whole after all later blocks have run.
    outputs = {e.name: e.output for e in reversed(graph.expansions) if e.output and e.name}
    hooked = {name: (value.node.index, value.port) for name, value in outputs.items() if name in seen}
    assert [name for name, key in hooked.items() if not same(seen[name], values[key])] == []


@every_seed
def test_state_dict_keys_are_in_file_order(seed: int) -> None:
    network = random_network(seed)
    module, plain = build(network, init=False), Interpreter(graph_of(seed))
    if wiring.order(network.sources) == tuple(network.stages):
        assert list(module.state_dict()) == list(plain.state_dict())
    else:  # a Sequential that several stages share has its members in the order in which they run
        assert list(module._modules) == list(plain._modules)
        assert sorted(module.state_dict()) == sorted(plain.state_dict())


@every_seed
def test_cost_is_that_of_the_graph_and_of_the_module(seed: int) -> None:
    network, graph = random_network(seed), graph_of(seed)
    found = cost(network)
    assert found.params == sum(node.params for node in graph)
    assert found.macs == sum(node.macs for node in graph)
    assert found.activations == sum(
        prod(shape) for node in graph if node.inputs and not node.op.identity for shape in node.shapes
    )
    module = build(network)
    assert found.params == sum(weight.numel() for weight in module.parameters())
    assert found.peak_memory == measured_peak(module, network.input)


@every_seed
def test_the_file_imports_torch_alone_and_no_class_differs_in_numbers_only(seed: int) -> None:
    text = source(random_network(seed))
    tree = ast.parse(text)
    compile(text, "<network>", "exec")
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert set(imports) <= {"import torch", "from torch import nn", "from collections import OrderedDict"}
    forwards = {node.name: forward_of(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    instances = {type(child).__name__: child for child in build(random_network(seed), init=False).modules()}
    plans = {id(plan): plan for plan in plan_classes(structure(graph_of(seed))).values()}.values()
    kinds = Counter((plan.block.name, forwards[plan.name], outline(instances[plan.name])) for plan in plans)
    assert [kind for kind, count in kinds.items() if count > 1] == []


def forward_of(node: ast.ClassDef) -> str:
    return "".join(ast.unparse(each) for each in node.body if getattr(each, "name", "") == "forward")


def outline(module: nn.Module) -> tuple[object, ...]:
    """A module's children by name and type, whatever their numbers; an activation's type is a value too."""
    plain = {kind.__name__ for kind in ACTIVATIONS.values()} - {"Softmax"}
    return tuple(
        (
            name,
            "activation" if type(child).__name__ in plain else type(child).__name__,
            getattr(child, "inplace", False),
            outline(child),
        )
        for name, child in module.named_children()
    )


def test_the_networks_have_all_blocks_all_ops_and_all_traps() -> None:
    blocks: set[str] = set()
    kinds: set[str] = set()
    pairs: Counter[tuple[str, str]] = Counter()
    texts = ""
    for seed in SEEDS:
        graph = graph_of(seed)
        blocks |= {expansion.block.name for expansion in graph.expansions}
        kinds |= {node.op.kind for node in graph}
        pairs.update((value.node.op.kind, node.op.kind) for node in graph for value in node.inputs)
        pairs["twice", "read"] += sum(len(set(node.inputs)) < len(node.inputs) for node in graph)
        texts += source(random_network(seed))
    assert blocks >= set(registry().blocks)
    assert kinds >= {op.__name__ for op in vars(ops).values() if is_concrete(op)}
    in_place = {op.__name__ for op in vars(ops).values() if is_concrete(op) and op.in_place}
    kept = {op.__name__ for op in vars(ops).values() if is_concrete(op) and (op.saves_output or op.view)}
    assert sum(count for (maker, reader), count in pairs.items() if maker in kept and reader in in_place) > 100
    assert min(pairs["twice", "read"], pairs["ReLU", "Add"], pairs["Add", "ReLU"], pairs["Split", "Add"]) > 0
    for part in PARTS:
        assert part in texts, part


def is_concrete(op: object) -> bool:
    return isinstance(op, type) and issubclass(op, ops.Op) and op not in (ops.Op, ops.Activation)


def test_the_sources_run_where_blockforge_is_absent(tmp_path: Path) -> None:
    seeds = range(0, 150, 10)
    for seed in seeds:
        network = random_network(seed)
        module = build(network).eval()
        x = torch.randn(2, *network.input)
        with torch.no_grad():
            torch.save([module.state_dict(), x, module(x)], tmp_path / f"{seed}.pt")
        (tmp_path / f"net{seed}.py").write_text(source(network))
    script = f"""
import sys
sys.modules["blockforge"] = None
sys.path.insert(0, {str(tmp_path)!r})
import importlib, torch
torch.set_num_threads(1)
for seed in {list(seeds)}:
    module = importlib.import_module(f"net{{seed}}").Random().eval()
    weights, x, expected = torch.load(f"{tmp_path}/{{seed}}.pt")
    module.load_state_dict(weights, strict=True)
    with torch.no_grad():
        assert torch.equal(module(x), expected) or expected.isnan().any(), seed
print("equal")
"""
    ran = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("equal\n", "")


def test_a_random_network_is_the_same_by_way_of_its_file() -> None:
    for seed in range(20):
        network = random_network(seed)
        again = from_text("random:\n" + "".join(f"  {line}\n" for line in network.to_yaml().splitlines()[1:]))
        assert again == network
        assert show_shape(again.input) == show_shape(network.input)

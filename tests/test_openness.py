"""Four networks that came in as a plugin file each, held against torchvision and timm as the built-in ones are."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blockforge import Network, build, cost, get_network, source
from blockforge.assembler import assemble
from blockforge.cli import main
from blockforge.references import reference_of
from blockforge.registry import Registry, load_registry
from tests.interpreter import Interpreter, backward, unsettle
from tests.memory import measured_peak

FILES = sorted((Path(__file__).parent / "openness").glob("*.py"))
OTHER_SIZE = (3, 97, 130)  # no side of which halves evenly all the way down
LONGEST = 250  # lines of source

pytestmark = pytest.mark.usefixtures("one_thread")


def own(kind: str) -> list[tuple[Path, str]]:
    """What the files register of a kind, with the file."""
    found = []
    for file in FILES:
        registry = Registry([file])
        names = list(getattr(registry, kind))
        found += [(file, name) for name in names if registry.origin(kind, name).origin == "file"]
    return found


NETWORKS, BLOCKS = own("networks"), own("blocks")
every_network = pytest.mark.parametrize(("file", "name"), NETWORKS, ids=[name for _, name in NETWORKS])
every_block = pytest.mark.parametrize(("file", "name"), BLOCKS, ids=[name for _, name in BLOCKS])


@pytest.fixture(autouse=True)
def _loaded(file: Path) -> None:
    """The file is the only plugin beside the built-in ones."""
    load_registry([file])


def reference(name: str) -> nn.Module:
    """The network as torchvision or timm has it, under the same name with `_` for `-`; no norm or bias is trivial."""
    found = reference_of(name.replace("-", "_"))
    assert found
    assert found.make
    torch.manual_seed(0)
    module = found.make()
    unsettle(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.1)
    return module


def quiet(module: nn.Module) -> nn.Module:
    """The module in train mode without anything random."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module.train()


@pytest.mark.parametrize("file", FILES[:1])
def test_the_four_are_here_one_a_file_and_one_has_a_dash(file: Path) -> None:
    assert [name for _, name in NETWORKS] == ["mnasnet1_0", "regnet-y-400mf", "res2net50_26w_4s", "squeezenet1_1"]
    assert [each for each, _ in NETWORKS] == FILES


@every_network
def test_keys_and_logits_are_the_references(file: Path, name: str) -> None:
    theirs = reference(name).eval()
    ours = build(name, init=False).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert get_network(name).input == (3, 224, 224)
    with torch.no_grad():
        for shape in (get_network(name).input, OTHER_SIZE):
            x = torch.randn(1, *shape)
            logits = theirs(x)
            assert logits.isfinite().all()
            assert logits.std() > 0
            assert torch.equal(ours(x), logits)


@every_network
def test_gradients_and_statistics_are_the_references(file: Path, name: str) -> None:
    theirs, ours = quiet(reference(name)), quiet(build(name, init=False))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    before = {key: buffer.clone() for key, buffer in theirs.named_buffers()}
    x = torch.randn(2, 3, 64, 96)
    for module in (ours, theirs):
        backward(module(x))
    mine, others = ({key: weight.grad for key, weight in module.named_parameters()} for module in (ours, theirs))
    assert list(mine) == list(others)
    assert all(grad.abs().max() > 0 for grad in others.values())
    assert [key for key in others if not torch.equal(mine[key], others[key])] == []
    after = dict(theirs.named_buffers())
    assert [key for key in before if torch.equal(before[key], after[key])] == []  # each of them has moved
    assert [key for key, buffer in ours.named_buffers() if not torch.equal(buffer, after[key])] == []


@every_network
def test_parameters_and_macs_are_the_references_and_what_torch_counts(file: Path, name: str) -> None:
    network = get_network(name)
    found = cost(network)
    for module in (reference(name), build(network, init=False)):
        assert found.params == sum(weight.numel() for weight in module.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.to("meta").eval()(torch.empty(1, *network.input, device="meta"))
        assert 2 * found.macs == counter.get_total_flops()


@every_network
def test_peak_memory_is_as_predicted_and_no_more_than_the_references(file: Path, name: str) -> None:
    theirs = reference(name)
    ours = build(name, init=False)
    ours.load_state_dict(theirs.state_dict())
    measured = measured_peak(ours, OTHER_SIZE)
    assert cost(get_network(name).set({"input": list(OTHER_SIZE)})).peak_memory == measured
    assert measured <= measured_peak(theirs, OTHER_SIZE)


@every_network
def test_the_source_is_short_and_stands_alone(file: Path, name: str) -> None:
    text = source(name)
    assert len(text.splitlines()) <= LONGEST
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {"torch"} <= modules <= {"torch", "collections"}  # an OrderedDict names the parts of a Sequential


@every_network
def test_the_network_comes_back_from_yaml(file: Path, name: str) -> None:
    network = get_network(name)
    for flat in (False, True):
        back = Network.from_yaml(network.to_yaml(flat=flat))
        assert back == network
        assert back.hash == network.hash


@every_network
def test_the_command_line_shows_and_lists_it_without_torch(file: Path, name: str) -> None:
    network = get_network(name)
    shown = record("show", name, "--plugin", str(file))
    assert (shown["name"], shown["paper"], shown["input"]) == (name, network.paper, [3, 224, 224])
    found = cost(network)
    assert (shown["totals"]["params"], shown["totals"]["macs"]) == (found.params, found.macs)
    listed = record("list", "--plugin", str(file))
    assert [each["name"] for each in listed["networks"] if each["plugin"] == file.stem] == [name]
    assert [each["name"] for each in listed["blocks"] if each["origin"] == "file"] == [
        block for each, block in BLOCKS if each == file
    ]
    code = (
        "import sys\nfrom blockforge.cli import main\n"
        f"main(['show', {name!r}, '--plugin', {str(file)!r}], standalone_mode=False)\n"
        f"main(['list', '--plugin', {str(file)!r}], standalone_mode=False)\n"
        "print(*({'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "BLOCKFORGE_DISABLE_PLUGINS": "all"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.strip() == ""
    assert done.stdout.startswith(f"{name}: {network.settings.about}\n")
    assert f"{found.params:,}" in done.stdout


def record(*arguments: str) -> dict:
    result = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


@every_block
def test_its_blocks_work_in_a_built_in_network(file: Path, name: str) -> None:
    network = get_network("resnet18").set({"layer2.block": name, "input": [3, 64, 96]})
    interpreter = Interpreter(assemble(network))
    module = build(network, init=False)
    unsettle(interpreter)
    module.load_state_dict(interpreter.state_dict(), strict=True)
    assert list(module.state_dict()) == list(interpreter.state_dict())
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(module.eval()(x), interpreter.eval()(x))


@every_network
def test_verify_finds_no_difference(file: Path, name: str) -> None:
    done = CliRunner().invoke(main, ["verify", name, "--plugin", str(file), "--json"])
    assert done.exit_code == 0, done.stderr
    (verdict,) = json.loads(done.stdout)
    assert (verdict["same"], verdict["keys"], verdict["params"], verdict["macs"]) == (True, True, True, True)
    assert verdict["difference"] == 0

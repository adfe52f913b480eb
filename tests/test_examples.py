"""The README's examples of blocks, as plugins: built alone and inside of networks, trained, exported, counted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from blockforge import Network, OpError, build, cost, get_network, source
from blockforge.assembler import graph_of
from blockforge.codegen.lifetime import peak_elements
from blockforge.registry import Registry, get_registry, load_registry
from tests.interpreter import unsettle
from tests.memory import measured_peak

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Examples of blocks\n")[2].partition("\n## ")[0]
FILES = dict(re.findall(r"^<!-- file: (\S+) -->\n```python\n(.*?)^```$", SECTION, re.S | re.M))
BLOCKS = ("ghost", "blur_conv", "large_kernel", "non_local")
# What keeps its input's shape, and has no width, stands in a residual block; the others are a stage's block.
PLACES = {"non_local": "layer{}.attention"}

pytestmark = pytest.mark.usefixtures("examples", "one_thread")


@pytest.fixture
def examples(tmp_path: Path) -> Registry:
    """The examples as plugin files that were loaded."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return load_registry([tmp_path / name for name in FILES])


def in_network(base: str, block: str, *layers: int) -> Network:
    """A small network with the example in these stages."""
    place = PLACES.get(block, "layer{}.block")
    edits = {place.format(layer): block for layer in layers}
    # After one step in training the statistics are those of its batch.
    return get_network(base).set({**edits, "input": [3, 71, 97], "classes": 5, "norm.momentum": 1.0})


def counted(module: torch.nn.Module, *xs: torch.Tensor) -> float:
    """MACs of convolutions and linear layers: torch's count without products of two tensors of activations."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*xs)
    flops = counter.get_flop_counts()["Global"]
    return sum(count for op, count in flops.items() if "bmm" not in str(op)) / 2


def test_the_section_has_four_plugins_that_register_four_blocks() -> None:
    registry = get_registry()
    assert tuple(name for name in registry.blocks if registry.origin("blocks", name).origin == "file") == BLOCKS
    assert SECTION.count("<details>") == SECTION.count("</details>") == len(FILES) == len(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
def test_each_names_its_paper_and_explains_itself_and_its_fields(name: str) -> None:
    cls = get_registry().block(name)
    text = next(text for file, text in FILES.items() if f"class {cls.__name__}(Block)" in text)
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", cls.paper)
    assert cls.paper in text.partition("\n")[0]
    assert cls.about
    for field in cls.model_fields:
        assert re.search(rf"^    {field}: .* = .*  # \w", text, re.MULTILINE), field
    assert len(text.splitlines()) <= 100


@pytest.mark.parametrize("shape", [(6, 7, 9), (16, 13, 8), (1, 5, 5)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("name", BLOCKS)
def test_alone_it_is_what_its_graph_says(name: str, stride: int, shape: tuple[int, ...]) -> None:
    cls = get_registry().block(name)
    block = cls(**({"stride": stride, "width": 12} if "stride" in cls.model_fields else {}))
    graph = graph_of(block, shape)
    module = build(block, input=shape)
    x = torch.randn(2, *shape)
    output = module(x)
    assert tuple(output.shape[1:]) == graph.outputs["output"].shape
    output.sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())
    assert sum(node.params for node in graph) == sum(weight.numel() for weight in module.parameters())
    assert sum(node.macs for node in graph) == counted(module, x[:1])
    assert 4 * peak_elements(graph) == measured_peak(module, shape)
    for node in graph:
        weights = {key: tuple(w.shape) for key, w in module.named_parameters() if key.startswith(f"{node.name}.")}
        own = {f"{node.name}.{key}": shape for key, shape in node.op.weights(*node.input_shapes).items()}
        assert list(own.items()) == list(weights.items())


@pytest.mark.parametrize("base", ["resnet18", "resnet50"])
@pytest.mark.parametrize("name", BLOCKS)
def test_inside_of_a_network_it_counts_trains_and_loads(name: str, base: str) -> None:
    network = in_network(base, name, 2, 3)
    torch.manual_seed(0)
    module = build(network)
    x = torch.randn(2, 3, 71, 97)
    found = cost(network)
    assert found.params == sum(weight.numel() for weight in module.parameters())
    assert found.macs == counted(module, x[:1])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    loss = torch.nn.functional.cross_entropy(module.train()(x), torch.tensor([1, 3]))
    loss.backward()
    # Softmax over pixels ignores what all keys have in common.
    still = [name for name, weight in module.named_parameters() if not weight.grad.any()]
    assert all(name.endswith("key.bias") for name in still)
    optimizer.step()
    assert torch.nn.functional.cross_entropy(module(x), torch.tensor([1, 3])) != loss
    other = build(network, init=False)
    other.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        output = module.eval()(x)
        assert output.isfinite().all()
        assert torch.equal(other.eval()(x), output)


@pytest.mark.parametrize("name", BLOCKS)
def test_its_source_runs_where_blockforge_is_absent(name: str, tmp_path: Path) -> None:
    network = in_network("resnet18", name, 2)
    module = build(network)
    unsettle(module)
    x = torch.randn(1, 3, 71, 97)
    with torch.no_grad():
        torch.save([module.state_dict(), x, module.eval()(x)], tmp_path / "saved.pt")
    (tmp_path / "exported.py").write_text(source(network), encoding="utf-8")
    script = f"""
import sys
sys.modules["blockforge"] = None
sys.path.insert(0, {str(tmp_path)!r})
import exported, torch
torch.set_num_threads(1)
weights, x, expected = torch.load({str(tmp_path / "saved.pt")!r})
module = exported.Resnet18().eval()
module.load_state_dict(weights, strict=True)
with torch.no_grad():
    print(torch.equal(module(x), expected))
"""
    ran = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert ran.stdout == "True\n", ran.stderr


# -- what each is, by its paper


def test_a_ghost_costs_a_fraction_of_the_convolution_that_it_stands_for() -> None:
    ghost = get_registry().block("ghost")
    plain = 64 * 64 * 9 * 14 * 14
    for ratio in (2, 4):
        macs = sum(node.macs for node in graph_of(ghost(width=64, kernel=3, ratio=ratio), (64, 14, 14)))
        cheap = (64 - 64 // ratio) * 9 * 14 * 14
        assert macs == plain / ratio + cheap
    with pytest.raises(OpError) as caught:
        graph_of(ghost(width=65), (64, 14, 14))
    assert str(caught.value) == "ghost: ratio=2 must divide width=65; use a divisor of 65"


def test_a_blur_keeps_what_is_constant_and_removes_stripes() -> None:
    blur = get_registry().block("blur_conv")
    for taps in (1, 2, 3, 4, 5):
        pool = build(blur(width=2, stride=2, taps=taps), input=(2, 9, 12)).blur
        assert torch.allclose(pool(torch.ones(1, 2, 9, 12)), torch.ones(1, 2, 5, 6))
        stripes = torch.tensor([1.0, -1.0]).repeat(6).expand(1, 2, 9, 12)
        inside = pool(stripes)[..., 1:-1]
        assert torch.allclose(inside, torch.full_like(inside, float(taps == 1)), atol=1e-6)
    with pytest.raises(OpError) as caught:
        graph_of(blur(width=2, stride=2, taps=5), (2, 2, 9))
    assert str(caught.value) == "blur: taps=5 is too wide for 2x9 pixels; use a larger input or fewer taps"


def test_a_large_kernel_starts_as_the_identity_nearly_and_normalises_channels() -> None:
    module = build(get_registry().block("large_kernel")(width=8), input=(8, 9, 9))
    x = torch.randn(2, 8, 9, 9)
    assert torch.allclose(module(x), x, atol=1e-4)
    assert not torch.equal(module(x), x)
    normal = module.norm(x)
    assert torch.allclose(normal.mean(1), torch.zeros(2, 9, 9), atol=1e-6)
    assert torch.allclose(normal.var(1, unbiased=False), torch.ones(2, 9, 9), atol=1e-3)
    assert module.layer_scale.weight.shape == (8, 1, 1)


def test_attention_is_torchs_without_its_scale() -> None:
    module = build(get_registry().block("non_local")(), input=(6, 5, 4)).eval()
    unsettle(module)
    x = torch.randn(2, 6, 5, 4)
    query, key, value = (getattr(module, name)(x).flatten(2).transpose(1, 2) for name in ("query", "key", "value"))
    y = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    y = module.bn(module.out(y.transpose(1, 2).reshape(2, 3, 5, 4))) + x
    assert torch.allclose(module(x), y, atol=1e-5)
    (attend,) = [node.op for node in graph_of(get_registry().block("non_local")(), (6, 5, 4)) if node.name == "attend"]
    with pytest.raises(OpError) as caught:
        attend.shape((3, 4, 4), (3, 4, 5), (3, 4, 4))
    shapes = "(3, 4, 4), (3, 4, 5), (3, 4, 4)"
    assert str(caught.value) == (
        f"Attend takes queries and keys of one shape, and values as large, not {shapes}; mend them"
    )

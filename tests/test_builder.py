"""Built modules as people use them: hooks, printing, copies, files, export, tracebacks, weights, threads."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.utils.checkpoint
import torchvision
from blockforge.plugins.bottleneck import Bottleneck
from blockforge.plugins.inverted_residual import InvertedResidual
from blockforge.plugins.plain import Add, Classifier, Conv, Linear
from blockforge.plugins.residual import Residual
from torch import nn

from blockforge import BlockforgeError, Network, build, get_network, source
from blockforge.builder import initialise, make, module_of
from blockforge.codegen.text import source_of
from blockforge.graph import Graph
from blockforge.ops import Argument, Call, Op, Shape
from blockforge.settings import Init

SMALL = Network.from_yaml("""
name: small
input: [3, 16, 16]
classes: 4
stages:
  stem: {block: conv, width: 8, scope: stem}
  layer1: {block: residual, width: 8, depth: 2}
  layer2: {block: bottleneck, width: 16, depth: 2, stride: 2}
  head: {block: classifier, width: classes, scope: ""}
""")


def small() -> nn.Module:
    torch.manual_seed(0)
    return build(SMALL).eval()


def run(script: str, *options: str) -> str:
    """What a fresh Python prints."""
    ran = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# -- as people use it


def test_a_hook_on_the_last_block_sees_what_later_ops_have_not_touched() -> None:
    module = build("resnet18", classes=10, input=(3, 64, 64)).eval()
    seen = {}
    module.layer4[-1].register_forward_hook(lambda _, args, output: seen.update(args=args[0], output=output))
    x = torch.randn(2, 3, 64, 64)
    module(x)
    kept = seen["output"].clone()
    rest = module.fc(torch.flatten(module.avgpool(kept), 1))
    assert torch.equal(rest, module(x))
    assert torch.equal(seen["output"], kept)
    block = copy.deepcopy(module.layer4[-1])
    assert torch.equal(block(seen["args"]), kept)


def test_a_stage_may_be_wrapped_block_by_block() -> None:
    module = small()
    x = torch.randn(2, 3, 16, 16)
    before = module(x)

    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)

    for index, block in enumerate(module.layer2):
        module.layer2[index] = Wrapper(block)
    assert torch.equal(module(x), before)


def test_printing_shows_the_structure_that_torchvision_prints() -> None:
    def lines(module: nn.Module) -> list[str]:
        text = str(module).replace("ResNet(", "Resnet50(")
        return [line.split("(")[1].split(")")[0] for line in text.splitlines() if line.startswith(("  (", "    ("))]

    ours, theirs = build("resnet50", init=False), torchvision.models.resnet50()
    assert lines(ours) == lines(theirs)
    for name, child in theirs.named_children():
        mine = ours.get_submodule(name)
        assert type(mine) is type(child)
        if name != "avgpool":  # 1 and (1, 1) are the same to it
            assert str(mine) == str(child) or list(child.children())
    assert str(ours.layer1[0].downsample) == str(theirs.layer1[0].downsample)


def test_printed_text() -> None:
    norm = "eps=1e-05, momentum=0.1, affine=True, track_running_stats=True"
    text = str(build(SMALL.set({"layer1.depth": 1, "layer2.depth": 1, "layer2.block": "residual"})))
    assert (
        text.replace("affine=True, bias=True,", "affine=True,")
        == f"""\
Small(
  (stem): Conv(
    (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    (1): BatchNorm2d(8, {norm})
    (2): ReLU(inplace=True)
  )
  (layer1): Sequential(
    (0): Residual(
      (conv1): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (bn1): BatchNorm2d(8, {norm})
      (relu1): ReLU(inplace=True)
      (conv2): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (bn2): BatchNorm2d(8, {norm})
      (relu2): ReLU(inplace=True)
    )
  )
  (layer2): Sequential(
    (0): ResidualDownsample(
      (conv1): Conv2d(8, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
      (bn1): BatchNorm2d(16, {norm})
      (relu1): ReLU(inplace=True)
      (conv2): Conv2d(16, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (bn2): BatchNorm2d(16, {norm})
      (downsample): Sequential(
        (0): Conv2d(8, 16, kernel_size=(1, 1), stride=(2, 2), bias=False)
        (1): BatchNorm2d(16, {norm})
      )
      (relu2): ReLU(inplace=True)
    )
  )
  (avgpool): AdaptiveAvgPool2d(output_size=1)
  (fc): Linear(in_features=16, out_features=4, bias=True)
)"""
    )


def test_deepcopy_is_independent_and_equal() -> None:
    module = small()
    twin = copy.deepcopy(module)
    x = torch.randn(1, 3, 16, 16)
    assert type(twin) is type(module)
    assert torch.equal(twin(x), module(x))
    twin.fc.weight.data.zero_()
    assert not torch.equal(twin(x), module(x))


def test_pickle_and_torch_save_reach_a_fresh_process(tmp_path: Path) -> None:
    module = small()
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        torch.save({"module": module, "block": module.layer2[0], "x": x, "y": module(x)}, tmp_path / "module.pt")
    (tmp_path / "module.pickle").write_bytes(pickle.dumps(module))
    assert (
        run(f"""
import pickle, torch
torch.set_num_threads({torch.get_num_threads()})
saved = torch.load({str(tmp_path / "module.pt")!r}, weights_only=False)
again = pickle.load(open({str(tmp_path / "module.pickle")!r}, "rb"))
with torch.no_grad():
    print(torch.equal(saved["module"](saved["x"]), saved["y"]), torch.equal(again(saved["x"]), saved["y"]))
print(type(saved["module"]).__name__, type(saved["block"]).__name__, again.training, len(again.layer1))
""")
        == "True True\nSmall BottleneckDownsample False 2\n"
    )


class Derived:
    """Somebody's subclass of a generated class, as sharding libraries make them: pickled by its own name."""


def test_a_subclass_is_pickled_as_itself() -> None:
    base = type(small())
    kind = type("Derived", (base,), {"__module__": __name__, "__qualname__": "Derived"})
    globals()["Derived"] = kind
    again = pickle.loads(pickle.dumps(kind()))
    assert type(again) is kind


def test_the_state_dict_alone_loads_with_weights_only() -> None:
    module = small()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = build(SMALL, init=False)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(other.eval()(x), module(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_torch_export() -> None:
    module = small()
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(module, (x,))
    assert torch.equal(program.module()(x), module(x))
    assert set(program.state_dict) == set(module.state_dict())


def test_a_traceback_shows_the_generated_line() -> None:
    with pytest.raises(RuntimeError) as caught:
        small()(torch.randn(1, 4, 16, 16))
    text = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert "\n    x = self.stem(x)\n" in text
    assert '"<blockforge small ' in text
    assert "expected input[1, 4, 16, 16] to have 3 channels, but got 4 channels instead" in text


def test_inspect_shows_a_class() -> None:
    module = small()
    assert inspect.getsource(type(module.layer1[0])).startswith("class Residual(nn.Module):\n    def __init__(self")
    assert inspect.getsource(type(module)).rstrip() in source(SMALL)


def test_the_source_runs_alone_where_blockforge_is_absent(tmp_path: Path) -> None:
    module = build("mobilenet_v2", classes=10, input=(3, 64, 64)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.save([module.state_dict(), x, module(x)], tmp_path / "saved.pt")
    (tmp_path / "net.py").write_text(source(get_network("mobilenet_v2").set({"classes": 10, "input": [3, 64, 64]})))
    script = f"""
import sys
sys.modules["blockforge"] = None
sys.path.insert(0, {str(tmp_path)!r})
import net, torch
torch.set_num_threads({torch.get_num_threads()})
weights, x, expected = torch.load({str(tmp_path / "saved.pt")!r})
module = net.MobilenetV2().eval()
module.load_state_dict(weights, strict=True)
with torch.no_grad():
    print(torch.equal(module(x), expected))
"""
    assert run(script, "-I") == "True\n"


# -- what build takes


def test_classes_input_channels_and_edits() -> None:
    module = build("resnet18", init=False, classes=7, in_channels=1, edits={"layer1.depth": 1, "layer4.width": 96})
    assert module.conv1.in_channels == 1
    assert (module.fc.in_features, module.fc.out_features) == (96, 7)
    assert len(module.layer1) == 1
    assert module.training
    assert build("lenet5", init=False, input=(1, 28, 28)).fc1.in_features == 256
    assert build("lenet5", init=False, input=[3, 32, 32]).conv1.in_channels == 3
    same = {"in_channels": 3, "input": (3, 40, 40), "edits": {"input": [3, 40, 40], "classes": 4}, "classes": 4}
    assert build("lenet5", init=False, **same).fc1.in_features == 16 * 7 * 7
    assert get_network("resnet18").classes == 1000


def test_a_network_and_a_path_are_built_too(tmp_path: Path) -> None:
    file = tmp_path / "nets.yaml"
    file.write_text(
        "tiny:\n  input: [3, 8, 8]\n  classes: 3\n  stages:\n    head: {block: classifier, width: classes}\n"
    )
    for what in (file, str(file), f"{file}#tiny", get_network(file)):
        assert build(what)(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_a_single_block_is_a_module_for_anybodys_model() -> None:
    block = build(Bottleneck(width=256), input=(64, 56, 56))
    assert type(block).__name__ == "Bottleneck"
    assert block(torch.randn(2, 64, 14, 14)).shape == (2, 256, 14, 14)
    assert next(iter(block.state_dict())) == "conv1.weight"
    assert [type(layer).__name__ for layer in build(Conv(width=4), input=[3, 8, 8])] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
    ]
    both = build(Add(), input=[(4, 2, 2), (4, 2, 2)])
    x, y = torch.randn(2, 1, 4, 2, 2)
    assert torch.equal(both(x, y), x + y)
    model = nn.Sequential(nn.Conv2d(3, 24, 3), build(InvertedResidual(width=24), input=(24, 6, 6)))
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert torch.equal(pickle.loads(pickle.dumps(both))(x, y), x + y)


def test_a_block_inside_of_one_of_its_name() -> None:
    text = str(type(build(Classifier(width=3), input=(4, 2, 2))))
    assert text.endswith(".Classifier'>")
    assert build(Linear(width=3), input=(4, 2, 2))(torch.randn(1, 4, 2, 2)).shape == (1, 3)


ALONE = "residual: a single block is built by its input's shape alone; write build(block, input=(64, 56, 56))"


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("resnet18", {"input": 5}, "resnet18: input: must be a list, but is 5"),
        ("resnet18", {"input": 5, "in_channels": 1}, "resnet18: input: must be a list, but is 5"),
        (
            "resnet18",
            {"in_channels": 1, "edits": {"input": [3, 64, 64]}},
            "build: in_channels=1 and edits={'input': [3, 64, 64]} contradict each other; leave one out",
        ),
        (
            "resnet18",
            {"in_channels": 1, "input": (3, 64, 64)},
            "build: in_channels=1 and input=(3, 64, 64) contradict each other; leave one out",
        ),
        (
            "resnet18",
            {"input": (3, 32, 32), "edits": {"input": [3, 64, 64]}},
            "build: input=(3, 32, 32) and edits={'input': [3, 64, 64]} contradict each other; leave one out",
        ),
        (
            "resnet18",
            {"classes": 5, "edits": {"classes": 7}},
            "build: classes=5 and edits={'classes': 7} contradict each other; leave one out",
        ),
        (
            "resnet18",
            {"edits": "layer3.depth=2"},
            "build: edits are a mapping, but got 'layer3.depth=2'; write {\"layer3.depth\": 2}",
        ),
        (
            "resnet18",
            {"input": (3, 8)},
            "resnet18: input: must be [channels, height, width], or [features], but is [3, 8]",
        ),
        ("resnet18", {"in_channels": 0}, "resnet18: input.0: must be at least 1, but is 0"),
        ("resnet18", {"classes": 0}, "resnet18: classes: must be at least 1, but is 0"),
        ("resnet18", {"edits": {"layer1.dept": 1}}, "resnet18: layer1.dept: "),
        ("resnet19", {}, "resnet19: no network of this name; did you mean "),
        (5, {}, "build: takes a network, its name or path, or a block such as Conv(), but got 5"),
        (
            Bottleneck,
            {},
            "build: takes a network, its name or path, or a block such as Conv(), but got"
            " <class 'blockforge.plugins.bottleneck.Bottleneck'>",
        ),
        (
            Residual(),
            {},
            ALONE,
        ),
        (
            Residual(),
            {"input": (64, 8, 8), "classes": 3},
            ALONE,
        ),
        (Residual(), {"input": 5}, "residual: input=5 is no shape; write (64, 56, 56), or a list of such"),
        (Residual(), {"input": ()}, "residual: input=() is no shape; write (64, 56, 56), or a list of such"),
        (
            Residual(),
            {"input": (64, -1)},
            "residual: input=(64, -1) is no shape; write (64, 56, 56), or a list of such",
        ),
        (
            Residual(),
            {"input": [(64,), 5]},
            "residual: input=[(64,), 5] is no shape; write (64, 56, 56), or a list of such",
        ),
        (
            Residual(),
            {"input": [(4, 4, 4)] * 2},
            "residual: takes 1 input(s), but got 2; give it as many shapes",
        ),
        (
            Residual(),
            {"input": (64,)},
            "conv1: Conv2d takes (C, H, W), but its input is (64,); feed it feature maps",
        ),
    ],
)
def test_what_can_not_be_built(what: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(BlockforgeError) as caught:
        build(what, **options)
    text = str(caught.value)
    assert text == message if message[-1] != " " else text.startswith(message)


# -- weights


def test_without_init_the_statistics_are_sound_and_everything_else_is_for_loading() -> None:
    module = build("resnet18", init=False)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert torch.equal(layer.running_mean, torch.zeros_like(layer.running_mean))
            assert torch.equal(layer.running_var, torch.ones_like(layer.running_var))
            assert layer.num_batches_tracked == 0
    torch.manual_seed(0)
    before = torch.get_rng_state()
    build("resnet18", init=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["lenet5", "resnet18_cifar", "mobilenet_v2"])
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    torch.manual_seed(3)
    first = build(name).state_dict()
    torch.manual_seed(3)
    second = build(name).state_dict()
    other = build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_default_is_torchs_own() -> None:
    torch.manual_seed(0)
    module = build("lenet5")
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 6, 5),
        nn.Conv2d(6, 16, 5),
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, 10),
    ]
    for name, layer in zip(("conv1", "conv2", "fc1", "fc2", "fc3"), layers, strict=True):
        assert torch.equal(getattr(module, name).weight, layer.weight)
        assert torch.equal(getattr(module, name).bias, layer.bias)


def spread(scheme: str, fan_in: int, fan_out: int) -> float:
    """The standard deviation of the weights that a scheme draws."""
    return {
        "default": (1 / (3 * fan_in)) ** 0.5,
        "kaiming_normal_fan_out": (2 / fan_out) ** 0.5,
        "kaiming_normal_fan_in": (2 / fan_in) ** 0.5,
        "normal_0.01": 0.01,
        "trunc_normal_0.01": 0.01,
        "zeros": 0.0,
    }[scheme]


@pytest.mark.parametrize("scheme", get_args(Init.model_fields["conv"].annotation))
def test_each_scheme_draws_weights_of_its_spread(scheme: str) -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"conv": nn.Conv2d(64, 128, 3), "linear": nn.Linear(256, 128), "norm": nn.BatchNorm2d(4)})
    initialise(module, Init(conv=scheme, linear=scheme, conv_bias=scheme if scheme == "zeros" else "default"))
    assert module.conv.weight.std().item() == pytest.approx(spread(scheme, 576, 1152), rel=0.03)
    assert module.linear.weight.std().item() == pytest.approx(spread(scheme, 256, 128), rel=0.03)
    assert abs(module.conv.weight.mean().item()) < 0.002
    assert module.conv.bias.abs().max() <= (0 if scheme == "zeros" else 1 / 24)
    assert module.linear.bias.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.2)
    assert torch.equal(module.norm.weight, torch.ones(4))


def test_building_in_one_thread_leaves_the_layers_of_another_alone() -> None:
    stop, failed = threading.Event(), []

    def construct() -> None:
        while not stop.is_set():
            for layer in (nn.Conv2d(2, 3, 3), nn.Linear(3, 4)):
                with torch.no_grad():
                    layer.weight.fill_(7.0)
                    layer.reset_parameters()
                if layer.weight.abs().max() > 1:
                    failed.append(layer)

    thread = threading.Thread(target=construct)
    thread.start()
    for _ in range(20):
        build("resnet18_cifar", init=False)
    stop.set()
    thread.join()
    assert failed == []
    assert nn.Conv2d.reset_parameters is nn.modules.conv._ConvNd.reset_parameters
    assert nn.Conv2d.reset_parameters.__qualname__ == "_ConvNd.reset_parameters"


HELPER = '''\
class Mixer(nn.Module):
    """A layer of somebody's own, which draws its own weights."""

    def __init__(self, width):
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5))

    def forward(self, x):
        return self.up(x) * self.scale
'''


class Mix(Op):
    """An op that no network of ours has."""

    helper = HELPER

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        channels = inputs[0][0]
        return {"scale": (channels, 1, 1), "up.weight": (channels, channels, 1, 1), "up.bias": (channels,)}

    def call(self, *inputs: Shape) -> Call:
        return Call("Mixer", (Argument("width", inputs[0][0], positional=True),))


def test_a_foreign_layer_draws_its_own_weights_whatever_is_declared() -> None:
    graph = Graph()
    x = graph.input((8, 4, 4))
    graph.outputs["output"] = graph.add("mix", Mix(), (x,), None)
    text = source_of(graph, "Net", "a net")
    for init in (None, Init(conv="zeros")):
        torch.manual_seed(0)
        module = make(text, init)
        assert torch.equal(module.mix.scale, torch.full((8, 1, 1), 0.5))
        assert 0 < module.mix.up.weight.abs().max() < 1
    assert module_of(text) is module_of(text)
    assert sum(node.params for node in graph) == sum(weight.numel() for weight in module.parameters())

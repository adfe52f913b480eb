"""The plain blocks' less usual forms: local response normalisation, dropout and a classifier without a linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from blockforge import assemble, build, get_network
from blockforge.errors import BlockforgeError
from blockforge.network import Network
from blockforge.registry import get_registry

LocalResponseNorm: Any = get_registry().block("local_response_norm")
Dropout: Any = get_registry().block("dropout")
Classifier: Any = get_registry().block("classifier")


def network(folder: Path, text: str) -> Network:
    file = folder / "net.yaml"
    file.write_text(text)
    return get_network(file)


def test_local_response_norm_is_torch_s_with_the_paper_s_numbers():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(build(LocalResponseNorm(), input=(8, 4, 4))(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x))
    assert torch.equal(build(LocalResponseNorm(size=3, k=1.0), input=(8, 4, 4))(x), nn.LocalResponseNorm(3)(x))


def test_local_response_norm_takes_maps_only(tmp_path: Path):
    text = "input: [8]\nstages: {fc: {block: linear, width: 4}, lrn: {block: local_response_norm}}\n"
    with pytest.raises(BlockforgeError) as caught:
        assemble(network(tmp_path, text))
    assert (
        str(caught.value) == "net: lrn: LocalResponseNorm takes (C, H, W), but its input is (4,); feed it feature maps"
    )


def test_norm_and_pool_change_places_by_their_stages(tmp_path: Path):
    after = network(tmp_path, "extends: alexnet_2012\nstages: {norm1: {after: pool1}, norm2: {after: pool2}}\n")
    order = [node.name for node in assemble(after) if node.name.startswith(("norm", "pool"))]
    assert order == ["pool1", "norm1", "pool2", "norm2", "pool5"]


def test_dropout_drops_in_training_alone():
    module = build(Dropout(p=0.25), input=(64, 8, 8))
    x = torch.ones(4, 64, 8, 8)
    assert torch.equal(module.eval()(x), x)
    assert (module.train()(x) == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("pool", ["adaptive", "mean"])
def test_a_classifier_without_width_averages_the_classes_maps(pool: str):
    x = torch.randn(2, 10, 5, 5)
    module = build(Classifier(width=None, pool=pool), input=(10, 5, 5))
    assert list(module.state_dict()) == []
    torch.testing.assert_close(module(x), x.mean((2, 3)))


def test_a_classifier_s_width_scales(tmp_path: Path):
    text = "input: [8, 4, 4]\nstages: {head: {block: classifier, width: %s}}\n"
    (tmp_path / "base.yaml").write_text(text % 16)
    wide = network(tmp_path, f"extends: {tmp_path / 'base.yaml'}\nscale: {{width: 2.0}}\n")
    assert wide.stages["head"].block.parameters() == {"width": 32}
    (tmp_path / "base.yaml").write_text(text % "null")
    wide = network(tmp_path, f"extends: {tmp_path / 'base.yaml'}\nscale: {{width: 2.0}}\n")
    assert wide.stages["head"].block.parameters() == {"width": None}


def test_alexnet_starts_with_the_paper_s_biases():
    module = build("alexnet_2012", edits={"fc6.width": 8, "fc7.width": 8})
    ones = [key for key, value in module.state_dict().items() if key.endswith("bias") and bool((value == 1).all())]
    zeros = [key for key, value in module.state_dict().items() if key.endswith("bias") and bool((value == 0).all())]
    assert ones == ["conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"]
    assert zeros == ["conv1.bias", "conv3.bias", "fc8.bias"]

"""The training of a trial, on the digits and on made-up images."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from blockforge.builder import build
from blockforge.errors import BlockforgeError
from blockforge.network import get_network
from blockforge.registry import get_registry
from blockforge.study.data import Split, Splits
from blockforge.study.training import (
    NotFiniteError,
    TrainSettings,
    accuracy,
    augment,
    bf16_pays,
    layout,
    to_device,
    train,
    train_settings,
)

CPU = torch.device("cpu")


def silent(step, **metrics):
    """Nobody listens."""


@pytest.fixture(scope="module")
def digits():
    torch.set_num_threads(1)
    return to_device(get_registry().dataset("digits").load(), CPU)


def small_network():
    return build(
        get_network("resnet18_cifar").set({"input": [1, 8, 8], "classes": 10, "layer*.width": 8, "layer*.depth": 1})
    )


def trained(digits, *, bf16=False, seed=0, **settings):
    torch.manual_seed(seed)
    module, steps = small_network(), []
    metrics = train(
        module,
        digits,
        TrainSettings(**settings),
        lambda step, **values: steps.append((step, values)),
        bf16=bf16,
    )
    return module, metrics, steps


def test_a_small_network_learns_the_digits_and_tells_each_epoch(digits):
    module, metrics, steps = trained(digits, epochs=4, batch=64)
    assert metrics["accuracy"] > 0.85
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert steps[-1][1] == metrics
    assert accuracy(module, digits.validation) == metrics["accuracy"]
    assert steps[0][1]["loss"] > 2 * metrics["loss"]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_seed_gives_the_same_bits_and_another_seed_others(digits, bf16):
    first, again, other = (
        trained(digits, epochs=1, batch=256, bf16=bf16, seed=seed, shift=1, flip=True)[0].state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_bf16_learns_as_well_and_keeps_float32_weights(digits):
    module, metrics, _ = trained(digits, epochs=4, batch=64, bf16=True)
    assert metrics["accuracy"] > 0.85
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_a_loss_that_explodes_is_an_error_that_names_the_epoch_and_lr(digits):
    with pytest.raises(NotFiniteError) as caught:
        trained(digits, epochs=3, batch=64, lr=1e30)
    assert str(caught.value) == "the loss is nan in epoch 1; lower lr, which is 1e+30"


@pytest.mark.parametrize(("count", "batch"), [(3, 2), (129, 128), (5, 128)])
def test_no_batch_has_a_single_image_which_batch_norm_refuses(count, batch):
    rng = np.random.default_rng(0)
    split = Split(rng.standard_normal((count, 2, 1, 1)).astype(np.float32), np.arange(count) % 2)
    sizes = []
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])) if module.training else None)
    train(
        module,
        to_device(Splits(split, split, split), CPU),
        TrainSettings(epochs=1, batch=batch),
        silent,
        bf16=False,
    )
    assert sum(sizes) == count
    assert min(sizes) > 1


def test_accuracy_counts_hits_and_leaves_the_module_in_eval_mode():
    images = torch.eye(4)[:, :, None, None]
    module = nn.Flatten()
    assert accuracy(module, (images, torch.tensor([0, 1, 2, 0]))) == 0.75
    assert not module.training


def test_a_shift_moves_each_image_on_its_own_by_at_most_so_many_pixels():
    torch.manual_seed(0)
    images = torch.randn(64, 2, 5, 6)
    shifted = augment(images, TrainSettings(shift=1))
    wide = nn.functional.pad(images, [1] * 4, mode="replicate")
    moves = []
    for image, result in zip(wide, shifted, strict=True):
        fits = [(y, x) for y in range(3) for x in range(3) if torch.equal(image[:, y : y + 5, x : x + 6], result)]
        assert len(fits) == 1
        moves += fits
    assert len(set(moves)) == 9


def test_a_flip_mirrors_about_half_of_the_images():
    torch.manual_seed(0)
    images = torch.randn(200, 1, 3, 3)
    flipped = augment(images, TrainSettings(flip=True))
    mirrored = [torch.equal(image.flip(2), result) for image, result in zip(images, flipped, strict=True)]
    kept = [torch.equal(image, result) for image, result in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 60 < sum(mirrored) < 140
    assert augment(images, TrainSettings()) is images


def test_strided_depthwise_convolutions_stay_in_float32_on_the_cpu():
    assert not bf16_pays(nn.Conv2d(8, 8, 3, 2, groups=8), CPU)
    assert bf16_pays(nn.Conv2d(8, 8, 3, 1, groups=8), CPU) == bf16_pays(nn.Conv2d(8, 8, 3, 2), CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"epoch": 3},
            "train.epoch: train has no parameter 'epoch'; did you mean 'epochs'? "
            "it has epochs, batch, lr, weight_decay, warmup, label_smoothing, shift, flip",
        ),
        ({"epochs": 0}, "train.epochs: must be at least 1, but is 0"),
        ({"batch": 1}, "train.batch: must be at least 2, but is 1"),
        (
            {"lr": "fast"},
            "train.lr: must be a number, but is 'fast'",
        ),
    ],
)
def test_mistakes_in_training_settings(values, message):
    with pytest.raises(BlockforgeError) as caught:
        train_settings(values)
    assert str(caught.value) == message


def narrow(stride: int, channels: int, kernel: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, 8, kernel, stride=stride))


def test_the_layout_is_channels_last_unless_a_kernel_of_onednn_would_write_past_its_buffer():
    assert [layout(narrow(stride, channels), CPU) for stride, channels in ((1, 4), (2, 16), (2, 4), (2, 15))] == [
        torch.channels_last,
        torch.channels_last,
        torch.contiguous_format,
        torch.contiguous_format,
    ]
    assert layout(narrow(2, 4, kernel=3), CPU) == torch.channels_last
    assert layout(narrow(2, 4), torch.device("cuda")) == torch.channels_last


def test_narrow_strided_shortcuts_train_without_a_corrupted_heap():
    # In a process of its own, since what this guards against aborts the whole one.
    code = """
import torch
from blockforge import build
from blockforge.registry import get_registry
from blockforge.study.training import TrainSettings, to_device, train
torch.set_num_threads(1)
data = to_device(get_registry().dataset("digits").load(), torch.device("cpu"))
edits = {"input": [1, 8, 8], "classes": 10, "stem.width": 8, "layer*.width": 4, "layer*.depth": 1}
for seed in range(2):
    torch.manual_seed(seed)
    module = build("resnet18_cifar", edits=edits)
    train(module, data, TrainSettings(epochs=4), lambda *a, **k: None, bf16=False)
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr

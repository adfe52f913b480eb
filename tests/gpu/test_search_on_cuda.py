"""What needs a GPU: agreement with the CPU, a short search, and workers that share devices."""

from __future__ import annotations

import pytest
import torch

from blockforge.builder import build
from blockforge.registry import get_registry
from blockforge.study.bench import Bench
from blockforge.study.driver import search
from blockforge.study.executors import default_workers
from blockforge.study.jobs import Job, Setup
from blockforge.study.training import accuracy, augment, to_device, train_settings
from tests.tiny import tiny_space, unheard

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
YAML = tiny_space().first().to_yaml(flat=True)


def trained_on(device, **train):
    bench = Bench(Setup(0, device, (), "digits", {"epochs": 4, "batch": 64, **train}))
    return bench.run(Job(0, YAML, 0), unheard)


def test_a_network_gives_the_same_logits_on_both_devices():
    torch.manual_seed(0)
    module = build(tiny_space().first()).eval()
    images = torch.from_numpy(get_registry().dataset("digits").load().test.images)
    with torch.no_grad():
        here = module(images)
        there = module.cuda()(images.cuda()).cpu()
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3)


def test_training_in_bf16_reaches_what_the_cpu_reaches():
    here, there = trained_on("cpu"), trained_on("cuda")
    assert there.failure is None
    assert there.facts["device"] == "cuda:0"
    assert there.facts["precision"] == "bfloat16 autocast"
    assert abs(here.metrics["accuracy"] - there.metrics["accuracy"]) < 0.08


def test_a_job_tests_weights_of_the_other_device_alike():
    there = trained_on("cuda")
    figures = [
        Bench(Setup(0, device, (), "digits", {})).run(Job(0, YAML, 0, there.weights), unheard)
        for device in ("cpu", "cuda")
    ]
    here, again = (outcome.metrics["test_accuracy"] for outcome in figures)
    assert abs(here - again) <= 2 / 360


def test_data_and_augmentation_stay_on_the_device():
    data = to_device(get_registry().dataset("digits").load(), torch.device("cuda"))
    images, labels = data.train
    assert images.is_cuda
    assert labels.is_cuda
    moved = augment(images[:32], train_settings({"shift": 1, "flip": True}))
    assert moved.is_cuda
    assert moved.is_contiguous(memory_format=torch.channels_last)
    module = build(tiny_space().first()).cuda()
    assert 0 <= accuracy(module, data.validation) <= 1


def test_a_short_search(tmp_path):
    run = search(tiny_space(), trials=3, workers=2, run=tmp_path / "run", device="auto", progress=False)
    assert len(run.front) >= 1
    assert all(trial.record["device"].startswith("cuda:") for trial in run)
    assert all("test_accuracy" in trial.metrics for trial in run.front)
    module = run.front[0].load()
    assert not next(module.parameters()).is_cuda


def test_workers_are_at_most_four_for_each_gpu():
    assert 1 <= default_workers("cuda:0") <= 4
    assert default_workers("auto") <= 4 * torch.cuda.device_count()


def test_more_than_the_device_has_is_a_failure_of_its_kind():
    """The worker lives on, and its next job finds the memory free."""
    import cloudpickle

    def greedy(network, module, report):
        if torch.initial_seed():
            torch.empty(2**46, dtype=torch.uint8, device="cuda")
        return 1.0

    bench = Bench(Setup(0, "cuda", (), None, {}, cloudpickle.dumps(greedy), ("value",)))
    assert bench.run(Job(0, YAML, 1), unheard).failure["kind"] == "out of memory"
    assert bench.run(Job(0, YAML, 0), unheard).failure is None


def test_memory_is_as_predicted():
    """Live activations in eval mode: what the allocator gives beyond them is rounding and workspace."""
    from blockforge.costing import cost
    from blockforge.network import get_network

    network, batch = get_network("resnet50"), 32
    module = build(network).cuda().eval()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=False):
        images = torch.zeros(batch, *network.input, device="cuda")
        module(images)
        before = torch.cuda.memory_allocated() - images.nbytes
        torch.cuda.reset_peak_memory_stats()
        module(images)
    measured = (torch.cuda.max_memory_allocated() - before) / batch
    assert 0.98 <= measured / cost(network).peak_memory <= 1.5

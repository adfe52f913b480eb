"""Runs jobs in whatever process it is made in: trains a network, or measures its weights."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError
from blockforge.study.executors import require_device
from blockforge.study.jobs import Job, Outcome, Setup

if TYPE_CHECKING:
    from torch import device, nn

    from blockforge.network import Network
    from blockforge.study.training import DeviceSplits


class Bench:
    """What a worker keeps between jobs: the registry, the device, and the data set that lives there."""

    def __init__(self, setup: Setup) -> None:
        """Load plugins, torch and the data set; raises `BlockforgeError`."""
        import torch

        from blockforge.registry import load_registry

        # One thread a trial: two processes of one thread do 1.9 times the work of one, two threads 1.06.
        torch.set_num_threads(1)
        self.setup = setup
        self.registry = load_registry(plugin_files=setup.plugin_files)
        self.device = _device(setup)
        self.objective: Callable[..., Any] | None = None
        self.data: DeviceSplits | None = None
        if setup.objective is not None:
            self.objective = _unpickled(setup.objective)
        elif setup.data is not None:
            from blockforge.study.training import to_device

            self.data = to_device(self.registry.dataset(setup.data).load(), self.device)

    def run(self, job: Job, report: Callable[..., None]) -> Outcome:
        """Train a job's network, or measure its weights; whatever goes wrong is in the outcome."""
        start, history = time.perf_counter(), list[dict[str, float]]()
        facts = self._facts()

        def note(step: int, **metrics: float) -> None:
            history.append({"step": int(step), **{name: _number(value) for name, value in metrics.items()}})
            report(history[-1])

        try:
            metrics, weights = self._test(job) if job.weights is not None else self._train(job, note, facts)
            failure = None
        except (Exception, SystemExit) as error:  # a user's objective may raise anything, and the search goes on
            metrics, weights, failure = {}, None, _failure(error)
        facts["seconds"] = round(time.perf_counter() - start, 3)
        return Outcome(job.number, metrics, tuple(history), weights, failure, facts)

    def _train(self, job: Job, report: Callable[..., None], facts: dict[str, Any]) -> tuple[dict[str, float], bytes]:
        from safetensors.torch import save

        from blockforge.builder import build
        from blockforge.network import Network

        _seed(job.seed)
        network = Network.from_yaml(job.network)
        module = build(network).to(self.device)
        if self.objective is not None:
            metrics = self._own(network, module, report)
        elif self.data is not None:
            from blockforge.study.training import bf16_pays, train, train_settings

            settings = train_settings(self.setup.train)
            bf16 = bf16_pays(module, self.device)
            weights = [output.weight for output in network.outputs]
            facts["precision"] = "bfloat16 autocast" if bf16 else "float32"
            metrics = train(module, self.data, settings, report, bf16=bf16, weights=weights)
        else:
            raise BlockforgeError("search: there is neither data nor an objective of your own; give one")
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in module.state_dict().items()}
        return metrics, save(state, metadata={"network": network.hash})

    def _own(self, network: Network, module: nn.Module, report: Callable[..., None]) -> dict[str, float]:
        last: dict[str, float] = {}

        def note(step: int, **metrics: float) -> None:
            report(step, **metrics)
            last.update({name: _number(value) for name, value in metrics.items()})

        if self.objective is None:
            return {}
        returned = named_values(self.objective(network, module, note), self.setup.returns)
        return {**last, **returned}

    def _test(self, job: Job) -> tuple[dict[str, float], None]:
        from safetensors.torch import load

        from blockforge.builder import build
        from blockforge.network import Network
        from blockforge.study.training import accuracy

        if self.data is None or job.weights is None:
            return {}, None
        module = build(Network.from_yaml(job.network), init=False)
        module.load_state_dict(load(job.weights))
        return {"test_accuracy": accuracy(module.to(self.device), self.data.test)}, None

    def _facts(self) -> dict[str, Any]:
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {"device": str(self.device), "device_name": name, "threads": torch.get_num_threads()}


def named_values(returned: Any, names: tuple[str, ...]) -> dict[str, float]:
    """What a user's objective returned, by name; raises `BlockforgeError` when it doesn't fit the names."""
    expected = ", ".join(names)
    if isinstance(returned, Mapping):
        missing = [name for name in names if name not in returned]
        if missing:
            got = ", ".join(map(str, returned))
            raise BlockforgeError(
                f"objective: returned {got or 'nothing'} without {', '.join(missing)}; return {expected}"
            )
        pairs = {str(name): value for name, value in returned.items()}
    else:
        values = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
        if len(values) != len(names):
            raise BlockforgeError(f"objective: returned {len(values)} values for {len(names)}; return {expected}")
        pairs = dict(zip(names, values, strict=True))
    try:
        return {name: _number(value) for name, value in pairs.items()}
    except (TypeError, ValueError):
        kinds = ", ".join(f"{name} of {type(value).__name__}" for name, value in pairs.items())
        raise BlockforgeError(f"objective: returned {kinds}; return numbers for {expected}") from None


def _number(value: Any) -> float:
    """A number, or a tensor of one; a loss may be reported as it is, with its graph."""
    return float(value.detach() if hasattr(value, "detach") else value)


def _seed(seed: int) -> None:
    """Seed every global generator: a user's own loop may draw from any of them."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _device(setup: Setup) -> device:
    import torch

    require_device(setup.device)
    count = torch.cuda.device_count() if setup.device != "cpu" and torch.cuda.is_available() else 0
    if not count:
        return torch.device("cpu")
    index = setup.device.partition(":")[2]
    where = torch.device("cuda", int(index) if index else setup.index % count)
    torch.cuda.set_device(where)
    return where


def _unpickled(pickled: bytes) -> Callable[..., Any]:
    try:
        objective: Callable[..., Any] = pickle.loads(pickled)  # noqa: S301 (our own driver's)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BlockforgeError(
            f"objective: a worker can't load it ({reason}); define it in the script or an installed module"
        ) from None
    return objective


def _failure(error: Exception | SystemExit) -> dict[str, str]:
    from blockforge.study.training import NotFiniteError

    message = " ".join(str(error).split())
    exhausted = isinstance(error, MemoryError) or "out of memory" in message or "can't allocate memory" in message
    if isinstance(error, NotFiniteError):
        kind = "not finite"
    elif exhausted:
        kind = "out of memory"
    else:
        kind = "error"
    reason = message if isinstance(error, BlockforgeError) else f"{type(error).__name__}: {message}"
    text = "".join(traceback.format_exception(error))
    if kind == "out of memory":
        _free_memory()
    return {"kind": kind, "reason": reason, "traceback": text}


def _free_memory() -> None:
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()

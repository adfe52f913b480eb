"""How weights begin: drawn once by a network's declared scheme, or left unset."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from blockforge.settings import Init

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def no_init(*, norms: bool) -> Iterator[None]:
    """In this thread, leave the weights of convolutions, linear layers and maybe norms unset.

    What else an author's own module holds draws its weights as ever. A norm's running statistics are sound all the
    same: torch makes them so before it resets them.
    """
    from torch import nn

    layers: tuple[Any, ...] = (nn.modules.conv._ConvNd, nn.Linear)
    drawn: tuple[Any, ...] = (nn.Conv2d, nn.Linear)  # what `initialise` draws
    if norms:
        layers, drawn = ((*kinds, nn.modules.batchnorm._NormBase) for kinds in (layers, drawn))
    mine = threading.get_ident()
    with _patching:
        originals = [layer.reset_parameters for layer in layers]
        for layer, original in zip(layers, originals, strict=True):
            layer.reset_parameters = _unless_in(mine, drawn, original)
        try:
            yield
        finally:
            for layer, original in zip(layers, originals, strict=True):
                layer.reset_parameters = original


_patching = threading.RLock()


def _unless_in(thread: int, layers: tuple[Any, ...], draw: Callable[[Any], None]) -> Callable[[Any], None]:
    def reset_parameters(layer: Any) -> None:
        if threading.get_ident() != thread or not isinstance(layer, layers):
            draw(layer)

    return reset_parameters


def reset_norms(module: nn.Module) -> None:
    """Set the weights of all norms to 1 and their biases to 0."""
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.affine:
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def initialise(module: nn.Module, init: Init) -> None:
    """Draw the weights of all convolutions and linear layers as declared; norms keep 1 and 0 unless `keys` say more."""
    from torch import nn

    for prefix, layer in module.named_modules():
        kind = "conv" if isinstance(layer, nn.Conv2d) else "linear" if isinstance(layer, nn.Linear) else ""
        for name, tensor in layer.named_parameters(recurse=False):
            scheme = getattr(init, kind if name == "weight" else f"{kind}_{name}", None) if kind else None
            for glob, exception in init.keys:
                if fnmatchcase(f"{prefix}.{name}", glob):
                    scheme = exception
            if scheme:
                _draw(tensor, scheme, layer)


def _draw(tensor: Tensor, scheme: str, layer: nn.Module) -> None:
    from torch.nn import init

    weight: Tensor = layer.weight  # type: ignore[assignment]
    std = scheme.rpartition("_")[2]
    if scheme in ("zeros", "ones"):
        init.constant_(tensor, float(scheme == "ones"))
    elif scheme == "kaiming_normal_fan_out_grouped":
        fan_out = weight[:, 0].numel() / getattr(layer, "groups", 1)
        init.normal_(tensor, 0.0, (2 / fan_out) ** 0.5)
    elif scheme.startswith("kaiming_normal_"):
        init.kaiming_normal_(tensor, mode=scheme.removeprefix("kaiming_normal_"), nonlinearity="relu")  # type: ignore[arg-type]
    elif scheme == "xavier_uniform":
        init.xavier_uniform_(tensor)
    elif scheme == "uniform_fan_out":
        bound = weight[:, 0].numel() ** -0.5
        init.uniform_(tensor, -bound, bound)
    elif scheme.startswith("normal_"):
        init.normal_(tensor, 0.0, float(std))
    elif scheme.startswith("trunc_normal_"):
        init.trunc_normal_(tensor, 0.0, float(std), -2, 2)
    elif tensor is weight and weight.ndim > 1:
        init.kaiming_uniform_(tensor, a=5**0.5)  # torch's own default for both
    elif tensor is weight:
        init.ones_(tensor)
    elif weight.ndim > 1:
        bound = weight[0].numel() ** -0.5
        init.uniform_(tensor, -bound, bound)
    else:
        init.zeros_(tensor)

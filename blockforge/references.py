"""Where a network has a reference: in torchvision, in timm, or as rows of its layers recounted from the paper."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blockforge.errors import BlockforgeError

if TYPE_CHECKING:
    from torch import nn

Library = Literal["torchvision", "timm", "layers"]
LIBRARIES: tuple[Library, ...] = ("torchvision", "timm", "layers")

SHARED = "BLOCKFORGE_SHARED"
"""The environment variable that names the folder with `networks/layers.json.gz`; `../shared` unless it is set."""
ROWS = "networks/layers.json.gz"

# Where the library's name or its arguments differ from ours.
_CALLS: dict[str, tuple[Library, str, dict[str, Any]]] = {
    "googlenet": ("torchvision", "googlenet", {"aux_logits": False, "init_weights": True}),
    "googlenet_aux": ("torchvision", "googlenet", {"aux_logits": True, "init_weights": True}),
    "inception_v3": ("torchvision", "inception_v3", {"aux_logits": False, "init_weights": True}),
    "inception_v3_aux": ("torchvision", "inception_v3", {"aux_logits": True, "init_weights": True}),
    "mobilenet_v1": ("timm", "mobilenetv1_100", {}),
    "mobilenet_v2_x0_5": ("torchvision", "mobilenet_v2", {"width_mult": 0.5}),
    "mobilenet_v2_x0_75": ("torchvision", "mobilenet_v2", {"width_mult": 0.75}),
    "mobilenet_v2_x1_4": ("torchvision", "mobilenet_v2", {"width_mult": 1.4}),
}


@dataclass(frozen=True)
class Reference:
    """A network's reference: the library, the name there, and what builds it (None for rows of layers)."""

    library: Library
    name: str
    make: Callable[[], nn.Module] | None = None

    def __str__(self) -> str:
        return self.library if self.library == "layers" else f"{self.library} {self.name}"


def reference_of(name: str, against: Library | None = None) -> Reference | None:
    """The reference of a network, in `against` alone if that is given; None where there is none, or no library.

    The libraries' names have no `-`: theirs of `regnet-y-400mf` is `regnet_y_400mf`.
    """
    library, other, options = _CALLS.get(name, (None, name.replace("-", "_"), {}))
    for each in LIBRARIES if library is None else (library,):
        if against in (None, each) and _has(each, other):
            make = None if each == "layers" else _maker(each, other, options)
            return Reference(each, other, make)
    return None


def _has(library: Library, name: str) -> bool:
    if library == "layers":
        return name in layer_rows()
    if find_spec(library) is None:
        return False
    if library == "timm":
        return bool(import_module("timm").is_model(name))
    return name in import_module("torchvision").models.list_models()


def _maker(library: Library, name: str, options: dict[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        if library == "timm":
            module: nn.Module = import_module("timm").create_model(name, **options)
        else:
            module = import_module("torchvision").models.get_model(name, weights=None, **options)
        return module

    return make


@lru_cache(maxsize=1)
def layer_rows() -> dict[str, list[list[Any]]]:
    """Rows `[path, type, input shape, output shape, parameters, MACs]` by network; empty where no folder is known.

    Raises `BlockforgeError` for a file that can't be read, and where the folder that is set has none.
    """
    told = os.environ.get(SHARED)
    file = Path(told or "../shared") / ROWS
    if not file.is_file():
        if not told:
            return {}
        raise BlockforgeError(f"{file}: no such file; set {SHARED} to a folder with {ROWS}, or leave it unset")
    try:
        rows: dict[str, list[list[Any]]] = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise BlockforgeError(f"{file}: can't be read: {error}; set {SHARED} to another folder") from None
    return rows

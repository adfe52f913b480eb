"""A second module of a source that was built before, without running its constructors again.

Torch's constructors take several times longer than it takes to write the attributes that they leave behind. So the
first module of a source leaves a mould: its classes, plain attributes, and the shapes of its weights. Where a module
holds anything else there is no mould, and its constructors run each time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, dtype, nn

_PLAIN = frozenset({bool, int, float, str, type(None)})
_EMPTY = frozenset({dict, OrderedDict, set})  # what hooks are kept in
_OWN = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True)
class Mould:
    """What a module's constructor left behind, its children's moulds included.

    Of a buffer that is its shape, the value of all its elements, and its type if that is no floating one.
    """

    cls: type[nn.Module]
    plain: dict[str, Any]
    empty: tuple[tuple[str, type], ...]
    parameters: tuple[tuple[str, tuple[int, ...] | None], ...]
    buffers: tuple[tuple[str, tuple[int, ...], float, dtype | None], ...]
    children: tuple[tuple[str, Mould], ...]

    def cast(self) -> nn.Module:
        """A new module with unset weights, in train mode; its norms' statistics are as they were when it was taken."""
        import torch

        module = self.cls.__new__(self.cls)
        own = module.__dict__
        own.update(self.plain)
        for name, kind in self.empty:
            own[name] = kind()
        own["_parameters"] = {
            name: None if shape is None else torch.nn.Parameter(torch.empty(shape)) for name, shape in self.parameters
        }
        own["_buffers"] = {name: torch.full(shape, value, dtype=kind) for name, shape, value, kind in self.buffers}
        own["_modules"] = {name: mould.cast() for name, mould in self.children}
        return module


def take_mould(module: nn.Module, seen: set[int] | None = None) -> Mould | None:
    """The mould of a module that was just built; None if it, or a child, holds what can't be written anew.

    That is: anything but plain attributes, something held twice, weights that `build(init=False)` leaves as the
    constructor drew them, or buffers of several values. `seen` is what the modules around it hold. The classes must be
    torch's or the generated ones: what an author's own constructor does may differ from call to call.
    """
    from torch import get_default_dtype, nn

    seen = set() if seen is None else seen
    plain: dict[str, Any] = {}
    empty: list[tuple[str, type]] = []
    for name, value in module.__dict__.items():
        if name in _OWN:
            continue
        if type(value) in _EMPTY and not value:
            empty.append((name, type(value)))
        elif type(value) in _PLAIN or (type(value) is tuple and all([type(item) in _PLAIN for item in value])):
            plain[name] = value
        elif type(value) is list and isinstance(module, nn.Conv2d) and all([type(item) in _PLAIN for item in value]):
            plain[name] = value  # its padding in another form, which nobody changes
        else:
            return None
    weights = {name: weight for name, weight in module._parameters.items() if weight is not None}
    buffers = [_constant(name, buffer) for name, buffer in module._buffers.items()]
    held = [*weights.values(), *[buffer for buffer in module._buffers.values() if buffer is not None], module]
    unusual = [
        weights and not isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d),
        any([type(weight) is not nn.Parameter or not weight.requires_grad for weight in weights.values()]),
        any([weight.dtype != get_default_dtype() for weight in weights.values()]),
        None in buffers,
        not seen.isdisjoint(map(id, held)),
    ]
    if any(unusual):
        return None
    seen.update(map(id, held))
    children: list[tuple[str, Mould]] = []
    for name, child in module._modules.items():
        mould = take_mould(child, seen) if child is not None else None
        if mould is None:
            return None
        children.append((name, mould))
    return Mould(
        type(module),
        plain,
        tuple(empty),
        tuple([(name, None if w is None else tuple(w.shape)) for name, w in module._parameters.items()]),
        tuple([buffer for buffer in buffers if buffer is not None]),
        tuple(children),
    )


def _constant(name: str, buffer: Tensor | None) -> tuple[str, tuple[int, ...], float, dtype | None] | None:
    """A buffer on the CPU whose elements are one value, as a mould has it."""
    from torch import Tensor, get_default_dtype

    if type(buffer) is not Tensor or buffer.device.type != "cpu" or not buffer.numel():
        return None
    floating = buffer.is_floating_point()
    value = buffer.flatten()[0].item()
    if (floating and buffer.dtype != get_default_dtype()) or not bool((buffer == value).all()):
        return None
    return name, tuple(buffer.shape), value, None if floating else buffer.dtype

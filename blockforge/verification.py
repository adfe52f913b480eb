"""Is a network the published one? The same keys, parameters, MACs and logits as its reference has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blockforge.assembler import assemble, smallest_input
from blockforge.builder import build
from blockforge.costing import cost
from blockforge.errors import NothingToCompare
from blockforge.network import Network, get_network
from blockforge.ops import Shape
from blockforge.references import ROWS, SHARED, Library, Reference, layer_rows, reference_of
from blockforge.table import Column, markdown_table, text_table

if TYPE_CHECKING:
    from torch import Tensor, nn

# A forward pass of more MACs than these is made at a smaller input.
MANY_MACS = 2_500_000_000
SMALLER = 160
COUNTED = {"Conv2d", "BatchNorm1d", "BatchNorm2d", "Linear", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d",
           "LocalResponseNorm"}  # fmt: skip
"""The types of layers whose rows must agree, in order."""


@dataclass(frozen=True)
class Verdict:
    """What a comparison found: each part is None where the reference says nothing about it.

    `keys`, `params`, `macs` and `layers` tell whether they agree, `difference` is the greatest one of the logits at the
    sizes `inputs`; `why` says what differs first.
    """

    name: str
    reference: str | None
    params: bool | None = None
    macs: bool | None = None
    keys: bool | None = None
    layers: bool | None = None
    difference: float | None = None
    inputs: tuple[Shape, ...] = ()
    why: str = ""

    @property
    def same(self) -> bool | None:
        """Whether all that was compared agrees; None where there was no reference."""
        if self.reference is None:
            return None
        parts = (self.params, self.macs, self.keys, self.layers, not self.difference)
        return all(part is not False for part in parts)

    def record(self) -> dict[str, Any]:
        """The verdict as JSON has it."""
        return {**vars(self), "inputs": [list(shape) for shape in self.inputs], "same": self.same}


def verify(names: Sequence[str], against: Library | None = None) -> Iterator[Verdict]:
    """The verdict of each network in turn; raises `BlockforgeError` where the folder of rows that is set has none."""
    for name, reference in {name: reference_of(name, against) for name in names}.items():
        network = get_network(name)
        if reference is None:
            yield Verdict(name, None, why=_why_not(against))
        elif reference.make is None:
            yield _by_layers(network, reference)
        else:
            yield _by_module(network, reference)


def _why_not(against: Library | None) -> str:
    if against in ("torchvision", "timm"):
        return f"no reference in {against}"
    if not layer_rows():
        return f"no reference here; set {SHARED} to a folder with {ROWS}"
    return "no reference in layers" if against else "no reference here"


def check_compared(verdicts: Sequence[Verdict], against: Library | None) -> None:
    """Raise `NothingToCompare` where not one network had a reference."""
    if any(verdict.reference for verdict in verdicts):
        return
    if against in ("torchvision", "timm"):
        remedy = "leave out --against"
    else:
        remedy = "verify a canonical network" if layer_rows() else f"set {SHARED} to a folder with {ROWS}"
    names = verdicts[0].name if len(verdicts) == 1 else f"{len(verdicts)} networks"
    raise NothingToCompare(
        f"{names}: nothing could be compared: no reference {'in ' + against if against else 'here'}; {remedy}"
    )


@dataclass(frozen=True)
class LayerRow:
    """A layer that has parameters or pools; shapes are without the batch axis."""

    type: str
    input: Shape
    output: Shape
    params: int
    macs: int


def layers_of(network: Network) -> list[LayerRow]:
    """A row for each layer of a network that has parameters or pools, in the order in which they run."""
    return [
        LayerRow(node.op.kind, node.input_shapes[0], node.shapes[0], node.params, node.macs)
        for node in assemble(network)
        if node.inputs and (node.params or node.op.kind in COUNTED)
    ]


def _by_layers(network: Network, reference: Reference) -> Verdict:
    theirs = [
        LayerRow(kind, tuple(input_shape[1:]), tuple(output_shape[1:]), params, macs)
        for _, kind, input_shape, output_shape, params, macs in layer_rows()[reference.name]
        if kind != "Sequential" and (params or kind in COUNTED)
    ]
    known = {row.type for row in theirs}
    # A pool that the reference calls as a function has no row there.
    ours = [row for row in layers_of(network) if row.params or row.type in known]
    differing = [index for index, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]]
    why = ""
    if differing:
        why = f"layer {differing[0]}: {ours[differing[0]]} instead of {theirs[differing[0]]}"
    elif len(ours) != len(theirs):
        why = f"{len(ours)} layers instead of {len(theirs)}"
    params = sum(row.params for row in ours) == sum(row.params for row in theirs)
    macs = sum(row.macs for row in ours) == sum(row.macs for row in theirs)
    return Verdict(network.name, str(reference), params, macs, layers=not why, why=why)


def _by_module(network: Network, reference: Reference) -> Verdict:
    import torch

    theirs = drawn(reference)
    ours = build(network, init=False)
    found = cost(network)
    params = found.params == sum(weight.numel() for weight in theirs.parameters() if weight.requires_grad)
    macs = found.macs == macs_of(reference, network.input)
    keys, others = list(ours.state_dict()), list(theirs.state_dict())
    if keys != others:
        pairs = [pair for pair in zip(keys, others, strict=False) if pair[0] != pair[1]]
        why = f"{pairs[0][0]} instead of {pairs[0][1]}" if pairs else f"{len(keys)} keys instead of {len(others)}"
        return Verdict(network.name, str(reference), params, macs, keys=False, why=why)
    try:
        ours.load_state_dict(theirs.state_dict(), strict=True)
    except RuntimeError as error:
        return Verdict(network.name, str(reference), params, macs, keys=False, why=" ".join(str(error).split()))
    ours.eval()
    theirs.eval()
    difference, inputs = 0.0, sizes(network)
    with torch.inference_mode():
        for shape in inputs:
            x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
            difference = max(difference, (ours(x) - theirs(x)).abs().max().item())
    return Verdict(network.name, str(reference), params, macs, True, None, difference, inputs)


def sizes(network: Network) -> tuple[Shape, ...]:
    """The canonical input, or a smaller one for large networks, and another size."""
    channels, height, width = network.input
    if cost(network).macs > MANY_MACS:
        height = width = max(SMALLER, smallest_input(network) or 0)
    other = max(height * 3 // 4, smallest_input(network) or 0)
    return (channels, height, width), (channels, other, other + 1)


def drawn(reference: Reference) -> nn.Module:
    """The library's module on the CPU, its weights of the usual size, its statistics such that they show in the output.

    It is made on meta first: the time of its own initialisation is spared.
    """
    import torch

    module = _on_meta(reference).to_empty(device="cpu")
    dice = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor, low: float, high: float) -> None:
        tensor.data.uniform_(low, high, generator=dice)

    for weight in module.parameters():
        bound = (6 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.0
        if weight.ndim > 1:
            draw(weight, -bound, bound)
        else:
            draw(weight, 0.5, 1.0)
    for key, buffer in module.named_buffers():
        if key.endswith("num_batches_tracked"):
            buffer.zero_()
        else:
            draw(buffer, *((-0.1, 0.1) if key.endswith("running_mean") else (0.5, 1.5)))
    return module


def macs_of(reference: Reference, shape: Shape) -> int:
    """The MACs of the library's module in eval mode, as torch counts them, at batch 1."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    module = _on_meta(reference).eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *shape))
    return int(counter.get_total_flops()) // 2


def _on_meta(reference: Reference) -> nn.Module:
    """The library's module without memory."""
    import torch

    if reference.make is None:
        raise AssertionError("rows of layers are no module")
    try:
        with torch.device("meta"):
            return reference.make()
    except NotImplementedError:  # its constructor reads numbers, as torchvision's RegNet does
        return reference.make().to("meta")


COLUMNS = ("network", "reference", "keys", "parameters", "MACs", "layers", "greatest difference", "verdict")


def cells(verdict: Verdict) -> list[str]:
    """The cells of a verdict's row."""
    words = {True: "same", False: "DIFFER", None: "-"}
    parts = [words[part] for part in (verdict.keys, verdict.params, verdict.macs, verdict.layers)]
    difference = "-" if verdict.difference is None else f"{verdict.difference:g}"
    told = {True: "same", False: "DIFFERS", None: verdict.why}[verdict.same]
    return [verdict.name, verdict.reference or "-", *parts, difference, told]


def verdicts_table(verdicts: Sequence[Verdict], width: int | None, *, markdown: bool = False) -> str:
    """All verdicts as a table."""
    columns = [Column(title, right=title == "greatest difference") for title in COLUMNS]
    rows = [cells(verdict) for verdict in verdicts]
    return markdown_table(columns, rows) if markdown else text_table(columns, rows, width)

"""A trial's training: the whole data set on the device, SGD with one cycle, bf16 where it pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blockforge.errors import InvalidNetwork, SearchError
from blockforge.explain import explain

if TYPE_CHECKING:
    from torch import Tensor, device, memory_format, nn

    from blockforge.study.data import Splits

Report = Callable[..., None]


class NotFiniteError(SearchError):
    """A loss, or a value to be maximised or minimised, that is no finite number."""


class TrainSettings(BaseModel):
    """How a trial trains: what stands under `train:` in a space.

    `lr` is the peak of one cycle, which rises for the fraction `warmup` of all steps and falls to zero; it
    holds for SGD with Nesterov momentum 0.9. `shift` moves each training image by up to so many pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 8
    batch: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.2
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.25
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


def train_settings(values: Mapping[str, Any]) -> TrainSettings:
    """The settings that a space gives, checked; raises `InvalidNetwork` with all mistakes."""
    try:
        return TrainSettings.model_validate(dict(values))
    except ValidationError as error:
        mistakes = explain(error, TrainSettings, "train")
        raise InvalidNetwork(f"train.{'.'.join(map(str, loc))}: {message}" for loc, message in mistakes) from None


@dataclass(frozen=True)
class DeviceSplits:
    """A data set's splits as tensors on a device: images `(N, C, H, W)` in float32, labels `(N,)`."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def to_device(splits: Splits, where: device) -> DeviceSplits:
    """Move a data set to the device, where it stays."""
    import torch

    def move(images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        tensor = torch.from_numpy(images).to(where, memory_format=torch.channels_last)
        return tensor, torch.from_numpy(labels).to(where)

    return DeviceSplits(*(move(part.images, part.labels) for part in (splits.train, splits.validation, splits.test)))


def bf16_pays(module: nn.Module, where: device) -> bool:
    """Whether training in bf16 is faster: on CUDA, and on a CPU whose instructions have it.

    With them 8x8 images train 1.2-1.4 times as fast; a CPU without emulates them and is slower. But the
    backward pass of a strided depthwise convolution took 169 ms instead of 8 (oneDNN of torch 2.14), so
    networks with one stay in float32 there.
    """
    import torch

    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if any(isinstance(each, torch.nn.Conv2d) and each.groups > 1 and max(each.stride) > 1 for each in module.modules()):
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return where.type == "cpu" and bool(probe and probe())


def layout(module: nn.Module, where: device) -> memory_format:
    """Channels last, which is the faster one, unless oneDNN would write past a buffer with it.

    That is the backward pass of a strided 1x1 convolution of fewer input channels than a vector holds (oneDNN's issue
    6035, in torch 2.14): wrong gradients at best, a corrupted heap at worst.
    """
    import torch

    convolutions = [each for each in module.modules() if isinstance(each, torch.nn.Conv2d)]
    risky = any(
        max(each.kernel_size) == 1 < max(each.stride) and each.in_channels // each.groups < WIDEST_VECTOR
        for each in convolutions
    )
    return torch.contiguous_format if risky and where.type == "cpu" else torch.channels_last


WIDEST_VECTOR = 16  # float32 numbers


def train(
    module: nn.Module,
    data: DeviceSplits,
    settings: TrainSettings,
    report: Report,
    *,
    bf16: bool,
    weights: Sequence[float] = (1.0,),
) -> dict[str, float]:
    """Train a module in place, and measure it on the validation split after every epoch.

    The module and the data are on one device; torch's seed decides the order of the images. `weights` are the factors
    of the losses of its outputs, in their order. Returns the last epoch's metrics; raises `NotFiniteError` when the
    loss is.
    """
    import torch
    from torch.nn import functional

    images, labels = data.train
    batches = max(1, len(images) // settings.batch)  # the rest is spread over all: BatchNorm refuses one image
    form = layout(module, images.device)
    module.to(memory_format=form)
    optimizer = torch.optim.SGD(
        module.parameters(), settings.lr, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
    )
    schedule = _one_cycle(settings.epochs * batches, settings.warmup)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    metrics: dict[str, float] = {}
    for epoch in range(1, settings.epochs + 1):
        module.train()
        total = torch.zeros((), device=images.device)
        order = torch.randperm(len(images)).to(images.device)
        for chosen in order.tensor_split(batches):
            batch = augment(images[chosen], settings)
            if form != torch.channels_last:
                batch = batch.clone(memory_format=form)  # `contiguous` leaves one channel with the strides it has
            with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
                losses = [
                    functional.cross_entropy(head, labels[chosen], label_smoothing=settings.label_smoothing) * weight
                    for head, weight in zip(_heads(module(batch)), weights, strict=True)
                ]
                loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            total += loss.detach()
        mean = (total / batches).item()  # the only wait for the device in an epoch
        if not math.isfinite(mean):
            raise NotFiniteError(f"the loss is {mean} in epoch {epoch}; lower lr, which is {settings.lr}")
        metrics = {"accuracy": accuracy(module, data.validation), "loss": mean}
        report(epoch, **metrics)
    return metrics


def _heads(outputs: Any) -> tuple[Tensor, ...]:
    """What a module gave, as a tuple; in eval mode auxiliary heads give nothing."""
    return tuple(head for head in outputs if head is not None) if isinstance(outputs, tuple) else (outputs,)


def accuracy(module: nn.Module, split: tuple[Tensor, Tensor]) -> float:
    """The fraction of images that a module classifies rightly, in eval mode and float32."""
    import torch

    images, labels = split
    module.eval()
    with torch.inference_mode():
        hits = sum(
            (_heads(module(part))[0].argmax(1) == truth).sum()
            for part, truth in zip(torch.split(images, 1024), torch.split(labels, 1024), strict=True)
        )
    return float(hits) / len(labels)


def augment(images: Tensor, settings: TrainSettings) -> Tensor:
    """Shift and flip each image of a batch `(N, C, H, W)` on its own; edges are repeated."""
    import torch
    from torch.nn import functional

    count, _, height, width = images.shape
    if settings.shift:
        margin = settings.shift
        wide = functional.pad(images, [margin] * 4, mode="replicate")
        down, right = torch.randint(0, 2 * margin + 1, (2, count, 1)).to(images.device)
        rows, columns = down + torch.arange(height).to(down), right + torch.arange(width).to(right)
        each = torch.arange(count, device=images.device)[:, None, None]
        # Indexed with channels last, then seen as (N, C, H, W): no copy, and the layout convolutions want.
        images = wide.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if settings.flip:
        mirrored = torch.randint(0, 2, (count, 1, 1, 1), dtype=torch.bool).to(images.device)
        images = torch.where(mirrored, images.flip(3), images)
    return images


def _one_cycle(steps: int, warmup: float) -> Callable[[int], float]:
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))

    return factor

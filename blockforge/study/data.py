"""Data sets for trials: whole arrays, in three splits that never depend on the search's seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLIT_SEED = 0  # of the splits alone: another search seed must not move images into the test split


@dataclass(frozen=True)
class Split:
    """Images, float32 of shape `(N, C, H, W)` and normalised, and their labels, int64 of shape `(N,)`."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """What trials train on, what the search selects by, and what it never sees until the front is final."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Dataset:
    """A data set by name; `input` is `(C, H, W)`, and `load` reads it, and imports what it needs."""

    name: str
    about: str
    input: tuple[int, int, int]
    classes: int
    load: Callable[[], Splits]


def stratified(images: Any, labels: Any, *, validation: float = 0.2, test: float = 0.2) -> Splits:
    """Split images `(N, C, H, W)` by class, each channel normalised by its statistics in the training split.

    `validation` and `test` are fractions of the whole.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int64)
    rest, last = train_test_split(np.arange(len(labels)), test_size=test, stratify=labels, random_state=SPLIT_SEED)
    first, middle = train_test_split(
        rest, test_size=validation / (1 - test), stratify=labels[rest], random_state=SPLIT_SEED
    )
    mean = images[first].mean((0, 2, 3), keepdims=True)
    deviation = images[first].std((0, 2, 3), keepdims=True)
    images = (images - mean) / np.maximum(deviation, 1e-6)
    return Splits(*(Split(images[part], labels[part]) for part in (np.sort(first), np.sort(middle), np.sort(last))))

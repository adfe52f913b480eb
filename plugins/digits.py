"""The UCI digits that scikit-learn ships: 1,797 grey images of 8x8 in 10 classes.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence

from blockforge import hookimpl
from blockforge.study.data import Dataset, Splits, stratified


def load() -> Splits:
    """1,077 images to train on, 360 to validate and 360 to test, stratified."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return stratified(digits.images[:, None] / 16, digits.target)


@hookimpl
def register_datasets() -> Sequence[Dataset]:
    """The digits."""
    return [Dataset("digits", "1,797 grey images of handwritten digits, 8x8", (1, 8, 8), 10, load)]

"""The data sets that are registered, and how they are split."""

from __future__ import annotations

import numpy as np
import pytest

from blockforge.registry import get_registry
from blockforge.study.data import stratified


@pytest.mark.parametrize("name", sorted(get_registry().datasets))
def test_a_data_set_is_as_it_says(name):
    dataset = get_registry().dataset(name)
    splits = dataset.load()
    for split in (splits.train, splits.validation, splits.test):
        assert split.images.dtype == np.float32
        assert split.labels.dtype == np.int64
        assert split.images.shape == (len(split.labels), *dataset.input)
        assert set(split.labels) == set(range(dataset.classes))
    assert abs(splits.train.images.mean()) < 1e-3
    assert abs(splits.train.images.std() - 1) < 1e-2


def test_the_digits_are_whole_and_split_by_class():
    splits = get_registry().dataset("digits").load()
    sizes = [len(split.labels) for split in (splits.train, splits.validation, splits.test)]
    assert sizes == [1077, 360, 360]
    for label in range(10):
        counts = [(split.labels == label).mean() for split in (splits.train, splits.validation, splits.test)]
        assert max(counts) - min(counts) < 0.005


def test_a_split_takes_each_image_once_and_is_the_same_every_time():
    images = np.arange(200, dtype=np.float32).reshape(200, 1, 1, 1)
    labels = np.arange(200) % 4
    first, second = stratified(images, labels), stratified(images, labels)
    parts = [split.images.ravel() for split in (first.train, first.validation, first.test)]
    assert [len(part) for part in parts] == [120, 40, 40]
    assert len(np.unique(np.concatenate(parts).round(4))) == 200
    for mine, other in (
        (first.train, second.train),
        (first.validation, second.validation),
        (first.test, second.test),
    ):
        assert np.array_equal(mine.images, other.images)
        assert np.array_equal(mine.labels, other.labels)

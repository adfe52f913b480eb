"""What several test files share: the plugins in force are each test's own, and a place to write plugins to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import settings

from blockforge import registry

# The machines that run this are shared, so a single example may take long now and then.
settings.register_profile("blockforge", deadline=None, print_blob=True)
settings.load_profile("blockforge")


@pytest.fixture(autouse=True)
def _plugins_of_this_test_alone() -> Iterator[None]:
    """Put the plugins back that were in force before the test."""
    before = registry._current[:]
    yield
    registry._current[:] = before


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Give torch one thread for a module's tests: two sides agree to the bit only with the same number of them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes an indented text to a file of a temporary folder, and returns its path."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write_file

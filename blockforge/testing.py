"""For the tests of who writes blocks: the checks of the conformance kit as pytest's parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from blockforge.block import Block
from blockforge.conformance import EXAMPLES, blocks_of, check_block, check_names
from blockforge.registry import get_registry

Target = str | os.PathLike[str] | type[Block]


def parametrize_with_checks(
    targets: Target | Iterable[Target], *, examples: int = EXAMPLES, seed: int = 0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a test the parameters `block` and `check`, for each check of each block; it says `check(block)`.

    A target is a block's class or name, a plugin file, or a distribution; `examples` is the number of cases of a check.
    A failing check raises `AssertionError` with one line: block, check, parameters, got and expected, what to change.
    """
    several = [targets] if isinstance(targets, str | os.PathLike | type) else list(targets)
    parameters = [
        pytest.param(cls, _Check(name, examples, seed), id=f"{cls.name}-{name}")
        for target in several
        for cls in ([target] if isinstance(target, type) else blocks_of(target, get_registry()))
        for name in check_names(cls)
    ]
    return pytest.mark.parametrize(("block", "check"), parameters)


class _Check:
    def __init__(self, name: str, examples: int, seed: int) -> None:
        self.name, self.examples, self.seed = name, examples, seed

    def __repr__(self) -> str:
        return self.name

    def __call__(self, block: type[Block]) -> None:
        failure = check_block(block, self.name, examples=self.examples, seed=self.seed)
        if failure:
            raise AssertionError(failure.line())

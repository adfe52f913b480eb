"""Hypothesis, quiet and with a seed, and the cases that it draws of a block."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.errors import Unsatisfiable

from blockforge.block import Block
from blockforge.conformance.cases import LARGE_SIZES, SIZES, Case, cases, made
from blockforge.ops import Shape
from blockforge.registry import Registry


@lru_cache(maxsize=256)
def draw_cases(cls: type[Block], kept: tuple[Block, ...], examples: int, seed: int) -> tuple[Case, ...]:
    """So many cases of a block, the same for each check; none if the block accepts nothing that was tried."""
    drawn: list[Case] = []

    def one(case: Case) -> None:
        drawn.append(case)

    with suppress(Unsatisfiable):
        quietly(examples, seed)(hypothesis.given(cases(cls, kept, sizes_of(cls, kept)))(one))()
    return tuple(dict.fromkeys(drawn))


@lru_cache(maxsize=256)
def sizes_of(cls: type[Block], kept: tuple[Block, ...]) -> tuple[int, ...]:
    """The rows and columns of inputs that a block is tried with: small ones, unless it takes none of them."""

    class Found(Exception):
        pass

    def one(_: Case) -> None:
        raise Found

    with suppress(Unsatisfiable):
        try:
            quietly(100, 0)(hypothesis.given(cases(cls, kept, SIZES))(one))()
        except Found:
            return SIZES
    return LARGE_SIZES


def quietly(examples: int, seed: int, *, shrink: bool = False) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Hypothesis, quiet, without a database, with a seed of its own."""

    def wrap(test: Callable[..., None]) -> Callable[[], None]:
        settings = hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        wrapped: Callable[[], None] = settings(hypothesis.seed(seed)(test))

        def silently() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrapped()

        return silently

    return wrap


@lru_cache(maxsize=8)
def keeping_shape(registry: Registry) -> tuple[Block, ...]:
    """Two registered blocks, with their defaults, that keep the shape of any maps: what an `attention` can be."""
    found = []
    for name, cls in registry.blocks.items():
        block = None if cls.arity != 1 else made(cls, {})
        if block is not None and all(_keeps(block, shape) for shape in ((8, 7, 5), (12, 1, 1), (3, 4, 4))):
            # Built-in ones first, so that nobody's faulty block fails somebody else's check; then what has most ops.
            foreign = registry.origin("blocks", name).origin != "built-in"
            found.append((foreign, -len(Case(block, ((8, 7, 5),)).graph().nodes), name, block))
    return tuple(block for *_, block in sorted(found, key=lambda each: each[:3])[:2])


def _keeps(block: Block, shape: Shape) -> bool:
    try:
        return Case(block, (shape,)).graph().outputs["output"].shape == shape
    except Exception:
        return False

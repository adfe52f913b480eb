"""The samplers of Optuna that a search can use, made anew for each proposal: a resumed run goes on alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from blockforge.errors import BlockforgeError, did_you_mean

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# Two cores finish tens of trials in an evening, not thousands: Optuna's population of 50 would never evolve.
POPULATION = 16


def _random(seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _tpe(seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # group: conditional choices get a joint distribution of their own, instead of being drawn one by one;
    # constant_liar: what runs already counts as bad, so that parallel workers don't crowd together.
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _nsga2(seed: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=POPULATION)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"random": _random, "tpe": _tpe, "nsga2": _nsga2}


def check_sampler(name: str) -> None:
    """Raise `BlockforgeError` unless there is a sampler of this name."""
    if name not in SAMPLERS:
        hint = did_you_mean(name, SAMPLERS) or ";"
        raise BlockforgeError(f"search: no sampler {name!r}{hint} there are {', '.join(sorted(SAMPLERS))}")


def make_sampler(name: str, seed: int, proposals: int) -> BaseSampler:
    """The sampler for one proposal, its random numbers from the seed and the number of proposals before.

    So an interrupted search proposes what it would have proposed, without the sampler's state in a file.
    """
    import numpy as np
    import optuna

    check_sampler(name)
    own = int(np.random.SeedSequence([seed, proposals]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name](own)

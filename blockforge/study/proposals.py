"""What to train next: a sampler's proposals, and random ones in need, without those not worth a training."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError
from blockforge.study.objectives import Limit
from blockforge.study.samplers import make_sampler

if TYPE_CHECKING:
    from optuna import Study, Trial

    from blockforge.network import Network
    from blockforge.study.holes import Hole
    from blockforge.study.space import Space

# A proposal through the study takes tens of milliseconds, a random draw outside it two.
ASKS, DRAWS = 10, 2000
# So many draws within the limits, none of them new: hardly one in a hundred of those allowed is left.
SAME = 400
KNOWN, INVALID = "trained already", "invalid"


@dataclass(frozen=True)
class Refusal:
    """Why a candidate isn't trained: what to count it as, its line, and how far outside the limits it is."""

    kind: str
    reason: str
    excess: tuple[tuple[str, float], ...] = ()

    @property
    def distance(self) -> float:
        """How far the candidate lies outside all limits together."""
        return sum(much for _, much in self.excess)


@dataclass(frozen=True)
class Proposal:
    """A candidate worth training, and the number of its trial in the study."""

    number: int
    network: Network
    choices: dict[str, Any]


class Proposer:
    """Asks a study for candidates until one is worth training, and tells the study of those that aren't."""

    def __init__(self, space: Space, study: Study, sampler: str, seed: int, limits: Iterable[Limit]) -> None:
        """Every proposal's random numbers come from the seed and the number of the study's trials."""
        self.known: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.first_invalid = ""  # the line of the first candidate that is no network
        self.nearest: Refusal | None = None  # of those outside the limits, the one that lies nearest
        self._space, self._study, self._sampler, self._seed = space, study, sampler, seed
        self._limits = tuple(limits)
        self._asked = len(study.get_trials(deepcopy=False))

    def next(self) -> Proposal | None:
        """A candidate that no limit, mistake or earlier trial forbids; None if none seems to be left."""
        for _ in range(ASKS):
            proposal = self._ask()
            if proposal:
                return proposal
        dice = random.Random(f"{self._seed} {self._asked}")  # noqa: S311 (no secrets)
        known = self.refused[KNOWN]
        for _ in range(DRAWS):
            if self.refused[KNOWN] - known > SAME:
                break
            choices: dict[str, Any] = {}
            network, refusal = self._draw(partial(_roll, dice, choices))
            if network and not refusal:
                self._study.enqueue_trial(choices)
                return self._ask()
        return None

    def _ask(self) -> Proposal | None:
        from optuna.trial import TrialState

        self._study.sampler = make_sampler(self._sampler, self._seed, self._asked)
        self._asked += 1
        trial = self._study.ask()
        network, refusal = self._draw(partial(_suggest, trial))
        if network and not refusal:
            self.known.add(network.hash)
            return Proposal(trial.number, network, dict(trial.params))
        if refusal:
            trial.set_user_attr("refused", refusal.reason)
            for name, excess in refusal.excess:
                trial.set_constraint(name, excess)
            # A pruned trial with constraints teaches a sampler where not to look; a failed one says nothing.
            self._study.tell(trial, state=TrialState.PRUNED if refusal.excess else TrialState.FAIL)
        return None

    def _draw(self, choose: Callable[[Hole], float]) -> tuple[Network | None, Refusal | None]:
        try:
            network = self._space.draw(choose)
            refusal = self._refusal(network)
        except Exception as error:  # a block's own expand may raise anything, and the search goes on
            known = isinstance(error, BlockforgeError)
            reason = str(error) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
            network, refusal = None, Refusal(INVALID, reason, ((INVALID, 1.0),))
        if refusal:
            self._note(refusal)
        return network, refusal

    def _note(self, refusal: Refusal) -> None:
        self.refused[refusal.kind] += 1
        if refusal.kind == INVALID:
            self.first_invalid = self.first_invalid or refusal.reason.partition("\n")[0]
        elif refusal.excess and (self.nearest is None or refusal.distance < self.nearest.distance):
            self.nearest = refusal

    def _refusal(self, network: Network) -> Refusal | None:
        excess = [(limit, limit.excess(network)) for limit in self._limits]
        broken = [(limit, much) for limit, much in excess if much > 0]
        if broken:
            kind = "not " + " and ".join(str(limit) for limit, _ in broken)
            measured = ", ".join(
                limit.objective.text(limit.objective.measure(network)) for limit, _ in broken if limit.objective.measure
            )
            return Refusal(kind, f"{kind}: {measured}", tuple((limit.objective.name, much) for limit, much in broken))
        if network.hash in self.known:
            return Refusal(KNOWN, f"{KNOWN}: {network.hash}")
        return None


def _suggest(trial: Trial, hole: Hole) -> float:
    if hole.labels is not None:
        return _index(hole.labels, trial.suggest_categorical(hole.parameter, hole.labels))
    # Optuna wants the last number that the steps reach for an end.
    if _is_whole(hole):
        return trial.suggest_int(hole.parameter, int(hole.low), int(hole.last), step=int(hole.step))
    return trial.suggest_float(hole.parameter, hole.low, hole.last, step=hole.step)


def _roll(dice: random.Random, choices: dict[str, Any], hole: Hole) -> float:
    if hole.labels is not None:
        index = dice.randrange(len(hole.labels))
        choices[hole.parameter] = hole.labels[index]
        return index
    value = hole.low + hole.step * dice.randint(0, round((hole.last - hole.low) / hole.step))
    choices[hole.parameter] = int(value) if _is_whole(hole) else value
    return value


def _is_whole(hole: Hole) -> bool:
    """Whether a range has whole numbers only."""
    return all(isinstance(number, int) for number in (hole.low, hole.high, hole.step))


def _index(labels: tuple[Any, ...], label: Any) -> int:
    # 1, 1.0 and True are equal, and yet three labels.
    return next(i for i, each in enumerate(labels) if type(each) is type(label) and each == label)

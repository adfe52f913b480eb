"""What a search minimises or maximises, which of it is free, and which trials nobody beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from blockforge.errors import BlockforgeError, UnknownName, did_you_mean

if TYPE_CHECKING:
    from blockforge.network import Network

Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = ("maximize", "minimize")


@dataclass(frozen=True)
class Objective:
    """A quantity of a candidate: `measure` gives it free and exactly, or None says that training finds it.

    A learned objective is the metric of its name in what a trial returns. `unit` is what tables print
    after it; `%` makes a fraction a percentage.
    """

    name: str
    direction: Direction
    unit: str = ""
    measure: Callable[[Network], float] | None = None

    @property
    def title(self) -> str:
        """The name and the unit, as a table's head and a picture's axis say them."""
        name = self.name.replace("_", " ")
        if self.unit.lower() == name:
            return self.unit
        return f"{name} ({self.unit})" if self.unit else name

    def text(self, value: float) -> str:
        """The value as tables print it: `97.22 %`, `1,234,567`, `0.01235`."""
        if self.unit == "%":
            return f"{value:.2%}".replace("%", " %")
        return shown(value)


def shown(value: float) -> str:
    """A number as people read it: `1,234,567`, `0.01235`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def resolve(directions: Mapping[str, str], known: Mapping[str, Objective], *, own: bool) -> tuple[Objective, ...]:
    """The objectives of a search in order, each in the direction asked for.

    `own` says that a user's own objective returns the ones that aren't free, so that any name will do for
    them. Raises `BlockforgeError`.
    """
    if not directions:
        raise BlockforgeError("objectives: there are none; name at least one, such as {accuracy: maximize}")
    for name, direction in directions.items():
        if direction not in DIRECTIONS:
            raise BlockforgeError(f"objectives: {name}: no direction {direction!r}; write maximize or minimize")
        if name not in known and not own:
            hint = did_you_mean(name, known) or ";"
            raise UnknownName(f"objectives: no objective {name!r}{hint} there are {', '.join(sorted(known))}")
    if own and all(name in known and known[name].measure for name in directions):
        names = ", ".join(directions)
        raise BlockforgeError(
            f"objectives: {names}: free, all of them, so nothing is left for your own objective to return; "
            "name what it returns in directions"
        )
    return tuple(
        Objective(
            name,
            "maximize" if direction == "maximize" else "minimize",
            known[name].unit if name in known else "",
            known[name].measure if name in known else None,
        )
        for name, direction in directions.items()
    )


@dataclass(frozen=True)
class Limit:
    """The most (of what is minimised) or the least (of what is maximised) that a candidate may have."""

    objective: Objective
    bound: float

    def excess(self, network: Network) -> float:
        """How far a candidate lies outside, as a fraction of the bound; at most 0 inside."""
        measure = self.objective.measure
        value = measure(network) if measure else self.bound
        sign = 1 if self.objective.direction == "minimize" else -1
        return sign * (value - self.bound) / max(abs(self.bound), 1.0)

    def __str__(self) -> str:
        """`params <= 200,000`."""
        sign = "<=" if self.objective.direction == "minimize" else ">="
        return f"{self.objective.name} {sign} {self.bound:,.12g}"


def resolve_limits(limits: Mapping[str, float], known: Mapping[str, Objective]) -> tuple[Limit, ...]:
    """The limits of a search, on free objectives only; raises `BlockforgeError`."""
    free = {name: objective for name, objective in known.items() if objective.measure}
    for name, bound in limits.items():
        if name in known and name not in free:
            raise BlockforgeError(
                f"limits: {name} is known only after training; limit what is free: {', '.join(sorted(free))}"
            )
        if name not in free:
            hint = did_you_mean(name, free) or ";"
            raise UnknownName(f"limits: no objective {name!r}{hint} those with a limit are {', '.join(sorted(free))}")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or math.isnan(bound):
            raise BlockforgeError(f"limits: {name}: {bound!r} is no number; write one, such as {name}: 200_000")
    return tuple(Limit(free[name], float(bound)) for name, bound in limits.items())


def pareto(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[int]:
    """The places of those that no other one beats: as good in every objective and better in one.

    Of equals all stay. Sorted by the first objective, the best first.
    """
    signs = [1.0 if objective.direction == "minimize" else -1.0 for objective in objectives]
    losses = [tuple(sign * value for sign, value in zip(signs, row, strict=True)) for row in values]
    front = [
        place
        for place, loss in enumerate(losses)
        if not any(other != loss and all(o <= mine for o, mine in zip(other, loss, strict=True)) for other in losses)
    ]
    return sorted(front, key=lambda place: losses[place])

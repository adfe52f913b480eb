"""What became of the checks of a block: nothing, or a line that says what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Nonconformity(Exception):  # noqa: N818 (it is a finding, not a fault of the kit)
    """What a check found: what it got, what it expected, and what the author should change.

    `where` is an op's path where the fault lies in one op; `parameters` and `input_shapes` are filled in by who runs
    the check.
    """

    def __init__(self, got: str, expected: str, advice: str, *, where: str = "") -> None:
        super().__init__(f"{got}, but {expected}; {advice}")
        self.got = got
        self.expected = expected
        self.advice = advice
        self.where = where


@dataclass(frozen=True)
class Failure:
    """A block that fails a check, with the parameters that showed it, shrunk to the plainest."""

    block: str
    check: str
    parameters: Mapping[str, Any]
    inputs: tuple[tuple[int, ...], ...]
    got: str
    expected: str
    advice: str

    def record(self) -> dict[str, Any]:
        """The failure as JSON has it."""
        return {
            "block": self.block,
            "check": self.check,
            "parameters": dict(self.parameters),
            "inputs": [list(shape) for shape in self.inputs],
            "got": self.got,
            "expected": self.expected,
            "advice": self.advice,
        }

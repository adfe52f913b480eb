"""What became of the checks of a block: nothing, or a line that says what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blockforge.ops import show_shape
from blockforge.yaml_writer import dump_yaml


class Nonconformity(Exception):
    """What a check found: what it got, what it expected (nothing where an error ended it), and what to change.

    `where` is an op's path where the fault lies in one op; `parameters` and `input_shapes` are filled in by who runs
    the check.
    """

    def __init__(self, got: str, expected: str, advice: str, *, where: str = "") -> None:
        super().__init__(got)
        self.got = got
        self.expected = expected
        self.advice = advice
        self.where = where


def nonconformity(error: Exception) -> Nonconformity:
    """A finding of what one of blockforge's errors says: `where: what; what to change`."""
    what, _, advice = str(error).rpartition("; ")
    return Nonconformity(what or advice, "", advice if what else "mend what it names")


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

    def line(self) -> str:
        """The failure in one line: block, check, parameters and input, got and expected, what to change."""
        given = [f"{name}={_shown(value)}" for name, value in self.parameters.items()]
        given += [f"input {' and '.join(map(show_shape, self.inputs))}"] if self.inputs else []
        where = f" with {', '.join(given)}" if given else ""
        expected = f", but {self.expected}" if self.expected else ""
        return f"{self.block}: {self.check}{where}: {self.got}{expected}; {self.advice}"

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


@dataclass(frozen=True)
class Report:
    """What the checks of several blocks found; `checked` is the number of checks of each block."""

    target: str
    examples: int
    checked: Mapping[str, int]
    failures: tuple[Failure, ...]

    def text(self) -> str:
        """A line for each failure, and one for each block that has none."""
        lines = []
        for block, count in self.checked.items():
            found = [failure.line() for failure in self.failures if failure.block == block]
            lines += found or [f"{block}: all {count} checks hold, each over up to {self.examples} cases"]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "target": self.target,
            "examples": self.examples,
            "blocks": [{"name": block, "checks": count} for block, count in self.checked.items()],
            "failures": [failure.record() for failure in self.failures],
        }


def _shown(value: Any) -> str:
    """A value as files write it."""
    return dump_yaml({"value": value}).strip().removeprefix("value: ")

"""What to change where Python or torch refuses what an author wrote: the usual mistakes, by what is said of them."""

from __future__ import annotations

import re

FROZEN = "write @dataclass(frozen=True) above the op's class"
_CURES = (
    (r"unsupported operand .*'Value'", "values have no operators: write g.add(NAME, x, y) or g.mul(NAME, x, y)"),
    (r"not Value\b|'Value' object", "a value is no tensor: use what g has, g.relu(NAME, x) or g.op(NAME, OP, x)"),
    (r"\bOp\.__init__\(\) takes", FROZEN),
    (r"cannot inherit non-frozen dataclass from a frozen one", FROZEN),
    (r"'Argument' object is not iterable", "a call takes a tuple of arguments, with its comma: (Argument(...),)"),
)


def cure(error: BaseException) -> str:
    """What to change; empty where nothing more is known than what the error says."""
    return next((remedy for pattern, remedy in _CURES if re.search(pattern, str(error))), "")

"""Runs the checks of a block over its parameters and inputs, and says for each what fails, shrunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from textwrap import shorten
from typing import Any

import hypothesis
from hypothesis.errors import Unsatisfiable

from blockforge.block import Block
from blockforge.conformance.cases import Case, accepts, cases, made
from blockforge.conformance.checks import CHECKS
from blockforge.conformance.drawing import draw_cases, keeping_shape, quietly, sizes_of
from blockforge.conformance.field_checks import documented, field_matters
from blockforge.conformance.op_checks import OP_CHECKS
from blockforge.conformance.report import Failure, Nonconformity, nonconformity
from blockforge.errors import BlockforgeError
from blockforge.graph import Node
from blockforge.ops import Op, Shape, show_shape
from blockforge.registry import get_registry
from blockforge.remedies import cure

EXAMPLES = 20
FEW = {"export": 2, "copies": 5, "source": 5}
"""Checks of which a case takes long, or of which few cases show all, with the number of cases at most."""
SHAPE: Shape = (64, 56, 56)

Judge = Callable[[Case], None]


def check_names(cls: type[Block]) -> tuple[str, ...]:
    """The checks of a block, in the order in which they make sense."""
    return ("documented", "expands", *[f"field_{name}" for name in cls.model_fields], *OP_CHECKS, *CHECKS)


def check_block(cls: type[Block], check: str, *, examples: int = EXAMPLES, seed: int = 0) -> Failure | None:
    """Run one check of a block, and return how it fails, if it does."""
    if check == "documented":
        return _judged(cls, check, documented, cls)
    if check.startswith("field_"):
        name = check.removeprefix("field_")
        return _judged(cls, check, field_matters, cls, name, keeping_shape(get_registry()), seed)
    if check == "expands":
        judge: Judge = _expands
    elif check in OP_CHECKS:
        judge = _of_ops(check)
    else:
        judge = CHECKS[check]
    return _over_cases(cls, check, judge, examples, seed)


def check_all(cls: type[Block], *, examples: int = EXAMPLES, seed: int = 0) -> Iterator[tuple[str, Failure | None]]:
    """All checks of a block with what they found.

    Where it doesn't expand, or an op's own rules are wrong, the checks of the whole module are left out: they would
    say the same of each other thing. So would an op's other checks where one ended with an error.
    """
    failed = False
    for name in check_names(cls):
        if failed and name in CHECKS:
            return
        failure = check_block(cls, name, examples=examples, seed=seed)
        yield name, failure
        if failure and (name == "expands" or (name in OP_CHECKS and not failure.expected)):
            return
        failed = failed or (failure is not None and name in OP_CHECKS)


# -- one check over many cases


def _over_cases(cls: type[Block], check: str, judge: Judge, examples: int, seed: int) -> Failure | None:
    """How a check fails over cases of a block, in the plainest case that hypothesis finds."""
    kept = keeping_shape(get_registry())
    drawn, examples = draw_cases(cls, kept, examples, seed), min(examples, FEW.get(check, examples))
    first = next(filter(None, (_fails(cls, check, judge, case) for case in drawn[:examples])), None)
    if drawn and first is None:
        return None
    last = [first] if first else []

    def one(case: Case) -> None:
        failure = _fails(cls, check, judge, case)
        if failure:
            last[:] = [failure]
            raise Nonconformity(failure.got, failure.expected, failure.advice)

    try:
        quietly(examples, seed, shrink=True)(hypothesis.given(cases(cls, kept, sizes_of(cls, kept)))(one))()
    except Nonconformity:
        return last[0]
    except Unsatisfiable:
        return _failure(cls, check, None, _nothing_accepted(cls))
    return first


def _fails(cls: type[Block], check: str, judge: Judge, case: Case) -> Failure | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            judge(case)
        except Nonconformity as found:
            return _failure(cls, check, case, found)
        except Exception as error:
            return _failure(cls, check, case, _unexpected(error, check))
    return None


def _nothing_accepted(cls: type[Block]) -> Nonconformity:
    """With what it says of its defaults, where it has defaults."""
    block, said = made(cls, {}), ""
    if block is not None:
        try:
            Case(block, (SHAPE,) * (1 if cls.arity is None else cls.arity)).graph()
        except Exception as error:
            said = f" (with its defaults and input {show_shape(SHAPE)}: {error})"
    return Nonconformity(
        f"it accepts none of the parameters and inputs that were tried{said}",
        "its fields' types and bounds say what it takes",
        "narrow the bounds, or mend expand",
    )


def _unexpected(error: Exception, check: str) -> Nonconformity:
    """What a check says that ended with an error of torch's or Python's."""
    if isinstance(error, BlockforgeError):
        return nonconformity(error)
    judge = CHECKS.get(check) or OP_CHECKS.get(check)
    holds = (judge.__doc__ if judge else "") or "it works"
    text = shorten(" ".join(str(error).split()), 200, placeholder=" ...")
    return Nonconformity(
        f"{type(error).__name__}: {text}",
        "",
        cure(error) or f"mend what raises this, so that {holds[0].lower()}{holds[1:].rstrip('.')}",
    )


def _failure(cls: type[Block], check: str, case: Case | None, found: Nonconformity) -> Failure:
    where = f"{found.where}: " if found.where else ""
    return Failure(
        cls.name,
        check,
        case.block.parameters() if case else {},
        case.inputs if case else (),
        where + found.got,
        found.expected,
        found.advice,
    )


def _judged(cls: type[Block], check: str, judge: Callable[..., None], *arguments: Any) -> Failure | None:
    try:
        judge(*arguments)
    except Nonconformity as found:
        return _failure(cls, check, None, found)
    return None


# -- the kinds of checks


def _expands(case: Case) -> None:
    accepts(case)


def _of_ops(check: str) -> Judge:
    """A check of each op of the block that doesn't come with blockforge."""

    def judged(case: Case) -> None:
        for node in case.graph():
            if not node.op.is_built_in:
                _judge_op(check, node)

    return judged


def _judge_op(check: str, node: Node) -> None:
    try:
        known = _op_verdict(check, node.op, node.input_shapes)
    except TypeError:  # an op that can't be hashed
        known = _verdict(check, node.op, node.input_shapes)
    if known:
        raise Nonconformity(known.got, known.expected, known.advice, where=f"{node.name} ({node.op.kind})")


def _verdict(check: str, op: Op, inputs: tuple[Shape, ...]) -> Nonconformity | None:
    try:
        OP_CHECKS[check](op, inputs)
    except Nonconformity as found:
        return found
    except Exception as error:
        return _unexpected(error, check)
    return None


_op_verdict = lru_cache(maxsize=1024)(_verdict)

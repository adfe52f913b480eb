"""Runs the checks of a block over its parameters and inputs, and says for each what fails, shrunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from textwrap import shorten
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from blockforge.block import Block
from blockforge.conformance.cases import Case, accepts, cases, field_values, made, other_values
from blockforge.conformance.checks import CHECKS
from blockforge.conformance.op_checks import OP_CHECKS
from blockforge.conformance.report import Failure, Nonconformity, nonconformity
from blockforge.errors import BlockforgeError
from blockforge.fields import field_meanings
from blockforge.graph import Node
from blockforge.ops import Op, Shape, show_shape
from blockforge.registry import Registry, get_registry

EXAMPLES = 20
FEW = {"export": 2, "copies": 5, "source": 5}
"""Checks of which a case takes long, or of which few cases show all, with the number of cases at most."""
SHAPE: Shape = (64, 56, 56)
SEARCHED = 400  # cases looked through for one in which a field matters

Judge = Callable[[Case], None]


def check_names(cls: type[Block]) -> tuple[str, ...]:
    """The checks of a block, in the order in which they make sense."""
    return ("documented", "expands", *[f"field_{name}" for name in cls.model_fields], *OP_CHECKS, *CHECKS)


def check_block(cls: type[Block], check: str, *, examples: int = EXAMPLES, seed: int = 0) -> Failure | None:
    """Run one check of a block, and return how it fails, if it does."""
    if check == "documented":
        return _judged(cls, check, _documented, cls)
    if check.startswith("field_"):
        return _field_matters(cls, check.removeprefix("field_"), keeping_shape(get_registry()), seed)
    if check == "expands":
        judge: Judge = _expands
    elif check in OP_CHECKS:
        judge = _of_ops(check)
    else:
        judge = _of_module(CHECKS[check])
    return _over_cases(cls, check, judge, min(examples, FEW.get(check, examples)), seed)


def check_all(cls: type[Block], *, examples: int = EXAMPLES, seed: int = 0) -> Iterator[tuple[str, Failure | None]]:
    """All checks of a block with what they found.

    Where it doesn't expand, or an op's own rules are wrong, the checks of the whole module are left out: they would
    say the same of each other thing.
    """
    failed = False
    for name in check_names(cls):
        if failed and name in CHECKS:
            continue
        failure = check_block(cls, name, examples=examples, seed=seed)
        yield name, failure
        if failure and name == "expands":
            return
        failed = failed or (failure is not None and name in OP_CHECKS)


# -- one check over many cases


def _over_cases(cls: type[Block], check: str, judge: Judge, examples: int, seed: int) -> Failure | None:
    """How a check fails over cases of a block, in the plainest case that hypothesis finds."""
    kept = keeping_shape(get_registry())
    drawn = draw_cases(cls, kept, max(examples, EXAMPLES), seed)
    failed = next((case for case in drawn[:examples] if _fails(cls, check, judge, case)), None)
    if drawn and failed is None:
        return None
    last = [_fails(cls, check, judge, failed)] if failed else []

    def one(case: Case) -> None:
        failure = _fails(cls, check, judge, case)
        if failure:
            last[:] = [failure]
            raise Nonconformity(failure.got, failure.expected, failure.advice)

    try:
        _hypothesis(examples, seed, shrink=True)(hypothesis.given(cases(cls, kept))(one))()
    except Nonconformity:
        return last[0]
    except Unsatisfiable:
        return _failure(cls, check, None, _nothing_accepted(cls))
    return last[0] if last else None


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


@lru_cache(maxsize=256)
def draw_cases(cls: type[Block], kept: tuple[Block, ...], examples: int, seed: int) -> tuple[Case, ...]:
    """So many cases of a block, the same for each check; none if the block accepts nothing that was tried."""
    drawn: list[Case] = []

    def one(case: Case) -> None:
        drawn.append(case)

    with suppress(Unsatisfiable):
        _hypothesis(examples, seed)(hypothesis.given(cases(cls, kept))(one))()
    return tuple(dict.fromkeys(drawn))


def _hypothesis(
    examples: int, seed: int, *, shrink: bool = False
) -> Callable[[Callable[..., None]], Callable[[], None]]:
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
        return wrapped

    return wrap


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
    judge = CHECKS.get(check) or OP_CHECKS.get(check)
    holds = (judge.__doc__ if judge else "") or "it works"
    text = shorten(" ".join(str(error).split()), 200, placeholder=" ...")
    return Nonconformity(
        f"{type(error).__name__}: {text}", f"{holds[0].lower()}{holds[1:].rstrip('.')}", "mend what raises this"
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


def _documented(cls: type[Block]) -> None:
    """It says what it is, whose idea that is, and what each field means."""
    if not cls.about:
        raise Nonconformity("it has no docstring", "a sentence says what it does", "write one under its `class` line")
    if not cls.paper:
        raise Nonconformity(
            "it names no paper", "its idea is somebody's", 'write `paper: ClassVar[str] = "arXiv:..."`, or whose it is'
        )
    missing = [name for name, meaning in field_meanings(cls).items() if not meaning]
    if missing:
        raise Nonconformity(
            f"field {missing[0]} says nothing of its meaning",
            "a comment behind each field does",
            f"write `{missing[0]}: ... = ...  # what it means`",
        )


def _expands(case: Case) -> None:
    accepts(case)


def _of_module(judge: Judge) -> Judge:
    def judged(case: Case) -> None:
        try:
            judge(case)
        except BlockforgeError as error:
            raise nonconformity(error, "it can be built") from None

    return judged


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


def _field_matters(cls: type[Block], name: str, kept: tuple[Block, ...], seed: int) -> Failure | None:
    """A field changes the block somewhere: its ops, their arguments, names or wiring."""

    class Found(Exception):
        pass

    def one(case: Case, data: st.DataObject) -> None:
        values = {each: getattr(case.block, each) for each in cls.model_fields}
        other = made(cls, values | {name: data.draw(alternatives)})
        if other is None or other == case.block or not accepts(Case(other, case.inputs)):
            return
        if _fingerprint(case) != _fingerprint(Case(other, case.inputs)):
            raise Found

    alternatives = st.one_of(field_values(cls, name, kept), other_values(cls, name))
    test = _hypothesis(SEARCHED, seed)(hypothesis.given(cases(cls, kept), st.data())(one))
    try:
        test()
    except Found:
        return None
    except Exception:
        return None  # what else there is to say of a case is said by `expands`
    return _failure(
        cls,
        f"field_{name}",
        None,
        Nonconformity(
            f"no value of {name} was found that changes anything",
            "a field has an effect",
            f"read self.{name} in expand, or leave it out",
        ),
    )


def _fingerprint(case: Case) -> tuple[object, ...]:
    graph = case.graph()
    output = graph.outputs["output"]
    nodes = [(node.name, node.op, tuple((value.node.index, value.port) for value in node.inputs)) for node in graph]
    return (*nodes, (output.node.index, output.port))


# -- blocks for nested fields


@lru_cache(maxsize=8)
def keeping_shape(registry: Registry) -> tuple[Block, ...]:
    """Two registered blocks, with their defaults, that keep the shape of any maps: what an `attention` can be."""
    found = []
    for name, cls in registry.blocks.items():
        block = None if cls.arity != 1 else made(cls, {})
        if block is not None and all(_keeps(block, shape) for shape in ((8, 7, 5), (12, 1, 1), (3, 4, 4))):
            found.append((-len(Case(block, ((8, 7, 5),)).graph().nodes), name, block))
    return tuple(block for _, _, block in sorted(found, key=lambda each: each[:2])[:2])


def _keeps(block: Block, shape: Shape) -> bool:
    try:
        return Case(block, (shape,)).graph().outputs["output"].shape == shape
    except Exception:
        return False

"""What must hold of a block's words and fields: they are documented, and each field has an effect."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from blockforge.block import Block
from blockforge.conformance.cases import LARGE_SIZES, Case, accepts, cases, field_values, has_values, made, other_values
from blockforge.conformance.drawing import quietly, sizes_of
from blockforge.conformance.report import Nonconformity
from blockforge.errors import OpError
from blockforge.fields import field_meanings

SEARCHED = 200  # cases looked through for one in which a field matters


def documented(cls: type[Block]) -> None:
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


def field_matters(cls: type[Block], name: str, kept: tuple[Block, ...], seed: int) -> None:
    """A field changes the block somewhere: its ops, their arguments, names or wiring."""

    class Found(Exception):
        pass

    drawn: list[bool] = []
    refused: list[str] = []

    def one(case: Case, data: st.DataObject) -> None:
        values = {each: getattr(case.block, each) for each in cls.model_fields}
        other = made(cls, values | {name: data.draw(alternatives)})
        if other is None or other == case.block:
            return
        drawn.append(True)
        changed = Case(other, case.inputs)
        try:
            if not accepts(case) or not accepts(changed):
                refused[:] = [_refusal(changed)]
                return
        except Nonconformity:  # `expands` says it
            return
        if _fingerprint(case) != _fingerprint(changed):
            raise Found

    if not has_values(cls, name, kept) and other_values(cls, name).is_empty:
        return  # of its type the kit can draw nothing
    alternatives = st.one_of(field_values(cls, name, kept), other_values(cls, name))
    for sizes in dict.fromkeys((sizes_of(cls, kept), LARGE_SIZES)):
        test = quietly(SEARCHED, seed)(hypothesis.given(cases(cls, kept, sizes), st.data())(one))
        try:
            test()
        except Found:
            return
        except Unsatisfiable:  # nothing is accepted: `expands` says it
            continue
    if not drawn:
        return  # of text that has to match a pattern the kit can draw nothing else
    said = f"; others are refused: {refused[0]}" if refused else ""
    raise Nonconformity(
        f"no value of {name} was found that changes anything{said}",
        "a field has an effect",
        f"read self.{name} in expand, or leave it out",
    )


def _refusal(case: Case) -> str:
    try:
        case.graph()
    except OpError as error:
        return str(error)
    return ""


def _fingerprint(case: Case) -> tuple[object, ...]:
    graph = case.graph()
    output = graph.outputs["output"]
    nodes = [(node.name, node.op, tuple((value.node.index, value.port) for value in node.inputs)) for node in graph]
    return (*nodes, (output.node.index, output.port))

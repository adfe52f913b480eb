"""Which stage feeds which: the order of stages, and every mistake that a wiring can have."""

from __future__ import annotations

import hypothesis.strategies as st
import networkx as nx
import pytest
from hypothesis import given

from blockforge.wiring import INPUT, mistakes, only_for, order, runs_in_file_order, stage_graph


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"a": ("input",), "b": ("a",)}, []),
        ({"a": ("input",), "b": ("input", "a"), "c": ("a", "b")}, []),
        ({"b": ("a",), "a": ("input",), "c": ("b",)}, []),
        (
            {"a": ("c",), "b": ("a",), "c": ("b",)},
            [("a", "the stages a -> b -> c -> a feed each other in a cycle; change a `from`")],
        ),
        (
            {"a": ("input",), "b": ("b",)},
            [("b", "the stages b -> b feed each other in a cycle; change a `from`")],
        ),
        (
            {"a": ("input",), "b": ()},
            [("b", "is unreachable: `from: []` feeds it nothing; name a stage or `input`")],
        ),
        (
            {"a": ("input",), "b": ("a",), "c": ("a",)},
            [
                (
                    "b",
                    "no stage reads it, and it isn't the last one (c, which is the output); "
                    "read it with `from`, or remove it",
                )
            ],
        ),
        (
            {"stem": ("input",), "head": ("stm", "x")},
            [
                ("head", "no stage 'stm' to read from; did you mean 'stem'? there are input, stem, head"),
                ("head", "no stage 'x' to read from; there are input, stem, head"),
            ],
        ),
        (
            {"a": ("inptu",), "b": ()},  # a cycle or an unread stage is not looked for in an unsound wiring
            [
                ("a", "no stage 'inptu' to read from; did you mean 'input'? there are input, a, b"),
                ("b", "is unreachable: `from: []` feeds it nothing; name a stage or `input`"),
            ],
        ),
    ],
)
def test_mistakes(sources, found):
    assert list(mistakes(sources, [list(sources)[-1]])) == found


def test_an_output_needs_no_reader_and_another_end_is_told_so():
    sources = {"a": ("input",), "b": ("a",), "c": ("a",)}
    assert list(mistakes(sources, ["b", "c"])) == []
    assert list(mistakes(sources, ["b"])) == [
        ("c", "no stage reads it, and it is no output; read it with `from`, or remove it")
    ]
    assert list(mistakes({**sources, "d": ("c",)}, ["d"])) == [
        (
            "b",
            "no stage reads it, and it isn't the last one (d, which is the output); read it with `from`, or remove it",
        )
    ]


def test_what_runs_in_training_only_comes_right_behind_what_feeds_it():
    sources = (
        ("a", ("input",)), ("b", ("a",)), ("c", ("b",)), ("pool", ("a",)), ("aux", ("pool",)), ("head", ("c",)),
    )  # fmt: skip
    training = only_for(sources, frozenset({"aux"}), frozenset({"head"}))
    assert training == {"pool", "aux"}
    assert order(sources) == ("a", "b", "c", "pool", "aux", "head")
    assert order(sources, training) == ("a", "pool", "aux", "b", "c", "head")
    assert only_for(sources, frozenset(), frozenset({"head"})) == frozenset()


def test_a_wiring_runs_in_file_order_where_nothing_reads_what_comes_behind():
    assert runs_in_file_order((("a", ("input",)), ("b", ("a",))))
    assert runs_in_file_order((("a", ("input",)), ("b", ("input",)), ("c", ("b", "a", "b"))))
    assert not runs_in_file_order((("a", ("b",)), ("b", ("input",))))
    assert not runs_in_file_order((("a", ("a",)),))
    assert order((("b", ("input",)), ("a", ("b",)))) == ("b", "a")


def test_stages_run_in_file_order_where_the_wiring_allows_it():
    assert order((("c", ("a", "b")), ("b", ("input",)), ("a", ("input",)))) == ("b", "a", "c")
    assert order((("a", ("input",)), ("z", ("input",)), ("b", ("a", "z")))) == ("a", "z", "b")


def test_the_wiring_is_a_networkx_graph():
    graph = stage_graph((("a", ("input",)), ("b", ("input", "a"))))
    assert isinstance(graph, nx.DiGraph)
    assert set(graph.edges) == {("input", "a"), ("input", "b"), ("a", "b")}


@given(st.data())
def test_every_sound_wiring_has_an_order_in_which_sources_come_first(data):
    names = data.draw(st.permutations("abcdef"))
    run: list[str] = []  # the order that the wiring is drawn in; the file's is another one
    sources = {}
    for name in names:
        sources[name] = tuple(data.draw(st.lists(st.sampled_from([INPUT, *run]), min_size=1, max_size=3)))
        run.append(name)
    wired = tuple((name, sources[name]) for name in sorted(sources))
    found = order(wired)
    assert sorted(found) == sorted(names)
    for name, feeding in wired:
        assert all(other == INPUT or found.index(other) < found.index(name) for other in feeding)
    assert not any("cycle" in message for _, message in mistakes(dict(wired), names))
    closed = dict(wired) | {names[0]: (names[-1],), names[-1]: (names[0],)}
    assert any("feed each other in a cycle" in message for _, message in mistakes(closed, names))

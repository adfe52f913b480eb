"""Which stage feeds which: the order in which stages run, and the mistakes that a wiring can have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

from blockforge.errors import did_you_mean

INPUT = "input"
T = TypeVar("T", bound=Hashable)

Sources = tuple[tuple[str, tuple[str, ...]], ...]
"""Each stage with the stages that feed it, in file order."""


def mistakes(sources: Mapping[str, tuple[str, ...]], outputs: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each mistake of a wiring as (stage, message); `outputs` are the stages whose outputs leave the network."""
    known = [INPUT, *sources]
    sound = True
    for name, feeding in sources.items():
        if not feeding:
            yield name, "is unreachable: `from: []` feeds it nothing; name a stage or `input`"
            sound = False
        for other in feeding:
            if other not in known:
                sound = False
                yield (
                    name,
                    f"no stage {other!r} to read from{did_you_mean(other, known) or ';'} there are {', '.join(known)}",
                )
    if not sound:
        return
    cycle = _cycle(tuple(sources.items()))
    if cycle:
        yield (cycle[0], f"the stages {' -> '.join([*cycle, cycle[0]])} feed each other in a cycle; change a `from`")
        return
    read = {other for feeding in sources.values() for other in feeding}
    last = list(sources)[-1]
    for name in sources:
        if name not in read and name not in outputs:
            why = f"it isn't the last one ({last}, which is the output)" if last in outputs else "it is no output"
            yield (name, f"no stage reads it, and {why}; read it with `from`, or remove it")


def _cycle(sources: Sources) -> list[str]:
    if runs_in_file_order(sources):
        return []
    import networkx as nx

    try:
        return [edge[0] for edge in nx.find_cycle(stage_graph(sources))]
    except nx.NetworkXNoCycle:
        return []


def runs_in_file_order(sources: Sources) -> bool:
    """Whether each stage reads none that stands behind it, so that there is neither a cycle nor anything to sort."""
    before = {INPUT}
    for name, feeding in sources:
        if not before.issuperset(feeding):
            return False
        before.add(name)
    return True


def stage_graph(sources: Sources):  # type: ignore[no-untyped-def]  # networkx takes 0.1 s to import, and few files need it
    """The wiring as a `networkx.DiGraph` of the stages' names and `input`."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node(INPUT)
    for name, feeding in sources:
        graph.add_node(name)
        graph.add_edges_from((other, name) for other in feeding)
    return graph


@lru_cache(maxsize=512)
def order(sources: Sources, training: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The stages in the order in which they run: topological, by file order among equals.

    Those that run in `training` only come right behind what feeds them, wherever they stand: what they read need
    not live on for them.
    """
    position: dict[str, tuple[int, ...]] = {name: (index,) for index, (name, _) in enumerate(sources)}
    position[INPUT] = (-1,)
    for name, feeding in sources:
        if name in training:
            position[name] = (*max((position[other] for other in feeding), default=(-1,)), *position[name])
    if runs_in_file_order(sources):  # then a stage's position is greater than those of what feeds it
        return tuple(sorted((name for name, _ in sources), key=position.__getitem__))
    import networkx as nx

    return tuple(nx.lexicographical_topological_sort(stage_graph(sources), key=position.__getitem__))[1:]


@lru_cache(maxsize=512)
def only_for(sources: Sources, some: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    """The stages that feed `some` of the outputs but none of the `others`."""
    if not some:
        return frozenset()
    feeding = {INPUT: (), **dict(sources)}
    ours, theirs = (behind(names, feeding.__getitem__) for names in (some, others))
    return frozenset(ours - theirs)


def behind(starts: Iterable[T], feeding: Callable[[T], Iterable[T]]) -> set[T]:
    """The starts, and all that feeds them, directly or not."""
    found: set[T] = set()
    waiting = list(starts)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += feeding(each)
    return found

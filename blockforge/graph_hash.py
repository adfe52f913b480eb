"""The identity of a network: a hash of what its graph computes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blockforge.graph import Graph


def hash_of(graph: Graph) -> str:
    """The network's identity: equal for equal functions of equal structure, whatever the names.

    A Merkle hash over the ops in topological order (operand order, ports, parameters), without names,
    identities, dropout, initialisation and BatchNorm's momentum. Each op counts once and with what reads
    it, since `f(x) + f(x)` by one convolution is not `f(x) + g(x)` by two equal ones.
    """
    forward: dict[int, bytes] = {}
    edges: dict[int, list[tuple[int, int, int]]] = {}  # maker -> (reader, operand, port)
    origin: dict[tuple[int, int], tuple[int, int]] = {}
    for node in graph.nodes:
        if node.op.identity:
            first = node.inputs[0]
            origin[node.index, 0] = origin[first.node.index, first.port]
            continue
        operands = [origin[value.node.index, value.port] for value in node.inputs]
        forward[node.index] = _digest(
            # The module, since two plugins may have an op of one name.
            type(node.op).__module__,
            node.op.hashed(),
            *(forward[maker] + b"%d" % port for maker, port in operands),
        )
        for port in range(len(node.shapes)):
            origin[node.index, port] = (node.index, port)
        for position, (maker, port) in enumerate(operands):
            edges.setdefault(maker, []).append((node.index, position, port))
    results = [
        (*origin[value.node.index, value.port], b"train" if name in graph.training else b"out")
        for name, value in graph.outputs.items()
    ]
    backward: dict[int, bytes] = {}
    for index in sorted(forward, reverse=True):
        reads = [backward[reader] + b"%d.%d" % (operand, port) for reader, operand, port in edges.get(index, ())]
        reads += [b"%s%d.%d" % (kind, i, port) for i, (maker, port, kind) in enumerate(results) if maker == index]
        backward[index] = _digest(forward[index], *sorted(reads))
    return _digest(b"network", *sorted(backward.values())).hex()


def _digest(*parts: bytes | str) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()

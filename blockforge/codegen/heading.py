"""What stands above a generated file's classes: what it is and who wrote it, what images need, and its imports."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from blockforge import __version__
from blockforge.codegen.layout import WIDTH
from blockforge.graph import Graph
from blockforge.network import Network
from blockforge.ops.helpers import Definition, import_lines
from blockforge.registry import get_registry


def docstring(title: str, graph: Graph, images: str = "") -> str:
    """The file's docstring: its title, by what and whose plugins it was written, and what is done to images."""
    line = "".join(letter if letter.isprintable() else " " for letter in title)
    line = line.replace("\\", "\\\\").replace('"', "'")  # what would be an escape in a docstring, or end it
    more = "\n\n" + "\n".join(wrap(images, WIDTH)) + "\n" if images else ""
    return f'"""{line}, written by {written_by(graph)}.{more}"""'


def images_line(network: Network) -> str:
    """What is done to images before the network, in a line for people; empty if nothing is said."""
    found = network.preprocess
    if found is None:
        return ""
    steps = [f"shorter side to {found.resize} pixels ({found.interpolation})"] if found.resize else []
    steps += [f"centre {found.crop}x{found.crop}"] if found.crop else []
    return f"Images: {', '.join([*steps, f'values from 0 to 1, mean {found.mean}, std {found.std}'])}."


def imports(helpers: Iterable[Definition], text: str) -> str:
    """The import lines that a file's text needs, with those of helpers that aren't written out in it."""
    lines = ["import torch", *import_lines([*helpers], text), "from torch import nn"]
    collections = [name for name in ("OrderedDict", "namedtuple") if f"{name}(" in text]
    if collections:
        lines = [f"from collections import {', '.join(collections)}", "", *lines]
    if "torch." not in text.replace("import torch", ""):
        lines.remove("import torch")
    return "\n".join(lines)


def written_by(graph: Graph) -> str:
    """Who wrote a graph's source: `blockforge 0.1.0`, and with which blocks and ops of third parties.

    As in `blockforge 0.1.0 with acme-blocks 1.2.3 and file ghost.py`.
    """
    kinds = {type(node.op) for node in graph.nodes} | {type(expansion.block) for expansion in graph.expansions}
    foreign = [kind for kind in kinds if not kind.__module__.startswith("blockforge.")]
    sources = sorted({plugin.source for kind in foreign if (plugin := get_registry().maker(kind))})
    *first, last = sources or [""]
    with_ = f" with {', '.join(first)} and {last}" if first else f" with {last}" if last else ""
    return f"blockforge {__version__}{with_}"

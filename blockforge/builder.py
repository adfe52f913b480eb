"""From a network to its `nn.Module`: the generated source, run; then its weights, drawn once."""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from blockforge.assembler import assemble, graph_of
from blockforge.block import Block, listed
from blockforge.codegen.text import network_source, source_of
from blockforge.errors import BlockforgeError
from blockforge.graph import Graph, Node
from blockforge.initialisation import initialise, no_init, reset_norms
from blockforge.mould import Mould, take_mould
from blockforge.network import Network, as_edits, get_network
from blockforge.ops import Op, Shape, show_shape
from blockforge.settings import Init

if TYPE_CHECKING:
    from torch import nn


def build(
    what: str | os.PathLike[str] | Network | Block,
    *,
    init: bool = True,
    classes: int | None = None,
    in_channels: int | None = None,
    input: Shape | list[Shape] | None = None,  # noqa: A002 (the name that networks' files have)
    edits: Mapping[str, Any] | None = None,
    strict_input: bool = False,
) -> nn.Module:
    """The `nn.Module` of a network (or of its name or path), or of a single block, in train mode.

    `input` is `(C, H, W)` (for a block of several inputs, a list of them); a network has its own. `edits` are
    paths and values as in `Network.set`. With `init=False` the weights are left unset, for loading. Raises
    `BlockforgeError`; with `strict_input`, also where an `input` changes the shapes of weights.
    """
    if isinstance(what, Block):
        return _build_block(what, input, (classes, in_channels, edits), init=init)
    if not isinstance(what, str | os.PathLike | Network):
        raise BlockforgeError(f"build: takes a network, its name or path, or a block such as Conv(), but got {what!r}")
    network = what if isinstance(what, Network) else get_network(what)
    edits = {} if edits is None else as_edits(edits, "build")
    _refuse_contradictions(classes, in_channels, input, edits)
    changes: dict[str, Any] = {} if classes is None else {"classes": classes}
    if input is not None:
        changes["input"] = input
    elif in_channels is not None:
        changes["input"] = (in_channels, *network.input[1:])
    changes |= edits
    if strict_input and "input" in changes:
        assemble(network, input=changes["input"], strict_input=True)
    network = network.set(changes) if changes else network
    text, mouldable = _source(network)
    return make(text, network.settings.init if init else None, mouldable=mouldable)


def _refuse_contradictions(
    classes: int | None, in_channels: int | None, shape: Shape | list[Shape] | None, edits: Mapping[str, Any]
) -> None:
    """Raise `BlockforgeError` where two arguments of `build` ask for different things."""
    texts = {key: f"edits={{'{key}': {edits.get(key)}}}" for key in ("classes", "input")}
    shapes = ((f"input={shape}", listed(shape)), (texts["input"], listed(edits.get("input"))))
    pairs = [((f"classes={classes}", classes), (texts["classes"], edits.get("classes"))), shapes]
    for text, given in shapes:
        if isinstance(given, list) and given:
            pairs.append(((f"in_channels={in_channels}", in_channels), (text, given[0])))
    for (one, first), (other, second) in pairs:
        if None not in (first, second) and first != second:
            raise BlockforgeError(f"build: {one} and {other} contradict each other; leave one out")


@lru_cache(maxsize=256)
def _source(network: Network) -> tuple[str, bool]:
    """The source of a network, and whether all classes in it are blockforge's own."""
    graph = assemble(network)
    text = network_source(network, graph)
    _check_ops(graph, text)
    return text, all(node.op.is_built_in or not type(node.op).helper for node in graph)


def _build_block(block: Block, given: Any, others: tuple[Any, ...], *, init: bool) -> nn.Module:
    if given is None or any(other is not None for other in others):
        raise BlockforgeError(
            f"{block.name}: a single block is built by its input's shape alone; write build(block, input=(64, 56, 56))"
        )
    shapes = [given] if _is_shape(given) else given
    if not (isinstance(shapes, tuple | list) and shapes and all(map(_is_shape, shapes))):
        raise BlockforgeError(f"{block.name}: input={given!r} is no shape; write (64, 56, 56), or a list of such")
    graph = graph_of(block, *map(tuple, shapes))
    text = source_of(graph, type(block).__name__, block.name)
    _check_ops(graph, text)
    return make(text, Init() if init else None)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and bool(value) and all(type(v) is int and v > 0 for v in value)


def make(text: str, init: Init | None, *, mouldable: bool = False) -> nn.Module:
    """The module of a generated source, its weights drawn as `init` says, or unset where that is None.

    `mouldable` says that no class of the source is an author's own.
    """
    generated = module_of(text)
    network_class = _root(generated)
    known: Mould | None = getattr(generated, MOULD, None)
    if known:
        module = known.cast()
        if init:
            reset_norms(module)
            initialise(module, init)
        return module
    if init == Init():
        module = network_class()
    else:
        with no_init(norms=init is None):
            module = network_class()
        if init:
            initialise(module, init)
    # A search builds each of its networks once and draws its weights: for that one, a mould would be for nothing.
    again = hasattr(generated, BUILT) or init is None
    if mouldable and again and not hasattr(generated, MOULD):
        setattr(generated, MOULD, take_mould(module))
    setattr(generated, BUILT, True)
    return module


MOULD = "__blockforge_mould__"
"""Where a generated module keeps its mould (None: it can't have one), so that the two are forgotten together."""
BUILT = "__blockforge_built__"
"""What a generated module has once it was built."""


@lru_cache(maxsize=256)
def module_of(text: str) -> ModuleType:
    """Run a generated source as a Python module of its own; tracebacks show its lines."""
    from torch import nn

    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    title = text.partition("\n")[0].strip('"').partition(",")[0]
    filename = f"<blockforge {title} {digest}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(f"blockforge_generated_{digest}")
    module.__file__ = filename
    # Tools such as torch.export and inspect look a class's module up by its name.
    sys.modules[module.__name__] = module
    exec(compile(text, filename, "exec"), module.__dict__)  # noqa: S102 (the project's own generated source)
    for cls in list(vars(module).values()):
        if isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == module.__name__:
            cls.__reduce_ex__ = _reduce(text, cls)  # type: ignore[method-assign]
    return module


def _check_ops(graph: Graph, text: str) -> None:
    """Hold what each op that isn't built in makes, alone and at batch 2, against its shape rule.

    `text` is the graph's source. Raises `BlockforgeError` for the first op that makes something else.
    """
    names: dict[str, Any] = {}
    for node in graph:
        if node.op.is_built_in or _key(node) in _sound:
            continue
        if not names:  # classes of their own: an author's may count what is made of them
            exec(compile(text, "<the generated source>", "exec"), names)  # noqa: S102 (the project's own)
        where = f"{node.name}: {node.op.kind}"
        mend = f"mend shape() or {'call' if node.op.call(*node.input_shapes) else 'expression'}()"
        try:
            found = _made(node, names)
        except Exception as error:  # an author's code may raise anything
            shapes = ", ".join(map(show_shape, node.input_shapes))
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise BlockforgeError(f"{where} fails on {shapes}, which shape() accepts: {reason}; {mend}") from error
        made, ruled = (", ".join(map(show_shape, shapes)) for shapes in (found, node.shapes))
        if made != ruled:
            raise BlockforgeError(f"{where} made {made}, but its shape rule says {ruled}; {mend}")
        if (key := _key(node)) is not None:
            _sound.add(key)


_Key = tuple[Op, str, tuple[Shape, ...], tuple[Shape, ...]]
_sound: set[_Key | None] = set()
"""Ops of authors that were checked, with their shapes: a search builds the same ones again and again."""


def _key(node: Node) -> _Key | None:
    """What an op is known by once it was checked; None for one that can't be hashed, which is checked each time."""
    # Its text, too, since 1, 1.0 and True are equal in Python.
    key = (node.op, repr(node.op), node.input_shapes, node.shapes)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _made(node: Node, names: Mapping[str, Any], device: str = "meta") -> list[Shape]:
    """The shapes that an op makes of zeros: without memory or work, or with them where its code reads numbers."""
    import torch

    call = node.op.call(*node.input_shapes)
    try:
        # An author's module may draw its weights, which must not change what is drawn after it.
        with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
            operands = {f"x{i}": torch.zeros(2, *shape) for i, shape in enumerate(node.input_shapes, 1)}
            if call is None:
                made = eval(node.op.expression(*operands), {**names, **operands})  # noqa: S307 (it is in the source)
            else:
                given = [each.value for each in call.arguments if each.positional]
                others = {a.name: a.value for a in call.arguments if not a.positional and a.value != a.default}
                made = eval(call.target, {**names})(*given, **others).eval()(*operands.values())  # noqa: S307
    except Exception:
        if device == "cpu":
            raise
        return _made(node, names, "cpu")
    outputs = made if isinstance(made, tuple | list) else (made,)
    for each in outputs:
        if not isinstance(each, torch.Tensor):
            raise TypeError(f"it made {type(each).__name__}, no tensor")
        if each.shape[:1] != (2,):
            raise ValueError(f"of a batch of 2 it made a tensor of shape {show_shape(tuple(each.shape))}")
    return [tuple(each.shape[1:]) for each in outputs]


def _root(module: ModuleType) -> Callable[[], nn.Module]:
    """The network's class: the last one of the file."""
    root: Callable[[], nn.Module] = [
        v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__
    ][-1]
    return root


def _reduce(text: str, cls: type[nn.Module]) -> Callable[..., Any]:
    def __reduce_ex__(self: nn.Module, protocol: Any) -> Any:  # noqa: N807 (the name that pickle calls)
        if type(self) is not cls:  # somebody's subclass, which pickle finds by its own name
            return super(cls, self).__reduce_ex__(protocol)
        return restore, (text, cls.__name__), self.__dict__

    return __reduce_ex__


def restore(text: str, name: str) -> nn.Module:
    """An empty instance of a generated class, for pickle, deepcopy and `torch.load` to fill."""
    cls = getattr(module_of(text), name)
    instance: nn.Module = cls.__new__(cls)
    return instance


__all__ = ["build", "initialise", "make", "module_of", "restore"]

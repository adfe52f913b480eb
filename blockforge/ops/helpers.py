"""What an op brings into the generated file: the code of its author's own modules and functions.

The code goes there as it stands in the author's file, so that whatever it reads must be in the generated file too:
torch, nn, builtins, itself, and the op's other helpers.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from symtable import Function, SymbolTable, symtable
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any

from blockforge.errors import OpError
from blockforge.ops.base import Op, Shape

IMPORTED = {"torch": "torch", "nn": "torch.nn"}
"""What every generated file has imported: a name, and the module that it stands for."""
_SPELLED = {"torch": "torch", "torch.nn": "nn", "torch.nn.functional": "nn.functional", "torch.nn.init": "nn.init"}
_NOT_OWN = frozenset({*sys.stdlib_module_names, "torch", "torchvision", "blockforge"})
_FORMS = "give a class, a function, a tuple of them, or their source as a string"


@dataclass(frozen=True)
class Definition:
    """A class or a function that an op brings; `module` is where Python finds it, empty for source in a string."""

    name: str
    kind: str  # class or function
    text: str
    module: str = ""


def definitions(op_class: type[Op], *, imported: bool = False) -> tuple[Definition, ...]:
    """What the ops of a class bring, each behind what it needs; raises `OpError` for code that can't stand alone.

    With `imported` the text of what isn't source in a string is its import; the error is then for what no package has.
    """
    helper: Any = op_class.helper
    return _definitions(op_class.__name__, helper, imported)


@lru_cache(maxsize=256)
def _definitions(owner: str, helper: Any, imported: bool) -> tuple[Definition, ...]:
    if isinstance(helper, str):
        return _of_string(owner, helper.strip("\n"))
    given = helper if isinstance(helper, tuple) else (helper,)
    helpers: dict[str, Any] = {}
    for each in given:
        _check_kind(owner, each)
        if helpers.setdefault(each.__name__, each) is not each:
            raise OpError(f"{owner} has two helpers called {each.__name__}; rename one of them")
    if imported:
        return tuple([Definition(name, _kind(each), _import(each), each.__module__) for name, each in helpers.items()])
    texts = {name: _text(owner, each) for name, each in helpers.items()}
    for name, text in texts.items():
        _check_reads(owner, text, helpers, name)
    ordered: dict[str, Definition] = {}

    def place(name: str, *waiting: str) -> None:
        """Put a helper behind those that are read when it is defined, its bases say."""
        for other in _reads(texts[name])[0]:
            if other in (name, *waiting):  # only annotations that are never evaluated in the author's file can do so
                raise OpError(
                    f"{owner}'s helper {name} reads {other!r} before that is defined; write the annotation in quotes"
                )
            if other in helpers and other not in ordered:
                place(other, name, *waiting)
        ordered[name] = Definition(name, _kind(helpers[name]), texts[name], helpers[name].__module__)

    for name in helpers:
        if name not in ordered:
            place(name)
    return tuple(ordered.values())


def _of_string(owner: str, text: str) -> tuple[Definition, ...]:
    found = re.findall(r"^(class|def) (\w+)", text, re.MULTILINE)
    if text and not found:
        raise OpError(f"{owner}'s helper is {text.splitlines()[0]!r}, which defines nothing; {_FORMS}")
    return tuple([Definition(name, {"def": "function"}.get(word, word), text) for word, name in found])


def _check_kind(owner: str, helper: Any) -> None:
    if not isinstance(helper, type | FunctionType) or not helper.__name__.isidentifier():
        raise OpError(f"{owner}'s helper is {helper!r}; {_FORMS}")
    if helper.__module__.partition(".")[0] == "torch":
        spelled = _in_torch(helper) or helper.__name__
        raise OpError(f"{owner}'s helper {helper.__name__} is torch's own; leave helper out, and call {spelled}")


def _kind(helper: Any) -> str:
    return "class" if isinstance(helper, type) else "function"


def _text(owner: str, helper: type | FunctionType) -> str:
    """The source of a class or a function, as it stands in its file."""
    name = helper.__name__
    try:
        text = dedent(inspect.getsource(helper)).strip("\n")
    except (OSError, TypeError):  # inspect raises the latter for a class whose module has no file
        raise OpError(
            f"{owner}'s helper {name} has no source to be found: it was made in an interactive session or by exec, or "
            "its file has changed; write it in a file and start Python anew, or give its source as a string"
        ) from None
    try:
        found = getattr(ast.parse(text).body[0], "name", "")
    except SyntaxError:
        found = ""
    if found != name:
        raise OpError(
            f"{owner}'s helper {name} is no longer where it was in {inspect.getsourcefile(helper)}; "
            "start Python anew if the file has changed, or give its source as a string"
        )
    return text


def _reads(text: str) -> tuple[list[str], list[str]]:
    """The global names that code reads when it is run, and those that its functions read when they are called."""
    now: dict[str, None] = {}
    later: dict[str, None] = {}

    def visit(table: SymbolTable, names: dict[str, None], *, top: bool) -> None:
        names = later if isinstance(table, Function) else names
        for symbol in table.get_symbols():
            outer = not (symbol.is_assigned() or symbol.is_imported()) if top else symbol.is_global()
            if outer and symbol.is_referenced():
                names[symbol.get_name()] = None
        for child in table.get_children():
            visit(child, names, top=False)

    visit(symtable(text, "<helper>", "exec"), now, top=True)
    return list(now), list(later)


def _check_reads(owner: str, text: str, helpers: Mapping[str, Any], name: str) -> None:
    """Refuse a helper that reads what the generated file lacks, or what is something else there."""
    there = _globals(helpers[name])
    for names, at_once in zip(_reads(text), (True, False), strict=True):
        for read in names:
            if not _is_there(read, there, helpers):
                raise OpError(
                    f"{owner}'s helper {name} reads the global {read!r}, which the generated file lacks; "
                    + _advice(read, there, helpers, helpers[name], at_once=at_once)
                )


def _is_there(name: str, there: Mapping[str, Any], helpers: Mapping[str, Any]) -> bool:
    """Whether a name is in the generated file what it is in the author's, whose globals are `there`."""
    if name in helpers:
        return there.get(name, helpers[name]) is helpers[name]
    if name in IMPORTED:
        return name not in there or getattr(there[name], "__name__", "") == IMPORTED[name]
    return name not in there and hasattr(builtins, name)


def _advice(name: str, there: Mapping[str, Any], helpers: Mapping[str, Any], reader: Any, *, at_once: bool) -> str:
    """What to do about a name that the generated file lacks."""
    if name in helpers:
        return f"the helper {name} is another one; rename one of them"
    if name not in there:
        return "give it as an argument, or write it out"
    value = there[name]
    if _in_torch(value):
        return f"write {_in_torch(value)}"
    place = "function" if isinstance(reader, FunctionType) else "method"
    if isinstance(value, type | FunctionType) and value.__module__.partition(".")[0] not in _NOT_OWN:
        return f"make it a helper too: {_assignment([*helpers, name])}"
    if isinstance(value, ModuleType) or hasattr(value, "__module__"):
        return f"move what reads it into a {place}, and import it there" if at_once else f"import it inside the {place}"
    return f"write its value into the {place}" + ("" if place == "function" else f", or make it self.{name}")


def _assignment(names: list[str]) -> str:
    return f"helper = ({', '.join(names)})" if len(names) > 1 else f"helper = {names[0]}"


def _in_torch(value: Any) -> str:
    """How a file that has `torch` and `nn` spells a thing of torch; empty for anything else."""
    if isinstance(value, ModuleType):
        return _SPELLED.get(value.__name__, "")
    name = getattr(value, "__name__", "")
    for module in ("torch.nn", "torch", "torch.nn.functional"):
        if name and getattr(sys.modules.get(module), name, None) is value:
            return f"{_SPELLED[module]}.{name}"
    return ""


def _globals(helper: type | FunctionType) -> Mapping[str, Any]:
    """The globals of the file that a helper was written in, as its own functions see them."""
    for each in (helper, *vars(helper).values()):
        if isinstance(each, FunctionType):
            return each.__globals__
    return vars(sys.modules[helper.__module__]) if helper.__module__ in sys.modules else {}


def brought(op: Op, *inputs: Shape, import_modules: bool = False) -> tuple[Definition, ...]:
    """What an op brings; raises `OpError` if that, or what its call or expression reads, can't be in the file."""
    found = definitions(type(op), imported=import_modules)
    if not op.is_built_in:
        _check_spelling(op, inputs, [each.name for each in found])
    return found


def _check_spelling(op: Op, inputs: tuple[Shape, ...], helpers: list[str]) -> None:
    """Refuse an op whose call or expression reads what the generated file lacks."""
    operands = [f"x{number}" for number in range(1, len(inputs) + 1)]
    call = op.call(*inputs)
    method, text = ("call", call.target) if call else ("expression", op.expression(*operands))
    try:
        names = [name for part in _reads(text) for name in part]
    except SyntaxError:
        raise OpError(f"{op.kind}.{method}() gives {text!r}, which isn't Python; mend it") from None
    for name in names:
        if name not in {*operands, *helpers, *IMPORTED} and not hasattr(builtins, name):
            value = getattr(sys.modules.get(type(op).__module__), name, None)
            advice = "read torch, nn and helpers alone"
            if _in_torch(value):
                advice = f"write {_in_torch(value)}"
            elif isinstance(value, type | FunctionType):
                advice = f"write {_assignment([*helpers, name])} in its class"
            raise OpError(f"{op.kind}.{method}() reads {name!r}, which the generated file lacks; {advice}")


def _import(helper: type | FunctionType) -> str:
    """The import of a helper; refused for one that no package has: of a plugin file, or of a script."""
    name, module = helper.__name__, helper.__module__
    top = module.partition(".")[0]
    found = top != "__main__" and any([finder.find_spec(top, None) for finder in sys.meta_path])
    if not found or getattr(sys.modules.get(module), name, None) is not helper:
        place = getattr(sys.modules.get(module), "__file__", None) or module
        raise OpError(
            f"{name} can't be imported: {place} is of no package that Python finds; leave out "
            "--import-modules (import_modules=True), which writes its code instead, or install it as a package"
        )
    return f"from {module} import {name}"


def import_lines(imported: list[Definition], text: str) -> list[str]:
    """The imports of those definitions that a text reads, a line for each module."""
    names: dict[str, list[str]] = {}
    for each in imported:
        if re.search(rf"\b{each.name}\b", text):
            names.setdefault(each.module, []).append(each.name)
    return [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]

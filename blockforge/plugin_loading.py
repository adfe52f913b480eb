"""One plugin: where it came from, what its hooks return, and why it can't be loaded."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import linecache
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from blockforge.block import Block, check_block_class
from blockforge.errors import BlockforgeError, PluginError, did_you_mean
from blockforge.files import top_level_names
from blockforge.remedies import cure

DISABLE = "BLOCKFORGE_DISABLE_PLUGINS"
KINDS = ("blocks", "networks", "spaces", "objectives", "datasets")


@dataclass
class Plugin:
    """Where a plugin came from and what it registered; `error` says why it failed, if it did."""

    name: str
    origin: str  # "built-in", "package" or "file"
    distribution: str
    version: str
    location: str = ""
    folder: str = ""  # of a file that has its name in common with another one
    digest: str = ""  # of a file's contents
    module: str = ""
    error: str = ""
    hooks: tuple[str, ...] = ()
    registered: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    @property
    def label(self) -> str:
        """The plugin as messages name it."""
        return {"built-in": f"blockforge's own plugin {self.name}", "file": f"plugin file {self.location}"}.get(
            self.origin, f"package {self.source}"
        )

    @property
    def source(self) -> str:
        """Where to get it, as files and exported sources note it: `acme-blocks 1.2.3`, or `file ghost.py`.

        `file mine/ghost.py` where another file is called so, too.
        """
        if self.origin == "file":
            return f"file {'/'.join(map(_noted, filter(None, (self.folder, Path(self.location).name))))}"
        return f"{self.distribution} {self.version}".strip()

    def load_file(self) -> ModuleType:
        """Run the plugin's file as a module of a name of its own; raises `PluginError`, or whatever it raises."""
        path = Path(self.location)
        if not path.is_file():
            raise PluginError("no such file; give the path of a Python file")
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        # Two files of one name are two modules, and one file is the same one in every process, so that what is in it
        # can be pickled, and an op's module can be part of a network's identity.
        name = f"blockforge_plugin_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{self.digest}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PluginError("is no Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module


def collect(plugin: Plugin, kind: str, things: Any) -> None:
    """Note under their names what a hook of a plugin returned; raises `PluginError` for what it may not return."""
    if not isinstance(things, list | tuple):
        raise PluginError(f"register_{kind} returned {type(things).__name__}; return a list")
    for thing in things:
        for name in _names_of(kind, thing):
            if name in plugin.registered[kind]:
                raise PluginError(f"register_{kind} gives the name {name!r} twice; choose another name")
            plugin.registered[kind][name] = thing


def _names_of(kind: str, thing: Any) -> list[str]:
    if kind == "blocks":
        if not (isinstance(thing, type) and issubclass(thing, Block)):
            raise PluginError(f"register_blocks returned {thing!r}, which is no block; return subclasses of Block")
        if thing.__module__.partition(".")[0] != "blockforge" and not thing.__pydantic_complete__:
            try:
                thing.model_rebuild()
            except PydanticUndefinedAnnotation as error:
                raise PluginError(
                    f"block {thing.__name__}: there is no {error.name!r}, which a field's type names; import it"
                ) from None
            check_block_class(thing)
        return [thing.name]
    if kind in ("networks", "spaces"):
        if not hasattr(thing, "read_text"):
            raise PluginError(f"register_{kind} returned {thing!r}; return paths of YAML files")
        names = top_level_names(thing.read_text(encoding="utf-8")) if kind == "networks" else []
        # A file may be one network, named by the file, or many.
        return [Path(thing.name).stem] if kind == "spaces" or {"stages", "extends"} & set(names) else names
    name = getattr(thing, "name", None)
    if not isinstance(name, str):
        raise PluginError(f"register_{kind} returned {thing!r}, which has no name; return {kind}")
    return [name]


def reason(error: Exception | SystemExit) -> str:
    """Why a plugin failed, in one line: what is wrong with it, or the kind and text of what it raised."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}; mend the file's syntax"
    if isinstance(error, PydanticUserError):
        return _refused_class(error)
    if isinstance(error, BlockforgeError):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        known = [f"register_{kind}" for kind in KINDS]
        wrong = re.match(r"unknown hook '(\w+)'", str(error))
        if not wrong:  # arguments that the hook doesn't have
            hook = re.search(r"for hook '(\w+)'", str(error))
            return f"{hook[1] if hook else 'a hook'} declares arguments; a hook takes none"
        return f"no hook {wrong[1]!r}; the hooks are {', '.join(known)}"
    remedy = cure(error)
    if remedy:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith("<") and "dataclasses" not in frame.filename:
                line = frame.lineno
        return f"line {line}: {type(error).__name__}: {' '.join(str(error).split())}; {remedy}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _refused_class(error: PydanticUserError) -> str:
    """Why pydantic makes no class of what an author wrote; it says so before the class is there to be checked."""
    block, where = "a block", ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if written := re.match(r"\s*class (\w+)", linecache.getline(frame.filename, frame.lineno or 0)):
            block, where = f"block {written[1]}", f"line {frame.lineno}: "
            break
    message = " ".join(error.message.split())
    bare = re.match(r"A non-annotated attribute was detected: `(\w+) = (.*?)`\. ", message)
    name = bare or re.match(r"Field '(\w+)' ", message)
    if name and error.code in ("model-field-missing-annotation", "model-field-overridden"):
        value = bare[2] if bare else "..."
        return f"{where}{block}: field {name[1]!r} has no type; write `{name[1]}: TYPE = {value}`"
    kind = re.search(r"schema for <class '(?:[\w.<>]*\.)?(\w+)'>", message)
    if kind:
        return (
            f"{where}{block}: a field is a {kind[1]}, which no file can say; use numbers, text, true and false, "
            "tuples of them, Literal or BlockSpec"
        )
    return f"{where}{block}: {message}"


@contextmanager
def without_shadows() -> Iterator[None]:
    """Leave out pydantic's warning of a field that hides an attribute: such a block is refused, in one line."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        yield


@contextmanager
def deferred_schemas() -> Iterator[None]:
    """Leave the schemas of blocks that are defined now for their first use: a list or a help text needs none.

    Only for the built-in ones, which the tests use: what is wrong with an author's fields is told at once.
    """
    Block.model_config["defer_build"] = True
    try:
        yield
    finally:
        Block.model_config["defer_build"] = False


_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_WORD = r"A-Za-z0-9_\u00a1-\u2010\u2030-\ud7ff-"  # no \w, which means something else in editors' patterns
_FILE = rf"(?:[{_WORD}][{_WORD}. ]*/)?[{_WORD}][{_WORD}. ]*\.py"
_SOURCE = re.compile(rf"(?:file (?P<file>{_FILE})|(?P<distribution>{_NAME})(?: (?P<version>[A-Za-z0-9_.+!-]+))?)")
SOURCE_PATTERN = f"^{re.sub(r'[?]P<[a-z]+>', '?:', _SOURCE.pattern)}$"
"""What `is_source` takes, as a JSON schema says it."""


def _noted(name: str) -> str:
    """A file's or folder's name without what a note of a source may not hold."""
    return re.sub(rf"[^{_WORD}. ]|^[. ]", "_", name)


def is_source(text: object) -> bool:
    """Whether a text says where a plugin is to be had, as `Plugin.source` does."""
    return isinstance(text, str) and _SOURCE.fullmatch(text) is not None


def how_to_get(source: str, plugins: Iterable[Plugin], kept_out: Iterable[str]) -> str:
    """What to do about a plugin that a file was written with and that isn't in force.

    `kept_out` are the distributions, by canonical names, that are installed and disabled.
    """
    found = _SOURCE.fullmatch(source)
    if not found or found["file"]:
        return f"it came with {source}: load {source.removeprefix('file ')} with --plugin"
    name, version = found["distribution"], found["version"]
    if canonical(name) in kept_out:
        return f"it came with {source}, which {DISABLE} keeps out: change that"
    there = [each for each in plugins if each.origin == "package" and canonical(each.distribution) == canonical(name)]
    failed = next((each.error for each in there if each.error), "")
    if failed:
        return f"it came with {source}, which is installed but failed ({failed}): mend or update it"
    if there and version:
        has = f"it came with {source}, but {there[0].version}, which is installed, lacks it"
        return f"{has}: install that, e.g. pip install {name}=={version}"
    return f"it came with {source}: install that, e.g. pip install {name}"


def version_of(distribution: str) -> str:
    """The version of a distribution that is installed, or that it isn't."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "uninstalled"


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare names: `Acme_Blocks` is `acme-blocks`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def idle_names(disabled: Iterable[str], known: Sequence[str], own: Sequence[str]) -> list[str]:
    """A line for each name that is to be disabled and keeps nothing out: blockforge's `own` plugins, and nobody's."""
    lines = []
    names = {canonical(name) for name in known}
    for name in sorted(set(disabled) - {"all"}):
        if canonical(name) in names:
            continue
        if name in own:
            what = "is blockforge's own, which stays; name packages, or take it out"
        else:
            there = f"; there are {', '.join(sorted(set(known)))}" if known else "; there are none, so take it out"
            what = f"is no package with plugins{did_you_mean(name, known) or there}"
        lines.append(f"{DISABLE}: {name!r} {what}")
    return lines


def packages_shared(one: str, other: str) -> int:
    """How many packages two modules lie in together, the modules themselves counted: `a.b` and `a.c` in one."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def is_slip(name: str, known: Iterable[str]) -> bool:
    """Whether a name is a known one, a word of one or its initials, but for a letter or two."""
    words = {word for other in known for word in (other, *other.split("_"), "".join(w[:1] for w in other.split("_")))}
    return any(abs(len(word) - len(name)) <= 2 for word in difflib.get_close_matches(name, words, cutoff=0.7))

"""Writes a new block's files from the templates beside this file: all of them, or none."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from blockforge import __version__
from blockforge.errors import BlockforgeError
from blockforge.registry import get_registry
from blockforge.scaffold.naming import new_name

BLOCK = {"$name.py": "block.py"}
"""The template of each file of a block alone, by the file's path."""

PACKAGE = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "$name/__init__.py": "block.py",
    "tests/test_$name.py": "test_block.py",
}
"""The same of a package: within a folder called as its distribution one called as the block, for YAML files, too."""


@dataclass(frozen=True)
class Scaffold:
    """What was written: the paths of the `files`, and the commands that an author runs next, one a line."""

    files: tuple[Path, ...]
    next_steps: tuple[str, ...]


def new_block(name: str, folder: str | Path = ".", *, package: bool = False) -> Scaffold:
    """Write a block to start from: `NAME.py` in a folder, or with `package` a folder `blockforge-NAME` in it.

    The name is the block's (`ghost_module`) or its class's (`GhostModule`). Raises `BlockforgeError` where it is none
    or taken, where a file exists, and where the folder can't be written to; nothing is written then.
    """
    layout = PACKAGE if package else BLOCK
    templates = {path: _template(source) for path, source in layout.items()}
    # As a class that nobody else has, so that the text parses before the name is known to be sound.
    sources = [_filled(text, "_", "_") for path, text in templates.items() if path.endswith(".py")]
    made = new_name(name, get_registry(), sources)
    distribution = f"blockforge-{made.name.replace('_', '-')}"
    root = Path(folder, distribution) if package else Path(folder)
    texts = {
        root / _filled(Template(path), *made): _filled(text, *made, distribution) for path, text in templates.items()
    }
    _refuse_what_is_there(texts)
    _write(texts)
    steps = _package_steps(root, distribution) if package else _file_steps(root / f"{made.name}.py", made.name)
    return Scaffold(tuple(texts), steps)


def _template(name: str) -> Template:
    return Template((files(__package__) / f"{name}.template").read_text(encoding="utf-8"))


def _filled(text: Template, name: str, cls: str, distribution: str = "") -> str:
    return text.substitute(name=name, cls=cls, distribution=distribution, version=__version__)


def _refuse_what_is_there(paths: Collection[Path]) -> None:
    for parent in dict.fromkeys(parent for path in paths for parent in path.parents):
        if os.path.lexists(parent) and not parent.is_dir():
            raise BlockforgeError(f"{parent}: a file, where a folder is needed; choose another folder with --dir")
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing:
        verb = "exists" if len(existing) == 1 else "exist"
        raise BlockforgeError(
            f"{', '.join(existing)}: {verb} already, so nothing was written; "
            "choose another name, or another folder with --dir"
        )


def _write(texts: dict[Path, str]) -> None:
    """Write all files; where one can't be written, take back what was."""
    made: list[Path] = []
    try:
        for path, text in texts.items():
            for parent in reversed([parent for parent in path.parents if not parent.exists()]):
                parent.mkdir()
                made.append(parent)
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except OSError as error:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise BlockforgeError(
            f"{error.filename or path}: can't be written ({error.strerror}); choose another folder with --dir"
        ) from None


def _file_steps(path: Path, name: str) -> tuple[str, ...]:
    file = shlex.quote(str(path))
    return (
        f"blockforge list --blocks --plugin {file}  # it is there",
        f"blockforge show --block {name} --plugin {file}  # what it is made of, and what it costs",
        f"blockforge check {file}  # whether torch agrees",
    )


def _package_steps(root: Path, distribution: str) -> tuple[str, ...]:
    return (
        f"cd {shlex.quote(str(root))}",
        'python -m pip install -e ".[test]"  # every command knows the block from now on',
        "python -m pytest",
        f"blockforge check {distribution}  # whether torch agrees",
    )

"""Which blocks a target names: one, those of a plugin file, those of a distribution."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from blockforge.block import Block
from blockforge.conformance.kit import EXAMPLES, check_all
from blockforge.conformance.report import Failure, Report
from blockforge.errors import BlockforgeError, did_you_mean
from blockforge.plugin_loading import canonical
from blockforge.registry import Registry, load_registry


def check(
    target: str | os.PathLike[str],
    registry: Registry,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    begun: Callable[[int, int, str], None] = lambda *_: None,
) -> Report:
    """Run all checks of the blocks that a target names; raises `BlockforgeError` if it names none.

    `begun` is told the number of each block, how many there are, and its name, before it is checked.
    """
    checked: dict[str, int] = {}
    failures: list[Failure] = []
    blocks = blocks_of(target, registry)
    for number, cls in enumerate(blocks, 1):
        begun(number, len(blocks), cls.name)
        checked[cls.name] = 0
        for _, failure in check_all(cls, examples=examples, seed=seed):
            checked[cls.name] += 1
            failures += [failure] if failure else []
    return Report(str(target), examples, checked, tuple(failures))


def blocks_of(target: str | os.PathLike[str], registry: Registry) -> list[type[Block]]:
    """The blocks of a target: a block's name, a plugin file (which is loaded), or a distribution or plugin by name."""
    name = str(target)
    if name in registry.blocks:
        return [registry.block(name)]
    if name.endswith(".py") or (os.sep in name and not Path(name).is_dir()):
        path = Path(name).resolve()
        known = [str(file) for file in registry.plugin_files if Path(file).resolve() == path]
        registry = registry if known else load_registry((*registry.plugin_files, name))
        given = [each for each in registry.plugins if each.location and Path(each.location).resolve() == path]
    else:
        wanted = canonical(name)
        given = [each for each in registry.plugins if wanted in (canonical(each.distribution), canonical(each.name))]
    failed = next((plugin for plugin in given if plugin.error), None)
    if failed:
        raise BlockforgeError(f"{name}: {failed.error}")
    found = [cls for plugin in given for cls in plugin.registered["blocks"].values()]
    if given and not found:
        raise BlockforgeError(f"{name}: registers no block; return its classes from register_blocks")
    if not found and Path(name).is_dir():
        raise BlockforgeError(f"{name}: a folder; name a plugin file in it")
    if not found:
        names = [*registry.blocks, *{plugin.distribution for plugin in registry.plugins if plugin.distribution}]
        names += [f"{name}.py"] if Path(f"{name}.py").is_file() else []
        raise BlockforgeError(
            f"{name}: no block, plugin file or distribution of this name{did_you_mean(name, names) or ';'} "
            "`blockforge plugins` lists all, and one of a file needs --plugin FILE"
        )
    return found

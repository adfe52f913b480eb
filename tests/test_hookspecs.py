"""The hooks of a plugin: what they are called, what they take and return, and that they stay few and short."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from importlib import import_module

import blockforge.plugins
import pluggy
import pytest

from blockforge import hookimpl, hookspecs
from blockforge.plugin_loading import KINDS

HOOKS = [name for name in vars(hookspecs) if name.startswith("register_")]


def test_there_is_a_hook_for_each_kind_of_thing():
    manager = pluggy.PluginManager("blockforge")
    manager.add_hookspecs(hookspecs)
    assert [f"register_{kind}" for kind in KINDS] == HOOKS
    assert {name for name in vars(manager.hook) if not name.startswith("_")} == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_takes_nothing_returns_a_sequence_and_says_what_of(name):
    signature = inspect.signature(getattr(hookspecs, name))
    assert not signature.parameters
    assert signature.return_annotation.startswith("Sequence[")
    assert inspect.getdoc(getattr(hookspecs, name)).endswith(".")


def test_the_file_is_shorter_than_40_lines_of_code():
    tree = ast.parse(inspect.getsource(hookspecs))
    lines = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)}
    assert len(lines) < 40


@pytest.mark.parametrize("name", [info.name for info in pkgutil.iter_modules(blockforge.plugins.__path__)])
def test_a_built_in_implements_hooks_under_their_own_names(name):
    module = import_module(f"blockforge.plugins.{name}")
    marked = [key for key, value in vars(module).items() if hasattr(value, f"{hookimpl.project_name}_impl")]
    assert marked
    assert set(marked) <= set(HOOKS)
    assert set(marked) == {key for key in vars(module) if key.startswith("register_")}

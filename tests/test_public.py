"""The public names: each is there, loaded on its first use, and none hides a module."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import blockforge

PROMISED = {
    "Block", "BlockSpec", "Channels", "Kernel", "Network", "Op", "OpError", "Ratio", "Scope", "Search",
    "Value", "assemble", "build", "cost", "get_network", "hookimpl", "list_blocks", "list_networks", "search", "source",
}  # fmt: skip

CALLS = {
    "assemble": "len(blockforge.assemble('lenet5').nodes) == 13",
    "build": "sum(p.numel() for p in blockforge.build('lenet5').parameters()) == 61706",
    "cost": "blockforge.cost('lenet5').params == 61706",
    "get_network": "blockforge.get_network('lenet5').classes == 10",
    "hookimpl": "blockforge.hookimpl(lambda: []) is not None",
    "list_blocks": "'bottleneck' in blockforge.list_blocks()",
    "list_networks": "'lenet5' in blockforge.list_networks()",
    "search": "callable(blockforge.search)",
    "source": "'class Lenet5(nn.Module)' in blockforge.source('lenet5')",
}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_that_was_promised_is_there() -> None:
    assert set(blockforge.__all__) >= PROMISED
    assert blockforge.__all__ == sorted(blockforge.__all__)
    assert set(blockforge.__all__) <= set(dir(blockforge))
    for name in blockforge.__all__:
        assert getattr(blockforge, name) is getattr(blockforge, name)


def test_functions_are_callable_twice_in_a_fresh_process() -> None:
    functions = {name for name in blockforge.__all__ if callable(getattr(blockforge, name)) and name.islower()}
    assert functions == set(CALLS)
    checks = "\n".join(f"assert {call}\nassert {call}" for call in CALLS.values())
    python(f"import blockforge\n{checks}")


def test_no_public_name_is_a_modules() -> None:
    modules = {info.name for info in pkgutil.iter_modules(blockforge.__path__)}
    assert not modules & set(blockforge.__all__)


def test_each_name_is_loaded_where_the_type_checker_finds_it() -> None:
    for module, names in blockforge._HOMES.items():
        for name in names:
            assert getattr(importlib.import_module(f"blockforge.{module}"), name) is getattr(blockforge, name)


def test_import_loads_nothing_heavy() -> None:
    heavy = (
        "torch",
        "optuna",
        "networkx",
        "pydantic",
        "ruamel.yaml",
        "click",
        "rich",
        "sklearn",
        "matplotlib",
    )
    loaded = python(f"import sys, blockforge; print([name for name in {heavy!r} if name in sys.modules])")
    assert loaded == "[]\n"


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'blockforge' has no attribute 'nothing'$"):
        blockforge.nothing  # noqa: B018

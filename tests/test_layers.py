"""Imports go one way, and heavy packages are imported where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import blockforge

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "blockforge"

# What stands below may import what stands above. `costing` reads the peak of memory off the structure of the generated
# module, so that this lies below it; the text of the source lies above.
LAYERS = (
    "errors",
    "yaml_scalars",
    "yaml_reader",
    "yaml_writer",
    "files",
    "ops",
    "names",
    "wiring",
    "graph_hash",
    "graph",
    "remedies",
    "scope",
    "explain",
    "field_types",
    "block",
    "hookspecs",
    "plugin_loading",
    "registry",
    "removal",
    "paths",
    "flat",
    "scaling",
    "documents",
    "outputs",
    "settings",
    "stages",
    "network",
    "assembler",
    "codegen.structure",
    "codegen.lifetime",
    "costing",
    "codegen.arguments",
    "codegen.naming",
    "codegen.classes",
    "codegen.layout",
    "codegen.heading",
    "codegen.text",
    "mould",
    "initialisation",
    "builder",
    "study.holes",
    "study",
    "shell",
)
SHELL = (
    "__main__", "arguments", "catalogue", "cli", "commands", "display", "fields", "outline", "references", "sheet",
    "authoring", "conformance", "options", "picture", "scaffold", "schema", "table", "testing", "totals",
    "schema_types", "verification",
)  # fmt: skip
# A network's identity is its graph's, so that asking for it assembles the network.
EXCEPTIONS = {("network", "assembler")}
HOMES = {
    "torch": (
        "builder",
        "initialisation",
        "conformance",
        "mould",
        "verification",
        "references",
        "study.training",
        "study.data",
        "study.executors",
        "study.worker",
        "study.bench",
    ),
    "optuna": ("study",),
    "sqlalchemy": ("study",),
    "matplotlib": ("study",),
    "sklearn": ("study.data",),
    "click": ("cli", "commands", "arguments", "authoring", "options"),
    "rich": ("cli", "commands", "display", "table", "study.progress"),
    "networkx": ("graph", "wiring", "assembler"),
    "ruamel": ("files", "yaml_reader"),
    "yaml": ("yaml_reader",),
    "hypothesis": ("conformance", "authoring"),
    "pytest": ("testing",),
}


def modules() -> list[str]:
    names = (path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(name.parts) for name in names if name.name != "__init__"]


def layer(module: str) -> int:
    if module in SHELL or module.partition(".")[0] in SHELL:
        return LAYERS.index("shell")
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in LAYERS:
            return LAYERS.index(".".join(parts[:end]))
    raise AssertionError(f"{module}: say in LAYERS where it stands")


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """The modules that a file imports; what is for the type checker alone doesn't count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """The module of blockforge that an import names, if any."""
    parts = name.split(".")
    if parts[0] != "blockforge":
        return None
    known = modules()
    for end in range(len(parts), 1, -1):
        module = ".".join(parts[1:end])
        if module in known:
            return module
        if (PACKAGE / Path(*parts[1:end]) / "__init__.py").exists() and end > 1:
            return module
    return None


@pytest.mark.parametrize("module", modules())
def test_imports_go_one_way(module: str) -> None:
    for name in imports(PACKAGE / Path(*module.split(".")).with_suffix(".py")):
        other = own(name)
        if other in (None, "plugins", "codegen") or (module, other) in EXCEPTIONS:
            continue
        assert layer(other) <= layer(module), f"{module} imports {other}"


@pytest.mark.parametrize("package", HOMES)
def test_heavy_packages_have_homes(package: str) -> None:
    for module in modules():
        path = PACKAGE / Path(*module.split(".")).with_suffix(".py")
        if any(module == home or module.startswith(f"{home}.") for home in HOMES[package]):
            continue
        found = [name for name in imports(path) if name.partition(".")[0] == package]
        assert not found, f"{module} imports {found}"


def test_torch_is_imported_inside_functions_where_the_command_line_passes() -> None:
    for module in modules():
        if module in ("study.training", "study.worker", "study.bench"):
            continue
        path = PACKAGE / Path(*module.split(".")).with_suffix(".py")
        heavy = [n for n in imports(path, top_level=True) if n.partition(".")[0] in ("torch", "optuna", "sklearn")]
        assert not heavy, f"{module} imports {heavy} at its top"


def test_the_core_imports_no_plugin() -> None:
    for module in modules():
        path = PACKAGE / Path(*module.split(".")).with_suffix(".py")
        assert not [name for name in imports(path) if name.startswith("blockforge.plugins.")], module


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*.py")), ids=lambda path: path.stem)
def test_plugins_use_public_names(path: Path) -> None:
    """Built-in plugins have no privileges: what they import, anybody's may."""
    public = {"blockforge", "blockforge.ops", *(f"blockforge.{name}" for name in blockforge.__all__)}
    allowed = ("blockforge.ops.", "blockforge.study.objectives.", "blockforge.study.data.")
    for name in imports(path):
        if name.startswith("blockforge"):
            assert name in public or name.startswith(allowed), f"{path.name} imports {name}"

"""Where plugins come from, by three doors, and what becomes of faulty ones."""

from __future__ import annotations

import json
import os
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import blockforge.plugins
import pytest
import torch

from blockforge import Block, Network, build, get_network, list_blocks, source
from blockforge.assembler import graph_of
from blockforge.errors import BlockforgeError, PluginError
from blockforge.files import top_level_names
from blockforge.plugin_loading import DISABLE, KINDS
from blockforge.registry import Registry, get_registry, load_registry

BLOCK = """\
from blockforge import Block, Channels, Scope, Value, hookimpl

class {name}(Block):
    \"\"\"A convolution of my own.\"\"\"

    width: Channels = {width}

    def expand(self, g: Scope, x: Value) -> Value:
        return g.conv("conv", x, self.width)

@hookimpl
def register_blocks():
    return [{name}]
"""


def refusal(*files: str | Path) -> str:
    with pytest.raises(PluginError) as caught:
        Registry(files)
    assert caught.value.exit_code == 2
    return str(caught.value)


# Built-ins


BUILT_INS = [info.name for info in pkgutil.iter_modules(blockforge.plugins.__path__)]


@pytest.mark.parametrize("name", BUILT_INS)
def test_a_built_in_plugin_is_found_by_being_there(name):
    registry = get_registry()
    (plugin,) = [each for each in registry.plugins if (each.origin, each.name) == ("built-in", name)]
    assert (plugin.error, plugin.distribution, plugin.version) == ("", "blockforge", blockforge.__version__)
    assert Path(plugin.location).stem == name
    assert plugin.hooks
    assert plugin.hooks == tuple(f"register_{kind}" for kind in KINDS if plugin.registered[kind])
    for kind in KINDS:
        for thing in plugin.registered[kind]:
            assert registry.origin(kind, thing) is plugin


def test_what_plugins_registered_is_all_that_there_is():
    registry = get_registry()
    for kind in KINDS:
        registered = {name for plugin in registry.plugins for name in plugin.registered[kind]}
        assert set(getattr(registry, kind)) == registered != set()


def test_a_file_that_lies_beside_the_built_ins_is_one(write, monkeypatch):
    path = write("mine_too.py", BLOCK.format(name="MineToo", width=3))
    monkeypatch.setattr(blockforge.plugins, "__path__", [*blockforge.plugins.__path__, str(path.parent)])
    registry = Registry()
    assert registry.origin("blocks", "mine_too").origin == "built-in"
    assert registry.block("mine_too")().width == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "line 1: invalid syntax; mend the file's syntax"),
        ("raise ValueError('no\\ngood')", "ValueError: no good"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    ],
)
def test_a_faulty_built_in_is_an_error(write, monkeypatch, text, message):
    path = write("faulty.py", text)
    monkeypatch.setattr(blockforge.plugins, "__path__", [*blockforge.plugins.__path__, str(path.parent)])
    assert refusal() == f"blockforge's own plugin faulty: {message}"


# A file


def test_a_plugin_file_registers_its_block(write):
    path = write("mine.py", BLOCK.format(name="MyConv", width=5))
    registry = load_registry([path])
    assert "my_conv" in list_blocks()
    assert registry.block("my_conv")().width == 5
    plugin = registry.origin("blocks", "my_conv")
    assert (plugin.name, plugin.origin, plugin.location, plugin.hooks) == (
        "mine", "file", str(path), ("register_blocks",),
    )  # fmt: skip
    network = get_network("resnet18").set({"layer1.block": "my_conv"})
    assert isinstance(network.stages["layer1"].block, Block)
    load_registry()
    assert "my_conv" not in list_blocks()


def test_a_plugin_file_given_twice_counts_once(write):
    path = write("mine.py", BLOCK.format(name="MyConv", width=5))
    assert Registry([path, str(path)]).plugin_files == (str(path),)
    other = write("other.py", BLOCK.format(name="Other", width=5))
    again = path.parent / "folder" / ".." / "mine.py"
    again.parent.parent.mkdir()
    assert Registry([path, other, again]).plugin_files == (str(path), str(other))


OP = """
from dataclasses import dataclass
from blockforge import Block, hookimpl, ops

@dataclass(frozen=True)
class Mine(ops.Op):
    def shape(self, *inputs): return inputs[0]
    def expression(self, *names): return "{code}".format(*names)

class {name}(Block):
    def expand(self, g, x): return g.op("mine", Mine(), x)

@hookimpl
def register_blocks(): return [{name}]
"""


def test_two_plugin_files_of_one_name_are_two_modules(write):
    files = [
        write(f"{folder}/my ops.py", OP.format(name=name, code=code))
        for folder, name, code in (("a", "Left", "2 * {0}"), ("b", "Right", "3 * {0}"))
    ]
    registry = load_registry(files)
    ops = [graph_of(registry.block(name)(), (4, 4, 4)).nodes[1].op for name in ("left", "right")]
    for op in ops:
        assert type(pickle.loads(pickle.dumps(op))) is type(op)
        assert re.fullmatch(r"blockforge_plugin_my_ops_[0-9a-f]{12}", type(op).__module__)
    text = "name: x\ninput: [4, 4, 4]\nstages: {{a: {{block: {}}}}}\n"
    networks = [Network.from_yaml(text.format(name)) for name in ("left", "right")]
    hashes = [network.hash for network in networks]
    assert len(set(hashes)) == 2
    for network, folder in zip(networks, "ab", strict=True):
        assert f"plugins: {{{network.stages['a'].block.name}: file {folder}/my ops.py}}" in network.to_yaml()
        assert Network.from_yaml(network.to_yaml()) == network
    both = Network.from_yaml("name: x\ninput: [4, 4, 4]\nstages: {a: {block: left}, b: {block: right}}\n")
    version = blockforge.__version__
    assert f"written by blockforge {version} with file a/my ops.py and file b/my ops.py." in source(both)
    made = build(both)
    assert made(torch.ones(1, 4, 4, 4)).flatten()[0] == 6
    assert Registry([files[0]]).plugins[-1].source == "file my ops.py"
    script = f"""
from blockforge import Network
from blockforge.registry import load_registry
load_registry({[str(file) for file in reversed(files)]})
print(*[Network.from_yaml({text!r}.format(name)).hash for name in ("left", "right")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == hashes


def test_a_plugin_file_registers_networks_one_or_many_in_a_file(write):
    stages = "stages: {a: {block: conv, width: 4}, head: {block: classifier, width: classes}}"
    write("alone.yaml", f"input: [3, 8, 8]\n{stages}\n")
    write("many.yaml", f"one: {{input: [3, 8, 8], {stages}}}\ntwo: {{extends: one, classes: 3}}\n")
    write("small_space.yaml", "base: one\nvary: {a.width: {choice: [4, 8]}}\n")
    path = write(
        "nets.py",
        """
        from pathlib import Path
        from blockforge import hookimpl
        here = Path(__file__).parent

        @hookimpl
        def register_networks():
            return [here / "alone.yaml", here / "many.yaml"]

        @hookimpl
        def register_spaces():
            return (here / "small_space.yaml",)
        """,
    )
    registry = load_registry([path])
    assert {"alone", "one", "two"} <= set(registry.networks)
    assert (get_network("alone").classes, get_network("two").classes) == (1000, 3)
    assert "small_space" in registry.spaces


MESSAGES = {
    "no file": (None, "no such file; give the path of a Python file"),
    "syntax": ("x = 1\ndef f(:\n", "line 2: invalid syntax; mend the file's syntax"),
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exits": ("raise SystemExit('bye')", "SystemExit: bye"),
    "imports": ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "a class that is no block": (
        "from blockforge import Block\nclass Bad(Block):\n    width: int = 1\n",
        "block Bad: it has no expand; write `def expand(self, g: Scope, x: Value) -> Value`",
    ),
    "clash": (
        BLOCK.format(name="Conv", width=1),
        "block 'conv' is registered by blockforge's own plugin plain already; choose another name",
    ),
    "misspelt": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_block():\n    return []\n",
        "no hook 'register_block'; the hooks are register_blocks, register_networks, register_spaces, "
        "register_objectives, register_datasets",
    ),
    "arguments": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_blocks(registry):\n    return []\n",
        "register_blocks declares arguments; a hook takes none",
    ),
    "unmarked": (
        "def register_blocks():\n    return []\n",
        "it implements no hook; write @hookimpl above `def register_blocks()`",
    ),
    "no list": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_blocks():\n    return None\n",
        "register_blocks returned NoneType; return a list",
    ),
    "one instead of a list": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_networks():\n    return 'nets.yaml'\n",
        "register_networks returned str; return a list",
    ),
    "no block": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_blocks():\n    return [int]\n",
        "register_blocks returned <class 'int'>, which is no block; return subclasses of Block",
    ),
    "no path": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_spaces():\n    return ['digits.yaml']\n",
        "register_spaces returned 'digits.yaml'; return paths of YAML files",
    ),
    "no objective": (
        "from blockforge import hookimpl\n@hookimpl\ndef register_objectives():\n    return [3]\n",
        "register_objectives returned 3, which has no name; return objectives",
    ),
    "twice": (
        BLOCK.format(name="Mine", width=1).replace("[Mine]", "[Mine, Mine]"),
        "register_blocks gives the name 'mine' twice; choose another name",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_faulty_plugin_file_is_an_error(write, case, tmp_path):
    text, message = MESSAGES[case]
    path = tmp_path / "plugin.py"
    if text is not None:
        path.write_text(text)
    assert refusal(path) == f"{path}: {message}"


def test_a_file_that_is_no_python(write):
    path = write("plugin.txt", "x = 1\n")
    assert refusal(path) == f"{path}: is no Python file; its name must end in .py"


def test_two_plugin_files_that_claim_one_name(write):
    one = write("one.py", BLOCK.format(name="Twin", width=1))
    two = write("two.py", BLOCK.format(name="Twin", width=2))
    assert refusal(one, two) == (f"{two}: block 'twin' is registered by plugin file {one} already; choose another name")


def test_a_refused_plugin_registers_nothing_at_all(write):
    text = BLOCK.format(name="Fine", width=1).replace("return [Fine]", "return [Fine, 3]")
    refusal(path := write("half.py", text))
    with pytest.raises(BlockforgeError, match="no block of this name"):
        Registry().block("fine")
    assert path.exists()


# Names


@pytest.mark.parametrize(
    ("look_up", "name", "message"),
    [
        ("block", "bottelneck", "bottelneck: no block of this name; did you mean 'bottleneck'? "
                                "`blockforge list --blocks` lists all"),
        ("file", "networks resnet81", "resnet81: no network of this name; did you mean "),
        ("file", "spaces digit", "digit: no space of this name; did you mean 'digits'? "
                                "`blockforge list --spaces` lists all"),
        ("objective", "macss", "macss: no objective of this name; did you mean 'macs'? there are "
                               "accuracy, activations, macs, params, peak_memory"),
        ("dataset", "mnist", "mnist: no data set of this name; there are digits"),
    ],
)  # fmt: skip
def test_an_unknown_name_brings_the_closest(look_up, name, message):
    with pytest.raises(BlockforgeError) as caught:
        getattr(Registry(), look_up)(*name.split())
    assert str(caught.value).startswith(message)


def test_the_name_of_each_network_is_in_its_file():
    for name, file in get_registry().networks.items():
        assert name in top_level_names(file.read_text(encoding="utf-8"))


# Packages, really installed: each is a distribution with an entry point


PACKAGES = {
    "acme-blocks": ("1.2.3", BLOCK.format(name="AcmeConv", width=7)),
    "broken-blocks": ("0.1", "raise RuntimeError('my\\ndriver is missing')\n"),
    "quitter": ("0.2", "import sys\nsys.exit('no licence')\n"),
    "misspelt": ("0.3", "from blockforge import hookimpl\n@hookimpl\ndef register_blokcs():\n    return []\n"),
    "intruder": ("0.4", BLOCK.format(name="Conv", width=1)),
    "twin-one": ("1.0", BLOCK.format(name="Twin", width=1).replace("[Twin]", "[Twin, OnlyOne]").replace(
        "@hookimpl", "class OnlyOne(Twin):\n    def expand(self, g, x):\n        return x\n\n@hookimpl")),
    "twin-two": ("2.0", BLOCK.format(name="Twin", width=2)),
}  # fmt: skip
CANARY = "import os, pathlib\npathlib.Path(os.environ['CANARY'], __name__).touch()\n"
LOOK = """
import json, sys
from blockforge.errors import BlockforgeError
from blockforge.registry import load_registry, get_registry
import blockforge

def attempt(call, *args):
    try:
        return call(*args)
    except BlockforgeError as error:
        return f"{type(error).__name__}: {error}"

registry = attempt(load_registry, sys.argv[2:])
if isinstance(registry, str):
    print(json.dumps({"refused": registry}))
    raise SystemExit
text = "input: [3, 8, 8]\\nstages: {a: {block: %s}}\\n"
print(json.dumps({
    "plugins": {p.distribution or p.name: [p.origin, p.name, p.version, p.error] for p in registry.plugins
                if p.origin != "built-in"},
    "built_ins": [p.name for p in registry.plugins if p.origin == "built-in"],
    "blocks": {name: registry.origin("blocks", name).label for name in registry.blocks},
    "used": {name: str(attempt(lambda: blockforge.cost(blockforge.Network.from_yaml(text % name)).params))
             for name in json.loads(sys.argv[1])},
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the packages installed."""
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("site")
    for name, (version, text) in PACKAGES.items():
        module = name.replace("-", "_")
        folder = sources / name
        folder.mkdir()
        (folder / f"{module}.py").write_text(CANARY + text)
        (folder / "pyproject.toml").write_text(
            dedent(
                f"""
                [build-system]
                requires = ["setuptools"]
                build-backend = "setuptools.build_meta"
                [project]
                name = "{name}"
                version = "{version}"
                [project.entry-points.blockforge]
                {module}_plugin = "{module}"
                [tool.setuptools]
                py-modules = ["{module}"]
                """
            )
        )
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    paths = [str(sources / name) for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def look(site: Path, tmp_path: Path, *files: Path, disable: str = "", use: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a fresh process finds with the packages installed; `imported` are those whose code ran."""
    (tmp_path / "canary").mkdir()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "CANARY": str(tmp_path / "canary"), DISABLE: disable}
    command = [sys.executable, "-c", LOOK, json.dumps(use), *map(str, files)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "imported": {path.name for path in (tmp_path / "canary").iterdir()}}


def test_packages_are_found_by_their_entry_points_and_a_faulty_one_hurts_nobody(site, tmp_path):
    found = look(site, tmp_path, use=("acme_conv", "conv", "twin", "only_one"))
    assert found["plugins"] == {
        "acme-blocks": ["package", "acme_blocks_plugin", "1.2.3", ""],
        "broken-blocks": ["package", "broken_blocks_plugin", "0.1", "RuntimeError: my driver is missing"],
        "quitter": ["package", "quitter_plugin", "0.2", "SystemExit: no licence"],
        "misspelt": [
            "package", "misspelt_plugin", "0.3",
            "no hook 'register_blokcs'; the hooks are register_blocks, register_networks, register_spaces, "
            "register_objectives, register_datasets",
        ],
        "intruder": [
            "package", "intruder_plugin", "0.4",
            "block 'conv' is registered by blockforge's own plugin plain already; choose another name",
        ],
        "twin-one": ["package", "twin_one_plugin", "1.0", ""],
        "twin-two": ["package", "twin_two_plugin", "2.0", ""],
    }  # fmt: skip
    assert found["built_ins"] == sorted(BUILT_INS)
    assert found["blocks"]["acme_conv"] == "package acme-blocks 1.2.3"
    assert found["blocks"]["conv"] == "blockforge's own plugin plain"
    assert found["blocks"]["only_one"] == "package twin-one 1.0"
    assert "twin" not in found["blocks"]
    assert found["used"] == {
        "acme_conv": str(3 * 7),
        "conv": str(3 * 64 * 9 + 2 * 64),
        "only_one": "0",
        "twin": "InvalidNetwork: text:2:14: a.block: twin: package twin-one 1.0 and package twin-two 2.0 both "
                "register a "
                "block of this name; uninstall one, or name it in BLOCKFORGE_DISABLE_PLUGINS",
    }  # fmt: skip
    assert found["imported"] == {name.replace("-", "_") for name in PACKAGES}


def test_an_unknown_name_says_which_packages_failed(site, tmp_path):
    found = look(site, tmp_path, disable="intruder, misspelt", use=("dil18_block",))
    assert found["used"]["dil18_block"].endswith(
        "one of a plugin file needs --plugin FILE; plugins broken_blocks_plugin, quitter_plugin failed, "
        "see `blockforge plugins`"
    )
    command = [sys.executable, "-m", "blockforge", "show", "dil18"]
    env = {**os.environ, "PYTHONPATH": str(site), "CANARY": str(tmp_path / "canary")}
    for disable, failed in (("intruder,misspelt,quitter", "; plugin broken_blocks_plugin failed, see "), ("all", "")):
        done = subprocess.run(command, env={**env, DISABLE: disable}, capture_output=True, text=True, cwd=tmp_path)
        more = f"{failed}`blockforge plugins`" if failed else ""
        assert done.stderr == f"dil18: no network of this name; `blockforge list --networks` lists all{more}\n"


def test_disabled_packages_are_not_even_imported(site, tmp_path):
    found = look(site, tmp_path, disable="twin-two, broken_blocks_plugin ,quitter", use=("twin",))
    assert set(found["plugins"]) == {"acme-blocks", "misspelt", "intruder", "twin-one"}
    assert found["imported"] == {"acme_blocks", "misspelt", "intruder", "twin_one"}
    assert found["used"] == {"twin": str(3)}


def test_all_packages_can_be_disabled(site, tmp_path):
    found = look(site, tmp_path, disable="all")
    assert (found["plugins"], found["imported"]) == ({}, set())
    assert found["built_ins"] == sorted(BUILT_INS)


def test_a_built_in_stays_whatever_is_disabled(monkeypatch):
    monkeypatch.setenv(DISABLE, "dense, nothing-of-this-name")
    registry = Registry()
    assert {"dense_layer", "transition", "inception"} <= set(registry.blocks)
    assert registry.warnings[0] == (
        "BLOCKFORGE_DISABLE_PLUGINS: 'dense' is blockforge's own, which stays; name packages, or take it out"
    )
    assert registry.warnings[1].startswith(
        "BLOCKFORGE_DISABLE_PLUGINS: 'nothing-of-this-name' is no package with plugins"
    )


def test_faulty_files_may_be_kept_for_a_list(write):
    faulty, fine = write("faulty.py", "1 / 0"), write("mine.py", BLOCK.format(name="MyConv", width=5))
    registry = Registry([faulty, fine], keep_faulty=True)
    assert registry.refused == [f"{faulty}: ZeroDivisionError: division by zero"]
    assert [each.error for each in registry.plugins[-2:]] == ["ZeroDivisionError: division by zero", ""]
    assert registry.block("my_conv")().width == 5


def test_a_plugin_file_may_not_take_a_packages_name_nor_one_that_two_packages_claim(site, tmp_path, write):
    taken = write("taken.py", BLOCK.format(name="AcmeConv", width=1))
    assert look(site, tmp_path, taken)["refused"] == (
        f"PluginError: {taken}: block 'acme_conv' is registered by package acme-blocks 1.2.3 already; choose another "
        f"name"
    )
    withdrawn = write("other/withdrawn.py", BLOCK.format(name="Twin", width=1))
    assert look(site, withdrawn.parent, withdrawn)["refused"] == (
        f"PluginError: {withdrawn}: block 'twin' is registered by package twin-one 1.0 and package twin-two 2.0 "
        f"already; "
        "choose another name"
    )


def test_the_current_folders_plugins_are_never_imported(tmp_path):
    for name in ("plugins", "blockforge/plugins", "blockforge_plugins"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("__init__.py", "evil.py"):
            (folder / file).write_text("import pathlib; pathlib.Path(__file__).with_name('canary').touch()\n")
    command = Path(sys.executable).with_name("blockforge")
    done = subprocess.run([command, "list", "--blocks", "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stdout
    assert not list(tmp_path.rglob("canary"))

"""What a file can make blockforge do (read it, nothing else), and what is known of the plugins behind a result."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import blockforge
from blockforge import Network, get_network, source
from blockforge.errors import BlockforgeError, InvalidNetwork
from blockforge.plugin_loading import DISABLE, SOURCE_PATTERN, Plugin, how_to_get, is_source
from blockforge.registry import get_registry, load_registry
from blockforge.study.space import load_space, space_from_yaml
from tests.test_registry import BLOCK, CANARY

STAGES = "stages:\n  a: {block: conv, width: 4}\n  head: {block: classifier, width: classes}\n"
COMMAND = str(Path(sys.executable).with_name("blockforge"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidNetwork) as caught:
        Network.from_yaml(text)
    return list(caught.value.mistakes)


# No file makes blockforge import anything


HOSTILE = {
    "tag": "input: !!python/object/apply:canary.run [3, 8, 8]\n" + STAGES,
    "name tag": "input: [3, 8, 8]\nabout: !!python/name:canary.run ''\n" + STAGES,
    "module tag": "input: [3, 8, 8]\nabout: !!python/module:canary ''\n" + STAGES,
    "own tag": "input: [3, 8, 8]\nabout: !canary.run x\n" + STAGES,
    "module path for a block": "input: [3, 8, 8]\nstages: {a: {block: canary.run}}\n",
    "module and name for a block": "input: [3, 8, 8]\nstages: {a: {block: 'canary:run'}}\n",
    "module for a block": "input: [3, 8, 8]\nstages: {a: {block: canary}}\n",
    "os.system": "input: [3, 8, 8]\nstages: {a: {block: os.system, command: touch touched}}\n",
    "file for a block": "input: [3, 8, 8]\nstages: {a: {block: canary.py}}\n",
    "module for a nested block": "input: [3, 8, 8]\nstages: {a: {block: residual, attention: canary.run}}\n",
    "module for an activation": "input: [3, 8, 8]\nstages: {a: {block: conv, activation: canary.run}}\n",
    "plugins that name a module": "input: [3, 8, 8]\nplugins: {conv: canary}\n" + STAGES,
    "plugins that name a file": "input: [3, 8, 8]\nplugins: {ghost: file canary.py}\nstages: {a: {block: ghost}}\n",
    "plugins that name a path": "input: [3, 8, 8]\nplugins: {ghost: ./canary.py}\nstages: {a: {block: ghost}}\n",
    "extends a module": "extends: canary\n",
    "extends a Python file": "extends: canary.py\n",
    "extends a Python file's name": "extends: canary.py#run\n",
    "extends a file that has all of it": "extends: hostile.yaml#a\n",
    "init": "input: [3, 8, 8]\ninit: {conv: canary.run}\n" + STAGES,
    "scope": "input: [3, 8, 8]\nstages: {a: {block: conv, scope: '{__import__(\"canary\")}'}}\n",
    "formatting": "input: [3, 8, 8]\nabout: '{0.__class__}'\nstages: {a: {block: conv, scope: 'x.{n.__class__}'}}\n",
    "name": "name: \"x'\\n'''\\nimport canary\\n\"\ninput: [3, 8, 8]\npaper: \"'''\\nimport canary\\n\\\"\\\"\\\"\"\n"
            + STAGES,
    "base": "base: canary\nvary: {a.width: any}\n",
    "base file": "base: canary.py\nvary: {a.width: any}\n",
    "data": "base: lenet5\nvary: {conv1.width: {choice: [4, 6]}}\nobjectives: {macs: minimize}\ndata: canary.run\n",
    "objective": "base: lenet5\nvary: {conv1.width: {choice: [4, 6]}}\nobjectives: {canary.run: minimize}\n"
                 "data: digits\n",
    "training": "base: lenet5\nvary: {conv1.width: {choice: [4, 6]}}\nobjectives: {macs: minimize}\ndata: digits\n"
                "train: {optimizer: canary.run}\n",
    "a hole": "base: lenet5\nvary: {conv1.block: {choice: [conv, canary.run]}}\nobjectives: {macs: minimize}\n"
              "data: digits\n",
    "a label": "base: lenet5\nvary: {conv1.width: {choice: [4, 6], label: '__import__(\"canary\")'}}\n"
               "objectives: {canary: minimize}\ndata: digits\n",
}  # fmt: skip

DRIVE = """
import json, os, sys
from pathlib import Path
from click.testing import CliRunner
from blockforge.cli import main

said = {}
for file in json.loads(sys.argv[1]):
    export, search = ["export", file, "--python", "-"], ["search", file, "--trials", "1", "--run", "run"]
    for command in (["show", file], export, search):
        done = CliRunner().invoke(main, command)
        said[file + " " + command[0]] = [done.exit_code, done.stdout, done.stderr, repr(done.exception)]
print(json.dumps({"said": said, "imported": sorted(name for name in sys.modules if "canary" in name)}))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every command says of every hostile file, in a folder with a canary that can be imported."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "canary.py").write_text(CANARY + "def run(*args, **kwargs):\n    pass\n")
    (folder / "birds").mkdir()
    (folder / "hostile.yaml").write_text("a:\n  input: [3, 8, 8]\n  stages: {a: {block: canary.run}}\n")
    for name, text in HOSTILE.items():
        (folder / f"{name}.yaml").write_text(text)
    files = [f"{name}.yaml" for name in HOSTILE]
    env = {**os.environ, "CANARY": str(folder / "birds"), "PYTHONPATH": str(folder), DISABLE: "all"}
    command = [sys.executable, "-c", DRIVE, json.dumps(files)]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "folder": folder, "env": env}


def test_the_canary_sings_when_it_is_imported(hostile):
    subprocess.run([sys.executable, "-c", "import canary"], env=hostile["env"], check=True)
    (bird,) = (hostile["folder"] / "birds").iterdir()
    bird.unlink()


def test_no_network_or_space_file_imports_anything(hostile):
    assert hostile["imported"] == []
    assert not list((hostile["folder"] / "birds").iterdir())
    assert not (hostile["folder"] / "touched").exists()
    assert not (hostile["folder"] / "run").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_or_harmless(hostile, name):
    for command in ("show", "export", "search"):
        code, _, stderr, exception = hostile["said"][f"{name}.yaml {command}"]
        assert code in (0, 2)
        assert exception in ("None", f"SystemExit({code})")
        assert "Traceback" not in stderr
    code, text, _, _ = hostile["said"][f"{name}.yaml export"]
    if name in ("plugins that name a module", "name"):
        tree = ast.parse(text)  # what it says of itself stays in a docstring
        assert {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names} <= {
            "torch"
        }
    else:
        assert code == 2


# A network's file says where its blocks came from


@pytest.fixture
def ghost(write) -> Path:
    """A plugin file with a block that keeps the shape of 128 channels, of 64 not."""
    return write("ghost.py", BLOCK.format(name="Ghost", width=128))


def test_a_network_of_built_in_blocks_says_nothing_of_plugins():
    for name in ("resnet18", "densenet121"):
        for flat in (False, True):
            assert "plugins" not in get_network(name).set({"classes": 10}).to_yaml(flat=flat)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("edit", [{"layer1.block": "ghost"}, {"layer2.attention": "ghost"}])
def test_a_network_of_somebodys_block_says_whose_it_is(ghost, flat, edit):
    load_registry([ghost])
    network = get_network("resnet18").set(edit)
    text = network.to_yaml(flat=flat)
    assert text.endswith("\nplugins: {ghost: file ghost.py}\n") or text.endswith("\nplugins:\n  ghost: file ghost.py\n")
    again = Network.from_yaml(text)
    assert (again, hash(again), again.hash) == (network, hash(network), network.hash)
    assert again.to_yaml(flat=flat) == text
    assert again.set({next(iter(edit)): "conv"}).to_yaml(flat=flat).count("plugins:") == 0
    load_registry()
    path = next(iter(edit))
    (mistake,) = mistakes(text)
    assert mistake.partition(f": {path}: ")[2] == (
        "no block 'ghost'; it came with file ghost.py: load ghost.py with --plugin"
    )


def test_a_block_in_a_tuple_is_somebodys_too(write, ghost):
    series = write(
        "series.py",
        """
        from blockforge import Block, BlockSpec, Scope, Value, hookimpl

        class Series(Block):
            parts: tuple[BlockSpec, ...] = ()

            def expand(self, g: Scope, x: Value) -> Value:
                for number, part in enumerate(self.parts):
                    x = g.block(f"part{number}", part, x)
                return x

        @hookimpl
        def register_blocks():
            return [Series]
    """,
    )
    load_registry([ghost, series])
    network = Network.from_yaml(
        "name: x\ninput: [3, 8, 8]\nstages: {a: {block: series, parts: [conv, {block: series, parts: [ghost]}]}}\n"
    )
    assert "\nplugins: {ghost: file ghost.py, series: file series.py}\n" in network.to_yaml()


def test_where_blocks_came_from_changes_neither_identity_nor_equality(ghost):
    load_registry([ghost])
    text = "name: x\ninput: [3, 8, 8]\nstages: {a: {block: ghost}}\n"
    network = Network.from_yaml(text)
    told = Network.from_yaml(text + "plugins: {ghost: acme-blocks 1.2.3, other: acme-nets 0.1}\n")
    assert (told, hash(told), told.hash) == (network, hash(network), network.hash)
    assert told.to_yaml() == network.to_yaml()  # what it says is where they are from now


SPACE = """\
base: resnet18_cifar
set: {input: [1, 8, 8], classes: 10}
vary: {layer1.block: {choice: [residual, {block: ghost, width: {choice: [64, 128]}}]}}
objectives: {macs: minimize}
"""


def test_a_space_of_somebodys_block_says_whose_it_is(ghost):
    load_registry([ghost])
    space = space_from_yaml(SPACE)
    text = space.to_yaml()
    assert "plugins: {ghost: file ghost.py}" in text or "plugins:\n  ghost: file ghost.py" in text
    assert space_from_yaml(text).digest == space.digest
    assert "plugins" not in load_space("digits").to_yaml()
    load_registry()
    for each in (text, SPACE + "plugins: {ghost: file ghost.py}\n"):
        with pytest.raises(BlockforgeError) as caught:
            space_from_yaml(each)
        assert "no block 'ghost'; it came with file ghost.py: load ghost.py with --plugin" in str(caught.value)


FAMILY = """\
a:
  input: [3, 8, 8]
  plugins: {ghost: acme-blocks 1.2.3}
  stages: {a: {block: ghost}}
b: {extends: a, stages: {a: {width: 8}}}
c: {extends: haunted, plugins: {haunted: acme-nets 2.0}}
d: {extends: resnet18, plugins: {ghost: acme-blocks 1.2.3}, set: {layer1.block: ghost}}
e: {extends: resnet18, plugins: {ghost: file ghost.py}, stages: {layer1: {attention: {block: ghost}}}}
"""
ACME = "no block 'ghost'; it came with acme-blocks 1.2.3: install that, e.g. pip install acme-blocks"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a", f"4:16: a.block: {ACME}"),
        ("b", f"4:16: a.block: {ACME}"),
        ("c", "6:5: extends: no network 'haunted'; it came with acme-nets 2.0: install that, e.g. pip install "
              "acme-nets"),
        ("d", f"7:67: layer1.block: {ACME}"),
        ("e", "8:75: layer1.attention: no block 'ghost'; it came with file ghost.py: load ghost.py with --plugin"),
    ],
)  # fmt: skip
def test_a_missing_block_is_told_with_its_source_wherever_it_stands(write, monkeypatch, name, message):
    monkeypatch.chdir(write("nets.yaml", FAMILY).parent)
    with pytest.raises(BlockforgeError) as caught:
        get_network(f"nets.yaml#{name}")
    assert str(caught.value) == f"nets.yaml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugins: 3", "text:3:1: plugins: must say where blocks came from, as {ghost: acme-blocks 1.2.3} does, but is "
                       "3; leave it out, it is written with a network"),
        ("plugins: {ghost: 3}", "text:3:11: plugins.ghost: must be a distribution and its version, as in acme-blocks "
                                "1.2.3, or file NAME.py, but is 3"),
        ("plugins: {ghost: acme; rm -rf 1}", "text:3:11: plugins.ghost: must be a distribution and its version, as in "
                                             "acme-blocks 1.2.3, or file NAME.py, but is 'acme; rm -rf 1'"),
        ("plugins: {ghost: file ../g.py}", "text:3:11: plugins.ghost: must be a distribution and its version, as in "
                                           "acme-blocks 1.2.3, or file NAME.py, but is 'file ../g.py'"),
        ("plugin: {}", "text:3:1: plugin: no such key of a network; did you mean 'plugins'?"),
    ],
)  # fmt: skip
def test_what_the_key_may_say(text, message):
    assert mistakes(f"input: [3, 8, 8]\nstages: {{a: {{block: conv}}}}\n{text}\n") == [message]


@pytest.mark.parametrize(
    "text",
    [
        "acme 1",
        "acme-blocks 1.2.3",
        "Acme_Blocks 1!2.0rc1+cpu",
        "acme",
        "file ghost.py",
        "file a-b.c.py",
        "file mine/ghost.py",
        "file my own/größe 2.py",
    ],
)
def test_sources(text):
    assert is_source(text)
    assert re.search(SOURCE_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "acme  1",
        "-acme 1",
        "acme 1 2",
        "https://a/b",
        "file /x.py",
        "file ./x.py",
        "file a/../x.py",
        "file a/b/x.py",
        "file a\\x.py",
        "file a\u2028.py",
        "acme\n1",
        "!!",
        3,
        None,
    ],
)
def test_no_sources(text):
    assert not is_source(text)
    assert not isinstance(text, str) or not re.search(SOURCE_PATTERN, text)


@pytest.mark.parametrize(("path", "noted"), [("a/b$.py", "b_.py"), ("a/.x.py", "_x.py"), ("a/\x1bö.py", "_ö.py")])
def test_a_files_note_is_a_source_whatever_its_name(path, noted):
    source = Plugin("x", "file", "", "", path).source
    assert source == f"file {noted}"
    assert is_source(source)


def test_how_to_get_what_is_missing():
    def said(*plugins: Plugin, kept_out: tuple[str, ...] = ()) -> str:
        return how_to_get("acme-blocks 1.2.3", plugins, kept_out)

    def package(version: str, error: str = "") -> Plugin:
        return Plugin("acme", "package", "Acme.Blocks", version, "acme", error=error)

    assert said() == "it came with acme-blocks 1.2.3: install that, e.g. pip install acme-blocks"
    assert said(package("2.0")) == (
        "it came with acme-blocks 1.2.3, but 2.0, which is installed, lacks it: install that, e.g. pip install "
        "acme-blocks==1.2.3"
    )
    assert said(package("1.2.3", "RuntimeError: no luck")) == (
        "it came with acme-blocks 1.2.3, which is installed but failed (RuntimeError: no luck): mend or update it"
    )
    assert said(kept_out=("acme-blocks",)) == (
        "it came with acme-blocks 1.2.3, which BLOCKFORGE_DISABLE_PLUGINS keeps out: change that"
    )


# An exported file says who wrote it


def docstring(text: str) -> str:
    return str(ast.get_docstring(ast.parse(text)))


def test_an_exported_file_says_which_blockforge_wrote_it():
    assert docstring(source("lenet5")).startswith(
        f"lenet5 (LeCun et al. 1998), written by blockforge {blockforge.__version__}."
    )


def test_an_exported_file_says_with_whose_blocks_and_ops(write, ghost):
    op = write(
        "alien.py",
        """
        from dataclasses import dataclass
        from blockforge import Block, Scope, Value, hookimpl
        from blockforge.ops import ReLU

        @dataclass(frozen=True)
        class Alien(ReLU):
            def call(self, *inputs):
                return ReLU().call(*inputs)

        class Unlisted(Block):
            def expand(self, g: Scope, x: Value) -> Value:
                return g.op("alien", Alien(), x)

        class Far(Block):
            def expand(self, g: Scope, x: Value) -> Value:
                return g.block("inner", Unlisted(), x)

        @hookimpl
        def register_blocks():
            return [Far]
        """,
    )
    registry = load_registry([op, ghost])
    network = get_network("resnet18").set({"layer1.block": "far", "layer2.block": "ghost"})
    text = source(network)
    version = blockforge.__version__
    assert (
        docstring(text)
        .splitlines()[0]
        .endswith(f", written by blockforge {version} with file alien.py and file ghost.py.")
    )
    assert source(network) == text
    assert docstring(source(get_network("resnet18"))).splitlines()[0].endswith(f"blockforge {version}.")
    module = sys.modules[registry.block("far").__module__]
    for kind in (module.Alien, module.Unlisted, module.Far):
        assert registry.maker(kind).source == "file alien.py"
    assert registry.maker(registry.block("conv")) is None
    assert registry.maker(Path) is None


# Third parties ship blocks, networks and spaces


FILES = {
    "acme/__init__.py": "",
    "acme/ops.py": "from dataclasses import dataclass\nfrom blockforge.ops import ReLU\n\n"
                   "@dataclass(frozen=True)\nclass AcmeReLU(ReLU):\n"
                   "    def call(self, *inputs):\n        return ReLU().call(*inputs)\n",
    "acme/plugin.py": """\
        from importlib.resources import files
        from blockforge import Block, Channels, Scope, Value, hookimpl
        from acme.ops import AcmeReLU

        class AcmeConv(Block):
            '''A convolution by Acme.'''

            paper = ""
            width: Channels = 8

            def expand(self, g: Scope, x: Value) -> Value:
                return g.op("act", AcmeReLU(), g.conv("conv", x, self.width, 3))

        @hookimpl
        def register_blocks():
            return [AcmeConv]

        @hookimpl
        def register_networks():
            return [files("acme") / "acmenet.yaml"]

        @hookimpl
        def register_spaces():
            return [files("acme") / "acme_digits.yaml"]

        @hookimpl
        def register_objectives():
            return []
        """,
    "acme/acmenet.yaml": """\
        acmenet:
          about: A network by Acme.
          input: [1, 8, 8]
          classes: 10
          stages:
            body: {block: acme_conv, width: 8, depth: 2}
            head: {block: classifier, width: classes, scope: ""}
        acmenet_wide: {extends: acmenet, set: {body.width: 16}}
        """,
    "acme/acme_digits.yaml": """\
        about: Acme on the digits.
        base: acmenet
        vary: {body.width: {choice: [2, 4, 6]}}
        objectives: {accuracy: maximize, macs: minimize}
        data: digits
        train: {epochs: 1, batch: 512}
        """,
    "pyproject.toml": """\
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "acme-blocks"
        version = "1.2.3"
        [project.entry-points.blockforge]
        acme = "acme.plugin"
        [tool.setuptools]
        packages = ["acme"]
        [tool.setuptools.package-data]
        acme = ["*.yaml"]
        """,
}  # fmt: skip


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with a package installed that ships a block, an op, two networks and a space."""
    folder, target = tmp_path_factory.mktemp("acme"), tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(dedent(text).replace('    paper = ""\n', ""))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def call(
    env: dict[str, str], folder: Path, *arguments: str, code: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([COMMAND, *arguments], env={**env, **more}, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_a_package_s_blocks_networks_and_spaces_are_listed_and_shown(acme, tmp_path):
    found = json.loads(call(acme, tmp_path, "list", "acme", "--json").stdout)
    assert {section: [each["name"] for each in records] for section, records in found.items()} == {
        "networks": ["acmenet", "acmenet_wide"], "blocks": ["acme_conv"], "spaces": ["acme_digits"],
    }  # fmt: skip
    assert found["networks"][0]["about"] == "A network by Acme."
    assert {each["plugin"] for records in found.values() for each in records} == {"acme"}
    shown = json.loads(call(acme, tmp_path, "show", "acmenet_wide", "--by", "stage", "--json").stdout)
    assert shown["totals"]["params"] == 9 * 16 + 9 * 16 * 16 + 16 * 10 + 10
    assert json.loads(call(acme, tmp_path, "show", "--block", "acme_conv", "--json").stdout)["plugin"] == "acme"
    record = json.loads(call(acme, tmp_path, "plugins", "--json").stdout)[-1]
    assert record == {
        "name": "acme",
        "origin": "package",
        "distribution": "acme-blocks",
        "version": "1.2.3",
        "location": "acme.plugin",
        "sha256": None,
        "error": None,
        "hooks": ["register_blocks", "register_networks", "register_spaces", "register_objectives"],
        "registered": {
            "blocks": ["acme_conv"], "networks": ["acmenet", "acmenet_wide"], "spaces": ["acme_digits"],
            "objectives": [], "datasets": [],
        },
    }  # fmt: skip
    text = call(acme, tmp_path, "plugins").stdout
    assert " ".join(text.splitlines()[-1].split()) == (
        "acme package acme-blocks 1.2.3 blocks: acme_conv; networks: acmenet, acmenet_wide; spaces: acme_digits; "
        "objectives: none"
    )


@pytest.mark.slow
def test_a_run_of_a_package_s_space_says_which_package_made_it(acme, tmp_path):
    call(acme, tmp_path, "search", "acme_digits", "--trials", "2", "--workers", "1", "--device", "cpu", "--run", "run")
    made = [{"name": "acme", "distribution": "acme-blocks", "version": "1.2.3", "file": "", "sha256": "", "error": ""}]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plugins"] == made
    for trial in sorted((tmp_path / "run" / "trials").iterdir()):
        assert json.loads((trial / "metrics.json").read_text())["plugins"] == made
        text = (trial / "network.yaml").read_text()
        assert text.endswith("plugins: {acme_conv: acme-blocks 1.2.3}\n")
        assert json.loads(call(acme, tmp_path, "show", str(trial / "network.yaml"), "--json").stdout)["totals"][
            "params"
        ]
    assert trial.name == "0001"


def test_a_package_s_space_is_one_that_a_search_takes(acme, tmp_path):
    code = """if True:
        from blockforge.registry import get_registry
        from blockforge.study.space import load_space
        space = load_space("acme_digits")
        networks = [space.draw(lambda hole: option) for option in (0, 1, 2)]
        print(space.data, *[network.stages["body"].block.width for network in networks])
        print(networks[0].to_yaml(flat=True))
        """
    done = subprocess.run([sys.executable, "-c", code], env=acme, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("digits 2 4 6\n")
    assert done.stdout.endswith("plugins: {acme_conv: acme-blocks 1.2.3}\n\n")


def test_a_package_s_network_is_opened_without_it(acme, tmp_path):
    code = """if True:
        from blockforge import get_network
        network = get_network("acmenet").set({"classes": 3})
        print(network.to_yaml(), end="--\\n")
        print(network.to_yaml(flat=True), end="")
        """
    done = subprocess.run([sys.executable, "-c", code], env=acme, capture_output=True, text=True, check=True)
    short, _, flat = done.stdout.partition("--\n")
    assert short == (
        "name: acmenet\nextends: acmenet\nset: {classes: 3}\n"
        "plugins: {acme_conv: acme-blocks 1.2.3, acmenet: acme-blocks 1.2.3}\n"
    )
    (tmp_path / "short.yaml").write_text(short)
    (tmp_path / "flat.yaml").write_text(flat)
    exported = call(acme, tmp_path, "export", "flat.yaml", "--python", "-").stdout
    first = f"A network by Acme, written by blockforge {blockforge.__version__} with acme-blocks 1.2.3."
    assert docstring(exported).splitlines()[0] == first.replace("A network by Acme", "acmenet")
    without = {key: value for key, value in acme.items() if key != "PYTHONPATH"}
    install = "it came with acme-blocks 1.2.3: install that, e.g. pip install acme-blocks\n"
    assert call(without, tmp_path, "show", "short.yaml", code=2).stderr == (
        f"short.yaml:2:1: extends: no network 'acmenet'; {install}"
    )
    line = 1 + next(i for i, each in enumerate(flat.splitlines()) if each.startswith("  body:"))
    assert call(without, tmp_path, "show", "flat.yaml", code=2).stderr == (
        f"flat.yaml:{line}:10: body.block: no block 'acme_conv'; {install}"
    )
    assert call(acme, tmp_path, "show", "flat.yaml", code=2, **{DISABLE: "acme"}).stderr.endswith(
        ": no block 'acme_conv'; it came with acme-blocks 1.2.3, which BLOCKFORGE_DISABLE_PLUGINS keeps out: change "
        "that\n"
    )


def test_a_run_with_a_plugin_file_says_which_file_it_was(write, ghost, monkeypatch):
    from blockforge.study.plan import make_plan
    from blockforge.study.space import space_from_yaml

    monkeypatch.chdir(ghost.parent)
    load_registry(["ghost.py"])
    space = space_from_yaml(
        "base: resnet18_cifar\nset: {input: [1, 8, 8]}\nvary: {layer1.block: {choice: [ghost, conv]}}\n"
        "objectives: {macs: minimize}\ndata: digits\n"
    )
    plan = make_plan(
        space, objective=None, data=None, directions=None, limits=None, trials=1, workers=1, sampler="random", seed=0,
        device="cpu",
    )  # fmt: skip
    (made,) = [each for each in plan.plugins() if each["name"] == "ghost"]
    assert made == {
        "name": "ghost",
        "distribution": "",
        "version": "",
        "file": "ghost.py",
        "sha256": hashlib.sha256(ghost.read_bytes()).hexdigest()[:12],
        "error": "",
    }
    assert {"ghost"} == {each["name"] for each in plan.settings()["plugins"]} - {
        each.name for each in get_registry().plugins if each.origin == "package"
    }


# `blockforge plugins`


def test_a_faulty_plugin_file_is_in_the_list_and_then_the_error(write, ghost, tmp_path):
    write("faulty.py", "1 / 0\n")
    given = ["plugins", "--plugin", "faulty.py", "--plugin", "ghost.py"]
    done = call(dict(os.environ), tmp_path, *given, code=2)
    assert done.stderr == "faulty.py: ZeroDivisionError: division by zero\n"
    *_, faulty, fine = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert faulty.startswith("faulty file faulty.py ")
    assert faulty.endswith(" FAILED: ZeroDivisionError: division by zero")
    assert fine.endswith(" blocks: ghost")
    done = call(dict(os.environ), tmp_path, *given, "--json", code=2)
    assert done.stderr == "faulty.py: ZeroDivisionError: division by zero\n"
    faulty, fine = json.loads(done.stdout)[-2:]
    assert (faulty["error"], faulty["registered"]["blocks"]) == ("ZeroDivisionError: division by zero", [])
    assert (fine["error"], fine["registered"]["blocks"], len(fine["sha256"])) == (None, ["ghost"], 12)
    listed = call(dict(os.environ), tmp_path, "list", "--plugin", "faulty.py", code=2)
    assert (listed.stdout, listed.stderr) == ("", "faulty.py: ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("disabled", "lines"),
    [
        ("all", []),
        ("acme", []),
        ("Acme_Blocks", []),
        ("acme-blocs, acme", ["'acme-blocs' is no package with plugins; did you mean 'acme-blocks'?"]),
        ("zyx", ["'zyx' is no package with plugins; there are acme, acme-blocks"]),
        ("dense", ["'dense' is blockforge's own, which stays; name packages, or take it out"]),
    ],
)
def test_a_name_that_disables_nothing_is_a_warning(acme, tmp_path, disabled, lines):
    done = call(acme, tmp_path, "plugins", "--json", **{DISABLE: disabled})
    assert done.stderr == "".join(f"{DISABLE}: {line}\n" for line in lines)
    names = {each["name"] for each in json.loads(done.stdout)}
    assert "dense" in names
    assert ("acme" in names) == (disabled in ("zyx", "dense"))
    assert call(acme, tmp_path, "list", "dense", **{DISABLE: disabled}).stderr == ""

"""What `blockforge new-block` writes works as it is: it loads, builds, is searched over, and passes its own tests."""

from __future__ import annotations

import builtins
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

import blockforge
from blockforge import Block, get_network
from blockforge.block import snake_case
from blockforge.cli import main
from blockforge.conformance import check_block
from blockforge.errors import BlockforgeError
from blockforge.fields import field_meanings
from blockforge.registry import get_registry, load_registry
from blockforge.scaffold import new_block
from blockforge.study.space import space_from_yaml

ROOT = Path(__file__).parent.parent
ONE_FILE = "ghost_module.py"
IN_PACKAGE = "ghost_module/__init__.py"
PACKAGE = [
    "pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml", IN_PACKAGE,
    "tests/test_ghost_module.py",
]  # fmt: skip
DISTRIBUTION = "blockforge-ghost-module"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and the plugins that are installed."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    load_registry()
    return folder


def blockforge_command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def message(name: str, folder: str | Path = ".", *options: str) -> str:
    """What the command says where it refuses, and that the library says the same."""
    with pytest.raises(BlockforgeError) as caught:
        new_block(name, folder, package="--package" in options)
    result = blockforge_command("new-block", "--dir", str(folder), *options, "--", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{caught.value}\n"
    return str(caught.value)


def ghost() -> type[Block]:
    """The class of a block that was just written."""
    (path,) = new_block("ghost_module").files
    return load_registry([path]).block("ghost_module")


# A block alone


STEPS = {
    "list": "blockforge list --blocks --plugin ghost_module.py  # it is there",
    "show": "blockforge show --block ghost_module --plugin ghost_module.py  # what it is made of, and what it costs",
    "check": "blockforge check ghost_module.py  # whether torch agrees",
}


def step(name: str) -> str:
    """What one of the next steps prints, run as it is written."""
    program, *arguments = shlex.split(STEPS[name], comments=True)
    assert program == "blockforge"
    done = blockforge_command(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_block_is_one_file_that_is_listed_and_shown(here: Path) -> None:
    result = blockforge_command("new-block", "ghost_module")
    assert (result.exit_code, result.stdout, written(here)) == (0, f"{ONE_FILE}\n", [ONE_FILE])
    assert result.stderr.splitlines() == list(STEPS.values())
    assert "ghost_module" in step("list")
    shown = step("show")
    for words in ("ghost_module: 1x1 narrow", "GhostModule, unpublished", "conv2", "ratio", "squeeze_excitation"):
        assert words in shown, words


@pytest.mark.parametrize("check", ["documented", "expands", "field_ratio", "shape", "parameters"])
def test_a_block_passes_a_few_checks_of_the_kit(check: str) -> None:
    assert check_block(ghost(), check, examples=5) is None


@pytest.mark.slow
def test_a_block_passes_the_kit(here: Path) -> None:
    new_block("ghost_module")
    assert re.fullmatch(r"ghost_module: all \d+ checks hold.*", step("check").strip())


def test_a_block_builds_with_what_it_teaches() -> None:
    cls = ghost()
    assert (cls.__name__, cls.about, cls.repeatable) == (
        "GhostModule", "1x1 narrow, a square convolution, 1x1 widen; a shortcut where the shape stays.", True,
    )  # fmt: skip
    assert all(field_meanings(cls).values())
    assert set(field_meanings(cls)) == {"width", "stride", "kernel", "ratio", "attention"}
    network = get_network("resnet18_cifar").set(
        {"layer*.block": "ghost_module", "layer2.attention": "squeeze_excitation", "drop_path": 0.1, "layer3.ratio": 1}
    )
    module = blockforge.build(network)
    assert sum(p.numel() for p in module.parameters()) == blockforge.cost(network).params
    joined = {node.name for node in blockforge.assemble(network).nodes if node.name.endswith(".add")}
    assert "layer2.1.add" in joined
    assert "layer2.0.add" not in joined  # its stride is 2
    assert any("attention.fc1" in key for key in module.state_dict())


def test_a_search_tries_its_ratios() -> None:
    ghost()
    space = space_from_yaml(
        "base: resnet18_cifar\nset: {layer2.block: ghost_module}\nvary: {layer2.ratio: any}\n"
        "objectives: {macs: minimize}\n"
    )
    (hole,) = space.holes
    assert hole.labels is not None
    draws = [space.draw({hole: number}.__getitem__) for number in range(len(hole.labels))]
    assert [network.stages["layer2"].block.ratio for network in draws] == [2, 4, 8]
    assert len({blockforge.cost(network).macs for network in draws}) == 3


def test_a_class_may_be_given_for_the_name(here: Path) -> None:
    made = new_block("SEBlock")
    assert made.files == (Path("se_block.py"),)
    assert load_registry(made.files).block("se_block").__name__ == "SEBlock"


def test_a_folder_is_made_and_quoted(here: Path) -> None:
    made = new_block("ghost_module", Path("my blocks", "new"))
    assert [str(path) for path in made.files] == written(here) == ["my blocks/new/ghost_module.py"]
    assert made.next_steps[2] == "blockforge check 'my blocks/new/ghost_module.py'  # whether torch agrees"


# A package


def test_a_package_has_its_files_and_a_folder_of_its_own(here: Path) -> None:
    result = blockforge_command("new-block", "GhostModule", "--package", "--dir", "mine")
    assert (result.exit_code, result.stdout.split()) == (0, [f"mine/{DISTRIBUTION}/{name}" for name in PACKAGE])
    assert written(here) == sorted(result.stdout.split())
    assert result.stderr.splitlines() == [
        f"cd mine/{DISTRIBUTION}",
        'python -m pip install -e ".[test]"  # every command knows the block from now on',
        "python -m pytest",
        f"blockforge check {DISTRIBUTION}  # whether torch agrees",
    ]
    folder = here / "mine" / DISTRIBUTION
    alone = new_block("ghost_module").files[0]
    assert (folder / IN_PACKAGE).read_text() == alone.read_text()
    workflow = YAML(typ="safe").load((folder / ".github/workflows/test.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [
        'python -m pip install ".[test]"', "python -m pytest", f"blockforge check {DISTRIBUTION}",
    ]  # fmt: skip
    assert steps[1]["with"] == {"python-version": "${{ matrix.python }}"}
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.13"]


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip_install(*what: object, cwd: Path, python: object = sys.executable) -> None:
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, *what, cwd=cwd)


def plugin_of(printed: str) -> dict[str, Any]:
    """The package's entry in what `blockforge plugins --json` prints."""
    (plugin,) = [each for each in json.loads(printed) if each["distribution"] == DISTRIBUTION]
    return plugin


def test_an_installed_package_makes_its_block_known(here: Path, tmp_path: Path) -> None:
    new_block("ghost_module", package=True)
    pip_install("--target", tmp_path / "site", here / DISTRIBUTION, cwd=here)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "blockforge"]
    plugin = plugin_of(run(*command, "plugins", "--json", cwd=here, PYTHONPATH=path))
    assert (plugin["name"], plugin["origin"], plugin["version"], plugin["error"] or "") == (
        "ghost_module", "package", "0.1.0", "",
    )  # fmt: skip
    shown = json.loads(run(*command, "show", "--block", "ghost_module", "--json", cwd=here, PYTHONPATH=path))
    assert shown["name"] == "ghost_module"
    taken = subprocess.run(
        [*command, "new-block", "GhostModule"], cwd=here, env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (taken.returncode, taken.stderr) == (
        2,
        f"GhostModule: block 'ghost_module' is registered by package {DISTRIBUTION} 0.1.0 already; "
        "choose another name\n",
    )


NETS = """\
ghost18: {extends: resnet18_cifar, set: {layer*.block: ghost_module}}
ghost9: {extends: ghost18, set: {layer*.depth: 1}}
"""


def test_networks_and_spaces_beside_the_block_are_installed_as_the_readme_says(here: Path, tmp_path: Path) -> None:
    new_block("ghost_module", package=True)
    module = here / DISTRIBUTION / IN_PACKAGE
    readme = (here / DISTRIBUTION / "README.md").read_text(encoding="utf-8")
    _, hooks = re.findall(r"```python\n(.*?)```", readme, re.S)
    told = re.search(r"\n    @hookimpl\n    (def register_networks.*?)\n\"\"\"", module.read_text(), re.S)
    assert told  # the docstring has the same hook, without its docstring
    assert [line.strip() for line in told[1].splitlines()] == [
        "def register_networks() -> list[Path]:", 'return [Path(__file__).parent / "nets.yaml"]',
    ]  # fmt: skip
    assert all(line.strip() in hooks for line in told[1].splitlines())
    module.write_text(f"{module.read_text()}\n\n{hooks}", encoding="utf-8")
    (module.parent / "nets.yaml").write_text(NETS, encoding="utf-8")
    (module.parent / "my_space.yaml").write_text("base: ghost9\nvary: {layer1.width: any}\n", encoding="utf-8")
    pip_install("--target", tmp_path / "site", here / DISTRIBUTION, cwd=here)
    shutil.rmtree(here / DISTRIBUTION)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "blockforge"]
    shown = json.loads(run(*command, "show", "ghost9", "--json", cwd=here, PYTHONPATH=path))
    assert shown["name"] == "ghost9"
    listed = json.loads(run(*command, "list", "--spaces", "--json", cwd=here, PYTHONPATH=path))
    assert "my_space" in {space["name"] for space in listed["spaces"]}


@pytest.mark.slow
def test_a_package_passes_its_own_tests_where_it_is_installed(here: Path, tmp_path: Path) -> None:
    new_block("ghost_module", package=True)
    folder = here / DISTRIBUTION
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    # The outer packages come after the environment's own; editable ones among them by `addsitedir`, which reads .pth.
    outer = sysconfig.get_path("purelib")
    Path(packages, "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n", encoding="utf-8")
    pip_install(".", cwd=folder, python=python)
    assert plugin_of(run(python, "-m", "blockforge", "plugins", "--json", cwd=tmp_path))["origin"] == "package"
    report = run(python, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", cwd=folder)
    assert re.search(r"\d+ passed in ", report.splitlines()[-1]), report
    run(python, "-m", "blockforge", "check", DISTRIBUTION, cwd=tmp_path)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", readme, re.S)
    assert [language for language, _ in blocks] == ["bash", "python", "python", "bash"]
    for command in blocks[0][1].splitlines():
        program, *arguments = shlex.split(command)
        assert program == "blockforge"
        assert "ghost_module" in run(python, "-m", program, *arguments, cwd=tmp_path)
    run(python, "-c", blocks[1][1], cwd=tmp_path)

    block = folder / IN_PACKAGE  # and they fail where the block is wrong: installed again, with twice the width
    block.write_text(block.read_text().replace('g.conv("conv3", y, self.width)', 'g.conv("conv3", y, 2 * self.width)'))
    pip_install("--force-reinstall", ".", cwd=folder, python=python)
    done = subprocess.run([python, "-m", "pytest", "-p", "no:cacheprovider"], cwd=folder, capture_output=True)
    assert done.returncode == 1


@pytest.mark.slow
def test_an_installed_blockforge_has_the_templates(here: Path, tmp_path: Path) -> None:
    sources, site = tmp_path / "sources", tmp_path / "site"
    for name in ("blockforge", "plugins", "search_spaces"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip_install("--target", site, sources, cwd=tmp_path)
    command = "import blockforge; print(blockforge.__file__); from blockforge.cli import main; main()"
    arguments = ["new-block", "ghost_module", "--package"]
    printed = run(sys.executable, "-c", command, *arguments, cwd=here, PYTHONPATH=str(site)).splitlines()
    assert printed == [str(site / "blockforge" / "__init__.py"), *(f"{DISTRIBUTION}/{name}" for name in PACKAGE)]


# Style and types


@pytest.fixture
def both(here: Path) -> Path:
    """A folder with a block's file and a package."""
    new_block("ghost_module")
    new_block("another_one", package=True)
    return here


def test_what_is_written_keeps_this_projects_style(both: Path) -> None:
    rules = ("--config", ROOT / "pyproject.toml", "--no-cache")
    for command in (("check",), ("format", "--check")):
        run(sys.executable, "-m", "ruff", *command, *rules, ONE_FILE, cwd=both)
        run(sys.executable, "-m", "ruff", *command, *rules, ".", cwd=both / "blockforge-another-one")


@pytest.mark.slow
def test_what_is_written_has_strict_types(both: Path) -> None:
    package = both / "blockforge-another-one"
    files = (ONE_FILE, package / "another_one" / "__init__.py", package / "tests" / "test_another_one.py")
    rules = ("--strict", "--python-version", "3.10", "--follow-imports", "silent", "--cache-dir", os.devnull)
    # As if all were installed: mypy follows no editable installation.
    path = os.pathsep.join(map(str, (ROOT, package)))
    run(sys.executable, "-m", "mypy", *rules, *files, cwd=both, MYPYPATH=path)


# Names and folders that are refused

SPELT = "a block's name has small letters, digits and '_', a letter first; write"
NAMES = {
    "ghost-module": f"ghost-module: {SPELT} ghost_module",
    "Ghost_Module": f"Ghost_Module: {SPELT} ghost_module",
    "ghostModule": f"ghostModule: {SPELT} ghost_module",
    "ghost module": f"ghost module: {SPELT} ghost_module",
    "../ghost": f"../ghost: {SPELT} ghost",
    "_ghost": f"_ghost: {SPELT} ghost",
    "3x3": f"3x3: {SPELT} one such as ghost_module",
    "größe": f"größe: {SPELT} one such as ghost_module",
    "": f"'': {SPELT} one such as ghost_module",
    "ghost\n": f"'ghost\\n': {SPELT} ghost",
    "conv_2d": "conv_2d: files know a class Conv2d as conv2d; write conv2d",
    "ghost__module": "ghost__module: files know a class GhostModule as ghost_module; write ghost_module",
    "class": "class: a keyword of Python; choose another name, such as class_block",
    "None": "None: a keyword of Python; choose another name, such as none_block",
    "abc": "abc: abc.py would hide Python's own module of this name; choose another name, such as abc_block",
    "setup": "setup: setuptools takes setup.py for a file of its own; choose another name, such as setup_block",
    "conftest": "conftest: pytest takes conftest.py for a file of its own; choose another name, such as conftest_block",
    "torch": "torch: torch.py would hide an installed module of this name; choose another name, such as torch_block",
    "blockforge": "blockforge: blockforge.py would hide an installed module of this name; choose another name, such as "
    "blockforge_block",
    "stride": "stride: its class would hide the Stride that a block's file may need; choose another name, such as "
    "stride_block",
    "value_error": "value_error: its class would hide the ValueError that a block's file may need; "
    "choose another name, such as value_error_block",
    "Conv": "Conv: block 'conv' is registered by blockforge's own plugin plain already; choose another name",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_can_be_none_is_refused(here: Path, name: str) -> None:
    for options in ((), ("--package",)):
        assert message(name, ".", *options) == NAMES[name]
    assert written(here) == []


@pytest.mark.parametrize("name", get_registry().blocks)
def test_a_registered_blocks_name_is_taken_and_its_plugin_named(name: str) -> None:
    label = get_registry().origin("blocks", name).label
    assert message(name) == f"{name}: block {name!r} is registered by {label} already; choose another name"


def test_a_plugin_files_name_is_taken(here: Path) -> None:
    new_block("ghost_module", "elsewhere")
    result = blockforge_command("new-block", "ghost_module", "--plugin", "elsewhere/ghost_module.py")
    assert (result.exit_code, result.stderr) == (
        2,
        "ghost_module: block 'ghost_module' is registered by plugin file elsewhere/ghost_module.py already; "
        "choose another name\n",
    )
    assert written(here) == ["elsewhere/ghost_module.py"]


@pytest.mark.parametrize("name", [name for name in dir(builtins) if name[0].isupper()])
def test_no_class_hides_what_python_has(name: str) -> None:
    assert re.fullmatch(rf"{name}: (a keyword of Python; .*|its class would hide the {name} that .*)", message(name)), (
        snake_case(name)
    )


def test_a_module_in_the_current_folder_is_not_installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    Path("ghost_module.py").touch()
    Path("another_one").mkdir()
    assert new_block("ghost_module", "elsewhere").files == (Path("elsewhere", ONE_FILE),)
    assert new_block("another_one", "elsewhere").files == (Path("elsewhere", "another_one.py"),)


def test_nothing_is_written_over(here: Path) -> None:
    Path(ONE_FILE).write_text("mine")
    assert message("ghost_module") == (
        "ghost_module.py: exists already, so nothing was written; choose another name, or another folder with --dir"
    )
    assert (written(here), Path(ONE_FILE).read_text()) == ([ONE_FILE], "mine")


def test_nothing_is_written_if_one_file_of_a_package_exists(here: Path) -> None:
    folder = Path(DISTRIBUTION)
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    (folder / ".gitignore").symlink_to("nowhere")
    assert message("ghost_module", ".", "--package") == (
        f"{folder}/README.md, {folder}/.gitignore: exist already, so nothing was written; "
        "choose another name, or another folder with --dir"
    )
    assert written(here) == [f"{folder}/.gitignore", f"{folder}/README.md"]
    (folder / "README.md").unlink()
    (folder / ".gitignore").unlink()
    assert len(new_block("ghost_module", package=True).files) == len(PACKAGE)


@pytest.mark.parametrize("options", [(), ("--package",)])
@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_folder_that_is_a_file(here: Path, folder: str, options: tuple[str, ...]) -> None:
    Path("file").write_text("mine")
    assert message("ghost_module", folder, *options) == (
        "file: a file, where a folder is needed; choose another folder with --dir"
    )
    assert written(here) == ["file"]


def no_folder_for_anyone() -> tuple[Path, str]:
    """A folder in which nobody may write, root neither, and what the system says of it."""
    folder = Path("/sys")
    try:
        (folder / ONE_FILE).open("x")
    except OSError as error:
        return folder, str(error.strerror)
    raise AssertionError(f"{folder} can be written to")


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="this system has no /sys")
def test_a_folder_that_cant_be_written_to(here: Path) -> None:
    folder, reason = no_folder_for_anyone()
    assert message("ghost_module", folder) == (
        f"{folder}/{ONE_FILE}: can't be written ({reason}); choose another folder with --dir"
    )


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="this system has no /sys")
def test_a_package_that_cant_be_written_whole_is_not_written_at_all(here: Path) -> None:
    folder, reason = no_folder_for_anyone()
    Path("mine", DISTRIBUTION).mkdir(parents=True)
    Path("mine", DISTRIBUTION, "tests").symlink_to(folder)
    test = f"mine/{DISTRIBUTION}/tests/test_ghost_module.py"
    assert message("ghost_module", "mine", "--package") == (
        f"{test}: can't be written ({reason}); choose another folder with --dir"
    )
    assert [str(path.relative_to(here)) for path in here.rglob("*")] == [
        "mine", f"mine/{DISTRIBUTION}", f"mine/{DISTRIBUTION}/tests",
    ]  # fmt: skip


def test_a_name_that_is_too_long_for_a_file(here: Path) -> None:
    name = "a" * 300
    assert message(name, "new") == (
        f"new/{name}.py: can't be written (File name too long); choose another folder with --dir"
    )
    assert list(here.iterdir()) == []

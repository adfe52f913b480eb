"""What is installed works outside the checkout: from the sources, editable, and as a wheel built from the sdist."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROBE = """
import json, sys
import blockforge
from blockforge.registry import get_registry
registry = get_registry()
print(json.dumps({
    "file": blockforge.__file__,
    "blocks": sorted(registry.blocks),
    "networks": sorted(registry.networks),
    "spaces": sorted(registry.spaces),
    "objectives": sorted(registry.objectives),
    "datasets": sorted(registry.datasets),
    "params": blockforge.cost("resnet50").params,
    "torch": "torch" in sys.modules,
}))
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources") / "blockforge"
    ignored = shutil.ignore_patterns(".git", "*.egg-info", "build", "dist", "runs", "__pycache__", ".*_cache", ".venv")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A fresh environment that sees the packages of this one, but not blockforge's installation in it."""
    # Without pip, since the setuptools that may come with it is older than the build needs.
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    executable = tmp_path / "venv" / "bin" / "python"
    packages = run(executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    # A path added by a .pth file comes last, and its own .pth files (editable installations) aren't read.
    Path(packages, "outer.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return executable


def pip_install(python: Path, *what: object, cwd: Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", *what, cwd=cwd)


def probe(python: Path, cwd: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(run(python, "-c", PROBE, cwd=cwd))
    assert found["params"] == 25_557_032
    assert found["torch"] is False
    for kind, some in (
        ("blocks", "bottleneck"),
        ("networks", "densenet121"),
        ("spaces", "digits"),
        ("objectives", "macs"),
        ("datasets", "digits"),
    ):
        assert some in found[kind], kind  # type: ignore[operator]
    command = Path(python).parent / "blockforge"
    assert "densenet121" in run(command, "list", cwd=cwd)
    return found


@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_installed_from_the_sources(checkout: Path, python: Path, tmp_path: Path, editable: bool) -> None:
    options = ["-e"] if editable else []
    pip_install(python, "--no-build-isolation", *options, checkout, cwd=tmp_path)
    found = probe(python, tmp_path)
    assert str(found["file"]).startswith(str(checkout if editable else python.parent.parent))


def test_wheel_built_from_the_sdist(checkout: Path, python: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", checkout, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        top_level = next(name for name in names if name.endswith("/top_level.txt"))
        assert archive.read(top_level).decode().split() == ["blockforge"]
        assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"blockforge"}
        assert "blockforge/py.typed" in names
        assert any(name.endswith("/LICENSE") for name in names)
    pip_install(python, wheel, cwd=tmp_path)
    found = probe(python, tmp_path)
    assert str(found["file"]).startswith(str(python.parent.parent))

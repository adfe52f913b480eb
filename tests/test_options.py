"""What all commands share: how they print where an output's encoding lacks letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
    from blockforge import Block, Scope, Value, hookimpl

    class Fork(Block):
        '''Two ways \u2192 one.'''

        def expand(self, g: Scope, x: Value) -> Value:
            y = g.conv("conv", x, 4)
            return g.add("add", g.relu("relu", y), y)

    @hookimpl
    def register_blocks():
        return [Fork]
"""
NETWORK = "name: x\npaper: \u0141ukasz 2024\ninput: [4, 8, 8]\nstages: {a: {block: fork}}\n"
RAILS = {
    "utf-8": ["\u25cf", "\u25cf\u2500\u256e", "\u25cf \u2502", "\u25cf\u2500\u256f"],
    "cp1252": ["*", "*-.", "* |", "*-'"],
    "ascii": ["*", "*-.", "* |", "*-'"],
}


def run(encoding: str, *arguments: str, cwd: Path, code: int = 0) -> tuple[str, str]:
    """What a command prints on standard output and error with such an output."""
    done = subprocess.run(
        [sys.executable, "-m", "blockforge", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.fixture
def here(write) -> Path:
    """A folder with a plugin and a network whose texts and rails have letters beyond ASCII."""
    write("x.yaml", NETWORK)
    return write("fork.py", PLUGIN).parent


@pytest.mark.parametrize("encoding", RAILS)
def test_a_block_is_shown_in_letters_that_the_output_has(here, encoding):
    shown, said = run(encoding, "show", "--block", "fork", "--input", "4,8,8", "--plugin", "fork.py", cwd=here)
    lines = shown.splitlines()
    first = next(number for number, line in enumerate(lines) if "Input" in line)
    assert [line[:4].rstrip() for line in lines[first : first + 4]] == RAILS[encoding]
    arrow = "\u2192" if encoding == "utf-8" else r"\u2192"
    assert lines[0] == f"fork: Two ways {arrow} one."
    assert said == ""
    told = json.loads(run(encoding, "show", "--block", "fork", "--json", "--plugin", "fork.py", cwd=here)[0])
    assert told["about"] == "Two ways \u2192 one."


def test_a_source_is_never_changed(here):
    given = ["export", "x.yaml", "--python", "-", "--plugin", "fork.py"]
    assert "\u0141ukasz 2024" in run("utf-8", *given, cwd=here)[0]
    assert run("cp1252", *given, cwd=here, code=2) == (
        "",
        "-: standard output's encoding, cp1252, lacks '\\u0141'; name a file, or set PYTHONIOENCODING=utf-8\n",
    )

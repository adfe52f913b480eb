"""The commands of who writes blocks: new-block, check, schema."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Literal

import click

from blockforge.options import command, json_option, print_json, print_text, registry_of

STORAGE = "HYPOTHESIS_STORAGE_DIRECTORY"
"""The environment variable that names hypothesis's folder."""


@command
@click.argument("name")
@click.option("--dir", "folder", metavar="DIR", default=".", show_default=True, help="The folder to write into.")
@click.option("--package", is_flag=True, help="Write a package to install, not a single file.")
def new_block(name: str, folder: str, package: bool, plugin_files: tuple[str, ...]) -> None:
    """Write a block to start from.

    NAME is the block's, as files write it: ghost_module. A single file by default, for --plugin; with --package a
    distribution with its tests, which makes the block known wherever it is installed.
    """
    from blockforge.scaffold import new_block as write

    registry_of(plugin_files)
    made = write(name, folder, package=package)
    for path in made.files:
        click.echo(str(path))
    for line in made.next_steps:
        click.echo(line, err=True)


@command
@click.argument("target")
@click.option("--examples", type=click.IntRange(min=1), help="Parameters to try for each check [default: 20].")
@click.option("--seed", type=int, default=0, show_default=True, help="What all random numbers are drawn from.")
@json_option
def check(target: str, as_json: bool, plugin_files: tuple[str, ...], **options: Any) -> None:
    """Check blocks against torch.

    TARGET is a block's name, a plugin file, or an installed distribution, of which all blocks are checked. What fails
    is a line each, and ends with exit code 1.
    """
    given = {name: value for name, value in options.items() if value is not None}
    with _storage_of_its_own():
        from blockforge import conformance

        def begun(number: int, count: int, block: str) -> None:
            click.echo(f"[{number}/{count}] {block}", err=True)

        report = conformance.check(target, registry_of(plugin_files), begun=begun, **given)
    if as_json:
        print_json(report.record())
    else:
        print_text(report.text())
    if report.failures:
        sys.exit(1)


@contextmanager
def _storage_of_its_own() -> Iterator[None]:
    """Have hypothesis keep its files in a folder that goes again, instead of the current one."""
    if STORAGE in os.environ:
        yield
        return
    from hypothesis.configuration import set_hypothesis_home_dir

    with TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)  # its default


@command
@click.argument("kind", type=click.Choice(["network", "space"]), default="network")
def schema(kind: Literal["network", "space"], plugin_files: tuple[str, ...]) -> None:
    """Write a JSON schema for editors.

    Of network files, or of search spaces, with the parameters of all blocks that are registered. Editors with YAML
    support complete and check a file whose first line is `# yaml-language-server: $schema=FILE`.
    """
    from blockforge.schema import schema_of

    print_json(schema_of(kind, registry_of(plugin_files)))

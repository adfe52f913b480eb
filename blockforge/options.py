"""What all commands share: the group that they belong to, their options, and how they print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blockforge import __version__
from blockforge.commands import Commands

if TYPE_CHECKING:
    from blockforge.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.meta["blockforge.debug"] = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show the traceback of an error."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, numbers as they are.")
input_option = click.option(
    "--input", "inputs", metavar="C,H,W", multiple=True, help="The input's channels, height and width."
)
set_option = click.option(
    "--set", "edits", metavar="PATH=VALUE", multiple=True, help="Set a value: layer3.depth=23; repeatable."
)


def command(function: F) -> click.Command:
    """A command with the options that all of them have."""
    plugin = click.option(
        "--plugin", "plugin_files", metavar="FILE", multiple=True, help="Load a plugin from a file; repeatable."
    )
    return main.command(function.__name__.rstrip("_").replace("_", "-"))(plugin(debug_option(function)))


@click.group(
    "blockforge", cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def main(context: click.Context) -> None:
    """Canonical convolutional networks from swappable blocks, and architecture search over them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def registry_of(plugin_files: tuple[str, ...]) -> Registry:
    """All plugins, those of `--plugin` among them; they are in force from now on."""
    from blockforge.registry import load_registry

    return load_registry(plugin_files)


def terminal_width() -> int | None:
    """The terminal's width; None where the output goes elsewhere, and is never folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_json(value: Any) -> None:
    """Print plain data for another program."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text if _lacks(text) is None else json.dumps(value, indent=2, allow_nan=False))


def print_text(text: str) -> None:
    """Print text for people; of letters that the output lacks rails are ASCII, and others as in Python's escapes."""
    if encoding := _lacks(text):
        from blockforge.picture import ASCII

        text = text.translate(ASCII).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text)


def _lacks(text: str) -> str | None:
    """Standard output's encoding if it lacks letters of a text, as Windows's and the C locale's do; else None."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return encoding
    return None

"""The command group: how any error of a command ends, in one line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from blockforge.errors import BlockforgeError, did_you_mean

BAD_INPUT = 2
FAILURE = 1
INTERRUPTED = 130  # what a shell reports of a process that ended by Ctrl-C: 128 + SIGINT


class Commands(click.Group):
    """Commands whose errors are lines, not tracebacks; `--debug` shows those too."""

    def main(  # type: ignore[override]  # click's has overloads for what it returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command and exit with its code: 2 for bad input, 1 for a failure, 130 for Ctrl-C."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        code: Any
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(_usage_line(error), err=True)
            code = error.exit_code
        except click.Abort:
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except BlockforgeError as error:
            _end(ctx, str(error), error.exit_code)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _end(ctx, f"{where}{error.strerror or error}", BAD_INPUT)
        except Exception as error:  # a plugin's, or a mistake of blockforge
            _end(ctx, _surprise(error), FAILURE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name; an unknown one gets the closest names."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            hint = did_you_mean(name, self.commands) or f"; there are {', '.join(self.commands)}"
            raise click.UsageError(f"no command {name!r}{hint}")
        return super().resolve_command(ctx, args)


def _end(ctx: click.Context, message: str, code: int) -> None:
    if ctx.meta.get("blockforge.debug"):
        traceback.print_exc()
    click.echo(message, err=True)
    ctx.exit(code)


def _surprise(error: Exception) -> str:
    """An error that nobody foresaw, with the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.relpath(frames[-1].filename)}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())}; --debug shows where it comes from"


def _usage_line(error: click.ClickException) -> str:
    """Click's message in a line of ours: `blockforge show: missing argument 'NETWORK'; see ...`."""
    if isinstance(error, click.NoSuchOption):
        hint = did_you_mean(error.option_name, error.possibilities or ())
        message = f"no option {error.option_name!r}{hint}"
    else:
        message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "blockforge"
    then = "" if message.endswith("?") else ";"
    return f"{path}: {message[:1].lower()}{message[1:]}{then} `{path} --help` shows what it takes"

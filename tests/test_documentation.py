"""Everything that a user can name is documented: commands, options, hooks, blocks, networks, spaces, public names."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

import blockforge
from blockforge import hookspecs
from blockforge.block import STAGE_KEYS
from blockforge.catalogue import catalogue
from blockforge.cli import main
from blockforge.documents import NETWORK_KEYS
from blockforge.fields import field_meanings
from blockforge.outputs import Leaving
from blockforge.plugin_loading import KINDS
from blockforge.registry import get_registry
from blockforge.scaling import Scale
from blockforge.settings import Norm, Preprocess

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## All commands and hooks\n")[2].partition("\n## ")[0]
COMMON = {"--plugin", "--debug", "--help"}


def rows(command: str) -> list[str]:
    """The rows of the README's table that are of a command."""
    return [line for line in SECTION.splitlines() if re.match(rf"\| `{command}\b", line)]


def test_the_table_has_each_command_and_no_other():
    told = re.findall(r"^\| `([\w-]+)(?: [^`]*)?` \| [^|]+\| [^|]*\|$", SECTION, re.MULTILINE)
    assert set(told) == set(main.commands)
    assert set(re.findall(r"--[\w-]+", SECTION)) >= COMMON


@pytest.mark.parametrize("command", main.commands)
def test_each_option_is_in_the_table_and_has_a_help_text(command):
    options = [each for each in main.commands[command].params if isinstance(each, click.Option)]
    names = {name for option in options for name in option.opts}
    told = {name for row in rows(command) for name in re.findall(r"--[\w-]+", row.rpartition(" | ")[2])}
    assert told == names - COMMON
    for option in options:
        assert option.help, option.name
        assert option.help.endswith((".", "]")), option.help


@pytest.mark.parametrize("command", main.commands)
def test_each_command_says_what_it_does_and_names_its_arguments(command):
    found = main.commands[command]
    assert found.help
    assert found.help.partition("\n")[0].endswith(".")
    arguments = [each for each in found.params if isinstance(each, click.Argument)]
    for argument in arguments:
        name = argument.make_metavar(click.Context(found)).strip("[].")
        assert name in found.help or isinstance(argument.type, click.Choice), name
        assert any(name in row or isinstance(argument.type, click.Choice) for row in rows(command)), name


def test_each_hook_is_documented_with_what_it_returns():
    hooks = [name for name, each in vars(hookspecs).items() if hasattr(each, "blockforge_spec")]
    assert hooks == [f"register_{kind}" for kind in KINDS]
    for hook in hooks:
        assert inspect.getdoc(getattr(hookspecs, hook))
        assert f"| `{hook}` | " in SECTION


def test_the_table_of_keys_has_each_key_of_a_network_and_of_a_stage_and_no_other():
    section = README.partition("## A network\n")[2].partition("\n## ")[0]
    table = section.partition("| key | says |\n| --- | --- |\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").partition(" | ") for line in table.splitlines()]
    told = [key for first, _, _ in rows for key in re.findall(r"`(\w+)`", first)]
    assert sorted(told) == sorted({*NETWORK_KEYS, *STAGE_KEYS})
    says = {key: text for first, _, text in rows for key in re.findall(r"`(\w+)`", first)}
    for key, parts in {
        "stages": ("null", "after"),
        "scale": Scale.model_fields,
        "outputs": Leaving.model_fields,
        "norm": Norm.model_fields,
        "preprocess": set(Preprocess.model_fields) - {"interpolation"},
    }.items():
        for part in parts:
            assert part in says[key], (key, part)


@pytest.mark.parametrize("name", get_registry().blocks)
def test_each_block_says_its_idea_paper_and_what_its_fields_mean(name):
    cls = get_registry().block(name)
    assert cls.about.endswith(".")
    assert cls.paper
    assert all(field_meanings(cls).values())
    assert not [name for name, meaning in field_meanings(cls).items() if "None" in meaning]  # files say null
    assert inspect.getdoc(cls.expand)


def test_each_network_and_space_says_its_idea():
    for record in catalogue(get_registry(), ["networks", "spaces"])["networks"]:
        assert record["about"], record["name"]
        assert record["paper"], record["name"]
    for record in catalogue(get_registry(), ["spaces"])["spaces"]:
        assert record["about"], record["name"]


@pytest.mark.parametrize("name", sorted(set(blockforge.__all__) - {"__version__"}))
def test_each_public_name_has_a_docstring(name):
    found = getattr(blockforge, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert inspect.getdoc(found), name

"""The command line: thin commands over the library, which is imported when a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blockforge import authoring
from blockforge.arguments import count_of, edits_of, limits_of, shape_of
from blockforge.errors import BlockforgeError, PluginError
from blockforge.options import (
    command,
    input_option,
    json_option,
    main,
    print_json,
    print_text,
    registry_of,
    set_option,
    terminal_width,
)

if TYPE_CHECKING:
    from blockforge.network import Network
    from blockforge.registry import Registry
    from blockforge.study.run import Run


@command
@click.argument("pattern", required=False)
@click.option("--networks", is_flag=True, help="Only networks.")
@click.option("--blocks", is_flag=True, help="Only blocks.")
@click.option("--spaces", is_flag=True, help="Only search spaces.")
@click.option("--family", metavar="FAMILY", help="Only networks of this family: resnet, mobilenet, ...")
@click.option("--costs", is_flag=True, help="Networks with their parameters, MACs and input.")
@click.option("--max-params", metavar="N", help="Only networks of at most so many parameters: 5e6.")
@click.option("--max-macs", metavar="N", help="Only networks of at most so many MACs: 3e8.")
@json_option
def list_(pattern: str | None, as_json: bool, plugin_files: tuple[str, ...], **options: Any) -> None:
    """List networks, blocks and spaces.

    With a PATTERN (resnet, 'vgg*_bn') those whose name or family it matches. --family, --costs, --max-params and
    --max-macs are of networks, and list them alone. MACs are those of convolutions and linear layers: what torch's
    FlopCounterMode counts, divided by two.
    """
    from blockforge.catalogue import SECTIONS, Filter, catalogue, catalogue_text

    chosen = [section for section in SECTIONS if options.pop(section)]
    for name in ("max_params", "max_macs"):
        if options[name] is not None:
            options[name] = count_of(options[name], f"--{name.replace('_', '-')}")
    only = Filter(**options)
    if only != Filter():
        if set(chosen) - {"networks"}:
            raise click.UsageError("--family, --costs, --max-params and --max-macs are of networks alone")
        chosen = ["networks"]
    found = catalogue(registry_of(plugin_files), chosen or SECTIONS, pattern, only)
    print_json(found) if as_json else print_text(catalogue_text(found, terminal_width()))


@command
@click.argument("network", required=False)
@click.option("--block", metavar="BLOCK", help="Show a block instead, its parameters too.")
@set_option
@input_option
@click.option("--by", type=click.Choice(["layer", "block", "stage"]), help="What a row is [default: layer].")
@click.option("--stage", metavar="NAME", help="Only the rows of this stage ('layer*': of these stages).")
@click.option("--batch", type=click.IntRange(min=1), help="Give the memory of a batch of this size, too.")
@click.option("--formula", is_flag=True, help="Show how parameters come about, (5*5*1+1)*6 = 156.")
@click.option("--format", "style", type=click.Choice(["text", "markdown", "csv"]), help="How to set the table.")
@json_option
def show(network: str | None, block: str | None, as_json: bool, plugin_files: tuple[str, ...], **options: Any) -> None:
    """Show what a network is made of, as a table.

    NETWORK is a name, FILE.yaml or FILE.yaml#NAME; a found architecture is RUN/trials/0017/network.yaml.
    MACs are those of convolutions and linear layers: what torch's FlopCounterMode counts, divided by two.
    """
    from blockforge import sheet

    if (network is None) == (block is None):
        raise click.UsageError("give a NETWORK, or a block with --block BLOCK")
    if as_json and options["style"]:
        raise click.UsageError("give --json or --format, not both")
    if options["batch"] and options["style"] == "csv":
        raise click.UsageError("--format csv has the rows alone; leave out --batch")
    if options["formula"] and options["by"] in ("block", "stage"):
        raise click.UsageError("--formula is of layers; leave out --by")
    registry = registry_of(plugin_files)
    edits, shapes = edits_of(options.pop("edits")), [shape_of(text) for text in options.pop("inputs")]
    options["by"] = options["by"] or "layer"
    options["style"] = "json" if as_json else options["style"] or "text"
    view = sheet.View(**options)
    if block is not None:
        if options["stage"] or options["by"] != "layer":
            raise click.UsageError("a block has no stages; leave out --by and --stage")
        made = sheet.block_sheet(registry.block(block), registry, edits, shapes, view)
    elif network is not None:
        made = sheet.network_sheet(*_network(network, registry, edits, shapes), view)
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    print_json(made.record()) if as_json else print_text(made.text(terminal_width()))


@command
@click.argument("network")
@click.option("--python", "path", metavar="FILE", required=True, help="The file to write; -: standard output.")
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@click.option("--import-modules", is_flag=True, help="Import modules of other packages, not write their code.")
@set_option
@input_option
def export(
    network: str,
    path: str,
    force: bool,
    import_modules: bool,
    plugin_files: tuple[str, ...],
    **changes: tuple[str, ...],
) -> None:
    """Write a network as Python source.

    The file imports torch alone, unless --import-modules is given. NETWORK is a name, FILE.yaml or FILE.yaml#NAME.
    """
    from blockforge.codegen.text import source as source_of

    edits, shapes = edits_of(changes["edits"]), [shape_of(text) for text in changes["inputs"]]
    made, _ = _network(network, registry_of(plugin_files), edits, shapes)
    source = source_of(made, import_modules=import_modules)
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    if path == "-":
        try:
            click.echo(source, nl=False)
        except UnicodeEncodeError as error:  # a file's text is not to be changed
            letter = error.object[error.start]
            raise BlockforgeError(
                f"-: standard output's encoding, {sys.stdout.encoding}, lacks {letter!a}; name a file, or set "
                "PYTHONIOENCODING=utf-8"
            ) from None
        return
    try:
        with Path(path).open("w" if force else "x", encoding="utf-8") as file:
            file.write(source)
    except FileExistsError:
        raise BlockforgeError(f"{path}: exists already; give another name, or --force to write over it") from None
    except OSError as error:
        raise BlockforgeError(f"{path}: can't be written ({error.strerror}); name another file") from None
    click.echo(f"{path}: {made.name} in {len(source.splitlines())} lines", err=True)


@command
@click.argument("pattern", required=False)
@click.option("--against", type=click.Choice(["torchvision", "timm", "layers"]), help="Only this reference.")
@click.option(
    "--format", "style", type=click.Choice(["text", "markdown"]), default="text", help="How to set the table."
)
@json_option
def verify(pattern: str | None, against: Any, style: str, as_json: bool, plugin_files: tuple[str, ...]) -> None:
    """Compare networks with torchvision, timm, or rows of layers.

    State_dict keys in order, strict loading, parameters, MACs, and logits in eval mode at two input sizes; of layers,
    each row that has parameters or pools, in order. PATTERN is one network's name, or means what it means to `list`;
    without one all networks. Ends with exit code 1 if anything differs, or if nothing could be compared.
    """
    from blockforge import verification
    from blockforge.catalogue import networks_matching

    names = networks_matching(registry_of(plugin_files), pattern)
    verdicts = []
    for number, verdict in enumerate(verification.verify(names, against), 1):
        verdicts.append(verdict)
        click.echo(f"[{number}/{len(names)}] {verdict.name} {verdict.why}".rstrip(), err=True)
    if as_json:
        print_json([verdict.record() for verdict in verdicts])
    else:
        print_text(verification.verdicts_table(verdicts, terminal_width(), markdown=style == "markdown"))
    verification.check_compared(verdicts, against)
    if any(verdict.same is False for verdict in verdicts):
        sys.exit(1)


@command
@json_option
def plugins(as_json: bool, plugin_files: tuple[str, ...]) -> None:
    """List plugins, failed ones too.

    Where each came from, and what each of its hooks registered or why it failed. A file has in the place of a version a
    hash of what it says.
    """
    from blockforge.catalogue import plugin_record, plugins_text
    from blockforge.registry import load_registry

    registry = load_registry(plugin_files, keep_faulty=True)
    found = registry.plugins
    print_json([plugin_record(each) for each in found]) if as_json else print_text(
        plugins_text(found, terminal_width())
    )
    for line in registry.warnings:
        click.echo(line, err=True)
    if registry.refused:
        raise PluginError("\n".join(registry.refused))


@command
@click.argument("space")
@click.option("--trials", type=click.IntRange(min=1), help="How many networks to train [default: 32].")
@click.option("--workers", type=click.IntRange(min=1), help="How many at a time [default: one a core].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--seed", type=int, default=0, show_default=True, help="What all random numbers are drawn from.")
@click.option("--run", metavar="DIR", help="The folder that keeps everything [default: runs/SPACE].")
@click.option(
    "--limit", "limits", metavar="NAME=NUMBER", multiple=True, help="Train none beyond: params=2e5; repeatable."
)
@click.option("--sampler", default="tpe", show_default=True, help="random, tpe or nsga2.")
@json_option
def search(space: str, limits: tuple[str, ...], as_json: bool, plugin_files: tuple[str, ...], **options: Any) -> None:
    """Train networks of a space; print the front.

    SPACE is a name, FILE.yaml or FILE.yaml#NAME. The same command goes on where an interrupted one stopped.
    """
    from blockforge.study.driver import search as run_search

    registry_of(plugin_files)
    bounds = limits_of(limits)
    given = {name: value for name, value in options.items() if value is not None}
    run = run_search(space, limits=bounds or None, **given)
    _report(run, as_json)
    click.echo(
        f"{run.path}: all trials, front.md and front.png; `blockforge best {run.path}` prints this again", err=True
    )


@command
@click.argument("run")
@json_option
def best(run: str, as_json: bool, plugin_files: tuple[str, ...]) -> None:
    """Print the front that a search has found.

    RUN is the folder that the search has made. The front holds what no other trial beats in all objectives.
    """
    from blockforge.study.run import Run

    registry_of(plugin_files)
    found = Run.open(run)
    found.check_outcome()
    _report(found, as_json)


# -- what the commands share


def _report(run: Run, as_json: bool) -> None:
    from blockforge.study.report import front_record, front_text

    print_json(front_record(run)) if as_json else print_text(front_text(run))


def _network(
    name: str, registry: Registry, edits: Mapping[str, Any], shapes: list[list[int]]
) -> tuple[Network, tuple[int, ...]]:
    """The network with its edits, and the input that it has without them; raises `BlockforgeError`."""
    from blockforge.network import get_network

    if name not in registry.networks and name in registry.spaces:
        raise BlockforgeError(f"{name}: a search space, not a network; use it with `blockforge search {name}`")
    if len(shapes) > 1:
        raise click.UsageError("a network has one input; give --input once")
    network = get_network(name)
    edits = {**edits, **({"input": shapes[0]} if shapes else {})}
    if shapes and len(shapes[0]) < len(network.input):
        _check_axes(network, edits, shapes[0])
    return network.set(edits) if edits else network, network.input


def _check_axes(network: Network, edits: Mapping[str, Any], shape: list[int]) -> None:
    """Refuse an input with fewer axes than the network's own, unless it takes that, too."""
    from blockforge.assembler import assemble

    try:
        assemble(network.set(edits))
    except BlockforgeError:
        given, own = (",".join(map(str, sizes)) for sizes in (shape, network.input))
        raise BlockforgeError(
            f"--input {given}: {network.name} takes no input of {len(shape)} number(s); "
            f"write --input C,H,W, as in {own}"
        ) from None


__all__ = ["authoring", "main"]  # importing it adds the commands of who writes blocks

"""The subcommands that look at networks: `models`, `compare`, `verify`, `microscope`, `convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.cli.app import LOOK, app, console, emit, networks, overrides, say
from shared.cli.pairs import SecondWeights, Weights, show_pair, show_parting, show_views

if TYPE_CHECKING:
    from shared.networks.spec import ResNetSpec
    from shared.twins.verification import Check

MODELS_WIDTH = 110
Name = Annotated[
    str,
    typer.Argument(help="A network of the catalog, as `resnet-twins models` lists them.", autocompletion=networks),
]
Mine = Annotated[
    str, typer.Argument(help="A network of the catalog; with two, any model of yours.", autocompletion=networks)
]
Other = Annotated[
    str | None, typer.Argument(help="Another model, for a pair.", autocompletion=networks, show_default=False)
]
InputSize = Annotated[int | None, typer.Option(help="Height and width of the images, in pixels.", show_default=False)]
NumClasses = Annotated[int | None, typer.Option(help="Outputs of the last layer.", show_default=False)]
InChannels = Annotated[int | None, typer.Option(help="Channels of the images: 3 or 1.", show_default=False)]
Where = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, or auto (a GPU if there is one).")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)]


class Level(StrEnum):
    """What one line of `compare` stands for."""

    layer = "layer"
    block = "block"
    stage = "stage"


class Format(StrEnum):
    """How `compare` shows its table: `shared.twins.views.FORMS`."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    json = "json"
    csv = "csv"
    junit = "junit"


class Dtype(StrEnum):
    """Floating-point numbers to compute in."""

    float32 = "float32"
    float64 = "float64"


def _check_for_two(**options: object) -> None:
    """Raise `InputError` for an option that only a network of the catalog has."""
    for name, value in options.items():
        if value not in (None, False):
            raise InputError(f"--{name.replace('_', '-')} is for one network of the catalog, not for two models")


def _check_for_one(**options: object) -> None:
    """Raise `InputError` for an option that only two models have."""
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is for two models; name a second one to lay beside this network"
            )


@app.command(rich_help_panel=LOOK)
def models() -> None:
    """List the networks of the catalog: depths, parameters, multiply-adds, source."""
    from rich import box
    from rich.table import Table

    from shared.base.words import short_number
    from shared.networks.catalog import SPECS
    from shared.networks.table import count_macs, count_parameters

    screen = console()
    wide = screen.width >= MODELS_WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("name", "block", "depths") if wide else ("name", "depths"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "MACs", "input"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("source", overflow="fold")
    for spec in SPECS.values():
        cells = [
            spec.name,
            spec.block,
            ",".join(map(str, spec.depths)),
            f"{count_parameters(spec):,}",
            short_number(count_macs(spec)),
            f"{spec.input_size}",
            spec.source,
        ]
        table.add_row(*(cells if wide else [cells[0], *cells[2:-1]]))
    screen.print(table)
    screen.print(f"{len(SPECS)} networks. depths: blocks in each stage; MACs: multiply-adds for one image;")
    screen.print("input: height and width of the images in pixels.")
    if not wide:
        screen.print(f"Block and source need a terminal of {MODELS_WIDTH} characters.")


@app.command(rich_help_panel=LOOK)
def compare(
    name: Mine,
    other: Other = None,
    input_size: InputSize = None,
    num_classes: NumClasses = None,
    in_channels: InChannels = None,
    by: Annotated[
        Level, typer.Option(help="One line for each layer, block or stage; for two models, layer or block.")
    ] = Level.layer,
    format: Annotated[Format, typer.Option(help="How to show the table.")] = Format.terminal,
    output: Output = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show print(model) and model.summary() side by side.")] = False,
    weights: Weights = None,
    second_weights: SecondWeights = None,
) -> None:
    """Put a network's layers side by side: the table, PyTorch and Keras; or any two models. Exit code 1 if they differ.

    A model is FILE.py:NAME or package.module:NAME (a class, a function or a model, with arguments like
    :Net(classes=10); your own code runs with your rights), a .keras or .pt2 file, or a network of the catalog.
    """
    if other is not None:
        _check_for_two(num_classes=num_classes)
        sizes = {"input_size": input_size, "in_channels": in_channels}
        files = (weights, second_weights)
        show_pair(name, other, by=by.value, form=format.value, output=output, raw=raw, weights=files, **sizes)
        return
    _check_for_one(weights=weights, second_weights=second_weights)
    from shared.base.files import check_writable
    from shared.networks.catalog import get_spec
    from shared.twins import comparison as comparing
    from shared.twins.printouts import raw_columns

    changed = overrides(input_size=input_size, num_classes=num_classes, in_channels=in_channels)
    if output is not None:
        check_writable(output)
    if raw:
        emit(raw_columns(get_spec(name, **changed)), output)
        return
    found = comparing.compare(name, by=by.value, **changed)
    show_views(found, format.value, output, "Why other sources give other totals for this network:")
    if not found.equal:
        raise typer.Exit(1)


def _tolerance(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}"


@app.command(rich_help_panel=LOOK)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; ResNet-18 by default.", autocompletion=networks)
    ] = None,
    all_networks: Annotated[bool, typer.Option("--all", help="Every network of the catalog.")] = False,
    dtype: Annotated[Dtype | None, typer.Option(help="Only this one; both by default.", show_default=False)] = None,
    device: Where = "cpu",
) -> None:
    """Measure how equal the twins are: shapes, logits, gradients, training steps. Exit code 1 on a miss."""
    from shared.backends import BACKENDS, check_installed, load_backend
    from shared.networks.catalog import SPECS, get_spec

    if all_networks and names:
        raise InputError("--all and names exclude each other; give one of them")
    specs = [get_spec(name) for name in (SPECS if all_networks else names or ["resnet18"])]
    check_installed(*BACKENDS)
    for framework in BACKENDS:
        load_backend(framework, device=device)  # an absent device is said before the first line of the table
    dtypes = [dtype.value] if dtype else [entry.value for entry in reversed(Dtype)]
    screen = console()
    screen.print("Same weights and images in PyTorch and Keras; relative differences.\n")
    checks = [check for spec in specs for each in dtypes for check in _verify_one(screen, spec, each, device)]
    if len(specs) > 1:
        _show_worst(screen, checks)
    missed = [check for check in checks if not check.passed]
    if missed:
        first = missed[0]
        screen.print(
            f"[bold red]✗[/] {len(missed)} of {len(checks)} checks missed; the first: {first.network}, {first.dtype}, "
            f"{first.what}: {first.measured:.1e}, allowed {first.tolerance:.0e}"
        )
        raise typer.Exit(1)
    screen.print(f"[green]✓[/] all {len(checks)} checks of {len(specs)} network{'s' * (len(specs) > 1)} passed")


def _mark(passed: bool) -> str:
    return "[green]✓[/]" if passed else "[bold red]✗[/]"


def _verify_one(screen: Console, spec: ResNetSpec, dtype: str, device: str) -> list[Check]:
    """Verify a network in one dtype, and print what was measured."""
    from rich.table import Table

    from shared.twins.verification import verify as measure

    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify, no_wrap=True)
    screen.print(f"[bold]{spec.name}[/] {dtype}")
    checks = list(measure(spec, dtype, device=device))
    for check in checks:
        measured = f"{check.measured:.0f}" if check.tolerance == 0 else f"{check.measured:.1e}"
        table.add_row(f"  {check.what}", measured, f"allowed {_tolerance(check.tolerance)}", _mark(check.passed))
    screen.print(table)
    return checks


def _show_worst(screen: Console, checks: list[Check]) -> None:
    """Print, for each kind of check, the network in which it came out worst."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title="The worst of all networks")
    for heading in ("check", "dtype", "worst", "in network", "allowed there", ""):
        table.add_column(heading, justify="right" if heading == "worst" else "left", no_wrap=True)
    for what, dtype in dict.fromkeys((check.what, check.dtype) for check in checks):
        alike = [check for check in checks if (check.what, check.dtype) == (what, dtype)]
        worst = max(alike, key=lambda check: (not check.passed, check.measured / (check.tolerance or 1)))
        allowed = _tolerance(worst.tolerance)
        table.add_row(what, dtype, f"{worst.measured:.1e}", worst.network, allowed, _mark(worst.passed))
    screen.print(table)


@app.command(rich_help_panel=LOOK)
def microscope(
    name: Mine,
    other: Other = None,
    input_size: InputSize = None,
    num_classes: NumClasses = None,
    in_channels: InChannels = None,
    dtype: Annotated[Dtype, typer.Option(help="Floating-point numbers to compute in.")] = Dtype.float64,
    seed: Annotated[int, typer.Option(help="Seed of the weights and images.")] = 0,
    as_they_are: Annotated[
        bool, typer.Option("--as-they-are", help="Compare two models with the weights that they have.")
    ] = False,
    device: Where = "cpu",
    format: Annotated[Format, typer.Option(help="How to show what was seen of two models.")] = Format.terminal,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the errors into this PNG, SVG or PDF file.")
    ] = None,
    weights: Weights = None,
    second_weights: SecondWeights = None,
) -> None:
    """Look at every layer of both twins, or of any two models: the relative error, the first that parts, why.

    Two models are named as `compare` takes them. The second is lent the first one's weights meanwhile. With --format,
    and an --output of another ending, it is written as text, and not drawn.
    """
    if other is not None:
        _check_for_two(num_classes=num_classes)
        show_parting(
            name,
            other,
            form=format.value,
            output=output,
            weights=(weights, second_weights),
            input_size=input_size,
            in_channels=in_channels,
            as_they_are=as_they_are,
        )
        return
    _check_for_one(weights=weights, second_weights=second_weights)
    if as_they_are or format is not Format.terminal:
        raise InputError("--as-they-are and --format are for two models; name a second one")
    sizes = {"input_size": input_size, **overrides(num_classes=num_classes, in_channels=in_channels)}
    _show_twins(name, output, dtype=dtype.value, seed=seed, device=device, **sizes)


def _show_twins(name: str, output: Path | None, *, seed: int, **options: Any) -> None:
    """Show every layer of both twins of the catalog; ends with exit code 1 if they part."""
    from shared.base.checks import check_seed
    from shared.base.figures import check_matplotlib
    from shared.base.files import check_writable
    from shared.twins.microscopy import microscope as look

    check_seed(seed)
    if output is not None and output.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--output is {str(output)!r}; the ending says the format: .png, .svg or .pdf")
    if output is not None:
        check_writable(output)
        check_matplotlib()
    seen = look(name, seed=seed, **options)
    screen = console()
    screen.print(seen.to_rich())
    screen.print(f"[bold]{escape(seen.verdict)}[/]")
    if output is not None:
        seen.plot(output)
        say(f"wrote {printable(output)}", error=True)
    if not seen.equal:
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK)
def convert(
    source: Annotated[Path, typer.Argument(help="Weights: .pth .pt .th .tar .bin .safetensors .keras .weights.h5 .h5")],
    target: Annotated[Path, typer.Argument(help="To write: .safetensors, .pth, .keras or .weights.h5")],
    model: Annotated[
        str | None,
        typer.Option(help="Which network it is; recognised from the shapes by default.", autocompletion=networks),
    ] = None,
) -> None:
    """Convert weights between PyTorch, Keras and safetensors files."""
    from shared.checkpoints.conversion import convert as convert_file
    from shared.networks.table import count_parameters

    spec, others = convert_file(source, target, model)
    name = printable(spec.name)
    say(f"wrote {printable(target)}: {name}, {count_parameters(spec):,} parameters, {spec.num_classes} classes")
    if others:
        say(f"the same shapes also fit {', '.join(others)}; if it is one of those, name it with --model", error=True)

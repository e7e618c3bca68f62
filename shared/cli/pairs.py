"""What the command does with two models of the user's: `compare`, `microscope` and `port`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.cli.app import LOOK, app, console, emit, networks, say

if TYPE_CHECKING:
    from shared.twins.parting import Parting

#: How a model is named, for the help of each command that takes two.
NAMED = (
    "FILE.py:NAME or package.module:NAME (a class, a function or a model; it runs with your rights), a .keras or .pt2 "
    "file, or a network of the catalog"
)
First = Annotated[str, typer.Argument(metavar="FIRST", help=f"{NAMED}.", autocompletion=networks)]
Second = Annotated[str, typer.Argument(metavar="SECOND", help="Likewise.", autocompletion=networks)]
WeightsOf = Annotated[Path | None, typer.Option(help="A file of weights for this side.", show_default=False)]
#: Lines of layers around the first that parts.
AROUND = 6


def open_both(first: str, second: str, weights: tuple[Path | None, Path | None] = (None, None)) -> tuple[Any, Any]:
    """Return both models, which are opened before anything is computed."""
    from shared.twins.named import open_two

    return open_two(first, second, weights=weights)


def show_pair(
    first: str, second: str, form: str, output: Path | None, *, input_size: int | None, in_channels: int | None
) -> None:
    """Show two models side by side; ends with exit code 1 if they differ."""
    from shared.twins.pair import compare_pair

    found = compare_pair(*open_both(first, second), input_size=input_size, in_channels=in_channels)
    if form == "terminal" and output is None:
        screen = console()
        screen.print(found.to_rich(screen.width))
        screen.print(f"[bold]{escape(found.verdict)}[/]")
        for reason in found.reasons:
            screen.print(f"  • {escape(reason)}")
    else:
        render = {
            "terminal": found.to_text,
            "markdown": found.to_markdown,
            "html": found.to_html,
            "json": found.to_json,
            "csv": found.to_csv,
        }
        emit(render[form](), output)
    if not found.equal:
        raise typer.Exit(1)


def show_parting(first: str, second: str, *, input_size: int | None, as_they_are: bool) -> None:
    """Show where two models part; ends with exit code 1 if they do."""
    from shared.twins.parting import find_parting

    seen = find_parting(*open_both(first, second), input_size=input_size, as_they_are=as_they_are)
    _print_layers(seen)
    if not seen.equal:
        raise typer.Exit(1)


def _print_layers(seen: Parting) -> None:
    """Print the layers around the first that parts, or the last ones, and the verdict."""
    from rich import box
    from rich.table import Table

    parted = seen.first
    at = seen.layers.index(parted) if parted else len(seen.layers) - 1
    shown = seen.layers[max(0, at - AROUND) : at + AROUND + 1]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("first", "second", "kind", "error", "float32 costs", ""):
        table.add_column(heading, justify="right" if heading in ("error", "float32 costs") else "left", overflow="fold")
    for layer in shown:
        names = (escape(printable(layer.name)), escape(printable(layer.other)))
        mark = f"{CROSS} the first that parts" if layer is parted else CROSS if layer.parts else TICK
        numbers = (f"{layer.error:.0e}", f"{layer.noise:.0e}")
        table.add_row(*names, layer.kind, *numbers, mark, style="bold" if layer is parted else None)
    screen = console()
    if len(shown) < len(seen.layers):
        screen.print(f"{len(shown)} of {len(seen.layers)} layers and operations:")
    screen.print(table)
    screen.print(f"[bold]{escape(seen.verdict)}[/]")


@app.command(rich_help_panel=LOOK)
def port(
    first: First,
    second: Second,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the second model, with the weights, here.")],
    input_size: Annotated[int | None, typer.Option(help="Height and width of the images.", show_default=False)] = None,
    weights: WeightsOf = None,
) -> None:
    """Carry the first model's weights into the second, and prove it. Exit code 1 if they are not the same function."""
    from shared.backends import framework_of, load_part
    from shared.base.files import check_writable
    from shared.base.versions import twins_command
    from shared.twins.porting import port as carry_over

    check_writable(output)
    models = open_both(first, second, (weights, None))
    target = framework_of(models[1])
    if target is None:
        raise InputError(f"{printable(second)} is an exported program, whose weights cannot be replaced")
    saved = load_part(target, "saved")
    saved.check_ending(output)
    found = carry_over(*models, input_size=input_size)
    console().print(f"[bold]{escape(found.verdict)}[/]")
    if not found.equal:
        say(f"nothing was written; what shows where: {twins_command('microscope', first, second)}")
        raise typer.Exit(1)
    saved.save_model(models[1], output)
    say(f"wrote {printable(output)}")

"""What the command does with two models of the user's: `compare`, `microscope` and `port`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.cli.app import LOOK, app, console, emit, networks, say

if TYPE_CHECKING:
    from shared.twins.views import Views

#: How a model is named, for the help of each command that takes two.
NAMED = (
    "FILE.py:NAME or package.module:NAME (a class, a function or a model; it runs with your rights), a .keras or .pt2 "
    "file, or a network of the catalog"
)
First = Annotated[str, typer.Argument(metavar="FIRST", help=f"{NAMED}.", autocompletion=networks)]
Second = Annotated[str, typer.Argument(metavar="SECOND", help="Likewise.", autocompletion=networks)]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="A file of weights for the first model.", show_default=False)
]
SecondWeights = Annotated[
    Path | None, typer.Option("--second-weights", help="A file of weights for the second model.", show_default=False)
]
#: Endings of files into which the errors are drawn.
PICTURES = (".png", ".svg", ".pdf")


def open_both(first: str, second: str, weights: tuple[Path | None, Path | None] = (None, None)) -> tuple[Any, Any]:
    """Return both models, which are opened before anything is computed."""
    from shared.twins.named import open_two

    return open_two(first, second, weights=weights)


def show_pair(
    first: str,
    second: str,
    *,
    by: str = "layer",
    form: str = "terminal",
    output: Path | None = None,
    raw: bool = False,
    weights: tuple[Path | None, Path | None] = (None, None),
    **options: int | None,
) -> None:
    """Show two models side by side; ends with exit code 1 if they differ. `options` are those of `compare_pair`."""
    from shared.base.checks import check_choice
    from shared.base.files import check_writable
    from shared.twins.named import titles_of
    from shared.twins.pair import LEVELS
    from shared.twins.sight import compare_pair

    check_choice("--by, for two models,", by, LEVELS)
    if raw and (by, form) != ("layer", "terminal"):
        raise InputError("--raw shows what the frameworks print, as it is; leave --by and --format away")
    if output is not None:
        check_writable(output)
    models = open_both(first, second, weights)
    found = compare_pair(*models, titles=titles_of(first, second), **options).grouped(by)
    if raw:
        from shared.twins.printouts import raw_pair

        emit(raw_pair(found, *models), output)
        say(found.verdict, error=output is not None)
    else:
        show_views(found, form, output)
    if not found.equal:
        raise typer.Exit(1)


def show_views(found: Views, form: str, output: Path | None, why: str = "") -> None:
    """Show a comparison, in a terminal with its verdict and reasons, under the heading `why` if there is one."""
    if form != "terminal" or output is not None:
        emit(found.shown_as(form), output)
        return
    screen = console()
    screen.print(found.to_rich(screen.width))
    screen.print(f"[bold]{escape(found.verdict)}[/]")
    if why:
        screen.print(f"\n{why}")
    for line in (*found.reasons, *found.notes):
        screen.print(f"  • {escape(line)}")


def show_parting(
    first: str,
    second: str,
    *,
    form: str = "terminal",
    output: Path | None = None,
    weights: tuple[Path | None, Path | None] = (None, None),
    **options: Any,
) -> None:
    """Show where two models part; ends with exit code 1 if they do. `options` are those of `find_parting`."""
    from shared.base.figures import check_matplotlib
    from shared.base.files import check_writable
    from shared.twins.named import titles_of
    from shared.twins.parting import find_parting

    drawn = output is not None and output.suffix.lower() in PICTURES
    if output is not None:
        check_writable(output)
    if drawn:
        check_matplotlib()
    seen = find_parting(*open_both(first, second, weights), titles=titles_of(first, second), **options)
    if drawn:
        seen.plot(output)
        say(f"wrote {printable(str(output))}", error=True)
    show_views(seen, form, None if drawn else output, "Besides:" if seen.reasons or seen.notes else "")
    if not seen.equal:
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK)
def port(
    first: First,
    second: Second,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the second model, with the weights, here.")],
    input_size: Annotated[int | None, typer.Option(help="Height and width of the images.", show_default=False)] = None,
    in_channels: Annotated[int | None, typer.Option(help="Channels of the images.", show_default=False)] = None,
    weights: Weights = None,
) -> None:
    """Carry the first model's weights into the second, and prove it. Exit code 1 if they are not the same function."""
    from shared.backends import framework_of, load_part
    from shared.base.files import check_writable
    from shared.twins.named import titles_of
    from shared.twins.porting import port as carry_over

    check_writable(output)
    models = open_both(first, second, (weights, None))
    target = framework_of(models[1])
    if target is None:
        raise InputError(f"{printable(second)} is an exported program, whose weights cannot be replaced")
    saved = load_part(target, "saved")
    saved.check_ending(output)
    found = carry_over(*models, input_size=input_size, in_channels=in_channels, titles=titles_of(first, second))
    if found.parting is not None:
        show_views(found.parting, "terminal", None)
    console().print(f"[bold]{escape(found.verdict)}[/]")
    if not found.equal:
        say("nothing was written")
        raise typer.Exit(1)
    saved.save_model(models[1], output)
    say(f"wrote {printable(output)}")

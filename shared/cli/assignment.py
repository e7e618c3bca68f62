"""The subcommands of `assignment`: graded exercises for who learns alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.base.versions import shell_line, twins_command
from shared.cli.app import LEARN, app, console

assignment = typer.Typer(
    help="Graded exercises: list, start, and check your work.", no_args_is_help=True, rich_markup_mode="rich"
)
app.add_typer(assignment, name="assignment", rich_help_panel=LEARN)

NARROW = 72  # characters: below that the hints stand under the tasks


@assignment.command("list")
def list_assignments() -> None:
    """List the assignments: time, points, and the tutorials they build on."""
    from rich import box
    from rich.table import Table

    from shared.classroom.check import listing

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for heading in ("minutes", "points", "tutorials"):
        table.add_column(heading, justify="right")
    for found, points in listing():
        title = escape(found.title.split(". ", 1)[-1])
        builds_on = ", ".join(map(str, found.builds_on))
        what = f"[bold]{title}[/]\n{escape(found.about)}"
        table.add_row(found.name, what, str(found.minutes), f"{points:g}", builds_on)
    screen = console()
    screen.print(table)
    screen.print("resnet-twins assignment start NAME copies one to a folder; its number will do: start 4", markup=False)


@assignment.command()
def start(
    name: Annotated[str, typer.Argument(help="An assignment, by name or number.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where to put it.", show_default="./NAME")
    ] = None,
) -> None:
    """Copy an assignment to a folder, ready to work on."""
    from shared.classroom.check import start as copy
    from shared.classroom.form import find_release

    notebook = copy(name, folder or Path(find_release(name).name))
    typer.echo(f"wrote {notebook}")
    typer.echo(f"open it:  {shell_line(['jupyter', 'lab', str(notebook)])}")
    typer.echo(f"check it: {twins_command('assignment', 'check', notebook)}")


@assignment.command()
def check(notebook: Annotated[Path, typer.Argument(help="Your notebook.")]) -> None:
    """Run a notebook's tests and count the points, with a hint for each task that fails. Exit code 1 if one does."""
    from rich import box
    from rich.table import Table

    from shared.classroom.check import check as run

    screen = console()
    with screen.status("starting") as status:
        checked = run(notebook, status.update)
    wide = screen.width >= NARROW
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_header=wide)
    table.add_column("task", no_wrap=wide)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("")
    screen.print(f"[bold]{escape(checked.assignment.title)}[/]")
    for result in checked.results:
        if result.earned is None:
            points, hint = f"- of {result.points:g}", f"[dim]{escape(result.hint)}[/]"
        else:
            points = f"{result.earned:g} of {result.points:g}"
            hint = "[green]✓[/] passed" if result.earned == result.points else f"[yellow]✗[/] {escape(result.hint)}"
        table.add_row(result.task, points, hint)
        if not wide:
            screen.print(f"{result.task}, {points}\n  {hint}")
    if wide:
        screen.print(table)
    for note in checked.notes:
        screen.print(f"note: {escape(note)}")
    counted = [result for result in checked.results if result.earned is not None]
    earned, most = sum(r.earned or 0.0 for r in counted), sum(r.points for r in counted)
    written = sum(result.points for result in checked.results if result.earned is None)
    tail = f", and {written:g} more for written answers, which a person must mark" if written else ""
    screen.print(f"{earned:g} of {most:g} points{tail}.")
    screen.print("[dim]These are the visible tests. In a class hidden ones ask your code about other inputs, too.[/]")
    if earned < most:
        raise typer.Exit(1)

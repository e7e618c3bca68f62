"""The subcommands for graded work: `assignment` for who learns, `classroom` for who teaches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable_list
from shared.base.versions import shell_line, twins_command
from shared.cli.app import app, console

assignment = typer.Typer(
    help="Graded exercises: list, start, and check your work.", no_args_is_help=True, rich_markup_mode="rich"
)
classroom = typer.Typer(
    help="Hand out, grade and report assignments, for a teacher with a class.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(assignment, name="assignment")
app.add_typer(classroom, name="classroom")

NARROW = 72  # characters: below that the hints stand under the tasks
Names = Annotated[
    list[str] | None, typer.Argument(help="Assignments, by name or number.", show_default="all of the course")
]
CourseFolder = Annotated[
    Path | None, typer.Option("--course", help="The folder of the course.", show_default="this folder, or the clone's")
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Submissions at a time.", show_default="processor cores")
]


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


@classroom.command()
def release(names: Names = None, course: CourseFolder = None) -> None:
    """Build the notebooks with solutions, and from them the versions that students get."""
    from shared.classroom.course import open_course
    from shared.classroom.course import release as build

    opened = open_course(course)
    for made in build(opened, names, report=lambda line: typer.echo(f"note: {line}", err=True)):
        typer.echo(f"released {_near(made)}")
    typer.echo("Hand out the folders in release/. What is handed in belongs into submitted/STUDENT/NAME/NAME.ipynb")


@classroom.command()
def grade(
    names: Names = None,
    course: CourseFolder = None,
    student: Annotated[
        list[str] | None, typer.Option(help="Only this student; may come again.", show_default="all")
    ] = None,
    jobs: Jobs = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was graded and has not changed.")] = False,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Stop where students' code cannot be shut off.")
    ] = False,
) -> None:
    """Grade what was handed in, each submission in a sandbox, and enter the marks into nbgrader's gradebook."""
    from shared.classroom.course import open_course
    from shared.classroom.grade_class import grade as run
    from shared.classroom.sandbox.sandbox import why_not

    opened = open_course(course)
    _warn(why_not(), require_sandbox)
    verdicts = run(opened, names, student, jobs=jobs, again=again, report=typer.echo)
    flagged = sum(bool(verdict.failed or verdict.tampered or verdict.look) for verdict in verdicts)
    written = sum(mark.score is None and not mark.note for verdict in verdicts for mark in verdict.marks)
    waiting = f"; {written} written answers are for you to mark" if written else ""
    typer.echo(f"graded {len(verdicts)} submissions, {flagged} with something to look at{waiting}.")
    typer.echo("Next: resnet-twins classroom report; to mark written answers: jupyter lab, menu Nbgrader, Formgrader")
    lost = [verdict.student for verdict in verdicts if not verdict.entered]
    if lost:
        typer.echo(f"without marks in the gradebook: {printable_list(lost)}", err=True)
        raise typer.Exit(1)


@classroom.command()
def report(
    names: Names = None,
    course: CourseFolder = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder.", show_default="report/ in the course")
    ] = None,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Also write the pages for students, into feedback/.")
    ] = False,
) -> None:
    """Write the points as CSV, and a page with all that failed, is missing, was tampered with or needs a look."""
    from shared.classroom.course import open_course
    from shared.classroom.report import write_feedback, write_report

    opened = open_course(course)
    for path in write_report(opened, names, output or opened.folder / "report"):
        typer.echo(f"wrote {_near(path)}")
    for line in opened.misplaced():
        typer.echo(f"not graded: {line}", err=True)
    if feedback:
        pages, failed = write_feedback(opened, names)
        typer.echo(f"wrote {len(pages)} pages into {_near(opened.folder / 'feedback')}")
        for line in failed:
            typer.echo(f"no page: {line}", err=True)
        if failed:
            raise typer.Exit(1)


@classroom.command()
def selftest(
    names: Names = None,
    course: CourseFolder = None,
    jobs: Jobs = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Plant several mistakes into one submission where they cannot meet.")
    ] = False,
) -> None:
    """Prove that marks are right: solutions get all points, empty notebooks none, wrong answers lose theirs."""
    from rich import box
    from rich.table import Table

    from shared.classroom.course import open_course
    from shared.classroom.sandbox.sandbox import why_not
    from shared.classroom.selftest import selftest as run

    opened = open_course(course, ours=True)
    opened.assignments(names)  # a wrong name is said before anything else
    _warn(why_not(), False)
    trials = run(opened, names, quick=quick, jobs=jobs, report=lambda line: typer.echo(line, err=True))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading, justify in (("assignment", "left"), ("handed in", "left"), ("points", "right"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for trial in trials:
        got = sum(mark for mark in trial.got.values() if mark is not None)
        verdict = "[green]✓[/] as it should be" if trial.passed else f"[red]✗[/] {escape('; '.join(trial.problems))}"
        table.add_row(trial.assignment, escape(trial.name), f"{got:g} of {trial.most:g}", verdict)
    console().print(table)
    failed = sum(not trial.passed for trial in trials)
    typer.echo(f"{len(trials) - failed} of {len(trials)} submissions got exactly the marks they should.")
    if failed:
        raise typer.Exit(1)


def _warn(reason: str, required: bool) -> None:
    if reason and required:
        raise InputError(f"no sandbox: {reason}")
    if reason:
        print(f"WARNING, no sandbox: {reason}: the network, your files, the gradebook.", file=sys.stderr)
        print("Grade on Linux with bubblewrap, or as a user who has nothing to lose.", file=sys.stderr)


def _near(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

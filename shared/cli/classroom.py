"""The subcommands of `classroom`: a teacher hands out, grades and reports assignments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable_list
from shared.cli.app import TEACH, app, console

classroom = typer.Typer(
    help="Hand out, grade and report assignments, for a teacher with a class.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(classroom, name="classroom", rich_help_panel=TEACH)

Names = Annotated[
    list[str] | None, typer.Argument(help="Assignments, by name or number.", show_default="all of the course")
]
CourseFolder = Annotated[
    Path | None, typer.Option("--course", help="The folder of the course.", show_default="this folder, or the clone's")
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Submissions at a time.", show_default="processor cores")
]


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
    from shared.classroom.sandbox.bubblewrap import why_not

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
    from shared.classroom.sandbox.bubblewrap import why_not
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

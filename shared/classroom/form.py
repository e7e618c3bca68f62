"""The form of an assignment: from a folder of plain text to a notebook, and from a submission back to its answers.

An assignment is a folder with `assignment.toml` (what it is), `notebook.py` (text, solutions and visible tests, in
jupytext's `py:percent` form), `hidden.py` (the hidden tests, in the same form), `wrong.py` (wrong answers that
`selftest` plants) and `teacher.md`. The marks on a cell say what it is for; `nbgrader_cell` turns them into what
nbgrader knows:

    # %% answer="output_size"                     the student writes it; solutions between the usual marks
    # %% starts="output_size"                     what the cell of that answer holds at first, instead of a stub
    # %% test="output_size" points=3              visible tests; in hidden.py, those hidden behind them
    # %% [markdown] written="curve" points=2      answered in prose, marked by a person
    # %%                                          everything else can be read and run, not changed
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.classroom.submission import BEGIN, END, Cell, split_hidden

BUILT = Path(__file__).parents[2] / "tutorials" / "assignments" / "release"
SHIPPED = Path(__file__).parents[1] / "assets" / "assignments"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What `assignment.toml` says. `hides` names packages that are out of sight while students' code is graded."""

    name: str
    title: str
    about: str
    minutes: int
    builds_on: tuple[int, ...]
    goals: tuple[str, ...]
    hides: tuple[str, ...] = ()
    seconds: int = 120
    gigabytes: float = 4.0


def read_assignment(folder: Path) -> Assignment:
    """Read `assignment.toml`.

    Raises `InputError` if it is missing or has an unknown or missing field.
    """
    path = folder / "assignment.toml"
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        fields |= {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        return Assignment(name=folder.name, **fields)
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InputError(f"{path} does not describe an assignment: {error}") from error


def nbgrader_cell(cell: Cell, number: int, starts: dict[str, str]) -> Cell:
    """One cell of the source notebook, from a cell whose metadata are the marks of `notebook.py`."""
    marks = cell["metadata"]
    kind = next((mark for mark in ("answer", "test", "written") if mark in marks), None)
    identity = f"cell-{number:02d}" if kind is None else f"test_{marks['test']}" if kind == "test" else marks[kind]
    nbgrader: dict[str, Any] = {
        "grade": kind in ("test", "written"),
        "grade_id": identity,
        "locked": kind in (None, "test"),
        "schema_version": 3,
        "solution": kind in ("answer", "written"),
        "task": False,
    }
    if nbgrader["grade"]:
        nbgrader["points"] = marks["points"]
    metadata: dict[str, Any] = {"nbgrader": nbgrader}
    if kind == "answer" and marks["answer"] in starts:
        metadata["starts"] = starts[marks["answer"]]
    made: Cell = {"cell_type": cell["cell_type"], "id": identity, "metadata": metadata, "source": cell["source"]}
    if cell["cell_type"] == "code":
        made |= {"execution_count": None, "outputs": []}
    return made


def opening(assignment: Assignment, tasks: list[tuple[str, float]]) -> str:
    """The first cell: title, goals, time, what it builds on, and the points of each task."""
    tutorials = _listed([str(number) for number in assignment.builds_on])
    lines = [
        f"# {assignment.title}",
        "",
        f"*{assignment.about}*",
        "",
        "**After this assignment you can**",
        "",
        *(f"- {goal}" + (";" if goal != assignment.goals[-1] else ".") for goal in assignment.goals),
        "",
        f"**Time:** about {assignment.minutes} minutes. "
        f"**Builds on:** tutorial{'s' if len(assignment.builds_on) > 1 else ''} {tutorials}.",
        "",
        "| task | points |",
        "| --- | ---: |",
        *(f"| {name} | {points:g} |" for name, points in tasks),
        f"| **together** | **{sum(points for _, points in tasks):g}** |",
        "",
        "Write only into the cells that say so; the others are put back before grading. Run the cell of tests after "
        "each answer: a test that fails says what to look at. `resnet-twins assignment check` runs them all and counts "
        "your points. Your teacher's grading asks your code about other inputs as well.",
    ]
    if assignment.hides:
        lines += [
            "",
            f"While your work is graded, {_listed(assignment.hides)} cannot be imported: write it yourself."
            + (" (The first ones are what resnet-twins consists of.)" if "shared" in assignment.hides[:1] else ""),
        ]
    return "\n".join(lines)


def _listed(words: Sequence[str]) -> str:
    """Words as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _read_cells(path: Path) -> list[Cell]:
    """The cells of a program in jupytext's `py:percent` form."""
    import jupytext

    cells: list[Cell] = json.loads(jupytext.writes(jupytext.read(path), fmt="ipynb"))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
    return cells


def _with_hidden_tests(cells: list[Cell], path: Path) -> list[Cell]:
    """The cells with the hidden tests of `path`, if there is such a file, behind the visible ones of the same name.

    Raises `InputError` for a name that no test has, or that has two cells.
    """
    if not path.exists():
        return cells
    by_name = {cell["metadata"]["test"]: cell for cell in cells if "test" in cell["metadata"]}
    for hidden in _read_cells(path):
        if hidden["metadata"].get("test") is None:
            continue  # the line that says what the file is for
        cell = by_name.pop(hidden["metadata"]["test"], None)
        if cell is None:
            raise InputError(f"{path}: there is no test {hidden['metadata']['test']!r}, or it stands there twice")
        cell["source"] = "\n".join([cell["source"], BEGIN, hidden["source"], END])
    return cells


def build_source(folder: Path) -> Cell:
    """The source notebook of the assignment in `folder`, as plain data; needs jupytext.

    Raises `InputError` where the marks of the cells make no sense.
    """
    assignment = read_assignment(folder)
    cells = _with_hidden_tests(_read_cells(folder / "notebook.py"), folder / "hidden.py")
    starts = {cell["metadata"]["starts"]: cell["source"] for cell in cells if "starts" in cell["metadata"]}
    cells = [cell for cell in cells if "starts" not in cell["metadata"]]
    marked = [(cell["metadata"].get("test") or cell["metadata"].get("written"), cell) for cell in cells]
    tasks = [(name, float(cell["metadata"].get("points", 0))) for name, cell in marked if name]
    first = {"cell_type": "markdown", "metadata": {}, "source": opening(assignment, tasks)}
    made = [nbgrader_cell(cell, number, starts) for number, cell in enumerate([first, *cells])]
    identities = [cell["id"] for cell in made]
    answers = {cell["metadata"].get("answer") for cell in cells}
    problems = [
        *(f"{name} stands for two cells" for name in sorted({i for i in identities if identities.count(i) > 1})),
        *(f"starts={name!r} belongs to no answer" for name in sorted(starts.keys() - answers)),
        *(f"{name} has no points" for name, points in tasks if points <= 0),
        *(
            f"the test {name} has no hidden tests"
            for name, cell in marked
            if cell["metadata"].get("test") and not split_hidden(cell["source"])[1]
        ),
        *(
            f"{cell['source'].splitlines()[0][:60]!r} begins a cell with hidden tests, whose marks cannot be read"
            for name, cell in marked
            if not name and split_hidden(cell["source"])[1]
        ),
    ]
    if problems:
        raise InputError(f"{folder / 'notebook.py'}: {'; '.join(problems)}")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def is_called(assignment: str, name: str) -> bool:
    """Whether `name` stands for the assignment: a3_row_to_network, a3 or 3, perhaps with the "/" that shells add."""
    short = assignment.split("_")[0]
    return name.rstrip("/") in (assignment, short, short.lstrip("a"))


def find_release(name: str) -> Path:
    """The folder with the student version of an assignment; its number will do for a name.

    Raises `InputError` for an unknown one, with the names there are.
    """
    folders = release_folders()
    for folder in folders:
        if is_called(folder.name, name):
            return folder
    raise InputError(f"there is no assignment {name!r}; there are {', '.join(folder.name for folder in folders)}")


def release_folders() -> list[Path]:
    """The folders of all assignments in their student version: of the clone, or as they come with the package."""
    root = BUILT if BUILT.is_dir() else SHIPPED
    return sorted(folder for folder in root.glob("*") if (folder / f"{folder.name}.ipynb").exists())

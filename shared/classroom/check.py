"""The way of a self-learner, without a teacher and without nbgrader: list, start and check an assignment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.base.errors import InputError, MissingPackageError
from shared.base.versions import install_command, is_installed
from shared.classroom.form import Assignment, find_release, read_assignment, release_folders
from shared.classroom.rerun import CellDiedError, rerun
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox
from shared.classroom.submission import Cell, find_tasks, identity, merge, read_notebook

NOT_WRITTEN = "NotImplementedError"
PATIENCE = 2  # times the time that grading gives: a laptop may be slow


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one task: `earned` is None for a written answer, which only a person can mark."""

    task: str
    points: float
    earned: float | None
    hint: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A checked notebook; `notes` is what else its owner should know."""

    assignment: Assignment
    results: list[Result]
    notes: list[str]


def listing() -> list[tuple[Assignment, float]]:
    """All assignments with their points."""
    found = []
    for folder in release_folders():
        tasks = find_tasks(read_notebook(folder / f"{folder.name}.ipynb"))
        found.append((read_assignment(folder), sum(task.points for task in tasks)))
    return found


def start(name: str, folder: Path) -> Path:
    """Copies an assignment as students get it to `folder`, made if need be; returns the notebook.

    Raises `InputError` for an unknown assignment, and where `folder` already holds that notebook.
    """
    release = find_release(name)
    target = folder / f"{release.name}.ipynb"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose another folder")
    for path in release.rglob("*"):
        there = folder / path.relative_to(release)
        if path.is_file() and there.exists():
            raise InputError(f"{there} is there already and may hold your work; choose another folder")
    try:
        shutil.copytree(release, folder, dirs_exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return target


def check(path: Path, progress: Callable[[str], None] = lambda text: None) -> Checked:
    """Runs a notebook with the visible tests as they were handed out, and says what each task earned.

    `progress` is told what runs.

    Raises `InputError` for a file that is no notebook of an assignment, `MissingPackageError` without Jupyter.
    """
    for module in ("IPython", "psutil"):
        if not is_installed(module):
            raise MissingPackageError(f"checking needs IPython and psutil: {install_command('check')}")
    notebook = read_notebook(path)
    release = _release_of(notebook, path)
    handed_out = read_notebook(release / f"{release.name}.ipynb")
    merged, changed = merge(handed_out, handed_out, notebook)
    assignment = read_assignment(release)
    beside = {file.name for file in release.iterdir()} - {"assignment.toml", f"{release.name}.ipynb"}
    missing = sorted(name for name in beside if not (path.parent / name).exists())
    notes = [f"{finding}, or is of an earlier version; checked as it is handed out now" for finding in changed]
    notes += [f"{name} of the assignment is not beside your notebook" for name in missing]
    for module in assignment.hides:
        if any(module in cell["source"] for cell in merged["cells"] if _is_own(cell)):
            notes.append(f"your code mentions {module}, which a teacher's grading cannot import")
    errors, stopped = _run(merged, assignment, path.resolve().parent, progress)
    notes += stopped
    results = []
    for task in find_tasks(handed_out):
        if task.written:
            written = _source(merged, task.name) not in ("", _source(handed_out, task.name))
            hint = "to be read by a person" if written else "not written yet"
            results.append(Result(task=task.name, points=task.points, earned=None, hint=hint))
        else:
            error = errors.get(task.name, "")
            name = task.name.removeprefix("test_")
            earned = 0.0 if error else task.points
            results.append(Result(task=name, points=task.points, earned=earned, hint=_hint(error)))
    return Checked(assignment=assignment, results=results, notes=notes)


def _release_of(notebook: Cell, path: Path) -> Path:
    """The assignment whose graded cells the notebook holds."""
    own = {name for cell in notebook["cells"] if (name := identity(cell))}
    best, most = None, 0
    for folder in release_folders():
        tasks = {task.name for task in find_tasks(read_notebook(folder / f"{folder.name}.ipynb"))}
        if len(tasks & own) > most:
            best, most = folder, len(tasks & own)
    if best is None:
        raise InputError(
            f"{path} holds no graded cells of an assignment; get one with resnet-twins assignment start NAME"
        )
    return best


def _run(
    merged: Cell, assignment: Assignment, folder: Path, progress: Callable[[str], None]
) -> tuple[dict[str, str], list[str]]:
    """Runs all cells; the error of each test cell, and notes on cells that ended the run or were given and fail."""
    deadly: dict[int, str] = {}
    errors: dict[str, str] = {}

    def run() -> None:
        errors.clear()
        _pass(merged, assignment, folder, progress, deadly, errors)

    for _ in rerun(run, deadly):
        pass
    for cell in merged["cells"]:
        if cell["id"].startswith("test_"):
            errors.setdefault(cell["id"], "not reached")
    ended = {merged["cells"][number]["id"].removeprefix("test_"): why for number, why in deadly.items()}
    notes = [f"the cell {name} ended the run: your code {why}" for name, why in ended.items()]
    given = next((name for name in errors if not name.startswith("test_")), None)
    if given is not None:  # whatever fails behind it may be no fault of the student's
        notes.append(f"the cell {given}, which was given to you, stops with {errors[given]}")
    return errors, notes


def _pass(
    merged: Cell,
    assignment: Assignment,
    folder: Path,
    progress: Callable[[str], None],
    deadly: dict[int, str],
    errors: dict[str, str],
) -> None:
    """One run through the notebook without the cells in `deadly`. What was found before a cell ends it stays found."""
    seconds = float(assignment.seconds * PATIENCE)
    limits = Limits(cell_seconds=seconds / 2, seconds=seconds, gigabytes=4 * assignment.gigabytes)
    failed = ""  # the last answer that could not even be run
    with Sandbox(limits, own=folder) as process:
        for number, cell in enumerate(merged["cells"]):
            if cell["cell_type"] != "code":
                continue
            name = cell["id"]
            progress(f"running {name.removeprefix('test_')} (at most {limits.cell_seconds:g} seconds)")
            error = f"your code {deadly[number]}" if number in deadly else _error_of(process, number, cell)
            if name.startswith("test_"):
                errors[name] = failed if failed and "NameError" in error else error
                failed = ""
            elif error and _is_own(cell) and NOT_WRITTEN not in error:
                failed = f"the cell of {name} stops with {error}"
            elif error and NOT_WRITTEN not in error and number not in deadly:
                errors[name] = error


def _error_of(process: Sandbox, number: int, cell: Cell) -> str:
    """Runs a cell; how it stopped, empty if it came to its end. Raises `CellDiedError` if it ended the process."""
    try:
        return process.run_cell(cell["source"])["error"] or ""
    except DiedError as died:
        raise CellDiedError(number, str(died)) from None


def _is_own(cell: Cell) -> bool:
    nbgrader = cell["metadata"].get("nbgrader")
    return nbgrader is None or bool(nbgrader["solution"])


def _source(notebook: Cell, name: str) -> str:
    return next(str(cell["source"]).strip() for cell in notebook["cells"] if cell["id"] == name)


def _hint(error: str) -> str:
    if error.startswith(NOT_WRITTEN):
        return "not written yet"
    return error.removeprefix("AssertionError: ")

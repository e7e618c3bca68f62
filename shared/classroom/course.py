"""A course: assignments handed out, collected and graded through nbgrader, in the folder where its files lie.

aN_name/        an assignment: assignment.toml, notebook.py, wrong.py, teacher.md, files/
source/         built: notebooks with solutions and hidden tests (nbgrader's source)
release/        built: what students get
submitted/      submitted/STUDENT/aN_name/aN_name.ipynb, put there by the teacher
verdicts/       what became of each submission
autograded/     nbgrader's graded notebooks; feedback/ the pages for students; gradebook.db the marks
students.csv    the class (a column `id`), so that missing submissions are noticed
times.csv       when work was handed in (columns `id`, `assignment`, `time`), for penalties on late work
seed.txt        a part of what decides the inputs of hidden tests; made at random, not to be shown
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.base.errors import InputError, MissingPackageError
from shared.base.files import read_start, write_text
from shared.base.printable import printable
from shared.base.versions import install_command, is_installed
from shared.classroom.form import Assignment, build_source, is_called, read_assignment
from shared.classroom.grading import Verdict
from shared.classroom.submission import Cell, read_notebook
from shared.classroom.submitted import misplaced, read_class, read_times, students_in, wrong_name

CONFIG = "nbgrader_config.py"
OUR_COURSE = Path(__file__).parents[2] / "tutorials" / "assignments"
MAX_VERDICT = 100_000_000  # bytes
Report = Callable[[str], None]


@dataclass(frozen=True)
class Course:
    """The folder of a course."""

    folder: Path

    def assignments(self, names: list[str] | None = None) -> list[Assignment]:
        """The assignments with these names, or numbers; all of them for none.

        Raises `InputError` for an unknown one.
        """
        known = self.names()
        chosen = []
        for name in names or known:
            found = [assignment for assignment in known if is_called(assignment, name)]
            if not found:
                raise InputError(f"{self.folder} has no assignment {name!r}; it has {', '.join(known)}")
            chosen.append(read_assignment(self.folder / found[0]))
        return chosen

    def source(self, name: str) -> Path:
        """The notebook with solutions and hidden tests."""
        return self.folder / "source" / name / f"{name}.ipynb"

    def read_source(self, name: str) -> Cell:
        """The notebook with solutions and hidden tests, built from `notebook.py` where it does not lie there yet."""
        path = self.source(name)
        return read_notebook(path) if path.exists() else build_source(self.folder / name)

    def release(self, name: str) -> Path:
        """The folder that students get."""
        return self.folder / "release" / name

    def names(self) -> list[str]:
        """The names of all assignments."""
        return sorted(path.parent.name for path in self.folder.glob("*/assignment.toml"))

    def listed(self) -> list[str]:
        """Everyone in `students.csv`; nobody if there is none. Raises `InputError` if it cannot be read."""
        path = self.folder / "students.csv"
        return read_class(path) if path.exists() else []

    def students(self) -> list[str]:
        """Everyone in `students.csv` and everyone who submitted something.

        Raises `InputError` if `students.csv` cannot be read or has no column `id`.
        """
        return sorted({*self.listed(), *students_in(self.folder / "submitted", self.names())})

    def misplaced(self) -> list[str]:
        """A line for every notebook that was put where grading does not look."""
        return misplaced(self.folder / "submitted", self.names())

    def submission(self, assignment: str, student: str) -> Path:
        """The folder with what a student handed in."""
        return self.folder / "submitted" / student / assignment

    def has_submission(self, assignment: str, student: str) -> bool:
        """Whether something lies where a student's work belongs; a link is something, too."""
        folder = self.submission(assignment, student)
        return folder.is_symlink() or folder.is_dir()

    def times(self) -> dict[tuple[str, str], str]:
        """When work was handed in, by (assignment, student); empty without `times.csv`. Raises `InputError`."""
        path = self.folder / "times.csv"
        return read_times(path) if path.exists() else {}

    def seed(self) -> int:
        """A number that is drawn at random once for each course: with it nobody else can tell what will be asked."""
        path = self.folder / "seed.txt"
        if not path.exists():
            write_text(path, f"{secrets.randbelow(2**32)}\n")
        try:
            return int(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path} must hold one whole number; delete it to get a new one") from None

    def verdict_path(self, assignment: str, student: str) -> Path:
        """Where the verdict on a submission lies."""
        name = student
        if wrong_name(student) or len(os.fsencode(student)) > 200:
            name = f"~{hashlib.sha256(os.fsencode(student)).hexdigest()[:16]}"
        return self.folder / "verdicts" / assignment / f"{name}.json"

    def read_verdict(self, assignment: str, student: str) -> Verdict | None:
        """The last verdict on a submission, None before there is one."""
        try:
            return Verdict.from_json(read_start(self.verdict_path(assignment, student), MAX_VERDICT).decode("utf-8"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write_verdict(self, verdict: Verdict) -> None:
        """Keeps a verdict."""
        path = self.verdict_path(verdict.assignment, verdict.student)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, verdict.to_json())


def open_course(folder: Path | None, *, ours: bool = False) -> Course:
    """The course in `folder`; None stands for the one that the current folder lies in.

    Within a clone of the project, and with `ours` everywhere, it may also be the course that comes with the project.
    Raises `InputError` where there is none, `MissingPackageError` without nbgrader.
    """
    for package in ("nbgrader", "pebble"):
        if not is_installed(package):
            raise MissingPackageError(f"this needs {package}: {install_command('classroom')}")
    if folder is None:
        here = Path.cwd()
        around = [place for place in (here, *here.parents) if (place / CONFIG).exists()]
        if around:
            folder = around[0]
        elif ours and not OUR_COURSE.is_dir():
            raise InputError(
                "the sources of the course lie in a clone of the project, and not in what pip installs; go to a clone, "
                "or name a course of yours with --course"
            )
        elif ours or here.is_relative_to(OUR_COURSE.parents[1]):
            folder = OUR_COURSE
        else:
            raise InputError(
                f"{here} is no course, nor does it lie in one (no {CONFIG}); go to yours, or name it with --course"
            )
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder} is not a course: it has no {CONFIG}; copy tutorials/assignments to start one")
    return Course(folder.resolve())


@contextmanager
def nbgrader_api(course: Course, submitted: Path | None = None) -> Iterator[Any]:
    """nbgrader's programming interface for the course, with the configuration that its command line would read."""
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader(CONFIG, path=str(course.folder)).load_config()
    config.CourseDirectory.root = str(course.folder)
    if submitted is not None:
        config.CourseDirectory.submitted_directory = str(submitted)
        config.Judged.ready = True
    log = logging.getLogger("traitlets")
    before, level, path = log.propagate, log.level, os.environ.get("PATH", "")
    log.propagate = False
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + path  # nbgrader calls alembic by name
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Object of type .* not in session")  # SQLAlchemy, of nbgrader
            yield NbGraderAPI(CourseDirectory(config=config), config=config)
    finally:
        os.environ["PATH"] = path
        log.propagate = before
        log.setLevel(level)


def _must(result: dict[str, Any], what: str) -> None:
    if not result["success"]:
        raise InputError(f"nbgrader could not {what}: {reason_of(result)}")


def reason_of(result: dict[str, Any]) -> str:
    """The line of nbgrader's log that says most: the last error that was raised, else its last line."""
    text = f"{result.get('log', '')}\n{result.get('error', '')}"
    lines = [line.strip() for line in text.strip().splitlines()] or ["no reason given"]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Missing\w*)\b", line)]
    return printable(next((line for line in reversed(raised) if "NbGraderException" not in line), lines[-1]), 500)


def release(course: Course, names: list[str] | None = None, *, report: Report = lambda line: None) -> list[Path]:
    """Builds the source notebooks, and from them what students get; returns the released notebooks.

    `report` is told where students have handed in an earlier version already.

    Raises `InputError` for a source that makes no sense.
    """
    from nbformat import NO_CONVERT, from_dict, validate, writes

    made = []
    for assignment in course.assignments(names):
        folder = course.folder / assignment.name
        target = course.source(assignment.name)
        if (folder / "notebook.py").exists():
            notebook = from_dict(build_source(folder))
            validate(notebook)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "assignment.toml", target.parent / "assignment.toml")
            write_text(target, writes(notebook, NO_CONVERT) + "\n")
            if (folder / "files").is_dir():
                shutil.copytree(folder / "files", target.parent, dirs_exist_ok=True)
        released = course.release(assignment.name) / f"{assignment.name}.ipynb"
        before = released.read_bytes() if released.exists() else b""
        with nbgrader_api(course) as api:
            _must(api.generate_assignment(assignment.name), f"make the student version of {assignment.name}")
        if before != released.read_bytes() and (handed_in := submissions(course, [assignment], None)):
            report(
                f"{assignment.name} has changed, and {len(handed_in)} submissions are of the version before: cells "
                "that you changed will be reported in them as edited"
            )
        made.append(released)
    return made


def submissions(course: Course, assignments: list[Assignment], students: list[str] | None) -> list[tuple[str, str]]:
    """The (assignment, student) pairs for which something was handed in.

    Raises `InputError` for a student who handed in nothing at all.
    """
    known = course.students()
    for student in students or []:
        if student not in known:
            raise InputError(f"there is no student {student!r} in {course.folder / 'submitted'} or students.csv")
    return [
        (assignment.name, student)
        for assignment in assignments
        for student in students or known
        if course.has_submission(assignment.name, student)
    ]


def unreleased(course: Course, names: Iterable[str]) -> list[str]:
    """The assignments that are not built, or that the gradebook does not know: marks for them could not be entered."""
    known = set()
    if (course.folder / "gradebook.db").exists():
        with nbgrader_api(course) as api, api.gradebook as gradebook:
            known = {assignment.name for assignment in gradebook.assignments if assignment.notebooks}

    def is_released(name: str) -> bool:
        return (course.release(name) / f"{name}.ipynb").exists() and name in known

    return [name for name in names if not is_released(name)]

"""A course: assignments handed out, collected and graded through nbgrader, in the folder where its files lie.

aN_name/        an assignment: assignment.toml, notebook.py, wrong.py, teacher.md, files/
source/         built: notebooks with solutions and hidden tests (nbgrader's source)
release/        built: what students get
submitted/      submitted/STUDENT/aN_name/aN_name.ipynb, put there by the teacher
verdicts/       what became of each submission
autograded/     nbgrader's graded notebooks; feedback/ the pages for students; gradebook.db the marks
students.csv    the class (a column `id`), so that missing submissions are noticed
seed.txt        decides the inputs of hidden tests; made at random, not to be shown
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from shared.classroom import grading
from shared.classroom.grading import Mark, Verdict
from shared.classroom.handed_in import misplaced, read_class, students_in
from shared.classroom.notebooks import (
    Assignment,
    Cell,
    build_source,
    find_tasks,
    is_called,
    read_assignment,
    read_notebook,
)
from shared.errors import InputError, MissingPackageError
from shared.files import write_text
from shared.versions import install_command, is_installed

CONFIG = "nbgrader_config.py"
OUR_COURSE = Path(__file__).parents[2] / "tutorials" / "assignments"
NOT_ENTERED = ""  # the digest of a verdict whose marks are in no gradebook: it is made anew the next time
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

    def seed(self) -> int:
        """The number that decides the inputs of hidden tests; drawn at random once for each course."""
        path = self.folder / "seed.txt"
        if not path.exists():
            write_text(path, f"{secrets.randbelow(2**32)}\n")
        try:
            return int(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path} must hold one whole number; delete it to get a new one") from None

    def verdict_path(self, assignment: str, student: str) -> Path:
        """Where the verdict on a submission lies."""
        return self.folder / "verdicts" / assignment / f"{student}.json"

    def read_verdict(self, assignment: str, student: str) -> Verdict | None:
        """The last verdict on a submission, None before there is one."""
        path = self.verdict_path(assignment, student)
        try:
            return Verdict.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def verdict(self, assignment: str, student: str, *, again: bool = False) -> Verdict:
        """The verdict on a submission: the last one if nothing changed since, else a new one, which is kept."""
        folder = self.submission(assignment, student)
        source = read_notebook(self.source(assignment))
        known = None if again else self.read_verdict(assignment, student)
        if known is not None and known.digest == grading.digest(folder, self.seed(), source):
            return known
        found = grading.grade(
            read_assignment(self.folder / assignment),
            source,
            self.release(assignment),
            folder,
            student=student,
            seed=self.seed(),
        )
        self.write_verdict(found)
        return found

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
    if not is_installed("nbgrader"):
        raise MissingPackageError(f"this needs nbgrader: {install_command('classroom')}")
    if folder is None:
        here = Path.cwd()
        around = [place for place in (here, *here.parents) if (place / CONFIG).exists()]
        if around:
            folder = around[0]
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
        raise InputError(f"nbgrader could not {what}: {_reason(result)}")


def _reason(result: dict[str, Any]) -> str:
    """The line of nbgrader's log that says most: the last error that was raised, else its last line."""
    text = f"{result.get('log', '')}\n{result.get('error', '')}"
    lines = [line.strip() for line in text.strip().splitlines()] or ["no reason given"]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Missing\w*)\b", line)]
    return next((line for line in reversed(raised) if "NbGraderException" not in line), lines[-1])[:500]


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


def unreleased(course: Course, names: Iterable[str]) -> list[str]:
    """The assignments that are not built, or that the gradebook does not know: marks for them could not be entered."""
    known = set()
    if (course.folder / "gradebook.db").exists():
        with nbgrader_api(course) as api, api.gradebook as gradebook:
            known = {assignment.name for assignment in gradebook.assignments if assignment.notebooks}

    def is_released(name: str) -> bool:
        built = course.source(name).exists() and (course.release(name) / f"{name}.ipynb").exists()
        return built and name in known

    return [name for name in names if not is_released(name)]


def submissions(course: Course, assignments: list[Assignment], students: list[str] | None) -> list[tuple[str, str]]:
    """The (assignment, student) pairs for which something was handed in.

    Raises `InputError` for a student who handed in nothing at all, and for names that nbgrader would take for others:
    it looks for them as patterns, without the spaces around them.
    """
    known = course.students()
    for student in students or []:
        if student not in known:
            raise InputError(f"there is no student {student!r} in {course.folder / 'submitted'} or students.csv")
    pairs = [
        (assignment.name, student)
        for assignment in assignments
        for student in students or known
        if course.submission(assignment.name, student).is_dir()
    ]
    odd = sorted({student for _, student in pairs if student != student.strip() or set(student) & set("*?[]")})
    if odd:
        raise InputError(
            f"rename these folders in {course.folder / 'submitted'}: {', '.join(map(repr, odd))}; "
            "a name must not start or end with a space, nor hold any of * ? [ ]"
        )
    return pairs


def grade(
    course: Course,
    names: list[str] | None = None,
    students: list[str] | None = None,
    *,
    jobs: int | None = None,
    again: bool = False,
    report: Report = lambda line: None,
) -> list[Verdict]:
    """Grades every submission of these assignments, `jobs` at a time, and enters the marks into nbgrader's gradebook.

    What was graded and has not changed is not run again, unless `again`. `report` is told of each verdict.
    Raises `InputError` where nothing was handed in or an assignment was never released.
    """
    assignments = course.assignments(names)
    pairs = submissions(course, assignments, students)
    elsewhere = course.misplaced()
    if not pairs:
        who = " or ".join(students or ["STUDENT"])
        where = f"{course.folder / 'submitted'}/{who}/{assignments[0].name} is missing"
        raise InputError(f"nothing was handed in: {where}" + (f"; but {elsewhere[0]}" if elsewhere else ""))
    if waiting := unreleased(course, sorted({name for name, _ in pairs})):
        raise InputError(
            f"{', '.join(waiting)}: not released in this course yet; run resnet-twins classroom release "
            f"{' '.join(waiting)} (an assignment that you have not changed gives the same notebook again)"
        )
    for line in elsewhere:
        report(f"not graded: {line}")
    course.seed()
    answers = {pair: _written(course, *pair) for pair in pairs}
    verdicts = []
    for verdict in _run_all(course, pairs, jobs or os.cpu_count() or 1, again):
        report(summary(verdict))
        verdicts.append(verdict)
    verdicts.sort(key=lambda verdict: (verdict.assignment, verdict.student))
    _enter(course, verdicts, answers, report)
    return verdicts


def _written(course: Course, assignment: str, student: str) -> dict[str, str]:
    """The written answers that were graded last: task -> text."""
    verdict = course.read_verdict(assignment, student)
    return _answers(verdict) if verdict is not None else {}


def _answers(verdict: Verdict) -> dict[str, str]:
    """The texts of the cells that are answer and task in one; that of a test would say nothing of the answer."""
    marked = ((cell, cell["metadata"].get("nbgrader", {})) for cell in verdict.cells)
    return {cell["id"]: cell["source"] for cell, marks in marked if marks.get("grade") and marks.get("solution")}


def summary(verdict: Verdict) -> str:
    """One line on a verdict."""
    scores = [mark.score for mark in verdict.marks if mark.score is not None]
    points = sum(mark.points for mark in verdict.marks if mark.score is not None)
    words = [f"{verdict.student} {verdict.assignment}: {sum(scores):g} of {points:g} points by machine"]
    for name in ("failed", "tampered", "look"):
        found = getattr(verdict, name)
        if found:
            words.append(f"{name}: {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""))
    return "; ".join(words)


def _run_all(course: Course, pairs: list[tuple[str, str]], jobs: int, again: bool) -> Iterator[Verdict]:
    if jobs == 1 or len(pairs) == 1:
        for pair in pairs:
            yield _one(course.folder, *pair, again)
        return
    with ProcessPoolExecutor(min(jobs, len(pairs)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_one, course.folder, *pair, again): pair for pair in pairs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield _ungraded(course, *futures[future], "the grading process ended; grade again with --jobs 1")


def _one(folder: Path, assignment: str, student: str, again: bool) -> Verdict:
    course = Course(folder)
    try:
        return course.verdict(assignment, student, again=again)
    except Exception as error:  # a class must not wait for one submission
        return _ungraded(course, assignment, student, f"the grader failed: {type(error).__name__}: {error}")


def _ungraded(course: Course, assignment: str, student: str, why: str) -> Verdict:
    """A verdict without marks: a person must look."""
    source, handed_out = read_notebook(course.source(assignment)), course.release(assignment) / f"{assignment}.ipynb"
    verdict = Verdict(student=student, assignment=assignment, digest=NOT_ENTERED, failed=[why])
    verdict.marks = [Mark(task=task.name, points=task.points, score=None, note=why) for task in find_tasks(source)]
    verdict.cells = read_notebook(handed_out)["cells"]
    course.write_verdict(verdict)
    return verdict


def _enter(
    course: Course, verdicts: list[Verdict], answers: dict[tuple[str, str], dict[str, str]], report: Report
) -> None:
    """Enters the marks into the gradebook: nbgrader reads well-formed copies, never what was handed in.

    A mark that a person gave for a written answer stands; if the answer is not that of `answers`, it waits for them.
    """
    with tempfile.TemporaryDirectory() as place:
        for verdict in verdicts:
            folder = Path(place) / verdict.student / verdict.assignment
            folder.mkdir(parents=True)
            write_text(folder / f"{verdict.assignment}.ipynb", json.dumps(_clean(verdict)))
            stamp = course.submission(verdict.assignment, verdict.student) / "timestamp.txt"
            if stamp.is_file() and not stamp.is_symlink() and stamp.stat().st_size < 100:
                shutil.copyfile(stamp, folder / "timestamp.txt")
        with nbgrader_api(course, Path(place)) as api:
            for verdict in verdicts:
                before, now = answers[verdict.assignment, verdict.student], _answers(verdict)
                api.config.SaveMarks.unchanged = [task for task, text in now.items() if before.get(task) == text]
                result = api.autograde(verdict.assignment, verdict.student)
                if not result["success"]:
                    _write_failure(course, verdict, result, report)


def _write_failure(course: Course, verdict: Verdict, result: dict[str, Any], report: Report) -> None:
    verdict.failed.append(f"nbgrader could not enter the marks: {_reason(result)}")
    verdict.digest = NOT_ENTERED
    course.write_verdict(verdict)
    report(summary(verdict))


def _clean(verdict: Verdict) -> Cell:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": verdict.cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}

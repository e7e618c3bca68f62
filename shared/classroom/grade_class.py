"""Grades what a class has handed in, one process for each submission, and enters the marks."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import write_text
from shared.base.printable import printable, printable_list
from shared.classroom import grading
from shared.classroom.course import Course, Report, _reason, nbgrader_api, unreleased
from shared.classroom.form import Assignment
from shared.classroom.grading import Verdict
from shared.classroom.submission import Cell
from shared.classroom.submitted import wrong_name
from shared.classroom.workers import each_apart

LOCK = ".grading.lock"  # marks are entered one after the other
TO_ENTER = 300  # seconds that judging and entering a submission may take besides its runs


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

    Each submission is graded in a process that is ended when it takes too long, and its marks are entered at once:
    nobody waits for anybody else. What was graded and has not changed is not run again, unless `again`. `report` is
    told of each verdict. Raises `InputError` where nothing was handed in or an assignment was never released.
    """
    assignments = course.assignments(names)
    pairs = submissions(course, assignments, students)
    elsewhere = course.misplaced()
    if not pairs:
        who = printable_list(students or ["STUDENT"])
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
    course.times()  # a table that cannot be read is said before anything is graded
    seconds = {each.name: (grading.PATIENCE + 1) * each.seconds + TO_ENTER for each in assignments}
    tasks = [(course.folder, assignment, student, again) for assignment, student in pairs]
    limits = [seconds[assignment] for assignment, _ in pairs]
    verdicts = []
    for number, failure in each_apart(_one, tasks, limits, jobs or os.cpu_count() or 1):
        assignment, student = pairs[number]
        verdict = course.read_verdict(assignment, student)
        if failure or verdict is None:
            verdict = course.ungraded(assignment, student, failure or "the verdict cannot be read; grade again")
            course.write_verdict(verdict)
            _enter(course, verdict)
        report(summary(verdict))
        verdicts.append(verdict)
    return sorted(verdicts, key=lambda verdict: (verdict.assignment, verdict.student))


def _one(folder: Path, assignment: str, student: str, again: bool) -> None:
    """Grades one submission and enters its marks; runs in a process of its own."""
    course = Course(folder)
    verdict = course.verdict(assignment, student, again=again)
    if not verdict.entered:
        _enter(course, verdict)


def written_answers(verdict: Verdict) -> dict[str, str]:
    """The texts of the cells that are answer and task in one; that of a test would say nothing of the answer."""
    marked = ((cell, cell["metadata"].get("nbgrader", {})) for cell in verdict.cells)
    return {cell["id"]: cell["source"] for cell, marks in marked if marks.get("grade") and marks.get("solution")}


def summary(verdict: Verdict) -> str:
    """One line on a verdict."""
    scores = [mark.score for mark in verdict.marks if mark.score is not None]
    points = sum(mark.points for mark in verdict.marks if mark.score is not None)
    name = printable(verdict.student)
    words = [f"{name} {verdict.assignment}: {sum(scores):g} of {points:g} points by machine"]
    for flag in ("failed", "tampered", "look"):
        found = getattr(verdict, flag)
        if found:
            words.append(f"{flag}: {printable(found[0])}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""))
    return "; ".join(words)


def _enter(course: Course, verdict: Verdict) -> None:
    """Enters the marks into the gradebook: nbgrader reads a well-formed copy, never what was handed in.

    A mark that a person gave for a written answer stands; if the answer is another one than when marks were entered
    last, it waits for them.
    """
    from filelock import FileLock

    name = verdict.assignment
    if wrong_name(verdict.student):
        return
    with tempfile.TemporaryDirectory(prefix="resnet-twins-grading-") as place, FileLock(course.folder / LOCK):
        folder = Path(place) / verdict.student / name
        folder.mkdir(parents=True)
        write_text(folder / f"{name}.ipynb", json.dumps(_clean(verdict)))
        if time := course.times().get((name, verdict.student)):
            write_text(folder / "timestamp.txt", time)
        with nbgrader_api(course, Path(place)) as api:
            now = written_answers(verdict)
            same = [task for task, text in now.items() if verdict.before.get(task) == text]
            api.config.SaveMarks.unchanged = same
            result = api.autograde(name, verdict.student)
    if result["success"]:
        verdict.entered, verdict.before = True, now
    else:
        verdict.failed.append(f"nbgrader could not enter the marks: {_reason(result)}")
        verdict.digest = ""
    course.write_verdict(verdict)


def cells_for_nbgrader(verdict: Verdict) -> list[Cell]:
    """The cells of the notebook that ran: a student's line must not read like the mark of a hidden test."""
    cells = [dict(cell) for cell in verdict.cells]
    for cell in cells:
        marks = cell["metadata"].get("nbgrader")
        if not marks or marks.get("solution"):
            cell["source"] = cell["source"].replace("HIDDEN TESTS", "HIDDEN-TESTS")
    return cells


def _clean(verdict: Verdict) -> Cell:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = cells_for_nbgrader(verdict)
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}

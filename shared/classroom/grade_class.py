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
from shared.classroom.course import Course, Report, nbgrader_api, reason_of, submissions, unreleased
from shared.classroom.form import read_assignment
from shared.classroom.grading import Mark, Verdict
from shared.classroom.submission import Cell, find_tasks, read_notebook
from shared.classroom.submitted import wrong_name
from shared.classroom.workers import each_apart

LOCK = ".grading.lock"  # marks are entered one after the other
TO_ENTER = 300  # seconds that judging and entering a submission may take besides its runs


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
            verdict = ungraded(course, assignment, student, failure or "the verdict cannot be read; grade again")
            course.write_verdict(verdict)
            _enter(course, verdict)
        report(summary(verdict))
        verdicts.append(verdict)
    return sorted(verdicts, key=lambda verdict: (verdict.assignment, verdict.student))


def _one(folder: Path, assignment: str, student: str, again: bool) -> None:
    """Grades one submission and enters its marks; runs in a process of its own."""
    course = Course(folder)
    verdict = verdict_on(course, assignment, student, again=again)
    if not verdict.entered:
        _enter(course, verdict)


def verdict_on(course: Course, assignment: str, student: str, *, again: bool = False) -> Verdict:
    """The verdict on a submission: the last one if nothing changed since, else a new one, which is kept.

    Whatever goes wrong in a submission is a verdict, too: a person must look, and is told why.
    """
    known = course.read_verdict(assignment, student)
    try:
        if why := wrong_name(student):
            raise InputError(f"rename the folder {printable(student)} in {course.folder / 'submitted'}: {why}")
        folder, source = course.submission(assignment, student), course.read_source(assignment)
        if known and known.digest and not again and known.digest == grading.digest(folder, course.seed(), source):
            return known
        made = read_assignment(course.folder / assignment)
        found = grading.grade(made, source, course.release(assignment), folder, student=student, seed=course.seed())
    except Exception as error:
        text = str(error) if isinstance(error, InputError) else f"the grader failed: {type(error).__name__}: {error}"
        found = ungraded(course, assignment, student, text)
    found.before = written_answers(known) if known and known.entered else known.before if known else {}
    course.write_verdict(found)
    return found


def ungraded(course: Course, assignment: str, student: str, why: str) -> Verdict:
    """A verdict without marks: a person must look."""
    source = course.read_source(assignment)
    handed_out = read_notebook(course.release(assignment) / f"{assignment}.ipynb")
    verdict = Verdict(student=student, assignment=assignment, digest="", failed=[printable(why, 500)])
    verdict.marks = [
        Mark(task=task.name, points=task.points, score=None, note="" if task.written else "not graded")
        for task in find_tasks(source)
    ]
    verdict.cells = handed_out["cells"]
    return verdict


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
        verdict.failed.append(f"nbgrader could not enter the marks: {reason_of(result)}")
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

"""Grades a class of 50 that was made up: good work, half-right work, and every trick that we know of.

    python tools/classroom_trial.py                 # prints what became of each, and how long it took
    python tools/classroom_trial.py --markdown      # the same as a table for docs/classroom.md

Each trick is planted into one answer of an otherwise right notebook, so its author must lose the points of that task
or nothing, and never anybody else's. The students are in `classroom_students.py`, their tricks in
`classroom_tricks.py`. `tests/classroom/test_grading.py` grades the same class on a small course.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from shared.base.files import write_text
from shared.classroom.course import CONFIG, OUR_COURSE, Course, release
from shared.classroom.exam import exam
from shared.classroom.folders import list_files, new_place, remove_tree
from shared.classroom.grade_class import grade
from shared.classroom.grading import Verdict, run_hidden
from shared.classroom.report import Line, collect
from shared.classroom.sandbox import runner, wire
from shared.classroom.sandbox.bubblewrap import why_not
from shared.classroom.selftest import with_answers, wrong_answers
from shared.classroom.submission import find_tasks, read_notebook
from tools.classroom_students import CLASS, Handed
from tools.classroom_tricks import Notebook, find

CLASS_SIZE = 50
SECRET = "TWINS_TRIAL_SECRET"  # a variable of the person who grades
#: Points of each task; None for an answer that a person marks.
Marks = dict[str, float | None]


@dataclass(kw_only=True)
class Outcome:
    """What became of one submission."""

    handed: Handed
    line: Line
    verdict: Verdict
    expected: Marks
    problems: list[str] = field(default_factory=list)


def hand_in(course: Course, assignment: str, answer: str, handed: Handed, port: int) -> None:
    """Writes one submission."""
    source = read_notebook(course.source(assignment))
    empty = read_notebook(course.release(assignment) / f"{assignment}.ipynb")
    right = find(source, answer)["source"]
    values = {"name": answer, "right": right, "course": course.folder, "assignment": assignment, "port": port}
    values |= {"secret": SECRET, "table": asked_before(source, answer) if "{table}" in handed.code else ""}
    code = handed.code.format(**values) if handed.code else right
    notebook = with_answers(empty, source, {answer: code})
    if handed.notebook:
        handed.notebook(notebook, answer)
    folder = course.submission(assignment, handed.name)
    folder.mkdir(parents=True)
    write_text(folder / f"{assignment}.ipynb", json.dumps(notebook))
    if handed.folder:
        handed.folder(folder, assignment)


def asked_before(source: Notebook, answer: str) -> dict[str, Any]:
    """What one grading asks of the answer, and the right answers: what a student could have noted down."""
    space: dict[str, Any] = {}
    noted: dict[str, Any] = {}
    for cell in source["cells"]:
        if cell["cell_type"] == "code" and cell["metadata"]["nbgrader"]["solution"]:
            exec(cell["source"], space)

    def respond(text: str, function: str, inputs: dict[str, Any]) -> Any:
        value = wire.from_bytes(wire.to_bytes(runner.answer(space, text, function, inputs)))
        if inputs.get("function") == answer:
            noted[repr(list(inputs["arguments"]))] = value
        return value

    hidden: dict[str, Any] = {}
    for task in find_tasks(source):
        exam.begin(respond, task.name, [1])
        run_hidden(task, hidden)
    return noted


def teachers_files(course: Course) -> dict[str, str]:
    """A fingerprint of every file that grading must not change."""
    folders = [course.folder / "source", course.folder / "release", *(course.folder / "submitted").iterdir()]
    files = [file for folder in folders if not folder.is_symlink() for file in list_files(folder).files.values()]
    return {
        str(file.relative_to(course.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in [*files, course.folder / CONFIG, course.folder / "seed.txt"]
    }


def hand_in_all(course: Course, assignment: str, answer: str, port: int) -> list[tuple[Handed, Marks]]:
    """Hands in the whole class; returns what each did, and the points that must come of it.

    The wrong answers of the assignment fill the class up to 50.
    """
    source = read_notebook(course.source(assignment))
    full: Marks = {task.name: None if task.written else task.points for task in find_tasks(source)}
    found = []
    for handed in CLASS:
        if not (handed.needs_sandbox and why_not()):
            hand_in(course, assignment, answer, handed, port)
            found.append((handed, expected_marks(handed, full, answer)))
    empty = read_notebook(course.release(assignment) / f"{assignment}.ipynb")
    for wrong in wrong_answers(course.folder / assignment, source)[: max(0, CLASS_SIZE - len(found))]:
        handed = Handed(name=f"half right: {wrong.name}", what="a wrong answer")
        folder = course.submission(assignment, handed.name)
        folder.mkdir(parents=True)
        write_text(folder / f"{assignment}.ipynb", json.dumps(with_answers(empty, source, wrong.answers)))
        left: Marks = {n: None if p is None else p - wrong.loses.get(n, 0.0) for n, p in full.items()}
        found.append((handed, left))
    return found


def expected_marks(handed: Handed, full: Marks, answer: str) -> Marks:
    """The points that a trick in this answer must leave of the full ones."""
    if handed.loses_all:
        marks: Marks = dict.fromkeys(full, 0.0)
    else:
        marks = dict(full)
    if handed.name == "run_code":  # what ran before it keeps its points
        names = list(full)
        before = names[: names.index(f"test_{answer}")]
        marks |= {name: points for name, points in full.items() if name in before or points is None}
    elif not handed.keeps:
        marks[f"test_{answer}"] = 0.0
    return marks


def run_class(course: Course, assignment: str, answer: str, *, jobs: int | None = None) -> tuple[list[Outcome], float]:
    """Hands in the class and grades it in one run; returns what became of each, and the seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        found = hand_in_all(course, assignment, answer, listener.getsockname()[1])
        course.seed()
        before = teachers_files(course)
        os.environ[SECRET] = "only for the teacher"
        started = time.monotonic()
        verdicts = {verdict.student: verdict for verdict in grade(course, [assignment], jobs=jobs)}
        seconds = time.monotonic() - started
    finally:
        listener.close()
        os.environ.pop(SECRET, None)
    changed = before != teachers_files(course)
    _, lines = collect(course, course.assignments([assignment])[0])
    by_name = {line.student: line for line in lines}
    outcomes = []
    for handed, marks in found:
        name = handed.name
        outcome = Outcome(handed=handed, line=by_name[name], verdict=verdicts[name], expected=marks)
        outcome.problems = judge(outcome, changed)
        outcomes.append(outcome)
    return outcomes, seconds


def judge(outcome: Outcome, changed: bool) -> list[str]:
    """What is not as it should be."""
    problems = []
    if outcome.line.marks != outcome.expected:
        problems.append(f"marks {outcome.line.marks} instead of {outcome.expected}")
    if outcome.handed.flag and outcome.handed.flag not in outcome.line.flags:
        problems.append(f"not flagged as {outcome.handed.flag!r}")
    unexpected = set(outcome.line.flags) - {"written", outcome.handed.flag}
    if unexpected and (outcome.handed.keeps or not outcome.handed.code):
        problems.append(f"flagged for no reason: {outcome.line.flags}")
    shown = "".join(o.get("text", "") for cell in outcome.verdict.cells for o in cell.get("outputs", []))
    if any(line.startswith("SEEN") and line.strip() != "SEEN []" for line in shown.splitlines()):
        problems.append("saw what it must not see")
    if changed:
        problems.append("files of the teacher changed")
    return problems


def flags_of(outcome: Outcome) -> list[tuple[str, list[str]]]:
    """What the teacher is told, but for written answers, which wait in every submission."""
    return [(flag, reasons) for flag, reasons in outcome.line.flags.items() if flag != "written"]


def main() -> int:
    """Run the trial on the first assignment of the project."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    parser.add_argument("--assignment", default="a1_shapes_and_parameters")
    parser.add_argument("--answer", default="same_padding", help="the answer into which tricks are planted")
    arguments = parser.parse_args()
    place = new_place()
    try:
        course = Course(place.resolve())
        shutil.copyfile(OUR_COURSE / CONFIG, course.folder / CONFIG)
        shutil.copytree(OUR_COURSE / arguments.assignment, course.folder / arguments.assignment)
        release(course, [arguments.assignment])
        outcomes, seconds = run_class(course, arguments.assignment, arguments.answer)
    finally:
        remove_tree(place)
    if arguments.markdown:
        print("| student | what was handed in | points | told to the teacher |\n| --- | --- | ---: | --- |")
    for outcome in outcomes:
        most = sum(points for points in (mark.points for mark in outcome.verdict.marks))
        # Of what a person should look at only the reason: the line of code stands in the report.
        found = [
            (flag, reasons[0].split(": ")[0] if flag == "look" else reasons[0]) for flag, reasons in flags_of(outcome)
        ]
        flags = "; ".join(f"{flag}: {reason}" for flag, reason in found)
        cells = (outcome.handed.name, outcome.handed.what, f"{outcome.line.total:g} of {most:g}", flags)
        print(f"| {' | '.join(cells)} |" if arguments.markdown else " | ".join(cells))
        for problem in outcome.problems:
            print(f"  !! {problem}", file=sys.stderr)
    wrong = sum(bool(outcome.problems) for outcome in outcomes)
    where = f"{os.cpu_count()} processor cores, {'no sandbox' if why_not() else 'bubblewrap'}"
    print(f"\n{len(outcomes)} submissions in {seconds / 60:.1f} minutes ({where}); {wrong} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

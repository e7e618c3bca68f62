"""Proves that the marks are right: solutions get everything, the empty notebook nothing, wrong answers lose their part.

Every submission of the test goes the way of a student's: handed in to a copy of the course, run in the sandbox,
judged, and entered into a gradebook, whose marks are then compared with what they should be.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import write_text
from shared.classroom.course import CONFIG, Course, nbgrader_api, release
from shared.classroom.grade_class import grade
from shared.classroom.submission import Cell, find_tasks, read_notebook


@dataclass(frozen=True, kw_only=True)
class WrongAnswer:
    """A planted mistake: which answers it replaces, and the points that it must cost in each task."""

    name: str
    answers: dict[str, str] = field(default_factory=dict)
    loses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One submission of the test: the marks it should get and those it got, task by task.

    `visible`: what is wrong with the visible tests, which give no points in a class, but do when a learner checks.
    """

    assignment: str
    name: str
    expected: dict[str, float]
    got: dict[str, float | None]
    most: float
    visible: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        marks = ((task, self.got[task], points) for task, points in self.expected.items())
        return [f"{task}: {got} instead of {points:g}" for task, got, points in marks if got != points] + self.visible

    @property
    def passed(self) -> bool:
        """Whether all marks, and the visible tests, are as they should be."""
        return not self.problems


def wrong_answers(folder: Path, source: Cell) -> list[WrongAnswer]:
    """What `wrong.py` plants; cells with the same name belong together.

    Raises `InputError` where it names an answer or a task that the assignment does not have.
    """
    import jupytext

    path = folder / "wrong.py"
    if not path.exists():
        return []
    answers = {cell["id"] for cell in source["cells"] if cell["metadata"]["nbgrader"]["solution"]}
    tasks = {task.name: task.points for task in find_tasks(source)}
    found: dict[str, WrongAnswer] = {}
    for cell in jupytext.read(path).cells:
        marks = cell.metadata
        if "wrong" not in marks:
            continue
        wrong = found.setdefault(marks["wrong"], WrongAnswer(name=marks["wrong"]))
        loses = {f"test_{task}": float(points) for task, points in marks.get("loses", {}).items()}
        if marks.get("answer") not in answers or not loses.keys() <= tasks.keys():
            raise InputError(f"{path}: the wrong answer {wrong.name!r} names an answer or a task that does not exist")
        wrong.answers[marks["answer"]] = cell.source
        wrong.loses.update(loses)
    return list(found.values())


def combined(wrongs: list[WrongAnswer]) -> list[WrongAnswer]:
    """The same mistakes in fewer submissions: those that touch neither the same answer nor the same task, together.

    A task that a mistake touches without costing points is in its `loses` with 0.
    """
    groups: list[WrongAnswer] = []
    for wrong in wrongs:
        for number, group in enumerate(groups):
            if not (group.answers.keys() & wrong.answers.keys() or group.loses.keys() & wrong.loses.keys()):
                name = f"{group.name}, {wrong.name}"
                answers, loses = group.answers | wrong.answers, group.loses | wrong.loses
                groups[number] = WrongAnswer(name=name, answers=answers, loses=loses)
                break
        else:
            groups.append(wrong)
    return groups


def selftest(
    course: Course,
    names: list[str] | None = None,
    *,
    quick: bool = False,
    jobs: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Trial]:
    """Hands in solutions, empty notebooks and wrong answers of these assignments to a copy of the course.

    The course itself is only read. Written answers, which a person marks, are left out of the comparison. With `quick`
    several mistakes share a submission where they cannot touch each other's points.
    """
    with tempfile.TemporaryDirectory(prefix="resnet-twins-selftest-") as place:
        copied = Course(Path(place).resolve())
        shutil.copyfile(course.folder / CONFIG, copied.folder / CONFIG)
        assignments = course.assignments(names)
        expected: dict[tuple[str, str], dict[str, float]] = {}
        for assignment in assignments:
            shutil.copytree(course.folder / assignment.name, copied.folder / assignment.name)
            report(f"{assignment.name}: making the student version")
            release(copied, [assignment.name])
            source = read_notebook(copied.source(assignment.name))
            full = {task.name: task.points for task in find_tasks(source) if not task.written}
            extra = copied.folder / assignment.name / "handed_in"
            empty = read_notebook(copied.release(assignment.name) / f"{assignment.name}.ipynb")
            _hand_in(copied, assignment.name, "solution", with_answers(empty, source), extra)
            expected[assignment.name, "solution"] = full
            _hand_in(copied, assignment.name, "empty", empty, None)
            expected[assignment.name, "empty"] = dict.fromkeys(full, 0.0)
            wrongs = wrong_answers(copied.folder / assignment.name, source)
            for number, wrong in enumerate(combined(wrongs) if quick else wrongs, start=1):
                student = f"wrong {number} - {_plain(wrong.name)}"[:100].strip()
                _hand_in(copied, assignment.name, student, with_answers(empty, source, wrong.answers), extra)
                expected[assignment.name, student] = {t: p - wrong.loses.get(t, 0.0) for t, p in full.items()}
        grade(copied, [assignment.name for assignment in assignments], jobs=jobs, report=report)
        trials = []
        with nbgrader_api(copied) as api:
            for (name, student), marks in expected.items():
                got = _marks(api, name, student)
                got = {task: got.get(task) for task in marks}
                full = expected[name, "solution"]
                visible = _visible(copied, name, student, right=marks == full)
                most = sum(full.values())
                trials.append(Trial(assignment=name, name=student, expected=marks, got=got, most=most, visible=visible))
        return trials


def with_answers(release: Cell, source: Cell, other: dict[str, str] | None = None) -> Cell:
    """What a student hands in: the student version with the solutions in it, some replaced by other answers."""
    solutions = {c["id"]: c["source"] for c in source["cells"] if c["metadata"]["nbgrader"]["solution"]}
    answers = solutions | (other or {})
    changed = copy.deepcopy(release)
    for cell in changed["cells"]:
        cell["source"] = answers.get(cell["id"], cell["source"])
    return changed


def _plain(name: str) -> str:
    """A name that a folder may have and that nbgrader takes as it is."""
    return re.sub(r"[/*?\[\]]", "-", name)


def _hand_in(course: Course, assignment: str, student: str, notebook: Cell, extra: Path | None) -> None:
    folder = course.submission(assignment, student)
    folder.mkdir(parents=True)
    if extra is not None and extra.is_dir():
        shutil.copytree(extra, folder, dirs_exist_ok=True)
    write_text(folder / f"{assignment}.ipynb", json.dumps(notebook))


def _visible(course: Course, assignment: str, student: str, *, right: bool) -> list[str]:
    """What is wrong with the visible tests: they must pass on a right notebook, and fail on the empty one."""
    verdict = course.read_verdict(assignment, student)
    tested = [mark for mark in verdict.marks if mark.parts] if verdict else []
    if right:
        return [
            f"{mark.task}: the visible test stops a right answer: {mark.visible}" for mark in tested if mark.visible
        ]
    if student == "empty":
        return [f"{mark.task}: the visible test lets an empty answer pass" for mark in tested if not mark.visible]
    return []


def _marks(api: object, assignment: str, student: str) -> dict[str, float | None]:
    """The marks in the gradebook; None where a person must look."""
    with api.gradebook as gradebook:  # type: ignore[attr-defined]
        notebooks = gradebook.find_submission(assignment, student).notebooks
        return {
            grade.name: None if grade.needs_manual_grade else grade.auto_score
            for notebook in notebooks
            for grade in notebook.grades
        }

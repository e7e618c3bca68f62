"""What a teacher sees after grading: a table of points as CSV, and a page with everything that needs a look."""

from __future__ import annotations

import csv
import html
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import write_text
from shared.base.printable import MOST_NAME, printable
from shared.classroom.course import Course, nbgrader_api
from shared.classroom.form import Assignment
from shared.classroom.grade_class import TO_ENTER
from shared.classroom.grading import Verdict, digest
from shared.classroom.submission import Task, find_tasks, shortened
from shared.classroom.workers import each_apart

FLAGS = {
    "missing": "Nothing was handed in",
    "failed": "A process ended or had to be ended, or a file could not be read",
    "tampered": "Cells that are not the student's were changed; they were put back before grading",
    "look": "A person should look",
    "written": "Written answers wait for a mark",
}
MOST_REASONS = 40  # of one flag
MOST_NOTES = 10_000  # characters of one student's notes
#: The signs with which a formula begins, at the start of a cell or of what may be taken for one.
FORMULA = re.compile(r"(^|[;,|] *)([=+@\t\r＝＋＠－-])")
SHARED = ("missing", "written")  # flags whose reason many students share: the reason comes first, then the names
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; margin: .8rem 0; } th, td { padding: .25rem .6rem; border-bottom: 1px solid #ccc; }
th { text-align: left; vertical-align: bottom; }
td.s { white-space: nowrap; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.sum td { border-top: 2px solid #444; font-weight: 600; } code { font-size: .92em; }
.flag { border: 1px solid #555; border-radius: .6em; padding: 0 .5em; font-size: .82em; white-space: nowrap; }
ul { margin: .2rem 0 .8rem; } .scroll { overflow-x: auto; } caption { text-align: left; color: #555; }
"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One student and one assignment. `marks` has None where a person still has to mark."""

    student: str
    marks: dict[str, float | None]
    flags: dict[str, list[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # why points were lost, part by part
    sandboxed: bool = True

    @property
    def total(self) -> float:
        """The points there are so far."""
        return sum(mark for mark in self.marks.values() if mark is not None)


def collect(course: Course, assignment: Assignment) -> tuple[list[Task], list[Line]]:
    """The tasks of an assignment, and a line for every student of the class: marks as they are in the gradebook.

    Raises `InputError` if the assignment was never released.
    """
    if not course.release(assignment.name).exists():
        raise InputError(f"{assignment.name} was never released; run resnet-twins classroom release {assignment.name}")
    source = course.read_source(assignment.name)
    tasks, listed, seed = find_tasks(source), course.listed(), course.seed()
    lines = []
    with nbgrader_api(course) as api, api.gradebook as gradebook:
        for student in course.students():
            verdict = course.read_verdict(assignment.name, student)
            marks: dict[str, float | None] = dict.fromkeys(task.name for task in tasks)
            flags: dict[str, list[str]] = defaultdict(list)
            given = course.submission(assignment.name, student)
            if listed and student not in listed:
                flags["look"].append("not in students.csv")
            if verdict is None:
                there = course.has_submission(assignment.name, student)
                flag, reason = ("look", "not graded yet") if there else ("missing", "nothing was handed in")
                flags[flag].append(reason)
                lines.append(Line(student=student, marks=marks, flags=flags))
                continue
            if not course.has_submission(assignment.name, student):
                flags["look"].append("what was handed in is gone; these marks are still of it")
            elif verdict.digest and verdict.digest != digest(given, seed, source):
                flags["look"].append("what was handed in, or the assignment, has changed since; grade again")
            try:
                for notebook in gradebook.find_submission(assignment.name, student).notebooks:
                    for grade in notebook.grades:
                        marked = grade.manual_score is not None
                        waits = grade.needs_manual_grade and not marked
                        marks[grade.name] = None if waits else grade.score
                        if grade.needs_manual_grade and marked:
                            flags["look"].append(
                                f"{grade.name}: marked before; is the mark still right for this answer?"
                            )
            except Exception:  # nbgrader's MissingEntry, or a name that no gradebook can hold
                flags["failed"].append("the gradebook has no entry")
            lines.append(_line(student, tasks, marks, flags, verdict))
    return tasks, lines


def _line(
    student: str, tasks: list[Task], marks: dict[str, float | None], flags: dict[str, list[str]], verdict: Verdict
) -> Line:
    written = {task.name for task in tasks if task.written}
    waiting = [name for name, mark in marks.items() if mark is None]
    found = {name: [*flags.get(name, []), *getattr(verdict, name)] for name in ("failed", "tampered", "look")}
    listed = " ".join(found["look"])
    found["look"] += [f"{name} has no mark" for name in waiting if name not in written and name not in listed]
    found["written"] = [name for name in waiting if name in written]
    flags = {name: reasons for name, reasons in found.items() if reasons}
    return Line(student=student, marks=marks, flags=flags, lost=_lost(verdict), sandboxed=verdict.sandboxed)


def _lost(verdict: Verdict) -> list[str]:
    """Why points were lost, in the words of the hidden tests: for the teacher, as they quote hidden inputs."""
    found = []
    for mark in verdict.marks:
        name = mark.task.removeprefix("test_")
        for part in mark.parts:
            if part["earned"] < part["points"]:
                reason = part["reason"] or mark.note or "no reason given"
                found.append(f"{name}, {part['title']}: {part['earned']:g} of {part['points']:g}, {reason}")
        if not mark.parts and mark.score is not None and mark.score < mark.points:
            found.append(f"{name}: {mark.score:g} of {mark.points:g}" + (f", {mark.note}" if mark.note else ""))
    return found


def to_csv(assignment: Assignment, tasks: Sequence[Task], lines: Sequence[Line]) -> str:
    """One row a student: points per task (empty: a person has to mark), total, most there could be, what to look at."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [task.name.removeprefix("test_") for task in tasks]
    writer.writerow(["assignment", "student", *names, "total", "of", "flags", "notes"])
    for line in lines:
        marks = [line.marks[task.name] for task in tasks]
        notes = "; ".join(f"{flag}: {reason}" for flag in line.flags for reason in _reasons(line, flag))
        total = "" if "missing" in line.flags else f"{line.total:g}"
        cells = [for_cell(line.student), *("" if mark is None else f"{mark:g}" for mark in marks), total]
        most = f"{sum(task.points for task in tasks):g}"
        writer.writerow([assignment.name, *cells, most, " ".join(line.flags), for_cell(notes, MOST_NOTES)])
    return stream.getvalue()


def _reasons(line: Line, flag: str) -> list[str]:
    return shortened(line.flags[flag], MOST_REASONS)


def for_cell(text: str, most: int = MOST_NAME) -> str:
    """Text for a cell of a table: it only prints, is not too long, and no spreadsheet takes a part of it for a formula.

    Not even one that takes other signs than commas for the ends of cells: an apostrophe makes it text.
    """
    return FORMULA.sub(r"\1'\2", printable(text, most))


def to_page(found: Sequence[tuple[Assignment, Sequence[Task], Sequence[Line]]], elsewhere: Sequence[str] = ()) -> str:
    """The page for the teacher, complete in one file; `elsewhere` are notebooks in the wrong place."""
    parts = ["<h1>Grading report</h1>"]
    if elsewhere:
        items = "".join(f"<li>{shown(line)}</li>" for line in elsewhere)
        parts.append(f"<h2>Not graded, as they lie elsewhere ({len(elsewhere)})</h2><ul>{items}</ul>")
    if any(not line.sandboxed for _, _, lines in found for line in lines):
        parts.append("<p><strong>Some submissions ran without a sandbox</strong>, with the rights of who graded.</p>")
    for assignment, tasks, lines in found:
        parts += [
            f"<h2>{html.escape(assignment.title)}</h2>",
            _table(assignment, tasks, lines),
            *_look(lines),
            *_why(lines),
        ]
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Grading report</title>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return f"{head}{policy}<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"


def _table(assignment: Assignment, tasks: Sequence[Task], lines: Sequence[Line]) -> str:
    names = [html.escape(task.name.removeprefix("test_")).replace("_", "_<wbr>") for task in tasks]
    heads = "".join(f'<th class="n">{name}</th>' for name in names)
    rows = []
    for line in lines:
        marks = "".join(f'<td class="n">{_mark(line.marks[task.name])}</td>' for task in tasks)
        flags = " ".join(f'<span class="flag">{flag}</span>' for flag in line.flags)
        name = shown(line.student)
        total = "·" if "missing" in line.flags else f"{line.total:g}"
        rows.append(f'<tr><td class="s">{name}</td><td class="n"><b>{total}</b></td><td>{flags}</td>{marks}</tr>')
    most = "".join(f'<td class="n">{task.points:g}</td>' for task in tasks)
    together = f'<td class="n">{sum(task.points for task in tasks):g}</td>'
    rows.append(f'<tr class="sum"><td class="s">there are</td>{together}<td></td>{most}</tr>')
    means = []
    for task in tasks:
        marks_there = [mark for line in lines if (mark := line.marks[task.name]) is not None]
        mean = f"{sum(marks_there) / len(marks_there):.1f}" if marks_there else "·"
        means.append(f'<td class="n">{mean}</td>')
    graded = [line.total for line in lines if any(mark is not None for mark in line.marks.values())]
    mean = f"{sum(graded) / len(graded):.1f}" if graded else "·"
    rows.append(f'<tr><td class="s">mean</td><td class="n">{mean}</td><td></td>{"".join(means)}</tr>')
    caption = f"{len(lines)} students. A dot: no mark yet. The mean is that of all who have one."
    head = f'<tr><th>student</th><th class="n">total</th><th>look at</th>{heads}</tr>'
    table = f"<table><caption>{caption}</caption><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def shown(text: str, most: int = MOST_NAME) -> str:
    """Text for the page: it only prints, and is not too long."""
    return html.escape(printable(text, most))


def _mark(mark: float | None) -> str:
    return "·" if mark is None else f"{mark:g}"


def _look(lines: Sequence[Line]) -> list[str]:
    parts = []
    for flag, meaning in FLAGS.items():
        found = [(line.student, "; ".join(_reasons(line, flag))) for line in lines if flag in line.flags]
        count = len(found)
        if flag in SHARED:  # nearly everybody has the same one
            reasons = dict.fromkeys(reason for _, reason in found)
            found = [(reason, ", ".join(printable(n) for n, why in found if why == reason)) for reason in reasons]
        if found:
            items = "".join(f"<li><b>{shown(head)}</b>: {shown(text, MOST_NOTES)}</li>" for head, text in found)
            parts.append(f'<h3><span class="flag">{flag}</span> {meaning} ({count})</h3><ul>{items}</ul>')
    return parts


def _why(lines: Sequence[Line]) -> list[str]:
    losers = [line for line in lines if line.lost]
    if not losers:
        return []
    parts = ["<h3>Why points were lost (for you: the reasons quote hidden tests)</h3>"]
    for line in losers:
        items = "".join(f"<li>{shown(reason, MOST_NOTES)}</li>" for reason in line.lost)
        name = f"<summary><b>{shown(line.student)}</b>, parts lost: {len(line.lost)}</summary>"
        parts.append(f"<details>{name}<ul>{items}</ul></details>")
    return parts


def write_report(course: Course, names: list[str] | None, folder: Path) -> list[Path]:
    """Writes NAME.csv for these assignments, and report.html for all that have submissions; returns the files.

    Raises `InputError` if nothing was handed in, or a name is unknown.
    """
    chosen = {assignment.name for assignment in course.assignments(names)}
    students, elsewhere = course.students(), course.misplaced()
    found = []
    for assignment in course.assignments():
        given = any(course.has_submission(assignment.name, student) for student in students)
        if (given and course.release(assignment.name).exists()) or (names and assignment.name in chosen):
            found.append((assignment, *collect(course, assignment)))
    if not any(assignment.name in chosen for assignment, _, _ in found):
        but = f"; but {elsewhere[0]}" if elsewhere else ""
        raise InputError(f"there is nothing to report: {course.folder / 'submitted'} holds no submission{but}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for assignment, tasks, lines in found:
        if assignment.name in chosen:
            written.append(folder / f"{assignment.name}.csv")
            write_text(written[-1], to_csv(assignment, tasks, lines))
    written.append(folder / "report.html")
    write_text(written[-1], to_page(found, elsewhere))
    return written


def write_feedback(course: Course, names: list[str] | None) -> tuple[list[Path], list[str]]:
    """Writes a page for every graded student, feedback/STUDENT/NAME/NAME.html, without hidden tests.

    Returns the pages, and a line for each that could not be written: the others are written all the same.
    """
    graded = [
        (assignment.name, student)
        for assignment in course.assignments(names)
        for student in course.students()
        if (course.folder / "autograded" / student / assignment.name).is_dir()
    ]
    pages, failed = [], []
    tasks = [(course.folder, *pair) for pair in graded]
    for number, failure in each_apart(_write_page, tasks, [TO_ENTER] * len(tasks), 1):
        name, student = graded[number]
        page = course.folder / "feedback" / student / name / f"{name}.html"
        if failure or not page.exists():
            failed.append(f"{printable(student)}, {name}: {failure or 'nbgrader could not write it'}")
        else:
            pages.append(page)
    return sorted(pages), failed


def _write_page(folder: Path, assignment: str, student: str) -> None:
    with nbgrader_api(Course(folder)) as api:
        result = api.generate_feedback(assignment, student)
    if not result["success"]:
        raise InputError(f"nbgrader could not write the feedback of {student} for {assignment}")

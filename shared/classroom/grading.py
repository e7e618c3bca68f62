"""Marks one submission: merges it with the tests, runs it in a sandbox, asks and judges, and writes a verdict."""

from __future__ import annotations

import hashlib
import json
import linecache
import math
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from shared.base.errors import InputError
from shared.base.printable import printable, printable_list
from shared.classroom.exam import Part, StudentError, exam
from shared.classroom.folders import Listing, link_on_the_way, list_files
from shared.classroom.form import Assignment
from shared.classroom.rerun import MOST_STARTS, CellDiedError, rerun
from shared.classroom.sandbox import wire
from shared.classroom.sandbox.bubblewrap import PACKAGES, why_not
from shared.classroom.sandbox.sandbox import DiedError, Limits, Sandbox
from shared.classroom.submission import Cell, Task, find_tasks, identity, merge, read_notebook, shortened, split_hidden

PATIENCE = 3  # times the seconds of a run that all runs of a submission may take together
MAX_FILE = 50_000_000  # bytes of one file that is handed in beside the notebook
MAX_FILES = 500
MAX_TOGETHER = 500_000_000  # bytes of all of them
MAX_OUTPUT = 20_000_000  # characters of all outputs that a verdict keeps
MAX_LINE = 5000  # characters of a line of code
#: What no answer needs: a person should look at it. Words that mark it -> why.
SUSPICIOUS = {
    r"\bnbgrader\b|\bgradebook\b": "mentions the grading software",
    r"run_code|\brun_cell\b|InteractiveShell|get_ipython\(\)\s*\.\s*events": "reaches into the notebook's machinery",
    r"\bbuiltins\b|__builtins__": "reaches into Python's built-in names",
    r"def\s+__eq__|__eq__\s*=": "defines what is equal to what",
    r"os\._exit|os\.kill|\bsys\.exit|SystemExit": "ends processes",
    r"/proc\b|sys\._getframe|\bgc\.get_|inspect\.(stack|currentframe)": "looks at the process it runs in",
    r"\bset(trace|profile)\b|sys\.monitoring": "watches what other code does",
    r"shared\.classroom|hidden\s+tests|_resnet_twins": "looks for the tests",
    r"assignments?/source|\bsource/|\.\./": "looks for other files of the course",
    r"\bsubprocess\b|os\.system|\bsocket\b|urllib|requests\.": "starts programs or uses the network",
}
#: Modules whose names a file beside the notebook should not have: it would be taken for them, or they for it.
KNOWN_MODULES = {*sys.stdlib_module_names, *PACKAGES, "numpy", "torch", "tensorflow", "keras", "matplotlib", "IPython"}


@dataclass(kw_only=True)
class Mark:
    """What a task got. `score` None: no score came about, a person must look.

    `visible` is how the visible test ended, as far as the student's process can be believed; it is worth no points.
    """

    task: str
    points: float
    score: float | None
    parts: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    visible: str = ""


@dataclass(kw_only=True)
class Verdict:
    """Everything that is known about one graded submission.

    `tampered`: changes to what is not the student's; `failed`: processes that ended or had to be ended, files that
    could not be read; `look`: why a person should look. `cells` is the notebook that ran, with its outputs. `drawn`
    is the number from which the questions were drawn. `entered`: whether the marks are in the gradebook; `before` are
    the written answers that were there when marks were entered last. An empty `digest` asks for a new verdict.
    """

    student: str
    assignment: str
    digest: str
    marks: list[Mark] = field(default_factory=list)
    tampered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    look: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    seconds: float = 0.0
    gigabytes: float = 0.0
    sandboxed: bool = True
    drawn: int = 0
    entered: bool = False
    before: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The verdict as text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict that `to_json` wrote. Raises `ValueError` for anything else."""
        try:
            table = json.loads(text)
            marks = [_checked(Mark(**mark)) for mark in table["marks"]]
            verdict = _checked(cls(**(table | {"marks": marks})))
            parts = [_checked(Part(**part)) for mark in marks for part in mark.parts]
            numbers = [
                *(part.points for part in parts),
                *(n for mark in marks for n in (mark.points, mark.score or 0.0)),
            ]
            sound = all(map(math.isfinite, numbers)) and all(map(_is_cell, verdict.cells))
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"no verdict ({type(error).__name__})") from error
        if not sound:
            raise ValueError("no verdict")
        return verdict


Table = TypeVar("Table", Mark, Part, Verdict)
#: What a field of a verdict holds, by how its type is written.
KINDS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int),
    "float": lambda value: isinstance(value, int | float),
    "float | None": lambda value: value is None or isinstance(value, int | float),
    "list[str]": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "list[Mark]": lambda value: isinstance(value, list),
    "list[Cell]": lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value),
    "list[dict[str, Any]]": lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value),
    "dict[str, str]": lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
}


def _is_cell(cell: Cell) -> bool:
    metadata = cell["metadata"]
    texts = all(isinstance(cell[name], str) for name in ("id", "source", "cell_type"))
    return texts and isinstance(metadata, dict) and isinstance(metadata.get("nbgrader", {}), dict)


def _checked(table: Table) -> Table:
    """Return a mark, a part or a verdict whose fields are of the types that they have; raise `TypeError` for others."""
    for each in fields(table):
        if not KINDS[str(each.type)](getattr(table, each.name)):
            raise TypeError(each.name)
    return table


def digest(folder: Path, seed: int, source: Cell) -> str:
    """A fingerprint of all that a verdict depends on: the files handed in, the tests, the course's secret."""
    total = hashlib.sha256(json.dumps([seed, source], sort_keys=True).encode())
    listing = list_files(folder)
    total.update(json.dumps([sorted(map(printable, listing.files)), listing.left_out]).encode())
    for path in listing.files.values():
        status = path.lstat()
        if status.st_size > MAX_FILE:  # not read at all
            total.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            continue
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def grade(assignment: Assignment, source: Cell, release: Path, folder: Path, *, student: str, seed: int) -> Verdict:
    """Marks what `folder`, which is submitted/STUDENT/NAME, holds of a student's work.

    `release` is the folder of the student version: its files replace those of the same name. `seed` is the course's
    secret: from it, and a number that is drawn anew each time, come the inputs of hidden tests.
    """
    started = time.monotonic()
    handed_out = read_notebook(release / f"{assignment.name}.ipynb")
    verdict = Verdict(student=student, assignment=assignment.name, digest="", drawn=secrets.randbits(62))
    verdict.sandboxed = not why_not()
    tasks, submission, listing = find_tasks(source), None, Listing()
    try:
        if link := link_on_the_way(folder.parents[1], folder):
            raise InputError(f"{link.relative_to(folder.parents[2])} is a link, which is not followed")
        verdict.digest = digest(folder, seed, source)
        listing = list_files(folder)
        submission = read_notebook(_find_notebook(listing, assignment, verdict), follow=False)
        own = {name for cell in submission["cells"] if (name := identity(cell))}
        if not own & {task.name for task in tasks}:
            verdict.failed.append("the notebook holds none of the assignment's graded cells")
    except InputError as error:
        verdict.failed.append(str(error))
        submission = None
    merged, found = merge(source, handed_out, submission or handed_out)
    verdict.tampered += found
    files = _files(listing, release, verdict)
    if submission is None:
        verdict.marks = [Mark(task=t.name, points=t.points, score=None if t.written else 0.0) for t in tasks]
        _show(merged, {mark.task: mark for mark in verdict.marks}, {})
    else:
        verdict.look += _suspicions(merged, assignment)
        verdict.look += _like_modules(files)
        Grading(assignment, tasks, merged, files, release.parents[1], [seed, verdict.drawn], verdict).run()
    verdict.look += [f"{mark.task}: {mark.note}" for mark in verdict.marks if mark.score is None and mark.note]
    verdict.look, verdict.failed = shortened(verdict.look), shortened(verdict.failed)
    verdict.cells = merged["cells"]
    verdict.seconds = round(time.monotonic() - started, 1)
    return verdict


def _find_notebook(listing: Listing, assignment: Assignment, verdict: Verdict) -> Path:
    """The notebook that was handed in; a single one under another name will do, and is mentioned."""
    name = f"{assignment.name}.ipynb"
    if name in listing.files:
        return listing.files[name]
    if left_out := [line for line in listing.left_out if line.startswith(f"{name} ")]:
        raise InputError(left_out[0])
    others = [other for other in listing.files if other.endswith(".ipynb") and "/" not in other]
    copies = [other for other in others if other.startswith(assignment.name)]  # as browsers name downloads
    for found in (copies, others):
        if len(found) == 1:
            verdict.look.append(f"the notebook is called {printable(found[0], 80)}")
            return listing.files[found[0]]
    tops = list(dict.fromkeys(each.partition("/")[0] for each in listing.files))
    raise InputError(f"there is no {name}; handed in: {printable_list(tops, 8) or 'nothing'}")


def _files(listing: Listing, release: Path, verdict: Verdict) -> dict[str, Path]:
    """What lies beside the notebook: plain files only; the teacher's own replace others of the same name."""
    own = {path.relative_to(release).as_posix(): path for path in release.rglob("*") if path.is_file()}
    found: dict[str, Path] = {}
    size = 0
    verdict.look += [line for line in listing.left_out if line not in verdict.failed]
    if "timestamp.txt" in listing.files:
        verdict.look.append("timestamp.txt was handed in; it says nothing: the course's times.csv does")
    for name, path in listing.files.items():
        length = path.lstat().st_size
        if name.endswith(".ipynb") or name in own:
            continue
        size += length
        if length > MAX_FILE:
            verdict.look.append(f"{printable(name, 80)} has {length / 1e6:,.0f} MB; left out")
        elif size > MAX_TOGETHER or len(found) >= MAX_FILES:
            verdict.look.append(f"more than {MAX_FILES} files or {MAX_TOGETHER / 1e6:.0f} MB; the others were left out")
            break
        else:
            found[name] = path
    return found | {name: path for name, path in own.items() if not name.endswith(".ipynb")}


def _like_modules(files: dict[str, Path]) -> list[str]:
    """Files and folders beside the notebook that are called like a module of Python or of the course."""
    tops = dict.fromkeys(name.partition("/")[0] for name in files)
    alike = [
        top for top in tops if top.removesuffix(".py") in KNOWN_MODULES and (top.endswith(".py") or "." not in top)
    ]
    return [
        f"{printable(top, 80)} has the name of a module; where it is Python's own, that one was used" for top in alike
    ]


def _suspicions(merged: Cell, assignment: Assignment) -> list[str]:
    """Lines of the student's own cells that a person should look at."""
    hidden = {rf"\b{re.escape(name)}\b": f"uses {name}, which this assignment rules out" for name in assignment.hides}
    patterns = {re.compile(pattern): why for pattern, why in {**SUSPICIOUS, **hidden}.items()}
    reasons: dict[str, str] = {}
    for cell in merged["cells"]:
        nbgrader = cell["metadata"].get("nbgrader")
        if cell["cell_type"] != "code" or not (nbgrader is None or nbgrader["solution"]):
            continue
        for line in cell["source"].splitlines():
            if len(line) > MAX_LINE:
                reasons.setdefault("a very long line", f"of {len(line):,} characters, read to {MAX_LINE:,}")
            for pattern, why in patterns.items():
                if why not in reasons and pattern.search(line[:MAX_LINE]):
                    reasons[why] = printable(line.strip(), 100)
    return [f"{why}: {line}" for why, line in reasons.items()]


class Grading:
    """Two runs of a notebook: one that shows what the student may see, and one in which questions are asked.

    What a process says once it has been asked something never reaches the student: it may be what it was asked.
    """

    def __init__(
        self,
        assignment: Assignment,
        tasks: list[Task],
        merged: Cell,
        files: dict[str, Path],
        course: Path,
        seed: list[int],
        verdict: Verdict,
    ) -> None:
        self.assignment, self.tasks, self.files, self.course, self.seed = assignment, tasks, files, course, seed
        self.verdict = verdict
        self.cells: list[Cell] = merged["cells"]
        self.marks: dict[str, Mark] = {}
        self.deadly: dict[int, str] = {}  # cells that are left out, and why
        self.visible: dict[str, str] = {}  # how the visible tests ended
        self.deadline = time.monotonic() + PATIENCE * assignment.seconds
        self.room = MAX_OUTPUT

    def run(self) -> None:
        """Runs the notebook twice; where the process dies, all is run again without the cell that did it."""
        self._with_restarts(self._show_run)
        shown = dict(self.deadly)
        self._with_restarts(self._ask_run)
        for task in self.tasks:
            if task.name not in self.marks:
                note = "" if task.written else "not run"
                score = None if task.written else 0.0
                self.marks[task.name] = Mark(task=task.name, points=task.points, score=score, note=note)
            self.marks[task.name].visible = self.visible.get(task.name, "")
        self.verdict.marks = [self.marks[task.name] for task in self.tasks]
        asked = dict.fromkeys(self.deadly.keys() - shown.keys(), "did so when its task was asked about")
        _show({"cells": self.cells}, self.marks, shown | asked)

    def _with_restarts(self, run: Callable[[Sandbox], None]) -> None:
        for ended, died in enumerate(rerun(lambda: self._start(run), self.deadly), start=1):
            rest = "; the rest was not run" if ended == MOST_STARTS else ""
            self.verdict.failed.append(f"cell {printable(self.cells[died.number].get('id', ''))}: {died.why}{rest}")

    def _start(self, run: Callable[[Sandbox], None]) -> None:
        seconds = min(float(self.assignment.seconds), self.deadline - time.monotonic())
        if seconds <= 0:
            most = PATIENCE * self.assignment.seconds
            self.verdict.failed.append(f"all runs took more than {most:g} seconds; the rest was not run")
            return
        limits = Limits(cell_seconds=self.assignment.seconds / 2, seconds=seconds, gigabytes=self.assignment.gigabytes)
        try:
            with Sandbox(limits, self.assignment.hides, self.files, secret=[self.course]) as sandbox:
                try:
                    run(sandbox)
                finally:
                    self.verdict.gigabytes = max(self.verdict.gigabytes, round(sandbox.peak, 2))
        except (DiedError, wire.WireError) as error:
            self.verdict.failed.append(f"at the start: {error}")

    def _run_cell(self, sandbox: Sandbox, number: int) -> dict[str, Any]:
        """Runs a cell without its hidden tests; raises `CellDiedError` if the process ends."""
        cell = self.cells[number]
        own = "nbgrader" not in cell["metadata"] or cell["metadata"]["nbgrader"]["solution"]
        try:
            return sandbox.run_cell(cell["source"] if own else split_hidden(cell["source"])[0])
        except DiedError as error:
            raise CellDiedError(number, str(error)) from None
        except wire.WireError as error:
            self.verdict.look.append(f"cell {printable(cell['id'])}: {error}")
            return {"outputs": [], "error": None}

    def _show_run(self, sandbox: Sandbox) -> None:
        """The run that the student may see: no question is asked."""
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] != "code":
                continue
            if number in self.deadly:
                self.visible[cell["id"]] = self.deadly[number]
                continue
            reply = self._run_cell(sandbox, number)
            self.room -= len(json.dumps(reply["outputs"]))
            cell["outputs"] = reply["outputs"] if self.room > 0 else [_stream("[too many outputs: left out]\n")]
            self.visible[cell["id"]] = reply["error"] or ""

    def _ask_run(self, sandbox: Sandbox) -> None:
        """The run in which each task is asked about behind its cell. A mark that an earlier run has given stays."""
        by_name = {task.name: task for task in self.tasks}
        space: dict[str, Any] = {"__name__": "hidden_tests"}
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] != "code":
                continue
            task = by_name.get(cell["id"]) if "nbgrader" in cell["metadata"] else None
            if number not in self.deadly:
                self._run_cell(sandbox, number)
            if task is None or task.written:
                continue
            if task.name in self.marks:
                judge(sandbox, task, self.seed, space, repeat=True)  # helpers that later tests use
                continue
            self.marks[task.name], died = judge(sandbox, task, self.seed, space)
            if died:
                raise CellDiedError(number, died)


def judge(
    sandbox: Sandbox, task: Task, seed: list[int], space: dict[str, Any], *, repeat: bool = False
) -> tuple[Mark, str]:
    """Runs the hidden tests of a task, here, with questions to the sandbox; returns the mark and why the process died.

    With `repeat` no question is asked: the tests only define again what later ones use.
    """
    died = ""

    def respond(source: str, function: str, inputs: dict[str, Any]) -> Any:
        nonlocal died
        if repeat:
            raise StudentError("already marked")
        try:
            reply = sandbox.ask(source, function, inputs)
        except DiedError as error:
            died = died or str(error)
            raise StudentError(f"the process is gone: {error}") from None
        except wire.WireError as error:
            raise StudentError(str(error)) from None
        if not isinstance(reply, dict) or reply.get("error") is not None or "value" not in reply:
            raise StudentError(printable(reply.get("error") if isinstance(reply, dict) else "unreadable", 1000))
        return reply["value"]

    exam.begin(respond, task.name, seed)
    mark = Mark(task=task.name, points=task.points, score=None)
    stopped = False
    try:
        run_hidden(task, space)
    except StudentError as error:
        mark.note = str(error)
        stopped = True
    except Exception as error:
        mark.note = f"the hidden tests failed themselves: {type(error).__name__}: {printable(error)}"
        return mark, died
    mark.parts = [asdict(part) for part in exam.parts]
    if stopped:
        mark.score = float(sum(part.earned for part in exam.parts))
    elif not exam.finished:
        mark.note = "the hidden tests gave no score"
    elif abs(sum(part.points for part in exam.parts) - task.points) > 1e-6:
        mark.note = f"the parts have {sum(part.points for part in exam.parts):g} points, the task {task.points:g}"
    elif any(part.unsure for part in exam.parts):
        mark.note = next(part.reason for part in exam.parts if part.unsure)
    else:
        mark.score = exam.score()
    return mark, died


def run_hidden(task: Task, space: dict[str, Any]) -> None:
    """Runs the hidden tests of a task, whose source `inspect` finds then: questions are sent as text."""
    name = f"<hidden tests of {task.name}>"
    linecache.cache[name] = (len(task.hidden), None, task.hidden.splitlines(keepends=True), name)
    exec(compile(task.hidden + "\n", name, "exec"), space)


def _show(merged: Cell, marks: dict[str, Mark], deadly: dict[int, str]) -> None:
    """Writes into the notebook what students may know of the judgement: the parts and their points, and the score."""
    for number, cell in enumerate(merged["cells"]):
        if number in deadly:
            cell["outputs"] = [_stream(f"This cell ended the run: it {deadly[number]}.\n")]
        mark = marks.get(cell["id"]) if cell["cell_type"] == "code" else None
        if mark is None:
            continue
        lines = [f"{part['title']}: {part['earned']:g} of {part['points']:g} points" for part in mark.parts]
        cell["outputs"] = [*cell.get("outputs", []), _stream("".join(f"{line}\n" for line in lines))]
        if mark.score is not None:
            result = {"output_type": "execute_result", "data": {"text/plain": f"{mark.score:g}"}}
            cell["outputs"].append(result | {"metadata": {}, "execution_count": None})


def _stream(text: str) -> Cell:
    return {"output_type": "stream", "name": "stdout", "text": text}

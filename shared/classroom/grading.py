"""Marks one submission: merges it with the tests, runs it in a sandbox, asks and judges, and writes a verdict."""

from __future__ import annotations

import hashlib
import json
import linecache
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.classroom import wire
from shared.classroom.exam import StudentError, exam
from shared.classroom.notebooks import (
    Assignment,
    Cell,
    Task,
    find_tasks,
    identity,
    merge,
    read_notebook,
    visible,
)
from shared.classroom.sandbox import DiedError, Limits, Sandbox
from shared.errors import InputError

MOST_STARTS = 4  # times that a process is started again after a cell has ended it
MAX_FILE = 50_000_000  # bytes of one file that is handed in beside the notebook
MAX_FILES = 500
#: What no answer needs: a person should look at it. Words that mark it -> why.
SUSPICIOUS = {
    r"\bnbgrader\b|\bgradebook\b": "mentions the grading software",
    r"run_code|\brun_cell\b|InteractiveShell|get_ipython\(\)\s*\.\s*events": "reaches into the notebook's machinery",
    r"\bbuiltins\b|__builtins__": "reaches into Python's built-in names",
    r"def\s+__eq__|__eq__\s*=": "defines what is equal to what",
    r"os\._exit|os\.kill|\bsys\.exit|SystemExit": "ends processes",
    r"/proc\b|sys\._getframe|\bgc\.get_|inspect\.(stack|currentframe)": "looks at the process it runs in",
    r"shared\.classroom|hidden\s+tests": "looks for the tests",
    r"assignments?/source|\bsource/|\.\./": "looks for other files of the course",
    r"\bsubprocess\b|os\.system|\bsocket\b|urllib|requests\.": "starts programs or uses the network",
}


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
    could not be read; `look`: why a person should look. `cells` is the notebook that ran, with its outputs.
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

    def to_json(self) -> str:
        """The verdict as text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict that `to_json` wrote."""
        fields = json.loads(text)
        return cls(**(fields | {"marks": [Mark(**mark) for mark in fields["marks"]]}))


def digest(folder: Path, seed: int, source: Cell) -> str:
    """A fingerprint of all that a verdict depends on: the files handed in, the tests, the seed."""
    total = hashlib.sha256(json.dumps([seed, source], sort_keys=True).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        total.update(str(path.relative_to(folder)).encode() + b"\0")
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def grade(assignment: Assignment, source: Cell, release: Path, folder: Path, *, student: str, seed: int) -> Verdict:
    """Marks what `folder` holds of a student's work; never raises for what a student handed in.

    `release` is the folder of the student version: its files replace those of the same name. `seed` decides the
    inputs of hidden tests.
    """
    from shared.classroom.sandbox import why_not

    started = time.monotonic()
    handed_out = read_notebook(release / f"{assignment.name}.ipynb")
    tasks = find_tasks(source)
    verdict = Verdict(student=student, assignment=assignment.name, digest=digest(folder, seed, source))
    verdict.sandboxed = not why_not()
    try:
        submission = read_notebook(_find_notebook(folder, assignment, verdict))
        own = {name for cell in submission["cells"] if (name := identity(cell))}
        if not own & {task.name for task in tasks}:
            verdict.failed.append("the notebook holds none of the assignment's graded cells")
    except InputError as error:
        verdict.failed.append(str(error))
        submission = None
    merged, found = merge(source, handed_out, submission or handed_out)
    verdict.tampered += found
    files = _files(folder, release, assignment, verdict)
    if submission is not None:
        verdict.look += _suspicions(merged, assignment)
        _run(assignment, tasks, merged, files, release.parents[1], seed, verdict)
    else:
        verdict.marks = [Mark(task=t.name, points=t.points, score=None if t.written else 0.0) for t in tasks]
        _show(merged, {mark.task: mark for mark in verdict.marks}, {})
    verdict.look += [f"{mark.task}: {mark.note}" for mark in verdict.marks if mark.score is None and mark.note]
    verdict.cells = merged["cells"]
    verdict.seconds = round(time.monotonic() - started, 1)
    return verdict


def _find_notebook(folder: Path, assignment: Assignment, verdict: Verdict) -> Path:
    """The notebook that was handed in; a single one under another name will do, and is mentioned."""
    path = folder / f"{assignment.name}.ipynb"
    others = sorted(other for other in folder.glob("*.ipynb") if other.is_file() and not other.is_symlink())
    if path.is_symlink():
        raise InputError(f"{path.name} is a link, not a notebook")
    copies = [other for other in others if other.name.startswith(assignment.name)]  # as browsers name downloads
    for found in (copies, others):
        if not path.exists() and len(found) == 1:
            verdict.look.append(f"the notebook is called {found[0].name[:80]}")
            return found[0]
    if not path.exists():
        names = ", ".join(sorted(other.name[:40] for other in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"there is no {path.name}; handed in: {names}")
    return path


def _files(folder: Path, release: Path, assignment: Assignment, verdict: Verdict) -> dict[str, Path]:
    """What lies beside the notebook: plain files only, the teacher's own first."""
    found: dict[str, Path] = {}
    for root in (folder, release):
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix == ".ipynb" or (path.is_dir() and not path.is_symlink()):
                continue
            if path.is_symlink() or not path.is_file():
                verdict.look.append(f"{name[:80]} is a link or no plain file; left out")
            elif path.stat().st_size > MAX_FILE:
                verdict.look.append(f"{name[:80]} has {path.stat().st_size / 1e6:,.0f} MB; left out")
            elif len(found) >= MAX_FILES:
                verdict.look.append(f"more than {MAX_FILES} files; the others were left out")
                break
            else:
                found[name] = path
    return found


def _suspicions(merged: Cell, assignment: Assignment) -> list[str]:
    """Lines of the student's own cells that a person should look at."""
    hidden = {rf"\b{re.escape(name)}\b": f"uses {name}, which this assignment rules out" for name in assignment.hides}
    reasons = []
    for cell in merged["cells"]:
        nbgrader = cell["metadata"].get("nbgrader")
        if cell["cell_type"] == "code" and (nbgrader is None or nbgrader["solution"]):
            for pattern, why in {**SUSPICIOUS, **hidden}.items():
                if match := re.search(rf"^.*?(?:{pattern}).*$", cell["source"], re.M):
                    reasons.append(f"{why}: {match[0].strip()[:100]}")
    return reasons


def _run(
    assignment: Assignment,
    tasks: list[Task],
    merged: Cell,
    files: dict[str, Path],
    course: Path,
    seed: int,
    verdict: Verdict,
) -> None:
    """Runs the notebook cell by cell; where the process dies, all is run again without the cell that did it."""
    limits = Limits(
        cell_seconds=assignment.seconds / 2, seconds=float(assignment.seconds), gigabytes=assignment.gigabytes
    )
    deadly: dict[int, str] = {}
    marks: dict[str, Mark] = {}
    for start in range(MOST_STARTS):
        last = start == MOST_STARTS - 1
        try:
            with Sandbox(limits, assignment.hides, files, secret=[course]) as sandbox:
                _pass(sandbox, tasks, merged, seed, verdict, deadly, marks)
                verdict.gigabytes = max(verdict.gigabytes, round(sandbox.peak, 2))
            break
        except _CellDiedError as error:
            deadly[error.number] = str(error)
            name = merged["cells"][error.number].get("id", "")
            verdict.failed.append(f"cell {name}: {error}" + ("; the rest was not run" if last else ""))
        except (DiedError, wire.WireError) as error:
            verdict.failed.append(f"at the start: {error}")
            break
    for task in tasks:
        if task.name not in marks:
            note = "" if task.written else "not run"
            marks[task.name] = Mark(task=task.name, points=task.points, score=None if task.written else 0.0, note=note)
    verdict.marks = [marks[task.name] for task in tasks]
    _show(merged, marks, deadly)


class _CellDiedError(Exception):
    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number


def _pass(
    sandbox: Sandbox,
    tasks: list[Task],
    merged: Cell,
    seed: int,
    verdict: Verdict,
    deadly: dict[int, str],
    marks: dict[str, Mark],
) -> None:
    """One run through the notebook. A mark that an earlier run has given stays."""
    by_name = {task.name: task for task in tasks}
    space: dict[str, Any] = {"__name__": "hidden_tests"}
    for number, cell in enumerate(merged["cells"]):
        if cell["cell_type"] != "code":
            continue
        task = by_name.get(cell["id"]) if "nbgrader" in cell["metadata"] else None
        visible_error = deadly.get(number, "")
        if number not in deadly:
            try:
                reply = sandbox.run_cell(visible(cell["source"]))
            except DiedError as error:
                raise _CellDiedError(number, str(error)) from None
            except wire.WireError as error:
                verdict.look.append(f"cell {cell['id']}: {error}")
                reply = {"outputs": [], "error": None}
            cell["outputs"] = reply["outputs"]
            visible_error = reply["error"] or ""
        if task is None or task.written:
            continue
        if task.name in marks and number not in deadly:
            _judge(sandbox, task, seed, space, repeat=True)  # helpers that later tests use
        elif task.name not in marks:
            mark, died = _judge(sandbox, task, seed, space)
            mark.visible = visible_error
            marks[task.name] = mark
            if died:
                raise _CellDiedError(number, died)


def _judge(sandbox: Sandbox, task: Task, seed: int, space: dict[str, Any], *, repeat: bool = False) -> tuple[Mark, str]:
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
            raise StudentError(str(reply.get("error") if isinstance(reply, dict) else "unreadable")[:1000])
        return reply["value"]

    name = f"<hidden tests of {task.name}>"
    linecache.cache[name] = (len(task.hidden), None, task.hidden.splitlines(keepends=True), name)
    exam.begin(respond, task.name, seed)
    mark = Mark(task=task.name, points=task.points, score=None)
    stopped = False
    try:
        exec(compile(task.hidden + "\n", name, "exec"), space)
    except StudentError as error:
        mark.note = str(error)
        stopped = True
    except Exception as error:
        mark.note = f"the hidden tests failed themselves: {type(error).__name__}: {error}"
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

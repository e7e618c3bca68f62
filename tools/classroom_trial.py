"""Grades a class of 50 that was made up: good work, half-right work, and every trick that we know of.

    python tools/classroom_trial.py                 # prints what became of each, and how long it took
    python tools/classroom_trial.py --markdown      # the same as a table for docs/classroom.md

Each trick is planted into one answer of an otherwise right notebook, so its author must lose the points of that task
or nothing, and never anybody else's. `tests/classroom/test_grading.py` grades the same class on a small course.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.base.files import write_text
from shared.classroom.course import CONFIG, OUR_COURSE, Course, release
from shared.classroom.exam import exam
from shared.classroom.folders import list_files, new_place, remove_tree
from shared.classroom.grade_class import grade
from shared.classroom.grading import Verdict, run_hidden
from shared.classroom.report import Line, collect
from shared.classroom.sandbox import runner, wire
from shared.classroom.sandbox.sandbox import why_not
from shared.classroom.selftest import with_answers, wrong_answers
from shared.classroom.submission import find_tasks, read_notebook

Notebook = dict[str, Any]
CLASS_SIZE = 50
SECRET = "TWINS_TRIAL_SECRET"  # a variable of the person who grades


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What one made-up student does: code that takes the place of an answer, or an action on the notebook or folder.

    `keeps`: whether the points of that task must stay. `flag`: how a teacher must be told, "" if not at all.
    `{right}` in `code` stands for the right answer, `{name}` for the function, `{course}` for the teacher's folder.
    """

    name: str
    what: str
    keeps: bool = False
    flag: str = ""
    code: str = ""
    notebook: Callable[[Notebook, str], None] | None = None
    folder: Callable[[Path, str], None] | None = None
    needs_sandbox: bool = False
    loses_all: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What became of one submission."""

    handed: Handed
    line: Line
    verdict: Verdict
    expected: dict[str, float | None]
    problems: list[str] = field(default_factory=list)


def find(notebook: Notebook, name: str) -> Any:
    """The cell with this nbgrader name."""
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def edit_test(notebook: Notebook, answer: str) -> None:
    """Lets the test of the answer pass always."""
    find(notebook, f"test_{answer}")["source"] = "pass"
    find(notebook, answer)["source"] = f"def {answer}(*arguments):\n    return None"


def delete_test(notebook: Notebook, answer: str) -> None:
    """Takes the test out."""
    notebook["cells"].remove(find(notebook, f"test_{answer}"))
    find(notebook, answer)["source"] = f"def {answer}(*arguments):\n    return None"


def duplicate_test(notebook: Notebook, answer: str) -> None:
    """Puts a harmless copy of the test in front of it."""
    cell = find(notebook, f"test_{answer}")
    notebook["cells"].insert(notebook["cells"].index(cell), json.loads(json.dumps(cell)) | {"source": "1 + 1"})
    find(notebook, answer)["source"] = f"def {answer}(*arguments):\n    return None"


def change_points(notebook: Notebook, answer: str) -> None:
    """Makes the task worth a hundred points."""
    find(notebook, f"test_{answer}")["metadata"]["nbgrader"]["points"] = 100


def move_cells(notebook: Notebook, answer: str) -> None:
    """Puts the last cell first."""
    notebook["cells"].insert(0, notebook["cells"].pop())


def save_output(notebook: Notebook, answer: str) -> None:
    """Saves the notebook with an output of 50 MB."""
    find(notebook, answer)["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}]


def break_json(folder: Path, assignment: str) -> None:
    """Cuts the file off in the middle, as a full disk does."""
    path = folder / f"{assignment}.ipynb"
    path.write_text(path.read_text(encoding="utf-8")[:2000], encoding="utf-8")


def forget_notebook(folder: Path, assignment: str) -> None:
    """Hands in something else."""
    (folder / f"{assignment}.ipynb").unlink()
    (folder / "homework.txt").write_text("the dog ate it\n", encoding="utf-8")


def link_gradebook(folder: Path, assignment: str) -> None:
    """Hands in a link to the gradebook, to be copied to where the notebook runs."""
    (folder / "data.bin").symlink_to(folder.parents[2] / "gradebook.db")


def link_student(folder: Path, assignment: str) -> None:
    """Hands in a link to the folder of somebody else."""
    shutil.rmtree(folder.parent)
    folder.parent.symlink_to("good")


def link_solution(folder: Path, assignment: str) -> None:
    """Hands in a hard link to the teacher's notebook."""
    (folder / f"{assignment}.ipynb").unlink()
    (folder / f"{assignment}.ipynb").hardlink_to(folder.parents[2] / "source" / assignment / f"{assignment}.ipynb")


def hand_in_pipe(folder: Path, assignment: str) -> None:
    """Hands in a pipe, from which reading would wait for ever."""
    (folder / f"{assignment}.ipynb").unlink()
    os.mkfifo(folder / f"{assignment}.ipynb")


def dig_deep(folder: Path, assignment: str) -> None:
    """Hands in folders in folders, 1,100 of them."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def name_oddly(folder: Path, assignment: str) -> None:
    """Hands in files whose names are no UTF-8, or would clear the teacher's screen."""
    (folder / os.fsdecode(b"J\xf6rg.txt")).write_text("from a zip of Windows\n", encoding="utf-8")
    (folder / "\x1b[2J\u202egpj.exe").symlink_to("nowhere")


def shadow_random(folder: Path, assignment: str) -> None:
    """Has a file of the name of a module of Python beside the notebook, and does not know it."""
    (folder / "random.py").write_text("import math\nraise RuntimeError('this is mine')\n", encoding="utf-8")


def date_back(folder: Path, assignment: str) -> None:
    """Says itself when it was handed in."""
    (folder / "timestamp.txt").write_text("2000-01-01 00:00:00 UTC", encoding="utf-8")


def begin_hidden(notebook: Notebook, answer: str) -> None:
    """Writes a line with which hidden tests begin, 60,000 times."""
    find(notebook, answer)["source"] += "\n" + "### BEGIN HIDDEN TESTS\n" * 60_000


def add_many_cells(notebook: Notebook, answer: str) -> None:
    """Adds 900 cells that claim to be graded."""
    for number in range(900):
        marks = {"grade_id": f"\x1b[31mcell {number}", "grade": True, "points": 100}
        notebook["cells"].append({"cell_type": "code", "metadata": {"nbgrader": marks}, "source": ""})


def print_log(notebook: Notebook, answer: str) -> None:
    """Prints what the answer has noted down, in a cell at the end."""
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": "print('SEEN', seen)", "outputs": []})


EQUAL = """
class Always(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
    def __len__(self): return 2
    def __iter__(self): return iter((self, self))
    def __getattr__(self, name): return self
def {name}(*arguments): return Always(7)
"""
RUN_CODE = """
from IPython.core.interactiveshell import InteractiveShell
async def run_code(self, code, result=None, **more): return False
InteractiveShell.run_code = run_code
"""
BUILTINS = """
import builtins
class Quiet(Exception): pass
builtins.AssertionError = Quiet
builtins.abs = lambda value: 0
builtins.isinstance = lambda value, kind: True
builtins.type = type(int)
def {name}(*arguments): return 7
"""
FORGE = """
import gc, os, sys
for number in range(3, 64):  # every open pipe gets a reply that claims the points
    try:
        os.write(number, b'{{"score": 100, "value": 100, "error": null}}' * 10)
    except OSError:
        pass
def {name}(*arguments): return 7
"""
LOOK = """
import glob, os
seen = []
for root in ("{course}", "..", "../..", "/home", "/tmp", "/root", "/srv"):
    for folder, _, names in os.walk(root):
        if "site-packages" in folder:  # nbgrader brings a course of its own
            continue
        seen += [n for n in names if n in ("gradebook.db", "seed.txt", "wrong.py", "{assignment}.ipynb")]
try:
    seen.append(open("{course}/seed.txt").read())
except OSError:
    pass
print("SEEN", seen)
def {name}(*arguments): return 7
"""
DATABASE = """
import os, sqlite3
try:
    os.makedirs("{course}", exist_ok=True)
    base = sqlite3.connect("{course}/gradebook.db")
    base.execute("update grade set manual_score = 100")
    base.commit()
    print("SEEN", base.execute("select count(*) from grade").fetchone())
except Exception as error:
    print("no database:", error)
def {name}(*arguments): return 7
"""
HIDDEN = """
import gc, sys
words = [s for s in gc.get_objects() if isinstance(s, dict) for s in list(s.values()) if isinstance(s, str)]
print("SEEN", [s for s in words if "exam.part" + "(" in s or "exam.sc" + "ore" in s])
def {name}(*arguments):
    frame, texts = sys._getframe(), []
    while frame:
        texts += [repr(v) for v in frame.f_locals.values() if isinstance(v, (str, bytes))]
        frame = frame.f_back
    print("SEEN" if any("exam.part" + "(" in t for t in texts) else "nothing", file=sys.stderr)
    return 7
"""
NETWORK = """
import socket
for place in (("127.0.0.1", {port}), ("1.1.1.1", 53)):
    try:
        socket.create_connection(place, timeout=2)
        print("SEEN", place)
    except OSError as error:
        print("no network:", error)
def {name}(*arguments): return 7
"""
LOUD = """
import os, sys, warnings
warnings.warn("this is deprecated")
print("to standard error", file=sys.stderr)
os.write(2, b"as C code does\\n")
{right}
"""
MEMORY = "def {name}(*arguments):\n    hoard = []\n    while True:\n        hoard.append(bytearray(b'x' * 50_000_000))"
CRASH = "import ctypes\ndef {name}(*arguments): return ctypes.string_at(0)"
CHILDREN = """
import subprocess, sys
for _ in range(100):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def {name}(*arguments): return 7
"""
PRINTING = "def {name}(*arguments):\n    for _ in range(1000): print('x' * 50_000)\n    return 7\n{name}()"
DISK = """
with open("big", "wb") as stream:
    for _ in range(30):
        stream.write(bytes(100_000_000))
def {name}(*arguments): return 7
"""
ENVIRONMENT = """
import glob, os
seen = [os.environ.get("{secret}")]
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/task/*/environ"):
    try:
        seen += [path] if "{secret}" in open(path, errors="replace").read() else []
    except OSError:
        pass
print("SEEN", [each for each in seen if each])
{right}
"""
LOG = """
import sys
seen = []
{right}
right_answer = {name}
def {name}(*arguments, **more):
    frame = sys._getframe()
    while frame and frame.f_code.co_filename != "<question>":
        frame = frame.f_back
    if frame:
        seen.append(arguments)
        print("SEEN", arguments)
    return right_answer(*arguments, **more)
"""
TRACE = """
import sys
seen = []
def watch(frame, event, argument):
    if frame.f_code.co_filename == "<question>":
        seen.append(repr(frame.f_locals))
sys.settrace(watch)
{right}
"""
SILENT = """
import fcntl, os, sys, time
wire = next(module for name, module in sys.modules.items() if name.endswith("_wire"))
def {name}(*arguments):
    done = wire.to_bytes({{"value": None, "error": None}})
    for number in range(3, 64):
        try:
            if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
                os.write(number, wire.LENGTH.pack(len(done)) + done)
        except OSError:
            pass
    time.sleep(100_000)
"""
HIDDEN_FILES = """
import os
held = []
for place in (".", "/tmp", "/dev/shm"):
    stream = open(place + "/nameless", "wb")
    os.unlink(place + "/nameless")
    held.append(stream)
    try:
        for _ in range(100):
            stream.write(bytes(10_000_000))
            stream.flush()
    except OSError as error:
        print("no more:", error)
def {name}(*arguments): return 7
"""
NAMELESS = """
import os
held = []
def {name}(*arguments):
    while True:
        held.append(os.memfd_create("held"))
        os.write(held[-1], bytes(100_000_000))
"""
DIG = """
import os
for _ in range(3000):
    os.mkdir("deep")
    os.chdir("deep")
os.chmod(".", 0)
os.chdir("/")
{right}
"""
LONG_JSON = """
def {name}(*arguments):
    return [[1, [2, [3]]]] * 100_000
"""
LARGE = """
import numpy as np
def {name}(*arguments):
    return np.zeros(10**9, dtype="uint8")
"""
TABLE = """
known = {table}
def {name}(*arguments):
    return known.get(repr(list(arguments)), 7)
"""

CLASS = [
    Handed(name="good", what="right, nothing else", keeps=True),
    Handed(name="loud", what="right, with warnings and C output on standard error", keeps=True, code=LOUD),
    Handed(name="moved", what="right, cells in another order", keeps=True, flag="tampered", notebook=move_cells),
    Handed(name="nan", what="returns NaN everywhere", code="def {name}(*a): return float('nan'), float('nan')"),
    Handed(name="always equal", what="an object that equals everything", flag="look", code=EQUAL),
    Handed(name="run_code", what="InteractiveShell.run_code does nothing", flag="look", loses_all=True, code=RUN_CODE),
    Handed(name="builtins", what="AssertionError, abs, isinstance, type replaced", flag="look", code=BUILTINS),
    Handed(name="forger", what="writes a score into every open pipe", flag="failed", code=FORGE),
    Handed(
        name="os._exit",
        what="ends the process when asked",
        flag="failed",
        code="import os\ndef {name}(*arguments): os._exit(0)",
    ),
    Handed(
        name="os._exit at once",
        what="ends the process in the cell itself",
        flag="failed",
        code="import os\nos._exit(0)",
    ),
    Handed(
        name="SystemExit",
        what="raises SystemExit when asked",
        flag="look",
        code="def {name}(*arguments): raise SystemExit(0)",
    ),
    Handed(name="endless", what="an endless loop", flag="failed", code="def {name}(*a):\n    while True: pass"),
    Handed(name="memory", what="takes all memory", flag="failed", code=MEMORY),
    Handed(name="crash", what="reads memory at address 0", flag="failed", code=CRASH),
    Handed(name="children", what="starts a hundred processes", flag="failed", code=CHILDREN),
    Handed(name="disk", what="writes 3 GB", flag="", code=DISK),
    Handed(name="printing", what="prints 50 MB", code=PRINTING),
    Handed(name="50 MB", what="right, saved with an output of 50 MB", keeps=True, notebook=save_output),
    Handed(name="edited test", what="the test passes always", flag="tampered", notebook=edit_test),
    Handed(name="deleted test", what="the test is gone", flag="tampered", notebook=delete_test),
    Handed(name="duplicated test", what="a harmless copy of the test", flag="tampered", notebook=duplicate_test),
    Handed(name="points", what="right, made worth 100 points", keeps=True, flag="tampered", notebook=change_points),
    Handed(name="broken file", what="JSON cut off", flag="failed", loses_all=True, folder=break_json),
    Handed(name="no notebook", what="a text file instead", flag="failed", loses_all=True, folder=forget_notebook),
    Handed(
        name="looks around", what="looks for solutions, gradebook and seed", flag="look", code=LOOK, needs_sandbox=True
    ),
    Handed(
        name="gradebook", what="writes 100 points into the gradebook", flag="look", code=DATABASE, needs_sandbox=True
    ),
    Handed(name="hidden tests", what="looks for the hidden tests in its own memory", flag="look", code=HIDDEN),
    Handed(
        name="network", what="sends to the computer that grades, and out", flag="look", code=NETWORK, needs_sandbox=True
    ),
    Handed(name="link", what="right, with a link to the gradebook", keeps=True, flag="look", folder=link_gradebook),
    Handed(name="environment", what="looks for the teacher's variables", keeps=True, flag="look", code=ENVIRONMENT),
    Handed(
        name="linked student",
        what="a link to the folder of another",
        flag="failed",
        loses_all=True,
        folder=link_student,
    ),
    Handed(
        name="linked solution", what="a hard link to the solution", flag="failed", loses_all=True, folder=link_solution
    ),
    Handed(name="pipe", what="a pipe instead of a notebook", flag="failed", loses_all=True, folder=hand_in_pipe),
    Handed(name="deep", what="right, with 1,100 folders in each other", keeps=True, flag="look", folder=dig_deep),
    Handed(name="odd names", what="right, with files of odd names", keeps=True, flag="look", folder=name_oddly),
    Handed(name="random.py", what="right, with a random.py beside it", keeps=True, flag="look", folder=shadow_random),
    Handed(name="timestamp", what="right, with a date of its own", keeps=True, flag="look", folder=date_back),
    Handed(name="=1+1", what="right, of a student named like a formula", keeps=True),
    Handed(name="begin hidden", what="right, and 60,000 beginnings of hidden tests", keeps=True, notebook=begin_hidden),
    Handed(
        name="900 cells", what="right, with 900 invented cells", keeps=True, flag="tampered", notebook=add_many_cells
    ),
    Handed(name="logs", what="right, prints what it was asked", keeps=True, flag="look", code=LOG, notebook=print_log),
    Handed(
        name="traces", what="right, traces what it was asked", keeps=True, flag="look", code=TRACE, notebook=print_log
    ),
    Handed(name="table", what="knows the answers to what others were asked", code=TABLE),
    Handed(name="silent", what="says that it is done, and reads nothing more", flag="failed", code=SILENT),
    Handed(
        name="files without names",
        what="fills all places with deleted files",
        flag="failed",
        code=HIDDEN_FILES,
        needs_sandbox=True,
    ),
    Handed(name="memory without a name", what="fills memory files", code=NAMELESS, needs_sandbox=True),
    Handed(name="digs", what="right, and makes 3,000 folders in each other", keeps=True, code=DIG, needs_sandbox=True),
    Handed(name="long JSON", what="answers with millions of lists", code=LONG_JSON),
    Handed(name="large", what="answers with a gigabyte", flag="failed", code=LARGE),
]


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


def run_class(course: Course, assignment: str, answer: str, *, jobs: int | None = None) -> tuple[list[Outcome], float]:
    """Hands in the class and grades it in one run; returns what became of each, and the seconds.

    The wrong answers of the assignment fill the class up to 50.
    """
    import socket

    found = [handed for handed in CLASS if not (handed.needs_sandbox and why_not())]
    source = read_notebook(course.source(assignment))
    tasks = find_tasks(source)
    full: dict[str, float | None] = {task.name: None if task.written else task.points for task in tasks}
    expected: dict[str, dict[str, float | None]] = {}
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        for handed in found:
            hand_in(course, assignment, answer, handed, listener.getsockname()[1])
            marks: dict[str, float | None] = dict.fromkeys(full, 0.0) if handed.loses_all else dict(full)
            if handed.name == "run_code":  # what ran before it keeps its points
                names = list(full)
                before = names[: names.index(f"test_{answer}")]
                marks |= {name: p for name, p in full.items() if name in before or p is None}
            elif not handed.keeps:
                marks[f"test_{answer}"] = 0.0
            expected[handed.name] = marks
        empty = read_notebook(course.release(assignment) / f"{assignment}.ipynb")
        for wrong in wrong_answers(course.folder / assignment, source)[: max(0, CLASS_SIZE - len(found))]:
            handed = Handed(name=f"half right: {wrong.name}", what="a wrong answer")
            folder = course.submission(assignment, handed.name)
            folder.mkdir(parents=True)
            write_text(folder / f"{assignment}.ipynb", json.dumps(with_answers(empty, source, wrong.answers)))
            expected[handed.name] = {n: None if p is None else p - wrong.loses.get(n, 0.0) for n, p in full.items()}
            found.append(handed)
        course.seed()
        before_files = teachers_files(course)
        os.environ[SECRET] = "only for the teacher"
        started = time.monotonic()
        verdicts = {v.student: v for v in grade(course, [assignment], jobs=jobs)}
        seconds = time.monotonic() - started
    finally:
        listener.close()
        os.environ.pop(SECRET, None)
    changed = before_files != teachers_files(course)
    _, lines = collect(course, course.assignments([assignment])[0])
    by_name = {line.student: line for line in lines}
    outcomes = []
    for handed in found:
        outcome = Outcome(
            handed=handed, line=by_name[handed.name], verdict=verdicts[handed.name], expected=expected[handed.name]
        )
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

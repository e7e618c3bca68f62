"""The class of `classroom_trial.py`: what each student hands in, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools import classroom_tricks as tricks
from tools.classroom_tricks import Notebook


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


CLASS = [
    Handed(name="good", what="right, nothing else", keeps=True),
    Handed(name="loud", what="right, with warnings and C output on standard error", keeps=True, code=tricks.LOUD),
    Handed(name="moved", what="right, cells in another order", keeps=True, flag="tampered", notebook=tricks.move_cells),
    Handed(name="nan", what="returns NaN everywhere", code="def {name}(*a): return float('nan'), float('nan')"),
    Handed(name="always equal", what="an object that equals everything", flag="look", code=tricks.EQUAL),
    Handed(
        name="run_code",
        what="InteractiveShell.run_code does nothing",
        flag="look",
        loses_all=True,
        code=tricks.RUN_CODE,
    ),
    Handed(name="builtins", what="AssertionError, abs, isinstance, type replaced", flag="look", code=tricks.BUILTINS),
    Handed(name="forger", what="writes a score into every open pipe", flag="failed", code=tricks.FORGE),
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
    Handed(name="memory", what="takes all memory", flag="failed", code=tricks.MEMORY),
    Handed(name="crash", what="reads memory at address 0", flag="failed", code=tricks.CRASH),
    Handed(name="children", what="starts a hundred processes", flag="failed", code=tricks.CHILDREN),
    Handed(name="disk", what="writes 3 GB", flag="", code=tricks.DISK),
    Handed(name="printing", what="prints 50 MB", code=tricks.PRINTING),
    Handed(name="50 MB", what="right, saved with an output of 50 MB", keeps=True, notebook=tricks.save_output),
    Handed(name="edited test", what="the test passes always", flag="tampered", notebook=tricks.edit_test),
    Handed(name="deleted test", what="the test is gone", flag="tampered", notebook=tricks.delete_test),
    Handed(name="duplicated test", what="a harmless copy of the test", flag="tampered", notebook=tricks.duplicate_test),
    Handed(
        name="points", what="right, made worth 100 points", keeps=True, flag="tampered", notebook=tricks.change_points
    ),
    Handed(name="broken file", what="JSON cut off", flag="failed", loses_all=True, folder=tricks.break_json),
    Handed(
        name="no notebook", what="a text file instead", flag="failed", loses_all=True, folder=tricks.forget_notebook
    ),
    Handed(
        name="looks around",
        what="looks for solutions, gradebook and seed",
        flag="look",
        code=tricks.LOOK,
        needs_sandbox=True,
    ),
    Handed(
        name="gradebook",
        what="writes 100 points into the gradebook",
        flag="look",
        code=tricks.DATABASE,
        needs_sandbox=True,
    ),
    Handed(name="hidden tests", what="looks for the hidden tests in its own memory", flag="look", code=tricks.HIDDEN),
    Handed(
        name="network",
        what="sends to the computer that grades, and out",
        flag="look",
        code=tricks.NETWORK,
        needs_sandbox=True,
    ),
    Handed(
        name="link", what="right, with a link to the gradebook", keeps=True, flag="look", folder=tricks.link_gradebook
    ),
    Handed(
        name="environment", what="looks for the teacher's variables", keeps=True, flag="look", code=tricks.ENVIRONMENT
    ),
    Handed(
        name="linked student",
        what="a link to the folder of another",
        flag="failed",
        loses_all=True,
        folder=tricks.link_student,
    ),
    Handed(
        name="linked solution",
        what="a hard link to the solution",
        flag="failed",
        loses_all=True,
        folder=tricks.link_solution,
    ),
    Handed(name="pipe", what="a pipe instead of a notebook", flag="failed", loses_all=True, folder=tricks.hand_in_pipe),
    Handed(
        name="deep", what="right, with 1,100 folders in each other", keeps=True, flag="look", folder=tricks.dig_deep
    ),
    Handed(name="odd names", what="right, with files of odd names", keeps=True, flag="look", folder=tricks.name_oddly),
    Handed(
        name="random.py", what="right, with a random.py beside it", keeps=True, flag="look", folder=tricks.shadow_random
    ),
    Handed(name="timestamp", what="right, with a date of its own", keeps=True, flag="look", folder=tricks.date_back),
    Handed(name="=1+1", what="right, of a student named like a formula", keeps=True),
    Handed(
        name="begin hidden",
        what="right, and 60,000 beginnings of hidden tests",
        keeps=True,
        notebook=tricks.begin_hidden,
    ),
    Handed(
        name="900 cells",
        what="right, with 900 invented cells",
        keeps=True,
        flag="tampered",
        notebook=tricks.add_many_cells,
    ),
    Handed(
        name="logs",
        what="right, prints what it was asked",
        keeps=True,
        flag="look",
        code=tricks.LOG,
        notebook=tricks.print_log,
    ),
    Handed(
        name="traces",
        what="right, traces what it was asked",
        keeps=True,
        flag="look",
        code=tricks.TRACE,
        notebook=tricks.print_log,
    ),
    Handed(name="table", what="knows the answers to what others were asked", code=tricks.TABLE),
    Handed(name="silent", what="says that it is done, and reads nothing more", flag="failed", code=tricks.SILENT),
    Handed(
        name="files without names",
        what="fills all places with deleted files",
        flag="failed",
        code=tricks.HIDDEN_FILES,
        needs_sandbox=True,
    ),
    Handed(name="memory without a name", what="fills memory files", code=tricks.NAMELESS, needs_sandbox=True),
    Handed(
        name="digs",
        what="right, and makes 3,000 folders in each other",
        keeps=True,
        code=tricks.DIG,
        needs_sandbox=True,
    ),
    Handed(name="long JSON", what="answers with millions of lists", code=tricks.LONG_JSON),
    Handed(name="large", what="answers with a gigabyte", flag="failed", code=tricks.LARGE),
]

"""Every trick that we know of: code in the place of an answer, and what is done to a notebook or to its folder.

In the code `{name}` stands for the function that is asked for and `{right}` for the right answer; `classroom_trial.py`
fills them in.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]


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

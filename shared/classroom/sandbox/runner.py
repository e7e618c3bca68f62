"""Runs a student's notebook inside the sandbox: cells as Jupyter would run them, and questions about the results.

Started as a script, with nothing of this package at hand but `wire.py` and `side_by_side.py` beside it. It is told what
to do on the pipe that was its standard input and answers on the one that was its standard output. Nothing it says is
trusted: the student's code runs in this very process and may change all of it. So no expected value and no test
ever comes here, only questions, and why the marks are given on the other side.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import sysconfig
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

MAX_ERROR = 300
MAX_TEXT = 20_000  # characters of printed output that a cell may keep
MAX_PICTURES = 8  # for one cell
MAX_PICTURE = 2_000_000  # characters of base64


class Clipped(io.TextIOBase):
    """A text stream that keeps the first characters and counts the rest, so that endless printing fills nothing."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.room = MAX_TEXT
        self.dropped = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keep what there is room for."""
        if self.room > 0:
            self.kept.append(text[: self.room])
        self.dropped += max(0, len(text) - max(0, self.room))
        self.room -= len(text)
        return len(text)

    def text(self) -> str:
        """What was kept, and how much was not."""
        end = f"\n[{self.dropped:,} more characters were left out]\n" if self.dropped else ""
        return "".join(self.kept) + end


class Student:
    """The student's notebook as questions see it: `student.output_size` is what the notebook calls `output_size`."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise NameError(f"the notebook does not define {name}")
        return self._names[name]


def run_cell(shell: Any, source: str) -> dict[str, Any]:
    """Runs one cell; returns its outputs in the notebook format and the error it ended with, if any."""
    from IPython.utils.capture import capture_output

    printed, complaints = Clipped(), Clipped()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = printed, complaints
    try:
        with capture_output(stdout=False, stderr=False, display=True) as shown:
            result = shell.run_cell(source, store_history=False)
    finally:
        sys.stdout, sys.stderr = before
    outputs: list[dict[str, Any]] = []
    for name, stream in (("stdout", printed), ("stderr", complaints)):
        if stream.kept:
            outputs.append({"output_type": "stream", "name": name, "text": stream.text()})
    for rich in shown.outputs[:MAX_PICTURES]:
        data = {kind: rich.data[kind] for kind in ("text/plain", "image/png") if kind in rich.data}
        if "text/plain" in data:
            data["text/plain"] = str(data["text/plain"])[:MAX_TEXT]
        if len(data.get("image/png", "")) <= MAX_PICTURE and data:
            outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    error = result.error_before_exec or result.error_in_exec
    return {"outputs": outputs, "error": None if error is None else describe(error)}


def describe(error: BaseException) -> str:
    """The last line of a traceback, with the line of the student's code it came from unless the text says it all."""
    text = traceback.format_exception_only(error)[-1].strip()[:500]
    if isinstance(error, AssertionError) and str(error):
        return text
    text = " ".join(text.split())[:MAX_ERROR]  # frameworks print whole arrays into their errors
    if isinstance(error, SyntaxError):
        return f"{text} (in line {error.lineno}, which is `{(error.text or '').strip()}`)"
    lines = [entry.line for entry in traceback.extract_tb(error.__traceback__) if "ipython-input" in entry.filename]
    return f"{text} (in: {lines[-1].strip()})" if lines and lines[-1] else text


def answer(names: dict[str, Any], source: str, function: str, inputs: dict[str, Any]) -> Any:
    """Runs a question, a function given as source text, on the student's names."""
    space: dict[str, Any] = {"__name__": "question"}
    exec(compile(source, "<question>", "exec"), space)
    return space[function](Student(names), **inputs)


def beside(name: str) -> Any:
    """The module of that name beside this file, under a name that no student's own module has."""
    spec = spec_from_file_location(f"_resnet_twins_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_shell() -> Any:
    """IPython as in Jupyter, with all of it that a cell needs imported."""
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        """As in Jupyter, but for windows: `%matplotlib inline` asks for them and needs none."""

        def enable_gui(self, gui: str | None = None) -> None:
            """Nothing."""

    shell = Shell.instance(colors="nocolor")
    run_cell(shell, "1 / 0  # the ways of an error, too, import something")
    run_cell(shell, "pass")
    return shell


def open_folder() -> None:
    """Lets the notebook import what lies beside it, but for what has the name of a module of Python's own."""
    standard = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")}
    standard |= {str(Path(path) / "lib-dynload") for path in standard}
    first = [path for path in sys.path if path in standard or path.endswith(".zip")]
    sys.path[:] = [*first, "", *(path for path in sys.path if path not in first)]


def respond(shell: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Does what is asked, and returns the reply."""
    if request["do"] == "turn":
        return {"turn": request["number"]}
    if request["do"] == "cell":
        return run_cell(shell, request["source"])
    return {"value": answer(shell.user_ns, request["source"], request["function"], request["inputs"]), "error": None}


def main() -> None:
    """Serves requests until the other side closes the pipe. A folder that is named is copied to this one first."""
    sys.path.pop(0)  # the folder of this file
    side_by_side, wire = beside("side_by_side"), beside("wire")
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what C code prints goes where errors go
    side_by_side.make_safe()  # a student may import TensorFlow first, on a computer where that does no harm
    shell = make_shell()
    for given in sys.argv[1:]:
        shutil.copytree(given, ".", dirs_exist_ok=True)
    open_folder()
    wire.send(replies, wire.to_bytes({"ready": True}))
    while (message := wire.receive(requests)) is not None:
        request = wire.from_bytes(message)
        try:
            data = wire.to_bytes(respond(shell, request))
        except BaseException as error:
            data = wire.to_bytes({"value": None, "outputs": [], "error": describe(error)})
        wire.send(replies, data)


if __name__ == "__main__":
    main()

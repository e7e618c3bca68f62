"""A notebook as plain data, and a student's answers put into the one that was handed out."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.base.files import read_start
from shared.base.printable import printable

BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
MAX_BYTES = 100_000_000  # of a submitted notebook
MAX_VALUES = 5_000_000  # of its JSON: as Python objects they take many times their size
MAX_SOURCE = 2_000_000  # characters in all cells together
MAX_CELLS = 1000
MOST_FINDINGS = 20
Cell = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A graded cell. `hidden` is the text of its hidden tests; a written answer has none and is marked by a person."""

    name: str
    points: float
    hidden: str
    written: bool


def read_notebook(path: Path, *, follow: bool = True) -> Cell:
    """A notebook file as plain data, with the text of each cell in one piece. With `follow=False` no link will do.

    Raises `InputError` for what is missing, far too large, or not a notebook.
    """
    name = printable(path.name)
    data = read_start(path, MAX_BYTES, follow=follow)
    if len(data) > MAX_BYTES:
        raise InputError(f"{name} has more than {MAX_BYTES / 1e6:.0f} MB")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise InputError(f"{name} holds more than {MAX_VALUES:,} values")
    try:
        notebook = json.loads(data.decode("utf-8"))
        if len(notebook["cells"]) > MAX_CELLS:
            raise InputError(f"{name} has {len(notebook['cells']):,} cells, more than {MAX_CELLS:,}")
        for cell in notebook["cells"]:
            source = cell["source"]
            text = source if isinstance(source, str) else "".join(source)
            cell["source"] = text.encode("utf-8", "replace").decode("utf-8")  # half characters cannot be written
            if cell["cell_type"] not in ("code", "markdown", "raw") or not isinstance(cell["metadata"], dict):
                raise ValueError("a cell of no known kind")
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not a notebook that can be read: line {error.lineno} is no JSON") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {printable(error)}"
        raise InputError(f"{name} is not a notebook that can be read ({why})") from error
    if (size := sum(len(cell["source"]) for cell in notebook["cells"])) > MAX_SOURCE:
        raise InputError(f"{name} holds {size:,} characters in its cells, more than {MAX_SOURCE:,}")
    return dict(notebook)


def identity(cell: Cell) -> str | None:
    """The name by which nbgrader knows a cell, None for a cell that the student added."""
    nbgrader = cell["metadata"].get("nbgrader")
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return name if isinstance(name, str) else None


def is_locked(cell: Cell) -> bool:
    """Whether students may not change this cell of a source notebook."""
    return not cell["metadata"]["nbgrader"]["solution"]


def find_tasks(source: Cell) -> list[Task]:
    """The graded cells of a source notebook, in order."""
    found = []
    for cell in source["cells"]:
        nbgrader = cell["metadata"]["nbgrader"]
        if nbgrader["grade"]:
            hidden = split_hidden(cell["source"])[1]
            points, written = float(nbgrader["points"]), bool(nbgrader["solution"])
            found.append(Task(name=nbgrader["grade_id"], points=points, hidden=hidden, written=written))
    return found


def split_hidden(source: str) -> tuple[str, str]:
    """The text of a cell without its hidden tests, and these tests; empty where there is no beginning or no end."""
    lines = source.split("\n")
    if BEGIN not in lines or END not in lines[lines.index(BEGIN) :]:
        return source.rstrip(), ""
    begin = lines.index(BEGIN)
    end = lines.index(END, begin)
    return "\n".join([*lines[:begin], *lines[end + 1 :]]).rstrip(), "\n".join(lines[begin + 1 : end])


def merge(source: Cell, release: Cell, submission: Cell) -> tuple[Cell, list[str]]:
    """The source notebook with the student's answers in it, and what was found changed that should not be.

    Text, order and points of all locked cells are the teacher's, whatever the submission holds. Cells that the
    student added stay behind the cell that they followed. The result has the metadata of `release`.
    """
    given, added, findings = _handed_in(release, submission)
    cells = list(added[None])
    for mine, theirs in zip(source["cells"], release["cells"], strict=True):
        name = identity(theirs) or ""
        cell, changed = _answered(name, mine, theirs, given.get(name))
        findings += changed
        cells += [cell, *added.get(name, [])]
    return _not_yet_run(cells), shortened(findings)


def _handed_in(release: Cell, submission: Cell) -> tuple[dict[str, Cell], dict[str | None, list[Cell]], list[str]]:
    """The student's version of the cells that were handed out, what was added behind each, and what is wrong there.

    What stands before the first of them is added behind None.
    """
    findings: list[str] = []
    given: dict[str, Cell] = {}
    added: dict[str | None, list[Cell]] = {None: []}
    known = {name: None for cell in release["cells"] if (name := identity(cell))}
    last: str | None = None
    for cell in submission["cells"]:
        name = identity(cell)
        if name in known and name not in given:
            last = name
            given[name] = cell
            added[name] = []
            continue
        if name in known:
            findings.append(f"{name} is there twice")
        elif name is not None:
            findings.append(f"an unknown graded cell, '{printable(name, 40)}'")
        if cell["source"].strip():
            added[last].append({"cell_type": cell["cell_type"], "metadata": {}, "source": cell["source"]})
    if list(given) != [name for name in known if name in given]:
        findings.append("the cells were moved")
    return given, added, findings


def _answered(name: str, mine: Cell, theirs: Cell, answer: Cell | None) -> tuple[Cell, list[str]]:
    """One cell as it is marked, and what was changed that should not be.

    `mine` is the teacher's, `theirs` what was handed out, `answer` what came back, None if nothing did.
    """
    cell = copy.deepcopy(theirs) | {"source": mine["source"]}
    graded = bool(theirs["metadata"]["nbgrader"]["grade"])
    findings = []
    if answer is None:
        if theirs["cell_type"] == "code" or graded:
            findings.append(f"{name} was deleted")
        if not is_locked(mine):
            cell["source"] = theirs["source"]
        return cell, findings
    if not is_locked(mine):
        cell["source"] = answer["source"]
    elif theirs["cell_type"] == "code" and _words(answer["source"]) != _words(theirs["source"]):
        findings.append(f"{name} was edited")
    if graded and _points(answer) != _points(theirs):
        findings.append(f"the points of {name} were changed")
    return cell, findings


def _not_yet_run(cells: list[Cell]) -> Cell:
    """A notebook of these cells, each with an id and without outputs."""
    for number, cell in enumerate(cells):
        cell.setdefault("id", f"added-{number}")
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def shortened(findings: Sequence[str], most: int = MOST_FINDINGS) -> list[str]:
    """The first findings, each once, and how many more there are."""
    once = list(dict.fromkeys(findings))
    return once if len(once) <= most else [*once[:most], f"and {len(once) - most:,} more like these"]


def _words(text: str) -> list[str]:
    return text.split()  # other editors change line ends and trailing spaces


def _points(cell: Cell) -> Any:
    nbgrader = cell["metadata"].get("nbgrader")
    return nbgrader.get("points") if isinstance(nbgrader, dict) else None

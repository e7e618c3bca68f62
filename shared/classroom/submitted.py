"""Who is in the class, and what lies where in `submitted/`: so that nobody is lost because of a wrong folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import read_start
from shared.base.printable import printable
from shared.classroom.folders import list_files

NOT_STUDENTS = ("__MACOSX",)  # what unpacked archives bring along
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
MAX_TABLE = 10_000_000  # bytes
MOST_MISPLACED = 100


def read_table(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """These columns of a table as spreadsheets save them: commas, semicolons or tabs, in any usual encoding.

    Raises `InputError` if it cannot be read or lacks a column, with the first line.
    """
    data = read_start(path, MAX_TABLE)
    if len(data) > MAX_TABLE:
        raise InputError(f"{path} has more than {MAX_TABLE / 1e6:.0f} MB; a table of a class is smaller")
    try:
        text = data.decode("utf-16" if data.startswith(BYTE_ORDER_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # how Excel saves plain CSV in western Europe
    lines = text.splitlines()
    first = lines[0] if lines else ""
    try:
        rows = list(csv.reader(lines, delimiter=max(",;\t", key=first.count)))
    except csv.Error as error:
        raise InputError(f"{path} is no table that can be read ({error})") from error
    heads = [head.strip().lower() for head in rows[0]] if rows else []
    if missing := [name for name in columns if name not in heads]:
        raise InputError(
            f"{path}: the first line must name the columns, and one must be called {missing[0]}; it is {first[:100]!r}"
        )
    places = [heads.index(name) for name in columns]
    found = [[row[place].strip() for place in places] for row in rows[1:] if len(row) > max(places)]
    return [row for row in found if row[0]]


def read_class(path: Path) -> list[str]:
    """The column `id` of the table of a class. Raises `InputError` as `read_table` does."""
    return [name for (name,) in read_table(path, ["id"])]


def read_times(path: Path) -> dict[tuple[str, str], str]:
    """When work was handed in: (assignment, student) -> time, from a table with the columns id, assignment and time.

    Raises `InputError` as `read_table` does, and for what is no time.
    """
    from nbgrader.utils import parse_utc

    found = {}
    for name, assignment, time in read_table(path, ["id", "assignment", "time"]):
        try:
            parse_utc(time)
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}: {time!r} of {name} is no time; write it like 2026-11-27 18:30 UTC") from error
        found[assignment, name] = time
    return found


def students_in(submitted: Path, assignments: Iterable[str]) -> list[str]:
    """The folders of students in `submitted/`; links count, too, so that they are named when it comes to grading."""
    others = {*NOT_STUDENTS, *assignments}
    entries = list(submitted.iterdir()) if submitted.is_dir() else []
    return [p.name for p in entries if (p.is_symlink() or p.is_dir()) and p.name[0] != "." and p.name not in others]


def wrong_name(student: str) -> str:
    """What is wrong with the name of a student's folder; empty if it can be graded.

    nbgrader takes such names for others: it looks for them as patterns, without the spaces around them.
    """
    if student != student.strip() or set(student) & set("*?[]"):
        return "the name must not start or end with a space, nor hold any of * ? [ ]"
    if printable(student) != student or not student.isprintable():
        return "the name holds characters that are no text, or more than 200 of them"
    return ""


def misplaced(submitted: Path, assignments: Iterable[str]) -> list[str]:
    """A line for every notebook in `submitted/` that is not where grading looks: STUDENT/NAME/."""
    names = set(assignments)
    students = set(students_in(submitted, names))
    found = []
    for parts in _notebooks(submitted):
        if any(part.startswith(".") or part in NOT_STUDENTS for part in parts):
            continue
        at_home = len(parts) > 2 and parts[0] in students and parts[1] in names
        if at_home and (len(parts) == 3 or any((submitted / parts[0] / parts[1]).glob("*.ipynb"))):
            continue
        student = next((part for part in parts[:-1] if part not in names), "STUDENT")
        spoken = [name for name in sorted(names) for part in reversed(parts) if name in part]
        home = f"submitted/{printable(student)}/{spoken[0] if spoken else 'NAME'}/"
        where = printable("/".join((submitted.name, *parts)))
        found.append(f"{where} is not where grading looks; it belongs into {home}")
        if len(found) == MOST_MISPLACED:
            return [*found, f"more than {MOST_MISPLACED} notebooks are not where grading looks; these are the first"]
    return found


def _notebooks(submitted: Path) -> list[tuple[str, ...]]:
    """The parts of the path of every notebook below `submitted`."""
    found = []
    for entry in submitted.iterdir() if submitted.is_dir() else []:
        if entry.is_symlink():
            continue
        inner = list_files(entry).files if entry.is_dir() else {"": entry}
        found += [(entry.name, *filter(None, name.split("/"))) for name in inner]
    return sorted(parts for parts in found if parts[-1].endswith(".ipynb"))

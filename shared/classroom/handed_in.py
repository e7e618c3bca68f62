"""Who is in the class, and what lies where in `submitted/`: so that nobody is lost because of a wrong folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from shared.errors import InputError

NOT_STUDENTS = ("__MACOSX",)  # what unpacked archives bring along
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_class(path: Path) -> list[str]:
    """The column `id` of a table as spreadsheets save them: commas, semicolons or tabs, in any usual encoding.

    Raises `InputError` if it cannot be read or has no such column, with the first line.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data.startswith(BYTE_ORDER_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # how Excel saves plain CSV in western Europe
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    heads = [head.strip().lower() for head in rows[0]] if rows else []
    if "id" not in heads:
        raise InputError(
            f"{path}: the first line must name the columns, and one must be called id; it is {first[:100]!r}"
        )
    column = heads.index("id")
    return [name for row in rows[1:] if len(row) > column and (name := row[column].strip())]


def students_in(submitted: Path, assignments: Iterable[str]) -> list[str]:
    """The folders of students in `submitted/`."""
    others = {*NOT_STUDENTS, *assignments}
    return [p.name for p in submitted.glob("*") if p.is_dir() and p.name[0] != "." and p.name not in others]


def misplaced(submitted: Path, assignments: Iterable[str]) -> list[str]:
    """A line for every notebook in `submitted/` that is not where grading looks: STUDENT/NAME/."""
    names = set(assignments)
    students = set(students_in(submitted, names))
    found = []
    for path in sorted(submitted.rglob("*.ipynb")):
        parts = path.relative_to(submitted).parts
        if any(part.startswith(".") or part in NOT_STUDENTS for part in parts):
            continue
        at_home = len(parts) > 2 and parts[0] in students and parts[1] in names
        if at_home and (len(parts) == 3 or any((submitted / parts[0] / parts[1]).glob("*.ipynb"))):
            continue
        student = next((part for part in parts[:-1] if part not in names), "STUDENT")
        spoken = [name for name in sorted(names) for part in reversed(parts) if name in part]
        home = f"submitted/{student}/{spoken[0] if spoken else 'NAME'}/"
        where = path.relative_to(submitted.parent).as_posix()
        found.append(f"{where} is not where grading looks; it belongs into {home}")
    return found

"""Folders that a student filled: looked through and removed without recursion, and without following any link."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.base.printable import printable

DEEPEST = 20  # folders in folders
MOST_ENTRIES = 5000  # files and folders that are looked at
LONGEST = 3500  # characters of a path: the system refuses those of 4,096 bytes


@dataclass
class Listing:
    """The plain files of a folder by their relative names, and a line for each entry that was left out."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def list_files(folder: Path) -> Listing:
    """Return what lies in `folder` and below; links and whatever else is no plain file are named and not followed."""
    found, seen = Listing(), 0
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        for entry in _entries(place, found):
            seen += 1
            if seen > MOST_ENTRIES:
                found.left_out.append(f"more than {MOST_ENTRIES:,} files and folders; the others were left out")
                return found
            name = Path(entry.path).relative_to(folder).as_posix()
            if why := _why_not(entry):
                found.left_out.append(f"{printable(name)} {why}; left out")
            elif not entry.is_dir(follow_symlinks=False):
                found.files[name] = Path(entry.path)
            elif depth == DEEPEST:
                found.left_out.append(f"{printable(name)} lies more than {DEEPEST} folders deep; left out")
            else:
                waiting.append((Path(entry.path), depth + 1))
    found.files = dict(sorted(found.files.items()))
    found.left_out.sort()
    return found


def _entries(place: Path, found: Listing) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return list(itertools.islice(entries, MOST_ENTRIES + 1))
    except OSError as error:
        found.left_out.append(f"{printable(place.name)} cannot be read ({error.strerror or error}); left out")
        return []


def _why_not(entry: os.DirEntry[str]) -> str:
    """Return why this is neither a folder nor a file of the student's own; empty if it is one."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if stat.S_ISLNK(status.st_mode):
        return "is a link, which is not followed"
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "is no plain file"
    return "is a hard link: the same file has another name elsewhere" if status.st_nlink > 1 else ""


def link_on_the_way(root: Path, path: Path) -> Path | None:
    """Return the first component of `path` below `root` that is a link, None if there is none."""
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if place.is_symlink():
            return place
    return None


def size_of(folder: Path) -> float:
    """Return the bytes of all files in `folder`; infinity where it is too deep or too full to be looked through."""
    total, seen, waiting = 0, 0, [str(folder)]
    while waiting:
        with (
            contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError),
            os.scandir(waiting.pop()) as entries,
        ):
            for entry in entries:
                seen += 1
                if seen > 20 * MOST_ENTRIES or len(entry.path) > LONGEST:
                    return float("inf")
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total


PREFIX = "resnet-twins-grading-"


def new_place() -> Path:
    """Makes a folder for temporary files; its name says whose it is."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def remove_abandoned() -> None:
    """Removes what processes that were killed have left where `new_place` makes its folders."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)) and not path.is_symlink():
            with contextlib.suppress(OSError):  # somebody else's
                remove_tree(path)


def remove_tree(folder: Path) -> None:
    """Remove `folder`, however deep it is and whatever rights its folders have.

    What lies in a folder of it is moved up first, under a short name: no path gets too long, and nothing is recursive.
    """
    numbers = itertools.count()
    with contextlib.suppress(FileNotFoundError):
        while entries := _all_of(folder):
            for entry in entries:
                _flatten(entry, folder, numbers)
        folder.rmdir()


def _all_of(folder: Path) -> list[os.DirEntry[str]]:
    folder.chmod(0o700)
    with os.scandir(folder) as entries:
        return list(entries)


def _flatten(entry: os.DirEntry[str], top: Path, numbers: Iterator[int]) -> None:
    path = Path(entry.path)
    if not entry.is_dir(follow_symlinks=False):
        path.unlink()
        return
    for inner in _all_of(path):
        while (place := top / f"moved-{next(numbers)}").exists():
            continue
        Path(inner.path).rename(place)
    path.rmdir()

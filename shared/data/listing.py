"""What lies in a folder, however wide or deep it is: nothing is waited for, no link to a folder is followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shared.base.budget import Budget
from shared.base.printable import printable_list

#: Folders below folders: what lies deeper is left out.
MOST_DEPTH = 50
#: ImageNet has 1.3 million.
MOST_FILES, MOST_SECONDS = 2_000_000, 900.0
#: How many of the names that were left out are kept to be shown.
SHOWN = 3


@dataclass
class LeftOut:
    """What was passed over: reason -> how many, and the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count `name` among those that were left out for this reason."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        first = self.names.setdefault(reason, [])
        if len(first) < SHOWN:
            first.append(name)

    def notes(self) -> tuple[str, ...]:
        """Return a line for each reason."""
        return tuple(
            f"{count:,} {reason}: {printable_list(self.names[reason])}{', ...' if count > SHOWN else ''}"
            for reason, count in sorted(self.counts.items())
        )


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Names of files and folders relative to where they lie, with "/", what was left out, and how a file is read."""

    files: list[str]
    folders: set[str]
    notes: tuple[str, ...]
    read: Callable[[str], bytes]


def folder_budget(path: str | Path) -> Budget:
    """Return the allowance for listing folders: what is in their files costs nothing yet."""
    return Budget(path, most_bytes=0, members=MOST_FILES, seconds=MOST_SECONDS)


def list_folder(
    root: Path, endings: tuple[str, ...], read: Callable[[str], bytes], budget: Budget, *, hidden: bool = False
) -> Listing:
    """Return the files below `root` that end so, and all folders. Links to files are files; `hidden` ones count too."""
    files: list[str] = []
    folders, left = set(), LeftOut()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(root / prefix) as entries:
                for entry in entries:
                    budget.take_member()
                    name = prefix + entry.name
                    if entry.name.startswith(".") and not hidden:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.add(name)
                        if name.count("/") < MOST_DEPTH:
                            waiting.append(f"{name}/")
                        else:
                            left.add(f"folders more than {MOST_DEPTH} levels deep were not looked into", name)
                    elif _is_folder(entry):
                        folders.add(name)
                        left.add("links to folders were not followed", name)
                    elif entry.name.lower().endswith(endings):
                        if _is_file(entry):
                            files.append(name)
                        else:
                            left.add("are named like pictures but are no files", name)
        except OSError as error:
            left.add(f"folders could not be read ({error.strerror or error})", prefix or str(root))
    return Listing(files=files, folders=folders, notes=left.notes(), read=read)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to a place that is closed
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False

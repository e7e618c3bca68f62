"""What tests of foreign runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.training.run import Reporter


class AskToStopAt(Reporter):
    """Stops the run as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, run, row) -> None:
        run.stop_requested = run.stop_requested or run.step == self.at


def picture(root: Path) -> dict[str, Any]:
    """Everything below a folder: names, kinds, contents, where links lead."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what: Any = (path.read_bytes(), status.st_mtime_ns) if path.is_file() and not path.is_symlink() else ""
        found[str(path.relative_to(root))] = (status.st_mode, path.readlink() if path.is_symlink() else what)
    return found

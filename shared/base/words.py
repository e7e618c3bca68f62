"""Numbers and commands, written for people."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from shared.base.versions import shell_line

TICK, CROSS = "✓", "✗"


def short_number(value: float) -> str:
    """Return a count with three digits and a unit: 11.7 M, 4.09 G."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            digits = value / size
            return f"{digits:.{max(0, 3 - len(str(int(digits))))}f}{unit}"
    return f"{value:.0f}"


def command_line() -> str:
    """Return the command that was typed, for people."""
    return shell_line([Path(sys.argv[0]).name, *sys.argv[1:]])


def text_of(drawn: Any, width: int) -> str:
    """Return what rich shows of a table in a terminal of `width` characters, as plain lines."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=width, color_system=None, force_jupyter=False).print(drawn)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")

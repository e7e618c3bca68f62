"""Numbers and commands, written for people."""

from __future__ import annotations

import sys
from pathlib import Path

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

"""Prints a command of the README, so that CI runs the very line that a user pastes.

python tools/readme_command.py demo
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def command(name: str) -> str:
    """Return the one line of the code block that follows `<!-- command: NAME -->`."""
    found = re.findall(
        rf"<!-- command: {re.escape(name)} -->\n```sh\n([^\n]+)\n```", README.read_text(encoding="utf-8")
    )
    if len(found) != 1:
        raise SystemExit(f"README.md has {len(found)} one-line commands named {name!r}; exactly one is wanted")
    return str(found[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/readme_command.py NAME")
    print(command(sys.argv[1]))

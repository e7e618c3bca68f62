"""Draws the picture at the top of the README from the real output of `resnet-twins compare resnet18 --by block`.

    python tools/make_pictures.py

A test draws it again and fails if the committed file differs.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from shared.base.files import write_text
from shared.twins.comparison import compare

PICTURE = Path(__file__).parents[1] / "docs" / "compare-resnet18.svg"
WIDTH = 125
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def draw() -> str:
    """Return the picture as SVG text."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), highlight=False)
    found = compare("resnet18", by="block")
    console.print("[bold]$ resnet-twins compare resnet18 --by block[/]")
    console.print(found.to_rich(WIDTH))
    console.print(f"[bold]{found.verdict}[/]", soft_wrap=True)
    svg = console.export_svg(title="resnet-twins", theme=DEFAULT_TERMINAL_THEME, unique_id="compare")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # rich's fonts would be fetched from elsewhere
    svg = re.sub(r"<!-- Generated .*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]+;", f"font-family: {FONT};", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    write_text(PICTURE, draw())
    print(f"wrote {PICTURE}")

"""Draws the pictures at the top of the README from the real output of two commands.

    python tools/make_pictures.py

Tests draw them again and fail if the committed files differ.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from shared.base.files import write_text
from shared.twins.comparison import compare
from shared.twins.named import open_two
from shared.twins.parting import find_parting

DOCS = Path(__file__).parents[1] / "docs"
PAIR = ("mine.py:Net", "theirs.py:build_model")
WIDTH = 125
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def draw_comparison() -> str:
    """Return the comparison of the twins as SVG text."""
    screen = _screen("resnet-twins compare resnet18 --by block")
    found = compare("resnet18", by="block")
    screen.print(found.to_rich(WIDTH))
    screen.print(f"[bold]{found.verdict}[/]", soft_wrap=True)
    return _svg(screen, "compare")


def draw_parting() -> str:
    """Return what the microscope says of the pair in docs/pair as SVG text."""
    import keras
    import torch

    keras.utils.clear_session()  # it counts its names from the start, as in a process of its own
    torch.manual_seed(0)
    screen = _screen(f"resnet-twins microscope {' '.join(PAIR)}")
    models = open_two(*(f"{DOCS / 'pair'}/{name}" for name in PAIR))
    seen = find_parting(*models, titles=PAIR)
    screen.print(seen.to_rich(WIDTH))
    screen.print(f"[bold]{seen.verdict}[/]", soft_wrap=True)
    screen.print("\nBesides:")
    for line in seen.reasons:
        screen.print(f"  • {line}")
    return _svg(screen, "parting")


#: File -> what draws it.
PICTURES = {DOCS / "compare-resnet18.svg": draw_comparison, DOCS / "parting.svg": draw_parting}


def _screen(command: str) -> Console:
    screen = Console(width=WIDTH, record=True, file=io.StringIO(), highlight=False)
    screen.print(f"[bold]$ {command}[/]")
    return screen


def _svg(screen: Console, name: str) -> str:
    svg = screen.export_svg(title="resnet-twins", theme=DEFAULT_TERMINAL_THEME, unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # rich's fonts would be fetched from elsewhere
    svg = re.sub(r"<!-- Generated .*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]+;", f"font-family: {FONT};", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    for picture, draw in PICTURES.items():
        write_text(picture, draw())
        print(f"wrote {picture}")

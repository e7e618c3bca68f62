"""Figures. Needs matplotlib; colours and markers hold up in greyscale and for colour-blind readers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from shared.base.errors import MissingPackageError
from shared.base.files import replacing
from shared.base.versions import install_command, is_installed

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"  # Okabe and Ito's palette


def check_matplotlib() -> None:
    """Raise `MissingPackageError` if no figure can be drawn."""
    if not is_installed("matplotlib"):
        raise MissingPackageError(f"a figure needs matplotlib; install it with: {install_command('figures')}")


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """Return a figure of so many inches and its axes; `MissingPackageError` without matplotlib."""
    check_matplotlib()
    # Where its folders cannot be written to it takes others, and says so in the middle of whatever is shown.
    talk = logging.getLogger("matplotlib")
    level = talk.level
    talk.setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    talk.setLevel(level)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def save_figure(figure: Any, path: str | Path | None) -> None:
    """Write the figure to `path`, whole or not at all; nothing without a path."""
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)

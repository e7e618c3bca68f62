"""Figures. Needs matplotlib; colours and markers hold up in greyscale and for colour-blind readers."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

from shared.base.errors import MissingPackageError
from shared.base.files import replacing
from shared.base.versions import install_command, is_installed

#: What the systems and the usual distributions call them; the first that is installed is taken.
CHINESE_FONTS: tuple[str, ...]
CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei")
CHINESE_FONTS += ("WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC")
CHINESE_FONTS += ("Hiragino Sans GB", "Heiti SC", "STHeiti", "Arial Unicode MS")
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


@functools.cache
def chinese_fonts() -> list[str]:
    """Return the fonts with Chinese signs that this computer has, by name."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [name for name in CHINESE_FONTS if name in installed]


@functools.cache
def _signs() -> frozenset[int]:
    """Return the code points that can be drawn here."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = [findfont(FontProperties(family=family)) for family in (None, *chinese_fonts())]
    return frozenset().union(*(get_font(path).get_charmap() for path in paths))


def drawable(text: str) -> str:
    """Return a text in which signs that no font here has are written as their code points, like `\\u4e2d`."""
    return "".join(sign if ord(sign) in _signs() else f"\\u{ord(sign):04x}" for sign in text)


def save_figure(figure: Any, path: str | Path | None) -> None:
    """Give all texts of the figure the fonts that they need, and write it to `path`, whole or not at all.

    Without a path nothing is written.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text) if chinese_fonts() else []:
        text.set_fontfamily([*text.get_fontfamily(), *chinese_fonts()])
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)

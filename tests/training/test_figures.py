"""Figures: every text in them can be drawn, whatever letters this computer's fonts have."""

from __future__ import annotations

import numpy as np
import pytest

from shared.base.figures import chinese_fonts, drawable
from shared.training import plot_confusion

pytest.importorskip("matplotlib")


@pytest.mark.draws
def test_chinese_classes_show_no_boxes_and_warn_of_nothing(tmp_path):
    """Warnings are errors in tests: matplotlib warns of each sign that no font has."""
    figure = plot_confusion(np.array([[3, 1], [0, 2]]), ["猫", "狗"], "动物", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 10_000
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == (["猫", "狗"] if chinese_fonts() else ["\\u732b", "\\u72d7"])


def test_what_every_font_has_is_left_as_it_is():
    assert drawable("Größe × 2 ≈ π, naïve") == "Größe × 2 ≈ π, naïve"

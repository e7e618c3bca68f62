"""Figures of a run: loss, accuracy and learning rate, and which classes were confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS
from shared.base.figures import BLUE, GREEN, GREY, ORANGE, drawable, new_figure, save_figure
from shared.base.printable import printable
from shared.base.versions import is_installed
from shared.data.dataset import Dataset
from shared.data.score import Score
from shared.training.folder import CONFUSION, CURVES
from shared.training.metrics import Row, epoch_means

#: Characters of a class's name that stand at an axis.
MOST_LABEL = 40
#: Colour, line style and marker of each curve in turn: they also differ in grey.
LINES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (GREY, ":", "D"))


def draw_figures(
    folder: Path, title: str, rows: Mapping[str, Sequence[Row]], score: Score | None, data: Dataset
) -> None:
    """Draw the figures of a run into its folder; nothing without matplotlib."""
    if is_installed("matplotlib"):
        plot_curves(rows, title, folder / CURVES)
        if score is not None:
            plot_confusion(score.confusion, data.classes, title, folder / CONFUSION)


def plot_curves(runs: Mapping[str, Sequence[Row]], title: str, path: str | Path | None = None) -> Any:
    """Draw loss, accuracy and learning rate of one run or several over the epochs.

    `runs` maps a label to the rows of `metrics.csv`. Training values are means over the steps of an epoch.
    """
    figure, (left, middle, right) = new_figure(13, 4.2, columns=3)
    for (label, rows), (colour, line, marker) in zip(runs.items(), LINES, strict=False):
        if not rows:
            continue
        label = BACKENDS[label].title if label in BACKENDS else label
        every = max(1, round(rows[-1]["epoch"] / 20))  # a marker on about twenty epochs
        for axes, what, factor in ((left, "loss", 1.0), (middle, "accuracy", 100.0)):
            for split, style in (("train", ":"), ("test", "-")):
                epochs, means = epoch_means(rows, f"{split}_{what}")
                values = [factor * value for value in means]
                look = {"color": colour, "markersize": 4, "markevery": every, "label": f"{label}, {split}"}
                axes.plot(epochs, values, style, marker=marker if split == "test" else None, **look)
        per_epoch = max(row["step"] / row["epoch"] for row in rows)  # as it is where an epoch ends
        steps = [row["step"] / per_epoch for row in rows]
        right.plot(steps, [row["learning_rate"] for row in rows], line, color=colour, label=label)
    left.set(xlabel="epoch", ylabel="cross-entropy (nats per image)", title="loss")
    middle.set(xlabel="epoch", ylabel="right (%)", title="accuracy")
    right.set(xlabel="epoch", ylabel="learning rate", title="learning rate")
    right.set_ylim(bottom=0)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    for axes in (left, middle):
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(drawable(title), parse_math=False)
    save_figure(figure, path)
    return figure


def plot_confusion(
    counts: NDArray[np.int64], classes: Sequence[str], title: str, path: str | Path | None = None
) -> Any:
    """Draw how often each true class (row) was taken for each class (column), in percent of the row."""
    size = min(16.0, 3.0 + 0.55 * len(classes))
    figure, axes = new_figure(size + 0.8, size)
    share = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=100)
    if len(classes) <= 20:
        for (row, column), value in np.ndenumerate(counts):
            if value:
                colour = "white" if share[row, column] < 50 else "black"
                axes.text(column, row, f"{value}", ha="center", va="center", color=colour, fontsize=8)
    classes = [drawable(printable(name, MOST_LABEL)) for name in classes]
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(ticks, classes)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be called "$"
    right = np.trace(counts)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{drawable(title)}: {right:,} of {counts.sum():,} test images right", fontsize=10, parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    save_figure(figure, path)
    return figure


#: A figure takes half a second: between the epochs of a small network they are drawn only this often.
SECONDS_BETWEEN_FIGURES = 20.0

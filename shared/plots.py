"""Figures. Needs matplotlib; colours and markers hold up in greyscale and for colour-blind readers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import MissingPackageError
from shared.files import replacing
from shared.printable import printable
from shared.run import Row, epoch_means
from shared.versions import install_command, is_installed

if TYPE_CHECKING:
    from shared.experiment import Curve
    from shared.microscope import Microscope

#: Characters of a class's name that stand at an axis.
MOST_LABEL = 40
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


def plot_microscope(seen: Microscope, path: str | Path | None = None) -> Any:
    """Draw each layer's relative error on a logarithmic scale, with the threshold and the first layer that parts."""
    layers = seen.layers
    figure, axes = new_figure(11, 4.8)
    positions = np.arange(len(layers))
    floor = 1e-17
    activations = np.array([max(layer.activation, floor) for layer in layers])
    gradients = np.array([np.nan if layer.gradient is None else max(layer.gradient, floor) for layer in layers])
    axes.semilogy(positions, activations, "o-", color=BLUE, markersize=4, linewidth=1, label="activations")
    if not np.isnan(gradients).all():
        axes.semilogy(positions, gradients, "x--", color=ORANGE, markersize=4, linewidth=1, label="gradients")
    axes.axhline(seen.threshold, color=GREY, linestyle=":", label=f"threshold {seen.threshold:.1e}")
    step = max(1, len(layers) // 30)
    shown = set(range(0, len(layers), step))
    if seen.first is not None:
        at = [layer.name for layer in layers].index(seen.first)
        axes.axvline(at, color="black", linewidth=1)
        axes.set_ylim(top=1e3 * axes.get_ylim()[1])  # room for the layer's name
        axes.annotate(
            f"first: {seen.first}",
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4 if at < len(layers) / 2 else -4, -12),
            textcoords="offset points",
            ha="left" if at < len(layers) / 2 else "right",
            fontweight="bold",
        )
        shown = {tick for tick in shown if abs(tick - at) >= step} | {at}
    ticks = sorted(shown)
    axes.set_xticks(ticks, [layers[tick].name for tick in ticks], rotation=90, fontsize=7)
    axes.set_xlabel("layer, in the order of computation")
    axes.set_ylabel("relative error (0 is drawn at 1e-17)")
    axes.set_title(f"{seen.network}: PyTorch and Keras, same weights, same images")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    save_figure(figure, path)
    return figure


#: Colour, line style and marker of each curve in turn: they also differ in grey.
LINES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (GREY, ":", "D"))


def plot_curves(runs: Mapping[str, Sequence[Row]], title: str, path: str | Path | None = None) -> Any:
    """Draw loss, accuracy and learning rate of one run or several over the epochs.

    `runs` maps a label to the rows of `metrics.csv`. Training values are means over the steps of an epoch.
    """
    figure, (left, middle, right) = new_figure(13, 4.2, columns=3)
    names = {"torch": "PyTorch", "tf": "Keras"}
    for (label, rows), (colour, line, marker) in zip(runs.items(), LINES, strict=False):
        if not rows:
            continue
        label = names.get(label, label)
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
    figure.suptitle(title, parse_math=False)
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
    classes = [printable(name, MOST_LABEL) for name in classes]
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(ticks, classes)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be called "$"
    right = np.trace(counts)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{title}: {right:,} of {counts.sum():,} test images right", fontsize=10, parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    save_figure(figure, path)
    return figure


def plot_degradation(curves: Sequence[Curve], title: str, path: str | Path | None = None) -> Any:
    """Draw training and test error of plain and residual networks, and their gradients by depth.

    Plain networks are orange and dashed, residual ones blue; the deeper a network, the thicker its line.
    """
    figure, panels = new_figure(15, 9.6, rows=2, columns=2)
    depths = sorted({curve.depth for curve in curves})
    for column, (axes, kind) in enumerate(zip(panels[0], ("plain", "resnet"), strict=True)):
        for curve in curves:
            if curve.kind != kind:
                continue
            rank = depths.index(curve.depth)
            look = {"color": (ORANGE, BLUE)[column], "linewidth": 1.0 + 1.2 * rank}
            epochs = np.arange(1, len(curve.train_error) + 1)
            axes.plot(epochs, 100 * np.array(curve.train_error), **look, label=f"{curve.name}, training")
            test = {**look, "linewidth": 0.8 + 0.6 * rank, "alpha": 0.6}
            axes.plot(epochs, 100 * np.array(curve.test_error), ":", **test, label=f"{curve.name}, test")
        axes.set(xlabel="epoch", title=("plain networks", "residual networks")[column])
        axes.set(ylabel="error (%)", ylim=(0, 100))
    for axes, when in zip(panels[1], ("initial", "trained"), strict=True):
        for curve in curves:
            rank = depths.index(curve.depth)
            norms = curve.gradients[when]
            plain = curve.kind == "plain"
            look = {"color": ORANGE if plain else BLUE, "linestyle": "--" if plain else "-"}
            axes.semilogy(np.arange(1, len(norms) + 1), norms, **look, linewidth=1.0 + rank, label=curve.name)
        axes.set(xlabel="convolution, from the image on", ylabel="norm of gradient / norm of kernel")
        axes.set_title({"initial": "gradients before training", "trained": "gradients after training"}[when])
    for axes in panels.flat:
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(printable(title), parse_math=False)
    save_figure(figure, path)
    return figure

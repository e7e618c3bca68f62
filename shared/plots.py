"""Figures. Needs matplotlib; colours and markers hold up in greyscale and for colour-blind readers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.errors import MissingPackageError
from shared.files import replacing
from shared.versions import install_command, is_installed

if TYPE_CHECKING:
    from shared.microscope import Microscope

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"  # Okabe and Ito's palette


def check_matplotlib() -> None:
    """Raise `MissingPackageError` if no figure can be drawn."""
    if not is_installed("matplotlib"):
        raise MissingPackageError(f"a figure needs matplotlib; install it with: {install_command('figures')}")


def _new_figure(width: float, height: float) -> tuple[Any, Any]:
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def plot_microscope(seen: Microscope, path: str | Path | None = None) -> Any:
    """Draw each layer's relative error on a logarithmic scale, with the threshold and the first layer that parts."""
    layers = seen.layers
    figure, axes = _new_figure(11, 4.8)
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
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)
    return figure

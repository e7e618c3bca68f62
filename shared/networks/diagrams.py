"""Drawings of blocks and networks with the shape behind every step, made from the layer table. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.base.figures import BLUE, GREEN, GREY, ORANGE, drawable, new_figure, save_figure
from shared.base.words import short_number
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import LayerRow, Shape, layer_table

#: Fill colours, light enough for black text; kinds of layers also differ by what is written on them.
FILLS = {"conv": "#cfe3f3", "batch_norm": "#f3f3f3", "relu": "#d9efe6", "linear": "#cfe3f3"}
OTHER_FILL = "#fbe6d6"


def _text(row: LayerRow) -> str:
    """What is written on a layer's box."""
    channels = f"{row.input_shape[0]} → {row.output_shape[0]}"
    stride = f", stride {row.stride}" if row.stride and row.stride > 1 else ""
    kernel = f"{row.kernel_size}×{row.kernel_size}"
    return {
        "conv": f"{kernel} convolution{stride}\n{channels} channels",
        "batch_norm": "BatchNorm",
        "relu": "ReLU",
        "add": "+",
        "subsample": f"every {row.stride}nd pixel" if row.stride == 2 else "the same pixels",
        "pad_channels": f"channels of zeros\n{channels} channels",
        "max_pool": f"{kernel} max-pool{stride}",
        "avg_pool": "mean over all pixels",
        "flatten": "flatten",
        "linear": f"fully connected\n{channels}",
    }[row.kind]


def _shape(shape: Shape) -> str:
    """A shape of one image in PyTorch's and in Keras' order."""
    turned = (*shape[1:], shape[0])
    return f"({', '.join(map(str, shape))})  |  ({', '.join(map(str, turned))})"


#: Where the main path and the shortcut are drawn.
LEFT, RIGHT = 0.0, 2.6


def _box(axes: Any, x: float, y: float, text: str, fill: str) -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.45", "facecolor": fill, "edgecolor": "black", "linewidth": 0.8},
        zorder=3,
    )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str = "black") -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4}
    axes.annotate("", xy=end, xytext=start, arrowprops=look, zorder=2)


def plot_block(
    network: str | ResNetSpec, block: str, input_size: int | None = None, path: str | Path | None = None
) -> Any:
    """Draw one block ("layer2.0") with the shape behind every step, as (C, H, W) and (H, W, C).

    `input_size` is the image's height and width in pixels, the network's own by default. Returns the figure, and
    writes it to `path` if given. Raises `InputError` for a block that the network does not have.
    """
    spec = get_spec(network)
    resolved = {row.name: row for stage in spec.stages() for row in stage}
    if block not in resolved:
        raise InputError(f"{spec.name} has no block {block!r}; its blocks are {', '.join(resolved)}")
    rows = [row for row in layer_table(spec, input_size) if row.block == block]
    main = [row for row in rows if ".downsample" not in row.name]
    side = [row for row in rows if ".downsample" in row.name]
    figure, axes = new_figure(7.6, 0.95 + 0.78 * (len(main) + 1))
    level = _draw_main_path(axes, main)
    if resolved[block].shortcut.kind != "none":
        add = next(level[row.name] for row in main if row.kind == "add")
        # The projections of a pre-activation block start behind its first BatchNorm and ReLU.
        top = level[f"{block}.relu1"] - 0.45 if resolved[block].shared_preact else -0.42
        _draw_shortcut(axes, side, top, add)
    size = spec.input_size if input_size is None else input_size
    axes.set_title(f"{drawable(spec.name)}, block {block}, for images of {size}×{size} pixels", fontsize=10)
    look = {"ha": "right", "va": "center", "fontsize": 8, "fontweight": "bold", "color": GREY}
    axes.text(LEFT - 1.12, -0.45, "PyTorch  |  Keras", **look)
    axes.set_xlim(-3.3, 3.9)
    axes.set_ylim(-len(main) - 0.9, 0.5)
    axes.axis("off")
    save_figure(figure, path)
    return figure


def _draw_main_path(axes: Any, rows: list[LayerRow]) -> dict[str, float]:
    """Draw the layers one below the other, and return how high each one is."""
    level = {row.name: float(-number) for number, row in enumerate(rows, start=1)}
    start = f"x   {_shape(rows[0].input_shape)}"
    axes.text(LEFT, 0, start, ha="center", va="center", fontsize=9, fontweight="bold")
    above = 0.0
    for row in rows:
        y = level[row.name]
        _arrow(axes, (LEFT, above - 0.15), (LEFT, y + 0.27))
        _box(axes, LEFT, y, _text(row), FILLS.get(row.kind, OTHER_FILL))
        axes.text(LEFT - 1.12, y, _shape(row.output_shape), ha="right", va="center", fontsize=8, color=GREY)
        above = y
    _arrow(axes, (LEFT, above - 0.15), (LEFT, above - 0.75))
    return level


def _draw_shortcut(axes: Any, rows: list[LayerRow], top: float, add: float) -> None:
    """Draw the shortcut from the height `top` to that of the addition, with its layers."""
    axes.plot([LEFT, RIGHT, RIGHT], [top, top, add], color=BLUE, linewidth=2.2, zorder=1)
    _arrow(axes, (RIGHT, add), (LEFT + 0.2, add), BLUE)
    middle = (top + add) / 2
    for number, row in enumerate(rows):
        y = middle + 0.5 * (len(rows) - 1) - number
        _box(axes, RIGHT, y, _text(row), FILLS.get(row.kind, OTHER_FILL))
        below = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        shape = _shape(row.output_shape)
        axes.text(RIGHT, y - 0.42, shape, ha="center", va="center", fontsize=8, color=GREY, bbox=below, zorder=2)
    label = "shortcut" if rows else "shortcut: x itself"
    axes.text(RIGHT - 0.1, add + 0.1, label, ha="right", va="bottom", fontsize=9, color=BLUE)


def plot_stages(network: str | ResNetSpec, input_size: int | None = None, path: str | Path | None = None) -> Any:
    """Draw a network from stem to head: for each part its pixels, its channels, its parameters and multiply-adds.

    Bars show channels (to the right) and pixels of height (below), both on a logarithmic scale.
    """
    spec = get_spec(network)
    rows = layer_table(spec, input_size)
    parts: dict[str, list[LayerRow]] = {}
    for row in rows:
        parts.setdefault(row.stage, []).append(row)
    names = list(parts)
    figure, (upper, lower) = new_figure(1.7 * len(names) + 1.5, 5.6, rows=2)
    places = range(len(names))
    blocks = {f"layer{number}": depth for number, depth in enumerate(spec.depths, start=1)}
    labels = [f"{name}\n{blocks[name]} blocks" if blocks.get(name, 0) > 1 else name for name in names]
    for axes, series in (
        (upper, (("channels", BLUE, ""), ("pixels of height", ORANGE, "//"))),
        (lower, (("parameters", BLUE, ""), ("multiply-adds", GREEN, ".."))),
    ):
        for number, (what, colour, hatch) in enumerate(series):
            values = [_size(parts[name], what) for name in names]
            offset = -0.2 + 0.4 * number
            look = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": what}
            bars = axes.bar([place + offset for place in places], values, 0.4, **look)
            texts = [f"{value:,}" if axes is upper else short_number(value) for value in values]
            axes.bar_label(bars, texts, fontsize=8, padding=2)
        axes.set_yscale("log")
        axes.set_ylim(top=10 * axes.get_ylim()[1])
        axes.set_xticks(list(places), labels)
        axes.legend(frameon=False, ncols=2, loc="upper left")
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_ylabel("behind the last layer")
    lower.set_ylabel("in all, for one image")
    size = spec.input_size if input_size is None else input_size
    figure.suptitle(f"{drawable(spec.name)} for images of {size}×{size} pixels")
    save_figure(figure, path)
    return figure


def _size(rows: list[LayerRow], what: str) -> int:
    shape = rows[-1].output_shape
    return {
        "channels": shape[0],
        "pixels of height": shape[1] if len(shape) == 3 else 1,
        "parameters": sum(row.parameters for row in rows),
        "multiply-adds": sum(row.macs for row in rows),
    }[what]

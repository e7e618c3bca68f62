"""The graph of a network, drawn from its spec alone: what the frameworks' readers see in the twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.networks.graph import BUFFERS, Graph, Node, Weight
from shared.networks.spec import NormSpec, ResNetSpec
from shared.networks.table import LayerRow, rows_at

#: Kinds of the layer table -> kinds of a graph, where the two differ.
GRAPH_KINDS = {"linear": "dense", "subsample": "avg_pool", "pad_channels": "pad", "avg_pool": "global_avg_pool"}
NO_PADDING = (0, 0)


def blueprint(spec: ResNetSpec, input_size: tuple[int, int] | None = None) -> Graph:
    """Return the graph of `spec` as PyTorch's reader sees the built network: same kinds, settings, weights, wiring.

    `input_size` is (height, width) of the image in pixels, the spec's own by default. The graph is of no framework and
    has nothing live.
    """
    height, width = input_size or (spec.input_size, spec.input_size)
    tall = rows_at(spec, height)
    rows = tall if width == height else list(map(_as_wide, tall, rows_at(spec, width)))
    inputs = _inputs(spec, rows)
    norm = spec.stages()[0][0].norm
    image = Node(name="image", kind="input", source="image", shape=(1, spec.in_channels, height, width))
    nodes = [_node(row, sources, norm) for row, sources in zip(rows, inputs, strict=True)]
    return Graph(
        title=spec.name, framework="", layout="channels_first", nodes=(image, *nodes), outputs={"": len(nodes)}
    )


def _as_wide(row: LayerRow, wide: LayerRow) -> LayerRow:
    """Return a row of the table of a square image with the width that it has in the table of a wider one."""
    shapes = [
        (*shape[:2], *other[2:])
        for shape, other in ((row.input_shape, wide.input_shape), (row.output_shape, wide.output_shape))
    ]
    return replace(row, input_shape=shapes[0], output_shape=shapes[1])


def _inputs(spec: ResNetSpec, rows: Sequence[LayerRow]) -> list[tuple[int, ...]]:
    """Return for each row the numbers of the nodes that feed it; the image is number 0."""
    shared = {block.name for stage in spec.stages() for block in stage if block.shared_preact}
    found: list[tuple[int, ...]] = []
    main = around = 0  # the last node of the branch, and of the shortcut, which begins where the block's two ways part
    block = ""
    for number, row in enumerate(rows, start=1):
        if row.block != block:
            block, around = row.block, main
        last = row.name.removeprefix(f"{row.block}.")
        if last.startswith("downsample."):
            found.append((around,))
            around = number
            continue
        found.append((main, around) if row.kind == "add" else (main,))
        main = number
        if last == "relu1" and block in shared:
            around = number
    return found


def _node(row: LayerRow, inputs: tuple[int, ...], norm: NormSpec) -> Node:
    weights = {
        role: Weight(key=f"{row.name}.{role}", shape=shape, trained=role not in BUFFERS)
        for role, shape in row.weights.items()
    }
    return Node(
        name=row.name,
        kind=GRAPH_KINDS.get(row.kind, row.kind),
        source=row.kind,
        inputs=inputs,
        shape=(1, *row.output_shape),
        settings=_settings(row, norm),
        weights=weights,
    )


def _settings(row: LayerRow, norm: NormSpec) -> dict[str, Any]:
    """Return a layer's settings, as `KINDS` lists them."""
    size, stride, padding = ((value, value) for value in (row.kernel_size, row.stride, row.padding))
    window = {"kernel_size": size, "stride": stride, "padding": (padding, padding)}
    match row.kind:
        case "conv":
            return {**window, "dilation": (1, 1), "groups": 1}
        case "max_pool":
            return {**window, "dilation": (1, 1)}
        case "subsample":
            return {**window, "count_include_pad": False}
        case "pad_channels":
            extra = row.output_shape[0] - row.input_shape[0]
            channels = (extra // 2, extra - extra // 2)  # half of the zeros before and half behind
            return {"padding": (NO_PADDING, channels, NO_PADDING, NO_PADDING), "value": 0.0}
        case "batch_norm":
            return {"eps": norm.eps, "momentum": norm.momentum, "training": False}
        case "add":
            return {"constant": None}
        case _:
            return {}

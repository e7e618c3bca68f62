"""In which order the axes of each tensor of a network are: channels first or last, whatever its framework prefers.

A network may turn its images round in between, as those do that normalise the channels of each pixel; pixels may be put
in a row, or all numbers of an image. Where two networks differ in that only, they compute the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from shared.networks.graph import Graph, Node

FIRST, LAST = "channels_first", "channels_last"
#: How axes are put in another order, by how many there are: from channels first to last.
TO_LAST = {4: (0, 2, 3, 1), 3: (0, 2, 1)}
TO_FIRST = {4: (0, 3, 1, 2), 3: (0, 2, 1)}
#: What computes along the axes as its framework has them, whatever order they are in.
FIXED = ("conv", "conv_transpose", "max_pool", "avg_pool", "upsample", "global_avg_pool", "global_max_pool")
#: What puts numbers elsewhere, so that no order is known behind it.
MOVES = ("reshape", "permute", "flatten", "matmul", "attend", "attention", "embedding", "other", "input", "parameter")
#: Behind these, numbers in a row are no longer those of an image.
MIXES = (*MOVES, "dense", "concat", "mean", "softmax", "log_softmax", "batch_norm", "layer_norm", "group_norm")


@dataclass(frozen=True)
class Layout:
    """The order of the axes of a tensor, "" where it is not known; `image` is (channels, height, width) of what was
    put in a row, in that order, as a flatten does.
    """

    order: str = ""
    image: tuple[int, ...] = ()


NONE = Layout()


def layouts_of(graph: Graph) -> list[Layout]:
    """Return the layout of the output of each node."""
    found: list[Layout] = []
    for node in graph.nodes:
        sources = [(graph.nodes[source], found[source]) for source in node.inputs]
        found.append(_layout(node, sources, graph.layout))
    return found


def _layout(node: Node, sources: Sequence[tuple[Node, Layout]], usual: str) -> Layout:
    rank = len(node.shape)
    if rank == 4:
        return Layout(_of_image(node, sources, usual))
    if rank == 3:
        return Layout(_of_row(node, sources))
    return _of_numbers(node, sources) if rank == 2 else NONE


def _of_image(node: Node, sources: Sequence[tuple[Node, Layout]], usual: str) -> str:
    if node.kind in FIXED or not sources:
        return usual
    source, layout = sources[0]
    if node.kind == "permute":
        return turned(node, layout.order)
    if node.kind in MOVES and node.shape != source.shape:  # a row of numbers may become an image; what else is no image
        return usual if len(source.shape) == 2 else ""
    return next((each.order for other, each in sources if len(other.shape) == 4 and each.order), "")


def _of_row(node: Node, sources: Sequence[tuple[Node, Layout]]) -> str:
    """Return the order of (pixels, channels) or (channels, pixels)."""
    if not sources:
        return ""
    source, layout = sources[0]
    if node.kind == "permute":
        return turned(node, layout.order)
    if node.kind in ("reshape", "flatten") and len(source.shape) == 4:
        channels, *pixels = canonical_shape(source.shape[1:], layout.order)
        rows = {FIRST: (channels, prod(pixels)), LAST: (prod(pixels), channels)}
        return layout.order if node.shape[1:] == rows.get(layout.order) else ""
    if node.kind in MOVES:
        return ""
    return next((each.order for other, each in sources if len(other.shape) == 3 and each.order), "")


def _of_numbers(node: Node, sources: Sequence[tuple[Node, Layout]]) -> Layout:
    if not sources:
        return NONE
    source, layout = sources[0]
    if node.kind in ("flatten", "reshape") and layout.order and len(source.shape) in (3, 4):
        shape = canonical_shape(source.shape[1:], layout.order)
        image = shape if len(shape) == 3 else (shape[1], shape[0], 1)
        return Layout(layout.order, image) if prod(image) == node.shape[1] else NONE
    return NONE if node.kind in MIXES or node.shape != source.shape else layout


def turned(node: Node, order: str) -> str:
    """Return the order behind a permute that turns channels first into last, or back; "" for any other one."""
    rank, axes = len(node.shape), tuple(node.settings.get("axes", ()))
    if order == FIRST and axes == TO_LAST.get(rank):
        return LAST
    return FIRST if order == LAST and axes == TO_FIRST.get(rank) else ""


def canonical_shape(shape: tuple[int, ...], order: str) -> tuple[int, ...]:
    """Return a shape without the batch: of an image as (channels, height, width), of pixels as (pixels, channels)."""
    if len(shape) == 3 and order == LAST:
        return (shape[2], shape[0], shape[1])
    return (shape[1], shape[0]) if len(shape) == 2 and order == FIRST else shape


def canonical_axis(axis: int, rank: int, order: str) -> int:
    """Return an axis of a tensor as it is called where an image is (N, C, H, W) and a row (N, L, C)."""
    axis %= rank
    if rank == 4 and order == LAST:
        return (0, 2, 3, 1)[axis]
    return (0, 2, 1)[axis] if rank == 3 and order == FIRST else axis


def laid_out(value: NDArray[Any], mine: Layout, theirs: Layout) -> NDArray[Any]:
    """Return a tensor of one network with its axes in the order in which the other one has them."""
    if not mine.order or not theirs.order or mine.order == theirs.order:
        return value
    if mine.image and value.ndim == 2:
        return in_rows(value, mine.image, theirs.order)
    axes = (TO_LAST if theirs.order == LAST else TO_FIRST).get(value.ndim)
    return value if axes is None else value.transpose(axes)


def in_rows(array: NDArray[Any], image: tuple[int, ...], order: str) -> NDArray[Any]:
    """Return rows of flattened images in the order in which images of `order` are flattened; they are in the other one.

    `image` is (channels, height, width).
    """
    channels, height, width = image
    if order == LAST:
        return array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(array.shape)

"""Shows two models the same inputs, and reads both: what every instrument for a pair begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, framework_of
from shared.networks.graph import Graph
from shared.twins.inputs import as_inputs, check_sizes, usual_inputs
from shared.twins.pair import Pair, compare_graphs, see

Array = NDArray[Any]
Titles = tuple[str | None, str | None]
#: Rows with which a model is read: the axis of one alone could be taken for one that may go.
ROWS = 2


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A pair, and what each of its models is shown (images as N, H, W, C), `rows` at a time."""

    pair: Pair
    shown: Sequence[Array]
    shown_there: Sequence[Array]
    rows: int

    def chunks(self) -> Iterator[tuple[list[Array], list[Array]]]:
        """Yield what the two are shown, `rows` at a time; the last ones come with some that were shown before."""
        for start in range(0, len(self.shown[0]), self.rows):
            yield _part(self.shown, start, self.rows), _part(self.shown_there, start, self.rows)


def _part(arrays: Sequence[Array], start: int, rows: int) -> list[Array]:
    return [each.take(range(start, start + rows), axis=0, mode="wrap") for each in arrays]


def look_at(
    first: Any,
    second: Any,
    images: Any = None,
    *,
    second_images: Any = None,
    count: int = ROWS,
    input_size: int | None = None,
    in_channels: int | None = None,
    titles: Titles = (None, None),
) -> Sight:
    """Read both models with the first rows of `images`, or with `count` random ones that both take.

    An exported program says itself how many rows it takes, and of which sizes. Raises what `see` raises.
    """
    check_sizes(input_size, in_channels)
    models = (first, second)
    programs = {place: see(model) for place, model in enumerate(models) if framework_of(model) is None}
    own = next((_inputs_of(graph) for graph in programs.values()), None)
    if images is not None:
        shown = as_inputs(images)
    elif own is not None and input_size is None:
        shown = [np.random.default_rng(0).normal(size=(count, *shape[1:])).astype(np.float32) for shape in own]
    else:
        shown = usual_inputs(models, input_size=input_size, in_channels=in_channels, count=count)
    shown_there = shown if second_images is None else as_inputs(second_images)
    rows = own[0][0] if own else min(ROWS, len(shown[0]))
    graphs = [
        programs[place] if place in programs else see(models[place], *_part(arrays, 0, rows))
        for place, arrays in enumerate((shown, shown_there))
    ]
    pair = compare_graphs(*(titled(graph, title) for graph, title in zip(graphs, titles, strict=True)))
    return Sight(pair=pair, shown=shown, shown_there=shown_there, rows=rows)


def _inputs_of(graph: Graph) -> list[tuple[int, ...]]:
    """Return the shapes that a graph was read with; images as (N, H, W, C)."""
    shapes = [node.shape for node in graph.nodes if node.kind == "input"]
    first = BACKENDS[graph.framework].layout == "C,H,W"
    return [(shape[0], *shape[2:], shape[1]) if first and len(shape) == 4 else shape for shape in shapes]


def titled(graph: Graph, title: str | None) -> Graph:
    """Return the graph under another title; under its own for None."""
    return graph if title is None else replace(graph, title=title)


def compare_pair(
    first: Any,
    second: Any,
    *,
    input_size: int | None = None,
    in_channels: int | None = None,
    titles: Titles = (None, None),
) -> Pair:
    """Lay two models beside each other, of one framework or of two, whoever wrote them.

    `input_size` is height and width of the images in pixels; by default what a model says of itself, else 224.
    `titles` are what the two are called; by default by the name of their class, in Keras by their own name.
    """
    return look_at(first, second, input_size=input_size, in_channels=in_channels, titles=titles).pair

"""The weights of a node of a simplified graph, wherever in the model they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.networks.graph import Graph, Weight

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawer:
    """Where a weight lies: in the weight `role` of the node `number` of the graph, or in some rows of it.

    `rows` and `columns` are places of the first and second axis of that weight, None for all in their order; what is
    cut out is then laid out as `shape`.
    """

    number: int
    role: str
    shape: tuple[int, ...]
    rows: Array | None = None
    columns: Array | None = None

    def read(self, whole: Array) -> Array:
        """Return this weight, cut out of the one that it lies in."""
        part = whole if self.rows is None else whole[self.rows]
        part = part if self.columns is None else part[:, self.columns]
        return part.reshape(self.shape)

    def write(self, whole: Array, part: Array) -> Array:
        """Return the weight that this one lies in, with `part` in its place."""
        rows = np.arange(len(whole)) if self.rows is None else self.rows
        found = whole.copy()
        if self.columns is None:
            found[rows] = part.reshape(len(rows), *whole.shape[1:])
        else:
            found[np.ix_(rows, self.columns)] = part.reshape(len(rows), len(self.columns), *whole.shape[2:])
        return found

    def weight(self, graph: Graph) -> Weight:
        """Return what a node says of it."""
        whole = graph.nodes[self.number].weights[self.role]
        return Weight(key=whole.key, shape=self.shape, trained=whole.trained)


class Holder(Protocol):
    """A node of a simplified graph, as far as its weights go."""

    @property
    def core(self) -> int:
        """The node of the graph whose weights it has, unless there are drawers."""

    @property
    def drawers(self) -> Mapping[str, Drawer]:
        """Role -> where the weight lies."""


def held_by(simple: Holder) -> Sequence[int]:
    """Return the numbers of the nodes of the graph in which the weights lie."""
    return sorted({drawer.number for drawer in simple.drawers.values()}) or [simple.core]


def read_weights(graph: Graph, simple: Holder) -> dict[str, Array]:
    """Return copies of the weights by role."""
    read = load_part(graph.framework, "graph").get_arrays
    wholes = {number: read(graph, number) for number in held_by(simple)}
    if not simple.drawers:
        return dict(wholes[simple.core])
    return {role: np.array(drawer.read(wholes[drawer.number][drawer.role])) for role, drawer in simple.drawers.items()}


def write_weights(graph: Graph, simple: Holder, arrays: Mapping[str, Array]) -> None:
    """Give the live model other weights, by role, of the shapes that the simplified node says."""
    part = load_part(graph.framework, "graph")
    if not simple.drawers:
        part.set_arrays(graph, simple.core, arrays)
        return
    wholes = {number: part.get_arrays(graph, number) for number in held_by(simple)}
    for role, array in arrays.items():
        drawer = simple.drawers[role]
        wholes[drawer.number][drawer.role] = drawer.write(wholes[drawer.number][drawer.role], np.asarray(array))
    for number, changed in wholes.items():
        part.set_arrays(graph, number, changed)

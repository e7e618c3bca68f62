"""A graph while it is simplified: nodes that may go or become one, and for each one who feeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.networks.graph import Graph, Node
from shared.twins.composites import Composite
from shared.twins.layouts import LAST, NONE, Layout, canonical_shape, layouts_of
from shared.twins.weights_of import Drawer

GLOBAL = ("global_avg_pool", "global_max_pool")


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A node of the simplified graph; `members` are the numbers of the nodes of the graph that it stands for.

    The last member is the one whose output it has, `core` the one whose weights it has, unless `drawers` say for each
    role where in the graph the weight lies; `shared.twins.weights_of` reads and writes them.
    """

    node: Node
    inputs: tuple[int, ...]
    members: tuple[int, ...]
    core: int
    #: (channels, height, width) for an image, (pixels, channels) for pixels in a row, else the shape behind the batch.
    shape: tuple[int, ...]
    #: In which order the axes of the output are.
    layout: Layout = NONE
    drawers: Mapping[str, Drawer] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Simplified:
    """The nodes that are left, in the order of dataflow, and the numbers of those that are outputs."""

    graph: Graph
    nodes: tuple[Simple, ...]
    outputs: Mapping[str, int]

    def consumers(self) -> list[list[int]]:
        """Return for each node the numbers of those that it feeds."""
        return consumers_of([simple.inputs for simple in self.nodes])


def consumers_of(inputs: list[tuple[int, ...]]) -> list[list[int]]:
    """Return for each node the numbers of those that it feeds."""
    found: list[list[int]] = [[] for _ in inputs]
    for number, sources in enumerate(inputs):
        for source in sources:
            found[source].append(number)
    return found


def bare_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Return the shape of a parameter without what only lets it spread over a batch, tokens or pixels."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape[:1] if layout != LAST and shape[1:] == (1, 1) else shape


class Work:
    """A graph while it is simplified: nodes that may change, and for each one who feeds it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[int, Node] = dict(enumerate(graph.nodes))
        self.inputs = {number: list(node.inputs) for number, node in self.nodes.items()}
        self.members = {number: [number] for number in self.nodes}
        self.core = {number: number for number in self.nodes}
        self.drawers: dict[int, Mapping[str, Drawer]] = {}
        self.outputs = dict(graph.outputs)
        self.layouts = layouts_of(graph)

    def order(self, number: int) -> str:
        """Return in which order the axes of an output are, as far as it is known."""
        return self.layouts[number].order

    def shape(self, number: int) -> tuple[int, ...]:
        """Return the shape of an output, as `Simple` says it."""
        if self.nodes[number].kind == "parameter":
            return bare_shape(self.nodes[number].shape, self.graph.layout)
        shape = canonical_shape(self.nodes[number].shape[1:], self.order(number))
        return shape[:1] if self.nodes[number].kind in GLOBAL else shape  # whether the two axes stay is no difference

    def consumers(self, number: int) -> list[int]:
        """Return what a node feeds, once for each time."""
        return [other for other, sources in self.inputs.items() for source in sources if source == number]

    def feeds_only(self, number: int) -> int | None:
        """Return the one node that `number` feeds, if there is one only and it is no output."""
        found = self.consumers(number)
        return found[0] if len(found) == 1 and number not in self.outputs.values() else None

    def join(self, composite: Composite) -> None:
        """Put one node in the place of several."""
        *others, last = composite.members
        for number in others:
            del self.nodes[number], self.inputs[number]
        self.nodes[last], self.inputs[last] = composite.node, list(composite.inputs)
        self.members[last], self.core[last] = list(composite.members), composite.core
        self.drawers[last] = composite.drawers

    def skip(self, number: int) -> None:
        """Take a node out: what it fed is fed by its own input."""
        (source,) = self.inputs.pop(number)[:1]
        for sources in self.inputs.values():
            sources[:] = [source if other == number else other for other in sources]
        self.outputs = {name: source if other == number else other for name, other in self.outputs.items()}
        del self.nodes[number]

    def take_in(self, number: int, source: int) -> None:
        """Let a node stand for the one in front of it as well, which feeds nothing else any more."""
        self.members[number] = [*self.members[source], *self.members[number]]
        del self.nodes[source], self.inputs[source]

    def result(self) -> Simplified:
        """Return what is left."""
        order = sorted(self.nodes)
        place = {number: index for index, number in enumerate(order)}
        nodes = [
            Simple(
                node=self.nodes[number],
                inputs=tuple(place[source] for source in self.inputs[number]),
                members=tuple(self.members[number]),
                core=self.core[number],
                shape=self.shape(number),
                layout=self.layouts[number],
                drawers=self.drawers.get(number, {}),
            )
            for number in order
        ]
        return Simplified(
            graph=self.graph,
            nodes=tuple(nodes),
            outputs={name: place[number] for name, number in self.outputs.items()},
        )

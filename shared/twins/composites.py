"""Several nodes of a graph that are one thing, and where operations that only move numbers about bring each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.networks.graph import Graph, Node
from shared.twins.weights_of import Drawer

Places = NDArray[Any]
#: What passes numbers on as they are, in inference.
PASSES = ("identity", "dropout", "cast")
#: What lays them out in another way, or takes some of them.
MOVES = (*PASSES, "flatten", "reshape", "permute", "part", "windows")


@dataclass(frozen=True, kw_only=True)
class Composite:
    """What is seen as one node.

    `members` are all nodes of the graph that it stands for, in the order of dataflow, the last is its output; `inputs`
    are the nodes that feed it; `drawers` say where its weights lie, if they are not those of `core`.
    """

    node: Node
    members: tuple[int, ...]
    inputs: tuple[int, ...]
    core: int
    drawers: Mapping[str, Drawer] = field(default_factory=dict)


def moves(node: Node) -> bool:
    """Whether a node only moves the numbers of its one input about."""
    if len(node.inputs) != 1 or node.kind not in MOVES:
        return False
    return node.kind != "cast" or "float" in str(node.settings.get("dtype"))


def moved(node: Node, places: Places) -> Places:
    """Return the places that the numbers of an input have, as the node lays them out."""
    if node.kind == "permute":
        return places.transpose(node.settings["axes"])
    if node.kind == "part":
        taken = slice(node.settings["start"], node.settings["stop"], node.settings["step"])
        places = places[(slice(None),) * node.settings["axis"] + (taken,)]
    if node.kind == "windows":
        (batch, height, width, channels), (high, wide) = places.shape, node.settings["size"]
        places = places.reshape(batch, height // high, high, width // wide, wide, channels).transpose(0, 1, 3, 2, 4, 5)
    return places.reshape(node.shape)


def carried(graph: Graph, start: tuple[int, ...], chain: Sequence[int]) -> Places:
    """Return which number of a tensor of the shape `start` stands where behind a chain of nodes that move them."""
    places = np.arange(int(np.prod(start))).reshape(start)
    for number in chain:
        places = moved(graph.nodes[number], places)
    return places


def is_closed(members: Sequence[int], consumers: Sequence[Sequence[int]], outputs: Sequence[int]) -> bool:
    """Whether nothing but the last of these nodes is used outside of them."""
    inside = set(members)
    return all(number not in outputs and inside.issuperset(consumers[number]) for number in members[:-1])

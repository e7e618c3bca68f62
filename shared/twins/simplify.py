"""A graph without what makes no difference, so that two networks that compute the same look the same.

Dropout, casts and the like go (in inference they do nothing); padding that stands in front of a convolution or a pool
moves into it; sums of sums are one sum; where an image has become one pixel, flattening it is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from numpy.typing import NDArray

from shared.networks.graph import Graph, Node

#: What does nothing in inference.
NOTHING = ("identity", "dropout", "cast")
#: What takes padding into itself, and the value that such padding has there.
TAKES_PADDING = {"conv": 0.0, "max_pool": float("-inf"), "avg_pool": 0.0}
#: Moves of the axis of the channels: which of the two layouts a framework computes in is no difference.
LAYOUTS = ((0, 3, 1, 2), (0, 2, 3, 1))
CHANNELS_LAST = "channels_last"
COMMUTATIVE = ("add", "multiply")
#: Never negative: padding a maximum of such numbers with zeros is what padding with minus infinity is.
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softmax")
GLOBAL = ("global_avg_pool", "global_max_pool")


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A node of the simplified graph; `members` are the numbers of the nodes of the graph that it stands for.

    The last member is the one whose output it has, `core` the one whose weights it has.
    """

    node: Node
    inputs: tuple[int, ...]
    members: tuple[int, ...]
    core: int
    #: (channels, height, width) for an image, else the shape behind the batch.
    shape: tuple[int, ...]


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


def image_shape(node: Node, layout: str) -> tuple[int, ...]:
    """Return the shape without the batch; that of an image as (channels, height, width)."""
    shape = node.shape[1:]
    if len(shape) == 3 and layout == CHANNELS_LAST:
        return (shape[2], shape[0], shape[1])
    return shape


def flattened_as(array: NDArray[Any], shape: tuple[int, ...], layout: str) -> NDArray[Any]:
    """Return rows of flattened images in the order in which `layout` flattens them; they are in the other one's.

    `shape` is that of an image: (channels, height, width).
    """
    channels, height, width = shape
    if layout == CHANNELS_LAST:
        return array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(array.shape)


class _Work:
    """A graph while it is simplified: nodes that may change, and for each one who feeds it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[int, Node] = dict(enumerate(graph.nodes))
        self.inputs = {number: list(node.inputs) for number, node in self.nodes.items()}
        self.members = {number: [number] for number in self.nodes}
        self.core = {number: number for number in self.nodes}
        self.outputs = dict(graph.outputs)

    def shape(self, number: int) -> tuple[int, ...]:
        shape = image_shape(self.nodes[number], self.graph.layout)
        return shape[:1] if self.nodes[number].kind in GLOBAL else shape  # whether the two axes stay is no difference

    def consumers(self, number: int) -> list[int]:
        return [other for other, sources in self.inputs.items() for source in sources if source == number]

    def feeds_only(self, number: int) -> int | None:
        """Return the one node that `number` feeds, if there is one only and it is no output."""
        found = self.consumers(number)
        return found[0] if len(found) == 1 and number not in self.outputs.values() else None

    def skip(self, number: int) -> None:
        """Take a node out: what it fed is fed by its own input."""
        (source,) = self.inputs.pop(number)[:1]
        for sources in self.inputs.values():
            sources[:] = [source if other == number else other for other in sources]
        self.outputs = {name: source if other == number else other for name, other in self.outputs.items()}
        del self.nodes[number]

    def result(self) -> Simplified:
        order = sorted(self.nodes)
        place = {number: index for index, number in enumerate(order)}
        nodes = [
            Simple(
                node=self.nodes[number],
                inputs=tuple(place[source] for source in self.inputs[number]),
                members=tuple(self.members[number]),
                core=self.core[number],
                shape=self.shape(number),
            )
            for number in order
        ]
        return Simplified(
            graph=self.graph,
            nodes=tuple(nodes),
            outputs={name: place[number] for name, number in self.outputs.items()},
        )


def _does_nothing(work: _Work, number: int) -> bool:
    node = work.nodes[number]
    sources = work.inputs[number]
    if len(sources) != 1:
        return False
    if node.kind in NOTHING or (node.kind == "permute" and tuple(node.settings.get("axes", ())) in LAYOUTS):
        return True
    if node.kind == "concat":
        return True
    if node.kind in ("flatten", "reshape"):
        before, after = work.shape(sources[0]), work.shape(number)
        return before == after or (len(after) == 1 and before[:1] == after and prod(before) == prod(after))
    return False


def _drop_what_does_nothing(work: _Work) -> None:
    for number in sorted(work.nodes):
        if _does_nothing(work, number):
            work.skip(number)


Pairs = tuple[tuple[int, int], tuple[int, int]]


def plus(first: Any, second: Any) -> Pairs:
    """Return the sum of two paddings."""
    (top, bottom), (left, right) = first
    (more_top, more_bottom), (more_left, more_right) = second
    return (top + more_top, bottom + more_bottom), (left + more_left, right + more_right)


def _take_padding_in(work: _Work) -> None:
    """Move a padding into the only convolution or pool that it feeds."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind != "pad" or (follower := work.feeds_only(number)) is None:
            continue
        taker = work.nodes[follower]
        value = TAKES_PADDING.get(taker.kind)
        if value is None or len(node.settings.get("padding", ())) != 2:
            continue
        settings = {**taker.settings, "padding": plus(taker.settings["padding"], node.settings["padding"])}
        given = node.settings.get("value", 0.0)
        harmless = taker.kind == "max_pool" and given == 0 and work.nodes[work.inputs[number][0]].kind in NOT_NEGATIVE
        if given != value and not harmless:
            settings["padding_value"] = given
        elif taker.kind == "avg_pool":
            settings["count_include_pad"] = True
        work.nodes[follower] = replace(taker, settings=settings)
        work.members[follower] = [*work.members[number], *work.members[follower]]
        work.skip(number)


def _take_cropping_in(work: _Work) -> None:
    """Move a cropping into the transposed convolution in front of it, where it is what padding is."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind != "crop":
            continue
        source = work.inputs[number][0]
        maker = work.nodes[source]
        if maker.kind != "conv_transpose" or work.feeds_only(source) != number:
            continue
        settings = {**maker.settings, "padding": plus(maker.settings["padding"], node.settings["padding"])}
        work.nodes[source] = replace(maker, settings=settings, shape=node.shape)
        work.members[source] = [*work.members[source], *work.members[number]]
        work.skip(number)


def _settle_output_padding(work: _Work) -> None:
    """Write the output padding of a transposed convolution as less padding at the bottom and the right."""
    for number, node in list(work.nodes.items()):
        if node.kind != "conv_transpose" or "output_padding" not in node.settings:
            continue
        settings = dict(node.settings)
        low, right = settings.pop("output_padding") or (0, 0)
        settings["padding"] = plus(settings["padding"], ((0, -low), (0, -right)))
        work.nodes[number] = replace(node, settings=settings)


def _flatten_sums(work: _Work) -> None:
    """Make one sum of a sum that only feeds another sum; likewise products and concatenations along the same axis."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind not in (*COMMUTATIVE, "concat") or node.settings.get("constant") is not None:
            continue
        follower = work.feeds_only(number)
        if (
            follower is None
            or work.nodes[follower].kind != node.kind
            or work.shape(follower)[1:] != work.shape(number)[1:]
        ):
            continue
        if work.nodes[follower].settings != node.settings:
            continue
        place = work.inputs[follower].index(number)
        work.inputs[follower][place : place + 1] = work.inputs[number]
        work.members[follower] = [*work.members[number], *work.members[follower]]
        del work.nodes[number], work.inputs[number]


def canonical_axis(axis: int, rank: int, layout: str) -> int:
    """Return an axis of a tensor as it is called where an image is (N, C, H, W)."""
    axis %= rank
    if rank == 4 and layout == CHANNELS_LAST:
        return (0, 2, 3, 1)[axis]
    return axis


def _name_axes(work: _Work) -> None:
    """Count axes as in (N, C, H, W), whatever the framework's layout."""
    for number, node in list(work.nodes.items()):
        sources = work.inputs[number]
        if node.kind not in ("concat", "softmax", "log_softmax", "mean", "pad", "crop") or not sources:
            continue
        rank = len(work.nodes[sources[0]].shape)
        settings = dict(node.settings)
        padding = settings.get("padding")
        if (
            rank == 4
            and isinstance(padding, (tuple, list))
            and len(padding) == 4
            and work.graph.layout == CHANNELS_LAST
        ):
            settings["padding"] = tuple(padding[axis] for axis in (0, 3, 1, 2))
        if isinstance(settings.get("axis"), int) and rank:
            settings["axis"] = canonical_axis(settings["axis"], rank, work.graph.layout)
        if isinstance(settings.get("axes"), (tuple, list)) and rank:
            settings["axes"] = tuple(sorted(canonical_axis(axis, rank, work.graph.layout) for axis in settings["axes"]))
        work.nodes[number] = replace(node, settings=settings)


STEPS: tuple[Callable[[_Work], None], ...] = (
    _name_axes,
    _drop_what_does_nothing,
    _settle_output_padding,
    _take_padding_in,
    _take_cropping_in,
    _flatten_sums,
    _drop_what_does_nothing,
)


def simplify(graph: Graph) -> Simplified:
    """Return the graph without what makes no difference to what the network computes in inference."""
    work = _Work(graph)
    for step in STEPS:
        step(work)
    return work.result()

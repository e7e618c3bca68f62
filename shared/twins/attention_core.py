"""Finds the middle of attention in a graph: softmax(query @ key * scale) @ value, however the products are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.networks.graph import Graph, Node
from shared.twins.composites import PASSES, moves

Consumers = Sequence[Sequence[int]]
Order = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A tensor and where it comes from: what is behind the node `root` only moves and scales its numbers."""

    root: int
    chain: tuple[int, ...]
    scale: float


@dataclass(frozen=True, kw_only=True)
class Operand:
    """An operand of a product: where it comes from, and the order that brings its axes to (heads..., tokens, size)."""

    flow: Flow
    order: Order


@dataclass(frozen=True, kw_only=True)
class Core:
    """softmax(query @ key * scale) @ value of several heads.

    The last of its `members` is the output; `order` brings its axes to (heads..., tokens, size).
    """

    query: Operand
    key: Operand
    value: Operand
    members: tuple[int, ...]
    order: Order
    scale: float
    causal: bool = False

    @property
    def number(self) -> int:
        """The node of its output."""
        return self.members[-1]


def find_core(graph: Graph, number: int, consumers: Consumers) -> Core | None:
    """Return the attention whose softmax, or whose whole middle, is this node; None if it is neither."""
    node = graph.nodes[number]
    if node.kind == "attend" and len(node.inputs) == 3:
        rank, axis = len(node.shape), node.settings["axis"]
        order = (*(each for each in range(rank - 1) if each != axis), axis, rank - 1)
        query, key, value = (Operand(flow=flow_to(graph, source), order=order) for source in node.inputs)
        scale, causal = node.settings["scale"], node.settings["causal"]
        return Core(query=query, key=key, value=value, members=(number,), order=order, scale=scale, causal=causal)
    if node.kind != "softmax" or node.settings.get("axis") != len(node.shape) - 1:
        return None
    scores = flow_to(graph, node.inputs[0])
    members = [scores.root, *scores.chain, number]
    while len(consumers[members[-1]]) == 1:
        before, after = members[-1], consumers[members[-1]][0]
        if graph.nodes[after].kind not in PASSES:
            untouched = not any(moves(graph.nodes[each]) and graph.nodes[each].kind not in PASSES for each in members)
            first = graph.nodes[after].inputs[0] == before
            return _joined(graph, (*members, after), scores.scale) if untouched and first else None
        members.append(after)
    return None


def _scaling(node: Node) -> float | None:
    """Return by what a node multiplies its one input; None if it does something else."""
    constant = node.settings.get("constant")
    if len(node.inputs) != 1:
        return None
    if node.kind == "multiply" and isinstance(constant, float):
        return constant
    if node.kind == "divide" and isinstance(constant, float) and constant:
        return 1 / constant
    if node.kind == "scale" and node.settings["offset"] == 0 and isinstance(node.settings["factor"], float):
        return float(node.settings["factor"])
    return None


def flow_to(graph: Graph, number: int) -> Flow:
    """Follow a tensor back to what does more than to move and scale it."""
    chain: list[int] = []
    scale = 1.0
    while True:
        node = graph.nodes[number]
        factor = _scaling(node)
        if factor is None and not moves(node):
            return Flow(root=number, chain=tuple(chain[::-1]), scale=scale)
        scale *= 1.0 if factor is None else factor
        chain.append(number)
        number = node.inputs[0]


# -- products


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of two tensors: a letter for each axis of both and of the result, as in an einsum."""

    first: str
    second: str
    result: str


def _product(graph: Graph, number: int) -> Product | None:
    """Return what a node multiplies; None if it is no product of two tensors."""
    node = graph.nodes[number]
    if node.kind == "einsum":
        operands, _, result = node.settings["equation"].partition("->")
        first, _, second = operands.partition(",")
        return Product(first=first, second=second, result=result)
    if node.kind != "matmul" or len(node.inputs) != 2:
        return None
    if any(graph.nodes[source].shape[:-2] != node.shape[:-2] for source in node.inputs):
        return None  # one is spread over the other's axes
    heads = "abcdefgh"[: len(node.shape) - 2]
    return Product(first=f"{heads}xy", second=f"{heads}yz", result=f"{heads}xz")


def _joined(graph: Graph, members: tuple[int, ...], scale: float) -> Core | None:
    """Return the attention of which these are the nodes, from the product of query and key to that with the value."""
    scores, mixed = _product(graph, members[0]), _product(graph, members[-1])
    if scores is None or mixed is None:
        return None
    column = scores.result[-1]  # along which the softmax goes: the tokens of the key
    query_first = column not in scores.first
    query, key = (scores.first, scores.second) if query_first else (scores.second, scores.first)
    heads = [each for each in scores.result if each in query and each in key]
    rows = [each for each in scores.result if each not in key]
    size = [each for each in query if each not in scores.result]
    names = dict(zip(mixed.first, scores.result, strict=True))
    value, result = ("".join(names.get(each, "#") for each in axes) for axes in (mixed.second, mixed.result))
    wanted = {
        "query": (query, [*heads, *rows, *size]),
        "key": (key, [*heads, column, *size]),
        "value": (value, [*heads, column, "#"]),
        "result": (result, [*heads, *rows, "#"]),
    }
    if len(rows) != 1 or len(size) != 1 or any(sorted(axes) != sorted(order) for axes, order in wanted.values()):
        return None
    orders = {name: tuple(axes.index(each) for each in order) for name, (axes, order) in wanted.items()}
    sources = graph.nodes[members[0]].inputs
    query_source, key_source = sources if query_first else sources[::-1]
    return Core(
        query=Operand(flow=flow_to(graph, query_source), order=orders["query"]),
        key=Operand(flow=flow_to(graph, key_source), order=orders["key"]),
        value=Operand(flow=flow_to(graph, graph.nodes[members[-1]].inputs[1]), order=orders["value"]),
        members=members,
        order=orders["result"],
        scale=scale,
    )

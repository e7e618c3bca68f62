"""Finds multi-head attention in a graph, in whichever of many ways it is written, and makes one node of each.

Each number is followed on its way: from the linear maps of query, key and value through whatever lays it out, up to the
product that it takes part in, and from there to the last linear map. What then is attention over some heads is said to
be, with the rows of the weights that are query, key and value, however they are fused; all else stays as it is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from shared.networks.graph import Graph, Node
from shared.twins.attention_core import Consumers, Core, Operand, find_core, flow_to
from shared.twins.composites import Composite, Places, carried, is_closed, moves
from shared.twins.heads import Block, Heads, as_block, find_heads
from shared.twins.weights_of import Drawer

#: The scale that nearly all attention has.
USUAL_SCALE = "1 / sqrt(size of a head)"


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear map: what feeds it, where its weights lie, and the nodes that it is made of, the last is its output."""

    source: int
    weight: Drawer
    bias: Drawer | None
    members: tuple[int, ...]

    @property
    def number(self) -> int:
        """The node of its output."""
        return self.members[-1]


def find_attention(graph: Graph) -> list[Composite]:
    """Return all multi-head attention of a graph; one that is a layer of the framework's own is among them."""
    consumers: list[list[int]] = [[] for _ in graph.nodes]
    for number, node in enumerate(graph.nodes):
        for source in node.inputs:
            consumers[source].append(number)
    found = []
    for number, node in enumerate(graph.nodes):
        if node.kind == "attention":
            found.append(_whole_layer(node, number))
        elif (core := find_core(graph, number, consumers)) is not None:
            composite = _composite(graph, core, consumers)
            if composite is not None:
                found.append(composite)
    return found


def _whole_layer(node: Node, number: int) -> Composite:
    query, value, key = (*node.inputs, *node.inputs[-1:])[:3]
    settings = {**node.settings, "scale": USUAL_SCALE}
    inputs = _inputs(query, key, value)
    return Composite(node=replace(node, settings=settings), members=(number,), inputs=inputs, core=number)


def _inputs(query: int, key: int, value: int) -> tuple[int, ...]:
    """Return what feeds attention: query, key and value, or the one tensor that is all of them."""
    return (query,) if query == key == value else (query, key, value)


# -- the linear maps


def _linear(graph: Graph, number: int) -> Linear | None:
    """Return a dense layer, also one whose weights are parts of a parameter."""
    node = graph.nodes[number]
    if node.kind != "dense":
        return None
    drawers: dict[str, Drawer] = {
        role: Drawer(number=number, role=role, shape=weight.shape) for role, weight in node.weights.items()
    }
    members: tuple[int, ...] = (number,)
    missing = [role for role in ("weight", "bias") if role not in drawers]
    for role, source in zip(missing, node.inputs[1:], strict=False):
        found = _part_of_parameter(graph, source)
        if found is None:
            return None
        drawers[role], parts = found
        members = (*parts, *members)
    if len(node.inputs) - 1 > len(missing) or "weight" not in drawers:
        return None
    return Linear(source=node.inputs[0], weight=drawers["weight"], bias=drawers.get("bias"), members=members)


def _part_of_parameter(graph: Graph, number: int) -> tuple[Drawer, tuple[int, ...]] | None:
    """Return where some rows of a parameter lie, and the nodes that take them."""
    flow = flow_to(graph, number)
    node, shape = graph.nodes[flow.root], graph.nodes[number].shape
    weight = node.weights.get("value")
    if weight is None or weight.shape != node.shape or flow.scale != 1 or shape[1:] != node.shape[1:]:
        return None
    rows = _whole_rows(carried(graph, node.shape, flow.chain), int(np.prod(shape[1:])))
    if rows is None:
        return None
    return Drawer(number=flow.root, role="value", rows=rows, shape=shape), (flow.root, *flow.chain)


def _whole_rows(places: Places, size: int) -> Places | None:
    """Return which rows of `size` numbers these are, one behind another; None if they are torn."""
    places = places.reshape(-1, size)
    rows = places[:, 0] // size
    whole: bool = np.array_equal(places, rows[:, None] * size + np.arange(size))
    return np.asarray(rows) if whole else None


def _cut(drawer: Drawer, *, rows: Places | None = None, columns: Places | None = None) -> Drawer:
    """Return a drawer with only some of its rows, or with its columns in another order."""
    if rows is not None and not np.array_equal(rows, np.arange(drawer.shape[0])):
        within = rows if drawer.rows is None else drawer.rows[rows]
        return replace(drawer, rows=within, shape=(len(rows), *drawer.shape[1:]))
    if columns is not None and not np.array_equal(columns, np.arange(drawer.shape[1])):
        return replace(drawer, columns=columns)
    return drawer


# -- the ends


@dataclass(frozen=True, kw_only=True)
class End:
    """A tensor (images, tokens, size) at one end: its node, what lies between, and the rows that its tokens become."""

    number: int
    between: tuple[int, ...]
    rows: Places
    shape: tuple[int, int]


class Ends(NamedTuple):
    """Four tensors between which there is nothing but attention."""

    query: End
    key: End
    value: End
    output: End


def _end(graph: Graph, number: int, between: tuple[int, ...], start: int, stop: int) -> list[End]:
    """Return an end, if it is (images, tokens, size) and what lies between start and stop moves whole tokens."""
    shape, size = graph.nodes[number].shape, graph.nodes[start].shape[-1]
    if len(shape) != 3 or graph.nodes[stop].shape[-1] != size:
        return []
    rows = _whole_rows(carried(graph, graph.nodes[start].shape, between), size)
    return [] if rows is None else [End(number=number, between=between, rows=rows, shape=(shape[0], shape[1]))]


def _sources(graph: Graph, linear: Linear) -> list[End]:
    """Return the tensors that may be said to feed a linear map, from the farthest on."""
    number = linear.source
    between: tuple[int, ...] = ()
    found = _end(graph, number, between, number, number)
    while moves(graph.nodes[number]):
        number, between = graph.nodes[number].inputs[0], (number, *between)
        found += _end(graph, number, between, number, linear.source)
    return found[::-1]


def _targets(graph: Graph, linear: Linear, consumers: Consumers) -> list[End]:
    """Return the tensors that may be said to be what a linear map puts out, from the farthest on."""
    number = linear.number
    found = _end(graph, number, (), number, number)
    between = _moves_behind(graph, number, consumers)
    for count, number in enumerate(between, start=1):
        found += _end(graph, number, between[:count], linear.number, number)
    return found[::-1]


def _moves_behind(graph: Graph, number: int, consumers: Consumers) -> tuple[int, ...]:
    """Return the nodes behind one that only move its numbers, as long as there is one way."""
    found: list[int] = []
    while len(consumers[number]) == 1 and number not in graph.outputs.values():
        number = consumers[number][0]
        if not moves(graph.nodes[number]):
            break
        found.append(number)
    return tuple(found)


def _images(source: End, tokens: Places) -> Places | None:
    """Return of which image the tokens of each head are; None if they are not all of one image's."""
    places = source.rows[tokens]
    images, length = places // source.shape[1], source.shape[1]
    whole = np.sort(places % length, axis=1)
    if (images != images[:, :1]).any() or not np.array_equal(whole, np.tile(np.arange(length), (len(whole), 1))):
        return None
    return np.asarray(images[:, 0])


def _ends(
    graph: Graph, maps: Mapping[str, Linear], query: Block, key: Block, heads: Heads, consumers: Consumers
) -> Iterator[Ends]:
    """Yield the tensors between which this is attention, the farthest apart first."""
    for source in _sources(graph, maps["query"]):
        images = _images(source, query.tokens)
        if images is None:
            continue
        for target in _targets(graph, maps["out"], consumers):
            back = source.rows[heads.rows][target.rows]
            if target.shape != source.shape or not np.array_equal(back, np.arange(len(back))):
                continue
            for keys in _sources(graph, maps["key"]):
                seen = _images(keys, key.tokens)
                if seen is None or not np.array_equal(seen, images):
                    continue
                for values in _sources(graph, maps["value"]):
                    if values.shape == keys.shape and np.array_equal(values.rows[key.tokens], keys.rows[key.tokens]):
                        yield Ends(source, keys, values, target)


# -- all of it


def _composite(graph: Graph, core: Core, consumers: Consumers) -> Composite | None:
    """Return the attention around a core; None if it is not exactly that."""
    way = _moves_behind(graph, core.number, consumers)
    after = consumers[(core.number, *way)[-1]]
    flows = core.query.flow, core.key.flow, core.value.flow
    roots = (*(flow.root for flow in flows), *after)
    found = [linear for root in roots if (linear := _linear(graph, root)) is not None]
    if len(roots) != 4 or len(found) != 4 or found[-1].source != (core.number, *way)[-1] or flows[2].scale != 1:
        return None
    maps = dict(zip(("query", "key", "value", "out"), found, strict=True))
    query, key, value = (_block(graph, operand) for operand in (core.query, core.key, core.value))
    if query is None or key is None or value is None:
        return None
    heads = find_heads(query, key, value, _fed_to_the_last(graph, core, way))
    if heads is None:
        return None
    drawers = _drawers(maps, heads)
    if not _apart(graph, drawers):
        return None
    inside = {*core.members, *way, *(each for flow in flows for each in flow.chain)}
    inside |= {each for linear in found for each in linear.members}
    for ends in _ends(graph, maps, query, key, heads, consumers):
        members = sorted(inside.union(*(end.between for end in ends)))
        if is_closed(members, consumers, list(graph.outputs.values())):
            return Composite(
                node=_node(graph, core, maps, heads, members[-1], drawers),
                members=tuple(members),
                inputs=_inputs(*(end.number for end in ends[:3])),
                core=maps["out"].number,
                drawers=drawers,
            )
    return None


def _block(graph: Graph, operand: Operand) -> Block | None:
    shape = graph.nodes[operand.flow.root].shape
    places = carried(graph, shape, operand.flow.chain).transpose(operand.order)
    return as_block(places.reshape(-1, *places.shape[-2:]), shape[-1])


def _fed_to_the_last(graph: Graph, core: Core, way: Sequence[int]) -> Places:
    """Return (rows, columns): which number of (heads of all images, tokens, numbers) stands where in the last map."""
    shape = graph.nodes[core.number].shape
    ordered = np.arange(int(np.prod(shape))).reshape([shape[axis] for axis in core.order])
    places = ordered.transpose(np.argsort(core.order)).ravel()[carried(graph, shape, way)]
    return np.asarray(places.reshape(-1, places.shape[-1]))


def _apart(graph: Graph, drawers: Mapping[str, Drawer]) -> bool:
    """Whether no number is in two drawers: query, key and value have weights of their own."""
    seen: set[tuple[str, int]] = set()
    for drawer in drawers.values():
        key = drawer.weight(graph).key
        rows = range(drawer.shape[0]) if drawer.rows is None else drawer.rows.tolist()
        places = {(key, row) for row in rows}
        if seen & places:
            return False
        seen |= places
    return True


def _drawers(maps: Mapping[str, Linear], heads: Heads) -> dict[str, Drawer]:
    drawers = {}
    for name, rows in (("query", heads.query), ("key", heads.key), ("value", heads.value)):
        drawers[f"{name}_weight"] = _cut(maps[name].weight, rows=rows)
        if (bias := maps[name].bias) is not None:
            drawers[f"{name}_bias"] = _cut(bias, rows=rows)
    drawers["out_weight"] = _cut(maps["out"].weight, columns=heads.columns)
    if (bias := maps["out"].bias) is not None:
        drawers["out_bias"] = bias
    return drawers


def _node(
    graph: Graph, core: Core, maps: Mapping[str, Linear], heads: Heads, last: int, drawers: Mapping[str, Drawer]
) -> Node:
    scale = core.scale * core.query.flow.scale * core.key.flow.scale
    usual = bool(np.isclose(scale, heads.size**-0.5, rtol=1e-5, atol=0))
    out = maps["out"].number
    return replace(
        graph.nodes[last],
        name=_name(graph, [each for linear in maps.values() for each in linear.members], out),
        kind="attention",
        source=graph.nodes[out].source,
        settings={"heads": heads.count, "causal": core.causal, "scale": USUAL_SCALE if usual else scale},
        weights={role: drawer.weight(graph) for role, drawer in drawers.items()},
    )


def _name(graph: Graph, members: Sequence[int], last: int) -> str:
    """Return the path of the module or layer in which all the maps lie, or the name of the last one."""
    own = graph.nodes[last].name
    mark = "/" if "/" in own else "."
    paths = [graph.nodes[number].name.split(mark)[:-1] for number in members]
    common = itertools.takewhile(lambda steps: len(set(steps)) == 1, zip(*paths, strict=False))
    found = mark.join(steps[0] for steps in common)
    return found if found and found not in [node.name for node in graph.nodes] else own

"""Finds where an image becomes a row of tokens and where tokens become an image: a vision transformer's patches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from shared.networks.graph import Graph, Node
from shared.twins.composites import Composite, Places, carried, is_closed, moves
from shared.twins.weights_of import Drawer

Consumers = Sequence[Sequence[int]]


def find_tokens(graph: Graph, consumers: Consumers, taken: Collection[int]) -> list[Composite]:
    """Return the patches of a graph, and what else lays an image out as tokens, one row of pixels behind another.

    `taken` are the numbers of nodes that are parts of something else.
    """
    found: list[Composite] = []
    used = set(taken)
    dense = [number for number, node in enumerate(graph.nodes) if node.kind == "dense"]
    for find, numbers in ((_patches, dense), (_moved, range(len(graph.nodes)))):
        for number in numbers:
            composite = find(graph, number, consumers)
            if composite is not None and not used.intersection(composite.members):
                used.update(composite.members)
                found.append(composite)
    return found


# -- what only moves numbers


def _moved(graph: Graph, number: int, consumers: Consumers) -> Composite | None:
    """Return what makes tokens of an image or an image of tokens, together with the convolution in front of it."""
    node = graph.nodes[number]
    for start in consumers[number] if len(node.shape) in (3, 4) else ():
        chain = [start]
        while moves(graph.nodes[chain[-1]]):
            wanted = _in_rows(node.shape, graph.nodes[chain[-1]].shape, graph.layout)
            if wanted is not None and np.array_equal(carried(graph, node.shape, chain), wanted):
                return _named(graph, number, chain, consumers)
            after = consumers[chain[-1]]
            if len(after) != 1 or chain[-1] in graph.outputs.values():
                break
            chain.append(after[0])
    return None


def _in_rows(before: tuple[int, ...], after: tuple[int, ...], layout: str) -> Places | None:
    """Return which number stands where, if an image of one shape becomes tokens of the other, or tokens an image."""
    if sorted((len(before), len(after))) != [3, 4]:
        return None
    places = np.arange(int(np.prod(before))).reshape(before)
    if len(before) == 4:
        places = places if layout == "channels_last" else places.transpose(0, 2, 3, 1)
        rows = places.reshape(len(places), -1, places.shape[-1])
        return rows if rows.shape == after else None
    batch, height, width, channels = after if layout == "channels_last" else (after[0], *after[2:], after[1])
    if (batch, height * width, channels) != before:
        return None
    places = places.reshape(batch, height, width, channels)
    return places if layout == "channels_last" else places.transpose(0, 3, 1, 2)


def _named(graph: Graph, number: int, chain: Sequence[int], consumers: Consumers) -> Composite:
    node, last = graph.nodes[number], graph.nodes[chain[-1]]
    if len(last.shape) == 4:
        image = replace(last, kind="pixels", settings={})
        return Composite(node=image, members=tuple(chain), inputs=(number,), core=chain[-1])
    alone = node.kind == "conv" and is_closed((number, *chain), consumers, list(graph.outputs.values()))
    if not alone or len(node.inputs) != 1:
        tokens = replace(last, kind="tokens", settings={})
        return Composite(node=tokens, members=tuple(chain), inputs=(number,), core=chain[-1])
    patches = replace(node, kind="patches", shape=last.shape)
    return Composite(node=patches, members=(number, *chain), inputs=node.inputs, core=number)


# -- patches as a dense layer


def _patches(graph: Graph, number: int, consumers: Consumers) -> Composite | None:
    """Return a dense layer of all pixels of each patch of an image: a convolution with a stride as large as it is."""
    node = graph.nodes[number]
    chain: list[int] = []
    source = node.inputs[0]
    while moves(graph.nodes[source]):
        chain, source = [source, *chain], graph.nodes[source].inputs[0]
    image = graph.nodes[source].shape
    members = (*chain, number)
    if len(image) != 4 or len(node.shape) != 3 or len(node.inputs) != 1 or "weight" not in node.weights:
        return None
    if not chain or not is_closed(members, consumers, list(graph.outputs.values())):
        return None
    found = _columns(image, carried(graph, image, chain), graph.layout)
    if found is None:
        return None
    columns, inside = found
    sizes = {"weight": (node.weights["weight"].shape[0], *inside), "bias": node.weights["weight"].shape[:1]}
    drawers = {role: Drawer(number=number, role=role, shape=sizes[role]) for role in node.weights}
    drawers["weight"] = replace(drawers["weight"], columns=columns)
    return Composite(
        node=_as_patches(graph, node, inside[1:], drawers),
        members=members,
        inputs=(source,),
        core=number,
        drawers=drawers,
    )


def _columns(image: tuple[int, ...], places: Places, layout: str) -> tuple[Places, tuple[int, int, int]] | None:
    """Return the order that makes the numbers of each patch (channels, height, width), and these; None if it is none.

    `places` (images, patches, numbers) are those in an image.
    """
    pixels = np.arange(int(np.prod(image))).reshape(image)
    pixels = pixels if layout != "channels_last" else pixels.transpose(0, 3, 1, 2)
    batch, channels, height, width = pixels.shape
    within = np.isin(pixels[0, 0], places[0, 0])
    high, wide = int(within.any(1).sum()), int(within.any(0).sum())
    if high * wide < 2 or height % high or width % wide or places.shape[-1] != channels * high * wide:
        return None
    cut = pixels.reshape(batch, channels, height // high, high, width // wide, wide)
    wanted = cut.transpose(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * high * wide)
    order = {place: column for column, place in enumerate(places[0, 0].tolist())}
    if set(order) != set(wanted[0, 0].tolist()):
        return None
    columns = np.array([order[place] for place in wanted[0, 0].tolist()])
    return (columns, (channels, high, wide)) if np.array_equal(places[:, :, columns], wanted) else None


def _as_patches(graph: Graph, node: Node, size: tuple[int, ...], drawers: dict[str, Drawer]) -> Node:
    settings = {
        "kernel_size": size,
        "stride": size,
        "padding": ((0, 0), (0, 0)),
        "dilation": (1, 1),
        "groups": 1,
    }
    weights = {role: drawer.weight(graph) for role, drawer in drawers.items()}
    return replace(node, kind="patches", settings=settings, weights=weights)

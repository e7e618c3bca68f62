"""A graph without what makes no difference, so that two networks that compute the same look the same.

Dropout, casts and the like go (in inference they do nothing); padding that stands in front of a convolution or a pool
moves into it; sums of sums are one sum; where an image has become one pixel, flattening it is nothing. Attention is one
node, however it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from shared.networks.graph import Graph, Node
from shared.twins.arithmetic import COMMUTATIVE, flatten_concatenations, flatten_sums, join_constants, name_gates
from shared.twins.attention import find_attention
from shared.twins.layouts import LAST, canonical_axis, turned
from shared.twins.paddings import settle_output_padding, take_cropping_in, take_padding_in
from shared.twins.tokens import find_tokens
from shared.twins.weights_of import Drawer
from shared.twins.work import Simple, Simplified, Work, bare_shape, consumers_of

__all__ = ["COMMUTATIVE", "NOTHING", "Simple", "Simplified", "is_pointwise", "kind_of", "simplify", "without_ones"]

#: What does nothing in inference.
NOTHING = ("identity", "dropout", "cast")
#: What has axes in its settings.
AXES = (
    *("concat", "softmax", "log_softmax", "mean", "pad", "crop", "part", "attend"),
    *("layer_norm", "rms_norm", "reshape"),
)


def is_pointwise(node: Node) -> bool:
    """Whether a convolution is a dense layer on the channels of each pixel."""
    if node.kind != "conv" or "weight" not in node.weights:
        return False
    one = all(size == 1 for size in (*node.weights["weight"].shape[2:], *node.settings["stride"]))
    return one and node.settings.get("groups") == 1 and not any(map(any, node.settings.get("padding", ())))


def kind_of(node: Node) -> str:
    """Return what a node computes, by whatever name."""
    return "dense" if is_pointwise(node) else node.kind


def _join_what_is_one(work: Work) -> None:
    """See as one node what is one thing: attention, and an image that becomes tokens."""
    composites = find_attention(work.graph)
    taken = {number for each in composites for number in each.members}
    consumers = consumers_of([node.inputs for node in work.graph.nodes])
    for composite in (*composites, *find_tokens(work.graph, consumers, taken)):
        work.join(composite)


def _strip_parameters(work: Work) -> None:
    """Take away the axes of length one that let a parameter spread: (1, 1, C) and (C,) hold the same."""
    for number, node in list(work.nodes.items()):
        if node.kind != "parameter" or "value" not in node.weights:
            continue
        value = node.weights["value"]
        shape = bare_shape(value.shape, work.graph.layout)
        work.drawers[number] = {"value": Drawer(number=number, role="value", shape=shape)}
        work.nodes[number] = replace(node, weights={"value": replace(value, shape=shape)})


def _pool_tokens(work: Work) -> None:
    """Call a mean over all tokens, or all pixels of a row, what it is: a global pool."""
    for number, node in list(work.nodes.items()):
        if node.kind != "mean" or len(node.shape) != 2 or len(work.nodes[work.inputs[number][0]].shape) != 3:
            continue
        if tuple(node.settings["axes"]) == (1 if _holds_tokens(work, work.inputs[number][0]) else 2,):
            work.nodes[number] = replace(node, kind="global_avg_pool", settings={})


def _holds_tokens(work: Work, number: int) -> bool:
    """Whether the last axis of a tensor is that of the channels, by the last layer that tells."""
    while work.graph.layout != LAST and work.inputs[number]:
        node = work.nodes[number]
        if node.kind in ("tokens", "patches", "attention", "dense", "layer_norm", "rms_norm"):
            return True
        if node.kind in ("conv", "conv_transpose", "batch_norm", "group_norm"):
            return False
        number = work.inputs[number][0]
    return work.graph.layout == LAST


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without axes of length one: (C, 1, 1) and (1, C) hold what (C,) does."""
    return tuple(size for size in shape if size != 1)


def _does_nothing(work: Work, number: int) -> bool:
    node = work.nodes[number]
    sources = work.inputs[number]
    if len(sources) != 1:
        return False
    if node.kind in NOTHING or node.kind == "concat":
        return True
    if node.kind == "broadcast":  # over the batch
        return work.nodes[sources[0]].shape[1:] == node.shape[1:]
    if node.kind == "permute":  # from channels first to last, or back
        return turned(node, work.order(sources[0])) != ""
    if node.kind in ("flatten", "reshape"):
        before, after = work.shape(sources[0]), work.shape(number)
        row = len(without_ones(before)) <= 1 and prod(before) == prod(after) and len(without_ones(after)) <= 1
        return before == after or row
    return False


def _drop_what_does_nothing(work: Work) -> None:
    for number in sorted(work.nodes):
        if _does_nothing(work, number):
            work.skip(number)


def _name_axes(work: Work) -> None:
    """Count axes as in (N, C, H, W) and (N, L, C), whatever order they are in."""
    for number, node in list(work.nodes.items()):
        if node.kind not in AXES or not work.inputs[number]:
            continue
        source = work.inputs[number][0]
        rank, order = len(work.nodes[source].shape), work.order(source)
        settings = dict(node.settings)
        if node.kind == "attend":  # its query, key and value are laid out accordingly
            del settings["axis"]
        padding = settings.get("padding")
        if isinstance(padding, (tuple, list)) and len(padding) == rank == 4:
            settings["padding"] = tuple(padding[axis] for axis in ((0, 3, 1, 2) if order == LAST else range(4)))
        if isinstance(settings.get("axis"), int) and rank:
            settings["axis"] = canonical_axis(settings["axis"], rank, order)
        if isinstance(settings.get("axes"), (tuple, list)) and rank:
            settings["axes"] = tuple(sorted(canonical_axis(axis, rank, order) for axis in settings["axes"]))
        if node.kind == "reshape":
            settings["shape"] = (node.shape[0], *work.shape(number))
        kind = "global_avg_pool" if node.kind == "mean" and rank == 4 and settings.get("axes") == (2, 3) else node.kind
        work.nodes[number] = replace(node, kind=kind, settings={} if kind != node.kind else settings)


STEPS: tuple[Callable[[Work], None], ...] = (
    _join_what_is_one,
    _strip_parameters,
    _pool_tokens,
    _name_axes,
    _drop_what_does_nothing,
    name_gates,
    join_constants,
    settle_output_padding,
    take_padding_in,
    take_cropping_in,
    flatten_sums,
    flatten_concatenations,
    _drop_what_does_nothing,
)


def simplify(graph: Graph) -> Simplified:
    """Return the graph without what makes no difference to what the network computes in inference."""
    work = Work(graph)
    for step in STEPS:
        step(work)
    return work.result()

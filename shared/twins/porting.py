"""Carries the weights of one model into another by their alignment, and proves that both are then the same function.

>>> port(my_torch_model, my_keras_model)    # my_keras_model now has the weights, or nothing was changed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.networks.graph import Graph, Node
from shared.twins.alignment import Alignment
from shared.twins.pair import Pair, as_images, compare_graphs, in_layout, see, usual_image
from shared.twins.simplify import Simplified, flattened_as

Arrays = Mapping[str, NDArray[Any]]
#: Largest difference of the outputs, relative to their root mean square, of two float32 models with equal weights.
SAME_OUTPUT = 1e-4
#: Images on which the outputs are compared.
IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Port:
    """What became of carrying weights over.

    difference: of the outputs on the same images, relative to their root mean square; carried: how many layers;
    reasons: what the two networks differ in, if they do.
    """

    pair: Pair
    carried: int
    difference: float
    reasons: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both models are the same function on the images that were tried."""
        return self.difference < SAME_OUTPUT

    @property
    def verdict(self) -> str:
        """One line: whether it is proven, and by what."""
        both = " and ".join(self.pair.names)
        what = (
            f"outputs differ by {self.difference:.1e} of their size on {IMAGES} images, {self.carried} layers carried"
        )
        if self.equal:
            return f"{TICK} {both} are the same function: {what}"
        why = f"; {self.reasons[0]}" if self.reasons else ""
        return f"{CROSS} {both} are not the same function: {what}{why}"


def port(first: Any, second: Any, images: NDArray[Any] | None = None, *, input_size: int | None = None) -> Port:
    """Give the second model the first one's weights, and compare what both make of the same images.

    `images` are (N, H, W, C), random ones by default. If the outputs then differ, the second model gets its own
    weights back. Raises `WeightsError`, and changes nothing, if a layer with weights has no partner or does not fit.
    """
    given = usual_image([first, second], input_size=input_size) if images is None else as_images(images)
    pair = compare_graphs(see(first, given[:1]), see(second, given[:1]))
    saved = Saved(pair.second)
    shown = _images(given) if images is None else given
    done = None
    try:
        carried = carry(pair)
        outputs = [_outputs(graph, shown) for graph in (pair.first, pair.second)]
        difference = _largest_difference(*outputs)
        done = Port(pair=pair, carried=carried, difference=difference, reasons=tuple(pair.reasons))
    finally:
        if done is None or not done.equal:
            saved.restore()
    return done


class Saved:
    """The weights of a model, which can be given back to it."""

    def __init__(self, graph: Graph) -> None:
        self.graph, part = graph, load_part(graph.framework, "graph")
        self.write = part.set_arrays
        self.arrays = {
            number: part.get_arrays(graph, number) for number, node in enumerate(graph.nodes) if node.weights
        }

    def restore(self) -> None:
        """Give every layer the weights that it had."""
        for number, arrays in self.arrays.items():
            self.write(self.graph, number, arrays)


def carry(pair: Pair) -> int:
    """Give the second model of a pair the first one's weights; return how many layers got some."""
    alignment = pair.alignment
    if pair.refused:
        raise WeightsError(f"{' and '.join(pair.names)} are not the same network: {pair.refused}")
    _check_partners(alignment)
    read = load_part(pair.first.framework, "graph").get_arrays
    write = load_part(pair.second.framework, "graph").set_arrays
    changes: dict[int, dict[str, NDArray[Any]]] = {}
    for left, right in alignment.pairs:
        mine, theirs = alignment.first.nodes[left], alignment.second.nodes[right]
        if not mine.node.weights and not theirs.node.weights:
            continue
        arrays = read(pair.first, mine.core)
        if mine.node.kind == "dense":
            arrays = _as_flattened(arrays, alignment, left, right)
        changes[right] = _fitting(arrays, alignment, left, right)
    _fold_biases(pair, changes, read)
    for right, arrays in changes.items():
        write(pair.second, alignment.second.nodes[right].core, arrays)
    return len(changes)


def _check_partners(alignment: Alignment) -> None:
    for graph, numbers, which in (
        (alignment.first, alignment.left, "first"),
        (alignment.second, alignment.right, "second"),
    ):
        for number in numbers:
            node = graph.nodes[number].node
            if node.weights:
                raise WeightsError(f"{printable(node.name)} ({node.kind}) is only in the {which}; nothing was changed")


def _fitting(arrays: Arrays, alignment: Alignment, left: int, right: int) -> dict[str, NDArray[Any]]:
    """Return the arrays for the second model's layer; raise `WeightsError` if they are of other shapes."""
    mine, theirs = alignment.first.nodes[left].node, alignment.second.nodes[right].node
    found = {}
    for role, weight in theirs.weights.items():
        if role not in arrays:
            found[role] = _absent(mine, theirs, role, weight.shape)
        elif arrays[role].shape != weight.shape:
            raise WeightsError(
                f"the {role} of {printable(mine.name)} is {arrays[role].shape}, that of {printable(theirs.name)} "
                f"{weight.shape}; nothing was changed"
            )
        else:
            found[role] = arrays[role]
    if lost := [role for role in arrays if role not in theirs.weights and role != "bias"]:
        raise WeightsError(
            f"{printable(theirs.name)} has no {lost[0]}, {printable(mine.name)} has one; nothing was changed"
        )
    return found


#: What a role that is absent stands for.
NEUTRAL = {"bias": 0.0, "weight": 1.0, "running_mean": 0.0, "running_var": 1.0}


def _absent(mine: Node, theirs: Node, role: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what a weight that only the second layer has must be for it to do nothing."""
    if role == "bias" or mine.kind.endswith("_norm"):
        return np.full(shape, NEUTRAL[role], np.float32)
    raise WeightsError(f"{printable(mine.name)} has no {role}, {printable(theirs.name)} has one; nothing was changed")


def _as_flattened(arrays: Arrays, alignment: Alignment, left: int, right: int) -> dict[str, NDArray[Any]]:
    """Put the columns of a dense layer behind a flatten into the order in which the other framework flattens."""
    found = dict(arrays)
    shapes = [_flattened(graph, number) for graph, number in ((alignment.first, left), (alignment.second, right))]
    layouts = alignment.first.graph.layout, alignment.second.graph.layout
    if None in shapes or layouts[0] == layouts[1]:
        return found
    found["weight"] = flattened_as(found["weight"], shapes[0] or (1, 1, 1), layouts[1])
    return found


def _flattened(graph: Simplified, number: int) -> tuple[int, ...] | None:
    """Return (channels, height, width) of what is flattened in front of a dense layer, looking through activations."""
    while graph.nodes[number].inputs:
        number = graph.nodes[number].inputs[0]
        simple = graph.nodes[number]
        if simple.node.kind in ("flatten", "reshape"):
            shape = graph.nodes[simple.inputs[0]].shape
            return shape if len(shape) == 3 else None
        if simple.node.weights:
            return None
    return None


def _fold_biases(pair: Pair, changes: dict[int, dict[str, NDArray[Any]]], read: Any) -> None:
    """Move a bias that only the first model has into the mean of the BatchNorm behind it, where that is exact."""
    alignment = pair.alignment
    after = alignment.second.consumers()
    for left, right in alignment.pairs:
        mine, theirs = alignment.first.nodes[left].node, alignment.second.nodes[right].node
        if "bias" not in mine.weights or "bias" in theirs.weights or mine.kind.endswith("_norm"):
            continue
        bias = read(pair.first, alignment.first.nodes[left].core)["bias"]
        norm = after[right][0] if len(after[right]) == 1 else None
        if norm is None or "running_mean" not in changes.get(norm, {}):
            if np.any(bias):
                raise WeightsError(
                    f"{printable(theirs.name)} has no bias, {printable(mine.name)} has one, and no BatchNorm stands "
                    "behind it that could take it; nothing was changed"
                )
            continue
        changes[norm]["running_mean"] = changes[norm]["running_mean"] - bias


# -- the proof


def _images(one: NDArray[Any]) -> NDArray[Any]:
    shape = (IMAGES, *one.shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _outputs(graph: Graph, images: NDArray[Any]) -> list[NDArray[Any]]:
    """Return what a model makes of images (N, H, W, C), one output behind another; it is run with one at a time."""
    found = [run_graph(graph, in_layout(images[index : index + 1], graph.framework)) for index in range(len(images))]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def run_graph(graph: Graph, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """Run a live model node by node, in inference mode, and return its outputs; what is no longer needed is let go."""
    run = load_part(graph.framework, "graph").run_node
    waiting = Counter(source for node in graph.nodes for source in node.inputs)
    waiting.update(graph.outputs.values())
    given = iter(inputs)
    values: dict[int, NDArray[Any]] = {}
    for number, node in enumerate(graph.nodes):
        arrays = [next(given)] if node.kind == "input" else [values[source] for source in node.inputs]
        values[number] = run(graph, number, arrays)
        waiting.subtract(node.inputs)
        for source in node.inputs:
            if not waiting[source]:
                values.pop(source, None)
    return [values[number] for number in graph.outputs.values()]


def _largest_difference(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> float:
    """Return the largest difference of the outputs, relative to their root mean square."""
    if len(first) != len(second):
        raise InputError(f"the first model has {len(first)} outputs, the second {len(second)}")
    worst = 0.0
    for mine, theirs in zip(first, second, strict=True):
        if mine.shape != theirs.shape and mine.ndim == 4:
            theirs = theirs.transpose(0, 3, 1, 2)
        worst = max(worst, error_of(theirs, mine))
    return worst


def error_of(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative to the root mean square of what is expected."""
    if found.shape != expected.shape:
        return float("inf")
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0.0)) / size

"""Carries the weights of one model into another by their alignment: what goes where, and what cannot be carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.base.errors import WeightsError
from shared.base.printable import printable
from shared.networks.graph import Graph, Node, Weight
from shared.twins.alignment import Alignment
from shared.twins.layouts import in_rows
from shared.twins.pair import Pair
from shared.twins.simplify import is_pointwise
from shared.twins.weights_of import read_weights, write_weights

Arrays = Mapping[str, NDArray[Any]]


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What carrying would do: the arrays for each layer of the second model, by its number in the simplified graph.

    folded: layers of the first whose bias moves into the BatchNorm behind; problems: what cannot be carried, in words.
    """

    arrays: Mapping[int, dict[str, NDArray[Any]]]
    folded: frozenset[int]
    problems: tuple[str, ...]


def carry(pair: Pair) -> int:
    """Give the second model of a pair all of the first one's weights; return how many layers got some."""
    if pair.refused:
        raise WeightsError(f"{' and '.join(pair.names)} are not the same network: {pair.refused}")
    found = plan(pair)
    if found.problems:
        raise WeightsError(f"{found.problems[0]}; nothing was changed")
    return lend(pair, found)


def lend(pair: Pair, found: Plan) -> int:
    """Give the second model what can be carried; return how many layers got some."""
    for right, arrays in found.arrays.items():
        write_weights(pair.second, pair.alignment.second.nodes[right], arrays)
    return len(found.arrays)


def plan(pair: Pair) -> Plan:
    """Work out what each layer of the second model gets."""
    alignment = pair.alignment
    problems = list(_without_partner(alignment))
    changes: dict[int, dict[str, NDArray[Any]]] = {}
    biases: dict[int, NDArray[Any]] = {}
    for left, right in alignment.pairs:
        mine, theirs = alignment.first.nodes[left], alignment.second.nodes[right]
        if not mine.node.weights and not theirs.node.weights:
            continue
        arrays = read_weights(pair.first, mine)
        if mine.node.kind == "dense":
            arrays = _as_flattened(arrays, alignment, left, right)
        changes[right], wrong = _fitting(arrays, mine.node, theirs.node)
        problems += wrong
        if "bias" in arrays and "bias" not in theirs.node.weights and not mine.node.kind.endswith("_norm"):
            biases[left] = arrays["bias"]
    folded, wrong = _fold(biases, alignment, changes)
    return Plan(arrays=changes, folded=frozenset(folded), problems=(*problems, *wrong))


def _without_partner(alignment: Alignment) -> Iterator[str]:
    for graph, numbers, which in (
        (alignment.first, alignment.left, "first"),
        (alignment.second, alignment.right, "second"),
    ):
        for node in (graph.nodes[number].node for number in numbers):
            if node.weights:
                yield f"{printable(node.name)} ({node.kind}) is only in the {which}"


def _fitting(arrays: Arrays, mine: Node, theirs: Node) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays for the second model's layer, and what does not fit, in words."""
    found, wrong = {}, []
    names = printable(mine.name), printable(theirs.name)
    if is_pointwise(mine) != is_pointwise(theirs):
        arrays = {role: _as_kernel(array, theirs.weights.get(role)) for role, array in arrays.items()}
    for role, weight in theirs.weights.items():
        if role in arrays and arrays[role].shape == weight.shape:
            found[role] = arrays[role]
        elif role in arrays:
            wrong.append(f"the {role} of {names[0]} is {arrays[role].shape}, that of {names[1]} {weight.shape}")
        elif role.endswith("bias") or mine.kind.endswith("_norm"):
            found[role] = np.full(weight.shape, NEUTRAL.get(role, 0.0), np.float32)  # with which it does nothing
        else:
            wrong.append(f"{names[0]} has no {role}, {names[1]} has one")
    lost = [role for role in arrays if role not in theirs.weights and (role != "bias" or mine.kind.endswith("_norm"))]
    wrong += [f"{names[1]} has no {role}, {names[0]} has one" for role in lost if not _does_nothing(role, arrays[role])]
    return found, wrong


def _as_kernel(array: NDArray[Any], weight: Weight | None) -> NDArray[Any]:
    """Return a matrix as a kernel of one pixel, or the other way round."""
    fits = weight is not None and array.shape[:2] == weight.shape[:2] and array.size == int(np.prod(weight.shape))
    return array.reshape(weight.shape) if weight is not None and fits else array


#: What a role that is absent stands for.
NEUTRAL = {"bias": 0.0, "weight": 1.0, "running_mean": 0.0, "running_var": 1.0}


def _does_nothing(role: str, array: NDArray[Any]) -> bool:
    return bool(np.all(array == NEUTRAL.get(role, 0.0))) and (role in NEUTRAL or role.endswith("bias"))


def _as_flattened(arrays: Arrays, alignment: Alignment, left: int, right: int) -> dict[str, NDArray[Any]]:
    """Put the columns of a dense layer behind a flatten into the order in which the other framework flattens."""
    rows = [
        graph.nodes[graph.nodes[number].inputs[0]].layout
        for graph, number in ((alignment.first, left), (alignment.second, right))
    ]
    if not rows[0].image or not rows[1].image or rows[0].order == rows[1].order:
        return dict(arrays)
    return {**arrays, "weight": in_rows(arrays["weight"], rows[0].image, rows[1].order)}


def _fold(
    biases: Mapping[int, NDArray[Any]], alignment: Alignment, changes: Mapping[int, dict[str, NDArray[Any]]]
) -> tuple[list[int], list[str]]:
    """Move biases that only the first model has into the mean of the BatchNorm behind, where that is exact.

    Returns the layers of the first model where that was done, and in words where it cannot be.
    """
    after = alignment.second.consumers()
    folded, wrong = [], []
    for left, bias in biases.items():
        right = alignment.partner[left]
        mine, theirs = alignment.first.nodes[left].node, alignment.second.nodes[right].node
        norm = after[right][0] if len(after[right]) == 1 else None
        if norm is not None and "running_mean" in changes.get(norm, {}):
            changes[norm]["running_mean"] = changes[norm]["running_mean"] - bias
            folded.append(left)
        elif np.any(bias):
            wrong.append(
                f"{printable(theirs.name)} has no bias, {printable(mine.name)} has one, and no BatchNorm stands "
                "behind it that could take it"
            )
    return folded, wrong

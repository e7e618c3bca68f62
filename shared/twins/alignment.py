"""Which layer of one network is which layer of another: found from the flow of data, not from names or order.

Both graphs are written down in an order of their own, from the output back to the input, and the two lines are laid
beside each other as two words are by their edit distance. A sum says nothing of the order of its operands; they are put
into the order in which they resemble the operands of the other sum, until nothing changes. So are those of a
concatenation, of which somebody may have taken another order. What then has no partner is
paired if its inputs are.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from shared.networks.graph import Node
from shared.twins.simplify import COMMUTATIVE, Simplified, kind_of, without_ones

#: Kinds that may stand for each other: somebody took the wrong one.
FAMILIES: dict[str, str] = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish"), "activation"),
    **dict.fromkeys(("sigmoid", "hard_sigmoid", "hard_swish", "tanh", "softplus"), "activation"),
    **dict.fromkeys(("softmax", "log_softmax"), "softmax"),
    **dict.fromkeys(("max_pool", "avg_pool"), "pool"),
    **dict.fromkeys(("global_avg_pool", "global_max_pool", "mean"), "global pool"),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "rms_norm"), "normalisation"),
    **dict.fromkeys(("add", "subtract", "concat", "multiply"), "joint"),
    **dict.fromkeys(("flatten", "reshape", "permute", "tokens", "pixels"), "shape"),
}
#: More operands than these are not tried in every order.
MOST_OPERANDS = 5
#: Times that the operands of sums are put into another order at most.
ROUNDS = 6
#: What two nodes that are paired are worth: for kind, shapes of weights, output, settings, and all that leads there.
SAME_KIND, SAME_FAMILY, SAME_WEIGHTS, SAME_SHAPE, SAME_SETTINGS, SAME_ANCESTORS = 3.0, 1.0, 3.0, 1.0, 1.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Two networks beside each other.

    pairs: (number in the first, number in the second) in the order of dataflow; left, right: what has no partner.
    wiring: pairs whose inputs are not each other's partners, though nothing is missing in front of them.
    """

    first: Simplified
    second: Simplified
    pairs: tuple[tuple[int, int], ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    wiring: tuple[tuple[int, int], ...]

    @functools.cached_property
    def partner(self) -> dict[int, int]:
        """The second network's node for each node of the first that has one."""
        return dict(self.pairs)


def align(first: Simplified, second: Simplified) -> Alignment:
    """Pair the nodes of two simplified graphs."""
    orders = [_operands(first), _operands(second)]
    pairs: dict[int, int] = {}
    seen: set[tuple[tuple[int, int], ...]] = set()
    scores = _Scores(first, second)
    for _ in range(ROUNDS):
        found = _edit_pairs(_line(first, orders[0]), _line(second, orders[1]), scores)
        pairs = dict(found)
        if tuple(found) in seen or not _reorder(first, second, orders, pairs, scores):
            break
        seen.add(tuple(found))
    _pair_leftovers(first, second, pairs, scores)
    _pair_moved(first, second, pairs)
    return _alignment(first, second, pairs)


# -- one line of a graph


def _operands(graph: Simplified) -> list[list[int]]:
    """Return the inputs of each node, those of a sum by how long the way to them is, the longest first."""
    depth: list[int] = []
    found = []
    for simple in graph.nodes:
        inputs = list(simple.inputs)
        if simple.node.kind in COMMUTATIVE:
            inputs.sort(key=lambda number: -depth[number])
        depth.append(1 + max((depth[number] for number in inputs), default=0))
        found.append(inputs)
    return found


def _line(graph: Simplified, operands: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes in the order in which they are needed, from the outputs back: depth first, each once."""
    line: list[int] = []
    seen: set[int] = set()
    for output in graph.outputs.values():
        stack: list[tuple[int, int]] = [(output, 0)]
        while stack:
            number, turn = stack.pop()
            if number in seen:
                continue
            if turn < len(operands[number]):
                stack += [(number, turn + 1), (operands[number][turn], 0)]
            else:
                seen.add(number)
                line.append(number)
    return line


# -- how alike two nodes are


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _plain(settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in settings.items()))


def weight_shapes(node: Node) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return role and shape of each weight; of a kernel of one pixel as of a matrix."""
    one = node.kind == "conv" and set(_main(node)[2:]) == {1}
    return tuple(sorted((role, weight.shape[: 2 if one else None]) for role, weight in node.weights.items()))


def _main(node: Node) -> tuple[int, ...]:
    return node.weights["weight"].shape if "weight" in node.weights else ()


def main_shape(node: Node) -> tuple[int, ...] | None:
    """Return the shape of the weight that says most of a layer, None if it has none."""
    shapes = dict(weight_shapes(node))
    return shapes.get("weight", shapes.get(next(iter(node.weights), "")))


def _ancestors(graph: Simplified) -> list[str]:
    """Return for each node a hash of all that leads to it."""
    found: list[str] = []
    for simple in graph.nodes:
        before = [found[number] for number in simple.inputs]
        if simple.node.kind in COMMUTATIVE:
            before.sort()
        found.append(_digest((kind_of(simple.node), weight_shapes(simple.node), before)))
    return found


class _Scores:
    """How much a pair of nodes is worth, minus infinity for two that are never partners."""

    def __init__(self, first: Simplified, second: Simplified) -> None:
        hashes = _ancestors(first), _ancestors(second)
        codes: dict[object, int] = {}

        def coded(values: Sequence[object]) -> np.ndarray:
            return np.array([codes.setdefault(value, len(codes)) for value in values])

        def equal(of: Any) -> np.ndarray:
            left, right = (coded([of(simple) for simple in graph.nodes]) for graph in (first, second))
            return np.asarray(left[:, None] == right[None, :])

        same = equal(lambda simple: ("same", kind_of(simple.node)))
        kind = same | equal(lambda simple: ("kind", simple.node.kind))
        family = same | equal(lambda simple: ("family", FAMILIES.get(simple.node.kind, simple.node.kind)))
        weights = equal(lambda simple: ("weights", weight_shapes(simple.node)))
        main = equal(lambda simple: ("main", main_shape(simple.node)))
        shape = equal(lambda simple: ("shape", without_ones(simple.shape)))
        settings = equal(lambda simple: ("settings", _plain(simple.node.settings)))
        source = equal(lambda simple: ("source", simple.node.source if simple.node.kind == "other" else ""))
        ancestors = np.equal(
            coded([("past", each) for each in hashes[0]])[:, None],
            coded([("past", each) for each in hashes[1]])[None, :],
        )
        value = np.where(kind, SAME_KIND, SAME_FAMILY)
        value = value + SAME_WEIGHTS * (0.5 * weights + 0.5 * main) * kind
        value = value + SAME_SHAPE * shape + SAME_SETTINGS * settings * kind + SAME_ANCESTORS * ancestors
        self.values = np.where(family & source, value, -np.inf)

    def __call__(self, left: int, right: int) -> float:
        return float(self.values[left, right])


def _edit_pairs(line: list[int], other: list[int], scores: _Scores) -> list[tuple[int, int]]:
    """Return the pairs of two lines that are worth most together, none of which cross."""
    values = scores.values[np.ix_(line, other)]
    best = np.zeros((len(line) + 1, len(other) + 1))
    for row in range(1, len(line) + 1):
        taken = best[row - 1, :-1] + values[row - 1]
        above = best[row - 1, 1:]
        best[row, 1:] = np.maximum.accumulate(np.maximum(taken, above))
    pairs = []
    row, column = len(line), len(other)
    while row and column:
        if best[row, column] == best[row - 1, column]:
            row -= 1
        elif best[row, column] == best[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((line[row], other[column]))
    return pairs[::-1]


# -- sums


def _bags(graph: Simplified) -> list[Counter[tuple[str, object]]]:
    """Return for each node how often each kind of node with each shape of weights leads to it."""
    sets: list[frozenset[int]] = []
    for number, simple in enumerate(graph.nodes):
        sets.append(frozenset({number}).union(*(sets[source] for source in simple.inputs)))
    what = [(kind_of(simple.node), weight_shapes(simple.node)) for simple in graph.nodes]
    return [Counter(what[number] for number in each) for each in sets]


def _alike(first: Counter[Any], second: Counter[Any]) -> float:
    total = (first | second).total()
    return (first & second).total() / total if total else 1.0


def _reorder(
    first: Simplified,
    second: Simplified,
    orders: list[list[list[int]]],
    pairs: Mapping[int, int],
    scores: _Scores,
) -> bool:
    """Put the operands of the second network's sums into the order of those of their partners; say if any changed."""
    bags = _bags(first), _bags(second)
    changed = False
    for left, right in pairs.items():
        mine, other = orders[0][left], orders[1][right]
        kinds = first.nodes[left].node.kind, second.nodes[right].node.kind
        if set(kinds) - {*COMMUTATIVE, "concat"} or not 1 < len(other) <= MOST_OPERANDS or len(mine) != len(other):
            continue
        worth = [
            [
                _alike(_unshared(bags[0], mine, row), _unshared(bags[1], other, column))
                + 0.01 * max(scores(mine[row], other[column]), 0.0)
                for column in range(len(other))
            ]
            for row in range(len(mine))
        ]
        best = max(permutations(range(len(other))), key=functools.partial(_sum_along, worth))
        if best != tuple(range(len(other))):
            orders[1][right] = [other[turn] for turn in best]
            changed = True
    return changed


def _sum_along(worth: Sequence[Sequence[float]], order: Sequence[int]) -> float:
    return sum(worth[row][column] for row, column in enumerate(order))


def _unshared(bags: Sequence[Counter[Any]], operands: Sequence[int], index: int) -> Counter[Any]:
    """Return what leads to one operand and not to all of them."""
    common = bags[operands[0]]
    for number in operands[1:]:
        common = common & bags[number]
    return bags[operands[index]] - common


# -- what is left


def _pair_leftovers(first: Simplified, second: Simplified, pairs: dict[int, int], scores: _Scores) -> None:
    """Pair what has no partner, but whose inputs or followers are paired with each other's."""
    taken = set(pairs.values())
    after = second.consumers()
    for left, simple in enumerate(first.nodes):
        if left in pairs or not simple.inputs or simple.inputs[0] not in pairs:
            continue
        candidates = [
            right
            for right in after[pairs[simple.inputs[0]]]
            if right not in taken and scores(left, right) >= SAME_KIND + SAME_SHAPE
        ]
        if candidates:
            right = max(candidates, key=lambda number: scores(left, number))
            pairs[left] = right
            taken.add(right)


def _pair_moved(first: Simplified, second: Simplified, pairs: dict[int, int]) -> None:
    """Pair what has weights and stands elsewhere, but not far: a norm before or behind a convolution."""
    after = second.consumers()
    taken = set(pairs.values())
    for left, simple in enumerate(first.nodes):
        if left in pairs or not simple.node.weights or simple.node.kind == "parameter":
            continue
        near = _near(first.nodes[left].inputs, first.consumers()[left], pairs.get)
        for right, other in enumerate(second.nodes):
            alike = simple.node.kind == other.node.kind or kind_of(simple.node) == kind_of(other.node)
            if right in taken or not alike or weight_shapes(simple.node) != weight_shapes(other.node):
                continue
            if near & _near(other.inputs, after[right], {each: each for each in taken}.get):
                pairs[left] = right
                taken.add(right)
                break


def _near(inputs: Sequence[int], outputs: Sequence[int], partner: Any) -> set[int]:
    """Return the partners of what stands around a node."""
    return {found for number in (*inputs, *outputs) if (found := partner(number)) is not None}


def _alignment(first: Simplified, second: Simplified, pairs: dict[int, int]) -> Alignment:
    taken = set(pairs.values())
    ordered = tuple(sorted(pairs.items()))
    return Alignment(
        first=first,
        second=second,
        pairs=ordered,
        left=tuple(number for number in range(len(first.nodes)) if number not in pairs),
        right=tuple(number for number in range(len(second.nodes)) if number not in taken),
        wiring=tuple(pair for pair in ordered if not _wired_alike(first, second, pairs, *pair)),
    )


def _wired_alike(first: Simplified, second: Simplified, pairs: Mapping[int, int], left: int, right: int) -> bool:
    """Whether the two nodes are fed by partners; one that has none is looked through."""
    mine = sorted(pairs[source] for source in _paired_sources(first, left, pairs.__contains__))
    return mine == sorted(_paired_sources(second, right, set(pairs.values()).__contains__))


def _paired_sources(graph: Simplified, number: int, paired: Any) -> list[int]:
    """Return the nearest nodes with a partner that feed this one."""
    found = []
    waiting = list(graph.nodes[number].inputs)
    while waiting:
        source = waiting.pop()
        if paired(source):
            found.append(source)
        else:
            waiting += graph.nodes[source].inputs
    return found

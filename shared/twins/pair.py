"""Any two models beside each other: seen as graphs, aligned, and every difference said, whoever wrote them.

>>> from shared.twins import compare
>>> compare(my_torch_model, my_keras_model, input_size=96)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, load_part
from shared.base.checks import check_choice
from shared.base.errors import InputError
from shared.base.printable import printable, quoted
from shared.base.words import CROSS, TICK
from shared.networks.graph import BUFFERS, Graph, Node
from shared.twins.alignment import Alignment, align, main_shape, weight_shapes
from shared.twins.belonging import outputs_of, sharing
from shared.twins.inputs import in_layout, usual_inputs
from shared.twins.own_code import framework_of_any
from shared.twins.paddings import TAKES_PADDING
from shared.twins.pair_views import PairViews
from shared.twins.simplify import COMMUTATIVE, Simple, Simplified, kind_of, simplify, without_ones

#: What a graph is of that was drawn from a spec, not read from a model.
NO_FRAMEWORK = "catalog"
#: What one line of a pair may stand for.
LEVELS = ("layer", "block")
#: Characters of what a model is called.
MOST_TITLE = 60
#: Kinds that only move numbers about: a difference there is one of writing.
QUIET = ("input", "flatten", "reshape", "permute", "tokens", "pixels", "parameter")
#: Settings that say nothing of what is computed in inference.
SILENT = {"batch_norm": ("momentum",)}
#: Numbers so coarse that a layer's output shows it.
HALF = ("float16", "bfloat16")
#: Of a layer that would be the same if those in front of it were.
FOLLOWS = "another shape, which follows from a difference before"
#: How a difference begins that changes the number of parameters.
ROLE_WORDS = ("no ", "weight ", "bias ", "running_")
#: Two networks of which less than this share of the weighted layers have partners are not the same network.
SAME_NETWORK = 0.6
#: And of whose pairs more than this share is fed by others than each other's partners.
MOST_REWIRED = 0.15
#: So many are no other network, however small the two are: a norm that stands elsewhere makes three.
FEW_REWIRED = 4


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One line: a layer or operation of the first model, of the second, or of both, and how the two differ."""

    left: Simple | None
    right: Simple | None
    differences: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both have it, and nothing differs."""
        return self.left is not None and self.right is not None and not self.differences

    @property
    def name(self) -> str:
        """The name in the first model that has it."""
        found = self.left or self.right
        assert found is not None
        return found.node.name

    @property
    def parameters(self) -> tuple[int, int]:
        """How many parameters the two models have here."""
        return self.left.node.parameters if self.left else 0, self.right.node.parameters if self.right else 0

    def more(self, role: str = "") -> int:
        """Return how many parameters the second model has more here than the first, of one role or of all."""
        first, second = (_count(side, role) for side in (self.left, self.right))
        return second - first


def _count(side: Simple | None, role: str) -> int:
    """Return how many parameters a layer has, of one role or of all."""
    if side is None or role in BUFFERS:
        return 0
    if not role:
        return side.node.parameters
    return int(np.prod(side.node.weights[role].shape)) if role in side.node.weights else 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Pair(PairViews):
    """Two models, seen and aligned. `rows` are in the order of dataflow.

    `str()`, a notebook cell, `to_html()`, `to_json()` and so on show them, or with `by="block"` the sums of blocks.
    """

    first: Graph
    second: Graph
    alignment: Alignment
    rows: tuple[PairRow, ...]
    by: str = "layer"

    @property
    def equal(self) -> bool:
        """Whether all layers and operations are the same."""
        return all(row.equal for row in self.rows)

    @property
    def totals(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """How many parameters and buffers each model has, a weight that layers share counted once."""
        return totals(self.first), totals(self.second)

    def grouped(self, by: str) -> Pair:
        """Return the same pair, shown by "layer" or "block"; raise `InputError` where names tell of no blocks."""
        check_choice("by", by, LEVELS)
        if by == "block" and not self.named():
            raise InputError(
                f"neither {' nor '.join(self.names)} has blocks in the names of its layers, like layer1.0.conv1, "
                "stage1/block2/conv or conv2_block1_1_conv; show them by layer"
            )
        return replace(self, by=by)

    @property
    def refused(self) -> str:
        """Why the two are not one network, in words; empty if they are."""
        return _why_not_one(self.alignment)

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called; by their place where both have the same name."""
        frameworks = [
            BACKENDS[graph.framework].title if graph.framework else NO_FRAMEWORK for graph in (self.first, self.second)
        ]
        first, second = (printable(graph.title, MOST_TITLE) for graph in (self.first, self.second))
        if frameworks[0] != frameworks[1]:
            return f"{first} ({frameworks[0]})", f"{second} ({frameworks[1]})"
        return (f"{first} (first)", f"{second} (second)") if first == second else (first, second)

    @property
    def verdict(self) -> str:
        """One line: whether the two are the same, and if not, where the first difference is."""
        both = " and ".join(self.names)
        if self.equal:
            count = f"{totals(self.first)['parameters']:,} parameters"
            return f"{TICK} {both}: all {len(self.rows)} layers and operations are the same, {count}"
        if self.refused:
            return f"{CROSS} {both} are not the same network: {self.refused}"
        bad = [row for row in self.rows if not row.equal]
        what = ", ".join(bad[0].differences) or "only in the " + ("first" if bad[0].right is None else "second")
        return (
            f"{CROSS} {both}: {len(bad)} of {len(self.rows)} rows differ, the first is {printable(bad[0].name)}: {what}"
        )

    @property
    def reasons(self) -> list[str]:
        """Every kind of difference once: where it is, and what it does to the number of parameters."""
        groups: dict[tuple[str, str], list[PairRow]] = {}
        for row in self.rows:
            for key in _kinds_of_difference(row):
                groups.setdefault(key, []).append(row)
        return [_reason(kind, text, rows) for (kind, text), rows in groups.items()]


def see(model: Any, *inputs: NDArray[Any]) -> Graph:
    """Return the graph of any PyTorch or Keras model: what it does with `inputs`, images as (N, H, W, C).

    Without inputs it is shown a random one; an exported program knows its own. Raises `InputError`, in one line, for
    something that is no model and for a model that cannot be seen.
    """
    framework = framework_of_any(model)
    if framework is None:
        raise InputError(f"this is no PyTorch or Keras model but {quoted(type(model).__name__)}")
    given = [in_layout(each, framework) for each in inputs or usual_inputs([model])]
    try:
        found: Graph = load_part(framework, "graph").read_graph(model, *given)
    except (NotImplementedError, RuntimeError) as error:  # on a device without numbers, say
        name = printable(type(model).__name__)
        raise InputError(f"{name} cannot be seen: {printable(' '.join(str(error).split()), 200)}") from error
    return found


def compare_graphs(first: Graph, second: Graph) -> Pair:
    """Align two graphs and find every difference."""
    alignment = align(simplify(first), simplify(second))
    return Pair(first=first, second=second, alignment=alignment, rows=tuple(_rows(alignment)))


# -- differences


def _kinds_of_difference(row: PairRow) -> list[tuple[str, str]]:
    found = row.left or row.right
    assert found is not None
    if row.left is None or row.right is None:
        return [(found.node.kind, f"only in the {'first' if row.right is None else 'second'}")]
    return [("" if text == FOLLOWS else found.node.kind, text) for text in row.differences]


def _reason(kind: str, text: str, rows: Sequence[PairRow]) -> str:
    """Return a line about all rows that differ in the same way."""
    name = printable(rows[0].name)
    names = name if len(rows) == 1 else f"{len(rows)} times, first in {name}"
    role = text.removeprefix("no ").partition(" ")[0] if text.startswith(ROLE_WORDS) else ""
    more = sum(row.more(role) for row in rows) if role or "only in" in text else 0
    count = f"; {abs(more):,} parameters {'more' if more > 0 else 'fewer'} in the second" if more else ""
    return f"{kind}: {text} ({names}){count}".removeprefix(": ")


def _rows(alignment: Alignment) -> list[PairRow]:
    """Return a line for each pair and for all that has no partner, in the order of the first model."""
    first, second = alignment.first.nodes, alignment.second.nodes
    rewired, lent = set(alignment.wiring), sharing(alignment)
    rows: list[tuple[float, PairRow]] = []
    place = {}
    for left, right in alignment.pairs:
        found = differences(first[left], second[right], alignment)
        if (left, right) in rewired:
            found = (*found, "fed by other layers")
        found = (*found, *([lent[left, right]] if (left, right) in lent else []))
        found = (*found, *outputs_of(alignment, left, right))
        place[right] = float(left)
        rows.append((left, PairRow(left=first[left], right=second[right], differences=found)))
    rows += [(left, PairRow(left=first[left], right=None)) for left in alignment.left]
    last = -1.0
    for number, simple in enumerate(second):
        if number in place:
            last = place[number]
        else:
            rows.append((last + 0.5, PairRow(left=None, right=simple)))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])]


def differences(left: Simple, right: Simple, alignment: Alignment) -> tuple[str, ...]:
    """Return in words how two partners differ, without their weights' values."""
    mine, theirs = left.node, right.node
    if mine.kind != theirs.kind and kind_of(mine) != kind_of(theirs):
        return (f"{mine.kind} in the first, {theirs.kind} in the second",)
    settings = _settings(mine, theirs) if mine.kind == theirs.kind else ()
    found = [*_weights(mine, theirs), *settings, *_precision(mine, theirs)]
    if _turned(left, right, alignment):
        found.append("inputs in another order")
    if without_ones(left.shape) != without_ones(right.shape) and mine.kind not in QUIET and not found:
        follows = any(
            without_ones(alignment.first.nodes[source].shape) != without_ones(alignment.second.nodes[partner].shape)
            for source in left.inputs
            if (partner := alignment.partner.get(source)) is not None
        )
        found.append(FOLLOWS if follows else f"shape {_text(left.shape)} and {_text(right.shape)}")
    return tuple(found)


def _turned(left: Simple, right: Simple, alignment: Alignment) -> bool:
    """Whether two partners are fed by partners, but in another order, and it matters."""
    partners = [alignment.partner.get(source) for source in left.inputs]
    moved = partners != list(right.inputs) and Counter(partners) == Counter(right.inputs)
    return moved and left.node.kind not in COMMUTATIVE


def _weights(mine: Node, theirs: Node) -> list[str]:
    found = []
    for role in dict.fromkeys((*mine.weights, *theirs.weights)):
        shapes = [dict(weight_shapes(node)).get(role) for node in (mine, theirs)]
        if shapes[0] == shapes[1]:
            continue
        if None in shapes:
            where = "first" if shapes[0] is None else "second"
            found.append(f"no {role} in the {where}")
        else:
            found.append(f"{role} {_text(shapes[0])} and {_text(shapes[1])}")
    return found


def _settings(mine: Node, theirs: Node) -> list[str]:
    silent = SILENT.get(mine.kind, ())
    found = []
    for name in dict.fromkeys((*mine.settings, *theirs.settings)):
        usual = TAKES_PADDING.get(mine.kind) if name == "padding_value" else None
        values = mine.settings.get(name, usual), theirs.settings.get(name, usual)
        if name not in silent and not _same(*values):
            found.append(f"{name} {_text(values[0])} and {_text(values[1])}")
    return [*found, *_momentum(mine, theirs)]


def _precision(mine: Node, theirs: Node) -> Iterator[str]:
    if mine.dtype != theirs.dtype and {mine.dtype, theirs.dtype} & set(HALF):
        yield f"dtype {mine.dtype} and {theirs.dtype}: half precision"


def _momentum(mine: Node, theirs: Node) -> Iterator[str]:
    """Yield that a momentum was taken over as it is, though the two frameworks count it the other way round."""
    shares = [float(node.settings["momentum"]) for node in (mine, theirs) if "momentum" in node.settings]
    if len(shares) == 2 and _same(shares[0], 1.0 - shares[1]) and shares[0] != shares[1]:
        yield (
            f"momentum {shares[0]:g} and {shares[1]:g} as PyTorch counts it (Keras' is 1 minus that): "
            "it was taken over without turning it round"
        )


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, int | float):
        return bool(np.isclose(first, second, rtol=1e-5, atol=0))
    if isinstance(first, Sequence) and isinstance(second, Sequence) and not isinstance(first, str):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_text, value)) + ")"
    return printable(str(value), 60)


def _why_not_one(alignment: Alignment) -> str:
    """Return why two networks are not one, or an empty text."""
    first, second = alignment.first, alignment.second
    weighted = [sum(bool(simple.node.weights) for simple in graph.nodes) for graph in (first, second)]
    alike = sum(_same_weights(first, second, *pair) for pair in alignment.pairs)
    if max(weighted) and alike < SAME_NETWORK * max(weighted):
        return f"only {alike} of {max(weighted)} layers with weights have a partner with weights of the same shape"
    if len(alignment.wiring) > max(FEW_REWIRED, MOST_REWIRED * len(alignment.pairs)):
        return f"{len(alignment.wiring)} of {len(alignment.pairs)} layers that look alike are fed by other layers"
    return ""


def _same_weights(first: Simplified, second: Simplified, left: int, right: int) -> bool:
    shapes = [main_shape(graph.nodes[number].node) for graph, number in ((first, left), (second, right))]
    return shapes[0] is not None and shapes[0] == shapes[1]


def totals(graph: Graph) -> Mapping[str, int]:
    """Return how many parameters and buffers a graph's nodes have, a weight that is shared counted once."""
    seen: dict[str, tuple[bool, int]] = {}
    for node in graph.nodes:
        for role, weight in node.weights.items():
            seen[weight.key] = (role in BUFFERS, int(np.prod(weight.shape)))
    return {
        "parameters": sum(size for is_buffer, size in seen.values() if not is_buffer),
        "buffers": sum(size for is_buffer, size in seen.values() if is_buffer),
    }

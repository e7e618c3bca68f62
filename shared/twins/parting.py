"""Where two models part: every layer of the second is given what the same layer of the first was given.

The first model is run in float64, layer by layer, which is the reference. Each layer of the second gets the
reference's inputs, not those that the layers in front of it made, so that a mistake shows in the layer that makes it
and nowhere else. What float32 costs is measured as well, on the first model's own layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.base.errors import InputError
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.networks.graph import Graph
from shared.twins.alignment import Alignment
from shared.twins.pair import (
    FOLLOWS,
    QUIET,
    ROLE_WORDS,
    Pair,
    PairRow,
    as_images,
    compare_graphs,
    differences,
    in_layout,
    see,
    usual_image,
)
from shared.twins.pair_views import difference_text
from shared.twins.porting import Saved, carry, error_of
from shared.twins.simplify import NOTHING, Simplified, flattened_as

Array = NDArray[Any]
#: An error above this many times what float32 costs in the same layer, and above this at all, is a mistake.
TIMES_NOISE, LEAST_ERROR = 20.0, 1e-5
IMAGES = 2
#: How a difference begins that the carried weights make good, or that another one explains.
WITHOUT_EFFECT = (*ROLE_WORDS, FOLLOWS)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One pair of layers: the error of the second's output, relative to the size of the reference, and its noise."""

    name: str
    other: str
    kind: str
    error: float
    noise: float

    @property
    def parts(self) -> bool:
        """Whether the second layer is another function than the first."""
        return not self.error <= TIMES_NOISE * self.noise + LEAST_ERROR


@dataclass(frozen=True, kw_only=True)
class Parting:
    """What was seen: each pair of layers in the order of dataflow, and what explains the first that parts."""

    pair: Pair
    layers: tuple[Judged, ...]
    cause: str

    @property
    def first(self) -> Judged | None:
        """The first layer that parts, or None."""
        return next((layer for layer in self.layers if layer.parts), None)

    @property
    def equal(self) -> bool:
        """Whether no layer parts, and none with a function of its own is missing on one side."""
        return self.first is None and not self.cause

    @property
    def verdict(self) -> str:
        """One line on the whole."""
        both = " and ".join(self.pair.names)
        if self.equal:
            worst = max((layer.error for layer in self.layers), default=0.0)
            return f"{TICK} {both} agree in all {len(self.layers)} layers and operations, to {worst:.0e} of their size"
        if self.first is None:
            return f"{CROSS} {both} part: {self.cause}"
        return f"{CROSS} {both} part at {printable(self.first.name)}: {self.cause or 'no setting explains it'}"


def find_parting(
    first: Any,
    second: Any,
    images: Array | None = None,
    *,
    input_size: int | None = None,
    as_they_are: bool = False,
) -> Parting:
    """Look for the first layer in which two models part, and for the reason.

    The second model is lent the first one's weights meanwhile, so that what is left is structure and settings;
    `as_they_are` compares the two with the weights that they have. `images` are (N, H, W, C). Both models are
    afterwards as they were. Raises `InputError` for two models that are not the same network.
    """
    given = usual_image([first, second], input_size=input_size) if images is None else as_images(images)
    if images is None:
        given = np.random.default_rng(2).normal(size=(IMAGES, *given.shape[1:])).astype(np.float32)
    pair = compare_graphs(see(first, given), see(second, given))
    if pair.refused:
        raise InputError(f"{' and '.join(pair.names)} are not the same network: {pair.refused}")
    saved = Saved(pair.second)
    try:
        if not as_they_are:
            carry(pair)
        layers = _judge_all(pair, given)
    finally:
        saved.restore()
    return Parting(pair=pair, layers=tuple(layers), cause=_cause(pair, layers))


# -- judging


class _Side:
    """One graph while it is run with inputs that are given from outside."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.run = load_part(graph.framework, "graph").run_node

    def compute(self, number: int, forced: Mapping[int, Array], dtype: str) -> Array:
        """Return the output of a node: what leads to it is computed as far back as the forced values."""
        values: dict[int, Array] = dict(forced)
        values.pop(number, None)
        waiting = [number]
        while waiting:
            needed = [source for source in self.graph.nodes[waiting[-1]].inputs if source not in values]
            if needed:
                waiting += needed
                continue
            each = waiting.pop()
            if each not in values:
                values[each] = self._one(each, [values[source] for source in self.graph.nodes[each].inputs], dtype)
        return values[number]

    def _one(self, number: int, inputs: Sequence[Array], dtype: str) -> Array:
        try:
            return np.asarray(self.run(self.graph, number, inputs, dtype))
        except InputError:
            if dtype == "float32":
                raise
            return np.asarray(self.run(self.graph, number, [each.astype(np.float32) for each in inputs], "float32"))


def _judge_all(pair: Pair, images: Array) -> list[Judged]:
    """Run the first model in float64 and hold every layer of the second against it; values are let go when used up."""
    alignment = pair.alignment
    first, second = alignment.first, alignment.second
    sides = _Side(pair.first), _Side(pair.second)
    partner = alignment.partner
    reference: dict[int, Array] = {}
    rounded: dict[int, Array] = {}
    lent: dict[int, Array] = {}
    uses = Counter(source for simple in first.nodes for source in simple.inputs)
    uses_there = Counter(source for simple in second.nodes for source in simple.inputs)
    layers = []
    for left, simple in enumerate(first.nodes):
        last = simple.members[-1]
        if simple.node.kind == "input":
            value = in_layout(images, pair.first.framework).astype(np.float64)
        else:
            value = sides[0].compute(last, reference, "float64")
        reference[last], rounded[last] = value, value.astype(np.float32)
        if (right := partner.get(left)) is not None:
            there = second.nodes[right].members[-1]
            expected = _as_there(value, alignment, left, right)
            if simple.node.kind != "input":
                layers.append(_judge(sides, alignment, (left, right), value, rounded, lent, expected))
            lent[there] = expected.astype(np.float32)
        _let_go(first, simple.inputs, uses, reference, rounded)
        if right is not None:
            _let_go(second, second.nodes[right].inputs, uses_there, lent)
    return layers


def _let_go(graph: Simplified, inputs: Sequence[int], uses: Counter[int], *values: dict[int, Array]) -> None:
    uses.subtract(inputs)
    for source in inputs:
        if uses[source] <= 0:
            for each in values:
                each.pop(graph.nodes[source].members[-1], None)


def _judge(
    sides: tuple[_Side, _Side],
    alignment: Alignment,
    numbers: tuple[int, int],
    value: Array,
    rounded: Mapping[int, Array],
    lent: Mapping[int, Array],
    expected: Array,
) -> Judged:
    mine, theirs = alignment.first.nodes[numbers[0]], alignment.second.nodes[numbers[1]]
    own = sides[0].compute(mine.members[-1], rounded, "float32")
    try:
        found = sides[1].compute(theirs.members[-1], lent, "float32")
    except (InputError, KeyError):
        error = float("inf")
    else:
        error = error_of(found, expected)
    return Judged(
        name=mine.node.name,
        other=theirs.node.name,
        kind=mine.node.kind,
        error=error,
        noise=error_of(own, value),
    )


def _as_there(value: Array, alignment: Alignment, left: int, right: int) -> Array:
    """Return a value of the first model as the second one has it: in its layout, with its axes."""
    first, second = alignment.first, alignment.second
    node = second.nodes[right].node
    if first.graph.layout != second.graph.layout:
        to_last = second.graph.layout == "channels_last"
        if value.ndim == 4:
            value = value.transpose((0, 2, 3, 1) if to_last else (0, 3, 1, 2))
        elif node.kind == "flatten":
            value = flattened_as(value, first.nodes[first.nodes[left].inputs[0]].shape, second.graph.layout)
    wanted = (len(value), *node.shape[1:])
    return value.reshape(wanted) if value.size == int(np.prod(wanted)) else value


# -- the reason


def _cause(pair: Pair, layers: Sequence[Judged]) -> str:
    """Return what explains the first layer that parts: settings that differ, or what is missing in front of it."""
    alignment = pair.alignment
    by_name = {alignment.first.nodes[left].node.name: (left, right) for left, right in alignment.pairs}
    parted = next((layer for layer in layers if layer.parts), None)
    if parted is None:
        return _missing_at_the_end(pair) or _hardly_seen(pair)
    left, right = by_name[parted.name]
    found = list(differences(alignment.first.nodes[left], alignment.second.nodes[right], alignment))
    found += _gap(alignment.first, left, set(alignment.partner), "second")
    found += _gap(alignment.second, right, set(alignment.partner.values()), "first")
    if (left, right) in alignment.wiring and not found:
        found.append("it is fed by other layers than its partner")
    return "; ".join(found)


def _gap(graph: Simplified, number: int, paired: set[int], which: str) -> list[str]:
    """Return what stands in front of a node in one model and is missing in the other."""
    found = []
    waiting = list(graph.nodes[number].inputs)
    while waiting:
        source = waiting.pop()
        if source in paired:
            continue
        node = graph.nodes[source].node
        found.append(f"{printable(node.name)} ({node.kind}) in front of it is missing in the {which}")
        waiting += graph.nodes[source].inputs
    return found


def _missing_at_the_end(pair: Pair) -> str:
    """Return in words what only one model does behind the last pair, or an empty text."""
    alone = [row for row in pair.rows if (row.left is None or row.right is None)]
    alone = [row for row in alone if _computes(row)]
    return f"{printable(alone[0].name)} is {difference_text(alone[0])}" if alone else ""


def _hardly_seen(pair: Pair) -> str:
    """Return in words a setting that differs, though these images and weights do not show it."""
    for row in pair.rows:
        settings = [text for text in row.differences if not text.startswith(WITHOUT_EFFECT)]
        if settings and _computes(row):
            return f"{printable(row.name)}: {settings[0]}, which these images hardly show"
    return ""


def _computes(row: PairRow) -> bool:
    found = row.left or row.right
    return found is not None and found.node.kind not in (*QUIET, *NOTHING)

"""Runs two aligned models in step, and holds every layer of the second against the same layer of the first.

The first model is run in float64, layer by layer, which is the reference. Each layer of the second gets the
reference's inputs, not those that the layers in front of it made, so that a mistake shows in the layer that makes it
and nowhere else. What float32 costs is measured as well, on the first model's own layer; so is what arrives at a layer
when the second model runs on its own. A value is let go as soon as nobody needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_part
from shared.base.errors import InputError
from shared.networks.graph import Graph
from shared.twins.alignment import Alignment
from shared.twins.difference import error_of
from shared.twins.inputs import in_layout
from shared.twins.layouts import laid_out
from shared.twins.pair import Pair
from shared.twins.simplify import Simplified

Array = NDArray[Any]
Values = dict[int, Array]
#: An error above this many times what float32 costs in the same layer, and above this at all, is a mistake.
TIMES_NOISE, LEAST_ERROR = 20.0, 1e-5
#: Of several pixels that are equally large, each framework gives the gradient to another one.
MAXIMA = ("max_pool", "global_max_pool")
#: A gradient is judged on float32 alone: what is cut off or replaced is far above this.
LEAST_GRADIENT = 1e-2


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One pair of layers; errors are relative to the size of what is expected, NaN where there is nothing to measure.

    error: of the second's output, on the reference's inputs; noise: what float32 costs the first there; gradient: of
    the second's gradients by its inputs; arrives: of its inputs when the second model runs on its own.
    """

    name: str
    other: str
    kind: str
    error: float
    noise: float
    gradient: float = float("nan")
    arrives: float = float("nan")

    @property
    def allowed(self) -> float:
        """The largest error that is no mistake."""
        return TIMES_NOISE * self.noise + LEAST_ERROR

    @property
    def parts_in_output(self) -> bool:
        """Whether the second layer gives something else than the first for the same input."""
        return not self.error <= self.allowed

    @property
    def parts(self) -> bool:
        """Whether the second layer is another function than the first, or has another gradient."""
        return self.parts_in_output or self.gradient > LEAST_GRADIENT


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A pair of layers (numbers in the simplified graphs), how it was judged, and from what.

    `lent` are the values that the second model's layer was given, by node, only as long as this pair is looked at.
    `expected` is the first one's output as the second model would have it, in float64; `found` is what the second one's
    layer made, None where it could not be run.
    """

    left: int
    right: int
    judged: Judged
    lent: Mapping[int, Array]
    expected: Array
    found: Array | None


class Side:
    """One graph while it is run with values that are given from outside."""

    def __init__(self, graph: Graph) -> None:
        part = load_part(graph.framework, "graph")
        self.graph, self.run, self.pull_back = graph, part.run_node, part.pull_back

    def compute(self, number: int, forced: Mapping[int, Array], dtype: str | None) -> Array:
        """Return the output of a node: what leads to it is computed as far back as the forced values."""
        return self.trail(number, forced, dtype)[number]

    def trail(self, number: int, forced: Mapping[int, Array], dtype: str | None) -> Values:
        """Return the output of a node, and all that was computed on the way, with what it was computed from."""
        values: Values = {each: value for each, value in forced.items() if each != number}
        waiting, made = [number], {}
        while waiting:
            sources = self.graph.nodes[waiting[-1]].inputs
            if missing := [source for source in sources if source not in values]:
                waiting += missing
                continue
            each = waiting.pop()
            if each not in values:
                values[each] = self._one(each, [values[source] for source in sources], dtype)
            made[each] = values[each]
            made.update({source: values[source] for source in sources})
        return made

    def _one(self, number: int, inputs: Sequence[Array], dtype: str | None) -> Array:
        if self.graph.nodes[number].kind == "input":
            raise InputError(f"{self.graph.nodes[number].name} is needed, and was let go")
        try:
            return np.asarray(self.run(self.graph, number, inputs, dtype))
        except InputError:
            if dtype != "float64":
                raise
            return np.asarray(self.run(self.graph, number, [_narrow(each) for each in inputs], None))

    def gradients(self, number: int, forced: Mapping[int, Array], upstream: Array) -> Values:
        """Return the gradient by each forced value that leads to a node, for the gradient `upstream` by its output."""
        values: Values = dict.fromkeys([number], upstream)  # its own output is not needed
        for source in self.graph.nodes[number].inputs:
            values.update(self.trail(source, forced, None) if source not in forced else {source: forced[source]})
        waiting: Values = {number: upstream}
        found: Values = {}
        for each in sorted(values, reverse=True):  # inputs come before what they feed
            gradient = waiting.pop(each, None)
            if gradient is None:
                continue
            if each in forced and each != number:
                found[each] = gradient
                continue
            sources = self.graph.nodes[each].inputs
            pulled = self.pull_back(self.graph, each, [values[source] for source in sources], gradient)
            for source, part in zip(sources, pulled, strict=True):
                waiting[source] = waiting[source] + part if source in waiting else part
        return found


def _narrow(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def walk(
    pair: Pair,
    inputs: Sequence[Array],
    inputs_there: Sequence[Array],
    silent: frozenset[int] = frozenset(),
    *,
    thorough: bool = True,
) -> Iterator[Seen]:
    """Yield each pair of layers in the first model's order, judged.

    `inputs` are for the first model, one array for each input, images as (N, H, W, C); `inputs_there` for the second.
    `silent` are layers of the first whose partner is only right together with the layer behind it. Without `thorough`
    there are neither gradients nor a run of the second model on its own.
    """
    return _Walk(pair, inputs, inputs_there, silent, thorough).run()


class _Walk:
    """The values of both models that somebody still needs; those of the second model in its own layout."""

    def __init__(
        self,
        pair: Pair,
        inputs: Sequence[Array],
        inputs_there: Sequence[Array],
        silent: frozenset[int],
        thorough: bool,
    ) -> None:
        self.alignment, self.thorough = pair.alignment, thorough
        self.sides = Side(pair.first), Side(pair.second)
        self.given = [in_layout(each, pair.first.framework) for each in inputs]
        self.given_there = [in_layout(each, pair.second.framework) for each in inputs_there]
        self.partner = {left: right for left, right in pair.alignment.pairs if left not in silent}
        self.needs = _needs(pair.alignment.second, frozenset(self.partner.values()))
        self.reference: Values = {}  # float64, of the first model
        self.rounded: Values = {}  # the same in float32
        self.lent: Values = {}  # the same as the second model has it
        self.free: Values = {}  # what the second model makes on its own
        self.uses = Counter(source for simple in pair.alignment.first.nodes for source in simple.inputs)
        self.uses_there = Counter(source for right in self.partner.values() for source in self.needs[right])

    def run(self) -> Iterator[Seen]:
        """Yield each pair in the order of the first model."""
        turn = 0
        for left, simple in enumerate(self.alignment.first.nodes):
            right = self.partner.get(left)
            if simple.node.kind == "input":
                yield from self._begin(left, right, turn)
                turn += 1
            else:
                last = simple.members[-1]
                self._keep(last, self.sides[0].compute(last, self.reference, "float64"))
                if right is not None:
                    yield self._judge(left, right)
            self._let_go(left, right)

    def _keep(self, last: int, value: Array) -> None:
        self.reference[last], self.rounded[last] = value, _narrow(value)

    def _begin(self, left: int, right: int | None, turn: int) -> Iterator[Seen]:
        """Take in an input; yield it only if the second model is shown something else."""
        value = self.given[turn]
        simple = self.alignment.first.nodes[left]
        self._keep(simple.members[-1], value if value.dtype.kind in "iub" else value.astype(np.float64))
        if right is None:
            return
        other = self.alignment.second.nodes[right]
        place = [each.node.kind for each in self.alignment.second.nodes[:right]].count("input")
        expected, own = as_there(value, self.alignment, left, right), _narrow(self.given_there[place])
        self.lent[other.members[-1]], self.free[other.members[-1]] = _narrow(expected), own
        if not np.array_equal(expected, own):
            error = error_of(own, expected)
            judged = Judged(name=simple.node.name, other=other.node.name, kind="input", error=error, noise=0.0)
            yield Seen(left=left, right=right, judged=judged, lent=self.lent, expected=expected, found=own)

    def _judge(self, left: int, right: int) -> Seen:
        mine, theirs = self.alignment.first.nodes[left], self.alignment.second.nodes[right]
        last, there = mine.members[-1], theirs.members[-1]
        value = self.reference[last]
        expected = as_there(value, self.alignment, left, right)
        noise = error_of(self.sides[0].compute(last, self.rounded, "float32"), value)
        found = self._found(there, self.lent)
        own = self._found(there, self.free) if self.thorough else None
        judged = Judged(
            name=mine.node.name,
            other=theirs.node.name,
            kind=mine.node.kind,
            error=float("inf") if found is None else error_of(found, expected),
            noise=noise,
            gradient=self._gradient(left, right) if self._compares(found, expected) else float("nan"),
            arrives=self._arrives(right) if self.thorough else float("nan"),
        )
        seen = Seen(left=left, right=right, judged=judged, lent=dict(self.lent), expected=expected, found=found)
        self.lent[there] = np.ascontiguousarray(_narrow(expected))
        self.free[there] = _narrow(expected) if own is None else own
        return seen

    def _compares(self, found: Array | None, expected: Array) -> bool:
        return self.thorough and found is not None and found.shape == expected.shape

    def _found(self, there: int, values: Values) -> Array | None:
        try:
            return self.sides[1].compute(there, values, None)
        except InputError:
            return None

    def _arrives(self, right: int) -> float:
        sources = [self.alignment.second.nodes[source].members[-1] for source in self.needs[right]]
        known = [source for source in sources if source in self.free and source in self.lent]
        return max((error_of(self.free[each], self.lent[each]) for each in known), default=float("nan"))

    def _gradient(self, left: int, right: int) -> float:
        """Return the largest error of the gradients by the inputs that both have."""
        first, second = self.alignment.first, self.alignment.second
        last, there = first.nodes[left].members[-1], second.nodes[right].members[-1]
        upstream = np.random.default_rng(left).standard_normal(self.reference[last].shape, np.float32)
        rounded, lent = self._without_ties(left) if first.nodes[left].node.kind in MAXIMA else (self.rounded, self.lent)
        try:
            mine = self.sides[0].gradients(last, rounded, upstream)
            theirs = self.sides[1].gradients(there, lent, as_there(upstream, self.alignment, left, right))
        except InputError:
            return float("nan")
        worst = float("nan")
        for source in dict.fromkeys(first.nodes[left].inputs):
            other = self.partner.get(source)
            numbers = first.nodes[source].members[-1], -1 if other is None else second.nodes[other].members[-1]
            if other is None or numbers[0] not in mine or numbers[1] not in theirs:
                continue
            expected = as_there(mine[numbers[0]], self.alignment, source, other)
            worst = np.fmax(worst, error_of(theirs[numbers[1]], expected))
        return float(worst)

    def _without_ties(self, left: int) -> tuple[Values, Values]:
        """Return the values with a little added to those that a pool is given: which of two equal ones is its maximum,
        a zero of the image or of the padding around it, is no difference.
        """
        first, second = self.alignment.first, self.alignment.second
        rounded, lent = dict(self.rounded), dict(self.lent)
        for source in first.nodes[left].inputs:
            if (other := self.partner.get(source)) is None:
                continue
            number, there = first.nodes[source].members[-1], second.nodes[other].members[-1]
            value = rounded[number]
            little = np.random.default_rng(left).permutation(value.size).reshape(value.shape) / value.size
            rounded[number] = (value + (1 + little) * np.abs(value).mean() * 1e-3).astype(value.dtype)
            lent[there] = _narrow(as_there(rounded[number], self.alignment, source, other))
        return rounded, lent

    def _let_go(self, left: int, right: int | None) -> None:
        first, second = self.alignment.first, self.alignment.second
        _count_down(first, first.nodes[left].inputs, self.uses, self.reference, self.rounded)
        if right is not None:
            _count_down(second, self.needs[right], self.uses_there, self.lent, self.free)


def _count_down(graph: Simplified, sources: Sequence[int], uses: Counter[int], *values: Values) -> None:
    uses.subtract(sources)
    for source in sources:
        if uses[source] <= 0:
            for each in values:
                each.pop(graph.nodes[source].members[-1], None)


def _needs(graph: Simplified, paired: frozenset[int]) -> list[tuple[int, ...]]:
    """Return for each node the nearest nodes with a partner that feed it; one without is looked through."""
    found: list[tuple[int, ...]] = []
    for simple in graph.nodes:
        sources: list[int] = []
        for source in simple.inputs:
            sources += [source] if source in paired else found[source]
        found.append(tuple(dict.fromkeys(sources)))
    return found


def as_there(value: Array, alignment: Alignment, left: int, right: int) -> Array:
    """Return a value of the first model as the second one has it: in its layout, with its axes."""
    mine, theirs = alignment.first.nodes[left], alignment.second.nodes[right]
    value = laid_out(value, mine.layout, theirs.layout)
    whole = theirs.node.kind == "parameter"
    wanted = alignment.second.graph.nodes[theirs.members[-1]].shape if whole else (len(value), *theirs.node.shape[1:])
    return value.reshape(wanted) if value.size == int(np.prod(wanted)) else value

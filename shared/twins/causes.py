"""Why two layers part: what stands around them, their settings, their weights, each proven where that can be done.

A setting that differs is proven to be the cause by computing the second model's layer with the first one's setting: if
that gives what is expected, nothing else is wrong with the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.networks.formulas import compute
from shared.networks.graph import Node
from shared.twins.alignment import Alignment
from shared.twins.carrying import Plan
from shared.twins.difference import error_of
from shared.twins.image_causes import explain_images
from shared.twins.lockstep import LEAST_ERROR, Seen, Side
from shared.twins.pair import FOLLOWS, Pair, differences
from shared.twins.simplify import NOTHING, Simple, Simplified
from shared.twins.weight_causes import Arrays, explain_weights

Array = NDArray[Any]
#: More settings than these are not tried in every combination.
MOST_SETTINGS = 4
#: Characters of the settings of an operation for which there is no word.
MOST_SETTINGS_TEXT = 80
GRADIENT = (
    "the outputs agree, the gradients do not: something is cut off (detach, stop_gradient) or has a gradient of its own"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pair of models while its first parting is explained.

    `plan` is what carrying the weights would give each layer of the second model; `lent` whether it has been given.
    """

    pair: Pair
    plan: Plan
    lent: bool

    @property
    def alignment(self) -> Alignment:
        """Which layer is which."""
        return self.pair.alignment


def explain(case: Case, seen: Seen) -> str:
    """Return in words why this pair of layers parts; "" if nothing is known that explains it."""
    if case.alignment.first.nodes[seen.left].node.kind == "input":
        return explain_images(seen)
    forced = seen.lent
    found = [*_around(case.alignment, seen), *_idle(case, seen, forced)]
    if not found:
        found = [*_wiring(case.alignment, seen)]
    settings = _settings(case, seen, forced)
    weights = [] if case.lent and not case.plan.problems else list(explain_weights(case, seen.left, seen.right))
    if not (found or settings or weights) and not seen.judged.parts_in_output:
        found = [GRADIENT]
    return "; ".join(dict.fromkeys([*found, *settings, *weights]))


# -- what stands around the two layers


def _around(alignment: Alignment, seen: Seen) -> Iterator[str]:
    """Yield what stands in front of one of the two layers only, or elsewhere in the other model."""
    for graph, number, paired, which in (
        (alignment.first, seen.left, alignment.partner, "first"),
        (alignment.second, seen.right, set(alignment.partner.values()), "second"),
    ):
        for source in _alone(graph, number, paired):
            name = _in_words(graph.nodes[source].node)
            moved = _moved(alignment, graph, source)
            yield moved or f"{name} in front of it is {'missing' if which == 'first' else 'only'} in the second"


def _in_words(node: Node) -> str:
    """Return name and kind of a node; of one for which there is no word, what its framework says of it."""
    what = node.kind
    if node.kind == "other" and node.settings:
        what = printable(", ".join(f"{name} {value}" for name, value in node.settings.items()), MOST_SETTINGS_TEXT)
    return f"{printable(node.name)} ({what})"


def _alone(graph: Simplified, number: int, paired: Any) -> Iterator[int]:
    """Yield what has no partner and feeds this node, directly or through others that have none."""
    waiting, known = list(graph.nodes[number].inputs), set()
    while waiting:
        source = waiting.pop(0)
        if source in paired or source in known:
            continue
        known.add(source)
        yield source
        waiting += graph.nodes[source].inputs


def _moved(alignment: Alignment, graph: Simplified, number: int) -> str:
    """Return in words that an operation without partner stands elsewhere in the other model, nearby; else ""."""
    own_first = graph is alignment.first
    other = alignment.second if own_first else alignment.first
    kind = graph.nodes[number].node.kind
    partner = alignment.partner if own_first else {right: left for left, right in alignment.pairs}
    near = {partner[each] for each in _neighbours(graph, number) if each in partner}
    left_over = alignment.right if own_first else alignment.left
    for candidate in left_over:
        shared_ = near & _neighbours(other, candidate)
        if other.nodes[candidate].node.kind == kind and shared_:
            first, second = (number, candidate) if own_first else (candidate, number)
            return _move_in_words(alignment, first, second)
    return ""


def _neighbours(graph: Simplified, number: int) -> set[int]:
    behind = {other for other, simple in enumerate(graph.nodes) if number in simple.inputs}
    return behind | set(graph.nodes[number].inputs)


def _move_in_words(alignment: Alignment, left: int, right: int) -> str:
    places = [_place(alignment.first, left), _place(alignment.second, right)]
    name = printable(alignment.first.nodes[left].node.name)
    kind = alignment.first.nodes[left].node.kind
    return f"the {kind} stands elsewhere: {name} {places[0]} in the first, {places[1]} in the second"


def _place(graph: Simplified, number: int) -> str:
    """Return behind and in front of what a node stands, by kinds."""
    before = [graph.nodes[source].node.kind for source in graph.nodes[number].inputs]
    after = [simple.node.kind for simple in graph.nodes if number in simple.inputs]
    parts = [f"behind {' and '.join(before)}"] if before else []
    parts += [f"before {' and '.join(dict.fromkeys(after))}"] if after else []
    return ", ".join(parts)


def _wiring(alignment: Alignment, seen: Seen) -> Iterator[str]:
    """Yield what feeds the second model's layer in place of what feeds the first one's."""
    if (seen.left, seen.right) not in alignment.wiring:
        return
    wanted = [alignment.partner.get(source) for source in alignment.first.nodes[seen.left].inputs]
    found = list(alignment.second.nodes[seen.right].inputs)
    names = [printable(alignment.second.nodes[number].node.name) for number in found if number not in wanted]
    missing = [
        printable(alignment.first.nodes[source].node.name)
        for source, partner in zip(alignment.first.nodes[seen.left].inputs, wanted, strict=True)
        if partner not in found
    ]
    if names and missing:
        yield f"it is fed by {' and '.join(names)} in the second, in place of {' and '.join(missing)} in the first"
    elif missing or names:
        which = "second" if missing else "first"
        yield f"its input {' and '.join(missing or names)} is missing in the {which}"
    else:
        yield "its inputs come in another order"


# -- what should do nothing


def _idle(case: Case, seen: Seen, forced: Mapping[int, Array]) -> Iterator[str]:
    """Yield what does something in one model though its kind does nothing: dropout that is active, half precision."""
    graph = case.pair.second
    there = case.alignment.second.nodes[seen.right].members[-1]
    try:
        values = Side(graph).trail(there, forced, None)
    except InputError:
        return
    for number in sorted(values):
        node = graph.nodes[number]
        if number in forced or node.kind not in NOTHING or not node.inputs:
            continue
        before, after = values[node.inputs[0]], values[number]
        if node.kind == "dropout" and error_of(after, before.reshape(after.shape)) > LEAST_ERROR:
            yield f"{printable(node.name)}: dropout is active in the second; it belongs to training only"


# -- settings


def _settings(case: Case, seen: Seen, forced: Mapping[int, Array]) -> list[str]:
    """Return the settings in which the two layers differ, those first that explain what was seen."""
    mine, theirs = case.alignment.first.nodes[seen.left], case.alignment.second.nodes[seen.right]
    found = [text for text in differences(mine, theirs, case.alignment) if text != FOLLOWS]
    if len(found) < 2 or mine.node.kind != theirs.node.kind:
        return found
    names = [name for name in {**mine.node.settings, **theirs.node.settings} if _tells(found, name)]
    inputs = [
        forced[case.alignment.second.nodes[source].members[-1]]
        for source in theirs.inputs
        if _has(case, source, forced)
    ]
    for count in range(1, len(names[:MOST_SETTINGS]) + 1):
        for chosen in combinations(names[:MOST_SETTINGS], count):
            if _repairs(case, seen, theirs, chosen, inputs):
                return [text for text in found if text.split(" ")[0] in chosen]
    return found


def _tells(found: Sequence[str], name: str) -> bool:
    return any(text.startswith(f"{name} ") for text in found)


def _has(case: Case, source: int, forced: Mapping[int, Array]) -> bool:
    return case.alignment.second.nodes[source].members[-1] in forced


def _repairs(case: Case, seen: Seen, theirs: Simple, names: Sequence[str], inputs: Sequence[Array]) -> bool:
    """Return whether the second model's layer gives what is expected once these settings are the first one's."""
    mine = case.alignment.first.nodes[seen.left].node
    settings = {**theirs.node.settings, **{name: mine.settings[name] for name in names if name in mine.settings}}
    last = case.alignment.second.graph.layout == "channels_last"
    turned = [_images_first(each) if last else each for each in inputs]
    expected = _images_first(seen.expected) if last else seen.expected
    weights: Arrays = case.plan.arrays.get(seen.right, {})
    try:
        repaired = compute(replace(theirs.node, settings=settings), weights, turned)
    except (InputError, ValueError, KeyError, IndexError, TypeError):
        return False
    return error_of(repaired, expected) <= seen.judged.allowed


def _images_first(array: Array) -> Array:
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array

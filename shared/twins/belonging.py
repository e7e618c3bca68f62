"""What belongs together in a pair beyond its layers: outputs, by name or place, and layers that share their weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.twins.alignment import Alignment
from shared.twins.simplify import Simplified


def same_outputs(first: Collection[str], second: Collection[str]) -> dict[str, str]:
    """Return which output of the second model is which of the first: by name if the names are the same, else by place.

    Raises `InputError` if one has more than the other.
    """
    if len(first) != len(second):
        raise InputError(f"the first model has {len(first)} outputs, the second {len(second)}")
    return {name: name for name in first} if set(first) == set(second) else dict(zip(first, second, strict=True))


def outputs_of(alignment: Alignment, left: int, right: int) -> Iterator[str]:
    """Yield in words that a layer of the first model is an output, and its partner is none or another one."""
    first, second = alignment.first.outputs, alignment.second.outputs
    mine = [name for name, number in first.items() if number == left]
    if len(first) != len(second):
        if mine and mine[0] == next(iter(first)):
            yield f"output of a model with {len(first)}, in the second of one with {len(second)}"
        return
    for name in mine:
        wanted = second[same_outputs(first, second)[name]]
        if wanted != right and wanted in alignment.partner.values():
            yield f"output {printable(name) or 0} of the first, {_place(second, right)} of the second"


def _place(outputs: Mapping[str, int], number: int) -> str:
    names = [name for name, each in outputs.items() if each == number]
    return f"output {printable(names[0])}" if names else "no output"


def sharing(alignment: Alignment, left: int, right: int) -> Iterator[str]:
    """Yield in words that a layer uses the weights of an earlier one in one of the two models only."""
    owners = _owner(alignment.first, left), _owner(alignment.second, right)
    if (owners[0] == left) == (owners[1] == right):
        return
    graph, owner, which = (
        (alignment.second, owners[1], "second") if owners[0] == left else (alignment.first, owners[0], "first")
    )
    yield f"it has the weights of {printable(graph.nodes[owner].node.name)} in the {which} only: a shared layer"


def _owner(graph: Simplified, number: int) -> int:
    """Return the first node that has the weights of this one; itself if it has none, or its own."""
    keys = _keys(graph, number)
    return next((place for place in range(number) if keys & _keys(graph, place)), number) if keys else number


def _keys(graph: Simplified, number: int) -> set[str]:
    return {weight.key for weight in graph.nodes[number].node.weights.values()}

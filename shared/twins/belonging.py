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


def sharing(alignment: Alignment) -> dict[tuple[int, int], str]:
    """Return in words, for each pair of which one layer only uses the weights of an earlier one, whose they are."""
    mine, theirs = _owners(alignment.first), _owners(alignment.second)
    found = {}
    for left, right in alignment.pairs:
        if (mine[left] == left) == (theirs[right] == right):
            continue
        graph, owner, which = (
            (alignment.second, theirs[right], "second")
            if mine[left] == left
            else (alignment.first, mine[left], "first")
        )
        name = printable(graph.nodes[owner].node.name)
        found[left, right] = f"it has the weights of {name} in the {which} only: a shared layer"
    return found


def _owners(graph: Simplified) -> list[int]:
    """Return for each node the first one that has a weight of it; itself if it has none, or its own."""
    first: dict[str, int] = {}
    found = []
    for number, simple in enumerate(graph.nodes):
        keys = [weight.key for weight in simple.node.weights.values()]
        found.append(min((first.setdefault(key, number) for key in keys), default=number))
    return found

"""Steps of simplifying: sums of sums, constants one behind the other, and activations that are written as a product."""

from __future__ import annotations

from dataclasses import replace

from shared.networks.graph import Node
from shared.twins.work import Work

COMMUTATIVE = ("add", "multiply")


def flatten_sums(work: Work) -> None:
    """Make one sum of a sum that only feeds another sum; likewise products."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind not in COMMUTATIVE or node.settings.get("constant") is not None:
            continue
        follower = work.feeds_only(number)
        if follower is None or not _same_operation(work, number, follower):
            continue
        place = work.inputs[follower].index(number)
        work.inputs[follower][place : place + 1] = work.inputs[number]
        work.take_in(follower, number)


def _same_operation(work: Work, number: int, follower: int) -> bool:
    first, second = work.nodes[number], work.nodes[follower]
    same_size = work.shape(number)[1:] == work.shape(follower)[1:]
    return first.kind == second.kind and first.settings == second.settings and same_size


def flatten_concatenations(work: Work) -> None:
    """Let a concatenation of concatenations along the same axis be one of what these are made of."""
    for number in sorted(work.nodes):
        if work.nodes[number].kind != "concat":
            continue
        inside = [
            source
            for source in work.inputs[number]
            if work.nodes[source].kind == "concat" and _same_operation(work, source, number)
        ]
        for source in inside:
            place = work.inputs[number].index(source)
            work.inputs[number][place : place + 1] = work.inputs[source]
            if not work.consumers(source) and source not in work.outputs.values():
                work.take_in(number, source)


#: A product of a tensor with this function of it has a name.
GATED = {"sigmoid": "silu", "hard_sigmoid": "hard_swish"}


def name_gates(work: Work) -> None:
    """Write a product of a tensor with its own sigmoid as the activation that it is."""
    for number in sorted(work.nodes):
        node, sources = work.nodes[number], work.inputs[number]
        if node.kind != "multiply" or len(sources) != 2:
            continue
        for gate, other in (sources, sources[::-1]):
            kind = GATED.get(work.nodes[gate].kind)
            if kind and work.inputs[gate] == [other] and work.feeds_only(gate) == number:
                work.nodes[number] = replace(node, kind=kind, settings={})
                work.inputs[number] = [other]
                work.take_in(number, gate)
                break


def _line_of(node: Node) -> tuple[float, float] | None:
    """Return factor and offset of a node that does the same with each number, else None."""
    if node.kind == "scale":
        factor, offset = node.settings.get("factor"), node.settings.get("offset")
        return (factor, offset) if isinstance(factor, float) and isinstance(offset, float) else None
    constant = node.settings.get("constant")
    if isinstance(constant, bool) or not isinstance(constant, (int, float)):
        return None
    if node.kind in ("add", "subtract"):
        return 1.0, float(constant if node.kind == "add" else -constant)
    if node.kind in ("multiply", "divide") and constant:
        return float(constant if node.kind == "multiply" else 1 / constant), 0.0
    return None


def join_constants(work: Work) -> None:
    """Write sums and products with constants, one behind the other, as one factor and one offset."""
    for number in sorted(work.nodes):
        line = _line_of(work.nodes[number])
        if line is None or len(work.inputs[number]) != 1:
            continue
        (source,) = work.inputs[number]
        before = _line_of(work.nodes[source])
        if before is not None and len(work.inputs[source]) == 1 and work.feeds_only(source) == number:
            line = line[0] * before[0], line[0] * before[1] + line[1]
            work.members[number] = [*work.members[source], *work.members[number]]
            work.skip(source)
        settings = {"factor": line[0], "offset": line[1]}
        work.nodes[number] = replace(work.nodes[number], kind="scale", settings=settings)

"""A Keras model as PyTorch prints one: nested by the hierarchy of its layers, each in PyTorch's words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import fill, indent

from shared.base.printable import printable, printable_list
from shared.networks.graph import Graph, Node
from shared.networks.outline import Outline
from shared.twins.torch_words import Words, words_of

#: Names that are shown of a list below the printout.
MOST_NAMED = 4
MOST_NOTE = 400
MOMENTUM = "the momentum of a BatchNorm is as PyTorch counts it: 1 - that of Keras"
HEADING = "What a PyTorch printout does not show:"


class Writer:
    """Writes a hierarchy down, and remembers what is to be said below it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.told: set[int] = set()  # nodes that stand in the printout
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def text(self, outline: Outline, path: str = "") -> str:
        """Return a layer as PyTorch prints it, several lines where layers are in it."""
        if outline.children:
            children = [(each.name, self._child(each, path)) for each in outline.children]
            return self._nested(outline.kind, [(name, text) for name, text in children if text])
        return self._layer(outline, path) or f"{printable(outline.kind)}()"

    def _child(self, outline: Outline, path: str) -> str:
        """Return a layer in another one; nothing for what is only an operation to PyTorch, like the sum of two."""
        place = f"{path}.{outline.name}".removeprefix(".")
        if outline.children:
            return self.text(outline, place)
        return self._layer(outline, place)

    def _layer(self, outline: Outline, path: str) -> str:
        numbers = self._calls(outline.nodes)
        nodes = [self.graph.nodes[number] for number in numbers]
        found = [words_of(self.graph, number) for number in numbers]
        if nodes and all(_is_operation(node) for node in nodes):
            return ""
        self.told.update(outline.nodes)
        if not nodes or None in found:
            kept = f"{printable(outline.kind)}()"
            if nodes:
                self.remarks[f"no word of PyTorch's is known here, {kept} is Keras'"].append(path)
            elif not outline.called:
                self.remarks["not called, so that nothing is known of it but its class"].append(path)
            return kept
        words = [each for each in found if isinstance(each, Words)]
        for each in words:
            if each.remark:
                self.remarks[each.remark].append(path)
        modules = [module for each in words for module in each.modules] or ["Identity()"]
        if len(modules) == 1:
            return modules[0]
        return self._nested("Sequential", [(str(place), module) for place, module in enumerate(modules)])

    def _calls(self, numbers: Sequence[int]) -> list[int]:
        """Return the nodes of one call of a layer; one that is called again has the same weights, or no weights."""
        found: dict[str, int] = {}
        for number in numbers:
            node = self.graph.nodes[number]
            key = str(sorted(weight.key for weight in node.weights.values())) + node.kind
            found.setdefault(key, number)
        return list(found.values())

    def _nested(self, kind: str, children: Sequence[tuple[str, str]]) -> str:
        """Return `Kind(...)` with a line or more for each child; equal neighbours in a list are one line."""
        lines = []
        for text, run in groupby(children, key=lambda child: child[1]):
            names = [printable(name) for name, _ in run]
            if kind != "ModuleList":
                heads = [(name, "") for name in names]
            else:
                heads = [("-".join(dict.fromkeys((names[0], names[-1]))), f"{len(names)} x " if names[1:] else "")]
            lines += [indent(f"({head}): {times}{text}", "  ") for head, times in heads]
        return "\n".join([f"{printable(kind)}(", *lines, ")"]) if lines else f"{printable(kind)}()"


def torch_form(graph: Graph, outline: Outline, width: int) -> str:
    """Return the printout, and below it what such a printout does not show, in lines of at most `width` characters."""
    writer = Writer(graph)
    text = writer.text(outline)
    lines = [*_operations(graph, writer.told), *_remarks(writer), *(printable(note, MOST_NOTE) for note in graph.notes)]
    shown = [fill(f"- {line}", width, subsequent_indent="  ") for line in lines]
    return "\n".join([text, "", HEADING, *shown] if shown else [text])


def _is_operation(node: Node) -> bool:
    """Whether PyTorch has no module for it, and people write an operation: a sum, a concatenation."""
    return node.kind in OPERATIONS


def _operations(graph: Graph, told: set[int]) -> Iterator[str]:
    """Yield a line for each kind of operation that is in no module, in the order of computation."""
    found: dict[str, list[str]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        constant = node.kind == "parameter" and not node.weights
        if number not in told and node.kind != "input" and not constant:
            found[node.kind].append(node.name)
    for kind, names in found.items():
        times = f", {len(names)} times" if len(names) > 1 else ""
        yield f"the {'operation ' if kind != 'parameter' else ''}{kind}{times}: {printable_list(names, MOST_NAMED)}"


def _remarks(writer: Writer) -> Iterator[str]:
    if any(writer.graph.nodes[number].kind == "batch_norm" for number in writer.told):
        yield MOMENTUM
    for remark, paths in writer.remarks.items():
        yield f"{printable_list(paths, MOST_NAMED)}: {remark}"


#: Kinds of layers of Keras that are operations in PyTorch.
OPERATIONS = (
    "add",
    "subtract",
    "multiply",
    "divide",
    "matmul",
    "concat",
    "attend",
    "reshape",
    "permute",
    "scale",
    "mean",
)

"""A PyTorch model as Keras shows one: the table of `model.summary()`, with a row for every layer and operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from textwrap import fill
from typing import Any

from shared.base.printable import printable, printable_list
from shared.base.words import text_of
from shared.networks.graph import Graph, Node
from shared.networks.outline import Held, Standing

HEADINGS = ("Layer (type)", "Output Shape", "Param #", "Connected to")
UNITS = ("B", "KB", "MB", "GB", "TB")
#: Names that are shown of a list below the table.
MOST_NAMED = 5
MOST_NOTE = 400


@dataclass
class Row:
    """A layer: the nodes of each of its calls, and where its outputs come from, as Keras writes it."""

    name: str
    kind: str
    calls: dict[int, list[int]] = field(default_factory=dict)
    shapes: list[tuple[int | None, ...]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    parameters: int = 0
    #: Whether an earlier row has counted some of its weights.
    shared: bool = False

    @property
    def texts(self) -> list[str]:
        """The cells of the row."""
        times = f" ×{len(self.calls)}" if len(self.calls) > 1 else ""
        shapes = dict.fromkeys(shape_text(shape) for shape in self.shapes)
        return [
            f"{printable(self.name)} ({printable(self.kind)}){times}",
            ", ".join(shapes),
            f"{self.parameters:,}" + (" (shared)" if self.shared else ""),
            ", ".join(self.sources) or "-",
        ]


def keras_form(graph: Graph, standings: Sequence[Standing], held: Sequence[Held], width: int) -> str:
    """Return the table, the totals, and what is to be said of them, in lines of at most `width` characters."""
    rows = rows_of(graph, standings, held)
    lines = [f'Model: "{printable(graph.title)}"', text_of(_table(rows), width)]
    trained = [each for each in held if each.trained]
    others = [each for each in held if not each.trained]
    for title, entries in (("Total", held), ("Trainable", trained), ("Non-trainable", others)):
        size = memory_text(sum(each.bytes for each in entries))
        lines.append(f" {title} params: {sum(each.size for each in entries):,} ({size})")
    remarks = _remarks(graph, rows, held)
    return "\n".join([*lines, *([""] if remarks else []), *(fill(each, width) for each in remarks)])


def rows_of(graph: Graph, standings: Sequence[Standing], held: Sequence[Held]) -> list[Row]:
    """Return a row for each layer, in the order of its first call; a weight is counted where it first stands."""
    rows: dict[str, Row] = {}
    places: dict[int, tuple[Row, int]] = {}
    for number, (node, standing) in enumerate(zip(graph.nodes, standings, strict=True)):
        if node.kind == "parameter" and not node.weights:
            continue  # a constant
        row = rows.setdefault(standing.layer, Row(standing.layer, standing.kind))
        call = standing.call if standing.call is not None else next(reversed(row.calls), 0)
        row.calls.setdefault(call, []).append(number)
        places[number] = row, call
    _connect(graph, standings, places)
    _count(graph, rows.values(), held)
    return list(rows.values())


def _connect(graph: Graph, standings: Sequence[Standing], places: dict[int, tuple[Row, int]]) -> None:
    """Write down who feeds each row, as `name[call][output]`, and the shapes of what it puts out."""
    shown = set(graph.outputs.values())
    for number, (row, call) in places.items():
        for source in graph.nodes[number].inputs:
            if source not in places or places[source] == (row, call):
                continue
            other, at = places[source]
            shown.add(source)
            text = f"{printable(other.name)}[{list(other.calls).index(at)}][{standings[source].output}]"
            if (
                len(row.calls[call]) == 1 or text not in row.sources
            ):  # a layer of several steps may take it several times
                row.sources.append(text)
    for number, (row, _) in places.items():
        if number in shown or graph.nodes[number].kind == "input":
            row.shapes.append(_shape(graph.nodes[number]))


def _shape(node: Node) -> tuple[int | None, ...]:
    """Return a shape with None for the batch, which is of one image."""
    batch = node.kind != "parameter" and node.shape[:1] == (1,)
    return (None, *node.shape[1:]) if batch else node.shape


def _count(graph: Graph, rows: Iterable[Row], held: Sequence[Held]) -> None:
    sizes = {each.key: each.size for each in held}
    counted: set[str] = set()
    for row in rows:
        nodes = [graph.nodes[number] for numbers in row.calls.values() for number in numbers]
        keys = {weight.key for node in nodes for weight in node.weights.values()}
        if len(nodes) > len(row.calls):  # a layer of several steps, such as attention, may have more than they show
            keys |= {key for key in sizes if key.startswith(f"{row.name}.")}
        row.parameters = sum(sizes.get(key, 0) for key in keys - counted)
        row.shared = bool(keys & counted)
        counted |= keys


def shape_text(shape: Sequence[int | None]) -> str:
    """Return a shape as Keras writes it: (None, 64)."""
    return f"({', '.join(map(str, shape))})"


def memory_text(size: float) -> str:
    """Return a number of bytes as Keras writes it: 44.63 MB."""
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.2f} {unit}"


def is_chain(rows: Sequence[Row]) -> bool:
    """Whether each row is fed by the one before it and nothing else, so that nobody needs to be told."""
    fed = all(row.sources == [f"{printable(last.name)}[0][0]"] for last, row in pairwise(rows))
    return fed and all(len(row.calls) == 1 for row in rows)


def _table(rows: Sequence[Row]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    headings = HEADINGS[:-1] if is_chain(rows) else HEADINGS
    table = Table(box=box.HEAVY_HEAD, show_lines=True)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "Param #" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row.texts[: len(headings)]))
    return table


def _remarks(graph: Graph, rows: Sequence[Row], held: Sequence[Held]) -> list[str]:
    found = []
    buffers = sum(each.size for each in held if each.buffer)
    if buffers:
        own = sum(each.size for each in held if not each.buffer)
        found.append(
            f"PyTorch counts {own:,} parameters. The other {buffers:,} are buffers there, such as running means and "
            "variances; Keras counts them as non-trainable."
        )
    if any(len(row.calls) > 1 for row in rows):
        found.append("×2: called twice, counted once; name[1][0] is the output of its second call.")
    shown = {weight.key for node in graph.nodes for weight in node.weights.values()}
    layers = {row.name for row in rows}
    unseen = [each for each in held if each.key not in shown and each.key.rpartition(".")[0] not in layers]
    if unseen:
        names = printable_list([each.key for each in unseen], MOST_NAMED)
        count = sum(each.size for each in unseen)
        found.append(f"{count:,} of them belong to no row, because no output depends on them: {names}")
    return found + [printable(note, MOST_NOTE) for note in graph.notes]

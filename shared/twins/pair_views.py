"""A pair of models for the terminal, for Markdown, HTML, JSON, CSV and JUnit."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.networks.graph import Graph
from shared.twins import pair_page
from shared.twins.junit import Case
from shared.twins.pair_blocks import PairBlock, block_rows
from shared.twins.views import Views

if TYPE_CHECKING:
    from rich.table import Table

    from shared.twins.pair import PairRow
    from shared.twins.simplify import Simple


#: What is shown: a layer or operation, or a block of them.
Line: TypeAlias = "PairRow | PairBlock"
#: Characters of a layer's name, which its author chose.
MOST_NAME = 120
HEADINGS = ("first", "kind", "shape", "parameters", "second", "parameters", "", "differences")
NARROW = ("first", "second", "shape", "parameters", "")
NUMBERS = ("shape", "parameters")
#: From this width on the differences have a column of their own.
WIDE = 120


def shape_text(simple: Simple | None) -> str:
    """Return the shape of an output, without the batch; that of an image as (channels, height, width)."""
    return "" if simple is None else ",".join(map(str, simple.shape))


def name_text(simple: Simple | None) -> str:
    """Return a layer's name as it may be shown."""
    return "" if simple is None else printable(simple.node.name, MOST_NAME)


def difference_text(row: PairRow) -> str:
    """Return how the two sides of a line differ."""
    if row.left is None or row.right is None:
        return f"only in the {'first' if row.right is None else 'second'}"
    return "; ".join(row.differences)


def differing_text(differing: int, rows: int) -> str:
    """Return how many lines of several differ; nothing where none does."""
    return f"{differing} of {rows} differ" if differing else ""


def cells(line: Line) -> list[str]:
    """Return a line as texts, in the order of `HEADINGS`."""
    if isinstance(line, PairBlock):
        first, second = (f"{count:,}" for count in line.parameters)
        names = [printable(name, MOST_NAME) for name in (line.first, line.second)]
        found = line.rows[-1].left or line.rows[-1].right
        mark = CROSS if line.differing else TICK
        what = differing_text(line.differing, len(line.rows))
        return [names[0], f"block of {len(line.rows)}", shape_text(found), first, names[1], second, mark, what]
    found = line.left or line.right
    assert found is not None
    counts = [f"{side.node.parameters:,}" if side and side.node.parameters else "" for side in (line.left, line.right)]
    mark = TICK if line.equal else CROSS
    names = [name_text(line.left), name_text(line.right)]
    return [names[0], found.node.kind, shape_text(found), counts[0], names[1], counts[1], mark, difference_text(line)]


def narrow(texts: Sequence[str]) -> list[str]:
    """Return the cells of `HEADINGS` that `NARROW` has, with one number where both models have the same."""
    first, _, shape, count, second, other, mark, _ = texts
    return [first, second, shape, count if count == other else f"{count}≠{other}", mark]


def describe(simple: Simple | None) -> dict[str, Any] | None:
    """Return all that is known of a layer, as plain values."""
    if simple is None:
        return None
    node = simple.node
    return {
        "name": printable(node.name),
        "kind": node.kind,
        "source": printable(node.source),
        "shape": list(simple.shape),
        "parameters": node.parameters,
        "buffers": node.buffers,
        "settings": {printable(name): plain(value) for name, value in node.settings.items()},
        "weights": {printable(role): list(weight.shape) for role, weight in node.weights.items()},
    }


def plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else printable(str(value))


class PairViews(Views):
    """What a pair looks like. `Pair` adds what there is to show."""

    TEXT_WIDTH: ClassVar[int] = 180
    first: Graph
    second: Graph
    rows: tuple[PairRow, ...]
    by: str

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""
        raise NotImplementedError

    @functools.cached_property
    def blocks(self) -> list[PairBlock]:
        """The lines by the block that they belong to; lines in no block stay in runs without a name."""
        return block_rows(self.rows)

    @property
    def title(self) -> str:
        """Both names."""
        return " and ".join(self.names)

    @property
    def totals(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """How many parameters and buffers each model has, a weight that layers share counted once."""
        raise NotImplementedError

    @property
    def differing(self) -> int:
        """How many lines differ."""
        return sum(not row.equal for row in self.rows)

    @property
    def notes(self) -> list[str]:
        """What the readers of the two models could not see, and why sums may differ from the totals."""
        found = []
        for name, graph, total, side in zip(
            self.names, (self.first, self.second), self.totals, ("left", "right"), strict=True
        ):
            found += [f"{name}: {printable(note, 400)}" for note in graph.notes]
            summed = sum(each.node.parameters for row in self.rows if (each := getattr(row, side)))
            if summed > total["parameters"]:
                more = summed - total["parameters"]
                found.append(f"{name}: {more:,} parameters are shared by several layers; the total counts them once")
        return found

    def lines(self) -> list[Line]:
        """Return the lines to show, without the total: layers with a subtotal behind each block, or the blocks."""
        found: list[Line] = []
        for block in self.blocks:
            if not block.name or self.by == "layer":
                found += block.rows
            if block.name:
                found.append(block)
        return found

    def total_cells(self) -> list[str]:
        """Return the line below all others, in the order of `HEADINGS`."""
        first, second = (f"{total['parameters']:,}" for total in self.totals)
        mark = CROSS if self.differing else TICK
        return ["total", "", "", first, "", second, mark, differing_text(self.differing, len(self.rows))]

    def to_rich(self, width: int = WIDE) -> Table:
        """Return the pair as a table for rich's console, without the column of differences below 120 characters."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = width >= WIDE
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for heading in HEADINGS if wide else NARROW:
            table.add_column(heading, justify="right" if heading in NUMBERS else "left", overflow="fold")
        place = HEADINGS.index("") if wide else NARROW.index("")

        def add(texts: Sequence[str], style: str = "", end: bool = False) -> None:
            shown = [Text(text) for text in (texts if wide else narrow(texts))]
            shown[place].stylize("green" if shown[place].plain == TICK else "bold red")
            table.add_row(*shown, style=style, end_section=end)

        for line in self.lines():
            subtotal = isinstance(line, PairBlock) and self.by == "layer"
            style = "bold" if subtotal or self._differs(line) else ""
            add(cells(line), style, end=subtotal)
        add(self.total_cells(), "bold")
        return table

    @staticmethod
    def _differs(line: Line) -> bool:
        return bool(line.differing) if isinstance(line, PairBlock) else not line.equal

    def table(self) -> tuple[Sequence[str], Sequence[bool], Sequence[Sequence[str]]]:
        """Return the columns of a table in Markdown."""
        lines = [cells(line) for line in self.lines()]
        return HEADINGS, [heading not in NUMBERS for heading in HEADINGS], [*lines, self.total_cells()]

    def content(self) -> dict[str, Any]:
        """Return verdict, reasons, notes, totals, blocks, and each line with all that is known of both sides."""
        place = {id(row): number for number, row in enumerate(self.rows)}
        return {
            "first": self.names[0],
            "second": self.names[1],
            "equal": self.equal,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "notes": self.notes,
            "totals": dict(zip(("first", "second"), self.totals, strict=True)),
            "blocks": [
                _plain_block(block) | {"rows": [place[id(row)] for row in block.rows]} for block in self.named()
            ],
            "rows": [
                {"equal": row.equal, "differences": list(row.differences), "first": describe(row.left)}
                | {"second": describe(row.right)}
                for row in self.rows
            ],
        }

    def named(self) -> list[PairBlock]:
        """Return the blocks that have a name."""
        return [block for block in self.blocks if block.name]

    def records(self) -> list[dict[str, Any]]:
        """Return one line for each layer, or for each block, with plain numbers."""
        found = []
        for block in self.blocks:
            for line in (block,) if block.name and self.by == "block" else block.rows:
                first, kind, shape, _, second, _, mark, what = cells(line)
                counts = line.parameters
                found.append(
                    {"first": first, "kind": kind, "shape": shape, "first_parameters": counts[0], "second": second}
                    | {"second_parameters": counts[1], "equal": mark == TICK, "differences": what}
                    | {"block": printable(block.name, MOST_NAME)}
                )
        return found

    def cases(self) -> list[Case]:
        """Return a test for each line: the class is its block, or the pair where it is in none."""
        found = []
        for record in self.records():
            alone = not record["first"]
            name = f"{record['second']} (only in the second)" if alone else record["first"]
            detail = f"first: {record['first'] or '-'}\nsecond: {record['second'] or '-'}\n{record['differences']}"
            failure = "" if record["equal"] else record["differences"]
            found.append(Case(record["block"] or self.title, name, failure, detail))
        return found

    def to_html(self) -> str:
        """Return the pair as one page that needs nothing else: blocks fold, a layer opens to its settings."""
        return pair_page.page(self)

    def _repr_html_(self) -> str:
        return pair_page.body(self)


def _plain_block(block: PairBlock) -> dict[str, Any]:
    """Return a block as plain values."""
    return {
        "first": printable(block.first),
        "second": printable(block.second),
        "first_parameters": block.parameters[0],
        "second_parameters": block.parameters[1],
        "differing": block.differing,
    }

"""A pair of models for the terminal, for Markdown, HTML, JSON and CSV."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from shared.base.printable import printable
from shared.base.words import CROSS, TICK, text_of
from shared.networks.graph import Graph

if TYPE_CHECKING:
    from rich.table import Table

    from shared.twins.pair import PairRow
    from shared.twins.simplify import Simple

TEXT_WIDTH = 180
#: Characters of a layer's name, which its author chose.
MOST_NAME = 60
HEADINGS = ("first", "kind", "shape", "parameters", "second", "parameters", "", "differences")
NARROW = ("first", "second", "shape", "parameters", "")
#: From this width on the differences have a column of their own.
WIDE = 120


def shape_text(simple: Simple | None) -> str:
    """Return the shape of an output, without the batch; that of an image as (channels, height, width)."""
    return "" if simple is None else ",".join(map(str, simple.shape))


def name_text(simple: Simple | None) -> str:
    """Return a layer's name as it may be shown."""
    return "" if simple is None else printable(simple.node.name, MOST_NAME)


def count_text(simple: Simple | None) -> str:
    """Return the number of parameters, nothing for none."""
    return f"{simple.node.parameters:,}" if simple and simple.node.parameters else ""


def difference_text(row: PairRow) -> str:
    """Return how the two sides of a line differ."""
    if row.left is None or row.right is None:
        return f"only in the {'first' if row.right is None else 'second'}"
    return "; ".join(row.differences)


def cells(row: PairRow) -> list[str]:
    """Return a line as texts, in the order of `HEADINGS`."""
    found = row.left or row.right
    assert found is not None
    return [
        name_text(row.left),
        found.node.kind,
        shape_text(found),
        count_text(row.left),
        name_text(row.right),
        count_text(row.right),
        TICK if row.equal else CROSS,
        difference_text(row),
    ]


def narrow_cells(row: PairRow) -> list[str]:
    """Return a line as texts, in the order of `NARROW`."""
    counts = list(dict.fromkeys((count_text(row.left), count_text(row.right))))
    shape = shape_text(row.left or row.right)
    return [name_text(row.left), name_text(row.right), shape, "≠".join(counts), TICK if row.equal else CROSS]


def parameters_of(rows: Sequence[PairRow]) -> tuple[int, int]:
    """Return how many parameters the two models have in these lines."""
    first = sum(row.left.node.parameters for row in rows if row.left)
    return first, sum(row.right.node.parameters for row in rows if row.right)


def block_of(row: PairRow) -> str:
    """Return the block that a line belongs to, by the path of its name; empty where there is no hierarchy."""
    parts = row.name.replace("/", ".").split(".")
    return printable(".".join(parts[:2]), MOST_NAME) if len(parts) > 2 else ""


def describe(simple: Simple | None) -> dict[str, Any] | None:
    """Return all that is known of a layer, as plain values."""
    if simple is None:
        return None
    node = simple.node
    return {
        "name": printable(node.name, MOST_NAME),
        "kind": node.kind,
        "source": printable(node.source, MOST_NAME),
        "shape": list(simple.shape),
        "parameters": node.parameters,
        "buffers": node.buffers,
        "settings": {name: plain(value) for name, value in node.settings.items()},
        "weights": {role: list(weight.shape) for role, weight in node.weights.items()},
    }


def plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else printable(str(value), MOST_NAME)


class PairViews:
    """What a pair looks like. `Pair` adds what there is to show."""

    first: Graph
    second: Graph
    rows: tuple[PairRow, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""
        raise NotImplementedError

    @property
    def verdict(self) -> str:
        """One line on the whole."""
        raise NotImplementedError

    @property
    def reasons(self) -> list[str]:
        """Every kind of difference once."""
        raise NotImplementedError

    def blocks(self) -> list[tuple[str, list[PairRow]]]:
        """Return the lines by the block that they belong to, in their order; "" for what is in none."""
        return [(name, list(rows)) for name, rows in groupby(self.rows, block_of)]

    def to_rich(self, width: int = WIDE) -> Table:
        """Return the pair as a table for rich's console, without the column of differences below 120 characters."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        wide = width >= WIDE
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for heading in HEADINGS if wide else NARROW:
            justify = "right" if heading in ("shape", "parameters") else "left"
            table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for name, rows in self.blocks():
            for row in rows:
                texts = [escape(text) for text in (cells(row) if wide else narrow_cells(row))]
                table.add_row(*texts, style=None if row.equal else "bold")
            if name:
                table.add_row(*self._subtotal(name, rows, wide), style="dim", end_section=True)
        return table

    def _subtotal(self, name: str, rows: Sequence[PairRow], wide: bool) -> list[str]:
        first, second = parameters_of(rows)
        mark = TICK if all(row.equal for row in rows) else CROSS
        if wide:
            return [name, "block", "", f"{first:,}", "", f"{second:,}", mark, ""]
        return [name, "", "", f"{first:,}" if first == second else f"{first:,}≠{second:,}", mark]

    def to_text(self) -> str:
        """Return the pair as aligned plain text."""
        table = text_of(self.to_rich(TEXT_WIDTH), TEXT_WIDTH)
        return "\n".join([table, "", self.verdict, *(f"  - {reason}" for reason in self.reasons)])

    def __repr__(self) -> str:
        return self.to_text()

    def to_markdown(self) -> str:
        """Return the pair as a GitHub table."""
        right = ["---:" if heading in ("shape", "parameters") else "---" for heading in HEADINGS]
        lines = [list(HEADINGS), right, *([text.replace("|", "\\|") for text in cells(row)] for row in self.rows)]
        table = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([*table, "", self.verdict, "", *(f"- {reason}" for reason in self.reasons)]) + "\n"

    def to_json(self) -> str:
        """Return the pair as JSON: verdict, reasons, and each line with all that is known of both sides."""
        rows = [
            {"equal": row.equal, "differences": list(row.differences), "first": describe(row.left)}
            | {"second": describe(row.right)}
            for row in self.rows
        ]
        content = {
            "first": self.names[0],
            "second": self.names[1],
            "equal": self.equal,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "rows": rows,
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return one line for each row, for a spreadsheet."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["first", "kind", "shape", "first_parameters", "second", "second_parameters", "equal", "differences"]
        )
        for row in self.rows:
            texts = cells(row)
            counts = [str(side.node.parameters if side else 0) for side in (row.left, row.right)]
            writer.writerow([*texts[:3], counts[0], texts[4], counts[1], row.equal, texts[7]])
        return file.getvalue()

    def to_html(self) -> str:
        """Return the pair as one page that needs nothing else: blocks fold, a layer opens to its settings."""
        return page(self.names, self.verdict, self.reasons, self.blocks())

    def _repr_html_(self) -> str:
        return body(self.names, self.verdict, self.reasons, self.blocks())


# -- the page

STYLE = """
.pair { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: .5rem }
.pair summary, .pair .line { display: grid; grid-template-columns: 1.6em 1fr 1fr 10em; gap: .5em; padding: .15em 0 }
.pair summary { cursor: pointer }
.pair summary span { overflow-wrap: anywhere }
.pair .head { font-weight: 600; border-bottom: 2px solid }
.pair .number { text-align: right; font-variant-numeric: tabular-nums }
.pair details details { margin-left: 1.2em }
.pair .differs > summary { font-weight: 600; border-left: .3em solid #b3261e; padding-left: .3em }
.pair .what { margin: .2em 0 .5em 2.4em }
.pair table { border-collapse: collapse; margin: .2em 0 .8em 2.4em; font-size: .9em }
.pair td, .pair th { border-bottom: 1px solid; padding: .1em .8em .1em 0; text-align: left; overflow-wrap: anywhere }
@media (max-width: 40rem) {
  .pair summary, .pair .line { grid-template-columns: 1.6em 1fr 6em }
  .pair .second { grid-column: 2; grid-row: 2 }
  .pair .number { grid-column: 3; grid-row: 1 }
}
"""


def page(
    names: Sequence[str], verdict: str, reasons: Iterable[str], blocks: Iterable[tuple[str, list[PairRow]]]
) -> str:
    """Return a whole HTML page."""
    title = html.escape(" and ".join(names))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>:root { color-scheme: light dark }</style>\n</head>\n<body>\n"
        f"{body(names, verdict, reasons, blocks)}</body>\n</html>\n"
    )


def body(
    names: Sequence[str], verdict: str, reasons: Iterable[str], blocks: Iterable[tuple[str, list[PairRow]]]
) -> str:
    """Return what a page and a notebook cell show."""
    items = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    parts = [_block(name, rows) for name, rows in blocks]
    head = (
        f'<div class="line head"><span></span><span>{html.escape(names[0])}</span>'
        f'<span class="second">{html.escape(names[1])}</span><span class="number">parameters</span></div>'
    )
    return (
        f'<div class="pair">\n<style>{STYLE}</style>\n<p><strong>{html.escape(verdict)}</strong></p>\n'
        f"<ul>{items}</ul>\n{head}\n" + "\n".join(parts) + "\n</div>\n"
    )


def _block(name: str, rows: list[PairRow]) -> str:
    inside = "\n".join(map(_layer, rows))
    if not name:
        return inside
    equal = all(row.equal for row in rows)
    first, second = parameters_of(rows)
    count = f"{first:,}" if first == second else f"{first:,} ≠ {second:,}"
    head = _summary(equal, name, f"{len(rows)} layers and operations", count)
    return f"<details{_state(equal)}>{head}\n{inside}\n</details>"


def _state(equal: bool) -> str:
    return "" if equal else ' class="differs" open'


def _summary(equal: bool, first: str, second: str, count: str) -> str:
    mark = TICK if equal else CROSS
    return (
        f"<summary><span>{mark}</span><span>{html.escape(first)}</span>"
        f'<span class="second">{html.escape(second)}</span><span class="number">{html.escape(count)}</span></summary>'
    )


def _layer(row: PairRow) -> str:
    counts = list(dict.fromkeys((count_text(row.left), count_text(row.right))))
    head = _summary(row.equal, name_text(row.left), name_text(row.right), " ≠ ".join(counts))
    what = "" if row.equal else f'<p class="what">{html.escape(difference_text(row))}</p>'
    mark = "" if row.equal else ' class="differs"'
    return f"<details{mark}>{head}{what}{_settings(row)}</details>"


def _settings(row: PairRow) -> str:
    """Return what is known of both sides as a small table."""
    sides = [describe(side) or {} for side in (row.left, row.right)]
    lines = []
    for what in ("kind", "source", "shape", "parameters", "buffers"):
        lines.append((what, *(side.get(what, "") for side in sides)))
    for what in ("settings", "weights"):
        names = dict.fromkeys(name for side in sides for name in side.get(what, {}))
        lines += [(name, *(side.get(what, {}).get(name, "") for side in sides)) for name in names]
    cells_ = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(text))}</td>" for text in line) + "</tr>" for line in lines
    )
    return f"<table><tr><th></th><th>first</th><th>second</th></tr>{cells_}</table>"

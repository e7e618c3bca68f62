"""A comparison for the terminal, for Markdown, HTML, JSON, CSV and JUnit."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from shared.backends import BACKENDS
from shared.base.words import CROSS, TICK, short_number
from shared.networks.spec import ResNetSpec
from shared.networks.table import Shape
from shared.twins.comparison_rows import CompareRow
from shared.twins.junit import Case
from shared.twins.views import Views

if TYPE_CHECKING:
    from rich.table import Table

#: From this width on there is a column for each number of each framework.
WIDE = 125
LEFT_ALIGNED = ("layer", "kind", "equal", "=")


def headings(frameworks: Iterable[str]) -> list[str]:
    """Return the names of the columns."""
    each = [BACKENDS[name] for name in frameworks]
    shapes = [f"{framework.title} {framework.layout}" for framework in each]
    parameters, buffers = ([f"{framework.title} {what}" for framework in each] for what in ("params", "buffers"))
    return ["layer", "kind", *shapes, *parameters, *buffers, "MACs", "equal"]


def cells(row: CompareRow) -> list[str]:
    """Return a line as texts, in the order of `headings`."""
    numbers = (*row.parameters.values(), *row.buffers.values(), row.macs)
    counts = [f"{number:,}" if number else "" for number in numbers]
    return [row.name, row.kind, *map(_shape_text, row.shapes.values()), *counts, TICK if row.equal else CROSS]


def narrow_headings(frameworks: Iterable[str]) -> list[str]:
    """Return the columns for narrow terminals, where one number stands for all frameworks as long as they agree."""
    shapes = [f"{BACKENDS[name].title} {BACKENDS[name].layout}" for name in frameworks]
    return ["layer", *shapes, "params", "buffers", "MACs", "="]


def narrow_cells(row: CompareRow) -> list[str]:
    """Return a line as texts, in the order of `narrow_headings`."""

    def together(counts: Mapping[str, int]) -> str:
        first, *others = counts.values()
        if row.kind == "pad" or all(first == other for other in others):
            return f"{first:,}" if first else ""
        return "≠".join(f"{count:,}" for count in counts.values())

    shapes = map(_shape_text, row.shapes.values())
    macs = short_number(row.macs) if row.macs else ""
    return [row.name, *shapes, together(row.parameters), together(row.buffers), macs, TICK if row.equal else CROSS]


def _shape_text(shape: Shape | None) -> str:
    return "" if shape is None else ",".join(map(str, shape))


def plain(row: CompareRow) -> dict[str, Any]:
    """Return a line as names and values without nesting: `torch_shape`, `keras_shape`, `torch_parameters`, ..."""
    of_each: dict[str, Mapping[str, Any]] = {"shape": row.shapes, "parameters": row.parameters, "buffers": row.buffers}
    values = {
        f"{BACKENDS[name].modules[-1]}_{what}": value
        for what, entries in of_each.items()
        for name, value in entries.items()
    }
    about = {"name": row.name, "kind": row.kind, "stage": row.stage, "block": row.block}
    return {**about, **values, "macs": row.macs, "equal": row.equal}


def _is_sum(row: CompareRow) -> bool:
    return row.kind in ("subtotal", "")


class ComparisonViews(Views):
    """What a comparison looks like. `Comparison` adds what there is to show."""

    TEXT_WIDTH: ClassVar[int] = 200
    spec: ResNetSpec
    input_size: int
    by: str
    rows: tuple[CompareRow, ...]

    @property
    def title(self) -> str:
        """The network, and for which images."""
        return f"{self.spec.name} at {self.input_size}x{self.input_size}"

    @property
    def totals(self) -> CompareRow:
        """The sum over all layers."""
        raise NotImplementedError

    def lines(self) -> list[CompareRow]:
        """Return the lines to show, without the total."""
        raise NotImplementedError

    def to_rich(self, width: int = WIDE) -> Table:
        """Return the comparison as a table for rich's console, with fewer columns below 125 characters."""
        from rich import box
        from rich.table import Table

        wide = width >= WIDE
        frameworks = self.totals.shapes
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0, 0, 0), header_style="bold")
        for heading in headings(frameworks) if wide else narrow_headings(frameworks):
            justify: Literal["left", "right"] = "left" if heading in LEFT_ALIGNED else "right"
            table.add_column(heading.replace(" ", "\n"), justify=justify, no_wrap=True, vertical="bottom")
        for line in [*self.lines(), self.totals]:
            *texts, tick = cells(line) if wide else narrow_cells(line)
            mark = f"[green]{tick}[/]" if line.equal else f"[bold red]{tick}[/]"
            style = "bold" if _is_sum(line) else None
            table.add_row(*texts, mark, style=style, end_section=line.kind == "subtotal")
        return table

    def table(self) -> tuple[Sequence[str], Sequence[bool], Sequence[Sequence[str]]]:
        """Return the columns of a table in Markdown."""
        heads = headings(self.totals.shapes)
        lines = [cells(row) for row in [*self.lines(), self.totals]]
        return heads, [heading in LEFT_ALIGNED for heading in heads], lines

    def to_html(self) -> str:
        """Return the comparison as plain table markup: GitHub strips styles, so it uses none."""
        heads = headings(self.totals.shapes)
        aligns = ["left" if heading in LEFT_ALIGNED else "right" for heading in heads]

        def line(tag: str, texts: Iterable[str], strong: bool = False) -> str:
            marked = (f"<b>{html.escape(text)}</b>" if strong and text else html.escape(text) for text in texts)
            inner = "".join(f'<{tag} align="{a}">{text}</{tag}>' for a, text in zip(aligns, marked, strict=True))
            return f"<tr>{inner}</tr>"

        body = [line("td", cells(row), strong=_is_sum(row)) for row in [*self.lines(), self.totals]]
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return (
            "<table>\n<thead>\n"
            + line("th", heads)
            + "\n</thead>\n<tbody>\n"
            + "\n".join(body)
            + f"\n</tbody>\n</table>\n<p><b>{html.escape(self.verdict)}</b></p>\n<ul>{reasons}</ul>\n"
        )

    def content(self) -> dict[str, Any]:
        """Return the spec, the lines, the totals, the verdict and the reasons."""
        return {
            "spec": self.spec.to_dict(),
            "input_size": self.input_size,
            "by": self.by,
            "equal": self.equal,
            "verdict": self.verdict,
            "rows": [plain(row) for row in self.lines()],
            "totals": plain(self.totals),
            "reasons": self.reasons,
        }

    def records(self) -> list[dict[str, Any]]:
        """Return one line for each row, with plain numbers, without subtotals."""
        return [plain(row) for row in self.lines() if row.kind != "subtotal"]

    def cases(self) -> list[Case]:
        """Return a test for each line: the class is its block."""
        rows = [row for row in self.lines() if row.kind != "subtotal"]
        return [Case(row.block, row.name, *("" if row.equal else text for text in _failure(row))) for row in rows]


def _failure(row: CompareRow) -> tuple[str, str]:
    """Return what is wrong with a line that is not equal, and all that each framework has."""
    each = [
        f"{BACKENDS[name].title}: shape {_shape_text(shape) or 'none'}, {row.parameters[name]:,} parameters, "
        f"{row.buffers[name]:,} buffers"
        for name, shape in row.shapes.items()
    ]
    return f"{row.kind}: not as the table says, or not in all frameworks", "\n".join(each)

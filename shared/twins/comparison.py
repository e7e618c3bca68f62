"""Side by side: the table, the PyTorch model and the Keras model, layer beside layer, with a verdict and the reasons.

>>> compare("resnet50")            # in Python or a notebook
$ resnet-twins compare resnet50    # in a terminal
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from shared.backends import BACKENDS, Backend, ModelRow, check_installed, load_backend
from shared.base.errors import InputError
from shared.base.words import CROSS, TICK, short_number, text_of
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import LayerRow, Shape, layer_table
from shared.twins.totals import count_reasons

if TYPE_CHECKING:
    from rich.table import Table


LEVELS = ("layer", "block", "stage")

HEADINGS = (
    "layer",
    "kind",
    "PyTorch C,H,W",
    "Keras H,W,C",
    "PyTorch params",
    "Keras params",
    "PyTorch buffers",
    "Keras buffers",
    "MACs",
    "equal",
)
#: Headings for narrow terminals, where one number stands for both frameworks as long as they agree.
NARROW_HEADINGS = ("layer", "PyTorch C,H,W", "Keras H,W,C", "params", "buffers", "MACs", "=")
WIDE = 125
TEXT_WIDTH = 200
LEFT_ALIGNED = ("layer", "kind", "equal", "=")


def check_level(by: str) -> None:
    """Raise `InputError` unless `by` says what one line stands for."""
    if by not in LEVELS:
        raise InputError(f"by is {by!r}; allowed is one of {', '.join(LEVELS)}")


@dataclass(frozen=True, kw_only=True)
class CompareRow:
    """One line of the comparison: a layer, or the sum over a block or a stage.

    Shapes are in each framework's own order, None where the framework has no layer of its own for the step:
    PyTorch adds with a plain `+` and pads inside the convolution. `macs` come from the table.
    """

    name: str
    kind: str
    stage: str
    block: str
    torch_shape: Shape | None
    keras_shape: Shape | None
    torch_parameters: int
    keras_parameters: int
    torch_buffers: int
    keras_buffers: int
    macs: int
    equal: bool

    def cells(self) -> tuple[str, ...]:
        """Return the line as texts, in the order of `HEADINGS`."""
        numbers = (self.torch_parameters, self.keras_parameters, self.torch_buffers, self.keras_buffers, self.macs)
        return (
            self.name,
            self.kind,
            _shape_text(self.torch_shape),
            _shape_text(self.keras_shape),
            *(f"{number:,}" if number else "" for number in numbers),
            TICK if self.equal else CROSS,
        )

    def narrow_cells(self) -> tuple[str, ...]:
        """Return the line as texts, in the order of `NARROW_HEADINGS`."""

        def both(first: int, second: int) -> str:
            if first == second or self.kind == "pad":
                return f"{first:,}" if first else ""
            return f"{first:,}≠{second:,}"

        return (
            self.name,
            _shape_text(self.torch_shape),
            _shape_text(self.keras_shape),
            both(self.torch_parameters, self.keras_parameters),
            both(self.torch_buffers, self.keras_buffers),
            short_number(self.macs) if self.macs else "",
            TICK if self.equal else CROSS,
        )


def _shape_text(shape: Shape | None) -> str:
    return "" if shape is None else ",".join(map(str, shape))


def _channels_last(shape: Shape) -> Shape:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _layer_row(row: LayerRow, torch_row: ModelRow | None, keras_row: ModelRow | None) -> CompareRow:
    """Hold one layer of the table against both models."""

    def agrees(found: ModelRow | None, shape: Shape) -> bool:
        expected = (shape, row.parameters, row.buffers)
        return found is not None and (found.output_shape, found.parameters, found.buffers) == expected

    return CompareRow(
        name=row.name,
        kind=row.kind,
        stage=row.stage,
        block=row.block,
        torch_shape=torch_row.output_shape if torch_row else None,
        keras_shape=keras_row.output_shape if keras_row else None,
        torch_parameters=torch_row.parameters if torch_row else 0,
        keras_parameters=keras_row.parameters if keras_row else 0,
        torch_buffers=torch_row.buffers if torch_row else 0,
        keras_buffers=keras_row.buffers if keras_row else 0,
        macs=row.macs,
        equal=agrees(torch_row, row.output_shape) and agrees(keras_row, _channels_last(row.output_shape)),
    )


def _padding_row(row: LayerRow, keras_row: ModelRow) -> CompareRow:
    """Describe Keras' separate padding in front of a strided layer, which PyTorch does inside that layer."""
    channels, height, width = row.input_shape
    border = 2 * (row.padding or 0)
    return CompareRow(
        name=keras_row.name,
        kind="pad",
        stage=row.stage,
        block=row.block,
        torch_shape=None,
        keras_shape=keras_row.output_shape,
        torch_parameters=0,
        keras_parameters=keras_row.parameters,
        torch_buffers=0,
        keras_buffers=keras_row.buffers,
        macs=0,
        equal=keras_row.output_shape == (height + border, width + border, channels) and keras_row.parameters == 0,
    )


def _stray_row(row: ModelRow, framework: str) -> CompareRow:
    """Describe a layer that one model has and the table has not."""
    keras = framework == "Keras"
    return CompareRow(
        name=row.name,
        kind=f"only in {framework}",
        stage="unknown",
        block="unknown",
        torch_shape=None if keras else row.output_shape,
        keras_shape=row.output_shape if keras else None,
        torch_parameters=0 if keras else row.parameters,
        keras_parameters=row.parameters if keras else 0,
        torch_buffers=0 if keras else row.buffers,
        keras_buffers=row.buffers if keras else 0,
        macs=0,
        equal=False,
    )


def align(table: Iterable[LayerRow], torch_rows: list[ModelRow], keras_rows: list[ModelRow]) -> list[CompareRow]:
    """Put the layers of both models beside the table's, by name, in the table's order."""
    by_torch = {row.name: row for row in torch_rows}
    by_keras = {row.name: row for row in keras_rows}
    rows = []
    for row in table:
        pad = by_keras.pop(f"{row.name}.pad", None)
        if pad:
            rows.append(_padding_row(row, pad))
        rows.append(_layer_row(row, by_torch.pop(row.name, None), by_keras.pop(row.name, None)))
    rows += [_stray_row(row, "PyTorch") for row in by_torch.values()]
    rows += [_stray_row(row, "Keras") for row in by_keras.values()]
    return rows


def _sum_rows(rows: list[CompareRow], name: str, kind: str) -> CompareRow:
    """Add up lines; the shape is the one at their end."""
    return CompareRow(
        name=name,
        kind=kind,
        stage=rows[0].stage,
        block=rows[0].block,
        torch_shape=rows[-1].torch_shape,
        keras_shape=rows[-1].keras_shape,
        torch_parameters=sum(row.torch_parameters for row in rows),
        keras_parameters=sum(row.keras_parameters for row in rows),
        torch_buffers=sum(row.torch_buffers for row in rows),
        keras_buffers=sum(row.keras_buffers for row in rows),
        macs=sum(row.macs for row in rows),
        equal=all(row.equal for row in rows),
    )


def _count_layers(rows: list[CompareRow]) -> int:
    """Count the layers; Keras' separate padding belongs to the layer behind it."""
    return sum(row.kind != "pad" for row in rows)


def _groups(rows: list[CompareRow], level: str) -> dict[str, list[CompareRow]]:
    groups: dict[str, list[CompareRow]] = {}
    for row in rows:
        groups.setdefault(getattr(row, level), []).append(row)
    return groups


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The three opinions on one network: the table's, PyTorch's and Keras'.

    `rows` has one line for each layer. `str()`, a notebook cell, `to_markdown()` and so on show them, or with
    `by="block"` or `by="stage"` their sums.
    """

    spec: ResNetSpec
    input_size: int
    rows: tuple[CompareRow, ...]
    by: str = "layer"

    @property
    def equal(self) -> bool:
        """Whether every layer has the shape, the parameters and the buffers that the table says, in both."""
        return all(row.equal for row in self.rows)

    @property
    def totals(self) -> CompareRow:
        """The sum over all layers."""
        return replace(_sum_rows(list(self.rows), "total", ""), torch_shape=None, keras_shape=None)

    @property
    def subtotals(self) -> tuple[CompareRow, ...]:
        """One line for the stem, for each stage and for the head."""
        return tuple(_sum_rows(rows, name, "subtotal") for name, rows in _groups(list(self.rows), "stage").items())

    @property
    def verdict(self) -> str:
        """One line: whether all is equal, and if not, where the first difference is."""
        name = f"{self.spec.name} at {self.input_size}x{self.input_size}"
        if self.equal:
            count = _count_layers(list(self.rows))
            what = f"all {count} layers have equal shapes, parameters and buffers"
            return f"{TICK} {name}: {what} in the table, PyTorch and Keras"
        bad = [row.name for row in self.rows if not row.equal]
        return f"{CROSS} {name}: {len(bad)} of {len(self.rows)} rows differ, the first is {bad[0]}"

    @property
    def reasons(self) -> list[str]:
        """Why totals that people see elsewhere differ, worked out in numbers."""
        return count_reasons(self.spec)

    def grouped(self, by: str) -> Comparison:
        """Return the same comparison, shown by "layer", "block" or "stage"."""
        check_level(by)
        return replace(self, by=by)

    def lines(self) -> list[CompareRow]:
        """Return the lines to show, without the total: layers with a subtotal behind each stage, or sums."""
        lines = []
        for stage, rows in _groups(list(self.rows), "stage").items():
            if self.by == "layer":
                lines += [*rows, _sum_rows(rows, stage, "subtotal")]
            elif self.by == "block":
                blocks = _groups(rows, "block")
                lines += [_sum_rows(part, name, f"{_count_layers(part)} layers") for name, part in blocks.items()]
                if len(blocks) > 1:
                    lines.append(_sum_rows(rows, stage, "subtotal"))
            else:
                blocks = _groups(rows, "block")
                lines.append(_sum_rows(rows, stage, f"{len(blocks)} blocks" if stage.startswith("layer") else "layers"))
        return lines

    def to_rich(self, width: int = WIDE) -> Table:
        """Return the comparison as a table for rich's console, with fewer columns below 125 characters."""
        from rich import box
        from rich.table import Table

        wide = width >= WIDE
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0, 0, 0), header_style="bold")
        for heading in HEADINGS if wide else NARROW_HEADINGS:
            justify: Literal["left", "right"] = "left" if heading in LEFT_ALIGNED else "right"
            table.add_column(heading.replace(" ", "\n"), justify=justify, no_wrap=True, vertical="bottom")
        for line in [*self.lines(), self.totals]:
            *cells, tick = line.cells() if wide else line.narrow_cells()
            strong = line.kind in ("subtotal", "")
            mark = f"[green]{tick}[/]" if line.equal else f"[bold red]{tick}[/]"
            table.add_row(*cells, mark, style="bold" if strong else None, end_section=line.kind == "subtotal")
        return table

    def to_text(self) -> str:
        """Return the comparison as aligned plain text."""
        return "\n".join(
            [text_of(self.to_rich(), TEXT_WIDTH), "", self.verdict, *(f"  - {reason}" for reason in self.reasons)]
        )

    def __repr__(self) -> str:
        return self.to_text()

    def to_markdown(self) -> str:
        """Return the comparison as a GitHub table."""
        right = ["---" if heading in LEFT_ALIGNED else "---:" for heading in HEADINGS]
        lines = [HEADINGS, right, *(line.cells() for line in [*self.lines(), self.totals])]
        table = ["| " + " | ".join(cells) + " |" for cells in lines]
        return "\n".join([*table, "", self.verdict, "", *(f"- {reason}" for reason in self.reasons)]) + "\n"

    def to_html(self) -> str:
        """Return the comparison as plain table markup: GitHub strips styles, so it uses none."""
        aligns = ["left" if heading in LEFT_ALIGNED else "right" for heading in HEADINGS]

        def line(tag: str, cells: Iterable[str], strong: bool = False) -> str:
            marked = (f"<b>{html.escape(cell)}</b>" if strong and cell else html.escape(cell) for cell in cells)
            return (
                "<tr>"
                + "".join(f'<{tag} align="{a}">{c}</{tag}>' for a, c in zip(aligns, marked, strict=True))
                + "</tr>"
            )

        rows = [*self.lines(), self.totals]
        body = [line("td", row.cells(), strong=row.kind in ("subtotal", "")) for row in rows]
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return (
            "<table>\n<thead>\n"
            + line("th", HEADINGS)
            + "\n</thead>\n<tbody>\n"
            + "\n".join(body)
            + f"\n</tbody>\n</table>\n<p><b>{html.escape(self.verdict)}</b></p>\n<ul>{reasons}</ul>\n"
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_json(self) -> str:
        """Return the comparison as JSON: the spec, the lines, the totals, the verdict and the reasons."""
        content: dict[str, Any] = {
            "spec": self.spec.to_dict(),
            "input_size": self.input_size,
            "by": self.by,
            "equal": self.equal,
            "verdict": self.verdict,
            "rows": [asdict(row) for row in self.lines()],
            "totals": asdict(self.totals),
            "reasons": self.reasons,
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return one line for each row, with plain numbers, without subtotals, for a spreadsheet."""
        rows = [row for row in self.lines() if row.kind != "subtotal"]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(asdict(rows[0]))
        for row in rows:
            values = asdict(row).values()
            writer.writerow([" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values])
        return file.getvalue()


def compare_models(
    spec: ResNetSpec, torch_model: Any, keras_model: Any, input_size: int, by: str = "layer"
) -> Comparison:
    """Compare two models that you built yourself with the table of `spec`."""
    torch_rows = load_backend("torch", device="cpu").layer_rows(torch_model, input_size)
    keras_rows = load_backend("tf", device="cpu").layer_rows(keras_model, input_size)
    rows = align(layer_table(spec, input_size), torch_rows, keras_rows)
    return Comparison(spec=spec, input_size=input_size, rows=tuple(rows)).grouped(by)


def compare(name: str | ResNetSpec, *, by: str = "layer", **overrides: Any) -> Comparison:
    """Build a network in both frameworks and put its layers side by side.

    `overrides` are fields of the spec, such as `input_size=64` or `num_classes=10`; `by` is "layer", "block"
    or "stage". Raises `InputError` for bad input, also if a framework is not installed.
    """
    spec = get_spec(name, **overrides)
    check_level(by)
    check_installed(*BACKENDS)
    backends: list[Backend] = [load_backend(framework, device="cpu") for framework in BACKENDS]
    torch_model, keras_model = (backend.create_skeleton(spec) for backend in backends)
    return compare_models(spec, torch_model, keras_model, spec.input_size, by)

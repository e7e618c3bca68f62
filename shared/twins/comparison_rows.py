"""The lines of a comparison: each layer of the table, with what each framework has of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.backends import BACKENDS, ModelRow
from shared.networks.table import LayerRow, Shape

#: Of each framework, its models' rows.
Rows = Mapping[str, list[ModelRow]]


@dataclass(frozen=True, kw_only=True)
class CompareRow:
    """One line of the comparison: a layer, or the sum over a block or a stage.

    `shapes`, `parameters` and `buffers` are those of each framework, by its name in `BACKENDS`. Shapes are in the
    framework's own order, None where it has no layer of its own for the step: PyTorch adds with a plain `+` and pads
    inside the convolution. `macs` come from the table.
    """

    name: str
    kind: str
    stage: str
    block: str
    shapes: Mapping[str, Shape | None]
    parameters: Mapping[str, int]
    buffers: Mapping[str, int]
    macs: int
    equal: bool


def _in_layout(shape: Shape, layout: str) -> Shape:
    """Return a shape (C, H, W) of the table as a framework has it."""
    return (*shape[1:], shape[0]) if len(shape) == 3 and layout == "H,W,C" else shape


def _row(found: Mapping[str, ModelRow | None], **about: Any) -> CompareRow:
    """Return a line with what each framework has, nothing where it has no such layer."""
    return CompareRow(
        shapes={name: row.output_shape if row else None for name, row in found.items()},
        parameters={name: row.parameters if row else 0 for name, row in found.items()},
        buffers={name: row.buffers if row else 0 for name, row in found.items()},
        **about,
    )


def _layer_row(row: LayerRow, found: Mapping[str, ModelRow | None]) -> CompareRow:
    """Hold one layer of the table against all models."""

    def agrees(name: str, layer: ModelRow | None) -> bool:
        expected = (_in_layout(row.output_shape, BACKENDS[name].layout), row.parameters, row.buffers)
        return layer is not None and (layer.output_shape, layer.parameters, layer.buffers) == expected

    equal = all(agrees(name, layer) for name, layer in found.items())
    return _row(found, name=row.name, kind=row.kind, stage=row.stage, block=row.block, macs=row.macs, equal=equal)


def _padding_row(row: LayerRow, found: Mapping[str, ModelRow | None]) -> CompareRow:
    """Describe a separate padding in front of a strided layer, as Keras has it; PyTorch pads inside that layer."""
    channels, height, width = row.input_shape
    border = 2 * (row.padding or 0)
    padded = (channels, height + border, width + border)
    equal = all(
        layer is None or (layer.output_shape == _in_layout(padded, BACKENDS[name].layout) and layer.parameters == 0)
        for name, layer in found.items()
    )
    return _row(found, name=f"{row.name}.pad", kind="pad", stage=row.stage, block=row.block, macs=0, equal=equal)


def align(table: Iterable[LayerRow], models: Rows) -> list[CompareRow]:
    """Put the layers of the models beside the table's, by name, in the table's order."""
    by_name = {framework: {row.name: row for row in rows} for framework, rows in models.items()}

    def take(layer: str) -> dict[str, ModelRow | None]:
        return {framework: rows.pop(layer, None) for framework, rows in by_name.items()}

    found = []
    for row in table:
        padding = take(f"{row.name}.pad")
        if any(padding.values()):
            found.append(_padding_row(row, padding))
        found.append(_layer_row(row, take(row.name)))
    for framework, strays in by_name.items():
        for stray in strays.values():
            alone = {name: stray if name == framework else None for name in models}
            kind = f"only in {BACKENDS[framework].title}"
            about = {"stage": "unknown", "block": "unknown", "macs": 0, "equal": False}
            found.append(_row(alone, name=stray.name, kind=kind, **about))
    return found


def sum_rows(rows: list[CompareRow], name: str, kind: str) -> CompareRow:
    """Add up lines; the shape is the one at their end."""
    frameworks = rows[0].shapes
    return CompareRow(
        name=name,
        kind=kind,
        stage=rows[0].stage,
        block=rows[0].block,
        shapes=rows[-1].shapes,
        parameters={framework: sum(row.parameters[framework] for row in rows) for framework in frameworks},
        buffers={framework: sum(row.buffers[framework] for row in rows) for framework in frameworks},
        macs=sum(row.macs for row in rows),
        equal=all(row.equal for row in rows),
    )


def count_layers(rows: list[CompareRow]) -> int:
    """Count the layers; a separate padding belongs to the layer behind it."""
    return sum(row.kind != "pad" for row in rows)


def group_rows(rows: list[CompareRow], level: str) -> dict[str, list[CompareRow]]:
    """Return the lines by the "stage" or the "block" that they belong to."""
    groups: dict[str, list[CompareRow]] = {}
    for row in rows:
        groups.setdefault(getattr(row, level), []).append(row)
    return groups

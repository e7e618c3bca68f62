"""Side by side: the table, the PyTorch model and the Keras model, layer beside layer, with a verdict and the reasons.

>>> compare("resnet50")            # in Python or a notebook
$ resnet-twins compare resnet50    # in a terminal
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, overload

from shared.backends import BACKENDS, check_installed, load_backend
from shared.base.checks import check_choice
from shared.base.errors import InputError
from shared.base.words import CROSS, TICK
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table
from shared.twins.comparison_rows import CompareRow, align, count_layers, group_rows, sum_rows
from shared.twins.comparison_views import ComparisonViews
from shared.twins.named import open_two, titles_of
from shared.twins.pair import LEVELS as PAIR_LEVELS
from shared.twins.pair import Pair
from shared.twins.sight import compare_pair
from shared.twins.totals import count_reasons

LEVELS = ("layer", "block", "stage")


def check_level(by: str) -> None:
    """Raise `InputError` unless `by` says what one line stands for."""
    if by not in LEVELS:
        raise InputError(f"by is {by!r}; allowed is one of {', '.join(LEVELS)}")


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(ComparisonViews):
    """The opinions on one network: the table's, and that of each framework.

    `rows` has one line for each layer. `str()`, a notebook cell, `to_markdown()` and so on show them, or with
    `by="block"` or `by="stage"` their sums.
    """

    spec: ResNetSpec
    input_size: int
    rows: tuple[CompareRow, ...]
    by: str = "layer"

    @property
    def equal(self) -> bool:
        """Whether every layer has the shape, the parameters and the buffers that the table says, in all of them."""
        return all(row.equal for row in self.rows)

    @property
    def totals(self) -> CompareRow:
        """The sum over all layers."""
        total = sum_rows(list(self.rows), "total", "")
        return replace(total, shapes=dict.fromkeys(total.shapes))

    @property
    def subtotals(self) -> tuple[CompareRow, ...]:
        """One line for the stem, for each stage and for the head."""
        return tuple(sum_rows(rows, name, "subtotal") for name, rows in group_rows(list(self.rows), "stage").items())

    @property
    def verdict(self) -> str:
        """One line: whether all is equal, and if not, where the first difference is."""
        if self.equal:
            count = count_layers(list(self.rows))
            *first, last = ("the table", *(BACKENDS[framework].title for framework in self.totals.shapes))
            what = f"all {count} layers have equal shapes, parameters and buffers"
            return f"{TICK} {self.title}: {what} in {', '.join(first)} and {last}"
        bad = [row.name for row in self.rows if not row.equal]
        return f"{CROSS} {self.title}: {len(bad)} of {len(self.rows)} rows differ, the first is {bad[0]}"

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
        for stage, rows in group_rows(list(self.rows), "stage").items():
            blocks = group_rows(rows, "block")
            if self.by == "layer":
                lines += [*rows, sum_rows(rows, stage, "subtotal")]
            elif self.by == "block":
                lines += [sum_rows(part, name, f"{count_layers(part)} layers") for name, part in blocks.items()]
                if len(blocks) > 1:
                    lines.append(sum_rows(rows, stage, "subtotal"))
            else:
                lines.append(sum_rows(rows, stage, f"{len(blocks)} blocks" if stage.startswith("layer") else "layers"))
        return lines


def compare_models(
    spec: ResNetSpec, torch_model: Any, keras_model: Any, input_size: int, by: str = "layer"
) -> Comparison:
    """Compare two models that you built yourself with the table of `spec`."""
    return _compare(spec, {"torch": torch_model, "tf": keras_model}, input_size, by)


def _compare(spec: ResNetSpec, models: Mapping[str, Any], input_size: int, by: str) -> Comparison:
    rows = {name: load_backend(name, device="cpu").layer_rows(model, input_size) for name, model in models.items()}
    found = align(layer_table(spec, input_size), rows)
    return Comparison(spec=spec, input_size=input_size, rows=tuple(found)).grouped(by)


@overload
def compare(name: str | ResNetSpec, *, by: str = "layer", **overrides: Any) -> Comparison: ...


@overload
def compare(name: Any, other: Any, **options: Any) -> Pair: ...


def compare(name: Any, other: Any = None, *, by: str = "layer", **overrides: Any) -> Comparison | Pair:
    """Build a network in every framework and put its layers side by side; or put any two models side by side.

    With one name, `overrides` are fields of the spec, such as `input_size=64` or `num_classes=10`, and `by` is
    "layer", "block" or "stage". With two models, each is a live one or named as `open_model` takes it; `input_size`
    and `in_channels` say what images they take, and `by` is "layer" or "block". Raises `InputError` for bad input,
    also if a framework is not installed.
    """
    if other is not None:
        check_choice("by", by, PAIR_LEVELS)
        found = compare_pair(*open_two(name, other), titles=titles_of(name, other), **overrides)
        return found.grouped(by)
    spec = get_spec(name, **overrides)
    check_level(by)
    check_installed(*BACKENDS)
    models = {framework: load_backend(framework, device="cpu").create_skeleton(spec) for framework in BACKENDS}
    return _compare(spec, models, spec.input_size, by)

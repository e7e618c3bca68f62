"""Where two models part: for the terminal, for Markdown, HTML, JSON, CSV and JUnit, and as a picture."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shared.base.figures import BLUE, GREY, ORANGE, drawable, new_figure, save_figure
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.twins.junit import Case
from shared.twins.views import Views

if TYPE_CHECKING:
    from rich.table import Table

    from shared.twins.lockstep import Judged
    from shared.twins.pair import Pair

HEADINGS = ("first", "second", "kind", "arrives", "error", "float32", "gradient", "")
NUMBERS = ("arrives", "error", "float32", "gradient")
NARROW = ("first", "second", "error", "float32", "")
EXPLAINED = (
    "arrives: how far the inputs are apart when each model runs on its own; error: of the output, on equal inputs; "
    "float32: what rounding alone costs there; gradient: likewise by the inputs"
)
#: From this width on all columns are shown.
WIDE = 110
#: Lines of layers in front of and behind the first that parts.
AROUND = 6
#: Where an error of nothing is drawn.
FLOOR = 1e-9


def number_text(value: float) -> str:
    """Return an error in short; a dash where there is none."""
    return "–" if math.isnan(value) else "other shape" if math.isinf(value) else f"{value:.0e}"


def plain_number(value: float) -> float | None:
    """Return an error as JSON has it."""
    return value if math.isfinite(value) else None


class PartingViews(Views):
    """What a parting looks like. `Parting` adds what there is to show."""

    TEXT_WIDTH: ClassVar[int] = 160
    pair: Pair
    layers: tuple[Judged, ...]
    cause: str
    others: tuple[str, ...]

    @property
    def first(self) -> Judged | None:
        """The first layer that parts, or None."""
        return next((layer for layer in self.layers if layer.parts), None)

    @property
    def title(self) -> str:
        """Both names."""
        return " and ".join(self.pair.names)

    @property
    def reasons(self) -> list[str]:
        """What else differs."""
        return list(self.others)

    @property
    def notes(self) -> list[str]:
        """What the readers of the two models could not see."""
        return self.pair.notes

    def mark(self, layer: Judged) -> str:
        """Return the sign of a layer, with words for the first that parts."""
        return f"{CROSS} the first that parts" if layer is self.first else CROSS if layer.parts else TICK

    def cells(self, layer: Judged) -> list[str]:
        """Return a line as texts, in the order of `HEADINGS`."""
        errors = (layer.arrives, layer.error, layer.noise, layer.gradient)
        names = (printable(layer.name), printable(layer.other))
        return [*names, layer.kind, *map(number_text, errors), self.mark(layer)]

    def around(self) -> tuple[Judged, ...]:
        """Return the layers around the first that parts, or the last ones."""
        at = self.layers.index(self.first) if self.first else len(self.layers) - 1
        return self.layers[max(0, at - AROUND) : at + AROUND + 1]

    def to_rich(self, width: int = WIDE) -> Table:
        """Return the layers around the first that parts as a table for rich's console."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        headings = HEADINGS if width >= WIDE else NARROW
        shown = self.around()
        left_out = len(self.layers) - len(shown)
        caption = f"{len(shown)} of {len(self.layers)} layers and operations; {EXPLAINED}" if left_out else EXPLAINED
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
        for heading in headings:
            table.add_column(heading, justify="right" if heading in NUMBERS else "left", overflow="fold")
        for layer in shown:
            texts = [text for heading, text in zip(HEADINGS, self.cells(layer), strict=True) if heading in headings]
            table.add_row(*map(Text, texts), style="bold" if layer is self.first else None)
        return table

    def table(self) -> tuple[Sequence[str], Sequence[bool], Sequence[Sequence[str]]]:
        """Return all layers as the columns of a table."""
        return HEADINGS, [heading not in NUMBERS for heading in HEADINGS], [self.cells(layer) for layer in self.layers]

    def records(self) -> list[dict[str, Any]]:
        """Return a line for each layer, with plain numbers."""
        return [
            {
                "first": printable(layer.name),
                "second": printable(layer.other),
                "kind": layer.kind,
                "arrives": plain_number(layer.arrives),
                "error": plain_number(layer.error),
                "float32": plain_number(layer.noise),
                "gradient": plain_number(layer.gradient),
                "parts": layer.parts,
            }
            for layer in self.layers
        ]

    def content(self) -> dict[str, Any]:
        """Return all that was seen as plain values."""
        return {
            "first": self.pair.names[0],
            "second": self.pair.names[1],
            "equal": self.equal,
            "verdict": self.verdict,
            "layer": None if self.first is None else printable(self.first.name),
            "cause": self.cause,
            "others": list(self.others),
            "notes": self.notes,
            "layers": self.records(),
        }

    def cases(self) -> list[Case]:
        """Return a test for each layer, and one for the whole, which also fails for what no layer shows."""
        failure = "" if self.equal else self.verdict
        found = [Case(self.title, "the same function", failure, "\n".join([failure, *self.others]))]
        for layer in self.layers:
            what = self.cause if layer is self.first else f"error {number_text(layer.error)}"
            found.append(Case(self.title, printable(layer.name), what if layer.parts else ""))
        return found

    def to_html(self) -> str:
        """Return the verdict and the layers as HTML that needs nothing else; all layers are behind a fold."""
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in (*self.reasons, *self.notes))
        below = f"<ul>{lines}</ul>\n" if lines else ""
        whole = (
            f"<details><summary>all {len(self.layers)} layers</summary>\n{self._html_table(self.layers)}</details>\n"
        )
        return (
            f'<meta charset="utf-8">\n<p><b>{html.escape(self.verdict)}</b></p>\n{below}'
            f"{self._html_table(self.around())}<p>{EXPLAINED}</p>\n{whole}"
        )

    def _html_table(self, layers: Sequence[Judged]) -> str:
        def line(tag: str, texts: Sequence[str], strong: bool) -> str:
            marked = [f"<b>{html.escape(text)}</b>" if strong else html.escape(text) for text in texts]
            return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in marked) + "</tr>\n"

        rows = "".join(line("td", self.cells(layer), layer is self.first) for layer in layers)
        return f"<table>\n{line('th', HEADINGS, False)}{rows}</table>\n"

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the error of every layer, with what is allowed there, and write it to a file if one is named."""
        return plot_parting(self, path)


def plot_parting(seen: PartingViews, path: str | Path | None = None) -> Any:
    """Draw the error of every layer on a logarithmic scale, what is allowed there, and the first layer that parts."""
    figure, axes = new_figure(11, 4.8)
    places = range(len(seen.layers))
    finite = [value for layer in seen.layers for value in (layer.error, layer.arrives) if math.isfinite(value)]
    top = 10 * max([*finite, 1.0])
    lines = (
        ("error on equal inputs", [layer.error for layer in seen.layers], "o-", BLUE),
        ("gradient on equal inputs", [layer.gradient for layer in seen.layers], "x:", ORANGE),
        ("what arrives, each model on its own", [layer.arrives for layer in seen.layers], "--", GREY),
    )
    for label, values, style, colour in lines:
        drawn = [top if math.isinf(value) else max(value, FLOOR) for value in values]
        axes.semilogy(places, drawn, style, color=colour, markersize=4, linewidth=1, label=label)
    allowed = [layer.allowed for layer in seen.layers]
    axes.semilogy(places, allowed, color="black", linewidth=0.8, drawstyle="steps-mid", label="allowed: 20 x float32")
    step = max(1, len(seen.layers) // 30)
    ticks = set(range(0, len(seen.layers), step))
    if seen.first is not None:
        at = seen.layers.index(seen.first)
        ticks = {tick for tick in ticks if abs(tick - at) >= step} | {at}
        _point_at(axes, at, at < len(seen.layers) / 2, f"first: {seen.first.name}")
    names = [drawable(printable(seen.layers[tick].name, 40)) for tick in sorted(ticks)]
    axes.set_xticks(sorted(ticks), names, rotation=90, fontsize=7)
    axes.set_xlabel("layer of the first model, in the order of computation")
    axes.set_ylabel("relative error (0 is drawn at 1e-9)")
    axes.set_title("\n".join([drawable(seen.title), drawable(seen.cause or "no layer parts")]), fontsize=10, wrap=True)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    save_figure(figure, path)
    return figure


def _point_at(axes: Any, at: int, to_the_right: bool, text: str) -> None:
    axes.axvline(at, color="black", linewidth=1)
    axes.set_ylim(top=1e2 * axes.get_ylim()[1])  # room for the layer's name
    axes.annotate(
        drawable(printable(text, 60)),
        (at, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4 if to_the_right else -4, -12),
        textcoords="offset points",
        ha="left" if to_the_right else "right",
        fontweight="bold",
    )

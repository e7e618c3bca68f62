"""What was found out about a model: for the terminal, for Markdown, a notebook and JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from shared.backends import BACKENDS
from shared.base.printable import printable
from shared.base.words import CROSS, TICK, text_of
from shared.networks.catalog import SPECS
from shared.networks.spec import ResNetSpec, StemSpec
from shared.twins.nearest import changes
from shared.twins.pair import FOLLOWS, ROLE_WORDS, Pair, PairRow, totals
from shared.twins.pair_page import body
from shared.twins.pair_views import PairViews, plain

if TYPE_CHECKING:
    from rich.console import Group

#: Differences that a terminal shows; the others are counted.
MOST_SHOWN = 20
HEADINGS = ("field", "standard", "this model")
LEFT = "What no field expresses, the model's value first"
OTHER_SIZE = "weights of another size"
#: What builds the network where the model is of no framework.
USUAL = "torch"


class IdentifiedViews:
    """What an identification looks like. `Identified` adds what there is to show."""

    name: str
    overrides: Mapping[str, Any]
    pair: Pair
    near: bool

    @property
    def spec(self) -> ResNetSpec:
        """The network that is nearest to the model."""
        raise NotImplementedError

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        raise NotImplementedError

    @property
    def alike(self) -> tuple[int, int]:
        """How many of how many layers are alike."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What the model is called, and its framework."""
        graph = self.pair.first
        return printable(graph.title) + (f" ({BACKENDS[graph.framework].title})" if graph.framework else "")

    @property
    def code(self) -> str:
        """The nearest network in Python."""
        return f"get_spec({self._arguments})"

    @property
    def _arguments(self) -> str:
        return ", ".join(
            [_written(self.name), *(f"{name}={_written(value)}" for name, value in self.overrides.items())]
        )

    @property
    def _building(self) -> list[str]:
        """The lines of Python that build the nearest network, in the model's framework."""
        package = BACKENDS[self.pair.first.framework or USUAL].package
        stem = ["from shared.networks import StemSpec"] if "stem" in self.overrides else []
        return [f"from {package} import create_model", *stem, f"model = create_model({self._arguments})"]

    @property
    def differences(self) -> list[str]:
        """Every kind of difference that is left, once: what the model has first, then what the network has."""
        groups: dict[str, list[PairRow]] = {}
        for row in self.pair.rows:
            for text in self._texts(row):
                groups.setdefault(text, []).append(row)
        return [f"{text} ({_place(rows)})" for text, rows in groups.items()]

    def _texts(self, row: PairRow) -> list[str]:
        simple = row.left or row.right
        assert simple is not None
        if row.left is None or row.right is None:
            return [f"{simple.node.kind}: only in {self.name if row.left is None else 'the model'}"]
        found = []
        for text in row.differences:
            if text.startswith(ROLE_WORDS) and not text.startswith("no "):
                text = OTHER_SIZE
            text = text.replace(" in the first", " in the model").replace(" in the second", f" in {self.name}")
            found += [f"{simple.node.kind}: {text}"] if text != FOLLOWS else []
        return list(dict.fromkeys(found))

    @property
    def verdict(self) -> str:
        """One line: which network it is, or which is nearest."""
        title = self.title
        changed = ", ".join(f"{name}={_written(value)}" for name, value in self.overrides.items())
        network = f"{self.name} with {changed}" if changed else self.name
        alike, most = self.alike
        if self.exact:
            count = f"{totals(self.pair.first)['parameters']:,} parameters"
            return f"{TICK} {title} is {network}: all {len(self.pair.rows)} layers and operations are the same, {count}"
        share = f"{alike} of {most} convolutions and dense layers alike"
        if self.near:
            left = self.differences
            rest = f"one difference is left: {left[0]}" if len(left) == 1 else f"{len(left)} differences are left"
            return f"{CROSS} {title} is nearest to {network}: {share}, {rest}"
        return f"{CROSS} none of the catalog's networks is near {title}: the nearest is {self.name}, with {share}"

    def _rows(self) -> list[tuple[str, str, str]]:
        """Return the overrides as lines of texts, in the order of `HEADINGS`."""
        found = changes(SPECS[self.name], self.spec)
        return [(name, _written(before), _written(after)) for name, (before, after) in found.items()]

    def to_rich(self) -> Group:
        """Return all of it for rich's console."""
        from rich import box
        from rich.console import Group
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        parts: list[Any] = [Text(self.verdict, style="bold")]
        if self.near:
            parts.append(Padding(Text("\n".join(self._building)), (1, 0, 0, 4), expand=False))
        if rows := self._rows():
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for heading in HEADINGS:
                table.add_column(heading, overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            parts.append(table)
        if self.near and (left := self.differences):
            parts.append(Text(f"\n{LEFT}:", style="bold"))
            parts += [Text(f"  • {text}") for text in left[:MOST_SHOWN]]
            if len(left) > MOST_SHOWN:
                parts.append(Text(f"  and {len(left) - MOST_SHOWN} more"))
        return Group(*parts)

    def to_text(self) -> str:
        """Return all of it as plain text."""
        return text_of(self.to_rich(), PairViews.TEXT_WIDTH)

    def __repr__(self) -> str:
        return self.to_text()

    def to_markdown(self) -> str:
        """Return all of it with a GitHub table."""
        parts = [self.verdict]
        if self.near:
            parts.append("\n".join(["```python", *self._building, "```"]))
        if rows := self._rows():
            lines = [HEADINGS, ("---",) * len(HEADINGS), *rows]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        if self.near and (left := self.differences):
            parts.append("\n".join([f"{LEFT}:", "", *(f"- {text}" for text in left)]))
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """Return all of it, and each layer beside the network's, as JSON."""
        spec = self.spec.to_dict()
        alike, most = self.alike
        content = {
            "model": self.title,
            "network": self.name,
            "overrides": {name: plain(spec[name]) if name != "stem" else spec[name] for name in self.overrides},
            "code": self.code,
            "exact": self.exact,
            "near": self.near,
            "verdict": self.verdict,
            "alike": alike,
            "layers": most,
            "differences": self.differences,
            "pair": json.loads(self.pair.to_json()),
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in self._rows()
        )
        head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
        table = f"<table><tr>{head}</tr>{rows}</table>\n" if rows else ""
        code = f"<pre>{html.escape(chr(10).join(self._building))}</pre>\n" if self.near else ""
        return f"<p><strong>{html.escape(self.verdict)}</strong></p>\n" + code + table + body(self.pair)


def _place(rows: list[PairRow]) -> str:
    name = printable(rows[0].name)
    return name if len(rows) == 1 else f"{len(rows)} times, first in {name}"


def _written(value: Any) -> str:
    """Return a value of a spec as it is written in Python."""
    if isinstance(value, str):
        return json.dumps(value)
    if not isinstance(value, StemSpec):
        return repr(value)
    standard = StemSpec()
    parts = [
        f"{entry.name}={getattr(value, entry.name)!r}"
        for entry in fields(value)
        if getattr(value, entry.name) != getattr(standard, entry.name)
    ]
    return f"StemSpec({', '.join(parts)})"

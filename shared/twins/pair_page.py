"""A pair of models as one HTML page that needs nothing else: no script, no network, light and dark, wide and narrow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.base.printable import printable
from shared.base.words import CROSS, TICK

if TYPE_CHECKING:
    from shared.twins.pair import PairRow
    from shared.twins.pair_blocks import PairBlock
    from shared.twins.pair_views import PairViews

#: Characters of a setting's value: some are whole tables.
MOST_VALUE = 120
#: Colours of text and background are those around, so that it fits into any notebook; the others come in two shades.
STYLE = """
.pair { --bad: #a4161a; --good: #1a6b3c; --line: rgba(128, 128, 128, .4); --tint: rgba(200, 40, 40, .07);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; max-width: 72rem; margin: 0 auto;
  padding: .5rem; text-align: left; overflow-wrap: anywhere }
.pair .bad, .pair .mark .differs { color: var(--bad) }
.pair .bad { white-space: nowrap }
.pair .mark .same { color: var(--good) }
.pair .verdict { font-size: 1.15em; font-weight: 600; margin: .5em 0 1em; padding: .5em .8em }
.pair .verdict.differs { border-left: 4px solid var(--bad); background: var(--tint) }
.pair .verdict.same { border-left: 4px solid var(--good); background: rgba(40, 160, 90, .09) }
.pair .title { display: flex; flex-wrap: wrap; gap: .2em 1.5em; align-items: baseline; font-weight: 600;
  margin: 1.4em 0 .4em }
.pair .title label { font-weight: 400; cursor: pointer; padding: .3em 0 }
.pair ul { margin: .3em 0; padding-left: 1.3em }
.pair table { border-collapse: collapse; margin: 0; font-size: inherit; table-layout: auto; color: inherit }
.pair table tr { background: none !important }
.pair table th, .pair table td { border: 0; border-bottom: 1px solid var(--line); padding: .25em 1.2em .25em 0;
  text-align: left !important; vertical-align: top; font-weight: 400; white-space: normal; max-width: none }
.pair table thead th, .pair table .differs th, .pair table .differs td { font-weight: 600 }
.pair .models td, .pair .number { font-variant-numeric: tabular-nums }
.pair .models td, .pair tbody th { overflow-wrap: normal }
.pair .line { display: grid; gap: 0 .6em; padding: .3em .3em .3em .5em; align-items: baseline;
  border-bottom: 1px solid var(--line);
  grid-template-columns: .9em 1.1em minmax(0, 6fr) minmax(0, 6fr) minmax(0, 4fr) minmax(0, 4fr) minmax(0, 5fr) }
.pair .number { text-align: right }
.pair .what { grid-column: 3 / -1; color: var(--bad) }
.pair .head, .pair .sum { font-weight: 600 }
.pair .head { border-bottom: 2px solid }
.pair-page .pair .head { position: sticky; top: 0; background: Canvas; z-index: 1 }
.pair summary { cursor: pointer; list-style: none }
.pair summary::-webkit-details-marker { display: none }
.pair summary:hover { background: rgba(128, 128, 128, .12) }
.pair summary .toggle::before { content: "\\25B8" }
.pair details[open] > summary .toggle::before { content: "\\25BE" }
.pair .block > summary { font-weight: 600; background: rgba(128, 128, 128, .1) }
.pair .block.same > summary .what, .pair .sum .what { color: inherit; font-weight: 400 }
.pair .block .layer .first, .pair .block .layer .what { padding-left: 1em }
.pair .layer.differs > summary, .pair .block.differs > summary { box-shadow: inset 3px 0 var(--bad) }
.pair .layer.differs > summary { background: var(--tint) }
.pair .toggle { text-align: center }
.pair .inside { padding: .4em 0 1em 3.5em; border-bottom: 1px solid var(--line) }
.pair .note { margin: .4em 0 0; font-style: italic }
.pair:has(.only:checked) .same.layer, .pair:has(.only:checked) .same.block { display: none }
@media (max-width: 48rem) {
  .pair .line { grid-template-columns: .9em 1.1em minmax(0, 1fr) minmax(0, max-content) }
  .pair .second { grid-column: 3 / -1; grid-row: 2; opacity: .8 }
  .pair .kind, .pair .shape { display: none }
  .pair .number { grid-column: 4; grid-row: 1; max-width: 11em }
  .pair .block .layer .second { padding-left: 1em }
  .pair .inside { padding-left: 1.2em }
  .pair table th, .pair table td { padding-right: .7em }
  .pair .inside td { min-width: 6em }
  .pair-page .pair .head { position: static }
}
@media (prefers-color-scheme: dark) {
  .pair-page { color-scheme: dark }
  .pair-page .pair { --bad: #ff8a80; --good: #7bd88f }
}
[data-jp-theme-light="false"] .pair, .vscode-dark .pair, html[theme="dark"] .pair { --bad: #ff8a80; --good: #7bd88f }
@media print { .pair .title label { display: none } }
"""


def page(pair: PairViews) -> str:
    """Return a whole HTML page."""
    title = html.escape(" and ".join(pair.names))
    return (
        f'<!DOCTYPE html>\n<html lang="en" class="pair-page">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n</head>\n<body>\n'
        f"{body(pair)}</body>\n</html>\n"
    )


def body(pair: PairViews) -> str:
    """Return what a page and a notebook cell show."""
    blocks = [_block(block) for block in pair.blocks]
    return (
        f'<div class="pair">\n<style>{STYLE}</style>\n{_head(pair)}{_lists(pair)}{_switch(pair)}'
        f'<div class="rows">\n{_heading(pair)}\n' + "\n".join(blocks) + f"\n{_total(pair)}\n</div>\n</div>\n"
    )


def _head(pair: PairViews) -> str:
    """Return the verdict and what each model is, in numbers."""
    layers = [sum(getattr(row, side) is not None for row in pair.rows) for side in ("left", "right")]
    lines = [("layers and operations", *(f"{count:,}" for count in layers))]
    for what in ("parameters", "buffers"):
        lines.append((what, *(f"{total[what]:,}" for total in pair.totals)))
    titles = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in pair.names)
    rows = "".join(
        f'<tr><th scope="row">{what}{_unequal(first != second)}</th><td>{first}</td><td>{second}</td></tr>'
        for what, first, second in lines
    )
    state = "same" if pair.equal else "differs"
    return (
        f'<p class="verdict {state}" role="heading" aria-level="1">{html.escape(pair.verdict)}</p>\n'
        f'<table class="models"><thead><tr><td></td>{titles}</tr></thead><tbody>{rows}</tbody></table>\n'
    )


def _unequal(unequal: bool) -> str:
    return f' <b class="bad">{CROSS} not equal</b>' if unequal else ""


def _lists(pair: PairViews) -> str:
    """Return the reasons and the notes."""
    found = ""
    for title, lines in (("What differs", pair.reasons), ("Notes", pair.notes)):
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        found += f'<p class="title" role="heading" aria-level="2">{title}</p>\n<ul>{items}</ul>\n' if items else ""
    return found


def _switch(pair: PairViews) -> str:
    """Return the heading of the rows, and what hides those without a difference."""
    switch = '<label><input type="checkbox" class="only"> only what differs</label>'
    shown = switch if 0 < pair.differing < len(pair.rows) else ""
    return f'<div class="title"><span role="heading" aria-level="2">Layers and operations</span>{shown}</div>\n'


def _heading(pair: PairViews) -> str:
    first, second = map(html.escape, pair.names)
    return _line("div", ["", "", first, second, "kind", "output", "parameters"], "line head")


def _line(tag: str, cells: Sequence[str], kind: str = "line", what: str = "") -> str:
    """Return a line of the rows from what is HTML already: toggle, mark, both names, kind, output, parameters."""
    names = ("toggle", "mark", "first", "second", "kind", "shape", "number")
    spans = "".join(f'<span class="{name}">{cell}</span>' for name, cell in zip(names, cells, strict=True))
    more = f'<span class="what">{what}</span>' if what else ""
    return f'<{tag} class="{kind}">{spans}{more}</{tag}>'


def _mark(equal: bool) -> str:
    word = "same" if equal else "differs"
    return f'<span role="img" aria-label="{word}" title="{word}" class="{word}">{TICK if equal else CROSS}</span>'


def _numbers(first: int, second: int) -> str:
    if first == second:
        return f"{first:,}" if first else ""
    return f"{first:,} <b>≠</b> {second:,}"


def _name(text: str, missing: str = "–") -> str:
    return html.escape(printable(text)) or missing


def _block(block: PairBlock) -> str:
    inside = "\n".join(map(_layer, block.rows))
    if not block.name:
        return inside
    count = f"{len(block.rows)} layers and operations"
    what = f"{block.differing} of {count} differ" if block.differing else f"{count}, all the same"
    shape = _shape(block.rows[-1])
    names = [_name(block.first, ""), _name(block.second, "")]
    mark = _mark(not block.differing)
    summary = _line("summary", ["", mark, *names, "block", shape, _numbers(*block.parameters)], what=what)
    return f"<details {_state('block', not block.differing)}>{summary}\n{inside}\n</details>"


def _state(kind: str, equal: bool) -> str:
    """Return the attributes of what folds: a block with a difference is open."""
    if equal:
        return f'class="{kind} same"'
    return f'class="{kind} differs"' + (" open" if kind == "block" else "")


def _shape(row: PairRow) -> str:
    """Return the shape of the output; both where they differ."""
    shapes = [" × ".join(map(str, side.shape)) for side in (row.left, row.right) if side]
    return " <b>≠</b> ".join(dict.fromkeys(shapes))


def _layer(row: PairRow) -> str:
    found = row.left or row.right
    assert found is not None
    names = [_name(side.node.name) if side else "–" for side in (row.left, row.right)]
    kinds = dict.fromkeys(side.node.kind for side in (row.left, row.right) if side)
    kind = " <b>≠</b> ".join(map(html.escape, kinds))
    what = html.escape("; ".join(row.differences))
    if row.left is None or row.right is None:
        what = f"only in the {'first' if row.right is None else 'second'}"
    numbers = _numbers(*row.parameters)
    summary = _line("summary", ["", _mark(row.equal), *names, kind, _shape(row), numbers], what=what)
    return f"<details {_state('layer', row.equal)}>{summary}{_settings(row)}</details>"


def _total(pair: PairViews) -> str:
    counts = [total["parameters"] for total in pair.totals]
    rows = len(pair.rows)
    what = f"{pair.differing} of {rows} rows differ" if pair.differing else f"{rows} rows, all the same"
    return _line("div", ["", _mark(pair.equal), "total", "", "", "", _numbers(*counts)], "line sum", what)


# -- a layer, opened


def _settings(row: PairRow) -> str:
    """Return what is known of both sides as a small table; what differs is marked, and what is not compared named."""
    sides = [side.node if side else None for side in (row.left, row.right)]
    shapes = ["–" if side is None else " × ".join(map(str, side.shape)) for side in (row.left, row.right)]
    lines = [
        (
            "kind",
            *("–" if node is None else node.kind for node in sides),
            len({node.kind for node in sides if node}) > 1,
        ),
        ("output", *shapes, any(text.startswith(("shape ", "another shape")) for text in row.differences)),
        ("class", *("–" if node is None else node.source for node in sides), False),
        ("parameters", *("–" if node is None else f"{node.parameters:,}" for node in sides), False),
    ]
    if any(node and node.buffers for node in sides):
        lines.append(("buffers", *("–" if node is None else f"{node.buffers:,}" for node in sides), False))
    silent = []
    for kind in ("settings", "weights"):
        tables: list[Any] = [getattr(node, kind) if node else {} for node in sides]
        for name in dict.fromkeys((*tables[0], *tables[1])):
            values = [_value(table[name]) if name in table else "–" for table in tables]
            marked = any(text.startswith((f"{name} ", f"no {name} ")) for text in row.differences)
            lines.append((name, *values, marked))
            if values[0] != values[1] and not marked and None not in sides:
                silent.append(name)
    cells = "".join(_setting(*map(str, line[:3]), marked=bool(line[3])) for line in lines)
    head = '<tr><td></td><th scope="col">first</th><th scope="col">second</th></tr>'
    names = html.escape(", ".join(map(printable, silent)))
    note = f'<p class="note">{names}: not compared, it changes nothing in inference</p>' if silent else ""
    return f'<div class="inside"><table><thead>{head}</thead><tbody>{cells}</tbody></table>{note}</div>'


def _setting(name: str, first: str, second: str, *, marked: bool) -> str:
    shown = [html.escape(printable(text, MOST_VALUE)) for text in (name, first, second)]
    mark, kind = (f' <b class="bad">{CROSS} differs</b>', ' class="differs"') if marked else ("", "")
    return f'<tr{kind}><th scope="row">{shown[0]}{mark}</th><td>{shown[1]}</td><td>{shown[2]}</td></tr>'


def _value(value: Any) -> str:
    """Return a setting, or the shape of a weight."""
    if hasattr(value, "shape") and hasattr(value, "key"):
        return " × ".join(map(str, value.shape)) or "one number"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_value, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)

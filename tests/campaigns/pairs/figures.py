"""What was counted, as a table: on the screen, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.campaigns.pairs.cases import Outcome
from tests.campaigns.pairs.kinds import KINDS

HEADINGS = ("mistake", "cases", "right layer", "right cause", "both", "refused", "crashed")


def count(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of each kind."""
    found: dict[str, Any] = {}
    for each in outcomes:
        row = found.setdefault(each.case.kind, dict.fromkeys(HEADINGS[1:], 0))
        row["cases"] += 1
        row["right layer"] += each.layer
        row["right cause"] += each.cause
        row["both"] += each.right
        row["refused"] += each.refused
        row["crashed"] += bool(each.crash)
    return {name: found[name] for name in KINDS if name in found}


def table_rows(kinds: dict[str, dict[str, int]]) -> list[tuple[str, ...]]:
    """Return a row for each kind, and the sum of all."""
    rows = [(KINDS[name].words, *(str(row[key]) for key in HEADINGS[1:])) for name, row in kinds.items()]
    sums = (str(sum(row[key] for row in kinds.values())) for key in HEADINGS[1:])
    return [*rows, ("all", *sums)]


def headline(figures: dict[str, Any]) -> str:
    """Return when and with what it was counted, and the false alarms."""
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    rights = figures["rights"]
    alarms = sum(bool(text) for text in rights.values())
    return (
        f"{figures['date']}, seed {figures['seed']}, {figures['machine']} ({versions}): "
        f"{sum(row['cases'] for row in figures['kinds'].values())} planted mistakes in {figures['seconds']} seconds; "
        f"{alarms} false alarms in {len(rights)} right pairs."
    )


def markdown(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1)), *table_rows(figures["kinds"])]
    return headline(figures) + "\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(*HEADINGS, title="Planted mistakes")
    for row in table_rows(figures["kinds"]):
        table.add_row(*row)
    console.print(table)
    console.print(headline(figures), markup=False)

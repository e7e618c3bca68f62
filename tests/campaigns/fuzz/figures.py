"""What was counted, as a table: on the screen, and as it stands in docs/faults.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.campaigns.fuzz.judge import Outcome


@dataclass
class Figures:
    """What is counted of one kind."""

    words: str = ""
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    broke: int = 0
    by_command: int = 0
    most_megabytes: float = 0.0
    slowest_seconds: float = 0.0
    slowest: str = ""


def headings() -> tuple[str, ...]:
    """Return the headings of the table."""
    return (
        "what was spoilt",
        "inputs",
        "accepted",
        "refused",
        "broke",
        "by the command",
        "MB at most",
        "seconds at most",
    )


def table_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table: one for each kind, and the sum of all."""
    rows = []
    for each in found["kinds"].values():
        counts = (f"{each[name]:,}" for name in ("inputs", "accepted", "refused", "broke", "by_command"))
        rows.append((each["words"], *counts, f"{each['most_megabytes']:.0f}", f"{each['slowest_seconds']:.1f}"))
    kinds = list(found["kinds"].values())
    sums = (
        f"{sum(each[name] for each in kinds):,}" for name in ("inputs", "accepted", "refused", "broke", "by_command")
    )
    most = (max((each[name] for each in kinds), default=0) for name in ("most_megabytes", "slowest_seconds"))
    return [*rows, ("all", *sums, *(f"{value:.{places}f}" for value, places in zip(most, (0, 1), strict=True)))]


def markdown(found: dict[str, Any]) -> str:
    """Return the table as it stands in docs/faults.md, and when and with what it was counted."""
    names = headings()
    lines = [names, ("---", *["---:"] * (len(names) - 1)), *table_rows(found)]
    inputs = sum(each["inputs"] for each in found["kinds"].values())
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    head = f"{found['date']}, seed {found['seed']}: {inputs:,} inputs, for which processors were busy for "
    head += f"{found['processor_seconds'] / 60:.0f} minutes ({versions})."
    if "before" in found:
        before = found["before"]
        head += f" Of the first {before['inputs']:,} ones, {before['broke']} broke something in revision"
        head += f" {before['revision']}, in which the readers were not hardened yet."
    return head + "\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(console: Console, found: dict[str, Any], findings: dict[str, list[Outcome]]) -> None:
    """Print the figures, and what broke."""
    table = Table(*headings(), title="Spoilt files")
    for row in table_rows(found):
        table.add_row(*row)
    console.print(table)
    for text, outcomes in sorted(findings.items(), key=lambda entry: -len(entry[1])):
        first = outcomes[0]
        console.print(f"{len(outcomes):5} x {text}", markup=False)
        console.print(f"        --again {first.kind}:{first.number} ({first.route})", markup=False)

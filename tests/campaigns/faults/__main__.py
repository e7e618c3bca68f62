"""The command line of the campaign: `python -m tests.campaigns.faults`."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.backends import BACKENDS, missing_modules
from tests.campaigns import faults
from tests.campaigns.faults.campaign import FAULTS, run
from tests.campaigns.faults.runs import Runs
from tests.campaigns.faults.table import headings, markdown, table_rows


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.faults",
        description=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--framework", choices=(*BACKENDS, "both"), default="both")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs for each framework")
    parser.add_argument("--damages", type=int, default=60, help="damaged files for each framework")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), help="only these faults")
    parser.add_argument(
        "--quick", action="store_true", help="two kills, five damaged files and all deleted ones in short runs"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file; others there stay")
    parser.add_argument("--table", type=Path, help="only print the figures in this file, as docs/faults.md shows them")
    return parser


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(*headings(found), title="Faults")
    for row in table_rows(found):
        table.add_row(*row)
    console.print(table)


def main() -> int:
    """Run the campaign and print its figures."""
    given = options().parse_args()
    if given.table:
        print(markdown(json.loads(given.table.read_text(encoding="utf-8"))), end="")
        return 0
    kills, damages, epochs = (2, 5, 3) if given.quick else (given.kills, given.damages, 20)
    only = ("kill", "damage", "delete") if given.quick else given.only
    console = Console(width=120, highlight=False)
    wanted = tuple(BACKENDS) if given.framework == "both" else (given.framework,)
    names = [name for name in wanted if not missing_modules(name)]
    good, found = bool(names), {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            runs = Runs(name, Path(place), kills=kills, damages=damages, seed=given.seed, epochs=epochs)
            good = run(runs, console, only) and good
            found[name] = runs.figures
    show(console, found)
    if given.json:
        known = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        merged = {name: {**known.get(name, {}), **found.get(name, {})} for name in (*known, *found)}
        given.json.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    console.print("all as promised" if good else "[bold red]not all as promised[/]")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

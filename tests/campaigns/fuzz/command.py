"""The command line of the campaign; `__main__.py` calls it when the environment is set."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.base.versions import installed_version, is_installed
from tests.campaigns import fuzz
from tests.campaigns.fuzz.campaign import Campaign
from tests.campaigns.fuzz.figures import markdown, show
from tests.campaigns.fuzz.kinds import KINDS

EVERYBODY = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
RECORDED = ("torch", "numpy", "h5py", "pillow", "safetensors", "python")


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.fuzz",
        description=fuzz.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=20_000, help="how many, of all kinds together")
    parser.add_argument("--seconds", type=float, default=3600, help="no input is begun after so long")
    parser.add_argument("--seed", type=int, default=0, help="of all that is done to the files")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="inputs that are read at the same time")
    parser.add_argument("--json", type=Path, help="write the figures to this file; others there stay")
    parser.add_argument("--table", type=Path, help="only print the figures in this file, as docs/faults.md shows them")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that break something")
    parser.add_argument("--again", metavar="KIND:NUMBER", help="only this input; what it breaks is told in full")
    return parser


def wanted(campaign: Campaign, inputs: int, again: str | None) -> Iterator[tuple[str, int, str]]:
    """Yield kind, number and route of each input that is asked for."""
    if again:
        name, _, number = again.partition(":")
        yield name, int(number), campaign.route(name, int(number))
        return
    order = campaign.order()
    for _ in range(inputs):
        name, number = next(order)
        yield name, number, campaign.route(name, number)


def figures(campaign: Campaign, seconds: float) -> dict[str, Any]:
    """Return what was counted, when and with what."""
    versions = {name: platform.python_version() if name == "python" else installed_version(name) for name in RECORDED}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "seed": campaign.seed,
        "jobs": campaign.jobs,
        "seconds": round(seconds),
        "processor_seconds": round(sum(sum(resource.getrusage(who)[:2]) for who in EVERYBODY)),
        "kinds": {name: vars(campaign.figures[name]) for name in campaign.kinds if name in campaign.figures},
    }


def main() -> int:
    """Run the campaign and print its figures."""
    given = options().parse_args()
    if given.table:
        print(markdown(json.loads(given.table.read_text(encoding="utf-8"))), end="")
        return 0
    console = Console(width=150, highlight=False)
    kinds = {name: kind for name, kind in KINDS.items() if not given.only or name in given.only}
    left_out = [name for name, kind in kinds.items() if not all(is_installed(module) for module in kind.needs)]
    if left_out:
        console.print(f"left out, as packages for them are not installed: {', '.join(left_out)}")
    kinds = {name: kind for name, kind in kinds.items() if name not in left_out}
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        campaign = Campaign(Path(folder) / "inputs", given.seed, kinds, given.jobs, given.keep)
        campaign.warm()
        begun = time.monotonic()
        campaign.run(wanted(campaign, given.inputs, given.again), given.seconds, lambda text: console.print(text))
    found = figures(campaign, time.monotonic() - begun)
    show(console, found, campaign.findings)
    broke = [outcome for outcomes in campaign.findings.values() for outcome in outcomes]
    if given.again:
        for outcome in broke:
            print(outcome.detail)
    if given.json:
        known = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        given.json.write_text(json.dumps({**known, **found}, indent=2) + "\n", encoding="utf-8")
    console.print("[bold red]not all was contained[/]" if broke else "all was accepted, or refused in one line")
    return 1 if broke else 0

"""The command line of the campaign; `__main__.py` calls it when the environment is set."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.base.errors import InputError
from shared.base.versions import installed_version, is_installed
from tests.campaigns import fuzz
from tests.campaigns.fuzz.campaign import Campaign
from tests.campaigns.fuzz.figures import markdown, show
from tests.campaigns.fuzz.kinds import KINDS, Kind

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


def missing(kind: Kind) -> list[str]:
    """Return the packages that must be installed before a kind can be read here."""
    return ["pillow" if module == "PIL" else module for module in kind.needs if not is_installed(module)]


def kinds_here(only: list[str] | None) -> dict[str, Kind]:
    """Return the kinds that are asked for and can be read here."""
    kinds = {name: kind for name, kind in KINDS.items() if (not only or name in only) and not missing(kind)}
    if not kinds and only:
        packages = sorted({module for name in only for module in missing(KINDS[name])})
        raise InputError(
            f"--only {' '.join(only)}: all are left out here; install {', '.join(packages)}, or name others"
        )
    return kinds


def one_input(text: str, kinds: dict[str, Kind]) -> tuple[str, int]:
    """Return kind and number of the input that `--again` names; it must be one of `kinds`."""
    name, _, number = text.partition(":")
    start = f"--again {text!r}"
    if name not in KINDS:
        raise InputError(f"{start}: there is no kind {name!r}; wanted is KIND:NUMBER, and kinds are {', '.join(KINDS)}")
    if missing(KINDS[name]):
        raise InputError(
            f"{start}: {name} is left out here; install {', '.join(missing(KINDS[name]))}, or name another kind"
        )
    if name not in kinds:
        raise InputError(f"{start}: --only leaves {name} out; name it there, too, or leave --only away")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise InputError(f"{start}: {number!r} is no number of an input; wanted is KIND:NUMBER, as in {name}:29")
    return name, int(number)


def wanted(campaign: Campaign, inputs: int, again: tuple[str, int] | None) -> Iterator[tuple[str, int, str]]:
    """Yield kind, number and route of each input that is asked for."""
    if again:
        yield *again, campaign.route(*again)
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
    try:
        kinds = kinds_here(given.only)
        again = None if given.again is None else one_input(given.again, kinds)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    console = Console(width=150, highlight=False)
    left_out = [name for name in given.only or KINDS if name not in kinds]
    if left_out:
        console.print(f"left out, as packages for them are not installed: {', '.join(left_out)}")
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        campaign = Campaign(Path(folder) / "inputs", given.seed, kinds, given.jobs, given.keep)
        campaign.warm()
        begun = time.monotonic()
        campaign.run(wanted(campaign, given.inputs, again), given.seconds, lambda text: console.print(text))
    found = figures(campaign, time.monotonic() - begun)
    show(console, found, campaign.findings)
    broke = [outcome for outcomes in campaign.findings.values() for outcome in outcomes]
    if again:
        for outcome in broke:
            print(outcome.detail)
    if given.json:
        known = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        given.json.write_text(json.dumps({**known, **found}, indent=2) + "\n", encoding="utf-8")
    console.print("[bold red]not all was contained[/]" if broke else "all was accepted, or refused in one line")
    return 1 if broke else 0

"""The command line of the campaign; `__main__.py` calls it when the frameworks are loaded."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.base.machine import describe_machine
from shared.base.versions import installed_version
from tests.campaigns import pairs
from tests.campaigns.pairs.cases import SIDES, Case, Outcome, cases, try_case
from tests.campaigns.pairs.figures import count, markdown, show
from tests.campaigns.pairs.kinds import KINDS
from tests.campaigns.pairs.plant import NotHereError
from tests.campaigns.pairs.right_pairs import RIGHT_PAIRS, faults_of
from tests.campaigns.pairs.zoo import ZOO

RECORDED = ("torch", "keras", "tensorflow", "numpy", "python")


def named(known: Any) -> Any:
    """Return what reads names with commas between them."""

    def read(text: str) -> list[str]:
        names = text.split(",") if text else []
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; known are {', '.join(known)}")
        return names

    return read


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.pairs",
        description=pairs.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--pairs", type=named(ZOO), default=list(ZOO), metavar="A,B", help=f"only these: {', '.join(ZOO)}"
    )
    parser.add_argument("--kinds", type=named(KINDS), default=list(KINDS), metavar="X,Y", help="only these mistakes")
    parser.add_argument("--seed", type=int, default=0, help="of weights, images and places")
    parser.add_argument("--rights", type=named(RIGHT_PAIRS), metavar="A,B", help='only these right pairs; "" for none')
    parser.add_argument("--again", metavar="KIND:PAIR:SIDE:NUMBER", help="only this case, told in full")
    parser.add_argument("--output", type=Path, help="write the figures to this file: .json, or .md as a table")
    parser.add_argument("--list", action="store_true", help="only list the kinds and the right pairs")
    return parser


def read_case(text: str) -> Case:
    """Return the case that `--again` names."""
    kind, _, rest = text.partition(":")
    pair, _, place = rest.partition(":")
    side, _, number = place.partition(":")
    if kind not in KINDS or pair not in ZOO or side not in SIDES or not re.fullmatch(r"[0-9]{1,6}", number):
        raise SystemExit(f"Error: --again {text!r} is no case; wanted is KIND:PAIR:SIDE:NUMBER, as a run prints it")
    return Case(kind, pair, side, int(number))


def say(console: Console, outcome: Outcome) -> None:
    """Print a line on a miss: what was seen, and what was wanted."""
    if outcome.right:
        return
    what = "crash" if outcome.crash else "refused" if outcome.refused else "layer" * (not outcome.layer)
    what = what or "cause"
    wanted = f"; places {', '.join(outcome.places)}" if what == "layer" else ""
    console.print(f"MISS {outcome.case.name} ({what}): {outcome.seen}{wanted}", markup=False, soft_wrap=True)


def tell(console: Console, outcome: Outcome) -> None:
    """Print all about one case."""
    for name, value in vars(outcome).items():
        console.print(f"{name}: {value}", markup=False, soft_wrap=True)


def look_at_rights(console: Console, names: list[str]) -> dict[str, str]:
    """Return what is reported of each right pair, and print it."""
    found = {}
    for name in names:
        try:
            found[name] = faults_of(name)
        except Exception as error:  # the campaign goes on, and says so
            found[name] = "crash: " + "".join(traceback.format_exception(error)[-4:])
        if found[name]:
            console.print(f"FALSE ALARM {name}: {found[name]}", markup=False, soft_wrap=True)
    return found


def main() -> int:
    """Run the campaign and print its figures; exit code 1 if a right pair is not, or something crashes."""
    given = options().parse_args()
    console = Console(width=150, highlight=False)
    if given.list:
        console.print(
            "\n".join([*(f"{kind.name}: {kind.words}" for kind in KINDS.values()), *RIGHT_PAIRS]), markup=False
        )
        return 0
    if given.again:
        try:
            tell(console, try_case(read_case(given.again), given.seed))
        except NotHereError:
            print(f"Error: --again {given.again!r}: this pair has no place for it", file=sys.stderr)
            return 2
        return 0
    begun = time.monotonic()
    outcomes = []
    for case in cases(given.pairs, given.kinds, given.seed):
        outcomes.append(try_case(case, given.seed))
        say(console, outcomes[-1])
    rights = look_at_rights(console, list(RIGHT_PAIRS) if given.rights is None else given.rights)
    versions = {name: platform.python_version() if name == "python" else installed_version(name) for name in RECORDED}
    figures = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "versions": versions,
        "seed": given.seed,
        "seconds": round(time.monotonic() - begun),
        "kinds": count(outcomes),
        "rights": rights,
        "cases": {each.case.name: {"layer": each.layer, "cause": each.cause, "seen": each.seen} for each in outcomes},
    }
    show(console, figures)
    if given.output:
        text = markdown(figures) if given.output.suffix == ".md" else json.dumps(figures, indent=2) + "\n"
        given.output.write_text(text, encoding="utf-8")
    return 1 if any(rights.values()) or any(outcome.crash for outcome in outcomes) else 0

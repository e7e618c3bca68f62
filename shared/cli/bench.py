"""The subcommand that measures speed: `bench`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.cli.app import TRAIN, app, console


@app.command(rich_help_panel=TRAIN)
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Four small races, in about five minutes.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this part only; may come again. --list names all.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the parts and measure nothing.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=100, help="Turns of each contender.", show_default="5, quick: 3")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=600, help="Length of a turn.", show_default="2, quick: 1")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write bench.json, bench.md and figures into this folder."),
    ] = None,
) -> None:
    """Measure the twins against what people would use instead: images/s, memory and start-up, as ratios.

    Other programs at work disturb: close them first. With --output, what the folder holds already stays, if it is from
    the same machine and versions.
    """
    from shared.bench.measure import measure, parts
    from shared.bench.races import races

    screen = console()
    names = parts(quick=quick)
    if list_:
        for name, title in names.items():
            screen.print(f"{name:24}{title}", markup=False)
        return
    if seconds is not None and math.isnan(seconds):  # which is neither below the least nor above the most
        raise InputError(f"Invalid value for '--seconds': {seconds} is no number")
    if unknown := [name for name in only or () if name not in names]:
        raise InputError(f"--only {unknown[0]}: there is no such part; allowed is one of {', '.join(names)}")
    with screen.status("starting") as status:
        measure(
            only or ([race.name for race in races(quick=True)] if quick else list(names)),
            quick=quick,
            rounds=rounds or (3 if quick else 5),
            seconds=seconds or (1.0 if quick else 2.0),
            output=output,
            say=lambda text: status.update(escape(printable(text))),
            show=lambda table: screen.print(table if isinstance(table, str) else table.to_rich(), markup=False),
        )

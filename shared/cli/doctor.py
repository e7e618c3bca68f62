"""The subcommand `doctor`: prints what `findings` finds."""

from __future__ import annotations

import shutil

import typer
from rich.markup import escape

from shared.base.printable import printable
from shared.cli.app import START, Screen, app

#: Characters of a line of `doctor`, in which other packages say why they do not start.
MOST_FINDING = 2000


@app.command(rich_help_panel=START)
def doctor() -> None:
    """Print versions, devices and the data cache, and the command for everything that is missing or broken."""
    from shared.backends import BACKENDS
    from shared.cli.findings import BAD, GOOD, NOTE, examine

    screen = Screen(width=shutil.get_terminal_size().columns, soft_wrap=True)
    marks = {GOOD: "[green]✓[/]", NOTE: "[yellow]–[/]", BAD: "[bold red]✗[/]"}
    findings = []
    for finding in examine():
        findings.append(finding)
        text = escape(printable(finding.text, MOST_FINDING))
        screen.print(f"{marks[finding.state]} [bold]{finding.subject:<20}[/] {text}")
    remedies = list(dict.fromkeys((f.remedy, f.state) for f in findings if f.remedy))
    if remedies:
        screen.print("\nTo add what is missing or mend what is broken:")
        for remedy, _ in remedies:
            screen.print(f"  {escape(remedy)}")
    broken = dict.fromkeys(finding.subject for finding in findings if finding.state == BAD)
    if broken:
        screen.print(f"\n[bold red]✗[/] broken: {', '.join(broken)}")
        raise typer.Exit(1)
    titles = [framework.title for framework in BACKENDS.values()]
    works = [finding.subject for finding in findings if finding.subject in titles and finding.state == GOOD]
    if not works:
        screen.print("\n[bold red]✗[/] no framework is installed: the catalog works, the networks do not")
        raise typer.Exit(1)
    screen.print(f"\n[green]✓[/] ready: {' and '.join(works)}")

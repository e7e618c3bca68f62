"""The subcommand `demo`: what this package is, in about a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from shared.cli.app import START, app, console

if TYPE_CHECKING:
    from shared.twins.comparison import Comparison
    from shared.twins.evaluation import Evaluation

NEXT = ("models", "compare resnet50", "compare resnet18 --raw", "verify resnet18", "microscope resnet18")


@app.command(rich_help_panel=START)
def demo() -> None:
    """Show in about a minute what this package is: the table, both frameworks, one network, real predictions."""
    import time

    from shared.backends import BACKENDS, check_installed
    from shared.cli import tour

    check_installed(*BACKENDS)
    screen, start = console(), time.monotonic()
    screen.rule("[bold]1. One table")
    _show_depths(screen)
    screen.rule("[bold]2. Two frameworks, five depths")
    comparisons = _build_depths(screen)
    _show_comparisons(screen, comparisons)
    screen.rule("[bold]3. Side by side: ResNet-18")
    screen.print(comparisons[0].to_rich(screen.width))
    screen.rule("[bold]4. The same answers on real digits")
    digits = tour.classify_digits()
    _show_digits(screen, digits)
    _show_score(screen, digits)
    screen.print(f"That took {time.monotonic() - start:.0f} s. Go on with:")
    for command in NEXT:
        screen.print(f"  resnet-twins {command}")
    if digits.differing or not all(comparison.equal for comparison in comparisons):
        raise typer.Exit(1)


def _show_depths(screen: Console) -> None:
    """Print the rows of the five depths."""
    from rich import box
    from rich.table import Table

    from shared.base.words import short_number
    from shared.networks import count_macs, count_parameters, get_spec
    from shared.networks.catalog import PAPER_DEPTHS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "block", "depths", "parameters", "MACs"):
        table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
    for spec in map(get_spec, PAPER_DEPTHS):
        depths = ",".join(map(str, spec.depths))
        table.add_row(spec.name, spec.block, depths, f"{count_parameters(spec):,}", short_number(count_macs(spec)))
    screen.print(table)
    screen.print("depths: blocks in each stage; MACs: multiply-adds for one image of 224 x 224 pixels\n")


def _build_depths(screen: Console) -> list[Comparison]:
    """Build each depth in every framework, with a bar, and compare them."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from shared.backends import BACKENDS, load_backend
    from shared.cli import tour
    from shared.networks.catalog import PAPER_DEPTHS

    comparisons = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("loading PyTorch and TensorFlow", total=len(PAPER_DEPTHS) + 1)
        for name in BACKENDS:
            load_backend(name)
        bar.update(task, advance=1, description=f"building {PAPER_DEPTHS[0]} twice")
        for following, comparison in zip([*PAPER_DEPTHS[1:], PAPER_DEPTHS[-1]], tour.compare_depths(), strict=True):
            comparisons.append(comparison)
            bar.update(task, advance=1, description=f"building {following} twice")
    return comparisons


def _show_comparisons(screen: Console, comparisons: list[Comparison]) -> None:
    """Print a line for each depth."""
    from rich import box
    from rich.table import Table

    from shared.backends import BACKENDS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "layers", *(framework.title for framework in BACKENDS.values()), "equal"):
        table.add_column(heading, justify="left" if heading in ("network", "equal") else "right")
    for comparison in comparisons:
        verdict = "[green]✓[/] all" if comparison.equal else f"[bold red]{escape(comparison.verdict)}[/]"
        layers = sum(row.kind != "pad" for row in comparison.rows)
        parameters = (f"{number:,}" for number in comparison.totals.parameters.values())
        table.add_row(comparison.spec.name, f"{layers}", *parameters, verdict)
    screen.print(table)
    screen.print("parameters of each; equal: output shape, parameters and buffers of every layer\n")


def _show_digits(screen: Console, digits: Evaluation) -> None:
    """Print some digits, and what each framework says of them."""
    from rich.columns import Columns

    from shared.backends import BACKENDS
    from shared.cli import tour

    says = {BACKENDS[name].title: logits.argmax(1) for name, logits in digits.logits.items()}
    cards = []
    for digit in range(max(1, min(10, screen.width // 20))):
        index = int((digits.labels == digit).argmax())
        words = [f"{title + ':':8} {classes[index]}" for title, classes in says.items()]
        cards.append("\n".join([*tour.draw_digit(digits.split.images[index, :, :, 0]), *words]))
    screen.print()
    screen.print(Columns(cards, padding=(1, 4)))
    screen.print()


def _show_score(screen: Console, digits: Evaluation) -> None:
    """Print how many digits each framework got right, and how many answers differ."""
    from shared.backends import BACKENDS

    total = len(digits.labels)
    for name in digits.logits:
        right = digits.correct(name)
        screen.print(f"{BACKENDS[name].title:8} {right} of {total} held-out digits right ({right / total:.1%})")
    mark = "[green]✓[/]" if digits.differing == 0 else "[bold red]✗[/]"
    screen.print(
        f"{mark} {digits.differing} of {total} predictions differ; largest logit difference "
        f"{digits.largest_difference:.1e}\n"
    )

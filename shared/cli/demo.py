"""The subcommand `demo`: what this package is, in about a minute."""

from __future__ import annotations

import typer
from rich.markup import escape

from shared.cli.app import START, app, console


@app.command(rich_help_panel=START)
def demo() -> None:
    """Show in about a minute what this package is: the table, both frameworks, one network, real predictions."""
    import time

    from rich import box
    from rich.columns import Columns
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from shared.backends import BACKENDS, check_installed, load_backend
    from shared.base.words import short_number
    from shared.cli import tour
    from shared.networks.catalog import PAPER_DEPTHS, get_spec
    from shared.networks.table import count_macs, count_parameters

    check_installed(*BACKENDS)
    screen, start = console(), time.monotonic()
    screen.rule("[bold]1. One table")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "block", "depths", "parameters", "MACs"):
        table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
    for name in PAPER_DEPTHS:
        spec = get_spec(name)
        depths = ",".join(map(str, spec.depths))
        table.add_row(name, spec.block, depths, f"{count_parameters(spec):,}", short_number(count_macs(spec)))
    screen.print(table)
    screen.print("depths: blocks in each stage; MACs: multiply-adds for one image of 224 x 224 pixels\n")

    screen.rule("[bold]2. Two frameworks, five depths")
    comparisons = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("loading PyTorch and TensorFlow", total=len(PAPER_DEPTHS) + 1)
        for name in BACKENDS:
            load_backend(name)
        bar.update(task, advance=1, description=f"building {PAPER_DEPTHS[0]} twice")
        for index, comparison in enumerate(tour.compare_depths(), start=1):
            comparisons.append(comparison)
            following = PAPER_DEPTHS[min(index, len(PAPER_DEPTHS) - 1)]
            bar.update(task, advance=1, description=f"building {following} twice")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "layers", *(framework.title for framework in BACKENDS.values()), "equal"):
        table.add_column(heading, justify="left" if heading in ("network", "equal") else "right")
    for comparison in comparisons:
        sums = comparison.totals
        verdict = "[green]✓[/] all" if comparison.equal else f"[bold red]{escape(comparison.verdict)}[/]"
        layers = sum(row.kind != "pad" for row in comparison.rows)
        numbers = (f"{layers}", *(f"{number:,}" for number in sums.parameters.values()))
        table.add_row(comparison.spec.name, *numbers, verdict)
    screen.print(table)
    screen.print("parameters of each; equal: output shape, parameters and buffers of every layer\n")

    screen.rule("[bold]3. Side by side: ResNet-18")
    screen.print(comparisons[0].to_rich(screen.width))

    screen.rule("[bold]4. The same answers on real digits")
    digits = tour.classify_digits()
    torch_says, keras_says = (digits.logits[name].argmax(1) for name in BACKENDS)
    screen.print()
    cards = []
    for digit in range(max(1, min(10, screen.width // 20))):
        index = int((digits.labels == digit).argmax())
        says = f"PyTorch: {torch_says[index]}\nKeras:   {keras_says[index]}"
        cards.append("\n".join([*tour.draw_digit(digits.split.images[index, :, :, 0]), says]))
    screen.print(Columns(cards, padding=(1, 4)))
    screen.print()
    total = len(digits.labels)
    for name in BACKENDS:
        right = digits.correct(name)
        screen.print(f"{BACKENDS[name].title:8} {right} of {total} held-out digits right ({right / total:.1%})")
    mark = "[green]✓[/]" if digits.differing == 0 else "[bold red]✗[/]"
    screen.print(
        f"{mark} {digits.differing} of {total} predictions differ; largest logit difference "
        f"{digits.largest_difference:.1e}\n"
    )
    screen.print(f"That took {time.monotonic() - start:.0f} s. Go on with:")
    for command in ("models", "compare resnet50", "compare resnet18 --raw", "verify resnet18", "microscope resnet18"):
        screen.print(f"  resnet-twins {command}")
    if digits.differing or not all(comparison.equal for comparison in comparisons):
        raise typer.Exit(1)

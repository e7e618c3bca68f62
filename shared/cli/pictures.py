"""The subcommands that look at pictures with trained weights: `evaluate` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from shared.base.errors import InputError
from shared.base.printable import one_line, printable, printable_list
from shared.cli.app import TRAIN, Framework, Screen, app, console, say

if TYPE_CHECKING:
    from shared.twins.evaluation import Evaluation
    from shared.twins.prediction import Prediction

WeightsHelp = "A file in any format that `convert` reads, or weights that ship: resnet20_cifar, resnet8_digits."
Model = Annotated[str | None, typer.Option(help="Which network it is.", show_default="recognised")]


def _names(framework: Framework) -> tuple[str, ...]:
    from shared.backends import names_of

    return names_of(framework.value)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(part) for part in text.split(",")) if text is not None else None
    except ValueError:
        raise InputError(
            f"{option} is {text!r}; wanted are numbers with commas between them, like 0.5,0.5,0.5"
        ) from None


@app.command(rich_help_panel=TRAIN)
def evaluate(
    weights: Annotated[str, typer.Argument(help=WeightsHelp)],
    pictures: Annotated[
        Path | None, typer.Argument(help="A folder or tar archive with CLASS/*.jpg or test/CLASS/*.jpg")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Or the test images of digits, fashion-mnist, cifar10 or folder:PATH.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Look for data sets in this folder first.")] = None,
    model: Model = None,
    framework: Annotated[Framework, typer.Option(help="Which twin.")] = Framework.both,
    limit: Annotated[int | None, typer.Option(help="Take this many pictures.", show_default="all")] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Mean of each channel, of pixels from 0 to 1.", show_default="the weights', or ImageNet's"),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Standard deviation of each channel.", show_default="likewise")
    ] = None,
) -> None:
    """Classify known pictures with both twins: accuracy, and how many predictions differ. Exit code 1 if any does."""
    from shared.cli.progress import ReadingBar
    from shared.twins.evaluation import evaluate as run

    screen = console()
    bar = ReadingBar(Screen(stderr=True))
    try:
        found = run(
            weights,
            pictures,
            data=data,
            data_dir=data_dir,
            model=model,
            frameworks=_names(framework),
            limit=limit,
            mean=_numbers(mean, "--mean"),
            std=_numbers(std, "--std"),
            reading=bar.move,
            progress=lambda done, total: bar.move("classifying", done, total),
        )
    finally:
        bar.close()
    name, total = escape(printable(found.spec.name)), len(found.labels)
    where = escape(printable(pictures if pictures is not None else data))
    screen.print(f"{name} from {escape(printable(weights))} on {total:,} pictures of {where}")
    _show_scores(screen, found)
    if found.differing:
        raise typer.Exit(1)


def _show_scores(screen: Console, found: Evaluation) -> None:
    """Print how often each twin is right, and whether they agree."""
    from shared.backends import BACKENDS

    total = len(found.labels)
    for name in found.logits:
        judged = found.score(name)
        screen.print(
            f"  {BACKENDS[name].title:8} top-1 {judged.accuracy:.2%} ({judged.correct:,} of {total:,} right), "
            f"loss {judged.loss:.4f}"
        )
    for note in found.notes:
        screen.print(f"  {escape(one_line(note))}")
    if len(found.logits) > 1:
        mark = "[green]✓[/]" if found.differing == 0 else "[bold red]✗[/]"
        screen.print(
            f"{mark} {found.differing} of {total:,} predictions differ between the twins (largest logit difference "
            f"{found.largest_difference:.1e}, smallest margin between two classes {found.smallest_margin:.1e})"
        )


@app.command(rich_help_panel=TRAIN)
def predict(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders of them, or - for a list on standard input.")],
    weights: Annotated[str, typer.Option("--weights", "-w", help=WeightsHelp)] = "resnet20_cifar",
    top: Annotated[int, typer.Option(help="Show this many classes, the likeliest first.")] = 5,
    model: Model = None,
    framework: Annotated[Framework, typer.Option(help="Which twin.")] = Framework.both,
) -> None:
    """Say what is on your pictures: probabilities of both twins, and whether they agree. Exit code 1 if not."""
    from shared.base.checks import check_whole
    from shared.twins.prediction import predict as run

    check_whole("--top", top, 1)
    found = run(images, weights=weights, model=model, frameworks=_names(framework))
    screen = console()
    _show_shares(screen, found, top)
    for name, reason in found.skipped:
        say(f"skipped {printable(name)}: {one_line(reason)}", error=True)
    for note in found.notes:
        screen.print(f"  {escape(note)}")
    total = len(found.names)
    if len(found.logits) > 1:
        mark = "[green]✓[/]" if found.differing == 0 else "[bold red]✗[/]"
        screen.print(
            f"{mark} the twins agree on {total - found.differing:,} of {total:,} pictures (largest logit difference "
            f"{found.largest_difference:.1e})"
        )
    if found.skipped:
        raise InputError(f"{len(found.skipped)} of {total + len(found.skipped)} pictures did not decode, see above")
    if found.differing:
        raise typer.Exit(1)


def _show_shares(screen: Console, found: Prediction, top: int) -> None:
    """Print a table for each picture: the likeliest classes, and where the twins differ."""
    from rich.table import Table

    from shared.backends import BACKENDS

    shares = {name: found.probabilities(name) for name in found.logits}
    first = next(iter(shares.values()))
    for number, picture in enumerate(found.names):
        screen.print(f"[bold]{escape(printable(picture))}[/]")
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
        for index in first[number].argsort()[::-1][:top]:
            cells = [f"{BACKENDS[name].title} {shares[name][number, index]:7.2%}" for name in shares]
            table.add_row(f"  {escape(printable(found.classes[index]))}", *cells)
        screen.print(table)
        if len({int(each[number].argmax()) for each in shares.values()}) > 1:
            said = [f"{BACKENDS[name].title}: {found.classes[shares[name][number].argmax()]}" for name in shares]
            screen.print(f"  [bold red]✗[/] the twins differ: {escape(printable_list(said))}")

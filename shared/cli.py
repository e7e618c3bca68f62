"""The `resnet-twins` command. Each subcommand reads its options, calls one function of the package and prints."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from shared import (
    __version__,
    cli_bench,  # noqa: F401
    cli_classroom,  # noqa: F401
    cli_pictures,  # noqa: F401 (registers its subcommands)
    cli_training,  # noqa: F401
)
from shared.errors import InputError, StoppedError, TrainingError
from shared.printable import one_line, printable
from shared.terminal import PLAIN, Screen, app, console, emit, overrides, say

INTERRUPTED = 130
MODELS_WIDTH = 110
MOST_PROBLEMS = 8
#: Characters of a line of `doctor`, in which other packages say why they do not start.
MOST_FINDING = 2000
TOO_MUCH = "out of memory; try smaller images, a smaller batch or fewer pictures"
#: How PyTorch (on a CPU, on a GPU) and TensorFlow say it.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "OOM when allocating")
HELP_HINT = "no command given (see resnet-twins --help)"

Name = Annotated[str, typer.Argument(help="A network of the catalog, as `resnet-twins models` lists them.")]
InputSize = Annotated[int | None, typer.Option(help="Height and width of the images, in pixels.", show_default=False)]
NumClasses = Annotated[int | None, typer.Option(help="Outputs of the last layer.", show_default=False)]
InChannels = Annotated[int | None, typer.Option(help="Channels of the images: 3 or 1.", show_default=False)]
Where = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, or auto (a GPU if there is one).")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)]


class Level(StrEnum):
    """What one line of `compare` stands for."""

    layer = "layer"
    block = "block"
    stage = "stage"


class Format(StrEnum):
    """How `compare` shows its table."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    json = "json"
    csv = "csv"


class Dtype(StrEnum):
    """Floating-point numbers to compute in."""

    float32 = "float32"
    float64 = "float64"


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"resnet-twins {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Residual networks twice: PyTorch and Keras models built from one table, with the same numbers."""


@app.command()
def models() -> None:
    """List the networks of the catalog: depths, parameters, multiply-adds, source."""
    from rich import box
    from rich.table import Table

    from shared.catalog import SPECS
    from shared.compare import short_number
    from shared.table import count_macs, count_parameters

    screen = console()
    wide = screen.width >= MODELS_WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("name", "block", "depths") if wide else ("name", "depths"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "MACs", "input"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("source", overflow="fold")
    for spec in SPECS.values():
        cells = [
            spec.name,
            spec.block,
            ",".join(map(str, spec.depths)),
            f"{count_parameters(spec):,}",
            short_number(count_macs(spec)),
            f"{spec.input_size}",
            spec.source,
        ]
        table.add_row(*(cells if wide else [cells[0], *cells[2:-1]]))
    screen.print(table)
    screen.print(f"{len(SPECS)} networks. depths: blocks in each stage; MACs: multiply-adds for one image;")
    screen.print("input: height and width of the images in pixels.")
    if not wide:
        screen.print(f"Block and source need a terminal of {MODELS_WIDTH} characters.")


@app.command()
def compare(
    name: Name,
    input_size: InputSize = None,
    num_classes: NumClasses = None,
    in_channels: InChannels = None,
    by: Annotated[Level, typer.Option(help="One line for each layer, block or stage.")] = Level.layer,
    format: Annotated[Format, typer.Option(help="How to show the table.")] = Format.terminal,
    output: Output = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show print(model) and model.summary() side by side.")] = False,
) -> None:
    """Put a network's layers side by side: the table, PyTorch and Keras. Exit code 1 if anything differs."""
    from shared import compare as comparing
    from shared.catalog import get_spec
    from shared.files import check_writable
    from shared.raw import raw_columns

    changed = overrides(input_size=input_size, num_classes=num_classes, in_channels=in_channels)
    if output is not None:
        check_writable(output)
    if raw:
        emit(raw_columns(get_spec(name, **changed)), output)
        return
    found = comparing.compare(name, by=by.value, **changed)
    if format is Format.terminal and output is None:
        screen = console()
        screen.print(found.to_rich(screen.width))
        screen.print(f"[bold]{escape(found.verdict)}[/]")
        screen.print("\nWhy other totals go round for this network:")
        for reason in found.reasons:
            screen.print(f"  • {escape(reason)}")
    else:
        render = {
            Format.terminal: found.to_text,
            Format.markdown: found.to_markdown,
            Format.html: found.to_html,
            Format.json: found.to_json,
            Format.csv: found.to_csv,
        }
        emit(render[format](), output)
    if not found.equal:
        raise typer.Exit(1)


def _tolerance(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}"


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; ResNet-18 by default.")] = None,
    all_networks: Annotated[bool, typer.Option("--all", help="Every network of the catalog.")] = False,
    dtype: Annotated[Dtype | None, typer.Option(help="Only this one; both by default.", show_default=False)] = None,
    device: Where = "cpu",
) -> None:
    """Measure how equal the twins are: shapes, logits, gradients, training steps. Exit code 1 on a miss."""
    from rich import box
    from rich.table import Table

    from shared.backends import BACKENDS, check_installed, load_backend
    from shared.catalog import SPECS, get_spec
    from shared.verify import Check
    from shared.verify import verify as verify_one

    if all_networks and names:
        raise InputError("--all and names exclude each other; give one of them")
    specs = [get_spec(name) for name in (SPECS if all_networks else names or ["resnet18"])]
    check_installed(*BACKENDS)
    for framework in BACKENDS:
        load_backend(framework, device=device)  # an absent device is said before the first line of the table
    dtypes = [dtype.value] if dtype else [entry.value for entry in reversed(Dtype)]
    screen, checks = console(), []
    screen.print("Same weights and images in PyTorch and Keras; relative differences.\n")
    for spec in specs:
        for each in dtypes:
            table = Table(box=None, pad_edge=False, show_header=False)
            for justify in ("left", "right", "left", "left"):
                table.add_column(justify=justify, no_wrap=True)
            screen.print(f"[bold]{spec.name}[/] {each}")
            done: list[Check] = []
            for check in verify_one(spec, each, device=device):
                done.append(check)
                measured = f"{check.measured:.0f}" if check.tolerance == 0 else f"{check.measured:.1e}"
                mark = "[green]✓[/]" if check.passed else "[bold red]✗[/]"
                table.add_row(f"  {check.what}", measured, f"allowed {_tolerance(check.tolerance)}", mark)
            screen.print(table)
            checks += done
    if len(specs) > 1:
        summary = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title="The worst of all networks")
        for heading in ("check", "dtype", "worst", "in network", "allowed there", ""):
            summary.add_column(heading, justify="right" if heading == "worst" else "left", no_wrap=True)
        for what, each in dict.fromkeys((check.what, check.dtype) for check in checks):
            alike = [check for check in checks if (check.what, check.dtype) == (what, each)]
            worst = max(alike, key=lambda check: (not check.passed, check.measured / (check.tolerance or 1)))
            mark = "[green]✓[/]" if worst.passed else "[bold red]✗[/]"
            summary.add_row(what, each, f"{worst.measured:.1e}", worst.network, _tolerance(worst.tolerance), mark)
        screen.print(summary)
    missed = [check for check in checks if not check.passed]
    if missed:
        first = missed[0]
        screen.print(
            f"[bold red]✗[/] {len(missed)} of {len(checks)} checks missed; the first: {first.network}, {first.dtype}, "
            f"{first.what}: {first.measured:.1e}, allowed {first.tolerance:.0e}"
        )
        raise typer.Exit(1)
    screen.print(f"[green]✓[/] all {len(checks)} checks of {len(specs)} network{'s' * (len(specs) > 1)} passed")


@app.command()
def microscope(
    name: Name,
    input_size: InputSize = None,
    num_classes: NumClasses = None,
    in_channels: InChannels = None,
    dtype: Annotated[Dtype, typer.Option(help="Floating-point numbers to compute in.")] = Dtype.float64,
    seed: Annotated[int, typer.Option(help="Seed of the weights and images.")] = 0,
    device: Where = "cpu",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the errors into this PNG or SVG file.")
    ] = None,
) -> None:
    """Look at every layer of both twins: relative error of activations and gradients, the first that parts, why."""
    from shared.files import check_writable
    from shared.microscope import microscope as look
    from shared.plots import check_matplotlib
    from shared.weights import check_seed

    check_seed(seed)
    if output is not None and output.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--output is {str(output)!r}; the ending says the format: .png, .svg or .pdf")
    if output is not None:
        check_writable(output)
        check_matplotlib()
    changed = overrides(num_classes=num_classes, in_channels=in_channels)
    seen = look(name, dtype=dtype.value, seed=seed, input_size=input_size, device=device, **changed)
    screen = console()
    screen.print(seen.to_rich())
    screen.print(f"[bold]{escape(seen.verdict)}[/]")
    if output is not None:
        seen.plot(output)
        say(f"wrote {printable(output)}", error=True)
    if not seen.equal:
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Weights: .pth .pt .th .tar .bin .safetensors .keras .weights.h5 .h5")],
    target: Annotated[Path, typer.Argument(help="To write: .safetensors, .pth, .keras or .weights.h5")],
    model: Annotated[
        str | None, typer.Option(help="Which network it is; recognised from the shapes by default.")
    ] = None,
) -> None:
    """Convert weights between PyTorch, Keras and safetensors files."""
    from shared.foreign import convert as convert_file
    from shared.table import count_parameters

    spec, others = convert_file(source, target, model)
    name = printable(spec.name)
    say(f"wrote {printable(target)}: {name}, {count_parameters(spec):,} parameters, {spec.num_classes} classes")
    if others:
        say(f"the same shapes also fit {', '.join(others)}; if it is one of those, name it with --model", error=True)


@app.command()
def demo() -> None:
    """Show in about a minute what this package is: the table, both frameworks, one network, real predictions."""
    import time

    from rich import box
    from rich.columns import Columns
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from shared import demo as tour
    from shared.backends import BACKENDS, check_installed, load_backend
    from shared.catalog import get_spec
    from shared.compare import short_number
    from shared.table import count_macs, count_parameters

    check_installed(*BACKENDS)
    screen, start = console(), time.monotonic()
    screen.rule("[bold]1. One table")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "block", "depths", "parameters", "MACs"):
        table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
    for name in tour.DEPTHS:
        spec = get_spec(name)
        depths = ",".join(map(str, spec.depths))
        table.add_row(name, spec.block, depths, f"{count_parameters(spec):,}", short_number(count_macs(spec)))
    screen.print(table)
    screen.print("depths: blocks in each stage; MACs: multiply-adds for one image of 224 x 224 pixels\n")

    screen.rule("[bold]2. Two frameworks, five depths")
    comparisons = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("loading PyTorch and TensorFlow", total=len(tour.DEPTHS) + 1)
        for name in BACKENDS:
            load_backend(name)
        bar.update(task, advance=1, description=f"building {tour.DEPTHS[0]} twice")
        for index, comparison in enumerate(tour.compare_depths(), start=1):
            comparisons.append(comparison)
            following = tour.DEPTHS[min(index, len(tour.DEPTHS) - 1)]
            bar.update(task, advance=1, description=f"building {following} twice")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("network", "layers", "PyTorch", "Keras", "equal"):
        table.add_column(heading, justify="left" if heading in ("network", "equal") else "right")
    for comparison in comparisons:
        sums = comparison.totals
        verdict = "[green]✓[/] all" if comparison.equal else f"[bold red]{escape(comparison.verdict)}[/]"
        layers = sum(row.kind != "pad" for row in comparison.rows)
        numbers = (f"{layers}", f"{sums.torch_parameters:,}", f"{sums.keras_parameters:,}")
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
        screen.print(f"{BACKENDS[name][2]:8} {right} of {total} held-out digits right ({right / total:.1%})")
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


@app.command()
def doctor() -> None:
    """Print versions, devices and the data cache, and the command for everything that is missing or broken."""
    from shared.doctor import BAD, GOOD, NOTE
    from shared.doctor import examine as look

    screen = Screen(width=shutil.get_terminal_size().columns, soft_wrap=True)
    marks = {GOOD: "[green]✓[/]", NOTE: "[yellow]–[/]", BAD: "[bold red]✗[/]"}
    findings = []
    for finding in look():
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
    works = [f.subject for f in findings if f.subject in ("PyTorch", "Keras") and f.state == GOOD]
    if not works:
        screen.print("\n[bold red]✗[/] no framework is installed: the catalog works, the networks do not")
        raise typer.Exit(1)
    screen.print(f"\n[green]✓[/] ready: {' and '.join(works)}")


def fail(text: str, code: int) -> NoReturn:
    """Print one line to standard error and stop. Of a long list of problems only the first are printed."""
    parts = one_line(text).split("; ")
    if len(parts) > MOST_PROBLEMS:
        parts = [*parts[:MOST_PROBLEMS], f"and {len(parts) - MOST_PROBLEMS} more"]
    print(f"Error: {'; '.join(parts)}", file=sys.stderr)
    raise SystemExit(code)


def main() -> None:
    """Run the command. Bad input is answered with one line and exit code 2, never with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no "✓" shows "+" instead of failing
            stream.reconfigure(errors=PLAIN)
    try:
        code = app(standalone_mode=False)
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(INTERRUPTED) from stop
    except InputError as error:
        fail(str(error), 2)
    except TrainingError as error:
        fail(str(error), 1)
    except BrokenPipeError:
        Screen().on_broken_pipe()
    except MemoryError:
        fail(TOO_MUCH, 1)
    except OSError as error:
        fail(
            f"{error.filename}: {error.strerror or error}" if error.filename else str(error) or type(error).__name__, 2
        )
    except Exception as error:
        # Typer's own complaints about the command line: a line instead of its box.
        text = error.format_message() if hasattr(error, "format_message") else None
        if text is None and any(words in str(error) for words in OUT_OF_MEMORY):
            fail(TOO_MUCH, 1)
        if text is None:
            raise
        fail(f"{text.replace('Value error, ', '').rstrip('.')} (see resnet-twins --help)" if text else HELP_HINT, 2)
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        fail("interrupted", INTERRUPTED)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()

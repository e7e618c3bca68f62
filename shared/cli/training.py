"""The subcommands that train: `train`, `recipes`, `experiment`."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from shared.base.errors import InputError, StoppedError
from shared.base.printable import printable, printable_list
from shared.cli.app import Framework, app, console, overrides, say

if TYPE_CHECKING:
    from shared.training.recipe import Recipe


class Precision(StrEnum):
    """Floating-point numbers to train in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float64 = "float64"


DataDir = Annotated[
    Path | None, typer.Option(help="Look for data sets in this folder first.", show_default="$RESNET_TWINS_DATA")
]


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show every field of this recipe as TOML.")] = None,
) -> None:
    """List the training recipes, or show one in full."""
    from rich.table import Table

    from shared.training.recipes import RECIPES, get_recipe

    if name is not None:
        say(get_recipe(name).to_toml())
        return
    screen = console()
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 1, 0))
    table.add_column(no_wrap=True, style="bold")
    for recipe in RECIPES.values():
        length = f"{recipe.epochs} epochs" if recipe.epochs else f"{recipe.steps:,} steps"
        how = f"{recipe.optimizer} {recipe.learning_rate:g}, {recipe.schedule}, {recipe.precision}"
        what = f"{recipe.model} on {recipe.data}, {length} in batches of {recipe.batch_size}, {how}"
        table.add_row(recipe.name, f"{escape(recipe.about)}\n[dim]{escape(what)}[/]")
    screen.print(table)
    screen.print("resnet-twins recipes NAME shows every field; resnet-twins train --recipe NAME --set field=value")
    screen.print("changes one. A recipe may also be a .toml file of your own.", markup=False)


@app.command()
def train(
    framework: Annotated[
        Framework | None, typer.Option(help="Which twin; both: one after the other.", show_default="torch")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A recipe, or a .toml file.", show_default="quick")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A network.", show_default="the recipe's")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, fashion-mnist, cifar10 or folder:PATH.", show_default="the recipe's"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="field=value changes a field of the recipe; may come again.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.", show_default=False)] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Floating-point numbers.", show_default="the recipe's")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder.", show_default="runs/RECIPE-FRAMEWORK-N")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.", show_default=False)] = None,
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", show_default="auto")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="torch.compile, or XLA in Keras.")] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option(help="PyTorch's memory layout.", show_default="where it is faster"),
    ] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Forbid what may differ from run to run on a GPU.")
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(help="Also save the state every N steps.", show_default="after epochs")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the framework.", show_default="it decides")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="As one of several processes: see docs/distributed.md.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Start this many on this machine, and --distributed.", show_default=False)
    ] = None,
) -> None:
    """Train a network, or both twins alike. Ctrl-C saves and stops; --resume goes on."""
    from shared.cli.progress import ReadingBar, Terminal
    from shared.distributed.launch import outcome_told
    from shared.training.recipes import get_recipe
    from shared.training.settings import Settings
    from shared.training.start import resume as go_on
    from shared.training.start import train as start

    screen = console()
    bar = ReadingBar(screen)
    together = distributed or processes is not None
    machine = overrides(
        device=device,
        compile=compile,
        channels_last=channels_last,
        deterministic=deterministic,
        save_every=save_every,
        threads=threads,
        tensorboard=tensorboard,
    )
    common: dict[str, Any] = {"reporter": lambda: Terminal(screen, bar.close), "progress": bar.move}
    with outcome_told(), contextlib.closing(bar):
        if resume is not None:
            given = {"--set": set_, "--model": model, "--data": data, "--output": output, "--epochs": epochs}
            given |= {"--seed": seed, "--precision": precision, "--framework": framework, "--recipe": recipe}
            given |= {"--data-dir": data_dir}
            wrong = [option for option, value in given.items() if value is not None]
            if wrong:
                raise InputError(
                    f"{', '.join(wrong)} cannot change a run that is resumed; start a new one without --resume"
                )
            if together and _launched(resume, None, processes, device):
                return
            result = go_on(resume, changes=machine, distributed=together, **common)
        else:
            changed = {"model": model, "data": data, "epochs": epochs, "seed": seed}
            chosen = get_recipe(
                recipe or "quick", set_ or (), **changed, precision=precision.value if precision else None
            )
            name = (framework or Framework.torch).value
            if together and _launched(output, chosen, processes, device, name):
                return
            common |= {"output": output, "settings": Settings(**machine), "data_dir": data_dir}
            result = start(chosen, framework=name, distributed=together, **common)
        bar.close()
        if not next(iter(result.runs.values())).chief:
            return
        report(result)
        if not result.complete:
            hint = next(iter(result.runs.values())).resume_hint
            raise StoppedError(f"stopped and saved; go on with: {hint}")


def _launched(
    folder: Path | None, recipe: Recipe | None, processes: int | None, device: str | None, framework: str = ""
) -> bool:
    """Start the processes that train, and wait for them; False if this process is to train itself.

    Without a recipe the run in `folder` goes on.
    """
    from shared.distributed.launch import launch, processes_to_start
    from shared.distributed.start import check_framework, framework_of, holds_this_run
    from shared.distributed.team import check_parts
    from shared.training.folder import new_folder
    from shared.training.record import read_about

    framework = framework or framework_of(folder or Path())
    check_framework(framework)
    number = processes_to_start(framework, processes, device or "auto")
    if not number:
        return False
    arguments = sys.argv[1:]
    if folder is None:
        folder = new_folder(None, recipe.name if recipe else "", framework)
        arguments += ["--output", str(folder)]
    # What can be known now is said now, once, and not by each of the processes.
    if recipe is None:
        recipe = read_about(folder)[0]
    elif not holds_this_run(folder, recipe, framework):
        new_folder(folder, recipe.name, framework)
    check_parts(recipe.batch_size, number)
    launch(framework, number, arguments, folder)
    return True


def report(result: Any) -> None:
    """Print what came out of a training run."""
    from rich import box
    from rich.table import Table

    from shared.backends import BACKENDS
    from shared.cli.progress import duration
    from shared.training.metrics import epoch_means

    screen = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("", "epochs", "train loss", "train accuracy", "test loss", "test accuracy", "time"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, run in result.runs.items():
        tested = [row for row in run.rows if "test_loss" in row]
        if not tested:
            continue
        loss, accuracy = (epoch_means(run.rows, f"train_{what}")[1][len(tested) - 1] for what in ("loss", "accuracy"))
        row = tested[-1]
        cells = (f"{row['epoch']:.0f}", f"{loss:.4f}", f"{accuracy:.2%}", f"{row['test_loss']:.4f}")
        table.add_row(BACKENDS[name][2], *cells, f"{row['test_accuracy']:.2%}", duration(row["seconds"]))
    if table.row_count:
        screen.print(table)
    differences = result.loss_differences() if len(result.runs) > 1 else []
    if differences:
        shown = " and ".join(f"{value:.1e}" for value in differences)
        screen.print(f"same weights, same batches: the losses of the first steps differ by {shown}")
    files = sorted(path.name for path in result.folder.iterdir() if not path.name.startswith("tmp-"))
    screen.print(f"in {printable(result.folder)}: {printable_list(files)}", markup=False)


class Experiment(StrEnum):
    """What `experiment` can show."""

    degradation = "degradation"


@app.command()
def experiment(
    name: Annotated[Experiment, typer.Argument(help="degradation: plain networks against residual ones, by depth.")],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="How all are trained.")] = "degradation-digits",
    depths: Annotated[str, typer.Option(help="Depths of the paper's CIFAR networks.")] = "20,56",
    data: Annotated[str | None, typer.Option(help="A data set.", show_default="the recipe's")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value changes a field of the recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.", show_default=False)] = None,
    framework: Annotated[Framework, typer.Option(help="torch or tf.")] = Framework.torch,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; what is there goes on.")] = Path(
        "runs/degradation"
    ),
    data_dir: DataDir = None,
) -> None:
    """Reproduce a claim of the paper: train networks of several depths alike, and draw their curves."""
    from rich import box
    from rich.table import Table

    from shared.cli.progress import ReadingBar, Terminal
    from shared.training.degradation import CURVES_CSV, FIGURE, GRADIENTS_CSV, degradation
    from shared.training.recipes import get_recipe

    if framework is Framework.both:
        raise InputError("--framework is both; an experiment trains many networks in one of torch and tf")
    try:
        numbers = [int(part) for part in depths.split(",")]
    except ValueError:
        raise InputError(f"--depths is {depths!r}; wanted are whole numbers with commas, like 20,56") from None
    screen = console()
    bar = ReadingBar(screen)
    chosen = get_recipe(recipe, set_ or (), data=data, epochs=epochs)
    try:
        curves = list(
            degradation(
                chosen,
                numbers,
                output,
                framework=framework.value,
                data_dir=data_dir,
                reporter=lambda: Terminal(screen, bar.close),
                progress=bar.move,
            )
        )
    finally:
        bar.close()
    if len(curves) < 2 * len(set(numbers)):
        raise StoppedError("stopped and saved; the same command goes on")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title="error in the last epoch")
    for heading in ("network", "training", "test"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for curve in curves:
        table.add_row(curve.name, f"{curve.train_error[-1]:.2%}", f"{curve.test_error[-1]:.2%}")
    screen.print(table)
    for kind, text in (("plain", "plain"), ("resnet", "residual")):
        ordered = sorted((curve for curve in curves if curve.kind == kind), key=lambda curve: curve.depth)
        points = 100 * (ordered[-1].train_error[-1] - ordered[0].train_error[-1])
        screen.print(f"training error of the deepest {text} network: {points:+.2f} points against the shallowest")
    files = f"{CURVES_CSV}, {GRADIENTS_CSV}, {FIGURE}"
    screen.print(f"in {printable(output)}: {files}, and a run folder for each network", markup=False)

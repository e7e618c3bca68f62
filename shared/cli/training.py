"""The subcommands that train: `train`, `recipes`, `experiment`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from shared.base.errors import InputError, StoppedError
from shared.base.printable import printable, printable_list
from shared.cli.app import LEARN, TRAIN, Framework, app, console, networks, overrides, say

if TYPE_CHECKING:
    from shared.training.degradation import Curve
    from shared.training.prepare import Result
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


@app.command(rich_help_panel=TRAIN)
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


Framework_ = Annotated[
    Framework | None, typer.Option("--framework", help="Which twin; both: one after the other.", show_default="torch")
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", "-r", help="A recipe, or a .toml file.", show_default="quick")
]
Model = Annotated[str | None, typer.Option(help="A network.", show_default="the recipe's", autocompletion=networks)]
Data = Annotated[
    str | None, typer.Option(help="digits, fashion-mnist, cifar10 or folder:PATH.", show_default="the recipe's")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="field=value changes a field of the recipe; may come again.")
]
Epochs = Annotated[int | None, typer.Option(help="Short for --set epochs=N.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Short for --set seed=N.", show_default=False)]
Numbers = Annotated[
    Precision | None, typer.Option("--precision", help="Floating-point numbers.", show_default="the recipe's")
]
NewFolder = Annotated[
    Path | None, typer.Option("--output", "-o", help="A new folder.", show_default="runs/RECIPE-FRAMEWORK-N")
]
Resume = Annotated[Path | None, typer.Option(help="Go on with the run in this folder.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", show_default="auto")]
Compile = Annotated[bool | None, typer.Option("--compile", help="torch.compile, or XLA in Keras.")]
ChannelsLast = Annotated[bool | None, typer.Option(help="PyTorch's memory layout.", show_default="where it is faster")]
Deterministic = Annotated[
    bool | None, typer.Option("--deterministic", help="Forbid what may differ from run to run on a GPU.")
]
SaveEvery = Annotated[int | None, typer.Option(help="Also save the state every N steps.", show_default="after epochs")]
Threads = Annotated[int | None, typer.Option(help="Threads of the framework.", show_default="it decides")]
TensorBoard = Annotated[bool | None, typer.Option("--tensorboard", help="Also write TensorBoard events.")]
Distributed = Annotated[
    bool, typer.Option("--distributed", help="As one of several processes: see docs/distributed.md.")
]
Processes = Annotated[
    int | None, typer.Option(help="Start this many on this machine, and --distributed.", show_default=False)
]


@app.command(rich_help_panel=TRAIN)
def train(
    framework: Framework_ = None,
    recipe: RecipeName = None,
    model: Model = None,
    data: Data = None,
    set_: Changes = None,
    epochs: Epochs = None,
    seed: Seed = None,
    precision: Numbers = None,
    output: NewFolder = None,
    resume: Resume = None,
    data_dir: DataDir = None,
    device: Device = None,
    compile: Compile = None,
    channels_last: ChannelsLast = None,
    deterministic: Deterministic = None,
    save_every: SaveEvery = None,
    threads: Threads = None,
    tensorboard: TensorBoard = None,
    distributed: Distributed = False,
    processes: Processes = None,
) -> None:
    """Train a network, or both twins alike. Ctrl-C saves and stops; --resume goes on."""
    from shared.distributed.launch import outcome_told

    machine = overrides(
        device=device,
        compile=compile,
        channels_last=channels_last,
        deterministic=deterministic,
        save_every=save_every,
        threads=threads,
        tensorboard=tensorboard,
    )
    changed = overrides(model=model, data=data, epochs=epochs, seed=seed, precision=precision and precision.value)
    how = Way(distributed=distributed or processes is not None, processes=processes, machine=machine)
    with outcome_told():
        if resume is None:
            _start(how, framework or Framework.torch, recipe or "quick", set_ or [], changed, output, data_dir)
        else:
            fixed = overrides(set=set_, output=output, framework=framework, recipe=recipe, data_dir=data_dir)
            _go_on(how, resume, [*fixed, *changed])


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a run is computed: in one process or several, and with which settings of the machine."""

    distributed: bool
    processes: int | None
    machine: dict[str, Any]

    @property
    def starter(self) -> ModuleType:
        """The module whose `train` and `resume` do it: in one process, or as one of several."""
        from shared.distributed import start as as_one_of_several
        from shared.training import start

        return as_one_of_several if self.distributed else start

    def launched(self, folder: Path | None, recipe: Recipe | None, framework: str = "") -> bool:
        """Start the processes that train, and wait for them; False if this process is to train itself."""
        device = self.machine.get("device", "auto")
        return self.distributed and _launched(folder, recipe, self.processes, device, framework)


def _start(
    how: Way,
    framework: Framework,
    recipe: str,
    set_: list[str],
    changed: dict[str, Any],
    output: Path | None,
    data_dir: Path | None,
) -> None:
    """Train by a recipe in a new folder."""
    from shared.training.recipes import get_recipe
    from shared.training.settings import Settings

    chosen = get_recipe(recipe, set_, **changed)
    if how.launched(output, chosen, framework.value):
        return
    options = {"framework": framework.value, "output": output, "data_dir": data_dir}
    with _shown() as told:
        result = how.starter.train(chosen, settings=Settings(**how.machine), **options, **told)
    _finish(result)


def _go_on(how: Way, folder: Path, fixed: list[str]) -> None:
    """Resume the run in `folder`. Options that would make it another run are refused."""
    if fixed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise InputError(f"{names} cannot change a run that is resumed; start a new one without --resume")
    if how.launched(folder, None):
        return
    with _shown() as told:
        result = how.starter.resume(folder, changes=how.machine, **told)
    _finish(result)


@contextlib.contextmanager
def _shown() -> Iterator[dict[str, Any]]:
    """Give what a run tells to: a reporter, and a bar while data is read."""
    from shared.cli.progress import ReadingBar, Terminal

    screen = console()
    with contextlib.closing(ReadingBar(screen)) as bar:
        yield {"reporter": lambda: Terminal(screen, bar.close), "progress": bar.move}


def _finish(result: Result) -> None:
    """Print what came out, in the one process that speaks; raise `StoppedError`, with the way on, if it was stopped."""
    run = next(iter(result.runs.values()))
    if run.chief:
        report(result)
        if not result.complete:
            raise StoppedError(f"stopped and saved; go on with: {run.resume_hint}")


def _launched(
    folder: Path | None, recipe: Recipe | None, processes: int | None, device: str, framework: str = ""
) -> bool:
    """Start the processes that train, and wait for them; False if this process is to train itself.

    Without a recipe the run in `folder` goes on.
    """
    from shared.distributed.launch import launch, processes_to_start
    from shared.distributed.start import check_one_twin, find_this_run, framework_of_run
    from shared.distributed.team import check_parts
    from shared.training.folder import new_folder
    from shared.training.record import read_about

    framework = framework or framework_of_run(folder or Path())
    check_one_twin(framework)
    number = processes_to_start(framework, processes, device)
    if not number:
        return False
    arguments = sys.argv[1:]
    if folder is None:
        folder = new_folder(None, recipe.name if recipe else "", framework)
        arguments += ["--output", str(folder)]
    # What can be known now is said now, once, and not by each of the processes.
    if recipe is None:
        recipe = read_about(folder)[0]
    elif find_this_run(folder, recipe, framework) is None:
        new_folder(folder, recipe.name, framework)
    check_parts(recipe.batch_size, number)
    launch(framework, number, arguments, folder)
    return True


def report(result: Result) -> None:
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
        table.add_row(BACKENDS[name].title, *cells, f"{row['test_accuracy']:.2%}", duration(row["seconds"]))
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


@app.command(rich_help_panel=LEARN)
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
    from shared.training.degradation import degradation
    from shared.training.recipes import get_recipe

    if framework is Framework.both:
        raise InputError("--framework is both; an experiment trains many networks in one of torch and tf")
    numbers = _depths(depths)
    chosen = get_recipe(recipe, set_ or (), data=data, epochs=epochs)
    with _shown() as told:
        curves = list(degradation(chosen, numbers, output, framework=framework.value, data_dir=data_dir, **told))
    if len(curves) < 2 * len(set(numbers)):
        raise StoppedError("stopped and saved; the same command goes on")
    _report_curves(curves, output)


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--depths is {text!r}; wanted are whole numbers with commas, like 20,56") from None


def _report_curves(curves: list[Curve], output: Path) -> None:
    """Print the errors in the last epoch, what depth changed, and where the curves lie."""
    from rich import box
    from rich.table import Table

    from shared.training.degradation import CURVES_CSV, FIGURE, GRADIENTS_CSV

    screen = console()
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

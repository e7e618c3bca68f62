"""Starts and resumes training runs: one twin, or both, from the same weights on the same batches."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.backends import BACKENDS, check_installed, load_backend
from shared.batches import Batches
from shared.catalog import get_spec
from shared.data import Dataset, Progress, load_data
from shared.errors import InputError
from shared.recipe import Recipe
from shared.run import (
    ABOUT,
    CURVES,
    Arrays,
    Reporter,
    Run,
    Settings,
    bytes_needed,
    check_tensorboard,
    command_line,
    new_folder,
    prepare_folder,
    read_about,
    restore,
    write_about,
)
from shared.versions import is_installed

BOTH = "both"


@dataclass
class Result:
    """What came out: the folder, and the run of each framework that was trained."""

    folder: Path
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every run has done all its steps."""
        return all(run.complete for run in self.runs.values())

    def loss_differences(self, steps: int = 2) -> list[float]:
        """Return how much the twins' losses differ in each of the first steps."""
        first, second = ([row["train_loss"] for row in run.rows[:steps]] for run in self.runs.values())
        return [abs(a - b) for a, b in zip(first, second, strict=False)]


def names_of(framework: str) -> tuple[str, ...]:
    """Return the backends that `framework` stands for: itself, or all for "both"."""
    return tuple(BACKENDS) if framework == BOTH else (framework,)


def train(
    recipe: Recipe,
    *,
    framework: str = "torch",
    output: str | Path | None = None,
    settings: Settings | None = None,
    data_dir: str | Path | None = None,
    data: Dataset | None = None,
    weights: Arrays | None = None,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
) -> Result:
    """Train by `recipe` in a new folder and return what came out.

    framework: "torch", "tf" or "both". output: a folder that is new or empty, by default the next free one in
    `runs`. data: instead of the recipe's. weights: canonical arrays to start from, instead of fresh ones.
    Raises `InputError` before training for anything that can be known then, and `TrainingError` later.
    """
    settings = settings or Settings()
    names = names_of(framework)
    spec = get_spec(recipe.model)
    check_installed(*names)
    if settings.tensorboard:
        check_tensorboard()
    folder = new_folder(output, recipe.name, framework)
    prepare_folder(folder, bytes_needed(spec, len(names)))
    try:
        batches = Batches(data if data is not None else load(recipe, data_dir, progress), recipe)
        runs = {name: _new_run(folder, framework, name, batches, settings, data_dir, reporter()) for name in names}
        _check_size(recipe, batches)
    except InputError:
        with contextlib.suppress(OSError):  # it is not ours if something is in it
            folder.rmdir()
        raise
    result = Result(folder)
    for name, run in runs.items():
        run.folder.mkdir(parents=True, exist_ok=True)
        write_about(run, command_line())
        if framework == BOTH and not result.runs:
            write_about(replace(run, folder=folder, framework=BOTH), command_line())  # for the folder around theirs
        if weights is not None:
            run.restored = {f"weights/{key}": array for key, array in weights.items()}
        result.runs[name] = run
        if not _go(run):
            break
    _overlay(result)
    return result


def open_runs(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
) -> dict[str, Run]:
    """Return the runs that lie in `folder`, as they were when they were saved last, without training.

    Raises `InputError` if there is none, or if its files are damaged.
    """
    folder = Path(folder)
    recipe, about, settings = read_about(folder)
    framework, data_dir = about["framework"], about.get("data_dir")
    names = names_of(framework)
    check_installed(*names)
    batches = Batches(data if data is not None else load(recipe, data_dir, progress), recipe)
    runs = {}
    for name in names:
        runs[name] = _new_run(folder, framework, name, batches, settings, data_dir, reporter())
        if (runs[name].folder / ABOUT).exists():
            restore(runs[name])
    return runs


def resume(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
) -> Result:
    """Go on with the run in `folder` where its state was saved last, and return what came out.

    Raises `InputError` if there is no run, or if it is complete.
    """
    result = Result(Path(folder), open_runs(folder, reporter=reporter, progress=progress, data=data))
    if result.complete:
        raise InputError(f"the run in {folder} is complete: all steps are done; start a new one")
    for run in result.runs.values():
        if not (run.folder / ABOUT).exists():
            run.folder.mkdir(parents=True, exist_ok=True)
            write_about(run, command_line())
        if not run.complete and not _go(run):
            break
    _overlay(result)
    return result


def load(recipe: Recipe, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
    """Return the recipe's data set, at the size that its network wants."""
    return load_data(
        recipe.data,
        data_dir=data_dir,
        image_size=recipe.image_size,
        default_size=get_spec(recipe.model).input_size,
        seed=recipe.seed,
        progress=progress,
    )


def _check_size(recipe: Recipe, batches: Batches) -> None:
    size = batches.inputs.image_size
    try:
        get_spec(recipe.model, input_size=size)
    except InputError as error:
        wanted = get_spec(recipe.model).input_size
        raise InputError(
            f"the images have {size}x{size} pixels, too few for {recipe.model} ({error}); --set image_size={wanted} "
            "resizes them"
        ) from error


def _new_run(
    folder: Path,
    framework: str,
    name: str,
    batches: Batches,
    settings: Settings,
    data_dir: str | Path | None,
    reporter: Reporter,
) -> Run:
    return Run(
        folder=folder / name if framework == BOTH else folder,
        recipe=batches.recipe,
        batches=batches,
        framework=name,
        settings=settings,
        reporter=reporter,
        data_dir=str(data_dir) if data_dir is not None else None,
        resume_hint=f"resnet-twins train --resume {folder}",
    )


def _go(run: Run) -> bool:
    """Train; return whether the run is complete."""
    load_backend(run.framework)  # which says in words what is wrong if it does not import
    trainer = importlib.import_module(f"{BACKENDS[run.framework][0]}.train")
    with run:
        trainer.train(run)
    return run.complete


def _overlay(result: Result) -> None:
    """Draw the curves of both twins into one figure."""
    curves = {name: run.rows for name, run in result.runs.items() if run.rows}
    if len(curves) > 1 and is_installed("matplotlib"):
        from shared.plots import plot_curves

        recipe = next(iter(result.runs.values())).recipe
        plot_curves(curves, f"{recipe.name}: the twins, same weights, same batches", result.folder / CURVES)

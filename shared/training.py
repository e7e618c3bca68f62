"""Starts and resumes training runs: one twin, or both, from the same weights on the same batches."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shared.backends import BACKENDS, check_installed, load_backend
from shared.batches import Batches
from shared.catalog import get_spec
from shared.data import Dataset, Progress, load_data
from shared.errors import InputError
from shared.files import new_folders
from shared.lock import only_one
from shared.machine import keeping_memory
from shared.recipe import Recipe
from shared.run import (
    BOTH,
    CURVES,
    OF_A_START,
    Arrays,
    Reporter,
    Run,
    Settings,
    bytes_needed,
    check_empty,
    check_tensorboard,
    check_threads,
    command_line,
    holds_run,
    new_folder,
    note_versions,
    prepare_folder,
    read_about,
    remove_leftovers,
    restore,
    write_about,
    write_missing_recipe,
)
from shared.table import activation_numbers, layer_table, weight_shapes
from shared.versions import is_installed, twins_command
from shared.weights import fit

#: Bytes for the outputs of all layers: no machine that this package is meant for has more.
MOST_MEMORY = 500_000_000_000


@dataclass
class Result:
    """What came out: the folder, and the run of each framework that was trained."""

    folder: Path
    frameworks: tuple[str, ...]
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every run has done all its steps."""
        return set(self.runs) == set(self.frameworks) and all(run.complete for run in self.runs.values())

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
    distributed: bool = False,
) -> Result:
    """Train by `recipe` in a new folder and return what came out.

    framework: "torch", "tf" or "both". output: a folder that is new or empty, by default the next free one in
    `runs`. data: instead of the recipe's. weights: canonical arrays to start from, instead of fresh ones.
    distributed: this process is one of several that were started together, by torchrun or with `TF_CONFIG`, and
    train one run; see `shared.distributed`. Raises `InputError` before training for anything that can be known then,
    and `TrainingError` later.
    """
    if not isinstance(recipe, Recipe):
        raise InputError(f"a Recipe is wanted, as get_recipe returns, not {recipe!r}")
    settings = settings or Settings()
    if distributed:
        from shared import distributed as together

        return together.train(
            recipe,
            framework=framework,
            output=output,
            settings=settings,
            data_dir=data_dir,
            data=data,
            weights=weights,
            reporter=reporter,
            progress=progress,
        )
    names = names_of(framework)
    spec = get_spec(recipe.model)
    _prepare_machine(names, settings, recipe)
    folder = new_folder(output, recipe.name, framework)
    with new_folders(folder):
        prepare_folder(folder, bytes_needed(spec, len(names)))
        with only_one(folder):
            check_empty(folder)  # once more: now nobody else can fill it
            batches = Batches(data if data is not None else load(recipe, data_dir, progress), recipe)
            runs = {name: _new_run(folder, framework, name, batches, settings, data_dir, reporter()) for name in names}
            check_size(recipe, batches)
            if weights is not None:
                fit(weight_shapes(runs[names[0]].spec), weights)
            remove_leftovers(folder, OF_A_START)
            result = Result(folder, names)
            if framework == BOTH:  # for the folder around theirs
                write_about(replace(runs[names[0]], folder=folder, framework=BOTH), command_line())
            for name, run in runs.items():
                run.folder.mkdir(parents=True, exist_ok=True)
                write_about(run, command_line())
                if weights is not None:
                    run.restored = {f"weights/{key}": array for key, array in weights.items()}
                result.runs[name] = run
                if not _go(run, folder):
                    break
            _overlay(result)
    return result


def open_runs(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Run]:
    """Return the runs that lie in `folder`, as they were when they were saved last, without training.

    `changes` are fields of their `Settings`: how the machine is used may change, the recipe may not.

    Raises `InputError` if there is none, or if its files are damaged.
    """
    folder = Path(folder)
    recipe, about, settings = read_about(folder)
    settings = replace(settings, **(changes or {}))
    framework, data_dir = about["framework"], about.get("data_dir")
    names = names_of(framework)
    check_installed(*names)
    batches = Batches(data if data is not None else load(recipe, data_dir, progress), recipe)
    check_same_images(folder, batches, about)
    runs = {}
    for name in names:
        runs[name] = _new_run(folder, framework, name, batches, settings, data_dir, reporter())
        restore(runs[name])
    return runs


def resume(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
    changes: Mapping[str, Any] | None = None,
    distributed: bool = False,
) -> Result:
    """Go on with the run in `folder` where its state was saved last, and return what came out.

    `changes` are fields of its `Settings`, like another device. distributed: as in `train`.

    Raises `InputError` if there is no run, or if it is complete.
    """
    if distributed:
        from shared import distributed as together

        return together.resume(folder, reporter=reporter, progress=progress, data=data, changes=changes)
    about = read_about(folder)[1]  # before a lock is put where no run is
    with only_one(Path(folder)):
        runs = open_runs(folder, reporter=reporter, progress=progress, data=data, changes=changes)
        result = Result(Path(folder), tuple(runs), runs)
        if result.complete:
            raise InputError(f"the run in {folder} is complete: all steps are done; start a new one")
        first = next(iter(runs.values()))
        check_size(first.recipe, first.batches)
        _prepare_machine(result.frameworks, first.settings, first.recipe)
        prepare_folder(result.folder, bytes_needed(first.spec, len(runs)))
        remove_leftovers(result.folder)
        for run in result.runs.values():
            if not holds_run(run.folder):
                run.folder.mkdir(parents=True, exist_ok=True)
                write_about(run, command_line())
            for place in {run.folder, result.folder}:
                write_missing_recipe(place, run.recipe)
            remove_leftovers(run.folder)
            if run.complete:
                continue
            note_versions(run, about)
            if not _go(run, result.folder):
                break
        _overlay(result)
    return result


def check_same_images(folder: Path, batches: Batches, about: Mapping[str, Any]) -> None:
    """Raise `InputError` if the images are not those that the run in `folder` began with."""
    if batches.data.sha256 != about["data"]["sha256"]:
        raise InputError(
            f"the images of {batches.recipe.data} are no longer those that the run in {folder} began with ("
            f"{len(batches.train):,} for training now, {about['data']['training_images']:,} then); start a new run"
        )


def load(recipe: Recipe, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
    """Return the recipe's data set, at the size that its network wants."""
    return load_data(
        recipe.data,
        data_dir=data_dir,
        image_size=recipe.image_size,
        default_size=get_spec(recipe.model).input_size,
        channels=get_spec(recipe.model).in_channels,
        seed=recipe.seed,
        progress=progress,
    )


def check_size(recipe: Recipe, batches: Batches, together: int | None = None) -> None:
    """Raise `InputError` if the images are too small for the network, or too large for any machine.

    together: how many images a BatchNorm sees at once, if that is not the whole batch.
    """
    size = batches.inputs.image_size
    try:
        get_spec(recipe.model, input_size=size)
    except InputError as error:
        wanted = get_spec(recipe.model).input_size
        raise InputError(
            f"the images have {size}x{size} pixels, too few for {recipe.model} ({error}); --set image_size={wanted} "
            "resizes them"
        ) from error
    needed = 4 * recipe.batch_size * activation_numbers(get_spec(recipe.model), size)
    if needed > MOST_MEMORY:
        raise InputError(
            f"a batch of {recipe.batch_size} images of {size}x{size} pixels needs about {needed / 1e9:,.0f} GB in "
            f"{recipe.model}; make batch_size or image_size smaller"
        )
    _check_norms(recipe, size, recipe.batch_size if together is None else together)


def _check_norms(recipe: Recipe, size: int, images: int) -> None:
    """Raise `InputError` if a BatchNorm would have one number for each channel: such a variance is no number."""
    if images > 1 or recipe.freeze_norm:
        return
    for row in layer_table(get_spec(recipe.model), size):
        if row.kind == "batch_norm" and row.output_shape[1:] == (1, 1):
            whole = recipe.batch_size == 1
            what = (
                "batch_size is 1" if whole else f"batch_size is {recipe.batch_size}, so that each process has 1 image"
            )
            raise InputError(
                f"{what}, and from images of {size}x{size} pixels {row.name} of {recipe.model} gets one pixel: a "
                f"BatchNorm cannot learn from one number; make batch_size or image_size larger, or "
                "--set freeze_norm=true"
            )


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
        data_dir=str(Path(data_dir).resolve()) if data_dir is not None else None,
        resume_hint=twins_command("train", "--resume", folder),
    )


def _trainer(framework: str) -> Any:
    load_backend(framework)  # which says in words what is wrong if it does not import
    return importlib.import_module(f"{BACKENDS[framework][0]}.train")


def _prepare_machine(names: Iterable[str], settings: Settings, recipe: Recipe) -> None:
    """Raise `InputError`, before anything is written, if the machine has not got what the settings ask for."""
    check_installed(*names)
    check_threads(settings)
    if settings.tensorboard:
        check_tensorboard()
    for name in names:
        _trainer(name).prepare_machine(settings, recipe.precision)


def _go(run: Run, locked: Path) -> bool:
    """Train; return whether the run is complete and nobody asked to stop. The folder `locked` is ours already."""
    with contextlib.nullcontext() if run.folder == locked else only_one(run.folder), keeping_memory(), run:
        _trainer(run.framework).train(run)
    return run.complete and not run.stop_requested


def _overlay(result: Result) -> None:
    """Draw the curves of both twins into one figure."""
    curves = {name: run.rows for name, run in result.runs.items() if run.rows}
    if len(curves) > 1 and is_installed("matplotlib"):
        from shared.plots import plot_curves

        recipe = next(iter(result.runs.values())).recipe
        plot_curves(curves, f"{recipe.name}: the twins, same weights, same batches", result.folder / CURVES)

"""Starts and resumes training runs: one twin, or both, from the same weights on the same batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.backends import BOTH, check_installed, load_part, names_of
from shared.base.errors import InputError
from shared.base.files import new_folders
from shared.base.lock import only_one
from shared.base.machine import keeping_memory
from shared.base.versions import is_installed, twins_command
from shared.base.words import command_line
from shared.data.dataset import Dataset, Progress
from shared.networks.canonical import Arrays, fit
from shared.networks.catalog import get_spec
from shared.networks.table import weight_shapes
from shared.training.folder import (
    CURVES,
    OF_A_START,
    bytes_needed,
    check_empty,
    holds_run,
    new_folder,
    prepare_folder,
    remove_leftovers,
)
from shared.training.prepare import Prepared, Result, prepare
from shared.training.recipe import Recipe
from shared.training.record import check_same_images, note_versions, read_about, write_about, write_missing_recipe
from shared.training.run import Reporter, Run
from shared.training.settings import Settings, check_threads
from shared.training.state import restore
from shared.training.tensorboard import check_tensorboard


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
    Several processes that train one run call `shared.distributed.train` instead. Raises `InputError` before training
    for anything that can be known then, and `TrainingError` later.
    """
    if not isinstance(recipe, Recipe):
        raise InputError(f"a Recipe is wanted, as get_recipe returns, not {recipe!r}")
    settings = settings or Settings()
    names, network = names_of(framework), get_spec(recipe.model)
    _prepare_machine(names, settings, recipe)
    folder = new_folder(output, recipe.name, framework)
    with new_folders(folder):
        prepare_folder(folder, bytes_needed(network, len(names)))
        with only_one(folder):
            check_empty(folder)  # once more: now nobody else can fill it
            prepared = prepare(recipe, network, data=data, data_dir=data_dir, progress=progress)
            prepared.check()
            if weights is not None:
                fit(weight_shapes(prepared.spec), weights)
            remove_leftovers(folder, OF_A_START)
            runs = _runs_in(folder, framework, prepared, settings, reporter)
            if framework == BOTH:  # for the folder around theirs
                write_about(replace(runs[names[0]], folder=folder, framework=BOTH), command_line())
            return _train_all(folder, runs, weights)


def _train_all(folder: Path, runs: Mapping[str, Run], weights: Arrays | None) -> Result:
    """Train one run after the other, until one is stopped."""
    result = Result(folder, tuple(runs))
    for name, run in runs.items():
        run.folder.mkdir(parents=True, exist_ok=True)
        write_about(run, command_line())
        run.start_from(weights)
        result.runs[name] = run
        if not _go(run, folder):
            break
    _overlay(result)
    return result


def _runs_in(
    folder: Path, framework: str, prepared: Prepared, settings: Settings, reporter: Callable[[], Reporter]
) -> dict[str, Run]:
    """Return the run of each twin; with both of them each has a folder of its own in `folder`."""
    hint = twins_command("train", "--resume", folder)
    return {
        name: prepared.run(name, folder / name if framework == BOTH else folder, settings, reporter(), resume_hint=hint)
        for name in names_of(framework)
    }


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
    framework = about["framework"]
    check_installed(*names_of(framework))
    prepared = prepare(recipe, get_spec(recipe.model), data=data, data_dir=about.get("data_dir"), progress=progress)
    check_same_images(folder, prepared.batches, about)
    prepared.check()
    runs = _runs_in(folder, framework, prepared, settings, reporter)
    for run in runs.values():
        restore(run)
    return runs


def resume(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Result:
    """Go on with the run in `folder` where its state was saved last, and return what came out.

    `changes` are fields of its `Settings`, like another device.

    Raises `InputError` if there is no run, or if it is complete.
    """
    about = read_about(folder)[1]  # before a lock is put where no run is
    with only_one(Path(folder)):
        runs = open_runs(folder, reporter=reporter, progress=progress, data=data, changes=changes)
        result = Result(Path(folder), tuple(runs), runs)
        if result.complete:
            raise InputError(f"the run in {folder} is complete: all steps are done; start a new one")
        first = next(iter(runs.values()))
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


def _prepare_machine(names: Iterable[str], settings: Settings, recipe: Recipe) -> None:
    """Raise `InputError`, before anything is written, if the machine has not got what the settings ask for."""
    check_installed(*names)
    check_threads(settings)
    if settings.tensorboard:
        check_tensorboard()
    for name in names:
        load_part(name, "train").prepare_machine(settings, recipe.precision)


def _go(run: Run, locked: Path) -> bool:
    """Train; return whether the run is complete and nobody asked to stop. The folder `locked` is ours already."""
    with contextlib.nullcontext() if run.folder == locked else only_one(run.folder), keeping_memory(), run:
        load_part(run.framework, "train").train(run)
    return run.complete and not run.stop_requested


def _overlay(result: Result) -> None:
    """Draw the curves of both twins into one figure."""
    curves = {name: run.rows for name, run in result.runs.items() if run.rows}
    if len(curves) > 1 and is_installed("matplotlib"):
        from shared.training.curves import plot_curves

        recipe = next(iter(result.runs.values())).recipe
        plot_curves(curves, f"{recipe.name}: the twins, same weights, same batches", result.folder / CURVES)

"""One training run in several processes: what `shared.training` does, done by all of them together."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from shared.backends import BACKENDS, check_installed, load_backend
from shared.batches import Batches
from shared.data import Dataset, Progress
from shared.errors import InputError, LostProcessError
from shared.files import new_folders
from shared.launch import OUTCOME
from shared.lock import only_one
from shared.machine import keeping_memory
from shared.recipe import Recipe
from shared.run import (
    BOTH,
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
from shared.table import weight_shapes
from shared.team import START_AGAIN, Team, check_parts, place_of
from shared.training import Result, check_same_images, check_size, load
from shared.versions import twins_command
from shared.weights import fit


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
    """Do what `shared.training.train` does, as one of several processes, which all call this.

    One thing is different: if `output` holds this same run already, it goes on from there, because whoever starts
    processes starts the same command again when one was killed. Raises `InputError`, `TrainingError`, and
    `LostProcessError` if another process is gone.
    """
    settings = settings or Settings()
    check_framework(framework)
    place = place_of(framework)
    if output is None and place is not None and place.size > 1:
        raise InputError(
            "several processes need a fixed --output FOLDER: who starts them again after a kill gives the same "
            "command, and the run goes on from that folder"
        )
    with _joined(framework, settings, reporter) as team:
        batches = _batches(team, recipe, data_dir, data, progress)
        path = Path(output) if output is not None else Path()
        run = _new_run(team, framework, path, batches, settings, data_dir, reporter)
        if weights is not None:
            fit(weight_shapes(run.spec), weights)

        def open_folder(held: contextlib.ExitStack) -> None:
            goes_on = output is not None and holds_this_run(path, recipe, framework, batches.data.sha256)
            run.folder = path if goes_on else new_folder(output, recipe.name, framework)
            held.enter_context(new_folders(run.folder))
            prepare_folder(run.folder, bytes_needed(run.spec))
            held.enter_context(only_one(run.folder))
            if goes_on:
                restore(run)
                note_versions(run, read_about(run.folder)[1])
            else:
                check_empty(run.folder)  # once more: now nobody else can fill it
            remove_leftovers(run.folder)
            if not holds_run(run.folder):
                write_about(run, command_line())
            write_missing_recipe(run.folder, recipe)
            if weights is not None and run.restored is None:
                run.restored = {f"weights/{key}": array for key, array in weights.items()}

        return _go(team, run, open_folder)


def resume(
    folder: str | Path,
    *,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
    data: Dataset | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Result:
    """Do what `shared.training.resume` does, as one of several processes. Only the chief needs the folder."""
    folder, changes = Path(folder), changes or {}
    framework = framework_of(folder)
    check_framework(framework)
    with _joined(framework, _settings_of(folder, changes), reporter) as team:

        def read() -> str:
            recipe, about, settings = read_about(folder)
            if about["framework"] != framework:
                raise InputError(
                    f"{folder} holds a run of {about['framework']}; these processes were started for {framework}"
                )
            return json.dumps({"recipe": asdict(recipe), "settings": asdict(settings), "about": about})

        job = json.loads(team.text_from_chief(team.agree(lambda: read() if team.chief else "")))
        recipe, settings = Recipe(**job["recipe"]), replace(Settings(**job["settings"]), **changes)
        batches = _batches(team, recipe, job["about"].get("data_dir"), data, progress)
        run = _new_run(team, framework, folder, batches, settings, job["about"].get("data_dir"), reporter)

        def open_folder(held: contextlib.ExitStack) -> None:
            check_same_images(folder, batches, job["about"])
            held.enter_context(only_one(folder))
            restore(run)
            # Started again after its work was done: another process died late, and nothing is left to do.
            if run.complete and not team.restarts:
                raise InputError(f"the run in {folder} is complete: all steps are done; start a new one")
            note_versions(run, job["about"])
            prepare_folder(folder, bytes_needed(run.spec))
            remove_leftovers(folder)
            write_missing_recipe(folder, recipe)

        return _go(team, run, open_folder)


def check_framework(framework: str) -> None:
    """Raise `InputError` if several processes cannot train `framework`."""
    if framework == BOTH:
        raise InputError("several processes train one twin; choose --framework torch or --framework tf")
    check_installed(framework)


def framework_of(folder: Path) -> str:
    """Return the framework for which these processes were started, or that of the run in `folder` if nobody says."""
    for name in BACKENDS:
        if place_of(name) is not None:
            return name
    return str(read_about(folder)[1]["framework"])


def holds_this_run(folder: Path, recipe: Recipe, framework: str, sha256: str | None = None) -> bool:
    """Return whether `folder` holds a run of this recipe, framework and data; False if there is no run at all.

    Raises `InputError` if there is another one. Without `sha256` the images are not compared.
    """
    if not holds_run(folder):
        return False
    known, about, _ = read_about(folder)
    changed = [entry.name for entry in fields(Recipe) if getattr(known, entry.name) != getattr(recipe, entry.name)]
    what = [f"its {name} is {getattr(known, name)!r}, not {getattr(recipe, name)!r}" for name in changed]
    if about["framework"] != framework:
        what.append(f"its framework is {about['framework']}, not {framework}")
    if sha256 is not None and about["data"]["sha256"] != sha256:
        what.append("its images are others")
    if what:
        raise InputError(f"--output is {folder}, which holds another run: {', '.join(what)}; choose a new folder")
    return True


def _settings_of(folder: Path, changes: Mapping[str, Any]) -> Settings:
    """Return how the machine is to be used, as far as this process can know before it is told by the chief."""
    try:
        settings = read_about(folder)[2]
    except InputError:  # only the chief needs the folder, and says later what is wrong with it
        settings = Settings()
    return replace(settings, **changes)


@contextmanager
def _joined(framework: str, settings: Settings, reporter: Callable[[], Reporter]) -> Iterator[Team]:
    """Find the other processes, and leave them at the end. An error because one is gone is said in words."""
    check_threads(settings)
    if settings.tensorboard:
        check_tensorboard()
    place = place_of(framework)
    if place is not None and place.restarts and place.rank == 0:
        reporter().note(f"a process died; torchrun has started all of them again (restart {place.restarts})")
    if place is not None and place.size > 1 and place.rank == 0:
        reporter().note(f"waiting for the other {place.size - 1} of {place.size} processes ...")
    module = _module(framework)
    try:
        with contextlib.closing(module.join(settings)) as team:
            yield team
    except Exception as error:
        if not module.is_lost(error):
            raise
        raise LostProcessError(
            "another process is gone (killed, or its machine cannot be reached), so training ended here too; "
            f"{START_AGAIN}"
        ) from error


def _module(framework: str) -> Any:
    load_backend(framework)  # which says in words what is wrong if it does not import
    return importlib.import_module(f"{BACKENDS[framework][0]}.distributed")


def _batches(
    team: Team, recipe: Recipe, data_dir: str | Path | None, data: Dataset | None, progress: Progress | None
) -> Batches:
    """Return the batches: the same in every process, or an `InputError`."""
    team.check_same(recipe.to_toml(), "options or another recipe")
    check_parts(recipe.batch_size, team.parts)

    def read() -> Batches:
        batches = Batches(
            data if data is not None else load(recipe, data_dir, progress if team.chief else None), recipe
        )
        check_size(recipe, batches, recipe.batch_size // team.parts if team.norms_by_part else None)
        return batches

    # The chief first: what it has to download, the others on its machine then find.
    first = team.agree(lambda: read() if team.chief else None)
    batches = team.agree(lambda: first or read())
    team.check_same(batches.data.sha256, "images")
    return batches


def _new_run(
    team: Team,
    framework: str,
    folder: Path,
    batches: Batches,
    settings: Settings,
    data_dir: str | Path | None,
    reporter: Callable[[], Reporter],
) -> Run:
    return Run(
        folder=folder,
        recipe=batches.recipe,
        batches=batches,
        framework=framework,
        settings=settings,
        reporter=reporter() if team.chief else Reporter(),
        data_dir=str(Path(data_dir).resolve()) if data_dir is not None else None,
        chief=team.chief,
        processes=team.size,
        strategy=team.strategy_name,
    )


def _go(team: Team, run: Run, open_folder: Callable[[contextlib.ExitStack], None]) -> Result:
    """Let the chief open the folder, which is then its own until the end, and train."""
    with contextlib.ExitStack() as held:
        team.agree(lambda: open_folder(held) if team.chief else None)
        run.step = int(team.from_chief(run.step))
        how = ("--processes", str(team.size)) if OUTCOME in os.environ else ("--distributed",)
        run.resume_hint = twins_command("train", "--resume", run.folder, *how)
        if not run.complete:
            with keeping_memory(), run:
                _module(run.framework).train(run, team)
    return Result(run.folder, (run.framework,), {run.framework: run})

"""One training run in several processes: what `shared.training.start` does, done by all of them together."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from shared.backends import BACKENDS, BOTH, check_installed, load_part
from shared.base.errors import InputError, LostProcessError
from shared.base.files import new_folders
from shared.base.lock import only_one
from shared.base.machine import keeping_memory
from shared.base.versions import twins_command
from shared.base.words import command_line
from shared.data.dataset import Dataset, Progress
from shared.distributed.place import OUTCOME, START_AGAIN, place_of
from shared.distributed.team import Team, check_parts
from shared.networks.canonical import Arrays, fit
from shared.networks.catalog import get_spec
from shared.networks.table import weight_shapes
from shared.training.folder import bytes_needed, check_empty, holds_run, new_folder, prepare_folder, remove_leftovers
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
    """Do what `shared.training.train` does, as one of several processes, which all call this.

    One thing is different: if `output` holds this same run already, it goes on from there, because the one who starts
    processes starts the same command again when one was killed. Raises `InputError`, `TrainingError`, and
    `LostProcessError` if another process is gone.
    """
    settings = settings or Settings()
    check_one_twin(framework)
    place = place_of(framework)
    if output is None and place is not None and place.size > 1:
        raise InputError(
            "several processes need a fixed --output FOLDER: who starts them again after a kill gives the same "
            "command, and the run goes on from that folder"
        )
    with _joined(framework, settings, reporter) as team:
        prepared = _prepare(team, recipe, data_dir, data, progress)
        if weights is not None:
            fit(weight_shapes(prepared.spec), weights)

        def choose() -> tuple[Path, dict[str, Any] | None]:
            about = None
            if output is not None:
                about = find_this_run(Path(output), recipe, framework, prepared.batches.data.sha256)
            return (Path(output) if about and output else new_folder(output, recipe.name, framework)), about

        # Only the chief needs the folder.
        path, about = team.agree(lambda: choose() if team.chief else (Path(output or "."), None))
        run = _run_of(team, prepared, framework, path, settings, reporter)
        return _go(team, run, _known_folder(run, weights, about) if about else _new_folder(run, weights))


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
    framework = framework_of_run(folder)
    check_one_twin(framework)
    found = _found_in(folder)
    settings = Settings() if isinstance(found, InputError) else found[2]
    with _joined(framework, replace(settings, **changes), reporter) as team:

        def tell() -> str:
            if isinstance(found, InputError):
                raise found
            recipe, about, settings = found
            if about["framework"] != framework:
                raise InputError(
                    f"{folder} holds a run of {about['framework']}; these processes were started for {framework}"
                )
            return json.dumps({"recipe": asdict(recipe), "settings": asdict(settings), "about": about})

        job = json.loads(team.text_from_chief(team.agree(lambda: tell() if team.chief else "")))
        recipe, settings, about = Recipe(**job["recipe"]), replace(Settings(**job["settings"]), **changes), job["about"]
        prepared = _prepare(team, recipe, about.get("data_dir"), data, progress)
        run = _run_of(team, prepared, framework, folder, settings, reporter)
        return _go(team, run, _known_folder(run, None, about, may_be_complete=team.restarts > 0))


@contextmanager
def _new_folder(run: Run, weights: Arrays | None) -> Iterator[None]:
    """Hold the folder of a run that begins."""
    with new_folders(run.folder):
        prepare_folder(run.folder, bytes_needed(run.spec))
        with only_one(run.folder):
            check_empty(run.folder)  # once more: now nobody else can fill it
            remove_leftovers(run.folder)
            write_about(run, command_line())
            run.start_from(weights)
            yield


@contextmanager
def _known_folder(
    run: Run, weights: Arrays | None, about: Mapping[str, Any], *, may_be_complete: bool = True
) -> Iterator[None]:
    """Hold the folder of a run that goes on. `about` is what was noted of it when it began.

    It may be complete where it was started again after its work was done: another process died late.
    """
    check_same_images(run.folder, run.batches, about)
    with only_one(run.folder):
        restore(run)
        run.start_from(weights)
        if run.complete and not may_be_complete:
            raise InputError(f"the run in {run.folder} is complete: all steps are done; start a new one")
        note_versions(run, about)
        prepare_folder(run.folder, bytes_needed(run.spec))
        remove_leftovers(run.folder)
        write_missing_recipe(run.folder, run.recipe)
        yield


def check_one_twin(framework: str) -> None:
    """Raise `InputError` if several processes cannot train `framework`."""
    if framework == BOTH:
        raise InputError("several processes train one twin; choose --framework torch or --framework tf")
    check_installed(framework)


def framework_of_run(folder: Path) -> str:
    """Return the framework for which these processes were started, or that of the run in `folder` if nobody says."""
    for name in BACKENDS:
        if place_of(name) is not None:
            return name
    return str(read_about(folder)[1]["framework"])


def find_this_run(folder: Path, recipe: Recipe, framework: str, sha256: str | None = None) -> dict[str, Any] | None:
    """Return what was noted of the run of this recipe, framework and data in `folder`; None if there is no run at all.

    Raises `InputError` if there is another one. Without `sha256` the images are not compared.
    """
    if not holds_run(folder):
        return None
    known, about, _ = read_about(folder)
    changed = [entry.name for entry in fields(Recipe) if getattr(known, entry.name) != getattr(recipe, entry.name)]
    what = [f"its {name} is {getattr(known, name)!r}, not {getattr(recipe, name)!r}" for name in changed]
    if about["framework"] != framework:
        what.append(f"its framework is {about['framework']}, not {framework}")
    if sha256 is not None and about["data"]["sha256"] != sha256:
        what.append("its images are others")
    if what:
        raise InputError(f"--output is {folder}, which holds another run: {', '.join(what)}; choose a new folder")
    return about


def _found_in(folder: Path) -> tuple[Recipe, dict[str, Any], Settings] | InputError:
    """Return the run in `folder`, or what is wrong with it: only the chief needs the folder, and says it later."""
    try:
        return read_about(folder)
    except InputError as error:
        return error


@contextmanager
def _joined(framework: str, settings: Settings, reporter: Callable[[], Reporter]) -> Iterator[Team]:
    """Find the other processes, and leave them at the end. If one is gone, the error says so."""
    check_threads(settings)
    if settings.tensorboard:
        check_tensorboard()
    place = place_of(framework)
    if place is not None and place.restarts and place.rank == 0:
        reporter().note(f"a process died; torchrun has started all of them again (restart {place.restarts})")
    if place is not None and place.size > 1 and place.rank == 0:
        reporter().note(f"waiting for the other {place.size - 1} of {place.size} processes ...")
    module = load_part(framework, "distributed")
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


def _prepare(
    team: Team, recipe: Recipe, data_dir: str | Path | None, data: Dataset | None, progress: Progress | None
) -> Prepared:
    """Return what is trained: the same in every process, or an `InputError`."""
    team.check_same(recipe.to_toml(), "options or another recipe")
    check_parts(recipe.batch_size, team.parts)

    def read() -> Prepared:
        network = get_spec(recipe.model)
        prepared = prepare(recipe, network, data=data, data_dir=data_dir, progress=progress if team.chief else None)
        prepared.check(recipe.batch_size // team.parts if team.norms_by_part else None)
        return prepared

    # The chief first: what it has to download, the others on its machine then find.
    first = team.agree(lambda: read() if team.chief else None)
    prepared = team.agree(lambda: first or read())
    team.check_same(prepared.batches.data.sha256, "images")
    return prepared


def _run_of(
    team: Team,
    prepared: Prepared,
    framework: str,
    folder: Path,
    settings: Settings,
    reporter: Callable[[], Reporter],
) -> Run:
    how = ("--processes", str(team.size)) if OUTCOME in os.environ else ("--distributed",)
    return prepared.run(
        framework,
        folder,
        settings,
        reporter() if team.chief else Reporter(),
        resume_hint=twins_command("train", "--resume", folder, *how),
        chief=team.chief,
        processes=team.size,
        strategy=team.strategy_name,
    )


def _go(team: Team, run: Run, folder: AbstractContextManager[None]) -> Result:
    """Let the chief hold the folder until the end, and train."""
    with contextlib.ExitStack() as held:
        team.agree(lambda: held.enter_context(folder) if team.chief else None)
        run.step = int(team.from_chief(run.step))
        if not run.complete:
            with keeping_memory(), run:
                load_part(run.framework, "distributed").train(run, team)
    return Result(run.folder, (run.framework,), {run.framework: run})

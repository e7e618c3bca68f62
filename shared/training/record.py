"""What is noted of a run before its first step, so that it can be repeated and resumed."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from shared import __version__
from shared.backends import BACKENDS, BOTH
from shared.base.errors import InputError
from shared.base.files import check_own_folder, read_own, write_text
from shared.base.printable import printable, printable_list
from shared.base.versions import installed_version, twins_command
from shared.training.batches import Batches
from shared.training.folder import ABOUT, BEST, LAST, RECIPE, STATE, check_own_files, holds_run, sha256
from shared.training.recipe import Recipe, parse_recipe
from shared.training.run import Run
from shared.training.settings import Settings

#: How large a text of a run may be, in bytes.
MOST_TEXT = 1_000_000
MODULES = tuple(module for framework in BACKENDS.values() for module in framework.modules)
#: Their versions are noted.
RECORDED_PACKAGES = (*MODULES, "numpy", "pillow", "safetensors")


def write_about(run: Run, command: str) -> None:
    """Write the recipe and what else is needed to repeat the run, before the first step."""
    versions = {name: installed_version(name) for name in RECORDED_PACKAGES}
    about = {
        "framework": run.framework,
        "settings": asdict(run.settings),
        "processes": run.processes,
        "strategy": run.strategy,
        "data_dir": run.data_dir,
        "command": command,
        "seed": run.recipe.seed,
        "model": run.spec.to_dict(),
        "data": {
            "name": run.batches.data.name,
            "training_images": len(run.batches.train),
            "validation_images": 0 if run.batches.validation is None else len(run.batches.validation),
            "test_images": len(run.batches.data.test),
            "sha256": run.batches.data.sha256,
            "notes": list(run.batches.data.notes),
        },
        "versions": {"resnet-twins": __version__, "python": platform.python_version(), **versions},
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    # First the one that holds both: a folder with it can be resumed, one without it counts as empty.
    about["recipe"] = run.recipe.to_toml()
    about["sha256"] = sha256(json.dumps(about, sort_keys=True))
    write_text(run.folder / ABOUT, json.dumps(about, indent=2) + "\n")
    write_text(run.folder / RECIPE, run.recipe.to_toml())


def write_missing_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `RECIPE` if it is gone: a kill came before it, or it was deleted because it was damaged."""
    if not (folder / RECIPE).exists():
        write_text(folder / RECIPE, recipe.to_toml())


def read_about(folder: str | Path) -> tuple[Recipe, dict[str, Any], Settings]:
    """Read what `write_about` wrote. Raises `InputError` if the folder holds no run, or a damaged one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}")
    if not holds_run(folder):
        raise InputError(f"{folder} holds no training run (no {ABOUT} in it){_what_is_left(folder)}")
    check_own_files(folder)
    text = read_own(folder / ABOUT, MOST_TEXT)
    try:
        about = json.loads(text.decode("utf-8"))
        known = {entry.name for entry in fields(Settings)}
        settings = Settings(**{name: value for name, value in about["settings"].items() if name in known})
        _check_about(about)
        stated = about.pop("sha256", None)  # runs of earlier versions have none, nor has one that was edited by hand
        if stated is not None and stated != sha256(json.dumps(about, sort_keys=True)):
            raise ValueError("its content has another SHA-256 than when it was written")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder / ABOUT} is damaged ({error}); it cannot be resumed. If you changed it yourself, take its "
            f'"sha256" away, too{_what_is_left(folder)}'
        ) from error
    for name in BACKENDS if about["framework"] == BOTH else ():
        check_own_folder(folder / name)
        check_own_files(folder / name)
    path = folder / RECIPE
    if not path.exists() and "recipe" in about:  # a kill came between the two files
        return parse_recipe(about["recipe"], folder / ABOUT), about, settings
    recipe = _read_own_recipe(path)
    if "recipe" in about and recipe.to_toml() != about["recipe"]:
        raise InputError(
            f"{path} is not the recipe that this run began with: it is damaged or was changed; delete it, and the run "
            f"goes on with the one in {ABOUT}"
        )
    return recipe, about, settings


def _read_own_recipe(path: Path) -> Recipe:
    try:
        return parse_recipe(read_own(path, MOST_TEXT).decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no readable recipe: {error}") from error


def _check_about(about: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` if a value is one that no run has, whoever wrote it.

    `data_dir` may be any folder: what lies there is only read, as a data set, and must have the run's SHA-256.
    """
    data, place, versions = about["data"], about.get("data_dir"), about.get("versions", {})
    images = data.get("training_images", 0)
    if about["framework"] not in [*BACKENDS, BOTH]:
        raise ValueError(f"framework is {printable(about['framework'])}")
    if not isinstance(data["sha256"], str) or not isinstance(about.get("recipe", ""), str):
        raise TypeError("sha256 or recipe is no text")
    if type(images) is not int or not 0 <= images < 10**12:
        raise ValueError(f"training_images is {printable(images)}")
    if not isinstance(place, str | None) or "\0" in (place or ""):
        raise ValueError(f"data_dir is {printable(place)}")
    if not all(isinstance(version, str | None) for version in versions.values()):
        raise TypeError("a version is no text")


def check_same_images(folder: Path, batches: Batches, about: Mapping[str, Any]) -> None:
    """Raise `InputError` if the images are not those that the run in `folder` began with."""
    if batches.data.sha256 != about["data"]["sha256"]:
        raise InputError(
            f"the images of {batches.recipe.data} are no longer those that the run in {folder} began with ("
            f"{len(batches.train):,} for training now, {about['data']['training_images']:,} then); start a new run"
        )


def note_versions(run: Run, about: Mapping[str, Any]) -> None:
    """Tell the reporter which versions are others than when the run began: its bits are promised for the same ones.

    Only of what `run`'s framework computes with: another version may change the last bits of a number.
    """
    begun = about.get("versions", {})
    now: dict[str, str | None] = {"resnet-twins": __version__, "python": platform.python_version()}
    now |= {name: installed_version(name) for name in (*BACKENDS[run.framework].modules, "numpy")}
    changed = [name for name, version in now.items() if begun.get(name) and begun[name] != version]
    if changed:
        old = printable_list(f"{name} {begun[name]}" for name in changed)
        new = printable_list(f"{name} {now[name]}" if len(changed) > 1 else now[name] for name in changed)
        run.reporter.note(
            f"this run was begun with {old}, and goes on with {new}: it trains on, but the numbers may differ in "
            "their last bits"
        )


def _what_is_left(folder: Path) -> str:
    """Return how a run whose `ABOUT` is lost is still of use, as the end of a message."""
    for name in BACKENDS:
        if holds_run(folder / name):
            again = twins_command("train", "--resume", folder / name)
            return f"; the twins that were trained in it go on one by one: {again}"
    for name in (BEST, LAST):
        if (folder / name).is_file():
            use = twins_command("evaluate", folder / name, "--data", "NAME")
            return f"; start a new run. The weights of this one need no {ABOUT}: {use}"
    return "; start a new run" if (folder / STATE).is_file() else ""

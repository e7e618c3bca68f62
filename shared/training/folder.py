"""The folder of a run: what its files are called, and how it is made, checked and cleared."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from shared.base.errors import InputError, UnwritableError
from shared.base.files import check_own, check_own_folder, replacing
from shared.base.lock import HOLDER, LOCK
from shared.base.versions import shell_line
from shared.networks.spec import ResNetSpec
from shared.networks.table import count_buffers, count_parameters
from shared.training.metrics import METRICS

STATE, RECIPE, ABOUT = "state.safetensors", "recipe.toml", "run.json"
STATE_FORMAT = "resnet-twins state, version 2"  # version 1 had no hash
#: The state before the last one: what a run goes on from if the last one is damaged.
PREVIOUS = "state.previous.safetensors"
PROBE = "tmp-probe"  # shows whether a folder can be written to
#: What a killed start may leave behind in an empty folder, and a kill in that of a run: half-written files of ours and
#: of safetensors, and the lock.
OF_A_START = (PROBE, f"tmp-*-{PROBE}", f"tmp-*-{ABOUT}", LOCK, HOLDER)
LEFTOVERS = ("tmp-*", ".tmp*", LOCK, HOLDER)
LAST, BEST, CURVES, CONFUSION = "last.safetensors", "best.safetensors", "curves.png", "confusion.png"
TENSORBOARD = "tensorboard"
#: All that a run reads or writes in its folder.
OWN_FILES = (STATE, PREVIOUS, RECIPE, ABOUT, METRICS, LAST, BEST, CURVES, CONFUSION, LOCK, HOLDER)


def new_folder(output: str | Path | None, recipe: str, framework: str) -> Path:
    """Return the path of a folder for a new run: `output`, or the first free `runs/RECIPE-FRAMEWORK-N`.

    Raises `InputError` if `output` is not empty: what is there stays.
    """
    if output is None:
        number = 1
        while os.path.lexists(path := Path("runs") / f"{recipe}-{framework}-{number}"):
            number += 1
        return path
    path = Path(output)
    check_empty(path)
    return path


def check_empty(path: Path) -> None:
    """Raise `InputError` if something is at `path` that must stay. What a killed start left behind need not."""
    taken = not all(_is_leftover(entry, OF_A_START) for entry in path.iterdir()) if path.is_dir() else path.exists()
    if taken:
        hint = f"; to go on with that run, use {shell_line(['--resume', str(path)])}" if holds_run(path) else ""
        raise InputError(f"--output is {path}, and something is there already; choose a new folder{hint}")


def _is_leftover(path: Path, patterns: Iterable[str]) -> bool:
    """Return whether a kill left this behind: a plain file of such a name. A link or a folder is somebody's own."""
    return any(path.match(pattern) for pattern in patterns) and stat.S_ISREG(path.lstat().st_mode)


def holds_run(folder: Path) -> bool:
    """Return whether a run was begun in `folder`. What stands there may be damaged, or no file."""
    return os.path.lexists(folder / ABOUT)


def check_own_files(folder: Path) -> None:
    """Raise `InputError` if something else than a plain file stands where a run in `folder` has one of its files."""
    for name in OWN_FILES:
        check_own(folder / name)
    check_own_folder(folder / TENSORBOARD)


def bytes_needed(spec: ResNetSpec, frameworks: int = 1) -> int:
    """Return how much room a run needs on disk, generously: weights twice and, while one is written, three states.

    A state holds up to three times as much as the weights: themselves, and two memories of the optimiser.
    """
    weights = 4 * (count_parameters(spec) + count_buffers(spec))
    return frameworks * (2 * 11 * weights + 20_000_000)  # twice as much, for float64


def prepare_folder(path: Path, needed: int) -> None:
    """Make the folder; raise `InputError` if files cannot be written there, or if there is too little room."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / PROBE) as probe:
            probe.write_bytes(b"0" * 4096)
        (path / PROBE).unlink()
        free = shutil.disk_usage(path).free
    except (OSError, UnwritableError) as error:
        raise InputError(
            f"the folder {path} cannot be written to ({getattr(error, 'strerror', None) or error}); choose another one "
            "with --output"
        ) from error
    if free < needed:
        raise InputError(
            f"{path}: {free / 1e6:,.0f} MB are free, but this run needs up to {needed / 1e6:,.0f} MB; make room, or "
            "choose another disk with --output"
        )


def sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def remove_leftovers(folder: Path, patterns: Iterable[str] = LEFTOVERS) -> None:
    """Delete half-written files that a kill left behind. Not the lock, which is ours."""
    for pattern in patterns:
        for leftover in folder.glob(pattern):
            if leftover.name not in (LOCK, HOLDER) and _is_leftover(leftover, (pattern,)):
                leftover.unlink()

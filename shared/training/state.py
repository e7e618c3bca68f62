"""Puts a run back to where its state was saved last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.base.checks import DTYPES
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable
from shared.checkpoints.ours import read_arrays
from shared.networks.canonical import Arrays, fit
from shared.networks.table import weight_shapes
from shared.training.folder import BEST, PREVIOUS, STATE, bytes_needed, sha256
from shared.training.metrics import METRICS, bad_metrics, metrics_text, read_metrics
from shared.training.run import Run
from shared.training.settings import MOST_THREADS

#: What an optimiser remembers of each weight, by PyTorch's names.
MEMORY = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq")}
#: What a state holds besides arrays as large as the weights, each one number: name -> least and most.
NUMBERS = {"optimizer_steps": (0, 1e15), "threads": (1, MOST_THREADS)}
#: With float16 also what scales the loss, in each framework.
SCALERS = {
    "tf": {"scaler/scale": (0, 1e38), "scaler/_growth_tracker": (0, 1e9)},
    "torch": {
        "scaler/scale": (0, 1e38),
        "scaler/_growth_tracker": (0, 1e9),
        "scaler/growth_factor": (1, 1e6),
        "scaler/backoff_factor": (0, 1),
        "scaler/growth_interval": (1, 1e9),
    },
}


def restore(run: Run) -> None:
    """Put a run where it was when its state was saved last; without a saved state it begins anew.

    If the last state is damaged or gone, the one before is taken; if the metrics are gone, it goes on without them.
    The run's reporter is told of both. Raises `InputError` if there is no good state.
    """
    found, problems = _last_good_state(run)
    if found is None:
        if (run.folder / METRICS).exists():  # which is written with the first state
            run.reporter.note(f"{STATE} and {PREVIOUS} are missing: the run begins anew, at step 1")
        return
    run.restored, metadata = found
    run.step, run.best = int(metadata["step"]), float(metadata["best"])
    run.seconds_before = float(metadata["seconds"])
    _restore_metrics(run, metadata, problems)
    _check_best(run)


def _last_good_state(run: Run) -> tuple[tuple[Arrays, dict[str, str]] | None, list[str]]:
    """Return the last state that is good, or the one before, and what is wrong with those behind it.

    None if none was saved. Raises `InputError` if there are some, and none is good.
    """
    problems: list[str] = []
    for path in (run.folder / STATE, run.folder / PREVIOUS):
        try:
            if path.exists():
                return read_state(run, path), problems
            problems.append(f"{path.name} is missing")
        except InputError as error:
            problems.append(str(error))
            run.state_is_good = run.state_is_good and path.name != STATE
    if all(problem.endswith("is missing") for problem in problems):
        return None, problems
    raise InputError(
        f"no good state is left in {run.folder} ({', and '.join(problems)}); delete {STATE} and {PREVIOUS} to "
        "begin the run anew"
    )


def _restore_metrics(run: Run, metadata: Mapping[str, str], problems: list[str]) -> None:
    """Read the rows up to the state, and tell the reporter what was lost."""
    rows = read_metrics(run.folder, run.total)
    run.rows = [row for row in rows if row["step"] <= run.step]
    # Rows that all come after the state: the file had been deleted, and a kill came between the new one and its state.
    metrics_are_lost = not (run.folder / METRICS).exists() or (bool(rows) and not run.rows)
    if not metrics_are_lost and metadata.get("metrics_sha256") not in (None, sha256(metrics_text(run.rows))):
        raise InputError(bad_metrics(run.folder / METRICS))
    if problems:
        lost = int(rows[-1]["step"]) - run.step if rows else 0
        again = f" ({lost:,} more {'was' if lost == 1 else 'were'} done, and {'is' if lost == 1 else 'are'} done again)"
        tail = again if lost > 0 else ""
        run.reporter.note(f"{problems[0]}: going on with {PREVIOUS}, after step {run.step:,}{tail}")
    if metrics_are_lost and run.step:
        what = "has no rows up to there" if rows else "is missing"
        rest = "there is no curve" if run.complete else f"the curve begins at step {run.step + 1:,}"
        run.reporter.note(f"{METRICS} {what}: {rest}")


def _check_best(run: Run) -> None:
    """Forget the best accuracy, and tell the reporter, if the weights that reached it cannot be read."""
    if run.best < 0:
        return
    try:
        _check_room(run, run.folder / BEST)
        read_arrays(run.folder / BEST)
    except InputError as error:
        run.reporter.note(f"{error}: from here on {BEST} is the best of the epochs to come")
        run.best = -1.0


def read_state(run: Run, path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays and the texts of a state of `run`. Raises `WeightsError` if it is damaged, or another run's."""
    _check_room(run, path)
    arrays, metadata = read_arrays(path)
    for name, least, most in (("step", 1, run.total), ("best", -1, 1), ("seconds", 0, 1e12)):
        try:
            value = (int if name == "step" else float)(metadata[name])
        except (KeyError, ValueError):
            value = math.nan
        if not least <= value <= most:
            raise WeightsError(
                f"{path} is no state of this run: its {name} is {printable(metadata.get(name), 30)}, and possible is "
                f"{least:,} to {most:,}"
            )
    try:
        _check_arrays(run, arrays)
    except WeightsError as error:
        raise WeightsError(f"{path} is no state of this run: {error}") from error
    return arrays, metadata


def _check_room(run: Run, path: Path) -> None:
    """Raise `WeightsError`, before anything is read, if a file is missing, or larger than a state of `run` can be."""
    size, most = (path.stat().st_size if path.exists() else 0), bytes_needed(run.spec)
    if size > most:
        raise WeightsError(
            f"{path} has {size / 1e6:,.0f} MB, and a state of {run.spec.name} less than {most / 1e6:,.0f} MB"
        )


def _check_arrays(run: Run, arrays: Arrays) -> None:
    """Raise `WeightsError` if these are not the arrays of a state of `run`."""
    recipe, shapes = run.recipe, weight_shapes(run.spec)
    memory = MEMORY[recipe.optimizer] if recipe.optimizer != "sgd" or recipe.momentum else ()
    remembered = {f"{key}/{name}": shapes[name] for key in memory for name in shapes if ".running_" not in name}
    numbers, needed = dict(NUMBERS), set()
    if recipe.precision == "float16":
        numbers |= SCALERS[run.framework]
        needed |= set(SCALERS[run.framework])
        if not remembered.keys() & arrays.keys():  # as long as the loss is scaled too high, no step is taken
            remembered = {}
    if remembered and recipe.optimizer != "sgd":
        needed.add("optimizer_steps")
    expected = {f"weights/{name}": shape for name, shape in shapes.items()} | remembered
    fit(expected, {name: array for name, array in arrays.items() if name not in numbers})
    for name in expected:
        if arrays[name].dtype.name not in DTYPES:
            raise WeightsError(f"{name} holds {arrays[name].dtype.name} values; a state holds {' or '.join(DTYPES)}")
    if absent := needed - arrays.keys():
        raise WeightsError(f"it has no {min(absent)}")
    for name in numbers.keys() & arrays.keys():
        (least, most), value = numbers[name], arrays[name]
        if value.shape != () or value.dtype.kind not in "fiu" or not least <= value.item() <= most:
            raise WeightsError(f"{name} is {printable(value)}; one number from {least:g} to {most:g} is wanted")
    if spoilt := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise WeightsError(f"{spoilt[0]} has numbers that are not finite")

"""Files of a run that are damaged or deleted, after which it goes on in this process."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from shared.base.errors import InputError
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, RECIPE, STATE
from shared.training.metrics import METRICS, read_metrics
from shared.training.recipes import get_recipe
from shared.training.run import Reporter
from shared.training.settings import Settings
from shared.training.start import resume, train
from tests.campaigns.faults.runs import SAVE_EVERY, Failed, Runs, check
from tests.campaigns.faults.table import BOTH_STATES


def damage(runs: Runs) -> None:
    """Cut files of a stopped run, and flip bits in them, at random places; then go on, in this process."""
    whole, folder = stopped(runs)
    seen: dict[str, Counter[str]] = {}
    names = (STATE, BEST, ABOUT, BOTH_STATES, METRICS, STATE, PREVIOUS, LAST, RECIPE, STATE)
    for number in range(runs.damages):
        name = names[number % len(names)]
        copy = runs.place / "damaged"
        shutil.copytree(folder, copy)
        how = runs.rng.choice(("cut", "flipped", "flipped"))
        for each in (STATE, PREVIOUS) if name == BOTH_STATES else (name,):
            damage_file(copy / each, how, runs.rng)
        listener = Listener()
        try:
            resume(copy, reporter=lambda listener=listener: listener)
            # The best of the epochs before is lost with its file, which is said.
            runs.compare(copy, whole, (LAST, STATE) if name == BEST else (LAST, BEST, STATE))
            result = "said, and ended with the same bits" if listener.notes else "no harm: the same bits"
            if name in (STATE, BEST):
                check(bool(listener.notes), f"{name} was {how} and nothing was said")
        except InputError as error:
            check("\n" not in str(error), f"not one line: {error}")
            check(name not in (STATE, PREVIOUS, LAST, BEST), f"one damaged {name} stopped the run: {error}")
            result = "refused in one line"
        except Failed as error:
            raise Failed(f"{name}, {how}, number {number}: {error}") from error
        seen.setdefault(name, Counter())[result] += 1
        shutil.rmtree(copy)
    for name, counts in seen.items():
        runs.note(f"damaged: {name}", **counts)


def damage_file(path: Path, how: str, rng: Random) -> None:
    """Cut a file, or flip one bit in it, at a random place."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[rng.randrange(len(content)) :]
    else:
        # Half of them in the first part, where names, shapes and texts are: the numbers fill the file.
        part = rng.choice((min(6000, len(content)), len(content)))
        content[rng.randrange(part)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def stopped(runs: Runs) -> tuple[Path, Path]:
    """Return the folders of a run that was not disturbed, and of the same one, stopped after 28 of 30 steps."""
    whole, folder = runs.place / "whole", runs.place / "stopped"
    if not whole.exists():
        recipe = get_recipe("quick", ["steps=30", "flip=yes"])
        # One thread: TensorFlow's several add up in an order that may be another one in the next run.
        settings = Settings(device="cpu", save_every=SAVE_EVERY, threads=1)
        options: dict[str, Any] = {"framework": runs.framework, "settings": settings}
        train(recipe, output=whole, **options)
        train(recipe, output=folder, reporter=lambda: Stop(28), **options)
    return whole, folder


def delete(runs: Runs) -> None:
    """Delete each file of a stopped run; then go on, in this process."""
    whole, folder = stopped(runs)
    for name in (*sorted(path.name for path in folder.iterdir()), BOTH_STATES):
        copy, listener = runs.place / "deleted", Listener()
        shutil.copytree(folder, copy)
        for each in (STATE, PREVIOUS) if name == BOTH_STATES else (name,):
            (copy / each).unlink()
        try:
            resume(copy, reporter=lambda listener=listener: listener)
            check(bool(listener.notes) == (name in (STATE, BEST, METRICS, BOTH_STATES)), f"{name}: {listener.notes}")
            if name == METRICS:
                rows = read_metrics(copy)
                check([row["step"] for row in rows] == [29, 30], f"{METRICS} has other steps than 29 and 30")
                shutil.copy(whole / METRICS, copy)
                result = "said, and lost its first rows"
            else:
                result = "said, and ended with the same bits" if listener.notes else "no harm: the same bits"
            runs.compare(copy, whole, (LAST, STATE) if name == BEST else (LAST, BEST, STATE))
            left = {path.name for path in whole.iterdir()} - {path.name for path in copy.iterdir()}
            check(not left, f"without {name} the run did not write {left}")
        except InputError as error:
            check(name == ABOUT and "\n" not in str(error), f"a deleted {name} stopped the run: {error}")
            result = "refused in one line"
        except Failed as error:
            raise Failed(f"without {name}: {error}") from error
        runs.note(f"deleted: {name}", **{result: 1})
        shutil.rmtree(copy)


class Listener(Reporter):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


class Stop(Reporter):
    """Does what Ctrl-C does, behind step `at`."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, run: Any, row: Any) -> None:
        """Ask the run to stop."""
        run.stop_requested = run.step >= self.at

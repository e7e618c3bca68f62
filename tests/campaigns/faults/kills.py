"""SIGKILL at random moments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from shared.base.lock import HOLDER, LOCK
from shared.training.metrics import METRICS, read_metrics
from tests.campaigns.faults.runs import SAVE_EVERY, Runs, check

KINDS_OF_KILLS = ("training", "writing", "anywhere")


def kill(runs: Runs) -> None:
    """SIGKILL at random moments, again and again in the same run, until the run gets to its end; then another."""
    counts: Counter[str] = Counter()
    lost, number, folder = 0, 0, runs.place / "killed-0"
    while counts["kills"] < runs.kills:
        kind = KINDS_OF_KILLS[counts["kills"] % len(KINDS_OF_KILLS)]
        before = runs.newest(folder)
        process = runs.begin(folder)
        moment(runs, kind, process, folder)
        process.kill()
        code, _, err = runs.finish(process)
        if code == -signal.SIGKILL:
            counts["kills"] += 1
            counts[kind] += 1
            counts["in_a_write"] += runs.in_a_write(folder)
            lost += steps_lost(runs, folder, before)
        check(code in (0, -signal.SIGKILL), f"exit code {code}: {err[-500:]}")
        if code == 0 or runs.newest(folder) == runs.total:  # a kill may come when all is done
            remove_lock(folder)
            runs.compare(folder, runs.reference)
            counts["runs_complete_and_equal"] += 1
            number += 1
            folder = runs.place / f"killed-{number}"
    if counts["kills"] and folder.exists():
        runs.complete(folder)
        counts["runs_complete_and_equal"] += 1
    runs.note("SIGKILL", **counts, steps_lost_beyond_the_last_save=lost)


def moment(runs: Runs, kind: str, process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for a random moment: of the whole life, of the training, or one at which a file is being written."""
    if kind == "anywhere":
        end = time.monotonic() + runs.rng.uniform(0, runs.starting + 0.5 * runs.training)
        runs.wait(process, lambda: time.monotonic() > end)
        return
    known = (folder / METRICS).stat().st_mtime_ns if (folder / METRICS).exists() else 0

    def saved() -> bool:
        with contextlib.suppress(OSError):
            return (folder / METRICS).stat().st_mtime_ns > known
        return False

    if kind == "training":
        if runs.wait(process, saved):
            time.sleep(runs.rng.uniform(0, 0.4 * runs.training))
        return
    seen: set[str] = set()
    wanted = runs.rng.randint(1, 40)  # temporary files: two for each save, more at an epoch's end

    def writing() -> bool:
        with contextlib.suppress(OSError):
            now = {entry.name for entry in os.scandir(folder) if entry.name.startswith("tmp-")}
            fresh = now - seen
            seen.update(now)
            return bool(fresh) and len(seen) >= wanted
        return False

    runs.wait(process, writing)


def steps_lost(runs: Runs, folder: Path, before: int) -> int:
    """How many steps are gone that were saved: those of states that were there before, or that were finished."""
    now = runs.newest(folder)
    rows = read_metrics(folder) if folder.is_dir() else []
    # `metrics.csv` is written in front of each state, so it tells which save was the last to begin.
    begun = int(rows[-1]["step"]) if rows else 0
    check(begun - now <= SAVE_EVERY, f"the last save began at step {begun}, but the newest state is of {now}")
    return max(0, before - now)


def remove_lock(folder: Path) -> None:
    """Remove what a process leaves behind that is killed when its run is complete already."""
    for name in (LOCK, HOLDER):
        (folder / name).unlink(missing_ok=True)

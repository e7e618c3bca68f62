"""Folders that are closed, that vanish, and in which two runs meet."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

from shared.training.folder import PREVIOUS, STATE
from tests.campaigns.faults.runs import Runs, check


def closed_folder(runs: Runs) -> None:
    """A folder that cannot be written to: at the start, and while the run is training."""
    file = runs.place / "file"
    file.write_text("x")
    counts: Counter[str] = Counter()
    for closed in (file / "run", Path("/proc/run")):
        runs.refused(runs.start(*runs.options, "--output", closed), 2, "cannot be written to")
        counts["refused_at_the_start"] += 1
    folder = runs.place / "closed"
    process = runs.begin(folder)
    runs.wait(process, (folder / STATE).exists)
    if not close(folder, True):
        process.kill()
        runs.finish(process)
        runs.note("unwritable folder", **counts, while_training="skipped: nothing is closed to root here")
        return
    try:
        runs.refused(process, 1, "what was saved before is whole")
    finally:
        close(folder, False)
    runs.complete(folder)
    runs.note("unwritable folder", **counts, while_training=1, runs_complete_and_equal=1)


def vanished_folder(runs: Runs) -> None:
    """The folder is renamed, or deleted, while the run is training."""
    folder, elsewhere = runs.place / "vanished", runs.place / "elsewhere"
    process = runs.begin(folder)
    runs.wait(process, (folder / PREVIOUS).exists)
    folder.rename(elsewhere)
    runs.refused(process, 1, "is gone (deleted, renamed or unmounted)")
    check(not folder.exists(), "the folder came back")
    runs.complete(elsewhere)
    process = runs.begin(folder)
    runs.wait(process, (folder / STATE).exists)
    while folder.exists():  # the run may be writing a file into it
        shutil.rmtree(folder, ignore_errors=True)
    runs.refused(process, 1, "is gone (deleted, renamed or unmounted)")
    runs.note("vanished folder", renamed=1, deleted=1, runs_complete_and_equal=1)


def two_in_one(runs: Runs) -> None:
    """A second process in the same folder: while the first one lives, after a kill, and started at once."""
    folder = runs.place / "two"
    first = runs.begin(folder)
    runs.wait(first, (folder / STATE).exists)
    first.send_signal(signal.SIGSTOP)
    runs.refused(runs.begin(folder), 2, f"is in use by process {first.pid} on")
    runs.refused(runs.start(*runs.options, "--output", folder), 2, "something is there already")
    first.kill()
    runs.finish(first)
    runs.complete(folder)
    together = [runs.start(*runs.options, "--output", runs.place / "together") for _ in range(2)]
    ends = sorted(runs.finish(process)[0] for process in together)
    check(ends == [0, 2], f"two that started at once ended with {ends}")
    runs.compare(runs.place / "together", runs.reference)
    runs.note("two in one folder", refused=2, went_on_after_a_kill=1, started_at_once=1, runs_complete_and_equal=2)


def close(folder: Path, closed: bool) -> bool:
    """Let nobody write into a folder, or let them again; return whether it worked. Root obeys only `chattr`."""
    if os.geteuid() != 0:
        folder.chmod(0o500 if closed else 0o700)
        return True
    command = ["chattr", "+i" if closed else "-i", str(folder)]
    return bool(shutil.which("chattr")) and subprocess.run(command, capture_output=True).returncode == 0

"""Disks that are full: a limit on the size of a file, and a small disk that is filled while a run is writing."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
from collections import Counter

from shared.training.folder import LAST, RECIPE, STATE, holds_run
from shared.training.metrics import METRICS
from tests.campaigns.faults.runs import Runs, check


def full_disk(runs: Runs) -> None:
    """Let each of the files not fit in turn, in one run; then make room and go on."""
    folder, counts = runs.place / "full", Counter()
    runs.refused(runs.begin(folder, limit=200), 2, "cannot be written to (File too large)")
    check(not folder.exists(), "the folder of a start that failed is still there")
    counts["refused_at_the_start"] += 1
    # Which file comes first, and its size, decide which one does not fit.
    for name, limit, every in ((LAST, 100_000, "0"), (STATE, 100_000, "5"), (METRICS, 5000, "1")):
        if name == METRICS:  # until it is longer than that
            process = runs.begin(folder)
            runs.wait(process, lambda: (folder / METRICS).exists() and (folder / METRICS).stat().st_size > 7000)
            process.kill()
            runs.finish(process)
        options = ["--resume", folder] if holds_run(folder) else [*runs.options, "--output", folder]
        process = runs.start(*options, "--save-every", every, limit=limit)
        line = runs.refused(process, 1, "what was saved before is whole")
        check(name in line or runs.newest(folder) % 22 == 21, f"{name} is not in {line!r}")  # 22 steps: an epoch
        check(not runs.in_a_write(folder), "a temporary file was left behind")
        counts[name] += 1
    runs.complete(folder)
    runs.note("file-size limit", **counts, runs_complete_and_equal=1)


def small_disk(runs: Runs) -> None:
    """Fill a real, small disk while the run is writing: no room for a state, for a figure, for anything."""
    disk, filler = runs.place / "disk", runs.place / "disk" / "filler"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        runs.note("small disk", skipped="mounting is not allowed here")
        return

    def fill(room: int) -> None:
        filler.write_bytes(b"0" * (shutil.disk_usage(disk).free - room))

    counts: Counter[str] = Counter()
    try:
        fill(1_000_000)
        runs.refused(runs.start(*runs.options, "--output", disk / "run"), 2, "are free, but this run needs up to")
        check(not (disk / "run").exists(), "the folder of a start that failed is still there")
        counts["refused_at_the_start"] += 1
        filler.unlink()
        # A figure comes in the last epoch, behind two new files of weights: so for it a run of one epoch.
        short = [*runs.options, "--save-every", "0", "--epochs", "1", "--output"]
        cases = [([*runs.options, "--output"], runs.reference, room, name) for room, name in ((0, ""), (9000, STATE))]
        if importlib.util.find_spec("matplotlib"):
            code, _, err = runs.finish(runs.start(*short, runs.place / "short"))
            check(code == 0, err[-500:])
            weights = (runs.place / "short" / LAST).stat().st_size
            cases.append((short, runs.place / "short", 2 * weights + 60_000, "curves.png"))
        for options, reference, room, name in cases:
            folder = disk / f"run-{room}"
            process = runs.start(*options, folder)
            runs.wait(process, (folder / (RECIPE if name == "curves.png" else STATE)).exists)
            process.send_signal(signal.SIGSTOP)  # or it would write while the room is measured
            fill(room)
            process.send_signal(signal.SIGCONT)
            line = runs.refused(process, 1, "No space left on device")
            check(name in line, f"{name} is not in {line!r}")
            check(not runs.in_a_write(folder), "a temporary file was left behind")
            filler.unlink()
            runs.complete(folder, reference)
            counts[name or "whatever_came_next"] += 1
            shutil.rmtree(folder)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    runs.note("small disk", **counts, runs_complete_and_equal=len(cases))

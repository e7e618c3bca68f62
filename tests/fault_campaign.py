"""Breaks training runs in every way we could think of, and counts what was lost: `python tests/fault_campaign.py`.

Real `resnet-twins train` processes are killed, run out of disk, lose their folder and meet in one folder; files of runs
are cut, deleted, and bits in them flipped. Each time the run must end with the bits of one that nobody disturbed, or
say in one line why it cannot. Ends with exit code 1 if one does not. What was found: docs/faults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from shared.backends import BACKENDS, missing_modules  # noqa: E402
from shared.base.errors import InputError, TrainingError, WeightsError  # noqa: E402
from shared.base.lock import HOLDER, LOCK  # noqa: E402
from shared.checkpoints.ours import read_arrays  # noqa: E402
from shared.training.folder import ABOUT, BEST, CURVES, LAST, LEFTOVERS, PREVIOUS, RECIPE, STATE, holds_run  # noqa: E402
from shared.training.metrics import METRICS, read_metrics  # noqa: E402
from shared.training.recipes import get_recipe  # noqa: E402
from shared.training.run import Reporter  # noqa: E402
from shared.training.settings import Settings  # noqa: E402
from shared.training.start import resume, train  # noqa: E402

#: With it no result depends on how threads share the work.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
SAVE_EVERY = 5
KINDS_OF_KILLS = ("training", "writing", "anywhere")
FAULTS = ("kill", "full_disk", "small_disk", "closed_folder", "vanished_folder", "two_in_one", "damage", "delete")
BOTH_STATES = "both states"
SAME_BITS = "the run went on and ended with the same bits"
#: What the table says of each figure, in its order: (fault, figure) -> (what was done, what came of it).
WORDS = {
    ("SIGKILL", "training"): ("SIGKILL at a random moment of the training", "RESUMED"),
    ("SIGKILL", "writing"): ("SIGKILL as soon as a file was being written", "RESUMED"),
    ("SIGKILL", "anywhere"): ("SIGKILL at a random moment after the start", "RESUMED"),
    ("SIGKILL", "kills"): ("all kills: the sum of the three rows above", "every file in the folder was whole"),
    ("SIGKILL", "in_a_write"): ("of these, kills in the middle of a write", "the file or state before it was whole"),
    ("SIGKILL", "runs_complete_and_equal"): (
        "runs that were killed and resumed until their end",
        "they ended with the same bits",
    ),
    ("SIGKILL", "steps_lost_beyond_the_last_save"): ("saved steps that these kills cost", "steps, not kills"),
    ("file-size limit", "refused_at_the_start"): ("file-size limit: no file fits at the start", "START"),
    ("file-size limit", LAST): (f"file-size limit: {LAST} does not fit", "LINE"),
    ("file-size limit", STATE): (f"file-size limit: {STATE} does not fit", "LINE"),
    ("file-size limit", METRICS): (f"file-size limit: {METRICS} does not fit", "LINE"),
    ("file-size limit", "runs_complete_and_equal"): ("after these: the limit is taken away", SAME_BITS),
    ("small disk", "refused_at_the_start"): ("small disk: full at the start", "START"),
    ("small disk", "whatever_came_next"): ("small disk: full while the run trains", "LINE"),
    ("small disk", STATE): (f"small disk: no room for {STATE}", "LINE"),
    ("small disk", CURVES): (f"small disk: no room for {CURVES}", "LINE"),
    ("small disk", "runs_complete_and_equal"): ("after these: there is room again", SAME_BITS),
    ("unwritable folder", "refused_at_the_start"): ("unwritable folder: at the start", "START"),
    ("unwritable folder", "while_training"): ("unwritable folder: closed while the run trains", "LINE"),
    ("unwritable folder", "runs_complete_and_equal"): ("after this: the folder is opened again", SAME_BITS),
    ("vanished folder", "renamed"): ("vanished folder: renamed while the run trains", "GONE"),
    ("vanished folder", "runs_complete_and_equal"): ("after this: resumed under the new name", SAME_BITS),
    ("vanished folder", "deleted"): ("vanished folder: deleted while the run trains", "GONE"),
    ("two in one folder", "refused"): (
        "two in one folder: the first one lives",
        "the second one is refused in one line",
    ),
    ("two in one folder", "went_on_after_a_kill"): ("two in one folder: the first one was killed", SAME_BITS),
    ("two in one folder", "started_at_once"): (
        "two in one folder: both are started at once",
        "one trains, the other one is refused in one line",
    ),
    ("two in one folder", "runs_complete_and_equal"): (
        "runs of the last two rows, until their end",
        "they ended with the same bits",
    ),
}
#: What stands in `WORDS` more than once.
OFTEN = {
    "RESUMED": "the run went on when it was resumed",
    "GONE": "the run ends in one line; the folder is not made anew",
    "START": "refused in one line; nothing is left behind",
    "LINE": "the run ends in one line that says how to go on; nothing half-written is left",
}
#: The same for files that were damaged or deleted.
RESULTS = {
    "said, and ended with the same bits": f"{SAME_BITS}; it said what was wrong",
    "no harm: the same bits": SAME_BITS,
    "refused in one line": "the run does not go on; one line says what can be done",
    "said, and lost its first rows": f"{SAME_BITS}; it said at which step the curve begins now",
}
#: Runs the command with a limit (bytes) on the size of each file that it writes, as a full disk would.
LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); limit = int(sys.argv.pop(1)); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); from shared.cli.main import main; main()"
)


class Failed(Exception):  # noqa: N818 (it is a result, not a mistake of the script)
    """The package did not do what it promises; the text says what."""


def check(good: bool, text: str) -> None:
    """Raise `Failed` unless `good`."""
    if not good:
        raise Failed(text)


class Campaign:
    """All faults for one framework. `figures` is what the table shows: what was done -> how often what was seen."""

    def __init__(self, framework: str, place: Path, *, kills: int, damages: int, seed: int, epochs: int) -> None:
        self.framework, self.place, self.kills, self.damages = framework, place, kills, damages
        self.rng = random.Random(f"{seed} {framework}")
        self.options = ["--framework", framework, "--epochs", str(epochs), "--set", "flip=yes", "--threads", "1"]
        self.options += ["--device", "cpu", "--save-every", str(SAVE_EVERY)]
        self.figures: dict[str, dict[str, Any]] = {}

    # -- processes

    def start(self, *arguments: str | Path, limit: int | None = None) -> subprocess.Popen[str]:
        """Start `resnet-twins train` with these arguments."""
        head = ["-m", "shared"] if limit is None else ["-c", LIMITED, str(limit)]
        command = [sys.executable, *head, "train", *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, text=True, **pipes)

    def begin(self, folder: Path, **options: Any) -> subprocess.Popen[str]:
        """Begin the run in `folder`, or go on with it if it was begun."""
        if holds_run(folder):
            return self.start("--resume", folder, **options)
        return self.start(*self.options, "--output", folder, **options)

    def finish(self, process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str, str]:
        """Wait for the end; return exit code, stdout and stderr."""
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err

    def refused(self, process: subprocess.Popen[str], code: int, words: str) -> str:
        """Check that the process ends with this exit code and one line that has these words."""
        got, out, err = self.finish(process)
        lines = err.strip().splitlines()
        check(got == code, f"exit code {got} instead of {code}: {out[-500:]} {err[-500:]}")
        check(len(lines) == 1 and "Traceback" not in out + err, f"not one line but {err[-800:]}")
        check(words in lines[0], f"{words!r} is not in {lines[0]!r}")
        return lines[0]

    def complete(self, folder: Path, reference: Path | None = None) -> str:
        """Go on until the end and compare every bit with the run that nobody disturbed; return what was printed."""
        code, out, err = self.finish(self.begin(folder))
        check(code == 0, f"going on ended with exit code {code}: {err[-500:]}")
        self.compare(folder, reference or self.reference)
        return out

    def compare(self, folder: Path, reference: Path, names: tuple[str, ...] = (LAST, BEST, STATE)) -> None:
        """Check that two complete runs have the same weights, state and metrics (but for the times)."""
        for name in names:
            ours, wanted = (read_arrays(each / name)[0] for each in (folder, reference))
            other = [key for key in wanted if key not in ours or ours[key].tobytes() != wanted[key].tobytes()]
            check(ours.keys() == wanted.keys() and not other, f"{name} differs in {other[:3]}")
        times = ("seconds", "images_per_second")
        first, second = (
            [{key: value for key, value in row.items() if key not in times} for row in read_metrics(each)]
            for each in (folder, reference)
        )
        check(first == second, f"{METRICS} differs")
        left = [path.name for path in folder.iterdir() if any(path.match(pattern) for pattern in LEFTOVERS)]
        check(not left, f"left behind: {left}")

    def note(self, what: str, **counts: Any) -> None:
        """Keep figures for the table."""
        self.figures[what] = counts

    # -- the faults

    def make_reference(self) -> None:
        """Train without trouble, and measure how long the start and the training take."""
        self.reference = self.place / "reference"
        begun = time.monotonic()
        process = self.begin(self.reference)
        self.wait(process, (self.reference / METRICS).exists)
        self.starting = time.monotonic() - begun
        code, _, err = self.finish(process)
        check(code == 0, err[-500:])
        self.total = self.newest(self.reference)
        self.training = time.monotonic() - begun - self.starting

    def wait(self, process: subprocess.Popen[str], until: Callable[[], bool], seconds: float = 120) -> bool:
        """Wait until something is so; return False if the process ended before."""
        deadline = time.monotonic() + seconds
        while not until():
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.0002)
        return True

    def kill(self) -> None:
        """SIGKILL at random moments, again and again in the same run, until the run gets to its end; then another."""
        counts: Counter[str] = Counter()
        lost, number, folder = 0, 0, self.place / "killed-0"
        while counts["kills"] < self.kills:
            kind = KINDS_OF_KILLS[counts["kills"] % len(KINDS_OF_KILLS)]
            before = self.newest(folder)
            process = self.begin(folder)
            self.moment(kind, process, folder)
            process.kill()
            code, _, err = self.finish(process)
            if code == -signal.SIGKILL:
                counts["kills"] += 1
                counts[kind] += 1
                counts["in_a_write"] += self.in_a_write(folder)
                lost += self.steps_lost(folder, before)
            check(code in (0, -signal.SIGKILL), f"exit code {code}: {err[-500:]}")
            if code == 0 or self.newest(folder) == self.total:  # a kill may come when all is done
                remove_lock(folder)
                self.compare(folder, self.reference)
                counts["runs_complete_and_equal"] += 1
                number += 1
                folder = self.place / f"killed-{number}"
        if counts["kills"] and folder.exists():
            self.complete(folder)
            counts["runs_complete_and_equal"] += 1
        self.note("SIGKILL", **counts, steps_lost_beyond_the_last_save=lost)

    def moment(self, kind: str, process: subprocess.Popen[str], folder: Path) -> None:
        """Wait for a random moment: of the whole life, of the training, or one at which a file is being written."""
        if kind == "anywhere":
            end = time.monotonic() + self.rng.uniform(0, self.starting + 0.5 * self.training)
            self.wait(process, lambda: time.monotonic() > end)
            return
        known = (folder / METRICS).stat().st_mtime_ns if (folder / METRICS).exists() else 0

        def saved() -> bool:
            with contextlib.suppress(OSError):
                return (folder / METRICS).stat().st_mtime_ns > known
            return False

        if kind == "training":
            if self.wait(process, saved):
                time.sleep(self.rng.uniform(0, 0.4 * self.training))
            return
        seen: set[str] = set()
        wanted = self.rng.randint(1, 40)  # temporary files: two for each save, more at an epoch's end

        def writing() -> bool:
            with contextlib.suppress(OSError):
                now = {entry.name for entry in os.scandir(folder) if entry.name.startswith("tmp-")}
                fresh = now - seen
                seen.update(now)
                return bool(fresh) and len(seen) >= wanted
            return False

        self.wait(process, writing)

    def in_a_write(self, folder: Path) -> bool:
        """Whether the kill left a temporary file, or came between the two renames of a state."""
        if not folder.is_dir():
            return False
        names = {path.name for path in folder.iterdir()}
        return any(name.startswith(("tmp-", ".tmp")) for name in names) or (PREVIOUS in names and STATE not in names)

    def newest(self, folder: Path) -> int:
        """The step of the newest state on disk, 0 without one. Every file there must be whole."""
        steps = [0]
        for name in (STATE, PREVIOUS, LAST, BEST):
            if (folder / name).exists():
                metadata = read_arrays(folder / name)[1]  # which checks the hash
                if name in (STATE, PREVIOUS):
                    steps.append(int(metadata["step"]))
        return max(steps)

    def steps_lost(self, folder: Path, before: int) -> int:
        """How many steps are gone that were saved: those of states that were there before, or that were finished."""
        now = self.newest(folder)
        rows = read_metrics(folder) if folder.is_dir() else []
        # `metrics.csv` is written in front of each state, so it tells which save was the last to begin.
        begun = int(rows[-1]["step"]) if rows else 0
        check(begun - now <= SAVE_EVERY, f"the last save began at step {begun}, but the newest state is of {now}")
        return max(0, before - now)

    def full_disk(self) -> None:
        """Let each of the files not fit in turn, in one run; then make room and go on."""
        folder, counts = self.place / "full", Counter()
        self.refused(self.begin(folder, limit=200), 2, "cannot be written to (File too large)")
        check(not folder.exists(), "the folder of a start that failed is still there")
        counts["refused_at_the_start"] += 1
        # Which file comes first, and its size, decide which one does not fit.
        for name, limit, every in ((LAST, 100_000, "0"), (STATE, 100_000, "5"), (METRICS, 5000, "1")):
            if name == METRICS:  # until it is longer than that
                process = self.begin(folder)
                self.wait(process, lambda: (folder / METRICS).exists() and (folder / METRICS).stat().st_size > 7000)
                process.kill()
                self.finish(process)
            options = ["--resume", folder] if holds_run(folder) else [*self.options, "--output", folder]
            process = self.start(*options, "--save-every", every, limit=limit)
            line = self.refused(process, 1, "what was saved before is whole")
            check(name in line or self.newest(folder) % 22 == 21, f"{name} is not in {line!r}")  # 22 steps: an epoch
            check(not self.in_a_write(folder), "a temporary file was left behind")
            counts[name] += 1
        self.complete(folder)
        self.note("file-size limit", **counts, runs_complete_and_equal=1)

    def small_disk(self) -> None:
        """Fill a real, small disk while the run is writing: no room for a state, for a figure, for anything."""
        disk, filler = self.place / "disk", self.place / "disk" / "filler"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
        if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
            self.note("small disk", skipped="mounting is not allowed here")
            return

        def fill(room: int) -> None:
            filler.write_bytes(b"0" * (shutil.disk_usage(disk).free - room))

        counts: Counter[str] = Counter()
        try:
            fill(1_000_000)
            self.refused(self.start(*self.options, "--output", disk / "run"), 2, "are free, but this run needs up to")
            check(not (disk / "run").exists(), "the folder of a start that failed is still there")
            counts["refused_at_the_start"] += 1
            filler.unlink()
            # A figure comes in the last epoch, behind two new files of weights: so for it a run of one epoch.
            short = [*self.options, "--save-every", "0", "--epochs", "1", "--output"]
            cases = [
                ([*self.options, "--output"], self.reference, room, name) for room, name in ((0, ""), (9000, STATE))
            ]
            if importlib.util.find_spec("matplotlib"):
                code, _, err = self.finish(self.start(*short, self.place / "short"))
                check(code == 0, err[-500:])
                weights = (self.place / "short" / LAST).stat().st_size
                cases.append((short, self.place / "short", 2 * weights + 60_000, "curves.png"))
            for options, reference, room, name in cases:
                folder = disk / f"run-{room}"
                process = self.start(*options, folder)
                self.wait(process, (folder / (RECIPE if name == "curves.png" else STATE)).exists)
                process.send_signal(signal.SIGSTOP)  # or it would write while the room is measured
                fill(room)
                process.send_signal(signal.SIGCONT)
                line = self.refused(process, 1, "No space left on device")
                check(name in line, f"{name} is not in {line!r}")
                check(not self.in_a_write(folder), "a temporary file was left behind")
                filler.unlink()
                self.complete(folder, reference)
                counts[name or "whatever_came_next"] += 1
                shutil.rmtree(folder)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        self.note("small disk", **counts, runs_complete_and_equal=len(cases))

    def closed_folder(self) -> None:
        """A folder that cannot be written to: at the start, and while the run is training."""
        file = self.place / "file"
        file.write_text("x")
        counts: Counter[str] = Counter()
        for closed in (file / "run", Path("/proc/run")):
            self.refused(self.start(*self.options, "--output", closed), 2, "cannot be written to")
            counts["refused_at_the_start"] += 1
        folder = self.place / "closed"
        process = self.begin(folder)
        self.wait(process, (folder / STATE).exists)
        if not close(folder, True):
            process.kill()
            self.finish(process)
            self.note("unwritable folder", **counts, while_training="skipped: nothing is closed to root here")
            return
        try:
            self.refused(process, 1, "what was saved before is whole")
        finally:
            close(folder, False)
        self.complete(folder)
        self.note("unwritable folder", **counts, while_training=1, runs_complete_and_equal=1)

    def vanished_folder(self) -> None:
        """The folder is renamed, or deleted, while the run is training."""
        folder, elsewhere = self.place / "vanished", self.place / "elsewhere"
        process = self.begin(folder)
        self.wait(process, (folder / PREVIOUS).exists)
        folder.rename(elsewhere)
        self.refused(process, 1, "is gone (deleted, renamed or unmounted)")
        check(not folder.exists(), "the folder came back")
        self.complete(elsewhere)
        process = self.begin(folder)
        self.wait(process, (folder / STATE).exists)
        while folder.exists():  # the run may be writing a file into it
            shutil.rmtree(folder, ignore_errors=True)
        self.refused(process, 1, "is gone (deleted, renamed or unmounted)")
        self.note("vanished folder", renamed=1, deleted=1, runs_complete_and_equal=1)

    def two_in_one(self) -> None:
        """A second process in the same folder: while the first one lives, after a kill, and started at once."""
        folder = self.place / "two"
        first = self.begin(folder)
        self.wait(first, (folder / STATE).exists)
        first.send_signal(signal.SIGSTOP)
        self.refused(self.begin(folder), 2, f"is in use by process {first.pid} on")
        self.refused(self.start(*self.options, "--output", folder), 2, "something is there already")
        first.kill()
        self.finish(first)
        self.complete(folder)
        together = [self.start(*self.options, "--output", self.place / "together") for _ in range(2)]
        ends = sorted(self.finish(process)[0] for process in together)
        check(ends == [0, 2], f"two that started at once ended with {ends}")
        self.compare(self.place / "together", self.reference)
        self.note("two in one folder", refused=2, went_on_after_a_kill=1, started_at_once=1, runs_complete_and_equal=2)

    def damage(self) -> None:
        """Cut files of a stopped run, and flip bits in them, at random places; then go on, in this process."""
        whole, folder = self.stopped()
        seen: dict[str, Counter[str]] = {}
        names = (STATE, BEST, ABOUT, BOTH_STATES, METRICS, STATE, PREVIOUS, LAST, RECIPE, STATE)
        for number in range(self.damages):
            name = names[number % len(names)]
            copy = self.place / "damaged"
            shutil.copytree(folder, copy)
            how = self.rng.choice(("cut", "flipped", "flipped"))
            for each in (STATE, PREVIOUS) if name == BOTH_STATES else (name,):
                content = bytearray((copy / each).read_bytes())
                if how == "cut":
                    del content[self.rng.randrange(len(content)) :]
                else:
                    # Half of them in the first part, where names, shapes and texts are: the numbers fill the file.
                    part = self.rng.choice((min(6000, len(content)), len(content)))
                    content[self.rng.randrange(part)] ^= 1 << self.rng.randrange(8)
                (copy / each).write_bytes(content)
            listener = Listener()
            try:
                resume(copy, reporter=lambda listener=listener: listener)
                # The best of the epochs before is lost with its file, which is said.
                self.compare(copy, whole, (LAST, STATE) if name == BEST else (LAST, BEST, STATE))
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
            self.note(f"damaged: {name}", **counts)

    def stopped(self) -> tuple[Path, Path]:
        """Return the folders of a run that was not disturbed, and of the same one, stopped after 28 of 30 steps."""
        whole, folder = self.place / "whole", self.place / "stopped"
        if not whole.exists():
            recipe = get_recipe("quick", ["steps=30", "flip=yes"])
            # One thread: TensorFlow's several add up in an order that may be another one in the next run.
            settings = Settings(device="cpu", save_every=SAVE_EVERY, threads=1)
            options: dict[str, Any] = {"framework": self.framework, "settings": settings}
            train(recipe, output=whole, **options)
            train(recipe, output=folder, reporter=lambda: Stop(28), **options)
        return whole, folder

    def delete(self) -> None:
        """Delete each file of a stopped run; then go on, in this process."""
        whole, folder = self.stopped()
        for name in (*sorted(path.name for path in folder.iterdir()), BOTH_STATES):
            copy, listener = self.place / "deleted", Listener()
            shutil.copytree(folder, copy)
            for each in (STATE, PREVIOUS) if name == BOTH_STATES else (name,):
                (copy / each).unlink()
            try:
                resume(copy, reporter=lambda listener=listener: listener)
                check(
                    bool(listener.notes) == (name in (STATE, BEST, METRICS, BOTH_STATES)), f"{name}: {listener.notes}"
                )
                if name == METRICS:
                    rows = read_metrics(copy)
                    check([row["step"] for row in rows] == [29, 30], f"{METRICS} has other steps than 29 and 30")
                    shutil.copy(whole / METRICS, copy)
                    result = "said, and lost its first rows"
                else:
                    result = "said, and ended with the same bits" if listener.notes else "no harm: the same bits"
                self.compare(copy, whole, (LAST, STATE) if name == BEST else (LAST, BEST, STATE))
                left = {path.name for path in whole.iterdir()} - {path.name for path in copy.iterdir()}
                check(not left, f"without {name} the run did not write {left}")
            except InputError as error:
                check(name == ABOUT and "\n" not in str(error), f"a deleted {name} stopped the run: {error}")
                result = "refused in one line"
            except Failed as error:
                raise Failed(f"without {name}: {error}") from error
            self.note(f"deleted: {name}", **{result: 1})
            shutil.rmtree(copy)

    def run(self, console: Console, only: tuple[str, ...]) -> bool:
        """Do the faults in `only`; return whether all went as promised."""
        good = True
        for step in (self.make_reference, *(getattr(self, name) for name in only)):
            begun = time.monotonic()
            try:
                step()
            except (Failed, TrainingError, WeightsError, OSError, subprocess.SubprocessError) as error:
                good = False
                self.note(step.__name__, FAILED=str(error))
                if step == self.make_reference:
                    break
            console.print(f"{BACKENDS[self.framework].title}: {step.__name__}, {time.monotonic() - begun:.0f} s")
        return good


def words(fault: str, figure: str) -> tuple[str, str]:
    """Return what was done and what came of it, for people; what nobody foresaw stands there as it is."""
    how, colon, file = fault.partition(": ")
    if colon:
        others = " (but for this file, which begins anew)" if file == BEST else ""
        return f"{file} {how}", RESULTS.get(figure, figure) + others
    done, result = WORDS.get((fault, figure), (fault, figure))
    return done, OFTEN.get(result, result)


def table_rows(figures: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[str, ...]]:
    """Return the rows of the table: what was done, how often with each framework, what came of it."""
    found = dict.fromkeys(
        (what, key) for faults in figures.values() for what, counts in faults.items() for key in counts
    )
    places = {entry: number for number, entry in enumerate(WORDS)}
    rows = []
    for what, key in sorted(found, key=lambda entry: places.get(entry, len(places))):  # the others stay behind them
        done, result = words(what, key)
        rows.append((done, *(str(faults.get(what, {}).get(key, "")) for faults in figures.values()), result))
    return rows


def headings(figures: dict[str, Any]) -> tuple[str, ...]:
    """Return the headings of the table."""
    return ("what was done", *(f"times, {BACKENDS[name].title}" for name in figures), "what came of it")


def markdown(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the table as it stands in docs/faults.md."""
    names = headings(figures)
    lines = [names, ("---", *["---:"] * len(figures), "---"), *table_rows(figures)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def close(folder: Path, closed: bool) -> bool:
    """Let nobody write into a folder, or let them again; return whether it worked. Root obeys only `chattr`."""
    if os.geteuid() != 0:
        folder.chmod(0o500 if closed else 0o700)
        return True
    command = ["chattr", "+i" if closed else "-i", str(folder)]
    return bool(shutil.which("chattr")) and subprocess.run(command, capture_output=True).returncode == 0


def remove_lock(folder: Path) -> None:
    """Remove what a process leaves behind that is killed when its run is complete already."""
    for name in (LOCK, HOLDER):
        (folder / name).unlink(missing_ok=True)


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


def main() -> int:
    """Run the campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=(*BACKENDS, "both"), default="both")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs for each framework")
    parser.add_argument("--damages", type=int, default=60, help="damaged files for each framework")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=FAULTS, help="only these faults")
    parser.add_argument(
        "--quick", action="store_true", help="two kills, five damaged files and all deleted ones in short runs"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file; others there stay")
    parser.add_argument("--table", type=Path, help="only print the figures in this file, as docs/faults.md shows them")
    given = parser.parse_args()
    if given.table:
        print(markdown(json.loads(given.table.read_text(encoding="utf-8"))), end="")
        return 0
    kills, damages, epochs = (2, 5, 3) if given.quick else (given.kills, given.damages, 20)
    only = ("kill", "damage", "delete") if given.quick else tuple(given.only)
    console = Console(width=120, highlight=False)
    wanted = tuple(BACKENDS) if given.framework == "both" else (given.framework,)
    names = [name for name in wanted if not missing_modules(name)]
    good, found = bool(names), {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            campaign = Campaign(name, Path(place), kills=kills, damages=damages, seed=given.seed, epochs=epochs)
            good = campaign.run(console, only) and good
            found[name] = campaign.figures
    table = Table(*headings(found), title="Faults")
    for row in table_rows(found):
        table.add_row(*row)
    console.print(table)
    if given.json:
        known = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        merged = {name: {**known.get(name, {}), **found.get(name, {})} for name in (*known, *found)}
        given.json.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    console.print("all as promised" if good else "[bold red]not all as promised[/]")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Real runs in processes: how one is begun, gone on with and waited for, and what each must keep."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.checkpoints.ours import read_arrays
from shared.training.folder import BEST, LAST, LEFTOVERS, PREVIOUS, STATE, holds_run
from shared.training.metrics import METRICS, read_metrics

ROOT = Path(__file__).parents[3]
#: With it no result depends on how threads share the work.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
SAVE_EVERY = 5
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


class Runs:
    """All runs of one framework. `figures` is what the table shows: what was done -> how often what was seen."""

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

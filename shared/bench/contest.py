"""Runs a race: side by side, in one run, as ratios.

Each contender is a process of its own, so that frameworks do not share threads and each has a peak of memory of its
own. All are started and warmed up first. Then they take turns: in every round each one works for some seconds while the
others wait, and a round gives one ratio to the reference. The median of these ratios is told, with the lowest and the
highest: a computer that becomes slower or faster in between changes both sides of a ratio. With other programs at work
it is not so: PyTorch's threads wait for each other, and one that gets no core holds all of them up.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from shared.backends import missing_modules
from shared.base.printable import printable
from shared.base.subprocesses import child_environment, python_command
from shared.bench.images import images_for, save_images
from shared.bench.races import MATRIX, Job, Race, ceilings, macs

Say = Callable[[str], None]
#: How much the rounds of a contender may differ on a computer that does nothing else.
STEADY = 2.0


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(kw_only=True)
class Timing:
    """What a contender reached: images a second in every round, megabytes at most; `failed`: why there is nothing."""

    label: str
    job: Job
    rates: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    failed: str = ""

    @property
    def rate(self) -> float:
        """The median of images a second."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def steady(self) -> bool:
        """Whether the fastest round is at most `STEADY` times as fast as the slowest; else the numbers mean little."""
        return not self.rates or max(self.rates) <= STEADY * min(self.rates)

    def share(self, ceiling: dict[str, float]) -> float | None:
        """Return how much of the machine's speed in matrix products the network's arithmetic uses, from 0 to 1.

        `ceiling` is in GFLOP/s, by precision. A multiply-add is two operations, a backward pass costs two forward ones.
        """
        most = ceiling.get(self.job.precision)
        if not most or not self.rates or self.job.what not in ("train", "predict", "epoch"):
            return None
        passes = 1 if self.job.what == "predict" else 3
        return self.rate * macs(self.job) * 2 * passes / 1e9 / most


@dataclass(kw_only=True)
class Outcome:
    """A race that was run. `images`: what was read, where something was."""

    race: Race
    timings: list[Timing]
    images: str = ""

    @property
    def reference(self) -> Timing | None:
        """The first contender that has times: the one that the others are compared with."""
        return next((timing for timing in self.timings if timing.rates), None)

    def ratio(self, timing: Timing) -> tuple[float, float, float] | None:
        """Return median, lowest and highest of this contender's speed over the reference's, round by round."""
        if self.reference is None or not timing.rates:
            return None
        pairs = [mine / other for mine, other in zip(timing.rates, self.reference.rates, strict=True)]
        return statistics.median(pairs), min(pairs), max(pairs)


class Contestant:
    """The process of a contender: answers one line to each line, and is ended."""

    def __init__(self, job: Job) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            python_command("-m", "shared.bench.worker", json.dumps(asdict(job))),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer. Raises `RuntimeError` with the reason if the process has ended."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write(line + "\n")
            stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(self._reason(self.log))
        return dict(json.loads(answer))

    def _reason(self, log: IO[str]) -> str:
        self.process.wait()
        log.seek(0)
        lines = [line.strip() for line in log.read().splitlines() if line.strip()]
        # Without the name of the exception's class, of which nobody has to know.
        last = re.sub(r"^[\w.]+(?:Error|Exception): ", "", lines[-1]) if lines else ""
        return printable(last, 300) or f"the process ended with exit code {self.process.returncode}"

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def run_race(race: Race, *, rounds: int, seconds: float, say: Say = _silent) -> Outcome:
    """Let the contenders of a race take turns, `rounds` times for about `seconds` each.

    One whose framework is missing, or that fails, is left out, and its `Timing` says why.
    """
    outcome = Outcome(race=race, timings=[Timing(label=entry.label, job=entry.job) for entry in race.contenders])
    contestants: dict[int, Contestant] = {}

    def ask(number: int, line: str) -> dict[str, Any]:
        """Ask a contender; one that fails is out of the race, with all times."""
        timing = outcome.timings[number]
        try:
            return contestants[number].ask(line)
        except RuntimeError as error:
            timing.failed, timing.rates = str(error), []
            contestants.pop(number).end()
            return {}

    with tempfile.TemporaryDirectory() as folder:
        images = ""
        if race.contenders[0].job.recipe:
            images = str(Path(folder) / "images.safetensors")
            data, outcome.images = images_for(race.contenders[0].job)
            save_images(Path(images), data)
        try:
            for number, timing in enumerate(outcome.timings):
                if missing := missing_modules(timing.job.backend):
                    timing.failed = f"{', '.join(missing)} not installed"
                    continue
                say(f"{race.title}: starting {timing.label}")
                contestants[number] = Contestant(replace(timing.job, images=images))
                timing.label = ask(number, "warm").get("label", timing.label)
            for turn in range(rounds):
                order = list(contestants)
                shift = turn % max(1, len(order))
                for number in order[shift:] + order[:shift]:  # nobody always comes behind the same one
                    say(f"{race.title}: round {turn + 1} of {rounds}, {outcome.timings[number].label}")
                    if answer := ask(number, f"go {seconds}"):
                        outcome.timings[number].rates.append(answer["images"] / answer["seconds"])
                        outcome.timings[number].megabytes = answer["megabytes"]
        finally:
            for contestant in contestants.values():
                contestant.end()
    return outcome


def measure_ceiling(*, seconds: float, say: Say = _silent) -> dict[str, float]:
    """Return the machine's speed in products of large matrices, in GFLOP/s by precision: the best of the frameworks."""
    best: dict[str, float] = {}
    for timing in run_race(ceilings(), rounds=3, seconds=seconds, say=say).timings:
        found = timing.rate * 2 * MATRIX**3 / 1e9
        best[timing.job.precision] = max(best.get(timing.job.precision, 0.0), found)
    return best

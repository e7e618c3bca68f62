"""How long it takes until something happens: imports, commands, and `compare` and `verify` for all depths."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.backends import BACKENDS, missing_modules
from shared.base.printable import printable
from shared.base.subprocesses import child_environment, python_command
from shared.networks.catalog import PAPER_DEPTHS

EMPTY = "an empty Python process"


@dataclass(kw_only=True)
class Start:
    """A Python process from its beginning to its end. reference: the label of what it is compared with."""

    label: str
    arguments: list[str]
    reference: str
    backends: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds) if self.seconds else 0.0


def _code(code: str, reference: str, *backends: str) -> Start:
    return Start(label=f"`{code}`", arguments=["-c", code], reference=reference, backends=backends)


def _command(line: str, reference: str, *backends: str) -> Start:
    label = f"`resnet-twins {line}`"
    return Start(label=label, arguments=["-m", "shared", *line.split()], reference=reference, backends=backends)


def imports() -> list[Start]:
    """Return what needs no network: imports and the commands that only print."""
    found = [
        Start(label=EMPTY, arguments=["-c", "pass"], reference=EMPTY),
        _code("import shared", EMPTY),
        _command("--version", EMPTY),
        _command("--help", EMPTY),
        _command("models", EMPTY),
        _command("compare nope", EMPTY),
    ]
    for name, framework in BACKENDS.items():
        alone = f"import {framework.modules[-1]}"
        found += [_code(alone, f"`{alone}`", name), _code(f"import {framework.package}", f"`{alone}`", name)]
    return found


def commands(*, quick: bool = False) -> list[Start]:
    """Return `compare` and `verify` for all depths, beside the mere import of the frameworks."""
    names = PAPER_DEPTHS[:1] if quick else PAPER_DEPTHS
    mere = f"import {', '.join(framework.modules[-1] for framework in BACKENDS.values())}"
    lines = [f"{what} {name}" for what in ("compare", "verify") for name in names]
    return [_code(mere, f"`{mere}`", *BACKENDS), *(_command(line, f"`{mere}`", *BACKENDS) for line in lines)]


def measure_starts(starts: list[Start], *, runs: int, say: Callable[[str], None]) -> list[Start]:
    """Run every one `runs` times, in turns, behind one that warms the disk's cache up where there are several."""
    environment = child_environment(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    for start in starts:
        missing = [module for backend in start.backends for module in missing_modules(backend)]
        start.failed = f"{', '.join(missing)} not installed" if missing else ""
    for turn in range(runs + (runs > 1)):
        for start in starts:
            if start.failed:
                continue
            say(f"{start.label}: {turn + 1}")
            began = time.perf_counter()
            command = python_command(*start.arguments)
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            passed = time.perf_counter() - began
            if done.returncode and "nope" not in start.arguments:
                lines = done.stderr.strip().splitlines()
                start.failed = printable(lines[-1] if lines else f"exit code {done.returncode}", 300)
                start.seconds = []
            elif turn or runs == 1:
                start.seconds.append(passed)
    return starts

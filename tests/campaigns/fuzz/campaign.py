"""All inputs of one call, some at a time, and what was counted of them."""

from __future__ import annotations

import gc
import os
import select
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.training.start import resume
from tests.campaigns.fuzz.child import Child
from tests.campaigns.fuzz.figures import Figures
from tests.campaigns.fuzz.judge import BROKE, COMMAND, PROCESS, READER, Outcome
from tests.campaigns.fuzz.kinds import KINDS, Kind
from tests.campaigns.fuzz.seeds import Seeds

#: One of so many inputs goes through the command `resnet-twins`: its `main()` in the child, or a process of its own.
BY_COMMAND, BY_PROCESS = 100, 200


@dataclass
class Campaign:
    """All inputs of one call. `kinds` may be others than ours, which shows that it finds what it looks for."""

    place: Path
    seed: int = 0
    kinds: dict[str, Kind] = field(default_factory=lambda: KINDS)
    jobs: int = 2
    keep: Path | None = None
    figures: dict[str, Figures] = field(default_factory=dict)
    findings: dict[str, list[Outcome]] = field(default_factory=dict)
    idle: int = 0

    def __post_init__(self) -> None:
        """Make what all inputs begin from, and load what the readers need: a child that loads it would be slow."""
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "seeds").mkdir()
        self.seeds = Seeds(self.place / "seeds")

    def warm(self) -> None:
        """Read a good file of each kind, in here, so that whatever is loaded late is loaded."""
        from shared.cli.main import main  # noqa: F401

        if any("torch" in kind.needs for kind in self.kinds.values()):
            folder = self.place / "good" / "run"
            folder.mkdir(parents=True)
            for name, content in self.seeds.folder_of_run().items():
                (folder / name).write_bytes(content)
            resume(folder)  # which also draws
        self.seeds.two_classes()
        gc.collect()
        gc.freeze()  # or each child copies whatever the collector looks at
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads != 1:
            raise RuntimeError(f"this process has {threads} threads, and one that forks may have one only")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        self.idle = os.wait4(pid, 0)[2].ru_maxrss * 1024

    def order(self) -> Iterator[tuple[str, int]]:
        """Yield kind and number of the inputs without end; each hundred or so has every kind by its share."""
        turns = [(turn / kind.share, name) for name, kind in self.kinds.items() for turn in range(kind.share)]
        counts: Counter[str] = Counter()
        while True:
            for _, name in sorted(turns):
                yield name, counts[name]
                counts[name] += 1

    def route(self, name: str, number: int) -> str:
        """Return how an input is read."""
        if number % BY_PROCESS == BY_PROCESS // 2:
            return PROCESS
        return COMMAND if number % BY_COMMAND == 3 else READER

    def run(self, wanted: Iterable[tuple[str, int, str]], seconds: float, tell: Callable[[str], None]) -> None:
        """Read inputs, `jobs` at a time, until there are no more or the time is over."""
        begun, told, waiting = time.monotonic(), 0.0, iter(wanted)
        children: dict[int, Child] = {}
        while True:
            late = time.monotonic() - begun > seconds
            while len(children) < self.jobs and not late:
                following = next(waiting, None)
                if following is None:
                    late = True
                    break
                child = Child(following, self.kinds[following[0]], self.seeds, self.seed, self.place)
                children[child.pipe] = child
            if not children:
                return
            soonest = min(child.deadline for child in children.values()) - time.monotonic()
            leaving = any(child.silent for child in children.values())
            speaking = [pipe for pipe, child in children.items() if not child.silent]
            ready, _, _ = select.select(speaking, [], [], 0.001 if leaving else max(0.0, soonest))
            for pipe in ready:
                children[pipe].hear()
            for pipe, child in list(children.items()):
                late_one = pipe not in ready and time.monotonic() > child.deadline
                if child.has_ended() or late_one:
                    self.note(child, child.end())
                    del children[pipe]
                    child.clean()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                done, broke = (
                    sum(getattr(each, what) for each in self.figures.values()) for what in ("inputs", "broke")
                )
                tell(f"{done:,} inputs in {told - begun:,.0f} s, {broke:,} broke something")

    def note(self, child: Child, outcome: Outcome) -> None:
        """Count an outcome, and keep the input if it broke something."""
        figures = self.figures.setdefault(child.name, Figures(self.kinds[child.name].words))
        figures.inputs += 1
        setattr(figures, outcome.result, getattr(figures, outcome.result) + 1)
        figures.by_command += outcome.route != READER
        label = f"{outcome.kind}:{outcome.number}"
        if outcome.route == READER:
            figures.most_megabytes = max(figures.most_megabytes, round((outcome.memory - self.idle) / 1e6, 1))
            if outcome.seconds > figures.slowest_seconds:
                figures.slowest_seconds, figures.slowest = round(outcome.seconds, 2), label
        if outcome.result == BROKE:
            self.findings.setdefault(f"{outcome.kind}: {outcome.text}", []).append(outcome)
            if self.keep is not None:
                kept = self.keep / f"{outcome.kind}-{outcome.number}"
                shutil.rmtree(kept, ignore_errors=True)
                keep_input(child.input, kept)
                (kept / "what-broke.txt").write_text(
                    f"{label}\n{outcome.text}\n{outcome.detail}\n", errors="backslashreplace"
                )


def keep_input(folder: Path, kept: Path) -> None:
    """Copy an input; links stay links, and pipes and huge files are left out."""

    def leave_out(where_: str, names: list[str]) -> list[str]:
        paths = [Path(where_) / name for name in names]
        return [
            path.name
            for path in paths
            if not path.is_symlink() and not path.is_dir() and (not path.is_file() or path.stat().st_size > 10**8)
        ]

    shutil.copytree(folder, kept, symlinks=True, ignore=leave_out)

"""What a training run shows: a bar on a terminal, plain lines elsewhere; the same for both frameworks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from shared.backends import BACKENDS
from shared.base.printable import MOST_MESSAGE, one_line, printable
from shared.base.versions import install_command, is_installed
from shared.training.metrics import epoch_means
from shared.training.run import Reporter, Run

#: Where there is no bar, a long epoch says this often that it is alive.
SECONDS_BETWEEN_LINES = 60.0
RECENT_STEPS = 30


def duration(seconds: float) -> str:
    """Return a time as people say it: "45 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def recent(run: Run) -> tuple[float, float, float, float]:
    """Return mean loss, mean accuracy, images/s of the last steps, and the seconds that the remaining ones take."""
    rows = run.rows[-RECENT_STEPS:]
    rows = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    # The median: the first step, in which everything is still set up, takes a hundred times as long as the others.
    rate = statistics.median(row["images_per_second"] for row in rows)
    loss, accuracy = (sum(row[name] for row in rows) / len(rows) for name in ("train_loss", "train_accuracy"))
    return loss, accuracy, rate, (run.total - run.step) * run.recipe.batch_size / rate


def epoch_line(run: Run, row: Mapping[str, float]) -> str:
    """Return one line about an epoch that is done."""
    tail = run.rows[-run.batches.steps_per_epoch :]
    (loss,), (accuracy,) = (epoch_means(tail, f"train_{what}")[1][-1:] for what in ("loss", "accuracy"))
    rate = recent(run)[2]
    parts = [
        f"epoch {int(row['epoch']):>3}/{run.batches.epochs}",
        f"loss {loss:.4f}",
        f"train {accuracy:6.2%}",
        f"test loss {row['test_loss']:.4f}",
        f"test {row['test_accuracy']:6.2%}",
    ]
    if "validation_accuracy" in row:
        parts.insert(3, f"validation {row['validation_accuracy']:6.2%}")
    return "  ".join([*parts, f"{rate:>7,.0f} images/s", duration(row["seconds"])])


class Terminal(Reporter):
    """Prints lines to the console, with a bar under them if the console is a terminal."""

    def __init__(self, console: Console, before: Callable[[], None] = lambda: None) -> None:
        self.console, self.before = console, before  # `before` takes away the bar of what came first
        self.bar: Progress | None = None
        self.spoken = time.monotonic()

    def started(self, run: Run) -> None:
        """Say what is trained on what, and where the files go."""
        self.before()
        self.name = BACKENDS[run.framework].title
        recipe, data, spec = run.recipe, run.batches.data, run.spec
        self.console.print(
            f"[bold]{self.name}[/]: {spec.name} on {escape(printable(data.name))}, {len(run.batches.train):,} training "
            f"and {len(data.test):,} test images of {spec.input_size}x{spec.input_size}; {run.total:,} steps of "
            f"{recipe.batch_size}, {recipe.optimizer}, {recipe.precision}; files in {escape(printable(run.folder))}"
        )
        for note in data.notes:
            self.console.print(f"  {one_line(note)}", markup=False)
        if not is_installed("matplotlib"):
            self.console.print(
                f"  no figures without matplotlib; install it with: {install_command('figures')}", markup=False
            )
        if run.step:
            self.console.print(f"  going on after step {run.step:,} of {run.total:,}")
        if self.console.is_terminal:
            columns = [BarColumn(bar_width=20), TextColumn("{task.description}")]
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("starting ...", total=run.total, completed=run.step)
            self.bar.start()
        self.spoken = time.monotonic()

    def _status(self, run: Run) -> str:
        loss, accuracy, rate, left = recent(run)
        return (
            f"{self.name} epoch {int(run.rows[-1]['epoch'])}/{run.batches.epochs}  step {run.step:,}/{run.total:,}  "
            f"loss {loss:.4f}  train {accuracy:.1%}  {rate:,.0f} images/s  {duration(left)} left"
        )

    def step(self, run: Run, row: Mapping[str, float]) -> None:
        """Move the bar; without one, say something now and then."""
        if self.bar is not None:
            self.bar.update(self.task, completed=run.step, description=self._status(run))
        elif time.monotonic() - self.spoken > SECONDS_BETWEEN_LINES:
            self.console.print(self._status(run))
            self.spoken = time.monotonic()

    def epoch(self, run: Run, row: Mapping[str, float]) -> None:
        """Print the line of the epoch."""
        self.console.print(epoch_line(run, row))
        self.spoken = time.monotonic()

    def note(self, text: str) -> None:
        """Print it."""
        self.console.print(printable(text, MOST_MESSAGE), markup=False)

    def ended(self, run: Run) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


class ReadingBar:
    """A bar for downloading and decoding data; it appears with the first news and goes with `close`."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self.bar = Progress(*columns, console=console, transient=True)
        self.tasks: dict[str, Any] = {}

    def move(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done (0: it is not known how much there is)."""
        if not self.bar.live.is_started:
            self.bar.start()
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(printable(what), total=total or None)
        self.bar.update(self.tasks[what], completed=done, total=total or None)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar.live.is_started:
            self.bar.stop()

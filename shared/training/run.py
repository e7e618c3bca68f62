"""One training run: where it stands, and what both training loops ask and tell it. Knows no framework."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import TrainingError, UnwritableError
from shared.base.machine import has_bfloat16
from shared.data.score import Score, score
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec
from shared.networks.table import count_macs
from shared.training.batches import Batches
from shared.training.curves import SECONDS_BETWEEN_FIGURES, draw_figures
from shared.training.folder import BEST, LAST, STATE
from shared.training.metrics import Row
from shared.training.recipe import Recipe
from shared.training.saving import RunFiles
from shared.training.settings import Settings
from shared.training.signals import StopSignals
from shared.training.tensorboard import Events

#: Smaller networks, like those for digits, spend their time elsewhere than in convolutions.
MACS_FOR_BFLOAT16 = 10_000_000


class Reporter:
    """Is told what happens in a run. This one says nothing; `shared.cli.progress` has those that do."""

    def started(self, run: Run) -> None:
        """Training begins or goes on."""

    def step(self, run: Run, row: Row) -> None:
        """One step is done."""

    def epoch(self, run: Run, row: Row) -> None:
        """An epoch is done, tested and saved."""

    def ended(self, run: Run) -> None:
        """Training is complete, or was stopped."""

    def note(self, text: str) -> None:
        """Something that people should know."""


@dataclass
class Run:
    """The state of a run, and what both training loops ask and tell it.

    A loop does this: for every epoch of `epochs()`, for every step, train on `batches.train_batch`, at the rate
    `learning_rate`, and call `after_step`; then `after_epoch` with the logits for the test images. `state` is a
    function that returns all that is needed to go on: weights and the optimiser's memory, as arrays.
    """

    folder: Path
    recipe: Recipe
    batches: Batches
    spec: ResNetSpec  # the recipe's network, for the channels, classes and size of the data
    framework: str
    settings: Settings = field(default_factory=Settings)
    reporter: Reporter = field(default_factory=Reporter)
    data_dir: str | None = None
    resume_hint: str = ""
    chief: bool = True  # of several processes that train together, one writes and speaks
    processes: int = 1
    strategy: str = "one process"

    step: int = 0  # steps that are done
    rows: list[dict[str, float]] = field(default_factory=list)
    best: float = -1.0  # accuracy on what `best.safetensors` is chosen by
    restored: Arrays | None = None
    state_is_good: bool = True  # False: what stands in `STATE` is damaged, and must not replace the previous one
    stop_requested: bool = False
    score: Score | None = None
    seconds_before: float = 0.0
    _started: float = 0.0
    _previous: float = 0.0
    _drawn: float = 0.0

    def __post_init__(self) -> None:
        """Make what writes the files."""
        self.files = RunFiles(self.folder, self.framework, self.recipe, self.spec, self.batches.inputs)
        self._signals = StopSignals(self._request_stop)
        self._events: Events | None = None

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.batches.total_steps

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return self.step >= self.total

    @property
    def learning_rate(self) -> float:
        """The learning rate of the step that comes next."""
        return self.recipe.learning_rate_at(self.step, self.total)

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self.seconds_before + time.monotonic() - self._started

    def start_from(self, weights: Arrays | None) -> None:
        """Begin with canonical arrays instead of fresh weights; a state that was restored is not given up."""
        if weights is not None and self.restored is None:
            self.restored = {f"weights/{name}": array for name, array in weights.items()}

    # -- what the training loops call

    def advise_on_cpu(self) -> None:
        """Propose bfloat16 where the processor multiplies such numbers itself and the network is large enough."""
        large = count_macs(self.spec) >= MACS_FOR_BFLOAT16
        if self.step == 0 and self.recipe.precision == "float32" and large and has_bfloat16():
            self.reporter.note(
                "  this processor computes in bfloat16 as well: --precision bfloat16 is faster (resnet-twins bench "
                "--quick says how much)"
            )

    def epochs(self) -> Iterator[tuple[int, range]]:
        """Yield the epochs that are still to do (from 0), each with the numbers of its batches."""
        per_epoch = self.batches.steps_per_epoch
        while not self.complete:
            epoch, first = divmod(self.step, per_epoch)
            yield epoch, range(first, min(per_epoch, self.total - epoch * per_epoch))

    def after_step(self, loss: float, correct: int, state: Callable[[], Arrays]) -> bool:
        """Note a finished step; save if it is time. Returns True if training is to stop here.

        `loss` is the mean of the batch, `correct` how many of its images were right. Raises `TrainingError` if the
        loss is not a finite number.
        """
        if not math.isfinite(loss):
            raise self._lost(f"the loss is {loss}", self.step + 1)
        self.rows.append(self._row(loss, correct))
        self.step += 1
        self.reporter.step(self, self.rows[-1])
        self._log(self.rows[-1])
        if self.step % self.batches.steps_per_epoch == 0 or self.complete:
            return False  # the epoch's test comes first, and saves
        due = self.settings.save_every and self.step % self.settings.save_every == 0
        if due or self.stop_requested:
            self._save_state(state())
        return self.stop_requested

    def after_epoch(self, predict: Callable[[Iterator[Any]], NDArray[Any]], state: Callable[[], Arrays]) -> bool:
        """Test, note and save everything. Returns True if training is to stop here.

        `predict` maps batches (images, labels) to logits (N, classes).
        """
        row = self.rows[-1]
        self._test(row, predict)
        self._log(row)
        arrays = state()
        self._check_finite(arrays)
        self._write_weights(arrays, row)
        if self.complete or self.stop_requested or time.monotonic() - self._drawn > SECONDS_BETWEEN_FIGURES:
            self._draw()
        self._save_state(arrays)  # last: a run whose state says that it is complete has all its files
        self._previous = time.monotonic()
        self.reporter.epoch(self, row)
        return self.stop_requested

    def _row(self, loss: float, correct: int) -> dict[str, float]:
        size, now = self.recipe.batch_size, time.monotonic()
        row = {
            "step": self.step + 1,
            "epoch": self.step // self.batches.steps_per_epoch + 1,
            "learning_rate": self.learning_rate,
            "train_loss": loss,
            "train_accuracy": correct / size,
            "seconds": self.seconds,
            "images_per_second": size / max(1e-9, now - self._previous),
        }
        self._previous = now
        return row

    def _test(self, row: dict[str, float], predict: Callable[[Iterator[Any]], NDArray[Any]]) -> None:
        """Judge the test images, and the validation images if there are some, into `row`."""
        held_out = self.batches.validation
        if held_out is not None:
            judged = score(predict(self.batches.test_batches(held_out)), held_out.labels)
            row["validation_loss"], row["validation_accuracy"] = judged.loss, judged.accuracy
        self.score = score(predict(self.batches.test_batches()), self.batches.data.test.labels)
        row["test_loss"], row["test_accuracy"] = self.score.loss, self.score.accuracy
        row["seconds"] = self.seconds

    # -- beginning and end

    def __enter__(self) -> Run:
        """Start the clock and take care of Ctrl-C: the step is finished and saved first."""
        self._started = self._previous = self._drawn = time.monotonic()
        if self.settings.tensorboard and self.chief:
            self._events = Events(self.folder, self.step)
        self._signals.take()
        self.reporter.started(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back; an error of the disk becomes one that says how to go on."""
        self._signals.give_back()
        if self._events is not None and self.folder.is_dir():
            self._events.close()
        self.reporter.ended(self)
        if isinstance(error, OSError | UnwritableError):
            raise self._unwritable(error) from error

    def _request_stop(self) -> None:
        if self.stop_requested:  # the second time: at once
            raise KeyboardInterrupt
        self.stop_requested = True

    def _unwritable(self, error: OSError | UnwritableError) -> TrainingError:
        if not self.folder.is_dir():
            return TrainingError(
                f"step {self.step}: the folder {self.folder} is gone (deleted, renamed or unmounted), so training "
                "stopped. If it is elsewhere now, go on from what was saved there before, with: resnet-twins train "
                "--resume FOLDER"
            )
        path = getattr(error, "filename", None) or self.folder
        return TrainingError(
            f"step {self.step}: {path} cannot be written ({getattr(error, 'strerror', None) or error}); "
            f"what was saved before is whole. Make room, then go on with: {self.resume_hint}"
        )

    def _lost(self, what: str, step: int) -> TrainingError:
        """Write the metrics, and return an error that says what was lost, and what is still there."""
        self.files.write_metrics(self.rows)
        saved = [name for name in (STATE, LAST) if (self.folder / name).exists()]
        good = f"the last good state is in {self.folder / saved[0]}" if saved else "no state was saved before"
        return TrainingError(
            f"step {step} (epoch {(step - 1) // self.batches.steps_per_epoch + 1}): {what}, so "
            f"training stopped; {good}. Try a lower rate, like --set learning_rate={self.recipe.learning_rate / 10:g}, "
            "or a warm-up, like --set warmup=0.1"
        )

    # -- what is written

    def _check_finite(self, arrays: Arrays) -> None:
        """Raise `TrainingError`, before a good file is replaced, if the last update spoilt the weights."""
        spoilt = [name.partition("/")[2] for name, array in arrays.items() if not np.isfinite(array).all()]
        if spoilt:
            raise self._lost(f"{spoilt[0]} is no longer finite", self.step)

    def _write_weights(self, arrays: Arrays, row: Row) -> None:
        """Write the weights of this epoch, also as the best ones if they are."""
        weights = {
            name.removeprefix("weights/"): array for name, array in arrays.items() if name.startswith("weights/")
        }
        self.files.write_weights(LAST, weights, row)
        chosen = row.get("validation_accuracy", row["test_accuracy"])
        if chosen > self.best:
            self.best = chosen
            self.files.write_weights(BEST, weights, row)

    def _save_state(self, arrays: Arrays) -> None:
        self._check_finite(arrays)
        self.files.write_metrics(self.rows)
        self.files.write_state(arrays, self.rows, self.seconds, self.best, keep=self.state_is_good)
        self.state_is_good = True

    def _draw(self) -> None:
        try:
            draw_figures(self.folder, self.recipe.name, {self.framework: self.rows}, self.score, self.batches.data)
        except OSError:
            raise
        except Exception as error:  # a figure is not worth an epoch of training
            self.reporter.note(f"no figure: {error}")
        self._drawn = time.monotonic()

    def _log(self, row: Row) -> None:
        if self._events is not None:
            self._events.log(row)

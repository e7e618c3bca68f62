"""One training run: its folder, its metrics, what is saved when, and how it stops and goes on. Knows no framework."""

from __future__ import annotations

import json
import math
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import TrainingError, UnwritableError
from shared.base.files import check_own_folder, write_text
from shared.base.machine import has_bfloat16
from shared.base.versions import is_installed
from shared.checkpoints.ours import save_arrays, write_safetensors
from shared.data.score import Score, score
from shared.networks.canonical import Arrays
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import count_macs
from shared.training.batches import Batches
from shared.training.curves import SECONDS_BETWEEN_FIGURES
from shared.training.folder import BEST, CONFUSION, CURVES, LAST, PREVIOUS, STATE, TENSORBOARD, sha256
from shared.training.metrics import METRICS, metrics_text
from shared.training.recipe import Recipe
from shared.training.settings import Settings
from shared.training.state import STATE_FORMAT

#: Smaller networks, like those for digits, spend their time elsewhere than in convolutions.
MACS_FOR_BFLOAT16 = 10_000_000


class Reporter:
    """Is told what happens in a run. This one says nothing; `shared.progress` has those that do."""

    def started(self, run: Run) -> None:
        """Training begins or goes on."""

    def step(self, run: Run, row: Mapping[str, float]) -> None:
        """One step is done."""

    def epoch(self, run: Run, row: Mapping[str, float]) -> None:
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
    _writer: Any = None

    @property
    def spec(self) -> ResNetSpec:
        """The network: the recipe's, for the channels, classes and size of the data."""
        return get_spec(
            self.recipe.model,
            in_channels=self.batches.data.channels,
            num_classes=len(self.batches.data.classes),
            input_size=self.batches.inputs.image_size,
        )

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
            self._write_metrics()
            raise TrainingError(self._lost(f"the loss is {loss}", self.step + 1))
        size = self.recipe.batch_size
        seconds, now = self.seconds, time.monotonic()
        row = {
            "learning_rate": self.learning_rate,
            "train_loss": loss,
            "train_accuracy": correct / size,
            "seconds": seconds,
            "images_per_second": size / max(1e-9, now - self._previous),
        }
        self._previous = now
        row = {"step": self.step + 1, "epoch": self.step // self.batches.steps_per_epoch + 1, **row}
        self.step += 1
        self.rows.append(row)
        self.reporter.step(self, row)
        self._log(row)
        at_end = self.step % self.batches.steps_per_epoch == 0 or self.complete
        if at_end:
            return False  # the epoch's test comes first, and saves
        due = self.settings.save_every and self.step % self.settings.save_every == 0
        if due or self.stop_requested:
            self._save_state(state())
        return self.stop_requested

    def after_epoch(self, predict: Callable[[Iterator[Any]], NDArray[Any]], state: Callable[[], Arrays]) -> bool:
        """Test, note and save everything. Returns True if training is to stop here.

        `predict` maps batches (images, labels) to logits (N, classes).
        """
        row, data = self.rows[-1], self.batches.data
        if self.batches.validation is not None:
            judged = score(predict(self.batches.test_batches(self.batches.validation)), self.batches.validation.labels)
            row["validation_loss"], row["validation_accuracy"] = judged.loss, judged.accuracy
        self.score = score(predict(self.batches.test_batches()), data.test.labels)
        row["test_loss"], row["test_accuracy"] = self.score.loss, self.score.accuracy
        row["seconds"] = self.seconds
        self._log(row)
        arrays = state()
        self._check_finite(arrays)
        weights = {
            name.removeprefix("weights/"): array for name, array in arrays.items() if name.startswith("weights/")
        }
        chosen = row.get("validation_accuracy", row["test_accuracy"])
        self._write_weights(LAST, weights, row)
        if chosen > self.best:
            self.best = chosen
            self._write_weights(BEST, weights, row)
        if self.complete or self.stop_requested or time.monotonic() - self._drawn > SECONDS_BETWEEN_FIGURES:
            self._draw()
        self._save_state(arrays)  # last: a run whose state says that it is complete has all its files
        self._previous = time.monotonic()
        self.reporter.epoch(self, row)
        return self.stop_requested

    # -- beginning and end

    def __enter__(self) -> Run:
        """Start the clock and take care of Ctrl-C: the step is finished and saved first."""
        self._started = self._previous = self._drawn = time.monotonic()
        self._old_handlers = {}
        self._writer = self._open_tensorboard()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old_handlers[number] = signal.signal(number, self._on_signal)
        self.reporter.started(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._writer is not None and self.folder.is_dir():
            self._writer.close()
        self.reporter.ended(self)
        if isinstance(error, OSError | UnwritableError) and not self.folder.is_dir():
            raise TrainingError(
                f"step {self.step}: the folder {self.folder} is gone (deleted, renamed or unmounted), so training "
                "stopped. If it is elsewhere now, go on from what was saved there before, with: resnet-twins train "
                "--resume FOLDER"
            ) from error
        if isinstance(error, OSError | UnwritableError):
            path = getattr(error, "filename", None) or self.folder
            raise TrainingError(
                f"step {self.step}: {path} cannot be written ({getattr(error, 'strerror', None) or error}); "
                f"what was saved before is whole. Make room, then go on with: {self.resume_hint}"
            ) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested:  # the second time: at once
            raise KeyboardInterrupt
        self.stop_requested = True

    def _check_finite(self, arrays: Arrays) -> None:
        """Raise `TrainingError`, before a good file is replaced, if the last update spoilt the weights."""
        spoilt = [name.partition("/")[2] for name, array in arrays.items() if not np.isfinite(array).all()]
        if spoilt:
            self._write_metrics()
            raise TrainingError(self._lost(f"{spoilt[0]} is no longer finite", self.step))

    def _lost(self, what: str, step: int) -> str:
        saved = [name for name in (STATE, LAST) if (self.folder / name).exists()]
        good = f"the last good state is in {self.folder / saved[0]}" if saved else "no state was saved before"
        return (
            f"step {step} (epoch {(step - 1) // self.batches.steps_per_epoch + 1}): {what}, so "
            f"training stopped; {good}. Try a lower rate, like --set learning_rate={self.recipe.learning_rate / 10:g}, "
            "or a warm-up, like --set warmup=0.1"
        )

    # -- files

    def _write_weights(self, name: str, weights: Arrays, row: Mapping[str, float]) -> None:
        about = {
            "framework": self.framework,
            "epoch": int(row["epoch"]),
            "step": int(row["step"]),
            "test_accuracy": row["test_accuracy"],
            "recipe": self.recipe.to_toml(),
        }
        metadata = {"inputs": self.batches.inputs.to_json(), "training": json.dumps(about)}
        write_safetensors(self.folder / name, weights, self.spec, metadata)

    def _write_metrics(self) -> None:
        write_text(self.folder / METRICS, metrics_text(self.rows))

    def _save_state(self, arrays: Arrays) -> None:
        """Save all that is needed to go on; the state that was the last one becomes the previous one."""
        self._check_finite(arrays)
        self._write_metrics()
        metadata = {
            "format": STATE_FORMAT,
            "step": str(self.step),
            "seconds": f"{self.seconds:.3f}",
            "best": repr(self.best),
            "metrics_sha256": sha256(metrics_text(self.rows)),
        }
        keep = self.folder / PREVIOUS if self.state_is_good else None
        save_arrays(self.folder / STATE, arrays, metadata, keep)
        self.state_is_good = True

    def _draw(self) -> None:
        if not is_installed("matplotlib"):
            return
        from shared.training.curves import plot_confusion, plot_curves

        name, classes = self.recipe.name, self.batches.data.classes
        try:
            plot_curves({self.framework: self.rows}, name, self.folder / CURVES)
            if self.score is not None:
                plot_confusion(self.score.confusion, classes, name, self.folder / CONFUSION)
        except OSError:
            raise
        except Exception as error:  # a figure is not worth an epoch of training
            self.reporter.note(f"no figure: {error}")
        self._drawn = time.monotonic()

    def _open_tensorboard(self) -> Any:
        if not self.settings.tensorboard or not self.chief:
            return None
        from tensorboardX import SummaryWriter

        return SummaryWriter(
            str(check_own_folder(self.folder / TENSORBOARD)),
            purge_step=self.step + 1 if self.step else None,
            filename_suffix=f".{secrets.token_hex(4)}",  # a name that nobody can have given to something else before
        )

    def _log(self, row: Mapping[str, float]) -> None:
        if self._writer is None:
            return
        self._writer.add_scalar("learning_rate", row["learning_rate"], int(row["step"]))
        for split in ("validation", "test") if "test_loss" in row else ("train",):
            for what in ("loss", "accuracy"):
                if f"{split}_{what}" in row:
                    self._writer.add_scalar(f"{what}/{split}", row[f"{split}_{what}"], int(row["step"]))

"""One training run: its folder, its metrics, what is saved when, and how it stops and goes on. Knows no framework."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import platform
import secrets
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import __version__
from shared.backends import BACKENDS, DEVICES
from shared.batches import Batches
from shared.catalog import get_spec
from shared.errors import InputError, TrainingError, UnwritableError, WeightsError
from shared.files import check_own, check_own_folder, open_plain, read_own, replacing, write_text
from shared.lock import HOLDER, LOCK
from shared.machine import has_bfloat16, most_threads
from shared.printable import printable, printable_list
from shared.recipe import Recipe, parse_recipe
from shared.spec import ResNetSpec, check_whole
from shared.table import count_buffers, count_macs, count_parameters, weight_shapes
from shared.versions import installed_version, is_installed, shell_line, twins_command
from shared.weights import DTYPES, fit, read_arrays, save_arrays, write_safetensors

Arrays = Mapping[str, NDArray[Any]]
#: What was measured in a step, by the names of `COLUMNS`.
Row = Mapping[str, float]
COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
    "images_per_second",
)
#: Those that every step has.
ALWAYS = ("step", "epoch", "learning_rate", "train_loss", "train_accuracy", "seconds", "images_per_second")
STATE, RECIPE, ABOUT, METRICS = "state.safetensors", "recipe.toml", "run.json", "metrics.csv"
#: The state before the last one: what a run goes on from if the last one is damaged.
PREVIOUS = "state.previous.safetensors"
STATE_FORMAT = "resnet-twins state, version 2"  # version 1 had no hash
PROBE = "tmp-probe"  # shows whether a folder can be written to
#: What a killed start may leave behind in an empty folder, and a kill in that of a run: half-written files of ours and
#: of safetensors, and the lock.
OF_A_START = (PROBE, f"tmp-*-{PROBE}", f"tmp-*-{ABOUT}", LOCK, HOLDER)
LEFTOVERS = ("tmp-*", ".tmp*", LOCK, HOLDER)
LAST, BEST, CURVES, CONFUSION = "last.safetensors", "best.safetensors", "curves.png", "confusion.png"
TENSORBOARD = "tensorboard"
#: All that a run reads or writes in its folder.
OWN_FILES = (STATE, PREVIOUS, RECIPE, ABOUT, METRICS, LAST, BEST, CURVES, CONFUSION, LOCK, HOLDER)
#: What stands for all backends where the name of one is expected.
BOTH = "both"
#: How large a text of a run and a row of its metrics may be, in bytes, and how many rows: gigabytes in memory.
MOST_TEXT, MOST_ROW, MOST_ROWS = 1_000_000, 400, 4_000_000
#: A larger number in the metrics was never measured.
MOST_VALUE = 1e100
MOST_THREADS = 4096
#: What an optimiser remembers of each weight, by PyTorch's names.
MEMORY = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq")}
#: What a state holds besides arrays as large as the weights, each one number: name -> least and most.
NUMBERS = {"optimizer_steps": (0, 1e15), "threads": (1, MOST_THREADS)}
#: With float16 also what scales the loss, in each framework.
SCALERS = {
    "tf": {"scaler/scale": (0, 1e38), "scaler/_growth_tracker": (0, 1e9)},
    "torch": {
        "scaler/scale": (0, 1e38),
        "scaler/_growth_tracker": (0, 1e9),
        "scaler/growth_factor": (1, 1e6),
        "scaler/backoff_factor": (0, 1),
        "scaler/growth_interval": (1, 1e9),
    },
}
#: Packages whose version may change the last bits of a number.
COMPUTING = {"torch": ("torch", "numpy"), "tf": ("tensorflow", "keras", "numpy")}
#: A figure takes half a second: between the epochs of a small network they are drawn only this often.
SECONDS_BETWEEN_FIGURES = 20.0
#: Smaller networks, like those for digits, spend their time elsewhere than in convolutions.
MACS_FOR_BFLOAT16 = 10_000_000
RECORDED_PACKAGES = ("torch", "tensorflow", "keras", "numpy", "pillow", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the machine is used for a run; the recipe says what is trained.

    device: "auto" takes a GPU if there is one. channels_last: PyTorch's memory layout, None: where it is faster.
    deterministic: forbid operations whose result depends on the order of threads. save_every: steps between two
    saved states, besides the one after every epoch; 0 for none. threads: 0 leaves it to the framework.
    """

    device: str = "auto"
    compile: bool = False
    channels_last: bool | None = None
    deterministic: bool = False
    save_every: int = 0
    threads: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.device not in DEVICES:
            raise InputError(f"--device is {self.device!r}; allowed is one of {', '.join(DEVICES)}")
        for name in ("compile", "channels_last", "deterministic", "tensorboard"):
            value = getattr(self, name)
            if not isinstance(value, bool) and (name, value) != ("channels_last", None):
                raise InputError(f"--{name.replace('_', '-')} is {value!r}; allowed is True or False")
        for name, most in (("save_every", 10**9), ("threads", MOST_THREADS)):
            check_whole(f"--{name.replace('_', '-')}", getattr(self, name), 0, most)


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good predictions are: mean cross-entropy, share that is right, and the counts (true class, predicted)."""

    loss: float
    accuracy: float
    confusion: NDArray[np.int64]

    @property
    def correct(self) -> int:
        """How many predictions are right."""
        return int(np.trace(self.confusion))


def score(logits: NDArray[Any], labels: NDArray[np.int64]) -> Score:
    """Judge logits (N, classes) by class numbers (N,), in float64 whatever the logits are."""
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    log_sum = np.log(np.exp(values).sum(1))
    loss = float((log_sum - values[np.arange(len(labels)), labels]).mean())
    classes = values.shape[1]
    counts = np.bincount(labels * classes + values.argmax(1), minlength=classes**2).reshape(classes, classes)
    return Score(loss=loss, accuracy=float(np.trace(counts) / len(labels)), confusion=counts)


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
        from shared.plots import plot_confusion, plot_curves

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


def check_tensorboard() -> None:
    """Raise `MissingPackageError` if no TensorBoard events can be written."""
    from shared.errors import MissingPackageError
    from shared.versions import install_command

    if not is_installed("tensorboardX"):
        raise MissingPackageError(
            f"TensorBoard events need tensorboardX; install it with: {install_command('tensorboard')}"
        )


def check_threads(settings: Settings) -> None:
    """Raise `InputError` for more threads than make sense here; a run may come from a larger computer."""
    if settings.threads > most_threads():
        raise InputError(
            f"--threads is {settings.threads}; this computer has {os.cpu_count()} cores, and allowed are up to "
            f"{most_threads()}: choose fewer, also for a run that goes on, or 0 to leave it to the framework"
        )


def new_folder(output: str | Path | None, recipe: str, framework: str) -> Path:
    """Return the path of a folder for a new run: `output`, or the first free `runs/RECIPE-FRAMEWORK-N`.

    Raises `InputError` if `output` is not empty: what is there stays.
    """
    if output is None:
        number = 1
        while os.path.lexists(path := Path("runs") / f"{recipe}-{framework}-{number}"):
            number += 1
        return path
    path = Path(output)
    check_empty(path)
    return path


def check_empty(path: Path) -> None:
    """Raise `InputError` if something is at `path` that must stay. What a killed start left behind need not."""
    taken = not all(_is_leftover(entry, OF_A_START) for entry in path.iterdir()) if path.is_dir() else path.exists()
    if taken:
        hint = f"; to go on with that run, use {shell_line(['--resume', str(path)])}" if holds_run(path) else ""
        raise InputError(f"--output is {path}, and something is there already; choose a new folder{hint}")


def _is_leftover(path: Path, patterns: Iterable[str]) -> bool:
    """Return whether a kill left this behind: a plain file of such a name. A link or a folder is somebody's own."""
    return any(path.match(pattern) for pattern in patterns) and stat.S_ISREG(path.lstat().st_mode)


def holds_run(folder: Path) -> bool:
    """Return whether a run was begun in `folder`. What stands there may be damaged, or no file."""
    return os.path.lexists(folder / ABOUT)


def check_own_files(folder: Path) -> None:
    """Raise `InputError` if something else than a plain file stands where a run in `folder` has one of its files."""
    for name in OWN_FILES:
        check_own(folder / name)
    check_own_folder(folder / TENSORBOARD)


def bytes_needed(spec: ResNetSpec, frameworks: int = 1) -> int:
    """Return how much room a run needs on disk, generously: weights twice and, while one is written, three states.

    A state holds up to three times as much as the weights: themselves, and two memories of the optimiser.
    """
    weights = 4 * (count_parameters(spec) + count_buffers(spec))
    return frameworks * (2 * 11 * weights + 20_000_000)  # twice as much, for float64


def prepare_folder(path: Path, needed: int) -> None:
    """Make the folder; raise `InputError` if files cannot be written there, or if there is too little room."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / PROBE) as probe:
            probe.write_bytes(b"0" * 4096)
        (path / PROBE).unlink()
        free = shutil.disk_usage(path).free
    except (OSError, UnwritableError) as error:
        raise InputError(
            f"the folder {path} cannot be written to ({getattr(error, 'strerror', None) or error}); choose another one "
            "with --output"
        ) from error
    if free < needed:
        raise InputError(
            f"{path}: {free / 1e6:,.0f} MB are free, but this run needs up to {needed / 1e6:,.0f} MB; make room, or "
            "choose another disk with --output"
        )


def write_about(run: Run, command: str) -> None:
    """Write the recipe and what else is needed to repeat the run, before the first step."""
    versions = {name: installed_version(name) for name in RECORDED_PACKAGES}
    about = {
        "framework": run.framework,
        "settings": asdict(run.settings),
        "processes": run.processes,
        "strategy": run.strategy,
        "data_dir": run.data_dir,
        "command": command,
        "seed": run.recipe.seed,
        "model": run.spec.to_dict(),
        "data": {
            "name": run.batches.data.name,
            "training_images": len(run.batches.train),
            "validation_images": 0 if run.batches.validation is None else len(run.batches.validation),
            "test_images": len(run.batches.data.test),
            "sha256": run.batches.data.sha256,
            "notes": list(run.batches.data.notes),
        },
        "versions": {"resnet-twins": __version__, "python": platform.python_version(), **versions},
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    # First the one that holds both: a folder with it can be resumed, one without it counts as empty.
    about["recipe"] = run.recipe.to_toml()
    about["sha256"] = sha256(json.dumps(about, sort_keys=True))
    write_text(run.folder / ABOUT, json.dumps(about, indent=2) + "\n")
    write_text(run.folder / RECIPE, run.recipe.to_toml())


def write_missing_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `RECIPE` if it is gone: a kill came before it, or it was deleted because it was damaged."""
    if not (folder / RECIPE).exists():
        write_text(folder / RECIPE, recipe.to_toml())


def sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_about(folder: str | Path) -> tuple[Recipe, dict[str, Any], Settings]:
    """Read what `write_about` wrote. Raises `InputError` if the folder holds no run, or a damaged one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}")
    if not holds_run(folder):
        raise InputError(f"{folder} holds no training run (no {ABOUT} in it){_what_is_left(folder)}")
    check_own_files(folder)
    text = read_own(folder / ABOUT, MOST_TEXT)
    try:
        about = json.loads(text.decode("utf-8"))
        known = {entry.name for entry in fields(Settings)}
        settings = Settings(**{name: value for name, value in about["settings"].items() if name in known})
        _check_about(about)
        stated = about.pop("sha256", None)  # runs of earlier versions have none, nor has one that was edited by hand
        if stated is not None and stated != sha256(json.dumps(about, sort_keys=True)):
            raise ValueError("its content has another SHA-256 than when it was written")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder / ABOUT} is damaged ({error}); it cannot be resumed. If you changed it yourself, take its "
            f'"sha256" away, too{_what_is_left(folder)}'
        ) from error
    for name in BACKENDS if about["framework"] == BOTH else ():
        check_own_folder(folder / name)
        check_own_files(folder / name)
    path = folder / RECIPE
    if not path.exists() and "recipe" in about:  # a kill came between the two files
        return parse_recipe(about["recipe"], folder / ABOUT), about, settings
    recipe = _read_own_recipe(path)
    if "recipe" in about and recipe.to_toml() != about["recipe"]:
        raise InputError(
            f"{path} is not the recipe that this run began with: it is damaged or was changed; delete it, and the run "
            f"goes on with the one in {ABOUT}"
        )
    return recipe, about, settings


def _read_own_recipe(path: Path) -> Recipe:
    try:
        return parse_recipe(read_own(path, MOST_TEXT).decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no readable recipe: {error}") from error


def _check_about(about: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` if a value is one that no run has, whoever wrote it.

    `data_dir` may be any folder: what lies there is only read, as a data set, and must have the run's SHA-256.
    """
    data, place, versions = about["data"], about.get("data_dir"), about.get("versions", {})
    images = data.get("training_images", 0)
    if about["framework"] not in [*BACKENDS, BOTH]:
        raise ValueError(f"framework is {printable(about['framework'])}")
    if not isinstance(data["sha256"], str) or not isinstance(about.get("recipe", ""), str):
        raise TypeError("sha256 or recipe is no text")
    if type(images) is not int or not 0 <= images < 10**12:
        raise ValueError(f"training_images is {printable(images)}")
    if not isinstance(place, str | None) or "\0" in (place or ""):
        raise ValueError(f"data_dir is {printable(place)}")
    if not all(isinstance(version, str | None) for version in versions.values()):
        raise TypeError("a version is no text")


def note_versions(run: Run, about: Mapping[str, Any]) -> None:
    """Tell the reporter which versions are others than when the run began: its bits are promised for the same ones.

    Only of what `run`'s framework computes with.
    """
    begun = about.get("versions", {})
    now: dict[str, str | None] = {"resnet-twins": __version__, "python": platform.python_version()}
    now |= {name: installed_version(name) for name in COMPUTING[run.framework]}
    changed = [name for name, version in now.items() if begun.get(name) and begun[name] != version]
    if changed:
        old = printable_list(f"{name} {begun[name]}" for name in changed)
        new = printable_list(f"{name} {now[name]}" if len(changed) > 1 else now[name] for name in changed)
        run.reporter.note(
            f"this run was begun with {old}, and goes on with {new}: it trains on, but the numbers may differ in "
            "their last bits"
        )


def _what_is_left(folder: Path) -> str:
    """Return how a run whose `ABOUT` is lost is still of use, as the end of a message."""
    for name in BACKENDS:
        if holds_run(folder / name):
            again = twins_command("train", "--resume", folder / name)
            return f"; the twins that were trained in it go on one by one: {again}"
    for name in (BEST, LAST):
        if (folder / name).is_file():
            use = twins_command("evaluate", folder / name, "--data", "NAME")
            return f"; start a new run. The weights of this one need no {ABOUT}: {use}"
    return "; start a new run" if (folder / STATE).is_file() else ""


def restore(run: Run) -> None:
    """Put a run where it was when its state was saved last; without a saved state it begins anew.

    If the last state is damaged or gone, the one before is taken; if the metrics are gone, it goes on without them.
    The run's reporter is told of both. Raises `InputError` if there is no good state.
    """
    problems = []
    for path in (run.folder / STATE, run.folder / PREVIOUS):
        if not path.exists():
            problems.append(f"{path.name} is missing")
            continue
        try:
            arrays, metadata = read_state(run, path)
            run.step, run.best = int(metadata["step"]), float(metadata["best"])
            run.seconds_before = float(metadata["seconds"])
            break
        except InputError as error:
            problems.append(str(error))
            if path.name == STATE:
                run.state_is_good = False
    else:
        if all(problem.endswith("is missing") for problem in problems):
            if (run.folder / METRICS).exists():  # which is written with the first state
                run.reporter.note(f"{STATE} and {PREVIOUS} are missing: the run begins anew, at step 1")
            return
        raise InputError(
            f"no good state is left in {run.folder} ({', and '.join(problems)}); delete {STATE} and {PREVIOUS} to "
            "begin the run anew"
        )
    run.restored = arrays
    rows = read_metrics(run.folder, run.total)
    run.rows = [row for row in rows if row["step"] <= run.step]
    # Rows that all come after the state: the file had been deleted, and a kill came between the new one and its state.
    metrics_are_lost = not (run.folder / METRICS).exists() or (bool(rows) and not run.rows)
    if not metrics_are_lost and metadata.get("metrics_sha256") not in (None, sha256(metrics_text(run.rows))):
        raise InputError(_bad_metrics(run.folder / METRICS))
    if problems:
        lost = int(rows[-1]["step"]) - run.step if rows else 0
        again = f" ({lost:,} more {'was' if lost == 1 else 'were'} done, and {'is' if lost == 1 else 'are'} done again)"
        tail = again if lost > 0 else ""
        run.reporter.note(f"{problems[0]}: going on with {PREVIOUS}, after step {run.step:,}{tail}")
    if metrics_are_lost and run.step:
        what = "has no rows up to there" if rows else "is missing"
        rest = "there is no curve" if run.complete else f"the curve begins at step {run.step + 1:,}"
        run.reporter.note(f"{METRICS} {what}: {rest}")
    if run.best >= 0:
        try:
            _check_room(run, run.folder / BEST)
            read_arrays(run.folder / BEST)
        except InputError as error:
            run.reporter.note(f"{error}: from here on {BEST} is the best of the epochs to come")
            run.best = -1.0


def read_state(run: Run, path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays and the texts of a state of `run`. Raises `WeightsError` if it is damaged, or another run's."""
    _check_room(run, path)
    arrays, metadata = read_arrays(path)
    for name, least, most in (("step", 1, run.total), ("best", -1, 1), ("seconds", 0, 1e12)):
        try:
            value = (int if name == "step" else float)(metadata[name])
        except (KeyError, ValueError):
            value = math.nan
        if not least <= value <= most:
            raise WeightsError(
                f"{path} is no state of this run: its {name} is {printable(metadata.get(name), 30)}, and possible is "
                f"{least:,} to {most:,}"
            )
    try:
        _check_arrays(run, arrays)
    except WeightsError as error:
        raise WeightsError(f"{path} is no state of this run: {error}") from error
    return arrays, metadata


def _check_room(run: Run, path: Path) -> None:
    """Raise `WeightsError`, before anything is read, if a file is missing, or larger than a state of `run` can be."""
    size, most = (path.stat().st_size if path.exists() else 0), bytes_needed(run.spec)
    if size > most:
        raise WeightsError(
            f"{path} has {size / 1e6:,.0f} MB, and a state of {run.spec.name} less than {most / 1e6:,.0f} MB"
        )


def _check_arrays(run: Run, arrays: Arrays) -> None:
    """Raise `WeightsError` if these are not the arrays of a state of `run`."""
    recipe, shapes = run.recipe, weight_shapes(run.spec)
    memory = MEMORY[recipe.optimizer] if recipe.optimizer != "sgd" or recipe.momentum else ()
    remembered = {f"{key}/{name}": shapes[name] for key in memory for name in shapes if ".running_" not in name}
    numbers, needed = dict(NUMBERS), set()
    if recipe.precision == "float16":
        numbers |= SCALERS[run.framework]
        needed |= set(SCALERS[run.framework])
        if not remembered.keys() & arrays.keys():  # as long as the loss is scaled too high, no step is taken
            remembered = {}
    if remembered and recipe.optimizer != "sgd":
        needed.add("optimizer_steps")
    expected = {f"weights/{name}": shape for name, shape in shapes.items()} | remembered
    fit(expected, {name: array for name, array in arrays.items() if name not in numbers})
    for name in expected:
        if arrays[name].dtype.name not in DTYPES:
            raise WeightsError(f"{name} holds {arrays[name].dtype.name} values; a state holds {' or '.join(DTYPES)}")
    if absent := needed - arrays.keys():
        raise WeightsError(f"it has no {min(absent)}")
    for name in numbers.keys() & arrays.keys():
        (least, most), value = numbers[name], arrays[name]
        if value.shape != () or value.dtype.kind not in "fiu" or not least <= value.item() <= most:
            raise WeightsError(f"{name} is {printable(value)}; one number from {least:g} to {most:g} is wanted")
    if spoilt := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise WeightsError(f"{spoilt[0]} has numbers that are not finite")


def remove_leftovers(folder: Path, patterns: Iterable[str] = LEFTOVERS) -> None:
    """Delete half-written files that a kill left behind. Not the lock, which is ours."""
    for pattern in patterns:
        for leftover in folder.glob(pattern):
            if leftover.name not in (LOCK, HOLDER) and _is_leftover(leftover, (pattern,)):
                leftover.unlink()


def metrics_text(rows: Iterable[Row]) -> str:
    """Return the text of `metrics.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.10g}" for name, value in row.items()})
    return text.getvalue()


def read_metrics(folder: str | Path, steps: int = MOST_ROWS) -> list[dict[str, float]]:
    """Return the rows of a run's `metrics.csv`; what was not measured in a step is not in its row.

    steps: how many the run has in all. Raises `InputError` if the file is damaged, or too large for them.
    """
    path = Path(folder) / METRICS
    if not os.path.lexists(path):
        return []
    most = min(steps, MOST_ROWS)
    with io.TextIOWrapper(open_plain(path, follow=False), "utf-8", newline="") as file:
        if os.fstat(file.fileno()).st_size > (most + 1) * MOST_ROW:
            raise InputError(
                f"{path} is larger than {most:,} steps make it; delete it to go on without the rows before"
            )
        with contextlib.suppress(ValueError, csv.Error):
            return list(_sound_rows(csv.reader(iter(partial(file.readline, MOST_ROW), "")), most))
    raise InputError(_bad_metrics(path))


def _sound_rows(lines: Iterator[list[str]], most: int) -> Iterator[dict[str, float]]:
    """Yield the rows of a table of at most `most` steps. Raises `ValueError` for one that no run writes."""
    names = next(lines, [])
    if len(set(names)) < len(names) or not set(ALWAYS) <= set(names) <= set(COLUMNS):
        raise ValueError("other columns")
    step, epoch, tested = 0.0, 1.0, 0.0
    for line in lines:
        row = {name: float(value) for name, value in zip(names, line, strict=True) if value}
        if not set(ALWAYS) <= row.keys() or not all(abs(row[name]) <= MOST_VALUE for name in ALWAYS):
            raise ValueError("a number is missing, or was never measured")
        if not step < row["step"] <= most or row["epoch"] < epoch or row["step"] % 1 or row["epoch"] % 1:
            raise ValueError("steps in another order")
        if any((f"{split}_loss" in row) != (f"{split}_accuracy" in row) for split in ("validation", "test")):
            raise ValueError("half a test")
        step, epoch = row["step"], row["epoch"]
        if row["images_per_second"] <= 0 or ("test_loss" in row and tested == epoch):
            raise ValueError("no speed, or two tests in an epoch")
        tested = epoch if "test_loss" in row else tested
        yield row


def _bad_metrics(path: Path) -> str:
    return f"{path} is damaged; delete it to go on without the rows before"


def epoch_means(rows: Sequence[Row], column: str) -> tuple[list[float], list[float]]:
    """Return the epochs and the mean of a column over each one's steps, of epochs that have values."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if column in row:
            values.setdefault(row["epoch"], []).append(row[column])
    return list(values), [sum(each) / len(each) for each in values.values()]


def command_line() -> str:
    """Return the command that was typed, for people."""
    return shell_line([Path(sys.argv[0]).name, *sys.argv[1:]])

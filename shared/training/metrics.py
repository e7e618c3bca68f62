"""The table of a run: a row for every step, as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import open_plain

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
METRICS = "metrics.csv"
#: How large a row may be, in bytes, and how many there may be: gigabytes in memory.
MOST_ROW, MOST_ROWS = 400, 4_000_000
#: A larger number in the metrics was never measured.
MOST_VALUE = 1e100


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
    raise InputError(bad_metrics(path))


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


def bad_metrics(path: Path) -> str:
    """Return what is said of a table that no run has written."""
    return f"{path} is damaged; delete it to go on without the rows before"


def epoch_means(rows: Sequence[Row], column: str) -> tuple[list[float], list[float]]:
    """Return the epochs and the mean of a column over each one's steps, of epochs that have values."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if column in row:
            values.setdefault(row["epoch"], []).append(row[column])
    return list(values), [sum(each) / len(each) for each in values.values()]

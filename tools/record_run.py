"""Copies what a training run measured into `docs/results`, one row an epoch, so that the documents can be checked.

    python tools/record_run.py RUN NAME

writes docs/results/NAME.csv from RUN/metrics.csv. Training values are means over the steps of an epoch.
"""

from __future__ import annotations

import sys
from pathlib import Path

from shared.base.files import write_text
from shared.training.metrics import epoch_means, read_metrics

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def record(run: Path, name: str) -> Path:
    """Write the CSV file and return its path."""
    rows = read_metrics(run)
    losses, accuracies = (epoch_means(rows, f"train_{what}")[1] for what in ("loss", "accuracy"))
    lines = ["epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds"]
    for row, loss, accuracy in zip((row for row in rows if "test_loss" in row), losses, accuracies, strict=False):
        values = (loss, accuracy, row["test_loss"], row["test_accuracy"])
        lines.append(f"{int(row['epoch'])},{','.join(f'{value:.6f}' for value in values)},{row['seconds']:.0f}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.csv"
    write_text(path, "\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(record(Path(sys.argv[1]), sys.argv[2]))

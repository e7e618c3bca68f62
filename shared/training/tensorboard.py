"""A run's numbers for TensorBoard."""

from __future__ import annotations

import secrets
from pathlib import Path

from shared.base.errors import MissingPackageError
from shared.base.files import check_own_folder
from shared.base.versions import install_command, is_installed
from shared.training.folder import TENSORBOARD
from shared.training.metrics import Row


def check_tensorboard() -> None:
    """Raise `MissingPackageError` if no TensorBoard events can be written."""
    if not is_installed("tensorboardX"):
        raise MissingPackageError(
            f"TensorBoard events need tensorboardX; install it with: {install_command('tensorboard')}"
        )


class Events:
    """Writes events into the folder of a run that has done `step` steps; later events of it are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(
            str(check_own_folder(folder / TENSORBOARD)),
            purge_step=step + 1 if step else None,
            filename_suffix=f".{secrets.token_hex(4)}",  # a name that nobody can have given to something else before
        )

    def log(self, row: Row) -> None:
        """Write the numbers of a step, or of the test behind an epoch."""
        step = int(row["step"])
        self._writer.add_scalar("learning_rate", row["learning_rate"], step)
        for split in ("validation", "test") if "test_loss" in row else ("train",):
            for what in ("loss", "accuracy"):
                if f"{split}_{what}" in row:
                    self._writer.add_scalar(f"{what}/{split}", row[f"{split}_{what}"], step)

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()

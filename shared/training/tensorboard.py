"""A run's numbers for TensorBoard."""

from __future__ import annotations

from shared.base.versions import is_installed


def check_tensorboard() -> None:
    """Raise `MissingPackageError` if no TensorBoard events can be written."""
    from shared.base.errors import MissingPackageError
    from shared.base.versions import install_command

    if not is_installed("tensorboardX"):
        raise MissingPackageError(
            f"TensorBoard events need tensorboardX; install it with: {install_command('tensorboard')}"
        )

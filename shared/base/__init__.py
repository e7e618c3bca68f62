"""Errors, checks, words, files, locks, versions, the machine, figures: knows nothing of networks."""

from shared.base.errors import (
    InputError,
    MissingPackageError,
    StoppedError,
    TrainingError,
    UnwritableError,
    WeightsError,
)
from shared.base.figures import BLUE, GREEN, GREY, ORANGE

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "InputError",
    "MissingPackageError",
    "StoppedError",
    "TrainingError",
    "UnwritableError",
    "WeightsError",
]

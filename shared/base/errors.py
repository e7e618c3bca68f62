"""The errors that are meant to be read by people: one line that says what was wrong and what to do."""

from __future__ import annotations

from shared.base.printable import one_line


class PlainError(Exception):
    """An error whose text is one line that only prints, whatever from outside is quoted in it."""

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


class InputError(PlainError, ValueError):
    """Bad input from a user. The command line prints its text as one line and ends with exit code 2."""


class UnwritableError(InputError):
    """A path to which nothing can be written."""


class MissingPackageError(InputError, ImportError):
    """A package that this step needs is not installed. The text ends with the command that installs it."""


class WeightsError(InputError):
    """Weights that do not fit a model, or a file that holds no usable weights."""


class TrainingError(PlainError):
    """Training had to stop. The command line prints its text as one line and ends with exit code 1."""


class StoppedError(PlainError):
    """The user stopped something that was saved. The command line prints its text and ends with exit code 130."""


class OtherProcessError(TrainingError):
    """Another of the processes that train together failed, and says why; this one ends with it."""


class LostProcessError(TrainingError):
    """Another of the processes that train together is gone: it was killed, or its machine cannot be reached."""

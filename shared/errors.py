"""The errors that are meant to be read by people: one line that says what was wrong and what to do."""


class InputError(ValueError):
    """Bad input from a user. The command line prints its text as one line and ends with exit code 2."""

    def __init__(self, text: str = "") -> None:
        super().__init__(" ".join(text.split()))  # a value from outside, or another error in it, may have several lines


class UnwritableError(InputError):
    """A path to which nothing can be written."""


class MissingPackageError(InputError, ImportError):
    """A package that this step needs is not installed. The text ends with the command that installs it."""


class WeightsError(InputError):
    """Weights that do not fit a model, or a file that holds no usable weights."""


class TrainingError(Exception):
    """Training had to stop. The command line prints its text as one line and ends with exit code 1."""


class StoppedError(Exception):
    """The user stopped something that was saved. The command line prints its text and ends with exit code 130."""


class OtherProcessError(TrainingError):
    """Another of the processes that train together failed, and says why; this one ends with it."""


class LostProcessError(TrainingError):
    """Another of the processes that train together is gone: it was killed, or its machine cannot be reached."""

"""Imports Keras and TensorFlow without their start-up chatter. The only place that deals with it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.base.errors import InputError, MissingPackageError
from shared.base.side_by_side import make_safe
from shared.base.versions import is_installed, pip_command, unset_command

#: What Keras can run on here, the first one if nothing is said.
KERAS_BACKENDS = ("tensorflow", "torch", "jax")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, also by C++ code, and show it only if the inside fails."""
    try:
        saved, held = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no standard error at all, as under pythonw, or no room for what it says
        yield
        return
    sys.stderr.flush()
    with held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))


def import_keras() -> None:
    """Import Keras with the backend in `KERAS_BACKEND`, TensorFlow by default, whatever `keras.json` says.

    TensorFlow writes notes about oneDNN, CPU features and missing CUDA drivers while it starts. They are no
    errors and frighten newcomers. `TF_CPP_MIN_LOG_LEVEL`, if set by the user, is left alone, and so is
    `TF_FORCE_GPU_ALLOW_GROWTH`, without which TensorFlow takes all memory of a GPU, and PyTorch gets none.
    Raises `InputError` for another backend, and where Keras does not start with the user's settings.
    """
    make_safe()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if "keras" in sys.modules:
        return
    backend = _choose_backend()
    with quiet_stderr():
        try:
            importlib.import_module("keras")
        except Exception as error:  # in many ways, where keras.json holds something else than Keras wants
            if not _reads_settings(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            settings = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"
            raise InputError(f"Keras does not start with its settings ({reason}); mend or remove {settings}") from error
        if backend == "tensorflow":
            # Looks for GPUs now, where its complaint about their absence is not heard, and not at the first sum.
            importlib.import_module("tensorflow").config.list_physical_devices()


def _choose_backend() -> str:
    """Set and return the backend; raise `InputError` for one that Keras or this package does not have."""
    backend = os.environ.get("KERAS_BACKEND") or KERAS_BACKENDS[0]
    unset = unset_command("KERAS_BACKEND")
    if backend not in KERAS_BACKENDS:
        raise InputError(
            f"KERAS_BACKEND is {backend!r}; allowed is {', '.join(KERAS_BACKENDS)}; to go back to tensorflow: {unset}"
        )
    if backend != "tensorflow" and not is_installed(backend):
        raise MissingPackageError(
            f"KERAS_BACKEND is {backend}, which is not installed; to go back to tensorflow: {unset}; to install it: "
            f"{pip_command('install', backend)}"
        )
    os.environ["KERAS_BACKEND"] = backend
    return backend


def _reads_settings(error: Exception) -> bool:
    """Return whether the error came up where Keras reads keras.json."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    return any(file.parts[-4:] == ("keras", "src", "backend", "config.py") for file in files)

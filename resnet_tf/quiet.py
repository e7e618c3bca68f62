"""Imports Keras and TensorFlow without their start-up chatter. The only place that deals with it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, also by C++ code, and show it only if the inside fails."""
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all, as under pythonw
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
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
    """Import Keras with the backend in `KERAS_BACKEND`, TensorFlow by default.

    TensorFlow writes notes about oneDNN, CPU features and missing CUDA drivers while it starts. They are no
    errors and frighten newcomers. `TF_CPP_MIN_LOG_LEVEL`, if set by the user, is left alone.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" in sys.modules:
        return
    with quiet_stderr():
        importlib.import_module("keras")
        if os.environ["KERAS_BACKEND"] == "tensorflow":
            # Looks for GPUs now, where its complaint about their absence is not heard, and not at the first sum.
            importlib.import_module("tensorflow").config.list_physical_devices()

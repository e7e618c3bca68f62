"""What tests of training share."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
from safetensors.numpy import load_file

from shared.backends import BACKENDS
from shared.networks.catalog import get_spec
from shared.networks.initial import lively_weights
from shared.training.run import Reporter
from shared.training.start import train


def backend_name(twin) -> str:
    return next(name for name, (package, *_) in BACKENDS.items() if package == twin.__name__)


def tame(recipe, data):
    """Weights from which two correct implementations stay together."""
    size = data.train.images.shape[1]
    spec = get_spec(recipe.model, in_channels=data.channels, num_classes=len(data.classes), input_size=size)
    return lively_weights(spec, 0, tame=True)


def both(recipe, data, tmp_path):
    """Train the twins from the same tame weights; return losses and final weights of each."""
    result = train(recipe, framework="both", output=tmp_path / "both", data=data, weights=tame(recipe, data))
    losses = [np.array([row["train_loss"] for row in run.rows]) for run in result.runs.values()]
    return losses, [load_file(run.folder / "last.safetensors") for run in result.runs.values()]


# -- stopping and going on


class StopAt(Reporter):
    """Does what Ctrl-C does, behind step `at`."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, run, row) -> None:
        if run.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


class Notes(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

"""How good predictions are, judged from logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good predictions are: mean cross-entropy, share that is right, and the counts (true class, predicted)."""

    loss: float
    accuracy: float
    confusion: NDArray[np.int64]

    @property
    def correct(self) -> int:
        """How many predictions are right."""
        return int(np.trace(self.confusion))


def score(logits: NDArray[Any], labels: NDArray[np.int64]) -> Score:
    """Judge logits (N, classes) by class numbers (N,), in float64 whatever the logits are."""
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    log_sum = np.log(np.exp(values).sum(1))
    loss = float((log_sum - values[np.arange(len(labels)), labels]).mean())
    classes = values.shape[1]
    counts = np.bincount(labels * classes + values.argmax(1), minlength=classes**2).reshape(classes, classes)
    return Score(loss=loss, accuracy=float(np.trace(counts) / len(labels)), confusion=counts)

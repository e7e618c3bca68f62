"""The one-minute tour: the table, five depths in both frameworks, one network side by side, and real predictions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shared.networks.catalog import PAPER_DEPTHS
from shared.twins.comparison import Comparison, compare
from shared.twins.evaluation import Evaluation, evaluate

DEMO_NETWORK = "resnet8_digits"
SHADES = " ░▒▓█"


def compare_depths() -> Iterator[Comparison]:
    """Build each of the five depths in both frameworks and yield the comparison."""
    for name in PAPER_DEPTHS:
        yield compare(name, by="stage")


def classify_digits() -> Evaluation:
    """Load the weights that ship with the package into both twins and classify the held-out digits."""
    return evaluate(DEMO_NETWORK, data="digits")


def draw_digit(image: NDArray[np.uint8]) -> list[str]:
    """Return an image (8, 8) of values 0 to 16 as eight lines of shaded characters."""
    return ["".join(SHADES[round(int(value) / 4)] * 2 for value in row) for row in image]

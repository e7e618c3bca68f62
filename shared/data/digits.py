"""The handwritten digits that ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.data.dataset import Dataset, Split


def digits_table() -> NDArray[np.uint8]:
    """Return the 1797 digits that ship with the package, (N, 65): 8 x 8 values from 0 to 16, then the label."""
    with as_file(files("shared") / "assets" / "digits.npy") as path:
        table: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    return table


def load_digits(**_: Any) -> Dataset:
    """Scikit-learn's digits; every fifth is held out for testing."""
    table = digits_table()
    both = Split(images=table[:, :64].reshape(-1, 8, 8, 1), labels=table[:, 64].astype(np.int64))
    held_out = np.arange(len(table)) % 5 == 0
    return Dataset(
        name="digits",
        train=both.take(~held_out),
        test=both.take(held_out),
        classes=tuple("0123456789"),
        highest=16,
    )

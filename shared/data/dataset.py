"""A data set as plain arrays: images, class numbers and the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError

#: Called with what is done, how much of it, and how much there is (0: not known).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images (N, H, W, C), whole numbers from 0 (black), and class numbers (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: Any) -> Split:
        """Return the images with these numbers."""
        return Split(images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training and test images of the same classes. `highest` is the value of a white pixel.

    `notes` say what was done to pictures on the way in, and which were skipped, with their number.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    highest: int = 255
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that images and labels are what they should be; raise `InputError` if not."""
        if not isinstance(self.highest, int) or not 0 < self.highest < 256:
            raise InputError(f"{self.name}: highest is {self.highest!r}; allowed is 1 to 255")
        for which, split in (("training", self.train), ("test", self.test)):
            images, labels = split.images, split.labels
            where = f"{self.name}: the {which} images"
            if getattr(images, "dtype", None) != np.uint8 or images.ndim != 4 or 0 in images.shape:
                found = f"{getattr(images, 'dtype', type(images).__name__)} {np.shape(images)}"
                raise InputError(f"{where} are {found}; wanted is uint8 (N, H, W, C), whole numbers from 0 (black)")
            if images.shape[1:] != self.train.images.shape[1:] or images.shape[3] not in (1, 3):
                raise InputError(f"{where} have the shape {images.shape}; all have one size, and 1 or 3 channels")
            if int(images.max()) > self.highest:
                raise InputError(f"{where} have a pixel of {images.max()}; white is {self.highest}")
            if getattr(labels, "ndim", None) != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
                raise InputError(f"{self.name}: the {which} labels are no whole numbers, one for each image")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise InputError(
                    f"{self.name}: the {which} labels go from {labels.min()} to {labels.max()}; allowed are 0 to "
                    f"{len(self.classes) - 1}"
                )

    @property
    def sha256(self) -> str:
        """A hash of all pixels, labels and classes: a run goes on only with the images that it began with."""
        digest = hashlib.sha256(repr((self.classes, self.highest, self.train.images.shape)).encode())
        for split in (self.train, self.test):
            digest.update(split.images.tobytes())
            digest.update(split.labels.tobytes())
        return digest.hexdigest()

    @property
    def channels(self) -> int:
        """Channels of each image: 1 or 3."""
        return int(self.train.images.shape[3])

"""How pixels become the numbers that a network takes, in NumPy only."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.data.dataset import Split

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
TEST_BATCH = 256
#: What the inputs in a file may say: characters, pixels of an image, and how far a mean, std or 1 / std goes.
MOST_INPUTS, MOST_PIXELS, MOST_SCALE = 4_000_000, 4096, 1e9


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """How pixels become the numbers that a network sees, and what its outputs are called. Kept with the weights.

    (pixel / highest - mean) / std, channel by channel, for images of `image_size` pixels.
    """

    data: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    highest: int = 255

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return images (N, H, W, C) of whole numbers as a network wants them, as float32."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        scale = (1.0 / (self.highest * std)).astype(np.float32)
        shift = (mean / std).astype(np.float32)
        # Resized behind the subtraction: a weighted mean of pixels knows no difference, and black stays exact.
        scaled: NDArray[np.float32] = images * scale - shift
        return resize(scaled, self.image_size)

    def to_json(self) -> str:
        """Return this as a text for the metadata of a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Inputs:
        """Read what `to_json` wrote. Raises `InputError` if it is something else."""
        try:
            if len(text) > MOST_INPUTS:
                raise ValueError(f"they have {len(text):,} characters")
            table = json.loads(text)
            lists = {name: tuple(table[name]) for name in ("classes", "mean", "std")}
            inputs = cls(**{**table, **lists})
            sound = all(isinstance(table[name], list) for name in lists) and _sound(inputs)
        except (ArithmeticError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"the inputs stored with the weights cannot be read ({error})") from error
        if not sound:
            raise InputError(f"the inputs stored with the weights cannot be right: {printable(text)}")
        return inputs


def _sound(inputs: Inputs) -> bool:
    """Say whether inputs from a file are of the right types, and of sizes that can be meant."""
    texts = (inputs.data, *inputs.classes)
    numbers = (*inputs.mean, *inputs.std)
    return (
        all(isinstance(text, str) for text in texts)
        and len(inputs.mean) == len(inputs.std)
        and all(type(number) in (int, float) and abs(number) <= MOST_SCALE for number in numbers)
        and min(inputs.std) >= 1 / MOST_SCALE
        and type(inputs.image_size) is type(inputs.highest) is int
        and 0 < inputs.image_size <= MOST_PIXELS
        and 0 < inputs.highest < 256
    )


@functools.lru_cache(maxsize=16)
def _resize_matrix(old: int, new: int) -> NDArray[np.float32]:
    """Return (new, old) weights of a bilinear resize; when it shrinks, it averages over all that it covers."""
    width = max(1.0, old / new)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(np.arange(old)[None, :] - centres[:, None]) / width
    weights = np.maximum(0.0, 1.0 - distance)
    normalised: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return normalised


def resize(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return images (N, H, W, C) as (N, size, size, C): rows first, then columns, each one matrix product."""
    n, height, width, channels = images.shape
    if height != size:
        rows = np.matmul(_resize_matrix(height, size), images.reshape(n, height, -1))
        images = rows.reshape(n, size, width, channels)
    if width != size:
        images = np.matmul(_resize_matrix(width, size), images)
    return images


def in_batches(split: Split, inputs: Inputs, size: int = TEST_BATCH) -> Iterator[Batch]:
    """Yield all images of `split`, prepared, `size` at a time; the last batch may be smaller."""
    for start in range(0, len(split), size):
        part = slice(start, start + size)
        yield inputs.prepare(split.images[part]), split.labels[part]

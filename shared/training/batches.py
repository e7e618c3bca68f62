"""Which images come in which step, and how they are augmented: functions of seed, epoch and index."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.data.dataset import Dataset, Split
from shared.data.inputs import TEST_BATCH, Batch, Inputs, in_batches
from shared.training.recipe import Recipe


def crop(images: NDArray[np.uint8], padding: int, corners: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pad with `padding` black pixels and cut out the old size again, image i at `corners[i]` (y, x)."""
    n, height, width, channels = images.shape
    padded = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = images
    # A view in which [i, y, x] is the part of image i that begins at (y, x): nothing is copied but what is taken.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    taken = windows[np.arange(n), corners[:, 0], corners[:, 1]]  # (N, C, H, W)
    return taken.transpose(0, 2, 3, 1)


class Batches:
    """The batches of a data set for a recipe, the same for both frameworks.

    The order of an epoch is `default_rng([seed, epoch]).permutation(n)`, the last partial batch is dropped, and
    the draws for augmentation are keyed by seed and epoch and taken by the index of the image: a run that is
    resumed, and one that is split over several processes, sees the same pixels.
    """

    def __init__(self, data: Dataset, recipe: Recipe) -> None:
        self.data, self.recipe = data, recipe
        train = data.train
        held_out = round(recipe.validation * len(train))
        self.validation: Split | None = None
        if held_out:
            order = np.random.default_rng([recipe.seed, 2]).permutation(len(train))
            self.validation = train.take(np.sort(order[:held_out]))
            train = train.take(np.sort(order[held_out:]))
        self.train = train
        if len(train) < recipe.batch_size:
            raise InputError(
                f"{data.name} has {len(train)} training images, fewer than one batch of {recipe.batch_size}; "
                f"--set batch_size={max(1, len(train) // 4)} fits"
            )
        if recipe.crop_padding > train.images.shape[1]:
            raise InputError(
                f"crop_padding is {recipe.crop_padding}, more than the {train.images.shape[1]} pixels of an image"
            )
        self.steps_per_epoch = len(train) // recipe.batch_size
        self.total_steps = recipe.total_steps(self.steps_per_epoch)
        self.epochs = -(-self.total_steps // self.steps_per_epoch)
        mean, std = [0.0] * data.channels, [1.0] * data.channels
        if recipe.normalize == "mean-std":
            mean, std = _mean_and_std(train.images, data.highest)
        self.inputs = Inputs(
            data=data.name,
            classes=data.classes,
            image_size=recipe.image_size or int(train.images.shape[1]),
            mean=tuple(mean),
            std=tuple(std),
            highest=data.highest,
        )

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a run has one such object)
    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of the training images in `epoch`."""
        return np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.train))

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def draws(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return, for every training image, where `epoch` crops it (y, x), and whether it is mirrored."""
        rng = np.random.default_rng([self.recipe.seed, epoch, 1])
        corners = rng.integers(0, 2 * self.recipe.crop_padding + 1, (len(self.train), 2))
        return corners, rng.random(len(self.train)) < 0.5

    def train_batch(self, epoch: int, number: int, part: slice = slice(None)) -> Batch:
        """Return batch `number` (from 0) of `epoch`: images (N, H, W, C) as float32, labels (N,).

        `part` takes some of its images, for one of several processes.
        """
        size = self.recipe.batch_size
        indices = self.order(epoch)[number * size : (number + 1) * size][part]
        images = self.train.images[indices]
        corners, mirrored = self.draws(epoch)
        if self.recipe.crop_padding:
            images = crop(images, self.recipe.crop_padding, corners[indices])
        if self.recipe.flip:
            images = np.where(mirrored[indices][:, None, None, None], images[:, :, ::-1], images)
        return self.inputs.prepare(images), self.train.labels[indices]

    def test_batches(self, split: Split | None = None) -> Iterator[Batch]:
        """Yield the test images, or those of `split`, in their order and without augmentation."""
        yield from in_batches(split or self.data.test, self.inputs, min(TEST_BATCH, self.recipe.batch_size))


def _mean_and_std(images: NDArray[np.uint8], highest: int) -> tuple[Any, Any]:
    """Return mean and standard deviation of each channel, of pixels from 0 to 1, from counts of whole numbers."""
    values = np.arange(256) / highest
    mean, std = [], []
    for channel in range(images.shape[3]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        mean.append(float(counts @ values))
        std.append(float(np.sqrt(counts @ (values - mean[-1]) ** 2)) or 1.0)
    return mean, std

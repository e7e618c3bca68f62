"""The images of the races that read some: the real ones where they lie, else noise of the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from shared.bench.races import Job
from shared.data.dataset import Dataset, Split
from shared.data.load import find_local, load_data
from shared.training.recipes import get_recipe

#: Training images, test images: enough for many batches, and few enough to be read quickly by every contender.
COUNTS = (20_000, 512)


def images_for(job: Job) -> tuple[Dataset, str]:
    """Return the images that a job trains on, and what they are."""
    recipe = get_recipe(job.recipe)
    local = find_local(recipe.data)
    if local is not None:
        data = load_data(local, channels=job.in_channels)
        train, test = data.train.take(slice(0, COUNTS[0])), data.test.take(slice(0, COUNTS[1]))
        return Dataset(name=recipe.data, train=train, test=test, classes=data.classes), recipe.data
    size = 28 if recipe.data == "fashion-mnist" else 32
    rng = np.random.default_rng(0)
    train, test = (
        Split(
            images=rng.integers(0, 256, (count, size, size, job.in_channels), np.uint8),
            labels=rng.integers(0, job.num_classes, count),
        )
        for count in COUNTS
    )
    classes = tuple(str(number) for number in range(job.num_classes))
    return Dataset(name=recipe.data, train=train, test=test, classes=classes), f"noise in place of {recipe.data}"


def save_images(path: Path, data: Dataset) -> None:
    """Write a data set for the processes of the contenders."""
    arrays = {"train_images": data.train.images, "train_labels": data.train.labels}
    arrays |= {"test_images": data.test.images, "test_labels": data.test.labels}
    whole: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, path, {"name": data.name, "classes": json.dumps(data.classes)})


def read_images(path: str | Path) -> Dataset:
    """Read what `save_images` wrote."""
    with safe_open(str(path), "numpy") as file:
        about = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    train, test = (
        Split(images=arrays[f"{part}_images"], labels=arrays[f"{part}_labels"]) for part in ("train", "test")
    )
    return Dataset(name=about["name"], train=train, test=test, classes=tuple(json.loads(about["classes"])))

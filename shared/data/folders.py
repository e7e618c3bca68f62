"""A folder of pictures as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.base.errors import InputError
from shared.data.dataset import Dataset, Progress, Split
from shared.data.pictures import decode, find_pictures
from shared.data.places import folder_path

#: Share of the pictures of each class that is held out where a folder has no `test`.
HELD_OUT = 0.2


def load_folder(
    *,
    path: str,
    data_dir: str | Path | None,
    progress: Progress | None,
    image_size: int,
    default_size: int,
    channels: int,
    seed: int,
) -> Dataset:
    """Pictures in `PATH/train/CLASS` and `PATH/test/CLASS`, or in `PATH/CLASS` with a seeded split; also as a tar."""
    place = folder_path(path, data_dir)
    found = find_pictures(place)
    pixels = decode(found.pictures, image_size, default_size, channels, progress)
    classes = found.classes
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[picture.label] for picture in pixels.pictures], np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    members_of = np.split(labels.argsort(kind="stable"), counts.cumsum()[:-1])
    everything = Split(images=pixels.images, labels=labels)
    if found.has_splits:
        test = np.array([picture.split == "test" for picture in pixels.pictures])
    else:
        test = np.zeros(len(labels), bool)
        rng = np.random.default_rng([seed, 3])
        for each in members_of:
            members = rng.permutation(each)
            test[members[: max(1, round(HELD_OUT * len(members)))]] = True
    in_test = np.bincount(labels[test], minlength=len(classes))
    for number, name in enumerate(classes):
        for split, count in (("train", counts[number] - in_test[number]), ("test", in_test[number])):
            if not count:
                raise InputError(f"{place}: class {name!r} has no readable picture for {split}; it needs two or more")
    return Dataset(
        name=f"folder:{path}",
        train=everything.take(~test),
        test=everything.take(test),
        classes=classes,
        notes=found.notes + pixels.notes,
    )

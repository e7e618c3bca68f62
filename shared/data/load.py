"""Data sets by name: looked for on disk, downloaded once if they are public, checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.base.checks import check_whole, nearest
from shared.base.errors import InputError
from shared.data.cifar10 import CIFAR_JPEG, CIFAR_PLACES, load_cifar10
from shared.data.dataset import Dataset, Progress
from shared.data.digits import load_digits
from shared.data.fashion_mnist import FASHION_FILES, find_fashion_mnist, load_fashion_mnist
from shared.data.folders import load_folder
from shared.data.places import find_place

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "fashion-mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
}


def find_local(name: str, data_dir: str | Path | None = None) -> str | None:
    """Return what to pass to `load_data` for "fashion-mnist" or "cifar10" if no download is needed, else None.

    For CIFAR-10 this may be `folder:PATH` with a copy as JPEG files: an accuracy on those is not one on the originals.
    """
    if name == "digits":
        return name
    if name == "fashion-mnist":
        complete = all(find_fashion_mnist(file, data_dir) for file in FASHION_FILES)
        return name if complete else None
    if name == "cifar10":
        if find_place(CIFAR_PLACES, data_dir):
            return name
        return f"folder:{CIFAR_JPEG}" if find_place([CIFAR_JPEG], data_dir) else None
    raise InputError(f"unknown data set {name!r}; allowed is one of {', '.join(DATASETS)}")


def load_data(
    name: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int = 0,
    default_size: int = 0,
    channels: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Return the data set `name`: "digits", "fashion-mnist", "cifar10" or "folder:PATH".

    Looked for in `data_dir`, in `$RESNET_TWINS_DATA` and in the platform's cache folder, then downloaded. Only
    for folders: pictures are cut to a square and resized to `image_size` pixels (0: they stay as they are if
    all are squares of one size, else `default_size`), have `channels` channels, and `seed` splits them where
    there is no `test` folder. Raises `InputError` if something is missing or damaged.
    """
    check_whole("image_size", image_size, 0, 4096)
    check_whole("default_size", default_size, 0, 16_384)
    if not isinstance(name, str):
        raise InputError(f"unknown data set {name!r}; a data set is given by its name")
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return load_folder(
            path=path,
            data_dir=data_dir,
            progress=progress,
            image_size=image_size,
            default_size=default_size,
            channels=channels,
            seed=seed,
        )
    if name not in DATASETS:
        raise InputError(
            f"unknown data set {name!r}; allowed is one of {', '.join(DATASETS)}, or folder:PATH for your own pictures "
            f"(nearest: {nearest(kind, DATASETS, 1)[0]})"
        )
    return DATASETS[name](data_dir=data_dir, progress=progress)

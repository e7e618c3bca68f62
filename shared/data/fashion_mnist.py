"""Fashion-MNIST: where it comes from, and how its files are read."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.base.files import open_plain
from shared.data.archives import readable, unpacked
from shared.data.dataset import Dataset, Progress, Split
from shared.data.download import Download, fetch
from shared.data.places import data_cache, find_place

FASHION_CLASSES = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
#: File -> (SHA-256 of the official .gz file, SHA-256 of what is in it).
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

#: The largest of these files has 47 million bytes: of another one that unpacks to more, no more is read.
MOST_IDX_BYTES = 48_000_000


def read_idx(path: Path, sha256: str) -> NDArray[np.uint8]:
    """Read a gzipped IDX file: two zeros, the type (8: bytes), the number of axes, the size of each, the values.

    `sha256` is that of the uncompressed content: how it was compressed does not matter. Raises `InputError`
    for a file that is damaged, cut short or another one.
    """
    advice = f"delete it and it is downloaded anew, or put the right file there (SHA-256 of its content: {sha256})"
    with open_plain(path) as file, readable(path, "damaged or only half there", advice):
        if os.fstat(file.fileno()).st_size > MOST_IDX_BYTES:  # zeros behind its end would be passed over one by one
            raise ValueError("it is larger than what it should hold")
        content = unpacked(file, Budget.for_file(path)).read(MOST_IDX_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} holds {len(content):,} bytes that are not those of Fashion-MNIST; {advice}")
    try:
        axes = content[3]
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (IndexError, ValueError, struct.error) as error:
        raise InputError(f"{path} is no IDX file ({error})") from error


def find_fashion_mnist(file: str, data_dir: str | Path | None) -> Path | None:
    """Return where a file of Fashion-MNIST lies, or None."""
    return find_place([f"fashion-mnist/{file}", file], data_dir)


def load_fashion_mnist(*, data_dir: str | Path | None, progress: Progress | None, **_: Any) -> Dataset:
    """Return Fashion-MNIST: 28x28 pixels, grey."""
    arrays = []
    for name, (official, content) in FASHION_FILES.items():
        path = find_fashion_mnist(name, data_dir)
        if path is None:
            wanted = Download(url=f"{FASHION_URL}/{name}", sha256=official, path=data_cache() / "fashion-mnist" / name)
            path = fetch(wanted, progress)
        arrays.append(read_idx(path, content))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name="fashion-mnist",
        train=Split(images=train_images[..., None], labels=train_labels.astype(np.int64)),
        test=Split(images=test_images[..., None], labels=test_labels.astype(np.int64)),
        classes=FASHION_CLASSES,
    )

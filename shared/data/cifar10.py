"""CIFAR-10: where it comes from, and how its files are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.base.files import open_plain
from shared.data.archives import TarReader, readable
from shared.data.dataset import Dataset, Progress, Split
from shared.data.download import Download, fetch
from shared.data.places import data_cache, find_place

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: The binary archive: the other one holds Python pickles, which could run code.
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR_FOLDER, CIFAR_ARCHIVE = "cifar-10-batches-bin", Path(CIFAR_URL).name
CIFAR_PLACES = [f"{folder}{name}" for name in (CIFAR_FOLDER, CIFAR_ARCHIVE) for folder in ("cifar-10/", "")]
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST = ("test_batch.bin",)
CIFAR_RECORDS, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32
CIFAR_MOST = CIFAR_RECORDS * CIFAR_RECORD + 1  # bytes: one more than there must be tells that it is too long


def read_cifar_batch(content: bytes, where: str) -> Split:
    """Read one file of the binary archive: 10,000 records of a label and 3 x 32 x 32 values, channel by channel."""
    if len(content) != CIFAR_RECORDS * CIFAR_RECORD:
        raise InputError(
            f"{where} has {len(content):,} bytes; a batch of CIFAR-10 has {CIFAR_RECORDS * CIFAR_RECORD:,}: "
            "it is damaged or only half there; delete it and put the right file there"
        )
    table = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, CIFAR_RECORD)
    if table[:, 0].max() > 9:
        raise InputError(f"{where} has a label {table[:, 0].max()}; those of CIFAR-10 are 0 to 9: it is another file")
    images = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(images=np.ascontiguousarray(images), labels=table[:, 0].astype(np.int64))


def _cifar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    missing = {*CIFAR_TRAIN, *CIFAR_TEST}
    if path.is_dir():
        for name in sorted(missing):
            if not (path / name).exists():
                raise InputError(f"{path} has no {name}; unpack the whole of {CIFAR_ARCHIVE} there")
            with open_plain(path / name) as file:
                yield name, file.read(CIFAR_MOST)
        return
    advice = f"delete it and it is downloaded anew (SHA-256 of the right file: {CIFAR_SHA256})"
    with open_plain(path) as file, readable(path, "damaged or only half there", advice):
        for member in TarReader(file, Budget.for_file(path)):
            folder, _, name = member.name.rpartition("/")
            if folder.removeprefix("./") == CIFAR_FOLDER and name in missing and member.kind == "file":
                missing.remove(name)
                yield name, member.read(CIFAR_MOST)
            if not missing:
                return
        raise ValueError(f"there is no {sorted(missing)[0]} in it")


def load_cifar10(*, data_dir: str | Path | None, progress: Progress | None, **_: Any) -> Dataset:
    """Return CIFAR-10: 32x32 pixels, in colour."""
    path = find_place(CIFAR_PLACES, data_dir)
    if path is None:
        place = data_cache() / "cifar-10" / CIFAR_ARCHIVE
        path = fetch(Download(url=CIFAR_URL, sha256=CIFAR_SHA256, path=place), progress)
    parts = {name: read_cifar_batch(content, f"{path}/{name}") for name, content in _cifar_files(path)}

    def join(names: Sequence[str]) -> Split:
        return Split(
            images=np.concatenate([parts[name].images for name in names]),
            labels=np.concatenate([parts[name].labels for name in names]),
        )

    return Dataset(name="cifar10", train=join(CIFAR_TRAIN), test=join(CIFAR_TEST), classes=CIFAR_CLASSES)


#: A copy of CIFAR-10 as a tar of JPEG files in `train/CLASS/` and `test/CLASS/`, as some classrooms hand it out.
CIFAR_JPEG = "cifar-10/cifar-10-jpeg.tar.xz"

"""The files of Fashion-MNIST and of CIFAR-10, with little in them."""

from __future__ import annotations

import functools
import io
import struct
import tarfile
from random import Random

import numpy as np

from tests.campaigns.fuzz.formats.damage import INTEGERS, blind
from tests.campaigns.fuzz.formats.packed import gz

CIFAR_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def idx() -> bytes:
    """Return a small IDX file, not packed."""
    return struct.pack(">BBBBIII", 0, 0, 8, 3, 10, 4, 4) + bytes(range(160))


def spoil_idx(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil its head."""
    head, rest = content[:16], content[16:]
    chance = rng.random()
    if chance < 0.4:
        return blind(head, rng, other) + rest
    if chance < 0.8:
        sizes = [rng.choice(INTEGERS) % 2**32 for _ in range(rng.choice((0, 1, 3, 3, 33, 70, 255)))]
        return struct.pack(f">BBBB{len(sizes)}I", 0, 0, rng.choice((8, 9, 0)), len(sizes), *sizes) + rest
    return blind(content, rng, other)


@functools.cache
def cifar() -> bytes:
    """Return a batch of CIFAR-10 that holds labels and no pictures."""
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    return records.tobytes()


def small_cifar() -> bytes:
    """Return the archive of CIFAR-10 with five pictures in each file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as packed_:
        for name in CIFAR_FILES:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = 5 * 3073
            packed_.addfile(info, io.BytesIO(bytes(info.size)))
    return gz(whole.getvalue())

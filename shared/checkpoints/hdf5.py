"""Read the plain arrays of an HDF5 file: a process of its own looks where they lie, and only that one can be lost."""

from __future__ import annotations

import io
import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import Budget
from shared.base.errors import MissingPackageError, WeightsError
from shared.base.printable import printable
from shared.base.subprocesses import child_environment, ending_words, python_command
from shared.base.versions import install_command, is_installed
from shared.checkpoints.zips import read_array

#: It lists thousands of arrays in a second.
MOST_SECONDS = 60
#: Where the HDF5 library is asked, see there.
LISTS = Path(__file__).with_name("hdf5_contents.py")


@dataclass(frozen=True)
class Hdf5:
    """An open HDF5 file, and what is in it."""

    stream: BinaryIO
    budget: Budget
    #: Place in the file ("layers/conv2d/vars/0") -> dtype, shape, and where the numbers lie.
    arrays: dict[str, tuple[str, tuple[int, ...], int]]
    #: Place of a group -> its attribute "name".
    names: dict[str, str]
    #: Whether Keras 2 wrote it.
    keras2: bool

    def array(self, place: str) -> NDArray[Any]:
        """Return the array at `place`."""
        dtype, shape, start = self.arrays[place]
        self.budget.take_member()
        self.stream.seek(start)
        array = read_array(self.stream, size_of(dtype, shape), self.budget).view(dtype).reshape(shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def check_places(self) -> None:
        """Raise `WeightsError` if an array lies over another one, or behind the end of the file."""
        end, before = 0, ""
        for start, place, size in sorted(
            (start, place, size_of(dtype, shape)) for place, (dtype, shape, start) in self.arrays.items()
        ):
            if size and start < end:
                raise WeightsError(
                    f"{printable(self.budget.path)} is refused: {printable(place)} has numbers of {printable(before)}; "
                    "Keras stores each array once"
                )
            if size:
                end, before = start + size, place
        if end > self.stream.seek(0, io.SEEK_END):
            raise EOFError("it ends before its arrays do")


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of such an array."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def open_hdf5(stream: BinaryIO, budget: Budget) -> Hdf5:
    """Return what is in the HDF5 file `stream`.

    Raises `WeightsError` for one that is damaged, or that uses more of HDF5 than Keras does.
    """
    name = Path(budget.path).name
    if not is_installed("h5py"):
        raise MissingPackageError(f"reading {printable(name)} needs h5py; install it with: {install_command('tf')}")
    stream.seek(0)
    try:
        done = subprocess.run(
            python_command(str(LISTS)),
            env=child_environment(OPENBLAS_NUM_THREADS="1"),  # its threads take memory
            stdin=stream,
            capture_output=True,
            timeout=MOST_SECONDS,
        )
        found = json.loads(done.stdout or "{}")
        problem = found.get("damaged") or f"the HDF5 library {ending_words(done.returncode)}"
    except subprocess.TimeoutExpired:
        found, problem = {}, f"the HDF5 library did not come to an end in {MOST_SECONDS} seconds"
    if "refused" in found:
        raise WeightsError(f"{printable(budget.path)} is refused: {printable(found['refused'], 500)}")
    if "arrays" not in found:
        raise WeightsError(
            f"{printable(budget.path)} is no readable Keras file; it may be damaged, only half downloaded, or another "
            f"kind of file ({problem})"
        )
    arrays = {place: (dtype, tuple(shape), start) for place, (dtype, shape, start) in found["arrays"].items()}
    opened = Hdf5(stream, budget, arrays, found["names"], found["keras2"])
    opened.check_places()
    return opened

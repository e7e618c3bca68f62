"""Read members of a ZIP archive that somebody else made: each at most once, through one budget."""

from __future__ import annotations

import itertools
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import PIECE, Budget
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable

#: PyTorch and Keras write the first; the second is what people pack archives with again.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LOCAL_HEADER = struct.Struct("<4s5H3I2H")


class Archive:
    """The members of an archive whose names are all different, and which do not lie over each other."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._zip = zipfile.ZipFile(stream)
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            budget.take_member()
            if info.filename in self.members:
                raise self._error(f"it holds {printable(info.filename)} twice")
            self.members[info.filename] = info
        if (declared := sum(info.file_size for info in self.members.values())) > budget.most_bytes:
            budget.take(declared)
        in_order = sorted(self.members.values(), key=lambda info: info.header_offset)
        for first, second in itertools.pairwise(in_order):
            if first.header_offset + LOCAL_HEADER.size + first.compress_size > second.header_offset:
                raise self._error(f"{printable(first.filename)} and {printable(second.filename)} lie over each other")

    @contextmanager
    def unpacked(self, name: str) -> Iterator[BinaryIO]:
        """Give a file with the bytes of a member, whose CRC is checked; it has no name and goes away by itself."""
        with self._zip.open(self._readable(name)) as member, tempfile.TemporaryFile() as file:
            while piece := member.read(PIECE):
                self._budget.take(len(piece))
                try:
                    file.write(piece)
                    file.flush()
                except OSError as error:
                    raise InputError(
                        f"{printable(self._budget.path)} cannot be unpacked ({error.strerror or error}); make room in "
                        f"{tempfile.gettempdir()}, or let the variable TMPDIR name another folder"
                    ) from error
            yield file

    def array(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a member as an array, without their CRC: PyTorch may be told not to compute it."""
        info = self._readable(name)
        if info.compress_type != zipfile.ZIP_STORED:
            with self._zip.open(info) as member:
                return np.frombuffer(bytearray(self._budget.read(member)), np.uint8)  # type: ignore[arg-type]
        self._stream.seek(info.header_offset)
        header = LOCAL_HEADER.unpack(self._stream.read(LOCAL_HEADER.size))
        self._stream.seek(header[-2] + header[-1], 1)  # the name, and what else stands before the bytes
        return read_array(self._stream, info.file_size, self._budget)

    def _readable(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise self._error(f"it holds no {printable(name)}")
        info = self.members[name]
        if info.flag_bits & 1:
            raise self._error(f"{printable(name)} is encrypted")
        if info.compress_type not in METHODS:
            method = zipfile.compressor_names.get(info.compress_type, info.compress_type)  # type: ignore[attr-defined]
            raise self._error(f"{printable(name)} is packed by the method {method}, which no such file uses")
        return info

    def _error(self, what: str) -> WeightsError:
        return WeightsError(f"{printable(self._budget.path)} is refused: {what}")


def read_array(stream: BinaryIO, size: int, budget: Budget) -> NDArray[np.uint8]:
    """Return the next `size` bytes of a file as an array that can be written to."""
    budget.take(size)
    array = np.empty(size, np.uint8)
    if stream.readinto(array.data) != size:  # type: ignore[attr-defined]
        raise EOFError("it ends too early")
    return array

"""One allowance for a whole reading of what somebody else wrote: bytes as they come out, members, seconds.

A file of a few kilobytes can hold gigabytes. Every reader spends from here before it keeps anything, so that what it
says of itself need not be believed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO

from shared.base.errors import InputError

#: What comes out of a file may be this many times its own bytes, and this many more.
MOST_TIMES, SLACK = 20, 64_000_000
#: Arrays of a checkpoint, files of an archive or of a folder.
MOST_MEMBERS = 1_000_000
#: How long a reading may take, and how long for each further byte: slow disks read a million in a second.
SECONDS, SECONDS_PER_BYTE = 120.0, 1e-6
#: And how long for each picture, on average.
SECONDS_A_PICTURE = 1.0
PIECE = 1 << 20
#: In bytes: what a computer is taken to have that does not say.
USUAL_MEMORY = 8_000_000_000
#: How much memory this process may use, where somebody limits it: a container, say.
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine_memory() -> int:
    """Return how many bytes of memory there are for this process."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        memory = USUAL_MEMORY
    try:
        return min(memory, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # another system, or "max": no limit
        return memory


class Budget:
    """What is left of the bytes, members and seconds that reading `path` may cost.

    Raises `InputError`, which names the file, as soon as more is asked for.
    """

    def __init__(
        self, path: str | Path, *, most_bytes: int, members: int = MOST_MEMBERS, seconds: float = SECONDS
    ) -> None:
        self.path, self.most_bytes, self.most_members, self.seconds = path, most_bytes, members, seconds
        self.bytes = self.members = 0
        self._started = time.monotonic()

    @classmethod
    def for_file(cls, path: str | Path, *, members: int = MOST_MEMBERS) -> Budget:
        """Return the allowance of a file by its size: pictures and weights hardly shrink when they are packed."""
        size = Path(path).stat().st_size
        return cls(
            path,
            most_bytes=SLACK + MOST_TIMES * size,
            members=members,
            seconds=SECONDS + size * SECONDS_PER_BYTE,
        )

    def allow_picture(self, size: int) -> None:
        """Grant the time to read and decode one more picture, whose file has `size` bytes."""
        self.seconds += SECONDS_A_PICTURE + size * SECONDS_PER_BYTE

    def take(self, size: int) -> None:
        """Spend `size` bytes, which are about to come out."""
        self.bytes += size
        if self.bytes > self.most_bytes:
            raise InputError(
                f"{self.path} unpacks to {self.bytes / 1e6:,.0f} MB or more, far more than a file of its size holds "
                f"(at most {self.most_bytes / 1e6:,.0f} MB); it may be made to fill the memory"
            )
        self.check_time()

    def take_member(self, size: int = 0) -> None:
        """Spend one member, and the bytes in it."""
        self.members += 1
        if self.members > self.most_members:
            raise InputError(
                f"{self.path} holds more than {self.most_members:,} entries; no file of its kind has so many"
            )
        self.take(size)

    def check_time(self) -> None:
        """Raise `InputError` if the time is over."""
        if time.monotonic() - self._started > self.seconds:
            raise InputError(
                f"reading {self.path} takes more than {self.seconds:,.0f} seconds; it may be made to take long, or "
                "the disk is very slow: copy it to another one"
            )

    def read(self, stream: BinaryIO) -> bytes:
        """Return all that comes out of `stream`, and spend it piece by piece."""
        parts = []
        while part := stream.read(PIECE):
            self.take(len(part))
            parts.append(part)
        return b"".join(parts)

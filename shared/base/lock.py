"""Lets only one process at a time write into a folder. The system takes the lock of a process that was killed away."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import check_own, read_own
from shared.base.printable import printable

#: The lock, and beside it a line for people: on Windows nobody else can read a file that is locked.
LOCK, HOLDER = "run.lock", "run.lock.txt"
MOST_HOLDER = 1000


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which must exist; raise `InputError` if another process holds it.

    Both files are removed in the end. After a kill they stay and do no harm: what counts is the system's lock.
    """
    from filelock import FileLock, Timeout

    check_own(folder / LOCK, alone=True)  # older filelocks follow links, and empty what they open
    check_own(folder / HOLDER)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"{folder} is in use by {_holder(folder)}; wait until it is done, or stop it") from error
    except OSError as error:
        raise InputError(
            f"{folder / LOCK} cannot be locked ({error.strerror or error}); choose another folder"
        ) from error
    try:
        with contextlib.suppress(OSError):  # the disk may be full: then nobody is told who it is
            (folder / HOLDER).unlink(missing_ok=True)  # written anew: in place, it could be the content of another name
            with (folder / HOLDER).open("x", encoding="utf-8") as file:
                file.write(f"process {os.getpid()} on {platform.node()}\n")
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            (folder / HOLDER).unlink(missing_ok=True)
        if os.name != "nt":  # there filelock itself removes the file, as it can only be removed when it is closed
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError, InputError, UnicodeDecodeError):
        return printable(read_own(folder / HOLDER, MOST_HOLDER).decode("utf-8").strip()) or "another process"
    return "another process"

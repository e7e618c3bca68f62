"""Writing files without ever destroying the one that stands there."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared.errors import InputError, UnwritableError

#: An archive may hold this many times its own bytes, and this many more.
MOST_TIMES, SLACK = 20, 64_000_000
#: How long a file's name may be: in bytes, on Windows in characters.
MOST_NAME = 255
#: How many characters of it a temporary name keeps.
KEPT_END = 40


def check_readable(path: str | Path) -> Path:
    """Return `path` if a file is there; raise `InputError` if it is missing, a folder, or a device that never ends."""
    try:
        path = Path(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        if not path.exists():
            raise InputError(f"there is no file {path}")
        if not path.is_file():
            raise InputError(f"{path} is no plain file")
    except TypeError as error:
        raise InputError(f"a file is named by a text or a Path, not by {path!r}") from error
    except OSError as error:  # a name that is too long, a folder that is closed
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    return path


def check_unpacked(path: str | Path, size: int) -> None:
    """Raise `InputError` if an archive says that its content has so many bytes more than itself that it is a bomb.

    Pictures and weights hardly shrink: an honest archive unpacks to a little more than its own size.
    """
    most = SLACK + MOST_TIMES * Path(path).stat().st_size
    if size > most:
        raise InputError(
            f"{path} unpacks to {size / 1e6:,.0f} MB or more, far more than a file of its size holds (at most "
            f"{most / 1e6:,.0f} MB); it is damaged, or made to fill the memory"
        )


def check_writable(path: str | Path) -> Path:
    """Return `path` if a file can be written there; raise `UnwritableError` if its folder is missing or closed."""
    path = Path(path)
    size = len(path.name) if sys.platform == "win32" else len(os.fsencode(path.name))
    if size > MOST_NAME:
        unit = "characters" if sys.platform == "win32" else "bytes"
        raise UnwritableError(f"the name {path.name} has {size} {unit}; a file's name has {MOST_NAME} at most")
    if path.is_dir():
        raise UnwritableError(f"{path} is a folder; name a file to write")
    if not path.parent.is_dir():
        raise UnwritableError(f"there is no folder {path.parent} to write {path.name} into; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UnwritableError(f"the folder {path.parent} does not let {path.name} be written; choose another one")
    return path


def open_plain(path: str | Path, *, follow: bool = True) -> BinaryIO:
    """Open a plain file for reading. Nothing is waited for, and with `follow=False` no link is followed.

    Raises `InputError` for what is missing, a link, a folder, a pipe, a socket or a device.
    """
    no_link = 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    flags = os.O_RDONLY | no_link | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not follow and Path(path).is_symlink():  # where the system has no O_NOFOLLOW
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path} is a link, which is not followed here; put the file itself there") from error
        if error.errno == errno.ENOENT:
            raise InputError(f"there is no file {path}") from error
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path} is no plain file")
    return os.fdopen(handle, "rb")


@contextmanager
def replacing(path: str | Path, keep: Path | None = None) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and move it to `path` when all went well.

    Until then the file that stands at `path` stays whole, whatever happens; afterwards it stands at `keep`, if that
    is given. The temporary name keeps the end of `path`'s, as Keras insists on its suffixes.
    """
    path = check_writable(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix="tmp-", suffix=f"-{path.name[-KEPT_END:]}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # the temporary name says nothing to people
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_temporary() -> None:
    """Raise `InputError` if no temporary file can be written."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        raise InputError(
            f"no temporary file can be written ({error.strerror or error}): the disk is full, or closed to you; make "
            "room, or let the variable TMPDIR name a folder that you can write to"
        ) from error


@contextmanager
def new_folders(path: Path) -> Iterator[None]:
    """Take `path` and the folders above it away again in the end, as far as they are new and empty."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    finally:
        with suppress(OSError):  # something is in it
            for folder in new:
                folder.rmdir()

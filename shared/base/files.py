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

from shared.base.errors import InputError, UnwritableError
from shared.base.printable import quoted

#: What may stand where a plain file of ours belongs.
KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
#: How long a file's name may be: in bytes, on Windows in characters.
MOST_NAME = 255
#: How many characters of it a temporary name keeps.
KEPT_END = 40


def check_path(path: object) -> None:
    """Raise `InputError` unless this is a text or a path, as files are named."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a file is named by a text or a Path, not by {quoted(path)}")


def check_readable(path: str | Path) -> Path:
    """Return `path` if a file is there; raise `InputError` if it is missing, a folder, or a device that never ends."""
    check_path(path)
    try:
        path = Path(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        if not path.exists():
            raise InputError(f"there is no file {path}")
        if not path.is_file():
            raise InputError(f"{path} is no plain file")
    except OSError as error:  # a name that is too long, a folder that is closed
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    return path


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
    check_path(path)
    flags = os.O_RDONLY | no_link | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not follow and Path(path).is_symlink():  # where the system has no O_NOFOLLOW
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        handle = os.open(path, flags)
    except ValueError as error:  # a name with a zero byte in it
        raise InputError(f"{quoted(path)} names no file ({error})") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            what = "a link that leads back to itself" if follow else "a link, which is not followed here"
            raise InputError(f"{path} is {what}; put the file itself there") from error
        if error.errno == errno.ENOENT:
            raise InputError(f"there is no file {path}") from error
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise InputError(f"{path} is {'a folder; name a file' if stat.S_ISDIR(mode) else 'no plain file'}")
    return os.fdopen(handle, "rb")


def check_own(path: str | Path, *, alone: bool = False) -> Path:
    """Return `path` if a plain file stands there, or nothing; raise `InputError` for a link, a folder, a pipe, ...

    For the files of a folder that somebody else may have filled: whatever is read or written under a name of ours
    stays in that folder. alone: the file must have no other name either, as one that is not replaced but opened.
    """
    status = _own_status(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        what = KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise InputError(f"{path} is {what}, and a plain file belongs there; take it away, nothing goes through it")
    if alone and status is not None and status.st_nlink > 1:
        raise InputError(f"{path} is the same file as another one (a hard link), which it could change; take it away")
    return Path(path)


def check_own_folder(path: str | Path) -> Path:
    """Return `path` if a folder stands there, or nothing; raise `InputError` for a link to one, or anything else."""
    status = _own_status(path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        what = KINDS.get(stat.S_IFMT(status.st_mode), "no folder")
        raise InputError(f"{path} is {what}, and a folder belongs there; take it away, nothing goes through it")
    return Path(path)


def _own_status(path: str | Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_start(path: str | Path, most: int, *, follow: bool = True) -> bytes:
    """Return the first bytes of a plain file: at most `most` and one more, which tells that it is too large.

    No more memory is asked for than it has. Raises `InputError` as `open_plain` does, and if the disk fails.
    """
    with open_plain(path, follow=follow) as file:
        try:
            return file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error})") from error


def read_own(path: str | Path, most: int) -> bytes:
    """Return what is in a plain file of at most `most` bytes; `InputError` for a larger one, a link, a pipe, ..."""
    content = read_start(path, most, follow=False)
    if len(content) > most:
        raise InputError(f"{path} has more than {most / 1e6:g} MB, and no such file needs so much")
    return content


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

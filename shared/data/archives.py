"""Tar archives from elsewhere, packed or not: read forward once, and every byte is spent before it is handed on.

Python's `tarfile` reads the headers; it is not let near the archive itself, because it holds long names and tables of
any size, follows links, and calls itself for each header that precedes another.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.base.files import open_plain
from shared.data.listing import LeftOut, Listing

BLOCK, PIECE, PACKED_PIECE = 512, 1 << 20, 1 << 14
#: Long names and further facts on a member, in bytes. A path has 4,096 at most.
MOST_HEADER, MOST_NAME = 1 << 20, 4096
#: What unpacking .xz may hold: `xz -9` needs 65 MB.
MOST_XZ_MEMORY = 256 << 20
#: In bytes: no picture has more.
MOST_PICTURE = 500_000_000

LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
RECORDS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
#: Members that have no content, whatever size they say.
EMPTY = (*LINKS, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
#: Where the header of a sparse member, and each block that goes on with it, says whether there is another one.
SPARSE_GOES_ON, SPARSE_GOES_ON_AGAIN = 482, 504


@contextmanager
def readable(path: str | Path, what: str, advice: str = "") -> Iterator[None]:
    """Turn all that unpacking raises into an `InputError` that says that `path` is `what`, and what to do."""
    try:
        yield
    except InputError:
        raise
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise InputError(f"{path} is {what} ({error}){'; ' if advice else ''}{advice}") from error


class _Watched(io.RawIOBase):
    """A file that looks at the clock: a packed one can be long without anything coming out of it."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self.file, self.budget = file, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.budget.check_time()
        part = self.file.read(len(buffer)) or b""
        buffer[: len(part)] = part
        return len(part)


class _Xz(io.RawIOBase):
    """What an .xz file unpacks to, within limits on memory that Python's `LZMAFile` has not."""

    def __init__(self, packed: BinaryIO) -> None:
        self.packed = packed
        self.decoder = lzma.LZMADecompressor(memlimit=MOST_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            given = b""
            if self.decoder.eof:
                given = self._next_stream()
                if not given:
                    return 0
                self.decoder = lzma.LZMADecompressor(memlimit=MOST_XZ_MEMORY)
            elif self.decoder.needs_input:
                given = self.packed.read(PACKED_PIECE)
                if not given:
                    raise EOFError("it ends too early")
            if part := self.decoder.decompress(given, len(buffer)):
                buffer[: len(part)] = part
                return len(part)

    def _next_stream(self) -> bytes:
        """Return how the next stream begins, b"" if there is none; zeros may lie between."""
        given = self.decoder.unused_data or self.packed.read(PACKED_PIECE)
        while given and not (begin := given.lstrip(b"\0")):
            given = self.packed.read(PACKED_PIECE)
        return begin if given else b""


def unpacked(file: BinaryIO, budget: Budget) -> BinaryIO:
    """Return a stream of what `file` unpacks to, by its first bytes; `file` itself if it is not packed."""
    start = file.read(6)
    file.seek(0)
    watched = io.BufferedReader(_Watched(file, budget))
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=watched))
    if start.startswith(b"BZh"):
        return cast(BinaryIO, bz2.BZ2File(watched))
    if start.startswith((b"\xfd7zXZ\0", b"]\0\0")):
        return io.BufferedReader(_Xz(watched))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            zstd = importlib.import_module("compression.zstd")
        except ImportError:
            raise InputError(f"{budget.path} is packed with zstd; unpack it first (zstd -d)") from None
        return cast(BinaryIO, zstd.ZstdFile(watched))
    return file


class _Stream:
    """Reads forward only. A file that is not packed skips without reading."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self.source, self.budget = unpacked(file, budget), budget
        self.jumps = self.source is file
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; fewer only at the end."""
        parts, missing = [], size
        while missing and (part := self.source.read(min(missing, PIECE))):
            self.budget.take(len(part))
            parts.append(part)
            missing -= len(part)
        self.position += size - missing
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def whole(self, size: int) -> bytes:
        """Return `size` bytes."""
        content = self.read(size)
        if len(content) < size:
            raise tarfile.ReadError("it ends too early")
        return content

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        if size and self.jumps:
            self.source.seek(size - 1, os.SEEK_CUR)
            self.position += size - 1
            size = 1
        end = self.position + size
        while self.position < end:
            self.whole(min(PIECE, end - self.position))


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of an archive (or a folder, a link, something else), which is read at once or not at all."""

    name: str
    kind: str
    size: int
    _stream: _Stream

    def read(self, most: int = MOST_PICTURE) -> bytes:
        """Return the content, of a longer one the first `most` bytes."""
        return self._stream.whole(min(self.size, most))


@dataclass
class TarReader:
    """The members of an archive in their order. `whole` says afterwards whether its end was marked as such."""

    file: BinaryIO
    budget: Budget
    whole: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; raise one of many errors where the archive is damaged."""
        stream = _Stream(self.file, self.budget)
        long_name, records = "", {}
        while block := stream.read(BLOCK):
            if not block.strip(b"\0"):
                self.whole = len(block) == BLOCK
                return
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            self.budget.take_member()
            if info.size < 0:
                raise tarfile.ReadError(f"a member of {info.size} bytes")
            if info.type in (*LONG_NAMES, *RECORDS):
                if info.size > MOST_HEADER:
                    raise tarfile.ReadError(f"a name, or what is noted of a member, has {info.size:,} bytes")
                content = stream.whole(_padded(info.size))[: info.size]
                if info.type in RECORDS:
                    records.update(_records(content))
                elif info.type == tarfile.GNUTYPE_LONGNAME:
                    long_name = _text(content.partition(b"\0")[0])
                continue
            if info.type == tarfile.XGLTYPE:  # facts on all members: nothing that counts here
                stream.skip(_padded(info.size))
                continue
            size = _size(records.get("size", str(info.size)))
            goes_on = info.type == tarfile.GNUTYPE_SPARSE and block[SPARSE_GOES_ON]
            while goes_on:
                goes_on = stream.whole(BLOCK)[SPARSE_GOES_ON_AGAIN]
            end = stream.position + (0 if info.type in EMPTY else _padded(size))
            name = records.get("path") or long_name or info.name
            yield Member(name=name, kind=_kind(info, records, name), size=size, _stream=stream)
            stream.skip(end - stream.position)
            long_name, records = "", {}
        if not stream.position:
            raise tarfile.ReadError("there is nothing in it")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise tarfile.ReadError("a size that is no number")
    return int(text)


def _records(content: bytes) -> dict[str, str]:
    """Return what counts of the records "LENGTH KEY=VALUE\\n": the length is that of the whole record."""
    found, place = {}, 0
    while place < len(content):
        digits, _, _ = content[place : place + 20].partition(b" ")
        end = place + _size(_text(digits))
        key, equals, value = content[place + len(digits) + 1 : end].partition(b"=")
        if end <= place + len(digits) + 1 or not equals or not value.endswith(b"\n"):
            raise tarfile.ReadError("what is noted of a member is damaged")
        if key in (b"path", b"size"):
            found[_text(key)] = _text(value[:-1])
        elif key.startswith(b"GNU.sparse."):
            found["sparse"] = "yes"
        place = end
    return found


def _kind(info: tarfile.TarInfo, records: dict[str, str], name: str) -> str:
    if info.type in LINKS:
        return "link"
    if info.type == tarfile.GNUTYPE_SPARSE or "sparse" in records:
        return "sparse"
    if info.isdir() or (info.isreg() and name.endswith("/")):
        return "folder"
    return "file" if info.isreg() else "other"


def list_archive(path: Path, endings: tuple[str, ...]) -> Listing:
    """Return the files of a tar archive that end so, whose content is kept, and all its folders; no hidden ones."""
    contents: dict[str, bytes] = {}
    folders, left, budget = set(), LeftOut(), Budget.for_file(path)
    with open_plain(path) as file, readable(path, "no readable folder or tar archive"):
        archive = TarReader(file, budget)
        for member in archive:
            name = str(PurePosixPath(member.name[: MOST_NAME + 1]))
            parts = name.split("/")
            if ".." in parts or name.startswith("/"):
                raise InputError(f"{path} holds {name!r}, a path that leads out of it: nobody packs pictures so")
            if any(part.startswith(".") for part in parts):
                continue
            ours = name.lower().endswith(endings)
            if len(member.name) > MOST_NAME:
                left.add(f"members have names of more than {MOST_NAME:,} characters", name)
            elif member.kind == "folder":
                folders.add(name)
            elif not ours:
                continue
            elif member.kind != "file":
                left.add("members are links, devices or have holes, and were not read", name)
            elif member.size > MOST_PICTURE:
                left.add(f"members have more than {MOST_PICTURE / 1e6:,.0f} MB; no picture has", name)
            else:
                if name in contents:
                    left.add("names are there twice; the last one counts", name)
                contents[name] = member.read()
        if not archive.whole:
            left.add("archives have no mark at their end, and may be only half there", path.name)
    return Listing(files=list(contents), folders=folders, notes=left.notes(), read=contents.__getitem__)

"""Spoilt pictures and archives, made by hand."""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, extra: bytes = b"", after: bytes = b"") -> bytes:
    """A black PNG. Colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    row = bytes(1 + (width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth + 7) // 8)
    packer, rows = zlib.compressobj(9), max(1, 2**20 // len(row))
    parts = [packer.compress(row * min(rows, height - start)) for start in range(0, height, rows)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", b"".join([*parts, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + head + extra + pixels + after + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


SMALL = png(8, 8, 8, 0)
PALETTE = chunk(b"PLTE", bytes(range(256)) * 3)


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def quickly(seconds: float = 20.0) -> Any:
    """Fail if what is inside takes longer: on any computer it takes a small part of this."""

    class Watch:
        def __enter__(self) -> None:
            self.started = time.monotonic()

        def __exit__(self, *_: object) -> None:
            assert time.monotonic() - self.started < seconds

    return Watch()


# -- archives


def header(name: str | bytes, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo("x")
    info.size, info.type, info.linkname = size, kind, link
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw = name if isinstance(name, bytes) else name.encode()
    block[:100] = raw[:100].ljust(100, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: str | bytes, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


END = bytes(1024)


def written(tmp_path: Path, content: bytes, name: str = "x.tar") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


LONG, PAX, GLOBAL = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE

# -- downloads


class Answers(threading.Thread):
    """A server of one kind of trouble: `send` gets what it writes with."""

    def __init__(self, head: bytes, send: Callable[[Callable[[bytes], None]], None]) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/file.bin"
        self.head, self.send = head, send

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self.head + b"\r\n\r\n")
                    self.send(connection.sendall)
                except OSError:  # nobody listens any more
                    pass

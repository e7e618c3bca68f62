"""What the tests of malformed input share: files that are not what they seem, and what a case needs."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from shared.base.versions import is_installed
from shared.networks.catalog import SPECS

TINY = SPECS["resnet8_digits"]
needs_torch, needs_keras, needs_both = ("torch",), ("tensorflow", "keras"), ("torch", "tensorflow", "keras")
needs_course, needs_notebooks = ("nbgrader",), ("IPython", "psutil")


def png(width: int, height: int, pixels: bytes, depth: int = 1) -> bytes:
    """A grey PNG that says that it has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, deflated piece by piece."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(count // 2**20 + 1):
        parts.append(packer.compress(bytes(2**20)))
    return b"".join([*parts, packer.flush()])


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GREY8 = png(8, 8, zlib.compress((b"\0" + bytes(8)) * 8), depth=8)


def skip_without(modules: tuple[str, ...]) -> None:
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing")


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}

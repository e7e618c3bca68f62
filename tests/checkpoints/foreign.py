"""Pickles made by hand, and what refuses them."""

from __future__ import annotations

import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.networks.catalog import SPECS

TINY = SPECS["resnet8_digits"]
SECRET = "root:x:0:0"


def refused(read: Callable[[], Any], words: str, seconds: float = 20) -> str:
    """Call it: it ends soon in an `InputError` of one printable line with these words."""
    started = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        read()
    text = str(caught.value)
    assert text.isprintable()
    assert SECRET not in text
    assert time.monotonic() - started < seconds
    return text


# -- PyTorch: pickles by hand


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    packed = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(whole: str) -> bytes:
    return b"c" + "\n".join(whole.rsplit(".", 1)).encode() + b"\n"


def call(whole: str, *arguments: bytes) -> bytes:
    return name(whole) + row(*arguments) + b"R"


def table(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def tensor(
    shape: tuple[Any, ...], strides: tuple[int, ...], key: str = "0", offset: int = 0, kind: str = "FloatStorage"
) -> bytes:
    storage = row(text("storage"), name(f"torch.{kind}"), text(key), text("cpu"), number(100)) + b"Q"
    sizes = [each if isinstance(each, bytes) else number(each) for each in shape]
    hooks = call("collections.OrderedDict")
    parts = (storage, number(offset), row(*sizes), row(*map(number, strides)), b"\x89", hooks)
    return call("torch._utils._rebuild_tensor_v2", *parts)


def checkpoint(path: Path, body: bytes, members: dict[str, bytes] | None = None, method: int = 0) -> Path:
    """A ZIP archive as PyTorch writes it, with this pickle and 100 floats."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + body + b".")
        for each, content in {"data/0": np.arange(100, dtype=np.float32).tobytes(), **(members or {})}.items():
            archive.writestr(f"x/{each}", content)
    return path


WEIGHT = tensor((10, 10), (10, 1))

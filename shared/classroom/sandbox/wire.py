"""Plain data on its way out of the sandbox: numbers, text and arrays as bytes, and never an object.

Runs on both sides and imports nothing of this package: in the sandbox it lies beside `runner.py`. Arrays travel
as safetensors, the rest as JSON, so reading what a student's process wrote can run no code.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

LENGTH = struct.Struct("<Q")
MAX_TEXT = 20_000_000  # characters besides arrays: the pictures of a cell have so many
MAX_VALUES = 200_000  # values besides arrays: as Python objects they take many times their size
MAX_ENTRIES = 2000  # of one dict: numbers can be chosen so that each one is compared with all others
MAX_HEADER = 1_000_000  # bytes in which safetensors names its arrays
KINDS = "biuf"  # NumPy's kinds of numbers that safetensors can hold: bool, int, unsigned, float


class WireError(ValueError):
    """A value that is not plain data, or bytes that do not hold any."""


def to_bytes(value: Any) -> bytes:
    """One value as bytes. Tensors of every framework become NumPy arrays.

    Raises:
        WireError: for objects that are neither numbers, text, arrays nor lists, tuples, sets and dicts of these.
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_pack(value, arrays)).encode()
    return LENGTH.pack(len(text)) + text + safetensors.numpy.save(arrays)


def from_bytes(data: bytes) -> Any:
    """The value that `to_bytes` wrote; tuples and sets come back as lists.

    Raises:
        WireError: when the bytes hold anything else. They may come from a process that means harm.
    """
    try:
        (length,) = LENGTH.unpack_from(data)
        if length > MAX_TEXT:
            raise WireError(f"more than {MAX_TEXT:,} characters besides arrays")
        text, arrays = data[LENGTH.size : LENGTH.size + length], data[LENGTH.size + length :]
        if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise WireError(f"more than {MAX_VALUES:,} values besides arrays")
        if LENGTH.unpack_from(arrays)[0] > MAX_HEADER:
            raise WireError(f"more than {MAX_HEADER:,} bytes for the names of arrays")
        return _unpack(json.loads(text), safetensors.numpy.load(arrays))
    except Exception as error:
        why = str(error) if isinstance(error, WireError) else type(error).__name__
        raise WireError(f"the answer is not readable: {why}") from error


def send(stream: BinaryIO, data: bytes) -> None:
    """Writes one message: its length, then its bytes."""
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """Reads one message; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value.item()
    if isinstance(value, dict):
        return {"dict": [[_pack(key, arrays), _pack(item, arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_pack(item, arrays) for item in value]}
    if isinstance(value, (set, frozenset)):
        return {"list": [_pack(item, arrays) for item in sorted(value)]}
    array = _as_array(value)
    name = str(len(arrays))
    arrays[name] = np.array(array, order="C")  # a copy: safetensors wants contiguous memory of its own
    return {"array": name}


def _as_array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        if hasattr(value, "detach"):  # a PyTorch tensor
            value = value.detach().cpu()
        if not hasattr(value, "numpy"):  # nor a TensorFlow tensor or variable
            raise WireError(f"an object of type {type(value).__name__} where numbers were expected")
        value = value.numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise WireError(f"an array of {getattr(value, 'dtype', type(value).__name__)} where numbers were expected")
    return value


def _unpack(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            raise WireError("a bare list")
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        return arrays[content]
    if kind == "list":
        return [_unpack(item, arrays) for item in content]
    if kind == "dict" and len(content) <= MAX_ENTRIES:
        return {_unpack(key, arrays): _unpack(item, arrays) for key, item in content}
    raise WireError("a dict with too many entries" if kind == "dict" else "a value of no known kind")

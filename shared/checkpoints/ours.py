"""Our own files: weights and other arrays as `.safetensors`, with texts and a hash of both."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import Budget
from shared.base.damage import said_as_damage
from shared.base.errors import InputError, WeightsError
from shared.base.files import open_plain, replacing
from shared.base.printable import printable
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec

#: Version 1 had no hash; there are such files, also among the weights that ship.
FORMAT = "resnet-twins weights, version 2"
HASH = "resnet_twins_sha256"
#: What a header may hold: the deepest network that can be built has 32,000 arrays, with an optimizer's 100,000.
MOST_HEADER, MOST_ARRAYS, MOST_SPEC = 32_000_000, 150_000, 100_000
#: The dtypes of safetensors that NumPy has.
NUMPY_DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64"}


def write_safetensors(
    path: str | Path,
    arrays: Mapping[str, NDArray[Any]],
    spec: ResNetSpec,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write `arrays` and `spec` to `path`, which must end in `.safetensors`, whole or not at all.

    `extra` are further texts for the file's metadata, like the names of the classes.
    """
    if not isinstance(spec, ResNetSpec):
        raise InputError(f"a ResNetSpec is wanted, not {spec!r}")
    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path} does not end in .safetensors; `resnet-twins convert` writes other formats")
    metadata = {"format": FORMAT, "spec": json.dumps(spec.to_dict()), **(extra or {})}
    save_arrays(path, arrays, metadata)


def fingerprint(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of everything that counts in a file: names, dtypes, shapes and values, and the texts."""
    texts = {key: text for key, text in metadata.items() if key != HASH}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_arrays(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], keep: Path | None = None
) -> None:
    """Write arrays, texts and the hash of both to a `.safetensors` file, whole or not at all.

    What stood there is moved to `keep`, if that is given. Raises `OSError` if there is no room.
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    texts = {**metadata, HASH: fingerprint(plain, metadata)}
    try:
        with replacing(path, keep) as temporary:
            safetensors.save_file(plain, str(temporary), texts)
    except SafetensorError as error:  # which is no OSError, also where the disk is full
        raise OSError(errno.EIO, str(error), str(path)) from error


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a `.safetensors` file whose header is no longer than that of a network."""
    from safetensors import SafetensorError, safe_open

    with open_plain(path) as file, said_as_damage(path, ".safetensors file"):
        length = int.from_bytes(file.read(8), "little")
        arrays = file.read(min(length, MOST_HEADER)).count(b'"dtype"')
        # A length beyond the end of the file is damage, which the library finds.
        if MOST_HEADER < length < os.fstat(file.fileno()).st_size or arrays > MOST_ARRAYS:
            raise WeightsError(
                f"{printable(path)} is refused: its header has {length:,} bytes, {arrays:,} arrays or more; no network "
                f"needs more than {MOST_HEADER:,} and {MOST_ARRAYS:,}"
            )
        try:
            with safe_open(str(path), "numpy") as opened:
                yield opened
        except SafetensorError as error:
            raise ValueError(str(error)) from error


def read_arrays(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Read a `.safetensors` file: its arrays and its texts. Raises `WeightsError` if it is damaged.

    Files of other programs carry no hash; one of ours without it has lost it.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        budget = Budget.for_file(path, members=MOST_ARRAYS)
        arrays = {}
        for name in file.keys():  # noqa: SIM118
            budget.take_member()
            dtype = file.get_slice(name).get_dtype()
            if dtype not in NUMPY_DTYPES:
                raise WeightsError(
                    f"{printable(path)}: {printable(name)} holds numbers of type {printable(dtype)}, which NumPy does "
                    "not know; save it as float32"
                )
            arrays[name] = file.get_tensor(name)
            budget.take(arrays[name].nbytes)
    ours = metadata.get("format", "").startswith("resnet-twins") and not metadata["format"].endswith("version 1")
    if (ours or HASH in metadata) and metadata.get(HASH) != fingerprint(arrays, metadata):
        raise WeightsError(f"{printable(path)} is damaged: its content has another SHA-256 than when it was written")
    return arrays, metadata


def read_safetensors(path: str | Path) -> tuple[Arrays, ResNetSpec | None]:
    """Read a `.safetensors` file: its arrays, and the spec if the file was written by this package."""
    arrays, metadata = read_arrays(path)
    return arrays, spec_in(metadata, path)


def spec_in(metadata: Mapping[str, str], path: str | Path) -> ResNetSpec | None:
    """Return the spec in the texts of the file `path`, None if there is none. Raises `WeightsError` for a bad one."""
    if "spec" not in metadata:
        return None
    try:
        if len(metadata["spec"]) > MOST_SPEC:
            raise ValueError(f"it has {len(metadata['spec']):,} characters")
        return ResNetSpec.from_dict(json.loads(metadata["spec"]))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{printable(path)} carries a spec that cannot be read ({error})") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the texts in the metadata of a `.safetensors` file: "spec", "inputs", "training", ..."""
    with _opened(path) as file:
        return dict(file.metadata() or {})

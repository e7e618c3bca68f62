"""Files of Keras, written with h5py, and ways to spoil an HDF5 file by its own means."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from random import Random
from typing import Any

import numpy as np

from shared.checkpoints.foreign import KERAS_KINDS
from shared.networks.canonical import KERAS_LAYOUTS
from shared.networks.table import layer_table
from tests.campaigns.fuzz.formats.damage import blind, odd_text
from tests.campaigns.fuzz.formats.packed import spoil_zip
from tests.campaigns.fuzz.formats.texts import spoil_json
from tests.campaigns.fuzz.formats.weights import TINY, weights


def keras_bytes(suffix: str) -> bytes:
    """Return the weights as Keras 3 writes them into `.weights.h5`; `.keras` packs the same.

    Written with h5py, as importing TensorFlow takes longer than all else: a test holds it against the real one.
    """
    import h5py

    counts: dict[str, int] = {}
    kinds = {"conv": "conv2d", "batch_norm": "batch_normalization", "linear": "dense", "add": "add", "relu": "re_lu"}
    whole, arrays = io.BytesIO(), weights()
    with h5py.File(whole, "w") as file:
        file.create_group("vars").attrs["name"] = TINY.name
        for row in layer_table(TINY):
            kind = kinds.get(row.kind)
            if kind is None:
                continue
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            group = file.create_group(f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars")
            group.attrs["name"] = row.name
            for place, (key, axes) in enumerate(KERAS_LAYOUTS.get(KERAS_KINDS.get(kind, ""), {}).values()):
                if key in row.weights:
                    group[str(place)] = np.transpose(arrays[f"{row.name}.{key}"], axes)
    if suffix != ".keras":
        return whole.getvalue()
    config = {"module": "keras", "class_name": "Functional", "config": {"name": TINY.name, "layers": []}}
    metadata = {"keras_version": "3.15.1", "date_saved": "2026-11-27@00:00:00"}
    members = {"metadata.json": json.dumps(metadata), "config.json": json.dumps(config)}
    packed_ = io.BytesIO()
    with zipfile.ZipFile(packed_, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
        archive.writestr(zipfile.ZipInfo("model.weights.h5"), whole.getvalue())
    return packed_.getvalue()


def keras2_bytes() -> bytes:
    """Return the weights as Keras 2 wrote them."""
    import h5py

    whole, arrays = io.BytesIO(), weights()
    with h5py.File(whole, "w") as file:
        rows = [row for row in layer_table(TINY) if row.weights]
        file.attrs["layer_names"] = [row.name.encode() for row in rows]
        file.attrs["backend"] = b"tensorflow"
        for row in rows:
            kind = {"conv": "conv2d", "batch_norm": "batch_normalization", "linear": "dense"}[row.kind]
            group = file.create_group(row.name)
            names = []
            for name, (key, axes) in KERAS_LAYOUTS[KERAS_KINDS[kind]].items():
                if key in row.weights:
                    names.append(f"{row.name}/{name}:0".encode())
                    group[names[-1]] = np.transpose(arrays[f"{row.name}.{key}"], axes)
            group.attrs["weight_names"] = names
    return whole.getvalue()


def spoil_h5(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil an HDF5 file by its own means: links, virtual and outer storage, odd types, odd attributes."""
    import h5py

    if rng.random() < 0.4:
        return blind(content, rng, other)
    whole = io.BytesIO(content)
    with (
        h5py.File(whole, "r+") as file,
        contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    ):
        names: list[str] = []
        file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(ODD_H5)(file, rng.choice(names), rng)
    return whole.getvalue() if rng.random() < 0.85 else blind(whole.getvalue(), rng, other)


def _outside(rng: Random) -> str:
    """A file that is none of the input's: the canaries lie beside it, under their names."""
    return rng.choice(("canary.h5", "canary.h5", "/dev/zero", "/etc/passwd", "missing.h5", "../in/canary.h5"))


def _h5_links(file: Any, name: str, rng: Random) -> None:
    import h5py

    parent, _, last = name.rpartition("/")
    chance = rng.random()
    if chance < 0.3:
        del file[name]
        file[name] = h5py.ExternalLink(_outside(rng), "/a")
    elif chance < 0.5:
        del file[name]
        file[name] = h5py.SoftLink(rng.choice((name, "/", "/layers", "/missing", f"/{parent}")))
    elif chance < 0.7:
        group = file[name].parent.parent
        for number in range(rng.choice((2, 400))):
            group.parent[f"conv2d_{1000 + number}"] = group
    elif chance < 0.85:
        for number in range(rng.choice((2, 400))):
            file[f"{parent}/{10 + number}"] = file[name]
    else:
        file[f"{parent}/{rng.choice(('9', 'x', last + '0'))}"] = file[rng.choice(("/", parent))]


def _h5_storage(file: Any, name: str, rng: Random) -> None:
    import h5py

    shape = file[name].shape
    del file[name]
    chance = rng.random()
    if chance < 0.4:
        path = rng.choice(("canary.bin", "canary.bin", "/etc/passwd", "/dev/zero"))
        file.create_dataset(name, shape, "f4", external=[(path, 0, 4 * int(np.prod(shape)))])
    elif chance < 0.7:
        layout = h5py.VirtualLayout(shape, "f4")
        layout.dcpl.set_obj_track_times(False)  # or the file says when it was made
        layout[...] = h5py.VirtualSource(_outside(rng), "a", shape=shape)
        file.create_virtual_dataset(name, layout)
    elif chance < 0.9:
        big = rng.choice(((400_000_000,), (20_000, 20_000), (2**40,), (10**6, 10**6)))
        file.create_dataset(
            name, big, "f4", chunks=tuple(min(each, 1000) for each in big), fillvalue=rng.choice((0, 1))
        )
    else:
        data = np.zeros((64, 1_000_000), np.uint8)
        file.create_dataset(name, data=data, compression="gzip", compression_opts=1, chunks=(64, 1_000_000))


def _h5_type(file: Any, name: str, rng: Random) -> None:
    import h5py

    data = (
        np.zeros(file[name].shape)
        if rng.random() < 0.7
        else rng.choice((np.zeros(()), np.zeros(0), np.zeros((1, 1, 1))))
    )
    del file[name]
    kind: Any = rng.choice(
        (
            "f2",
            ">f4",
            "f8",
            "i8",
            "u1",
            "?",
            "c8",
            "S10",
            "V7",
            h5py.string_dtype(),
            h5py.vlen_dtype(np.int32),
            h5py.enum_dtype({"a": 0, "b": 1}),
            np.dtype([("a", "f4"), ("b", "i4")]),
            h5py.ref_dtype,
            h5py.regionref_dtype,
            np.dtype(("f4", (3,))),
            h5py.Empty("f4"),
        )
    )
    if isinstance(kind, h5py.Empty):
        file.create_dataset(name, data=kind)
    else:
        filters: Any = rng.choice(
            ({}, {}, {"compression": "lzf"}, {"fletcher32": True}, {"shuffle": True, "compression": 9})
        )
        file.create_dataset(name, data.shape, kind, **(filters if data.size and data.ndim else {}))


def _h5_attribute(file: Any, name: str, rng: Random) -> None:
    import h5py

    parent = rng.choice((file[name].parent, file, file.get("vars", file)))
    keys = list(parent.attrs)
    key = rng.choice(keys) if keys and rng.random() < 0.9 else "name"
    values: tuple[Any, ...] = (odd_text(rng).replace("\0", "").encode("utf-8", "replace")[:60_000], b"\xff\xfe", 3, 1.5)
    values += (
        np.zeros(3),
        np.array([b"conv1", b"\xff"]),
        np.array([b"conv1"] * 5000),
        h5py.Empty("f4"),
        "layer1.0.conv1",
    )
    values += (np.zeros(0), "x" * 60_000, np.array([[b"a"], [b"b"]]))
    if rng.random() < 0.15:
        del parent.attrs[key]
    else:
        parent.attrs[key] = rng.choice(values)


def _h5_groups(file: Any, name: str, rng: Random) -> None:
    chance = rng.random()
    if chance < 0.3:
        file.create_group("layers/" + "/".join(["x"] * rng.choice((20, 1500))))
    elif chance < 0.5:
        for number in range(3000):
            file.create_group(f"layers/empty_{number}")
    elif chance < 0.7:
        del file[name]
    elif chance < 0.85:
        del file[rng.choice(list(file))]
    else:
        file.move(name.rpartition("/")[0], f"layers/{odd_text(rng).replace(chr(0), '')[:200] or 'x'}")


ODD_H5 = (_h5_links, _h5_storage, _h5_type, _h5_attribute, _h5_groups)


def spoil_keras(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil what a `.keras` file packs, or the package."""
    if rng.random() < 0.2:
        return blind(content, rng, other)
    return spoil_zip(content, rng, other, spoil_h5_or_text)


def spoil_h5_or_text(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a member of a `.keras` file."""
    return spoil_h5(content, rng, content) if content[1:4] == b"HDF" else spoil_json(content, rng, other)

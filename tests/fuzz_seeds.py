"""Good files of every kind that the package reads, small and made by itself, and the ways to spoil what only they have.

They are the same in every call, so that a spoilt file is a function of its kind and of a `random.Random`. Nothing is
downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shared.checkpoints.foreign import KERAS_KINDS
from shared.checkpoints.ours import HASH, fingerprint, read_arrays, write_safetensors
from shared.classroom.form import release_folders
from shared.classroom.grading import Mark, Verdict
from shared.classroom.sandbox import wire
from shared.data.inputs import Inputs
from shared.networks.canonical import KERAS_LAYOUTS
from shared.networks.catalog import SPECS
from shared.networks.initial import initial_weights
from shared.networks.table import layer_table
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, STATE, STATE_FORMAT, sha256
from shared.training.metrics import METRICS, metrics_text, read_metrics
from shared.training.recipe import parse_recipe
from shared.training.recipes import RECIPES, get_recipe
from shared.training.run import Reporter
from shared.training.settings import Settings
from shared.training.start import train
from tests.fuzz_spoil import (
    INTEGERS,
    PACKERS,
    VALUES,
    Spoiler,
    blind,
    dump_json,
    gz,
    odd_text,
    spoil_jpeg,
    spoil_json,
    spoil_packed_tar,
    spoil_pickle,
    spoil_png,
    spoil_text,
    spoil_value,
    spoil_with,
    spoil_zip,
    to_bytes,
)

TINY = SPECS["resnet8_digits"]
#: What stands in a file beside the input, which no reader is told to open.
CANARY = b"what stands in another file: canary "
#: Of the files, so many of a thousand: are left as they are, have an odd name, are huge, are no plain files.
AS_IT_IS, ODD_NAME, HUGE, NO_FILE = 10, 30, 8, 15
HUGE_SIZE = 6_000_000_000
SAFETENSORS_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32"}
SAFETENSORS_NAMES |= {"uint8": "U8", "bool": "BOOL", "int8": "I8", "uint64": "U64"}


class Stop(Reporter):
    """Does what Ctrl-C does, behind the second step or the one after it."""

    def step(self, run: Any, row: Any) -> None:
        """Ask the run to stop."""
        run.stop_requested = run.step >= 2


# -- checkpoints


def weights() -> dict[str, np.ndarray]:
    """Return the arrays of the smallest network."""
    return initial_weights(TINY, 0)


def texts() -> dict[str, str]:
    """Return what a training run writes beside the weights."""
    inputs = Inputs(data="digits", classes=tuple("0123456789"), image_size=8, mean=(0.3,), std=(0.4,), highest=16)
    training = {
        "framework": "torch",
        "epoch": 1,
        "step": 4,
        "test_accuracy": 0.5,
        "recipe": get_recipe("quick").to_toml(),
    }
    spec = json.dumps(TINY.to_dict())
    return {
        "format": "resnet-twins weights, version 2",
        "spec": spec,
        "inputs": inputs.to_json(),
        "training": json.dumps(training),
    }


def packed(arrays: Mapping[str, np.ndarray], about: Mapping[str, str], *, hashed: bool = True) -> bytes:
    """Return a `.safetensors` file, with the hash of all that is in it."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header: dict[str, Any] = {"__metadata__": {**about, HASH: fingerprint(plain, about)} if hashed else {**about}}
    data = b""
    for name, array in plain.items():
        end = len(data) + array.nbytes
        dtype = SAFETENSORS_NAMES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def spoil_safetensors(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the header and give it the right length, or the arrays and texts and give them the right hash."""
    (size,) = struct.unpack_from("<Q", content)
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    chance = rng.random()
    if chance < 0.25:
        return blind(content, rng, other)
    if chance < 0.5:
        for _ in range(rng.choice((1, 2))):
            header = spoil_value(header, rng)
        text = dump_json(header, rng)
        return struct.pack("<Q", len(text)) + text + data
    if chance < 0.55:
        empty = {"dtype": "F32", "shape": [rng.choice((0, 2**40)), 0], "data_offsets": [len(data)] * 2}
        header |= {f"x{number}": empty for number in range(40_000)}
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    about = {key: text for key, text in header.pop("__metadata__", {}).items() if key != HASH}
    names = {short: long for long, short in SAFETENSORS_NAMES.items()}
    arrays = {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], names[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
    for _ in range(rng.choice((1, 1, 2))):
        if chance < 0.85 and about:
            key = rng.choice(list(about))
            spoil = rng.choice((spoil_json, spoil_json, spoil_text))
            about[key] = spoil(about[key].encode("utf-8", "surrogatepass"), rng, b"{}").decode("utf-8", "replace")
            if rng.random() < 0.1:
                about[odd_text(rng)] = about.pop(key)
        elif arrays:
            arrays = odd_arrays(arrays, rng)
    return packed(arrays, about, hashed=rng.random() < 0.95)


def odd_arrays(arrays: Mapping[str, np.ndarray], rng: Random) -> dict[str, np.ndarray]:
    """Return the arrays with one that is another one, gone, twice, or not finite."""
    spoilt = dict(arrays)
    name = rng.choice(list(spoilt))
    array = spoilt[name]
    chance = rng.random()
    if chance < 0.1:
        del spoilt[name]
    elif chance < 0.2:
        spoilt[odd_text(rng) or "x"] = array
    elif chance < 0.3:
        spoilt[rng.choice(("threads", "optimizer_steps", "scaler/scale", "momentum_buffer/fc.bias"))] = array
    elif chance < 0.5:
        dtype = rng.choice(("float64", "float16", "int64", "uint8", "bool"))
        spoilt[name] = np.nan_to_num(array).astype(dtype)
    elif chance < 0.7:
        spoilt[name] = rng.choice((array.reshape(-1), array[..., None], array[:0], np.zeros((), array.dtype), array.T))
    else:
        value = rng.choice((float("nan"), float("inf"), -1.0, 1e38, 0.0, 1e9))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spoilt[name] = np.full_like(array, np.float64(value).astype(array.dtype))
    return spoilt


def torch_content(rng: Random | None = None) -> Any:
    """Return what a PyTorch checkpoint holds: a `state_dict`, or with `rng` one with something odd in it."""
    import torch

    state: dict[Any, Any] = {name: torch.from_numpy(array.copy()) for name, array in weights().items()}
    if rng is None:
        return state
    name = rng.choice(list(state))
    tensor = state[name]
    odd: tuple[Callable[[], Any], ...] = (
        lambda: tensor.to_sparse(),
        lambda: torch.eye(4).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda: torch.empty(tensor.shape, device="meta"),
        lambda: tensor.to(torch.float8_e4m3fn),
        lambda: tensor.to(torch.complex64).conj(),
        lambda: torch.imag(tensor.to(torch.complex64).conj()),
        lambda: torch._neg_view(tensor),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.zeros(1).expand(2_000_000_000),
        lambda: torch.zeros(1).expand(30_000, 30_000),
        lambda: torch.zeros(1).as_strided(tuple(tensor.shape), (0,) * tensor.ndim),
        lambda: torch.nn.Parameter(tensor),
        lambda: tensor.to(rng.choice((torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool))),
        lambda: tensor.t() if tensor.ndim == 2 else tensor[None],
        lambda: torch.zeros(0),
        lambda: torch.full(tensor.shape, float("nan")),
        lambda: rng.choice(VALUES),
        lambda: {"weight": tensor},
        lambda: [tensor],
        lambda: torch.Size([1, 2]),
        lambda: torch.device("cpu"),
        lambda: torch.float32,
        lambda: b"bytes",
        lambda: 2**100,
        lambda: torch.UntypedStorage(4),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chance = rng.random()
        if chance < 0.7:
            state[name] = rng.choice(odd)()
        elif chance < 0.8:
            state[rng.choice((odd_text(rng), 1, None, (1, 2), b"x", 1.5, f"module.{name}", True))] = tensor
        elif chance < 0.88:
            state = {f"layer{number}": tensor for number in range(2000)}
        else:
            state = {
                rng.choice(("state_dict", "model", "net", "model_state_dict", "x")): rng.choice((state, [state], {}, 1))
            }
            for _ in range(rng.choice((0, 1, 300))):
                state = {"state_dict": state}
    return state


def torch_bytes(content: Any, *, zipped: bool = True) -> bytes:
    """Return a PyTorch checkpoint, as PyTorch writes it today or before version 1.6."""
    import torch

    whole = io.BytesIO()
    torch.save(content, whole, _use_new_zipfile_serialization=zipped)
    return whole.getvalue() if zipped else _with_numbered_storages(whole.getvalue())


def _with_numbered_storages(old: bytes) -> bytes:
    """Return an old checkpoint whose storages are called by their numbers: PyTorch calls them by their addresses."""
    addresses = dict.fromkeys(re.findall(rb"X\x0e\x00\x00\x00(\d{14})|X\x0f\x00\x00\x00(\d{15})", old))
    for number, found in enumerate(addresses):
        address = found[0] or found[1]
        old = old.replace(address, b"%0*d" % (len(address), number))
    return old


def spoil_torch(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a PyTorch checkpoint: what it holds, its pickle, or its bytes."""
    zipped = content[:2] == b"PK"
    chance = rng.random()
    if chance < 0.4:
        with contextlib.suppress(RuntimeError, NotImplementedError, TypeError, AttributeError):  # cannot be saved
            content = torch_bytes(torch_content(rng), zipped=zipped)
        if rng.random() < 0.85:
            return content
    if not zipped:
        return spoil_legacy(content, rng, other)
    if rng.random() < 0.6:
        with contextlib.suppress(zipfile.BadZipFile):
            return spoil_zip(content, rng, other, spoil_pickle)
    return blind(content, rng, other)


def spoil_legacy(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil one of the pickles that stand one behind the other in an old checkpoint."""
    chance = rng.random()
    if chance < 0.4:
        return blind(content, rng, other)
    starts = [at for at in range(min(len(content), 400)) if content[at : at + 2] == b"\x80\x02"]
    at = rng.choice(starts) if starts else 0
    if chance < 0.7:
        return content[:at] + spoil_pickle(content[at:], rng, other)
    piece = spoil_pickle(content[at : at + 4000], rng, other)
    return content[:at] + piece + content[at + 4000 :]


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


# -- pictures


def picture(kind: str, number: int = 0, **options: Any) -> bytes:
    """Return a small picture of another mode each time, as Pillow writes it."""
    from PIL import Image

    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (12, 16, 4), np.uint8)
    modes = {"L": 0, "RGB": (0, 1, 2), "RGBA": (0, 1, 2, 3), "LA": (0, 3)}
    mode = options.pop("mode", "RGB")
    if mode in modes:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, modes[mode]]), mode if mode != "LA" else "LA")
    elif mode == "I;16":
        image = Image.fromarray(pixels[:, :, :2].copy().view(np.uint16)[:, :, 0])
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3])).convert(mode)
    whole = io.BytesIO()
    image.save(whole, kind, **options)
    return whole.getvalue()


def interlaced() -> bytes:
    """Return a grey PNG of 8 x 8 pixels that is sent in seven passes, which Pillow reads and does not write."""
    import zlib

    from tests.fuzz_spoil import chunk

    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # pixels in a row, rows
    rows = b"".join((b"\0" + bytes(range(width))) * height for width, height in passes)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pngs() -> list[bytes]:
    """Return PNG files of all modes."""
    modes = ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")
    return [*(picture("PNG", number, mode=mode) for number, mode in enumerate(modes)), interlaced()]


def jpegs() -> list[bytes]:
    """Return JPEG files: grey, coloured, in scans, of four inks, of several pictures, with a camera's data."""
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    second = Image.new("RGB", (8, 8))
    return [
        picture("JPEG"),
        picture("JPEG", 1, mode="L"),
        picture("JPEG", 2, progressive=True),
        picture("JPEG", 3, mode="CMYK"),
        picture("JPEG", 4, exif=exif),
        picture("MPO", 5, save_all=True, append_images=[second]),
    ]


def strangers() -> list[bytes]:
    """Return pictures of other formats, which come under the name of a PNG."""
    found = []
    for number, kind in enumerate(
        ("BMP", "GIF", "TIFF", "PPM", "ICO", "TGA", "PCX", "WEBP", "EPS", "SGI", "JPEG2000", "PDF")
    ):
        with contextlib.suppress(KeyError, OSError):  # Pillow was built without it
            found.append(picture(kind, number))
    return found


def archive(kind: int) -> bytes:
    """Return a plain tar with two classes of pictures; with long names as GNU (1) or PAX (2) writes them."""
    whole = io.BytesIO()
    formats = {0: tarfile.USTAR_FORMAT, 1: tarfile.GNU_FORMAT, 2: tarfile.PAX_FORMAT}
    with tarfile.open(fileobj=whole, mode="w", format=formats[kind]) as packed_:
        for label in ("cat", "dog"):
            folder = tarfile.TarInfo(f"pictures/{label}")
            folder.type = tarfile.DIRTYPE
            packed_.addfile(folder)
            for number in range(3):
                content = picture("PNG", number, mode="RGB")
                long = "n" * 120 if kind else ""
                info = tarfile.TarInfo(f"pictures/{label}/{number}{long}{'é' if kind == 2 else ''}.png")
                info.size = len(content)
                packed_.addfile(info, io.BytesIO(content))
    return whole.getvalue()


def archives() -> list[bytes]:
    """Return tars of all forms, packed by everything that packs tars."""
    plain = [archive(kind) for kind in range(3)]
    return [pack(each) for each in plain for pack, _ in PACKERS.values()]


# -- data sets


def idx() -> bytes:
    """Return a small IDX file, not packed."""
    return struct.pack(">BBBBIII", 0, 0, 8, 3, 10, 4, 4) + bytes(range(160))


def spoil_idx(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil its head."""
    head, rest = content[:16], content[16:]
    chance = rng.random()
    if chance < 0.4:
        return blind(head, rng, other) + rest
    if chance < 0.8:
        sizes = [rng.choice(INTEGERS) % 2**32 for _ in range(rng.choice((0, 1, 3, 3, 33, 70, 255)))]
        return struct.pack(f">BBBB{len(sizes)}I", 0, 0, rng.choice((8, 9, 0)), len(sizes), *sizes) + rest
    return blind(content, rng, other)


CIFAR_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


@functools.cache
def cifar() -> bytes:
    """Return a batch of CIFAR-10 that holds labels and no pictures."""
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    return records.tobytes()


def small_cifar() -> bytes:
    """Return the archive of CIFAR-10 with five pictures in each file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as packed_:
        for name in CIFAR_FILES:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = 5 * 3073
            packed_.addfile(info, io.BytesIO(bytes(info.size)))
    return gz(whole.getvalue())


# -- runs


def run_folder() -> dict[str, bytes]:
    """Return the files of a run that was stopped behind its second step, but for what time and place decide."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        recipe = get_recipe("quick", ["steps=4", "batch_size=16"])
        settings = Settings(device="cpu", save_every=1, threads=1)
        train(recipe, output=folder, framework="torch", settings=settings, reporter=Stop)
        about = json.loads((folder / ABOUT).read_text())
        about |= {"command": "resnet-twins train", "started": "2026-11-27T00:00:00", "machine": "a computer"}
        (folder / ABOUT).write_bytes(hashed(about))
        rows = [{**row, "seconds": float(row["step"]), "images_per_second": 16.0} for row in read_metrics(folder)]
        (folder / METRICS).write_text(metrics_text(rows))
        for step, name in ((1, PREVIOUS), (2, STATE)):
            arrays, _ = read_arrays(folder / name)
            about_state = {"format": STATE_FORMAT, "step": str(step), "seconds": "1.0", "best": "-1.0"}
            about_state["metrics_sha256"] = sha256(metrics_text(rows[:step]))
            (folder / name).write_bytes(packed(arrays, about_state))
        for name in (BEST, LAST):
            (folder / name).write_bytes(packed(weights(), texts()))
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def hashed(about: Any) -> bytes:
    """Return `run.json` with the right hash."""
    if isinstance(about, dict):
        about = {key: value for key, value in about.items() if key != "sha256"}
        about["sha256"] = sha256(json.dumps(about, sort_keys=True))
    return to_bytes(json.dumps(about, indent=2))


def spoil_about(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil `run.json`, mostly with the right hash."""
    if rng.random() < 0.3:
        return spoil_json(content, rng, other)
    about = json.loads(content)
    if rng.random() < 0.5:
        key = rng.choice(("framework", "settings", "data", "data_dir", "recipe", "sha256", "versions", "processes"))
        about[key] = spoil_value(about.get(key), rng)
        if rng.random() < 0.3 and isinstance(about.get("recipe"), str):
            about["recipe"] = spoil_text(to_bytes(about["recipe"]), rng, b"").decode("utf-8", "replace")
    else:
        about = spoil_value(about, rng)
    with contextlib.suppress(UnicodeEncodeError):  # half characters have no hash
        return hashed(about)
    return to_bytes(json.dumps(about))


# -- the classroom


def notebooks() -> list[bytes]:
    """Return submissions: the assignments as they are handed out, the first one more often and filled in."""
    found = [(folder / f"{folder.name}.ipynb").read_bytes() for folder in release_folders()]
    filled = json.loads(found[0])
    for cell in filled["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = "def answer(x):\n    return x + 1\n"
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    return [found[0], json.dumps(filled).encode(), json.dumps(filled, indent=1).encode(), *found]


def spoil_notebook(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a submission: its cells, their names, or what stands in them."""
    if rng.random() < 0.6:
        return spoil_json(content, rng, other)
    notebook = json.loads(content)
    cells = notebook["cells"]
    at = rng.randrange(len(cells))
    sources: tuple[Any, ...] = (
        "### BEGIN HIDDEN TESTS\n" * 50_000,
        "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS\n" * 20_000,
    )
    sources += (
        "\n" * 1_000_000,
        " " * 1_000_000,
        ["x = 1\n"] * 100_000,
        "a" * 1_000_000,
        "é" * 100_000,
        "\u202e# a\r# b\x1b[2J",
    )
    chance = rng.random()
    if chance < 0.4:
        cells[at]["source"] = rng.choice(sources)
    elif chance < 0.55:
        cells[at : at + 1] = [cells[at]] * rng.choice((2, 3000))
    elif chance < 0.7:
        rng.shuffle(cells)
    elif chance < 0.85:
        cells[at]["metadata"]["nbgrader"] = rng.choice(
            ({"grade_id": cells[0].get("id"), "solution": True}, {"grade_id": "x" * 100_000}, {"grade_id": [1]}, [], 3)
        )
    else:
        stream = {"output_type": "stream", "name": "stdout", "text": odd_text(rng)}
        cells[at]["outputs"] = [stream] * rng.choice((1, 50_000 if len(stream["text"]) < 50 else 20))
    return json.dumps(notebook).encode()


def verdict() -> bytes:
    """Return a verdict as grading writes it."""
    part = {"title": "adds", "points": 2.0, "earned": 1.0, "reason": "2 + 2 is 4", "unsure": False}
    marks = [Mark(task="output_size", points=3.0, score=1.0, parts=[part]), Mark(task="why", points=2.0, score=None)]
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
    found = Verdict(student="ann", assignment="a1", digest="0" * 64, marks=marks, cells=[cell], look=["looks odd"])
    return found.to_json().encode()


def class_lists() -> list[bytes]:
    """Return a table of students as spreadsheets save it."""
    rows = [["id", "first_name", "last_name", "email"], ["ann", "Ann", "Ä", "a@x"], ["bob", "Bob", "B", ""]]
    tables = ["\r\n".join(sign.join(row) for row in rows) for sign in ",;\t"]
    encodings = ("utf-8", "utf-8-sig", "utf-16", "cp1252")
    return [table.encode(encoding) for table in tables for encoding in encodings]


def answers() -> list[bytes]:
    """Return what a student's process sends back."""
    values: tuple[Any, ...] = (
        3,
        {"value": np.arange(12.0).reshape(3, 4), "error": None},
        {"outputs": [{"output_type": "stream", "text": "x"}], "error": None, "value": [1, 2.5, "x", None, (1, 2)]},
        [np.zeros((2, 0)), np.float32(1), True],
    )
    return [wire.to_bytes(value) for value in values]


def spoil_answer(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the tree of an answer, or its arrays, and give both the right lengths."""
    if rng.random() < 0.4:
        return blind(content, rng, other)
    (size,) = wire.LENGTH.unpack_from(content)
    tree, arrays = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.6:
        tree = spoil_json(tree, rng, b"{}")
    else:
        arrays = spoil_safetensors(arrays, rng, arrays)
    if rng.random() < 0.05:
        tree = b'{"list": [' + b'{"list": []},' * 300_000 + b"1]}"
    return wire.LENGTH.pack(len(tree)) + tree + arrays


def recipes() -> list[bytes]:
    """Return the recipes that ship."""
    return [recipe.to_toml().encode() for recipe in RECIPES.values()]


def spoil_recipe(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a recipe, which often stays TOML."""
    if rng.random() < 0.5:
        return spoil_text(content, rng, other)
    fields = asdict(parse_recipe(content.decode(), "a recipe"))
    fields = spoil_value(fields, rng)
    if not isinstance(fields, dict):
        return spoil_text(content, rng, other)
    return to_bytes("".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()))


# -- all of them


class Seeds:
    """The good files, made once; `make` gives spoilt ones."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.known: dict[str, list[bytes]] = {}
        self.run: dict[str, bytes] = {}

    def of(self, kind: str) -> list[bytes]:
        """Return the good files of a kind."""
        if kind not in self.known:
            self.known[kind] = SEEDS[kind]()
        return self.known[kind]

    def two_classes(self) -> Path:
        """Return a file of weights that tell cats from dogs."""
        path = self.place / "cat-or-dog.safetensors"
        if not path.exists():
            spec = replace(TINY, num_classes=2, in_channels=3)
            inputs = Inputs(data="", classes=("cat", "dog"), image_size=8, mean=(0.5,), std=(0.5,))
            write_safetensors(path, initial_weights(spec, 0), spec, {"inputs": inputs.to_json()})
        return path

    def folder_of_run(self) -> dict[str, bytes]:
        """Return the files of a run."""
        if not self.run:
            self.run = run_folder()
        return self.run

    def spoilt(self, kind: str, rng: Random, spoil: Spoiler) -> bytes:
        """Return a spoilt file of a kind."""
        good = self.of(kind)
        content = rng.choice(good)
        return content if rng.randrange(1000) < AS_IT_IS else spoil_with(spoil, content, rng, rng.choice(good))

    def file(self, place: Path, name: str, kind: str, rng: Random, spoil: Spoiler, *, fixed: bool = False) -> Path:
        """Write a spoilt file into `place`; a `fixed` one keeps its name and is a file."""
        chance = rng.randrange(1000)
        stem, dot, ending = name.partition(".")
        if chance < ODD_NAME and not fixed:
            odd = os.fsencode(to_bytes(odd_text(rng)).replace(b"\0", b"").replace(b"/", b"_")[:180])
            stem = os.fsdecode(odd).strip(". ") or stem
        path = place / f"{stem}{dot}{ending}"
        put(path, self.spoilt(kind, rng, spoil), rng, fixed=fixed)
        return path


def put(path: Path, content: bytes, rng: Random, *, fixed: bool = False) -> None:
    """Write the input; sometimes it is huge, or something that is no plain file."""
    chance = rng.randrange(1000)
    if chance < NO_FILE and not fixed:
        no_file(path, rng)
        return
    path.write_bytes(content)
    if NO_FILE <= chance < NO_FILE + HUGE:
        os.truncate(path, HUGE_SIZE)


def no_file(path: Path, rng: Random) -> None:
    """Put a pipe, a folder, or a link to what never ends there."""
    chance = rng.randrange(5)
    if chance == 0:
        os.mkfifo(path)
    elif chance == 1:
        path.mkdir()
    elif chance == 2:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/tty", "/proc/self/mem", "/dev/stdin")))
    elif chance == 3:
        path.symlink_to(path.name)
    else:
        path.symlink_to("missing")


def put_canaries(place: Path, content: Any) -> None:
    """Write two files of canaries, one raw and one as HDF5 if there is h5py."""
    raw = CANARY * 40_000
    (place / "canary.bin").write_bytes(raw)
    if content is not None:
        (place / "canary.h5").write_bytes(content)


@functools.cache
def canary_h5() -> bytes | None:
    """Return a table of canaries."""
    try:
        import h5py
    except ImportError:
        return None
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        file["a"] = np.frombuffer(CANARY * 9000, np.float32)[:73_728]
    return whole.getvalue()


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "safetensors": lambda: [packed(weights(), texts()), packed(weights(), {}, hashed=False)],
    "pth": lambda: [torch_bytes(torch_content())],
    "old pth": lambda: [torch_bytes(torch_content(), zipped=False)],
    "tar": lambda: [
        torch_bytes({"epoch": 3, "arch": "resnet8", "state_dict": torch_content(), "best_prec1": 0.5}),
        torch_bytes({"epoch": 3, "model": torch_content(), "args": {"lr": [1, 2]}}, zipped=False),
    ],
    "keras": lambda: [keras_bytes(".keras")],
    "weights.h5": lambda: [keras_bytes(".weights.h5")],
    "h5": lambda: [keras2_bytes()],
    "png": pngs,
    "jpg": jpegs,
    "other picture": strangers,
    "archive": archives,
    "idx": lambda: [idx()],
    "cifar": lambda: [cifar()],
    "cifar archive": lambda: [small_cifar()],
    "recipe": recipes,
    "notebook": notebooks,
    "verdict": lambda: [verdict()],
    "class list": class_lists,
    "answer": answers,
}
#: Kind -> how it is spoilt, where it has ways of its own.
WAYS: dict[str, Spoiler] = {
    "safetensors": spoil_safetensors,
    "pth": spoil_torch,
    "old pth": spoil_torch,
    "tar": spoil_torch,
    "keras": spoil_keras,
    "weights.h5": spoil_h5,
    "h5": spoil_h5,
    "png": spoil_png,
    "jpg": spoil_jpeg,
    "other picture": blind,
    "archive": spoil_packed_tar,
    "idx": spoil_idx,
    "cifar": blind,
    "cifar archive": spoil_packed_tar,
    "recipe": spoil_recipe,
    "metrics": spoil_text,
    "notebook": spoil_notebook,
    "verdict": spoil_json,
    "class list": spoil_text,
    "answer": spoil_answer,
}

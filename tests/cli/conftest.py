"""Fixtures for tests of the command."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.base.versions import is_installed
from shared.checkpoints.ours import write_safetensors
from shared.checkpoints.shipped import ASSETS
from shared.networks.initial import initial_weights
from shared.training.recipes import get_recipe
from tests.cli.malformed import GREY8, TINY, png, safetensors, tar, zeros


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that nobody should be handed."""
    folder = tmp_path_factory.mktemp("bad")
    # Pictures.
    bomb = png(50_000, 50_000, zeros(50_000 * 6251))
    assert 200_000 < len(bomb) < 1_200_000
    sixteen = png(10_000, 10_000, zeros(10_000 * 20_001), depth=16)
    files = {
        "bomb.png": bomb,
        "huge_header.png": png(2**31 - 1, 2**31 - 1, b""),
        "no_pixels.png": png(0, 0, b""),
        "cut.png": GREY8[:42],
        "text.png": b"I am no picture\n",
        "empty.jpg": b"",
        "text.tar": b"I am no archive\n",
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "web.jpg": b"<!DOCTYPE html><title>404</title>",
        "dotted.toml": b"a." * 40_000 + b"a = 1",
        "digits.toml": b'name = "x"\nseed = ' + b"9" * 50_000,
        "escape.toml": b'"\\u001b[2J" = 1',
        "text.toml": b"I am no recipe\n",
        "binary.toml": bytes(range(128, 256)),
        "unknown.toml": b'name = "x"\nepoch = 3\n',
        "nameless.toml": b"epochs = 3\n",
        "types.toml": b'name = "x"\nepochs = "many"\n',
        "deep.toml": b"name = " + b"[" * 5000,
        "text.pth": b"I am no checkpoint\n",
        "text.keras": b"I am no model\n",
        "text.h5": b"I am no table\n",
        "weights.docx": b"PK",
        "text.ipynb": b"I am no notebook\n",
        "list.ipynb": b"[]",
        # Safetensors with lying headers.
        "cut.safetensors": (ASSETS / "resnet8_digits.safetensors").read_bytes()[:3000],
        "empty.safetensors": b"",
        "long.safetensors": safetensors({}, length=2**60),
        "list.safetensors": safetensors([1]),
        "deep.safetensors": safetensors(b"[" * 100_000),
        "offsets.safetensors": safetensors(
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**12]}}, bytes(8)
        ),
        "shape.safetensors": safetensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}}, bytes(8)),
        "dtype.safetensors": safetensors({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        "spec.safetensors": safetensors({"__metadata__": {"spec": "[[["}}),
        "cifar/data_batch_1.bin": bytes(3073 * 5),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    flipped = bytearray((ASSETS / "resnet8_digits.safetensors").read_bytes())
    write_safetensors(folder / "flipped.safetensors", initial_weights(TINY, 0), TINY)
    flipped = bytearray((folder / "flipped.safetensors").read_bytes())
    flipped[-1000] ^= 4
    (folder / "flipped.safetensors").write_bytes(flipped)
    nan = {**initial_weights(TINY, 0), "fc.bias": np.full(10, np.nan, np.float32)}
    write_safetensors(folder / "nan.safetensors", nan, TINY)
    write_safetensors(folder / "good.safetensors", initial_weights(TINY, 0), TINY)
    wrong_spec = replace(TINY, num_classes=7)
    write_safetensors(folder / "other_spec.safetensors", initial_weights(TINY, 0), wrong_spec)
    inputs = {"data": "", "classes": ["a"], "image_size": 8, "mean": [0.0], "std": [0.0], "highest": 255}
    write_safetensors(folder / "std.safetensors", initial_weights(TINY, 0), TINY, {"inputs": json.dumps(inputs)})
    write_safetensors(folder / "inputs.safetensors", initial_weights(TINY, 0), TINY, {"inputs": "{"})
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, folder / "stranger.safetensors")
    # Folders and archives of pictures.
    for name in ("pictures/a/1.png", "pictures/a/2.png", "pictures/b/3.png", "pictures/b/4.png", "one/a/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(GREY8)
    for name, content in (("a/1", bomb), ("a/2", bomb), ("b/3", bomb), ("b/4", b"x")):
        (folder / "bombs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "bombs" / f"{name}.png").write_bytes(content)
    (folder / "hollow").mkdir()
    for place in ("train/a", "train/b", "test/a"):
        (folder / "unequal" / place).mkdir(parents=True)
        (folder / "unequal" / place / "1.png").write_bytes(GREY8)
    members = {f"{label}/{number}.png": GREY8 for label in "ab" for number in range(3)}
    tar(folder / "climbing.tar", {**members, "../../escaped.png": GREY8})
    tar(folder / "absolute.tar", {**members, "/tmp/escaped.png": GREY8})
    tar(folder / "cut.tar.gz", members, "w:gz")
    (folder / "cut.tar.gz").write_bytes((folder / "cut.tar.gz").read_bytes()[:100])
    info = tarfile.TarInfo("a/1.png")
    info.size = 10**12
    (folder / "lying.tar").write_bytes(info.tobuf() + bytes(2048))
    # Archives that unpack to 3 GB, and some that only say so.
    info = tarfile.TarInfo("a/1.png")
    info.size = 3 * 10**9
    million = gzip.compress(bytes(10**6))
    (folder / "bomb.tar.gz").write_bytes(gzip.compress(info.tobuf()) + 3000 * million)
    (folder / "bomb.gz").write_bytes(3000 * million)
    # A name of 1 GB, a table of names in names, a million empty members, a picture of 16 bits a pixel.
    for kind, name in ((tarfile.GNUTYPE_LONGNAME, "longname.tar.gz"), (tarfile.XHDTYPE, "table.tar.gz")):
        info = tarfile.TarInfo("x")
        info.size, info.type = 10**9, kind
        (folder / name).write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + 1000 * million)
    (folder / "members.tar.gz").write_bytes(100 * gzip.compress(tarfile.TarInfo("a/1.png").tobuf() * 10_000))
    for label in "ab":
        (folder / "sixteen" / label).mkdir(parents=True)
        (folder / "sixteen" / label / "1.png").write_bytes(sixteen)
    for name, inside in (("bomb.keras", "model.weights.h5"), ("bomb.pth", "archive/data/0")):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as pack:
            pack.writestr(inside, bytes(10**6))
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content.replace(struct.pack("<I", 10**6), struct.pack("<I", 3 * 10**9)))
    # A run, and one whose files are damaged.
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{")
    (folder / "run" / "recipe.toml").write_text(get_recipe("quick").to_toml())
    (folder / "rows").mkdir()
    (folder / "rows" / "metrics.csv").write_bytes(b"step,epoch\n\0\n")
    if is_installed("h5py"):
        import h5py

        with h5py.File(folder / "hollow.h5", "w") as file:  # nothing is stored of it
            file.create_group("vars")
            file.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    return folder

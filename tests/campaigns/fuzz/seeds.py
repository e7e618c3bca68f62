"""The good files of all kinds and the ways to spoil them, and how an input comes to lie on the disk."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shared.checkpoints.ours import write_safetensors
from shared.data.inputs import Inputs
from shared.networks.initial import initial_weights
from tests.campaigns.fuzz.formats.classroom import (
    answers,
    class_lists,
    notebooks,
    spoil_answer,
    spoil_notebook,
    verdict,
)
from tests.campaigns.fuzz.formats.damage import Spoiler, blind, odd_text, spoil_with, to_bytes
from tests.campaigns.fuzz.formats.data_sets import cifar, idx, small_cifar, spoil_idx
from tests.campaigns.fuzz.formats.keras_files import keras2_bytes, keras_bytes, spoil_h5, spoil_keras
from tests.campaigns.fuzz.formats.pickles import spoil_torch, torch_bytes, torch_content
from tests.campaigns.fuzz.formats.pictures import jpegs, pngs, spoil_jpeg, spoil_png, strangers
from tests.campaigns.fuzz.formats.runs import recipes, run_folder, spoil_recipe
from tests.campaigns.fuzz.formats.tars import archives, spoil_packed_tar
from tests.campaigns.fuzz.formats.texts import spoil_json, spoil_text
from tests.campaigns.fuzz.formats.weights import TINY, packed, spoil_safetensors, texts, weights

#: What stands in a file beside the input, which no reader is told to open.
CANARY = b"what stands in another file: canary "
#: Of the files, so many of a thousand: are left as they are, have an odd name, are huge, are no plain files.
AS_IT_IS, ODD_NAME, HUGE, NO_FILE = 10, 30, 8, 15
HUGE_SIZE = 6_000_000_000

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

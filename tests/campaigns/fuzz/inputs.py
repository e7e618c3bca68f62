"""How an input is made: a folder with a spoilt file in it, and what must lie beside it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

from shared.training.folder import ABOUT, PREVIOUS, RECIPE, STATE
from shared.training.metrics import METRICS
from tests.campaigns.fuzz.formats.damage import BOMB, blind, spoil_with
from tests.campaigns.fuzz.formats.data_sets import CIFAR_FILES, cifar
from tests.campaigns.fuzz.formats.packed import gz, gzip_zeros
from tests.campaigns.fuzz.formats.runs import spoil_about, spoil_recipe
from tests.campaigns.fuzz.formats.texts import spoil_text
from tests.campaigns.fuzz.formats.weights import spoil_safetensors
from tests.campaigns.fuzz.seeds import CANARY, HUGE_SIZE, WAYS, Seeds, canary_h5, no_file, put, put_canaries

Make = Callable[[Seeds, random.Random, Path], Path]


def one_file(kind: str, name: str, *, fixed: bool = False, beside: bool = False) -> Make:
    """Return what makes a single spoilt file."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        if beside:
            put_canaries(place, canary_h5())
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return seeds.file(path.parent, path.name, kind, rng, WAYS[kind], fixed=fixed)

    return make


def one_picture(kind: str, ending: str) -> Make:
    """Return what makes a folder of pictures, one of which is spoilt."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        good = seeds.of("png")[1]
        for name in ("cat/2", "dog/1", "dog/2"):
            (place / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "pictures" / f"{name}.png").write_bytes(good)
        ending_ = rng.choice((ending, ".jpg")) if kind == "other picture" else ending
        return seeds.file(place / "pictures" / "cat", f"1{ending_}", kind, rng, WAYS[kind])

    return make


def an_idx(seeds: Seeds, rng: random.Random, place: Path) -> Path:
    """Make an IDX file with the right hash, or spoil what it is packed by."""
    content = seeds.spoilt("idx", rng, WAYS["idx"])
    whole = gz(content)
    if rng.random() < 0.1:
        whole += gzip_zeros(BOMB)
    elif rng.random() < 0.3:
        whole = blind(whole, rng, whole)
    with contextlib.suppress(OSError, EOFError, zlib.error):
        content = gzip.decompress(whole) if len(whole) < 10_000 else content
    path = place / f"{hashlib.sha256(content).hexdigest()}.gz"
    put(path, whole, rng)
    return path


def a_cifar(seeds: Seeds, rng: random.Random, place: Path) -> Path:
    """Make the folder of CIFAR-10 with one spoilt file."""
    folder = place / "cifar-10-batches-bin"
    folder.mkdir()
    good = seeds.place / "cifar.bin"
    if not good.exists():
        good.write_bytes(cifar())
    spoilt = rng.choice(CIFAR_FILES)
    for name in CIFAR_FILES:
        if name != spoilt:
            os.link(good, folder / name)
    return seeds.file(folder, spoilt, "cifar", rng, WAYS["cifar"], fixed=True)


def a_run(*files: str) -> Make:
    """Return what makes a run of which some of `files` are spoilt."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        folder = place / "run"
        folder.mkdir()
        (place / "victim.txt").write_bytes(CANARY * 10)
        contents = dict(seeds.folder_of_run())
        for name in files if len(files) == 1 else rng.sample(files, rng.choice((1, 1, 2, 3))):
            if name in contents:  # another one that is spoilt may have taken it out
                contents[name] = spoil_file_of_run(name, contents, rng)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        if rng.random() < 0.2:
            change_folder(folder, rng)
        return folder

    return make


def spoil_file_of_run(name: str, contents: dict[str, bytes], rng: random.Random) -> bytes:
    """Return a spoilt file of a run; what else must be changed for it to be looked at is taken out of `contents`."""
    content = contents[name]
    if name == ABOUT:
        if rng.random() < 0.3:
            contents.pop(RECIPE, None)  # then the one in here counts
        return spoil_with(spoil_about, content, rng, content)
    if name == RECIPE:
        return spoil_with(spoil_recipe, content, rng, content)
    if name == METRICS:
        if rng.random() < 0.7:  # states of version 1 hold no hash of it
            for state in (STATE, PREVIOUS):
                if state in contents:
                    contents[state] = contents[state].replace(b"metrics_sha256", b"metrics_sha25x")
        return spoil_text(content, rng, content)
    if rng.random() < 0.3 and name == STATE:
        contents.pop(PREVIOUS, None)
    return spoil_with(spoil_safetensors, content, rng, contents[rng.choice((STATE, name))])


def change_folder(folder: Path, rng: random.Random) -> None:
    """Put links, pipes, folders and files of odd names into a run."""
    names = [path.name for path in sorted(folder.iterdir())]
    names += ["run.lock", "run.lock.txt", "curves.png", "confusion.png", "tmp-probe", "tmp-x", "torch", "tensorboard"]
    for name in rng.sample(names, rng.choice((1, 1, 2))):
        path = folder / name
        path.unlink(missing_ok=True)
        chance = rng.random()
        if chance < 0.4:
            path.symlink_to(rng.choice(("../victim.txt", "../victim.txt", str(folder.parent / "victim.txt"))))
        elif chance < 0.5:
            os.link(folder.parent / "victim.txt", path)
        elif chance < 0.7:
            no_file(path, rng)
        elif chance < 0.8:
            path.touch()
            os.truncate(path, HUGE_SIZE)
        elif chance < 0.9:
            path.write_bytes(rng.randbytes(100))

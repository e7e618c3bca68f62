"""The kinds of inputs: how each is made, read, and given to the command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.base.errors import InputError
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, RECIPE, STATE
from shared.training.metrics import METRICS
from tests.campaigns.fuzz import readers
from tests.campaigns.fuzz.inputs import Make, a_cifar, a_run, an_idx, one_file, one_picture
from tests.campaigns.fuzz.seeds import Seeds

Argv = Callable[[Path, Seeds], list[str] | None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input: how it is made, read and given to the command, and how many of 100 inputs it has."""

    words: str
    make: Make
    read: Callable[[Path], list[np.ndarray]]
    argv: Argv = lambda path, seeds: None
    share: int = 5
    needs: tuple[str, ...] = ()


def weights_argv(path: Path, seeds: Seeds) -> list[str]:
    """Convert it."""
    return ["convert", str(path), "out.safetensors"]


def picture_argv(path: Path, seeds: Seeds) -> list[str]:
    """Say what is on it."""
    return ["predict", str(path), "--weights", str(seeds.two_classes()), "--framework", "torch"]


def archive_argv(path: Path, seeds: Seeds) -> list[str]:
    """Say how often the network is right."""
    return ["evaluate", str(seeds.two_classes()), str(path), "--framework", "torch"]


def recipe_argv(path: Path, seeds: Seeds) -> list[str]:
    """Show it."""
    return ["recipes", str(path)]


def run_argv(path: Path, seeds: Seeds) -> list[str] | None:
    """Go on with it, if that takes a moment only or is refused."""
    with contextlib.suppress(InputError):
        if not readers.is_short(path):
            return None
    return ["train", "--resume", str(path)]


TORCH, H5PY, PILLOW = ("torch",), ("h5py",), ("PIL",)
KINDS: dict[str, Kind] = {
    "safetensors": Kind(
        words="`.safetensors`: ours with spec, inputs and training, and others'",
        make=one_file("safetensors", "a.safetensors"),
        read=readers.checkpoint,
        argv=weights_argv,
        share=8,
    ),
    "pth": Kind(
        words="`.pth`: a zip of a pickle and of numbers",
        make=one_file("pth", "a.pth"),
        read=readers.checkpoint,
        argv=weights_argv,
        share=7,
        needs=TORCH,
    ),
    "old-pth": Kind(
        words="`.pth` from before PyTorch 1.6: pickles only",
        make=one_file("old pth", "a.pth"),
        read=readers.checkpoint,
        argv=weights_argv,
        share=7,
        needs=TORCH,
    ),
    "tar": Kind(
        words="`.tar`: a training's checkpoint, with a `state_dict` in it",
        make=one_file("tar", "a.tar"),
        read=readers.checkpoint,
        argv=weights_argv,
        share=5,
        needs=TORCH,
    ),
    "keras": Kind(
        words="`.keras`: a zip with an HDF5 table",
        make=one_file("keras", "a.keras", beside=True),
        read=readers.checkpoint,
        argv=weights_argv,
        share=3,
        needs=H5PY,
    ),
    "weights-h5": Kind(
        words="`.weights.h5` of Keras 3",
        make=one_file("weights.h5", "a.weights.h5", beside=True),
        read=readers.checkpoint,
        argv=weights_argv,
        share=2,
        needs=H5PY,
    ),
    "h5": Kind(
        words="`.h5` of Keras 2",
        make=one_file("h5", "a.h5", beside=True),
        read=readers.checkpoint,
        argv=weights_argv,
        share=2,
        needs=H5PY,
    ),
    "png": Kind(
        words="`.png`: 1, 8 and 16 bits, palette, transparent, interlaced",
        make=one_picture("png", ".png"),
        read=readers.folder_of,
        argv=picture_argv,
        share=9,
        needs=PILLOW,
    ),
    "jpg": Kind(
        words="`.jpg`: grey, coloured, progressive, CMYK, MPO, turned",
        make=one_picture("jpg", ".jpg"),
        read=readers.folder_of,
        argv=picture_argv,
        share=8,
        needs=PILLOW,
    ),
    "stranger": Kind(
        words="pictures of other formats (EPS, TIFF, GIF, PDF, ...) under these names",
        make=one_picture("other picture", ".png"),
        read=readers.folder_of,
        argv=picture_argv,
        share=5,
        needs=PILLOW,
    ),
    "archive": Kind(
        words="archives of pictures: `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz`",
        make=one_file("archive", "a.tar"),
        read=readers.pictures,
        argv=archive_argv,
        share=9,
        needs=PILLOW,
    ),
    "idx": Kind(words="IDX files of Fashion-MNIST, with the right hash", make=an_idx, read=readers.fashion, share=4),
    "cifar": Kind(words="CIFAR-10: one of its files", make=a_cifar, read=readers.cifar, share=1),
    "cifar-archive": Kind(
        words="CIFAR-10: its archive, with few pictures in it",
        make=one_file("cifar archive", "cifar-10-binary.tar.gz", fixed=True),
        read=readers.cifar,
        share=2,
    ),
    "recipe": Kind(
        words="recipes (`.toml`)", make=one_file("recipe", "a.toml"), read=readers.recipe, argv=recipe_argv, share=7
    ),
    "metrics": Kind(
        words="the curve of a run (`metrics.csv`)",
        make=a_run(METRICS),
        read=lambda path: readers.metrics(path / METRICS),
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "run-json": Kind(
        words="`run.json`, mostly with the right hash",
        make=a_run(ABOUT),
        read=readers.run,
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "state": Kind(
        words="states of a run, mostly with the right hash",
        make=a_run(STATE),
        read=readers.run,
        argv=run_argv,
        share=2,
        needs=TORCH,
    ),
    "run": Kind(
        words="folders of runs: several files, links, pipes",
        make=a_run(ABOUT, RECIPE, METRICS, STATE, PREVIOUS, BEST, LAST),
        read=readers.run,
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "notebook": Kind(
        words="submissions (`.ipynb`): read, and merged",
        make=one_file("notebook", "a1.ipynb"),
        read=readers.notebook,
        share=8,
    ),
    "verdict": Kind(
        words="verdicts (`.json`)",
        make=one_file("verdict", "verdicts/a1/ann.json"),
        read=readers.verdict,
        share=4,
    ),
    "class-list": Kind(
        words="class lists (`.csv`)", make=one_file("class list", "class.csv"), read=readers.class_list, share=4
    ),
    "answer": Kind(
        words="answers of students' processes",
        make=one_file("answer", "answer", fixed=True),
        read=readers.answer,
        share=6,
    ),
}

"""Classifies pictures whose class is not known."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, check_installed
from shared.base.budget import Budget
from shared.base.errors import InputError
from shared.base.printable import printable
from shared.checkpoints.shipped import read_trained
from shared.data.dataset import Split
from shared.data.listing import folder_budget, list_folder
from shared.data.pictures import PICTURES, also, check_pillow, check_size, open_picture, read_picture, to_square
from shared.twins.answers import Answers, ask, inputs_of

#: Characters of a line of the list on standard input: no path is longer.
MOST_LINE = 5000


@dataclass(frozen=True, kw_only=True)
class Prediction(Answers):
    """The twins on pictures whose class is not known.

    `skipped` are (name, reason) of those that did not decode, `notes` say what of folders was left out.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    logits: dict[str, NDArray[Any]]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def picture_paths(names: Iterable[str], notes: list[str] | None = None) -> Iterator[Path]:
    """Yield the pictures that `names` stand for: files, all pictures below folders, and "-" for a list on stdin.

    `notes` get a line for each kind of entry of a folder that was left out. Raises `InputError` for a name that
    stands for nothing.
    """
    budget = folder_budget("the list of pictures")
    for name in names:
        for each in _listed() if name == "-" else (name,):
            yield from _below(each, budget, [] if notes is None else notes)


def _listed() -> Iterator[str]:
    """Yield the lines on standard input. No name of a file is as long as a line may be."""
    try:
        while line := sys.stdin.readline(MOST_LINE + 1):
            if len(line) > MOST_LINE:
                raise InputError(f"the list on standard input has a line of more than {MOST_LINE:,} characters")
            if line.strip() and line != "-\n":
                yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"the list on standard input is no {error.encoding} text: {error.reason}") from error


def _below(name: str, budget: Budget, notes: list[str]) -> Iterator[Path]:
    budget.take_member()
    path = Path(name)
    if os.path.isdir(path):  # noqa: PTH112 (which is False for a name that is too long)
        listing = list_folder(path, PICTURES, lambda each: read_picture(path / each), budget, hidden=True)
        notes += [f"{printable(path)}: {note}" for note in listing.notes]
        if not listing.files:
            raise InputError(f"the folder {path} holds no picture ({', '.join(PICTURES)}){also(listing.notes)}")
        yield from sorted(path / each for each in listing.files)
    elif os.path.exists(path):  # noqa: PTH110
        yield path
    else:
        raise InputError(f"there is no picture {printable(path)}")


def predict(
    names: Iterable[str],
    *,
    weights: str | Path = "resnet20_cifar",
    model: str | None = None,
    frameworks: Iterable[str] = tuple(BACKENDS),
) -> Prediction:
    """Classify pictures of any size: the middle square, brought to the size that the network was trained on.

    Pictures that do not decode are skipped and named. Raises `InputError` if there is none that does.
    """
    frameworks = tuple(frameworks)
    check_installed(*frameworks)
    check_pillow()
    notes: list[str] = []
    paths = list(picture_paths(names, notes))
    trained = read_trained(weights, model)
    inputs, channels = inputs_of(trained), trained.spec.in_channels
    size = inputs.image_size
    check_size(len(paths), size, channels)
    images = np.empty((len(paths), size, size, channels), np.uint8)
    good: list[str] = []
    skipped = []
    budget = Budget("the pictures", most_bytes=0)
    for path in paths:
        budget.check_time()
        try:
            content = read_picture(path)
            budget.allow_picture(len(content))
            picture = to_square(open_picture(content, channels), size)
        except (ValueError, OSError) as error:
            skipped.append((str(path), printable(error)))
            continue
        images[len(good)] = np.asarray(picture, np.uint8).reshape(size, size, channels)
        good.append(str(path))
    if not good:
        reason = f"; the first, {printable(skipped[0][0])}: {skipped[0][1]}" if skipped else ""
        raise InputError(f"none of the {len(paths)} pictures can be read{reason}")
    split = Split(images=images[: len(good)], labels=np.zeros(len(good), np.int64))
    return Prediction(
        names=tuple(good),
        classes=inputs.classes,
        logits=ask(trained, split, inputs, frameworks),
        skipped=tuple(skipped),
        notes=tuple(notes),
    )

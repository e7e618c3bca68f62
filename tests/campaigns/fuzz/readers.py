"""The readers: each returns the arrays that it read, after a look at whether they can be used."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np

from shared.checkpoints.shipped import read_trained
from shared.classroom.course import Course
from shared.classroom.form import release_folders
from shared.classroom.sandbox import wire
from shared.classroom.submission import merge, read_notebook
from shared.classroom.submitted import read_class
from shared.data.fashion_mnist import read_idx
from shared.data.inputs import Inputs
from shared.data.load import load_data
from shared.data.pictures import decode, find_pictures
from shared.networks.table import weight_shapes
from shared.training.metrics import read_metrics
from shared.training.recipe import parse_recipe, read_recipe
from shared.training.run import Run
from shared.training.start import open_runs, resume
from shared.twins.answers import inputs_of
from tests.campaigns.fuzz.formats.damage import MOST
from tests.campaigns.fuzz.formats.runs import Stop


class Broken(Exception):  # noqa: N818 (it is a result, not a mistake of the script)
    """A reader did not do what it promises; the text says what."""


class Refusal(Exception):  # noqa: N818
    """A reader refused the input by other means than an `InputError`, as it promises."""


def check(good: bool, text: str) -> None:
    """Raise `Broken` unless `good`."""
    if not good:
        raise Broken(text)


def checkpoint(path: Path) -> list[np.ndarray]:
    """Weights of any format."""
    trained = read_trained(path)
    for name, shape in weight_shapes(trained.spec).items():
        array = trained.arrays[name]
        check(array.shape == tuple(shape) and bool(np.isfinite(array).all()), f"{name} was accepted and is not usable")
    inputs: Inputs = inputs_of(trained)
    if inputs.image_size < 500:
        images = inputs.prepare(np.zeros((1, 8, 8, trained.spec.in_channels), np.uint8))
        check(images.shape[1] == inputs.image_size and bool(np.isfinite(images).all()), "no pictures for these inputs")
    return list(trained.arrays.values())


def pictures(path: Path) -> list[np.ndarray]:
    """A folder or an archive of pictures; a picture that is passed over counts as refused."""
    found = find_pictures(path)
    decoded = decode(found.pictures, 8, 8, 3)
    check(decoded.images.shape == (len(decoded.pictures), 8, 8, 3), "the pictures have no common shape")
    if decoded.skipped:
        raise Refusal("passed over")
    return [decoded.images]


def folder_of(path: Path) -> list[np.ndarray]:
    """The folder that a picture lies in."""
    return pictures(path.parents[1])


def fashion(path: Path) -> list[np.ndarray]:
    """An IDX file whose hash is its name."""
    return [read_idx(path, path.name.partition(".")[0])]


def cifar(path: Path) -> list[np.ndarray]:
    """CIFAR-10, one file of which is spoilt."""
    data = load_data("cifar10", data_dir=path.parents[1] if path.suffix == ".bin" else path.parent)
    return [data.test.images]


def recipe(path: Path) -> list[np.ndarray]:
    """A recipe, which can be written and read again."""
    found = read_recipe(path)
    check(parse_recipe(found.to_toml(), path) == found, "the recipe is another one when it is written and read again")
    return []


def metrics(path: Path) -> list[np.ndarray]:
    """The curve of a run."""
    rows = read_metrics(path.parent)
    check(all(np.isfinite(row["step"]) for row in rows), "a step is no number")
    return [np.array([[row["step"], row["epoch"]] for row in rows])]


def run(path: Path) -> list[np.ndarray]:
    """A run that is gone on with, if that takes a moment only; else it is only opened."""
    runs = open_runs(path)
    if is_short(path):
        with patch.object(Run, "_draw", lambda _: None):  # figures read nothing, and take two seconds
            resume(path, reporter=Stop)
    return [array for each in runs.values() for array in (each.restored or {}).values()]


def is_short(path: Path) -> bool:
    """Whether the run in `path` is one of PyTorch with few steps: what is asked of it takes a moment."""
    runs = open_runs(path)
    return all(
        name == "torch"
        and each.total < 10
        and each.recipe.batch_size < 100
        and each.recipe.model == "resnet8_digits"
        and each.batches.inputs.image_size <= 32
        for name, each in runs.items()
    )


def notebook(path: Path) -> list[np.ndarray]:
    """A submission, merged with what was handed out."""
    release = release_folders()[0]
    handed_out = read_notebook(release / f"{release.name}.ipynb")
    merged, findings = merge(handed_out, handed_out, read_notebook(path))
    json.dumps(merged).encode()
    check(all(isinstance(cell["source"], str) for cell in merged["cells"]), "a cell holds no text")
    check(all(isinstance(finding, str) for finding in findings), "a finding is no text")
    "".join(cell["source"] for cell in merged["cells"]).encode()
    return []


def verdict(path: Path) -> list[np.ndarray]:
    """A verdict that lies in a course."""
    found = Course(path.parents[2]).read_verdict("a1", path.stem)
    if found is None:
        raise Refusal("there is no verdict that can be read")
    texts = (found.student, found.assignment, found.digest, *found.tampered, *found.failed, *found.look)
    check(all(isinstance(text, str) for text in texts), "a text of the verdict is none")
    for mark in found.marks:
        check(isinstance(mark.task, str) and isinstance(mark.note, str), "a mark belongs to no task")
        numbers = (mark.points, mark.points if mark.score is None else mark.score)
        sound = all(isinstance(number, int | float) and np.isfinite(float(number)) for number in numbers)
        check(sound and isinstance(mark.parts, list), f"a mark has {mark.score!r} of {mark.points!r} points")
    found.to_json().encode()
    return []


def class_list(path: Path) -> list[np.ndarray]:
    """A table of students."""
    names = read_class(path)
    check(all(isinstance(name, str) and name for name in names), "a student has no name")
    return []


def answer(path: Path) -> list[np.ndarray]:
    """What a student's process says."""
    with path.open("rb") as file:
        content = file.read(MOST)  # what comes through the pipe is counted there
    try:
        wire.from_bytes(content)
    except wire.WireError as error:
        raise Refusal(str(error)) from error
    return []

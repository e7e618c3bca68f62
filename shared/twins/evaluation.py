"""How often trained twins are right about pictures whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, check_installed
from shared.base.checks import check_whole
from shared.base.errors import InputError
from shared.base.printable import printable_list
from shared.checkpoints.shipped import Trained, read_trained
from shared.data.dataset import Progress, Split
from shared.data.inputs import Inputs
from shared.data.load import load_data
from shared.data.pictures import decode, find_pictures
from shared.data.score import Score, score
from shared.networks.spec import ResNetSpec
from shared.twins.answers import Answers, ask, inputs_of


@dataclass(frozen=True, kw_only=True)
class Evaluation(Answers):
    """The twins on pictures whose class is known. `labels` are (N,), by the order of `classes`."""

    spec: ResNetSpec
    classes: tuple[str, ...]
    split: Split
    logits: dict[str, NDArray[Any]]
    notes: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true class numbers (N,)."""
        return self.split.labels

    def score(self, framework: str) -> Score:
        """Return loss, accuracy and confusion of the framework's twin."""
        return score(self.logits[framework], self.labels)

    def correct(self, framework: str) -> int:
        """Return how many pictures the framework's twin got right."""
        return self.score(framework).correct


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """Images (N, H, W, C), the name of the class of each, and all classes as they are sorted."""

    images: NDArray[np.uint8]
    labels: list[str]
    classes: tuple[str, ...]
    highest: int
    notes: tuple[str, ...]


def _from_pictures(
    path: str | Path, inputs: Inputs, channels: int, limit: int | None, progress: Progress | None
) -> _Labelled:
    """Return what a folder or archive holds; only what is in its `test` if it has one."""
    found = find_pictures(path)
    chosen = [picture for picture in found.pictures if picture.split != "train"]
    if limit is not None and limit < len(chosen):
        chosen = [chosen[index] for index in _spread(len(chosen), limit)]
    decoded = decode(chosen, inputs.image_size, inputs.image_size, channels, progress)
    return _Labelled(
        images=decoded.images,
        labels=[picture.label for picture in decoded.pictures],
        classes=found.classes,
        highest=inputs.highest,
        notes=found.notes + decoded.notes,
    )


def _from_data_set(
    name: str,
    trained: Trained,
    inputs: Inputs,
    limit: int | None,
    data_dir: str | Path | None,
    progress: Progress | None,
) -> _Labelled:
    """Return the test images of a data set."""
    channels = trained.spec.in_channels
    options = {"image_size": inputs.image_size, "channels": channels, "seed": trained.seed}
    dataset = load_data(name, data_dir=data_dir, progress=progress, **options)
    if dataset.channels != channels:
        raise InputError(f"{name} has {dataset.channels} channels, but {trained.spec.name} takes {channels}")
    test = dataset.test
    if limit is not None and limit < len(test):
        test = test.take(_spread(len(test), limit))
    return _Labelled(
        images=test.images,
        labels=[dataset.classes[number] for number in test.labels],
        classes=dataset.classes,
        highest=dataset.highest,
        notes=dataset.notes,
    )


def _spread(total: int, limit: int) -> NDArray[np.int64]:
    """Return the numbers of `limit` entries out of `total`, evenly spread."""
    return np.linspace(0, total - 1, limit).astype(np.int64)


def evaluate(
    weights: str | Path,
    pictures: str | Path | None = None,
    *,
    data: str | None = None,
    data_dir: str | Path | None = None,
    model: str | None = None,
    frameworks: Iterable[str] = tuple(BACKENDS),
    limit: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    reading: Progress | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Load `weights` into the twins and classify pictures whose class is known.

    weights: a file, or the name of weights that ship. pictures: a folder or tar archive with CLASS/*.jpg or
    test/CLASS/*.jpg, all of which are taken; or data: the test images of "digits", "fashion-mnist", "cifar10" or
    "folder:PATH", split as in the training of these weights. Pixels go
    from 0 to 1, then minus `mean`, divided by `std`: those stored with the weights, or ImageNet's. `limit` takes
    that many pictures, evenly spread. Raises `InputError` for bad input.
    """
    if limit is not None:
        check_whole("limit", limit, 1)
    if (pictures is None) == (data is None):
        raise InputError("wanted are either pictures (a folder or an archive) or --data with the name of a data set")
    frameworks = tuple(frameworks)
    check_installed(*frameworks)
    trained = read_trained(weights, model)
    inputs = inputs_of(trained, mean, std)
    where = str(pictures if pictures is not None else data)
    if data is not None:
        found = _from_data_set(data, trained, inputs, limit, data_dir, reading)
    else:
        found = _from_pictures(where, inputs, trained.spec.in_channels, limit, reading)
    order = _order_of_classes(trained, found.classes, where)
    numbers = {name: number for number, name in enumerate(order)}
    split = Split(images=found.images, labels=np.array([numbers[label] for label in found.labels], np.int64))
    return Evaluation(
        spec=trained.spec,
        classes=order,
        split=split,
        logits=ask(trained, split, replace(inputs, highest=found.highest), frameworks, progress),
        notes=found.notes,
    )


def _order_of_classes(trained: Trained, classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the classes in the order of the network's outputs: by name if it knows them, else as they are sorted."""
    if len(classes) != trained.spec.num_classes:
        raise InputError(f"{where} has {len(classes)} classes, but {trained.name} knows {trained.spec.num_classes}")
    stored = trained.inputs.classes if trained.inputs else classes
    if set(stored) != set(classes):
        strangers = printable_list(sorted(set(classes) - set(stored)))
        raise InputError(f"{where} has classes that {trained.name} does not know: {strangers}")
    return stored

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
from shared.data.pictures import Picture, decode, find_pictures
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


def _labelled_pictures(
    path: str | Path, inputs: Inputs, channels: int, limit: int | None, progress: Progress | None
) -> Any:
    """Return images, class of each, classes and notes of a folder or archive; only of its `test` if it has one."""
    found = find_pictures(path)
    chosen = [picture for picture in found.pictures if picture.split != "train"]
    decoded = decode(_spread(chosen, limit), inputs.image_size, inputs.image_size, channels, progress)
    labels = [picture.label for picture in decoded.pictures]
    return decoded.images, labels, found.classes, found.notes + decoded.notes


def _spread(entries: Sequence[Picture], limit: int | None) -> list[Picture]:
    if limit is None or limit >= len(entries):
        return list(entries)
    return [entries[index] for index in np.linspace(0, len(entries) - 1, limit).astype(int)]


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
    channels, where = trained.spec.in_channels, str(pictures if pictures is not None else data)
    if data is not None:
        options = {"image_size": inputs.image_size, "channels": channels, "seed": trained.seed}
        dataset = load_data(data, data_dir=data_dir, progress=reading, **options)
        images, classes, notes = dataset.test.images, dataset.classes, dataset.notes
        if dataset.channels != channels:
            raise InputError(f"{data} has {dataset.channels} channels, but {trained.spec.name} takes {channels}")
        labels = [classes[number] for number in dataset.test.labels]
        if limit is not None and limit < len(labels):
            chosen = np.linspace(0, len(labels) - 1, limit).astype(int)
            images, labels = images[chosen], [labels[index] for index in chosen]
        inputs = replace(inputs, highest=dataset.highest)
    else:
        images, labels, classes, notes = _labelled_pictures(where, inputs, channels, limit, reading)
    order = _order_of_classes(trained, classes, where)
    numbers = {name: number for number, name in enumerate(order)}
    split = Split(images=images, labels=np.array([numbers[label] for label in labels], np.int64))
    return Evaluation(
        spec=trained.spec,
        classes=order,
        split=split,
        logits=ask(trained, split, inputs, frameworks, progress),
        notes=tuple(notes),
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

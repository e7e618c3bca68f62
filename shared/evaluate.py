"""What trained twins say of real pictures: how often they are right, and how often they differ."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, check_installed, load_backend
from shared.batches import Inputs, in_batches
from shared.catalog import get_spec
from shared.data import Progress, Split, load_data
from shared.errors import InputError
from shared.pictures import (
    PICTURES,
    Picture,
    check_pillow,
    decode,
    find_pictures,
    open_picture,
    read_picture,
    to_square,
)
from shared.run import Score, score
from shared.shipped import Trained, read_trained
from shared.spec import ResNetSpec, check_whole

#: Mean and standard deviation of the ImageNet training images by channel (R, G, B), which most checkpoints expect.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Answers:
    """What both twins say of the same pictures. `logits` are (N, num_classes) for each framework that was asked."""

    logits: dict[str, NDArray[Any]]

    @property
    def differing(self) -> int:
        """How many predictions differ between the twins."""
        first, *others = (values.argmax(1) for values in self.logits.values())
        return int(sum((first != other).sum() for other in others))

    @property
    def largest_difference(self) -> float:
        """The largest difference of two logits, in logit units."""
        first, *others = self.logits.values()
        return max((float(np.abs(first - other).max()) for other in others), default=0.0)

    @property
    def smallest_margin(self) -> float:
        """The smallest distance between the best and the second-best logit of a picture."""
        first = next(iter(self.logits.values()))
        ordered = np.sort(first, axis=1)
        return float((ordered[:, -1] - ordered[:, -2]).min())

    def probabilities(self, framework: str) -> NDArray[np.float64]:
        """Return the softmax of the framework's logits (N, num_classes)."""
        values = self.logits[framework].astype(np.float64)
        powers = np.exp(values - values.max(1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
        return shares


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
class Prediction(Answers):
    """The twins on pictures whose class nobody knows. `skipped` are (name, reason) of those that did not decode."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    logits: dict[str, NDArray[Any]]
    skipped: tuple[tuple[str, str], ...]


def ask(
    trained: Trained,
    split: Split,
    inputs: Inputs,
    frameworks: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the logits (N, num_classes) of each framework's twin for the images of `split`."""
    frameworks = tuple(frameworks)
    total, done, logits = len(split) * len(frameworks), 0, {}
    for name in frameworks:
        backend = load_backend(name)
        model = backend.create_model(get_spec(trained.spec, input_size=inputs.image_size))
        backend.set_weights(model, trained.arrays)
        parts = []
        for images, _ in in_batches(split, inputs):
            parts.append(backend.forward(model, backend.from_nhwc(images, model)))
            done += len(images)
            if progress:
                progress(done, total)
        logits[name] = np.concatenate(parts)
    return logits


def inputs_of(
    trained: Trained,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
) -> Inputs:
    """Return how pictures are prepared: as `mean` and `std` say, else as the weights do, else as for ImageNet."""
    stored, spec = trained.inputs, trained.spec
    named = tuple(classes or (stored.classes if stored else map(str, range(spec.num_classes))))
    grey = spec.in_channels == 1
    fallback = ((sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)) if grey else (IMAGENET_MEAN, IMAGENET_STD)
    inputs = Inputs(
        data=stored.data if stored else "",
        classes=named,
        image_size=stored.image_size if stored else spec.input_size,
        mean=tuple(mean or (stored.mean if stored else fallback[0])),
        std=tuple(std or (stored.std if stored else fallback[1])),
    )
    lengths = (1, spec.in_channels)
    finite = all(math.isfinite(value) for value in (*inputs.mean, *inputs.std))
    if len(inputs.mean) not in lengths or len(inputs.std) not in lengths or not finite or min(inputs.std) <= 0:
        raise InputError(
            f"mean is {inputs.mean} and std {inputs.std}; wanted is one value, or one for each of {spec.in_channels} "
            "channels, std above 0"
        )
    return inputs


def _labelled_pictures(
    path: str | Path, inputs: Inputs, channels: int, limit: int | None, progress: Progress | None
) -> Any:
    """Return images, class of each, classes and notes of a folder or archive; only of its `test` if it has one."""
    found = find_pictures(path)
    chosen = [picture for picture in found.pictures if picture.split != "train"]
    decoded = decode(_spread(chosen, limit), inputs.image_size, inputs.image_size, channels, progress)
    labels = [picture.label for picture in decoded.pictures]
    return decoded.images, labels, found.classes, decoded.notes


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
    split = Split(images=images, labels=np.array([order.index(label) for label in labels], np.int64))
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
        strangers = ", ".join(sorted(set(classes) - set(stored)))
        raise InputError(f"{where} has classes that {trained.name} does not know: {strangers}")
    return stored


def picture_paths(names: Iterable[str]) -> Iterator[Path]:
    """Yield the pictures that `names` stand for: files, all pictures below folders, and "-" for a list on stdin."""
    for name in names:
        if name == "-":
            try:
                lines = [line.rstrip("\n") for line in sys.stdin if line.strip()]
            except UnicodeDecodeError as error:
                raise InputError(f"the list on standard input is no {error.encoding} text: {error.reason}") from error
            yield from picture_paths(line for line in lines if line != "-")
            continue
        path = Path(name)
        if path.is_dir():
            below = sorted(each for each in path.rglob("*") if each.suffix.lower() in PICTURES and each.is_file())
            if not below:
                raise InputError(f"the folder {path} holds no picture ({', '.join(PICTURES)})")
            yield from below
        elif path.exists():
            yield path
        else:
            raise InputError(f"there is no picture {path}")


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
    paths = list(picture_paths(names))
    trained = read_trained(weights, model)
    inputs = inputs_of(trained)
    good, arrays, skipped = [], [], []
    for path in paths:
        try:
            picture = to_square(open_picture(read_picture(path), trained.spec.in_channels), inputs.image_size)
        except (ValueError, OSError) as error:
            skipped.append((str(path), str(error)))
            continue
        arrays.append(np.asarray(picture, np.uint8).reshape(inputs.image_size, inputs.image_size, -1))
        good.append(str(path))
    if not good:
        reason = f"; the first, {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise InputError(f"none of the {len(paths)} pictures can be read{reason}")
    split = Split(images=np.stack(arrays), labels=np.zeros(len(arrays), np.int64))
    return Prediction(
        names=tuple(good),
        classes=inputs.classes,
        logits=ask(trained, split, inputs, frameworks),
        skipped=tuple(skipped),
    )

"""What trained twins say of real pictures: how often they are right, and how often they differ."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, check_installed, load_backend
from shared.batches import TEST_BATCH, Inputs, in_batches
from shared.budget import Budget, machine_memory
from shared.catalog import get_spec
from shared.data import Progress, Split, load_data
from shared.errors import InputError
from shared.listing import folder_budget, list_folder
from shared.pictures import (
    PICTURES,
    Picture,
    also,
    check_pillow,
    check_size,
    decode,
    find_pictures,
    open_picture,
    read_picture,
    to_square,
)
from shared.printable import printable, printable_list
from shared.run import Score, score
from shared.shipped import Trained, read_trained
from shared.spec import ResNetSpec, check_whole
from shared.table import layer_table

#: In a block: what comes in, what is computed from what, and the shortcut.
LAYERS_AT_ONCE = 4
#: Mean and standard deviation of the ImageNet training images by channel (R, G, B), which most checkpoints expect.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Characters of a line of the list on standard input: no path is longer.
MOST_LINE = 5000


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
    """The twins on pictures whose class nobody knows.

    `skipped` are (name, reason) of those that did not decode, `notes` say what of folders was left out.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    logits: dict[str, NDArray[Any]]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


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
    spec = get_spec(trained.spec, input_size=inputs.image_size)
    at_once = images_at_once(spec)
    for name in frameworks:
        backend = load_backend(name)
        model = backend.create_model(spec)
        backend.set_weights(model, trained.arrays)
        parts = []
        for images, _ in in_batches(split, inputs, at_once):
            parts.append(backend.forward(model, backend.from_nhwc(images, model)))
            done += len(images)
            if progress:
                progress(done, total)
        logits[name] = np.concatenate(parts)
    return logits


def images_at_once(spec: ResNetSpec) -> int:
    """Return how many images fit into the memory together; raise `InputError` if not even one does.

    The size of the images comes from the file of the weights. A few layers are held at a time, at most the largest.
    """
    largest = max(math.prod(row.output_shape) for row in layer_table(spec, spec.input_size))
    one, memory = LAYERS_AT_ONCE * 4 * largest, machine_memory() // 2
    if one > memory:
        raise InputError(
            f"one image of {spec.input_size}x{spec.input_size} pixels takes about {one / 1e9:,.0f} GB in {spec.name}, "
            f"and this computer has {2 * memory / 1e9:,.0f} GB; the size comes from the file of the weights"
        )
    return max(1, min(TEST_BATCH, memory // one))


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

"""Classifies folders of real pictures with both twins: how often they are right, and how often they differ."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, check_installed, load_backend
from shared.errors import InputError, MissingPackageError
from shared.files import check_readable
from shared.foreign import choose_spec, read_weights
from shared.spec import ResNetSpec, check_whole
from shared.versions import install_command, is_installed

#: Mean and standard deviation of the ImageNet training images by channel (R, G, B), which most checkpoints expect.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PICTURES = (".jpg", ".jpeg", ".png")
BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Both twins on the same pictures. `logits` are (N, num_classes) for each framework that was asked."""

    spec: ResNetSpec
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: dict[str, NDArray[Any]]
    skipped: tuple[str, ...]

    def correct(self, framework: str) -> int:
        """Return how many pictures the framework's twin got right."""
        return int((self.logits[framework].argmax(1) == self.labels).sum())

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


def _files_in_folder(folder: Path) -> list[tuple[str, Callable[[], bytes]]]:
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in PICTURES)
    return [(f"{path.parent.name}/{path.name}", path.read_bytes) for path in paths]


def _files_in_archive(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and Path(name).suffix.lower() in PICTURES and not name.startswith("train/"):
                    stream = archive.extractfile(member)
                    if stream:
                        found[re.sub(r"^(.*/)?(?=[^/]+/[^/]+$)", "", name)] = stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{path} is no readable tar archive ({error})") from error
    return [(name, lambda name=name: found[name]) for name in sorted(found)]  # type: ignore[misc]


def find_pictures(path: str | Path) -> list[tuple[str, Callable[[], bytes]]]:
    """Return ("CLASS/FILE", a function that reads it) for every picture below `path`, sorted.

    `path` is a folder with a sub-folder for each class, or one that has such a folder called `test`, or a tar
    archive of either. Raises `InputError` if there are no pictures or only one class.
    """
    path = Path(path)
    if path.is_dir():
        files = _files_in_folder(path / "test" if (path / "test").is_dir() else path)
    else:
        files = _files_in_archive(check_readable(path))
    classes = {name.split("/")[0] for name, _ in files}
    if len(classes) < 2:
        raise InputError(
            f"{path} holds {len(files)} pictures in {len(classes)} classes; wanted is a folder or a tar archive with "
            f"CLASS/*{' or CLASS/*'.join(PICTURES)} for at least two classes"
        )
    return files


def read_pictures(
    files: Iterable[tuple[str, Callable[[], bytes]]], spec: ResNetSpec, skipped: list[str]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (class, pixels (H, W, C)) of each picture; those that do not decode go to `skipped`."""
    if not is_installed("PIL"):
        raise MissingPackageError(f"reading pictures needs Pillow; install it with: {install_command('images')}")
    from PIL import Image, UnidentifiedImageError

    modes = {1: "L", 3: "RGB"}
    if spec.in_channels not in modes:
        raise InputError(f"{spec.name} takes {spec.in_channels} channels; pictures have 1 or 3")
    for name, read in files:
        try:
            with Image.open(io.BytesIO(read())) as picture:
                pixels = np.asarray(picture.convert(modes[spec.in_channels]), np.uint8)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            skipped.append(name)
            continue
        if pixels.shape[:2] != (spec.input_size, spec.input_size):
            raise InputError(
                f"{name} has {pixels.shape[1]}x{pixels.shape[0]} pixels, but {spec.name} is built for "
                f"{spec.input_size}x{spec.input_size}"
            )
        yield name.split("/")[0], pixels.reshape(*pixels.shape[:2], spec.in_channels)


def evaluate(
    weights: str | Path,
    pictures: str | Path,
    *,
    model: str | None = None,
    frameworks: Iterable[str] = tuple(BACKENDS),
    limit: int | None = None,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Load `weights` into the twins and classify `pictures` with each.

    Classes are the names of the sub-folders in alphabetical order. Pixels go from 0 to 1, then minus `mean`,
    divided by `std`. `limit` takes that many pictures, evenly spread. `progress(done, total)` is called after
    each batch. Raises `InputError` for bad input.
    """
    if limit is not None:
        check_whole("limit", limit, 1)
    frameworks = tuple(frameworks)
    check_installed(*frameworks)
    found = read_weights(weights)
    spec = choose_spec(found, weights, model)
    if len(mean) not in (1, spec.in_channels) or len(std) not in (1, spec.in_channels) or min(std) <= 0:
        raise InputError(
            f"mean is {mean} and std {std}; wanted is one value, or one for each of {spec.in_channels} channels"
        )
    files = find_pictures(pictures)
    classes = sorted({name.split("/")[0] for name, _ in files})
    if len(classes) != spec.num_classes:
        raise InputError(f"{pictures} has {len(classes)} classes, but {weights} knows {spec.num_classes}")
    if limit is not None and limit < len(files):
        files = [files[index] for index in np.linspace(0, len(files) - 1, limit).astype(int)]

    skipped: list[str] = []
    decoded = list(read_pictures(files, spec, skipped))
    if not decoded:
        raise InputError(f"none of the {len(files)} pictures in {pictures} could be decoded")
    labels = np.array([classes.index(name) for name, _ in decoded])
    pixels = np.stack([picture for _, picture in decoded])
    shift, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    total = len(pixels) * len(frameworks)
    logits, done = {}, 0
    for name in frameworks:
        backend = load_backend(name)
        built = backend.create_model(spec)
        backend.set_weights(built, found.arrays)
        parts = []
        for start in range(0, len(pixels), BATCH):
            images = (pixels[start : start + BATCH] / np.float32(255) - shift) / scale
            parts.append(backend.forward(built, backend.from_nhwc(images, built)))
            done += len(images)
            if progress:
                progress(done, total)
        logits[name] = np.concatenate(parts)
    return Evaluation(spec=spec, classes=tuple(classes), labels=labels, logits=logits, skipped=tuple(skipped))

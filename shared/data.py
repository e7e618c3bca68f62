"""Real data sets as plain arrays: found on disk or downloaded once, checked, split into training and test."""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.archives import TarReader, readable, unpacked
from shared.budget import Budget
from shared.download import Download, fetch
from shared.errors import InputError
from shared.files import open_plain
from shared.pictures import decode, find_pictures
from shared.spec import check_whole, nearest

#: Called with what is done, how much of it, and how much there is (0: not known).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images (N, H, W, C), whole numbers from 0 (black), and class numbers (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: Any) -> Split:
        """Return the images with these numbers."""
        return Split(images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training and test images of the same classes. `highest` is the value of a white pixel.

    `notes` say what was done to pictures on the way in, and which were skipped, with their number.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    highest: int = 255
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that images and labels are what they should be; raise `InputError` if not."""
        if not isinstance(self.highest, int) or not 0 < self.highest < 256:
            raise InputError(f"{self.name}: highest is {self.highest!r}; allowed is 1 to 255")
        for which, split in (("training", self.train), ("test", self.test)):
            images, labels = split.images, split.labels
            where = f"{self.name}: the {which} images"
            if getattr(images, "dtype", None) != np.uint8 or images.ndim != 4 or 0 in images.shape:
                found = f"{getattr(images, 'dtype', type(images).__name__)} {np.shape(images)}"
                raise InputError(f"{where} are {found}; wanted is uint8 (N, H, W, C), whole numbers from 0 (black)")
            if images.shape[1:] != self.train.images.shape[1:] or images.shape[3] not in (1, 3):
                raise InputError(f"{where} have the shape {images.shape}; all have one size, and 1 or 3 channels")
            if int(images.max()) > self.highest:
                raise InputError(f"{where} have a pixel of {images.max()}; white is {self.highest}")
            if getattr(labels, "ndim", None) != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
                raise InputError(f"{self.name}: the {which} labels are no whole numbers, one for each image")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise InputError(
                    f"{self.name}: the {which} labels go from {labels.min()} to {labels.max()}; allowed are 0 to "
                    f"{len(self.classes) - 1}"
                )

    @property
    def sha256(self) -> str:
        """A hash of all pixels, labels and classes: a run goes on only with the images that it began with."""
        digest = hashlib.sha256(repr((self.classes, self.highest, self.train.images.shape)).encode())
        for split in (self.train, self.test):
            digest.update(split.images.tobytes())
            digest.update(split.labels.tobytes())
        return digest.hexdigest()

    @property
    def channels(self) -> int:
        """Channels of each image: 1 or 3."""
        return int(self.train.images.shape[3])


def data_cache() -> Path:
    """Return the platform's cache folder for this package, whether or not it exists yet."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "resnet-twins"


def data_folders(data_dir: str | Path | None = None) -> list[Path]:
    """Return where data sets are looked for, in order: `data_dir`, `$RESNET_TWINS_DATA`, the cache folder."""
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"--data-dir is {str(data_dir)!r}, which is no folder")
    named = os.environ.get("RESNET_TWINS_DATA")
    return [Path(folder) for folder in (data_dir, named) if folder] + [data_cache()]


def find_place(names: Sequence[str], data_dir: str | Path | None) -> Path | None:
    """Return the first of these files or folders where data sets are looked for, or None."""
    for folder in data_folders(data_dir):
        for name in names:
            if os.path.exists(folder / name):  # noqa: PTH110
                return folder / name
    return None


def folder_path(path: str, data_dir: str | Path | None = None) -> Path:
    """Return where the folder or archive of `folder:PATH` lies: at `path` itself, or where data sets are looked for."""
    place = Path(path) if os.path.exists(path) else find_place([path], data_dir)  # noqa: PTH110 (which never raises)
    if place is None:
        raise InputError(f"folder:{path}: there is no such folder or archive, here or where data sets are looked for")
    return place


def digits_table() -> NDArray[np.uint8]:
    """Return the 1797 digits that ship with the package, (N, 65): 8 x 8 values from 0 to 16, then the label."""
    with as_file(files("shared") / "assets" / "digits.npy") as path:
        table: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    return table


def load_digits(**_: Any) -> Dataset:
    """Scikit-learn's digits; every fifth is held out for testing."""
    table = digits_table()
    both = Split(images=table[:, :64].reshape(-1, 8, 8, 1), labels=table[:, 64].astype(np.int64))
    held_out = np.arange(len(table)) % 5 == 0
    return Dataset(
        name="digits",
        train=both.take(~held_out),
        test=both.take(held_out),
        classes=tuple("0123456789"),
        highest=16,
    )


FASHION_CLASSES = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
#: File -> (SHA-256 of the official .gz file, SHA-256 of what is in it).
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


#: The largest of these files has 47 million bytes: of another one that unpacks to more, no more is read.
MOST_IDX_BYTES = 48_000_000


def read_idx(path: Path, sha256: str) -> NDArray[np.uint8]:
    """Read a gzipped IDX file: two zeros, the type (8: bytes), the number of axes, the size of each, the values.

    `sha256` is that of the uncompressed content: how it was compressed does not matter. Raises `InputError`
    for a file that is damaged, cut short or another one.
    """
    advice = f"delete it and it is downloaded anew, or put the right file there (SHA-256 of its content: {sha256})"
    with open_plain(path) as file, readable(path, "damaged or only half there", advice):
        if os.fstat(file.fileno()).st_size > MOST_IDX_BYTES:  # zeros behind its end would be passed over one by one
            raise ValueError("it is larger than what it should hold")
        content = unpacked(file, Budget.for_file(path)).read(MOST_IDX_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} holds {len(content):,} bytes that are not those of Fashion-MNIST; {advice}")
    try:
        axes = content[3]
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (IndexError, ValueError, struct.error) as error:
        raise InputError(f"{path} is no IDX file ({error})") from error


def find_fashion_mnist(file: str, data_dir: str | Path | None) -> Path | None:
    """Return where a file of Fashion-MNIST lies, or None."""
    return find_place([f"fashion-mnist/{file}", file], data_dir)


def load_fashion_mnist(*, data_dir: str | Path | None, progress: Progress | None, **_: Any) -> Dataset:
    """Return Fashion-MNIST: 28x28 pixels, grey."""
    arrays = []
    for name, (official, content) in FASHION_FILES.items():
        path = find_fashion_mnist(name, data_dir)
        if path is None:
            wanted = Download(url=f"{FASHION_URL}/{name}", sha256=official, path=data_cache() / "fashion-mnist" / name)
            path = fetch(wanted, progress)
        arrays.append(read_idx(path, content))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name="fashion-mnist",
        train=Split(images=train_images[..., None], labels=train_labels.astype(np.int64)),
        test=Split(images=test_images[..., None], labels=test_labels.astype(np.int64)),
        classes=FASHION_CLASSES,
    )


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: The binary archive: the other one holds Python pickles, which could run code.
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR_FOLDER, CIFAR_ARCHIVE = "cifar-10-batches-bin", Path(CIFAR_URL).name
CIFAR_PLACES = [f"{folder}{name}" for name in (CIFAR_FOLDER, CIFAR_ARCHIVE) for folder in ("cifar-10/", "")]
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST = ("test_batch.bin",)
CIFAR_RECORDS, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32
CIFAR_MOST = CIFAR_RECORDS * CIFAR_RECORD + 1  # bytes: one more than there must be tells that it is too long


def read_cifar_batch(content: bytes, where: str) -> Split:
    """Read one file of the binary archive: 10,000 records of a label and 3 x 32 x 32 values, channel by channel."""
    if len(content) != CIFAR_RECORDS * CIFAR_RECORD:
        raise InputError(
            f"{where} has {len(content):,} bytes; a batch of CIFAR-10 has {CIFAR_RECORDS * CIFAR_RECORD:,}: "
            "it is damaged or only half there; delete it and put the right file there"
        )
    table = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, CIFAR_RECORD)
    if table[:, 0].max() > 9:
        raise InputError(f"{where} has a label {table[:, 0].max()}; those of CIFAR-10 are 0 to 9: it is another file")
    images = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(images=np.ascontiguousarray(images), labels=table[:, 0].astype(np.int64))


def _cifar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    missing = {*CIFAR_TRAIN, *CIFAR_TEST}
    if path.is_dir():
        for name in sorted(missing):
            if not (path / name).exists():
                raise InputError(f"{path} has no {name}; unpack the whole of {CIFAR_ARCHIVE} there")
            with open_plain(path / name) as file:
                yield name, file.read(CIFAR_MOST)
        return
    advice = f"delete it and it is downloaded anew (SHA-256 of the right file: {CIFAR_SHA256})"
    with open_plain(path) as file, readable(path, "damaged or only half there", advice):
        for member in TarReader(file, Budget.for_file(path)):
            folder, _, name = member.name.rpartition("/")
            if folder.removeprefix("./") == CIFAR_FOLDER and name in missing and member.kind == "file":
                missing.remove(name)
                yield name, member.read(CIFAR_MOST)
            if not missing:
                return
        raise ValueError(f"there is no {sorted(missing)[0]} in it")


def load_cifar10(*, data_dir: str | Path | None, progress: Progress | None, **_: Any) -> Dataset:
    """Return CIFAR-10: 32x32 pixels, in colour."""
    path = find_place(CIFAR_PLACES, data_dir)
    if path is None:
        place = data_cache() / "cifar-10" / CIFAR_ARCHIVE
        path = fetch(Download(url=CIFAR_URL, sha256=CIFAR_SHA256, path=place), progress)
    parts = {name: read_cifar_batch(content, f"{path}/{name}") for name, content in _cifar_files(path)}

    def join(names: Sequence[str]) -> Split:
        return Split(
            images=np.concatenate([parts[name].images for name in names]),
            labels=np.concatenate([parts[name].labels for name in names]),
        )

    return Dataset(name="cifar10", train=join(CIFAR_TRAIN), test=join(CIFAR_TEST), classes=CIFAR_CLASSES)


#: Share of the pictures of each class that is held out where a folder has no `test`.
HELD_OUT = 0.2


def load_folder(
    *,
    path: str,
    data_dir: str | Path | None,
    progress: Progress | None,
    image_size: int,
    default_size: int,
    channels: int,
    seed: int,
) -> Dataset:
    """Pictures in `PATH/train/CLASS` and `PATH/test/CLASS`, or in `PATH/CLASS` with a seeded split; also as a tar."""
    place = folder_path(path, data_dir)
    found = find_pictures(place)
    pixels = decode(found.pictures, image_size, default_size, channels, progress)
    classes = found.classes
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[picture.label] for picture in pixels.pictures], np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    members_of = np.split(labels.argsort(kind="stable"), counts.cumsum()[:-1])
    everything = Split(images=pixels.images, labels=labels)
    if found.has_splits:
        test = np.array([picture.split == "test" for picture in pixels.pictures])
    else:
        test = np.zeros(len(labels), bool)
        rng = np.random.default_rng([seed, 3])
        for each in members_of:
            members = rng.permutation(each)
            test[members[: max(1, round(HELD_OUT * len(members)))]] = True
    in_test = np.bincount(labels[test], minlength=len(classes))
    for number, name in enumerate(classes):
        for split, count in (("train", counts[number] - in_test[number]), ("test", in_test[number])):
            if not count:
                raise InputError(f"{place}: class {name!r} has no readable picture for {split}; it needs two or more")
    return Dataset(
        name=f"folder:{path}",
        train=everything.take(~test),
        test=everything.take(test),
        classes=classes,
        notes=found.notes + pixels.notes,
    )


DATASETS: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "fashion-mnist": load_fashion_mnist, "cifar10": load_cifar10}


#: A copy of CIFAR-10 as a tar of JPEG files in `train/CLASS/` and `test/CLASS/`, as some classrooms hand it out.
CIFAR_JPEG = "cifar-10/cifar-10-jpeg.tar.xz"


def find_local(name: str, data_dir: str | Path | None = None) -> str | None:
    """Return what to pass to `load_data` for "fashion-mnist" or "cifar10" if no download is needed, else None.

    For CIFAR-10 this may be `folder:PATH` with a copy as JPEG files: an accuracy on those is not one on the originals.
    """
    if name == "digits":
        return name
    if name == "fashion-mnist":
        complete = all(find_fashion_mnist(file, data_dir) for file in FASHION_FILES)
        return name if complete else None
    if name == "cifar10":
        if find_place(CIFAR_PLACES, data_dir):
            return name
        return f"folder:{CIFAR_JPEG}" if find_place([CIFAR_JPEG], data_dir) else None
    raise InputError(f"unknown data set {name!r}; allowed is one of {', '.join(DATASETS)}")


def load_data(
    name: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int = 0,
    default_size: int = 0,
    channels: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Return the data set `name`: "digits", "fashion-mnist", "cifar10" or "folder:PATH".

    Looked for in `data_dir`, in `$RESNET_TWINS_DATA` and in the platform's cache folder, then downloaded. Only
    for folders: pictures are cut to a square and resized to `image_size` pixels (0: they stay as they are if
    all are squares of one size, else `default_size`), have `channels` channels, and `seed` splits them where
    there is no `test` folder. Raises `InputError` if something is missing or damaged.
    """
    check_whole("image_size", image_size, 0, 4096)
    check_whole("default_size", default_size, 0, 16_384)
    if not isinstance(name, str):
        raise InputError(f"unknown data set {name!r}; a data set is given by its name")
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return load_folder(
            path=path,
            data_dir=data_dir,
            progress=progress,
            image_size=image_size,
            default_size=default_size,
            channels=channels,
            seed=seed,
        )
    if name not in DATASETS:
        raise InputError(
            f"unknown data set {name!r}; allowed is one of {', '.join(DATASETS)}, or folder:PATH for your own pictures "
            f"(nearest: {nearest(kind, DATASETS, 1)[0]})"
        )
    return DATASETS[name](data_dir=data_dir, progress=progress)

"""Folders and archives of JPEG and PNG files as one array. Pillow decodes them, once, for both frameworks."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import Budget, machine_memory
from shared.base.errors import InputError, MissingPackageError
from shared.base.files import read_start
from shared.base.printable import printable, printable_list
from shared.base.versions import install_command, is_installed
from shared.data.archives import MOST_PICTURE, list_archive
from shared.data.listing import Listing, folder_budget, list_folder
from shared.data.picture_parts import take_apart

PICTURES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "test")
MODES = {1: "L", 3: "RGB"}
#: More folders than these are no classes.
MOST_CLASSES = 100_000
#: Pixels a side, the most that `--set image_size` takes; and pixels that are converted at a time.
MOST_SIZE, BAND = 4096, 1_000_000
#: Reasons why pictures were skipped that are named, the most frequent ones first.
SHOWN_REASONS = 3
#: Camera's orientation -> are rows and columns exchanged, is the file's picture mirrored, upside down; Pillow's name.
TURNS = {
    1: (False, False, False, ""),
    2: (False, True, False, "FLIP_LEFT_RIGHT"),
    3: (False, True, True, "ROTATE_180"),
    4: (False, False, True, "FLIP_TOP_BOTTOM"),
    5: (True, False, False, "TRANSPOSE"),
    6: (True, False, True, "ROTATE_270"),
    7: (True, True, True, "TRANSVERSE"),
    8: (True, True, False, "ROTATE_90"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One file: its name, the class and the split that its folders name ("" where there is none), its bytes."""

    name: str
    label: str
    split: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Found:
    """All pictures below a folder, sorted by name, their classes in alphabetical order, and what was left out."""

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    has_splits: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Images (N, H, W, C) of the pictures that could be read, the names of those that could not, and notes."""

    images: NDArray[np.uint8]
    pictures: tuple[Picture, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def check_pillow() -> None:
    """Raise `MissingPackageError` if pictures cannot be decoded."""
    if not is_installed("PIL"):
        raise MissingPackageError(f"reading pictures needs Pillow; install it with: {install_command('images')}")


def _list(path: Path) -> Listing:
    """Return what lies in a folder or an archive."""
    if os.path.isdir(path):  # noqa: PTH112 (which is False for a name that is too long)
        return list_folder(path, PICTURES, lambda name: read_picture(path / name), folder_budget(path))
    if not os.path.exists(path):  # noqa: PTH110
        raise InputError(f"there is no folder or archive {path}")
    return list_archive(path, PICTURES)


def find_pictures(path: str | Path) -> Found:
    """Return every picture of a folder, or of a tar archive, that has a sub-folder for each class.

    Class folders lie in the folder itself, or in `train` and `test` below it (or below a single folder, as
    archives often have it). Raises `InputError` if there are fewer than two classes, an empty class, or
    different classes in `train` and `test`.
    """
    path = Path(path)
    listing = _list(path)
    around = _folder_around(listing.files)
    names = [name.removeprefix(around) for name in sorted(listing.files)]
    has_splits = any(name.startswith("test/") and name.count("/") == 2 for name in names)
    pictures = tuple(
        Picture(
            name=name,
            label=sys.intern(name.split("/")[-2]),
            split=sys.intern(name.partition("/")[0]) if has_splits else "",
            read=partial(listing.read, f"{around}{name}"),
        )
        for name in names
        if _is_class_folder(name.rpartition("/")[0], has_splits)
    )
    classes = tuple(sorted({picture.label for picture in pictures}))
    folders = [name.removeprefix(around) for name in listing.folders if name.startswith(around)]
    _check_classes(path, listing, pictures, classes)
    _check_filled(path, listing, pictures, [name for name in folders if _is_class_folder(name, has_splits)])
    _check_splits(path, pictures)
    notes = listing.notes
    if len(pictures) < len(names):
        notes += (f"{len(names) - len(pictures):,} pictures lie in no folder of a class and were left out",)
    return Found(pictures=pictures, classes=classes, has_splits=has_splits, notes=notes)


def _folder_around(names: Collection[str]) -> str:
    """Return the single folder in which all lies, as archives often have it, with its slash; "" if there is none."""
    tops = {name.partition("/")[0] for name in names}
    is_around = len(tops) == 1 and min(name.count("/") for name in names) >= 2 and not tops & set(SPLITS)
    return f"{tops.pop()}/" if is_around else ""


def _is_class_folder(name: str, has_splits: bool) -> bool:
    """Return whether a folder of this name is a class: CLASS, or train/CLASS and test/CLASS."""
    split, slash, _ = name.rpartition("/")
    return split in SPLITS if has_splits else bool(name) and not slash


def _check_classes(path: Path, listing: Listing, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
    if len(classes) < 2:
        raise InputError(
            f"{path} holds {len(pictures)} pictures in {len(classes)} classes; wanted is a folder or tar archive with "
            f"CLASS/*{' or CLASS/*'.join(PICTURES)} for at least two classes, or with such folders in train/ and test/"
            f"{also(listing.notes)}"
        )
    if len(classes) > MOST_CLASSES:
        raise InputError(f"{path} holds {len(classes):,} folders with pictures; at most {MOST_CLASSES:,} are classes")


def _check_filled(path: Path, listing: Listing, pictures: Sequence[Picture], folders: Sequence[str]) -> None:
    filled = {picture.name.rpartition("/")[0] for picture in pictures}
    empty = sorted(set(folders) - filled)
    if empty:
        raise InputError(
            f"{path}: no picture in the folder {printable(empty[0])}; fill it, or remove it if it is no class"
            f"{also(listing.notes)}"
        )


def _check_splits(path: Path, pictures: Sequence[Picture]) -> None:
    train, test = ({picture.label for picture in pictures if picture.split == split} for split in SPLITS)
    if train and train != test:
        raise InputError(
            f"{path}: train/ and test/ have different classes; in one only: {printable_list(sorted(train ^ test))}"
        )


def also(notes: tuple[str, ...]) -> str:
    """Return what was left out, to be put at the end of a message."""
    return "".join(f"; {note}" for note in notes)


class OpenPicture:
    """A decoded picture, upright, on white and in `mode`. It is converted part by part, as the parts are asked for."""

    def __init__(self, picture: Any, orientation: int, channels: int) -> None:
        from PIL import Image

        self._picture, self.mode = picture, MODES[channels]
        self._turned, self._mirrored, self._upside_down, name = TURNS[orientation]
        self._turn = Image.Transpose[name] if name else None
        self.width, self.height = reversed(picture.size) if self._turned else picture.size
        self.deep = picture.mode.startswith("I")
        self.see_through = not self.deep and (picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def crop(self, box: tuple[int, int, int, int]) -> Any:
        """Return the part from left, top to right, bottom as a Pillow image."""
        from PIL import Image

        left, top, right, bottom = (box[1], box[0], box[3], box[2]) if self._turned else box
        if self._mirrored:
            left, right = self._picture.width - right, self._picture.width - left
        if self._upside_down:
            top, bottom = self._picture.height - bottom, self._picture.height - top
        part = self._picture.crop((left, top, right, bottom))
        part = part if self._turn is None else part.transpose(self._turn)
        if self.deep:
            part = Image.fromarray((np.asarray(part) / 257).clip(0, 255).round().astype(np.uint8))
        if self.see_through:
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part.convert("RGBA"))
        return part.convert(self.mode)


@contextmanager
def _strictly() -> Iterator[None]:
    """Let Pillow take no half picture for a whole one, whatever other code has asked of it, and say nothing."""
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_picture(content: bytes, channels: int, kinds: Counter[str] | None = None) -> OpenPicture:
    """Decode a picture to `channels` channels; transparent parts become white. Raises `ValueError` if it is broken.

    `kinds` counts what was converted.
    """
    from PIL import Image, UnidentifiedImageError

    kinds = Counter() if kinds is None else kinds
    try:
        parts = take_apart(content)
        with _strictly(), Image.open(io.BytesIO(parts.content), formats=(parts.kind,)) as picture:
            if picture.size != (parts.width, parts.height):
                raise ValueError("it has two sizes")
            if picture.mode == "F":
                raise ValueError("its pixels are floating-point numbers; it is not known which value is white")
            picture.load()
            opened = OpenPicture(picture, parts.orientation, channels)
    except UnidentifiedImageError as error:  # which names the buffer in memory
        raise ValueError("its header is damaged") from error
    except Exception as error:  # decoders fail in many ways on damaged files
        raise ValueError(printable(error) or type(error).__name__) from error
    grey = opened.deep or picture.mode in ("L", "1")
    if opened.deep:
        kinds["with 16 bits a pixel were scaled to 8"] += 1
    if opened.see_through:
        kinds["with transparency were put on white"] += 1
    elif grey and channels == 3:
        kinds["grey ones got three equal channels"] += 1
    elif not grey and channels == 1:
        kinds["coloured ones became grey"] += 1
    return opened


def read_picture(path: Path) -> bytes:
    """Return the bytes of a file; raise `ValueError` for one that is too large for a picture, or never ends."""
    content = read_start(path, MOST_PICTURE)
    if len(content) > MOST_PICTURE:
        raise ValueError(f"it has more than {MOST_PICTURE / 1e6:,.0f} MB; no picture has")
    return content


def to_square(picture: Any, size: int) -> Any:
    """Return the middle square of a picture, resized to `size` pixels (bilinear, averaging when it shrinks).

    `picture` is one of Pillow's or an `OpenPicture`. A large one is narrowed in bands of rows, which changes no pixel:
    Pillow, too, resizes the rows first, each for itself, and then the columns.
    """
    from PIL import Image

    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if side == size and picture.width == picture.height and isinstance(picture, Image.Image):
        return picture
    rows = max(1, BAND // side)
    if rows >= side:
        return picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    narrow = Image.new(picture.mode, (size, side))
    for row in range(0, side, rows):
        end = min(side, row + rows)
        band = picture.crop((left, top + row, left + side, top + end))
        narrow.paste(band.resize((size, end - row), Image.Resampling.BILINEAR), (0, row))
    return narrow.resize((size, size), Image.Resampling.BILINEAR)


def decode(
    pictures: Sequence[Picture],
    image_size: int,
    default_size: int,
    channels: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Decoded:
    """Decode all pictures into one array. Those that do not decode are skipped, counted and named.

    With `image_size` 0 the pictures stay as they are if all are squares of one size, else they become squares of
    `default_size` pixels. Raises `InputError` if none can be read, or if all together fill the memory.
    """
    check_pillow()
    if channels not in MODES:
        raise InputError(f"the network takes {channels} channels; pictures have 1 or 3")
    kinds: Counter[str] = Counter()
    good: list[Picture] = []
    skipped, reasons = [], []
    size, images = image_size, np.empty(0, np.uint8)
    budget = Budget("the pictures", most_bytes=0)
    for number, picture in enumerate(pictures):
        budget.check_time()
        try:
            content = picture.read()
            budget.allow_picture(len(content))
            opened = open_picture(content, channels, kinds)
        except (ValueError, OSError) as error:
            skipped.append(picture.name)
            reasons.append(printable(error))
            continue
        if not size:  # the first one that can be read says
            size = _size_by_first(picture, opened, default_size)
        if not image_size and opened.size != (size, size) and size != default_size:
            _check_default_size(picture, opened, size, default_size)
            return decode(pictures, default_size, default_size, channels, progress)
        if not good:
            check_size(len(pictures), size, channels)
            images = np.empty((len(pictures), size, size, channels), np.uint8)
        images[len(good)] = np.asarray(to_square(opened, size), np.uint8).reshape(size, size, channels)
        good.append(picture)
        if progress and number % 500 == 0:
            progress("reading pictures", number, len(pictures))
    if not good:
        raise InputError(
            f"none of the {len(pictures)} pictures could be decoded; the first: {printable(skipped[0])} ({reasons[0]})"
            if skipped
            else "there are no pictures"
        )
    notes = _notes(skipped, reasons, kinds)
    return Decoded(images=images[: len(good)], pictures=tuple(good), skipped=tuple(skipped), notes=notes)


def _size_by_first(picture: Picture, opened: OpenPicture, default_size: int) -> int:
    """Return the size of the first picture that can be read, or `default_size` if it is no square."""
    size = opened.width if opened.width == opened.height else default_size
    if not size:
        raise InputError(
            f"{printable(picture.name)} has {opened.width} x {opened.height} pixels and is no square; say to "
            "which size all are brought: --set image_size=64"
        )
    return size


def _check_default_size(picture: Picture, opened: OpenPicture, size: int, default_size: int) -> None:
    """Raise `InputError` if there is no size to bring all to, now that `picture` is none of `size` pixels."""
    if not default_size:
        raise InputError(
            f"{printable(picture.name)} has {opened.width} x {opened.height} pixels, others {size} x {size}; "
            "say to which size all are brought: --set image_size=64"
        )


def _notes(skipped: Sequence[str], reasons: Sequence[str], kinds: Counter[str]) -> tuple[str, ...]:
    """Return what was skipped, the most frequent reasons for it, and what was converted."""
    notes = []
    if skipped:
        notes.append(f"{len(skipped):,} pictures did not decode and were skipped: {printable_list(skipped[:3])}")
        notes += [f"{count:,} of them: {reason}" for reason, count in Counter(reasons).most_common(SHOWN_REASONS)]
    notes += [f"{count:,} pictures: {what}" for what, count in sorted(kinds.items())]
    return tuple(notes)


def check_size(count: int, size: int, channels: int) -> None:
    """Raise `InputError` if so many pictures of this size fill the memory."""
    if size > MOST_SIZE:
        raise InputError(
            f"pictures of {size:,} x {size:,} pixels are too large for a network; say to which size all are brought: "
            "--set image_size=64"
        )
    needed, memory = count * size * size * channels, machine_memory()
    if needed > memory // 2:
        raise InputError(
            f"{count:,} pictures of {size:,} x {size:,} pixels fill {needed / 1e9:,.1f} GB, too much for the "
            f"{memory / 1e9:,.1f} GB of memory here; bring them to a smaller size (--set image_size=64), or take fewer"
        )

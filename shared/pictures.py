"""Folders and archives of JPEG and PNG files as one array. Pillow decodes them, once, for both frameworks."""

from __future__ import annotations

import io
import lzma
import tarfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError, MissingPackageError
from shared.files import check_unpacked
from shared.versions import install_command, is_installed

PICTURES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "test")
MODES = {1: "L", 3: "RGB"}
#: More pixels than this in one picture are refused: a small file can decode to gigabytes.
MOST_PIXELS = 100_000_000
#: And so are more bytes: no picture of so many pixels has them.
MOST_BYTES = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One file: its name, the class and the split that its folders name ("" where there is none), its bytes."""

    name: str
    label: str
    split: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Found:
    """All pictures below a folder, sorted by name, and their classes in alphabetical order."""

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    has_splits: bool


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


def _hidden(name: str) -> bool:
    """Whether a file or a folder above it is hidden, as those that systems put beside pictures are."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _entries(path: Path) -> tuple[dict[str, Callable[[], bytes]], set[str]]:
    """Return relative file name -> a function that reads the file, and the relative names of all folders."""
    if path.is_dir():
        every = {entry.relative_to(path).as_posix(): entry for entry in path.rglob("*")}
        shown = {name: entry for name, entry in every.items() if not _hidden(name)}
        readers: dict[str, Callable[[], bytes]] = {
            name: partial(read_picture, entry) for name, entry in shown.items() if entry.is_file()
        }
        return readers, {name for name, entry in shown.items() if entry.is_dir()}
    if not path.exists():
        raise InputError(f"there is no folder or archive {path}")
    contents: dict[str, bytes] = {}
    folders, unpacked = set(), 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                unpacked += member.size if member.isfile() else 0
                check_unpacked(path, unpacked)
                name = str(PurePosixPath(member.name))
                if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                    raise InputError(f"{path} holds {name!r}, a path that leads out of it: nobody packs pictures so")
                if _hidden(name):
                    continue
                if member.isdir() and name != ".":
                    folders.add(name)
                elif member.isfile() and PurePosixPath(name).suffix.lower() in PICTURES:
                    stream = archive.extractfile(member)
                    contents[name] = stream.read() if stream else b""
    except InputError:
        raise
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise InputError(f"{path} is no readable folder or tar archive ({error})") from error
    return {name: (lambda content=content: content) for name, content in contents.items()}, folders  # type: ignore[misc]


def find_pictures(path: str | Path) -> Found:
    """Return every picture of a folder, or of a tar archive, that has a sub-folder for each class.

    Class folders lie in the folder itself, or in `train` and `test` below it (or below a single folder, as
    archives often have it). Raises `InputError` if there are fewer than two classes, an empty class, or
    different classes in `train` and `test`.
    """
    path = Path(path)
    readers, folders = _entries(path)
    names = [name for name in sorted(readers) if PurePosixPath(name).suffix.lower() in PICTURES]
    tops = {PurePosixPath(name).parts[0] for name in names}
    depths = {len(PurePosixPath(name).parts) for name in names}
    strip = 1 if len(tops) == 1 and min(depths, default=0) >= 3 and not tops & set(SPLITS) else 0
    prefix = f"{tops.pop()}/" if strip else ""

    def parts(name: str) -> tuple[str, ...]:
        return PurePosixPath(name.removeprefix(prefix)).parts

    has_splits = any(parts(name)[0] == "test" and len(parts(name)) == 3 for name in names)
    wanted = 3 if has_splits else 2
    pictures = tuple(
        Picture(
            name=name.removeprefix(prefix),
            label=parts(name)[-2],
            split=parts(name)[0] if has_splits else "",
            read=readers[name],
        )
        for name in names
        if len(parts(name)) == wanted and (not has_splits or parts(name)[0] in SPLITS)
    )
    classes = sorted({picture.label for picture in pictures})
    empty = sorted(
        folder
        for folder in folders
        if folder.startswith(prefix)
        and len(parts(folder)) == wanted - 1
        and (not has_splits or parts(folder)[0] in SPLITS)
        and not any(picture.name.startswith(f"{folder.removeprefix(prefix)}/") for picture in pictures)
    )
    if len(classes) < 2:
        raise InputError(
            f"{path} holds {len(pictures)} pictures in {len(classes)} classes; wanted is a folder or tar archive with "
            f"CLASS/*{' or CLASS/*'.join(PICTURES)} for at least two classes, or with such folders in train/ and test/"
        )
    if empty:
        raise InputError(f"{path}: no picture in the folder {empty[0]}; fill it, or remove it if it is no class")
    if has_splits and any(picture.split == "train" for picture in pictures):
        train, test = ({p.label for p in pictures if p.split == split} for split in SPLITS)
        if train != test:
            raise InputError(
                f"{path}: train/ and test/ have different classes; in one only: {', '.join(sorted(train ^ test))}"
            )
    return Found(pictures=pictures, classes=tuple(classes), has_splits=has_splits)


def open_picture(content: bytes, channels: int, kinds: Counter[str] | None = None) -> Any:
    """Return a Pillow image with `channels` channels; see-through parts become white. Raises `ValueError` if broken.

    `kinds` counts what was converted.
    """
    from PIL import Image, ImageOps

    kinds = Counter() if kinds is None else kinds
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the check below comes first
            opened = Image.open(io.BytesIO(content))
        with opened as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
            picture.load()
            turned = ImageOps.exif_transpose(picture)
            if turned.mode in ("I;16", "I", "I;16B", "I;16L"):
                kinds["with 16 bits a pixel were scaled to 8"] += 1
                turned = Image.fromarray((np.asarray(turned) / 257).clip(0, 255).round().astype(np.uint8))
            if turned.mode == "F":
                raise ValueError("its pixels are floating-point numbers; nobody knows which one is white")
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                kinds["with transparency were put on white"] += 1
                white = Image.new("RGBA", turned.size, "white")
                turned = Image.alpha_composite(white, turned.convert("RGBA"))
            elif turned.mode in ("L", "1") and channels == 3:
                kinds["grey ones got three equal channels"] += 1
            elif turned.mode not in ("L", "1") and channels == 1:
                kinds["coloured ones became grey"] += 1
            return turned.convert(MODES[channels])
    except Exception as error:  # decoders fail in many ways on damaged files, the reader of EXIF data in others
        raise ValueError(str(error) or type(error).__name__) from error


def read_picture(path: Path) -> bytes:
    """Return the bytes of a file; raise `ValueError` for one that is too large for a picture, or never ends."""
    if not path.is_file():
        raise ValueError("it is no plain file")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has {path.stat().st_size / 1e6:,.0f} MB; no picture has")
    return path.read_bytes()


def to_square(picture: Any, size: int) -> Any:
    """Return the middle square of a Pillow image, resized to `size` pixels (bilinear, averaging when it shrinks)."""
    from PIL import Image

    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    if picture.size == (size, size):
        return picture
    return picture.crop(box).resize((size, size), Image.Resampling.BILINEAR)


def decode(
    pictures: Sequence[Picture],
    image_size: int,
    default_size: int,
    channels: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Decoded:
    """Decode all pictures into one array. Those that do not decode are skipped, counted and named.

    With `image_size` 0 the pictures stay as they are if all are squares of one size, else they become squares of
    `default_size` pixels. Raises `InputError` if none can be read.
    """
    check_pillow()
    if channels not in MODES:
        raise InputError(f"the network takes {channels} channels; pictures have 1 or 3")
    kinds: Counter[str] = Counter()
    good, skipped, arrays, reasons = [], [], [], []
    size = image_size
    for number, picture in enumerate(pictures):
        try:
            opened = open_picture(picture.read(), channels, kinds)
        except (ValueError, OSError) as error:
            skipped.append(picture.name)
            reasons.append(str(error))
            continue
        if not size:  # the first one that can be read says
            size = opened.width if opened.width == opened.height else default_size
            if not size:
                raise InputError(
                    f"{picture.name} has {opened.width} x {opened.height} pixels and is no square; say to which size "
                    "all are brought: --set image_size=64"
                )
        if not image_size and opened.size != (size, size) and size != default_size:
            if not default_size:
                raise InputError(
                    f"{picture.name} has {opened.width} x {opened.height} pixels, others {size} x {size}; "
                    "say to which size all are brought: --set image_size=64"
                )
            return decode(pictures, default_size, default_size, channels, progress)
        arrays.append(np.asarray(to_square(opened, size), np.uint8).reshape(size, size, channels))
        good.append(picture)
        if progress and number % 500 == 0:
            progress("reading pictures", number, len(pictures))
    if not good:
        raise InputError(
            f"none of the {len(pictures)} pictures could be decoded; the first: {skipped[0]} ({reasons[0]})"
            if skipped
            else "there are no pictures"
        )
    notes = [f"{count:,} pictures: {what}" for what, count in sorted(kinds.items())]
    if skipped:
        notes.insert(0, f"{len(skipped):,} pictures did not decode and were skipped: {', '.join(skipped[:3])}")
    return Decoded(images=np.stack(arrays), pictures=tuple(good), skipped=tuple(skipped), notes=tuple(notes))

"""Where data sets lie: folders of the user's, then the platform's cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.base.errors import InputError


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
    own = os.path.expanduser(path)  # noqa: PTH111 (which never raises)
    place = Path(own) if os.path.exists(own) else find_place([path], data_dir)  # noqa: PTH110 (nor does this)
    if place is None:
        raise InputError(f"folder:{path}: there is no such folder or archive, here or where data sets are looked for")
    return place

"""Read the little of HDF5 that Keras writes: groups, texts, and plain arrays that lie in the file itself.

HDF5 can do much more: its links and arrays may name other files, its compressed arrays load plug-ins, and one array may
go by many names. A file that asks for any of this is refused before the library follows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.budget import Budget
from shared.damage import said_as_damage
from shared.errors import MissingPackageError, WeightsError
from shared.printable import printable
from shared.versions import install_command

#: The longest name of a layer, and the longest list of names, in bytes.
MOST_TEXT, MOST_LIST = 1000, 10_000_000


class Group:
    """One group of an HDF5 file. What is read from it is spent from the budget and read only once."""

    def __init__(self, group: Any, place: str, budget: Budget, seen: dict[tuple[int, int], str]) -> None:
        self._group, self._place, self._budget, self._seen = group, place, budget, seen

    @property
    def file(self) -> str:
        """The name of the file, fit to be shown."""
        return printable(self._budget.path)

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def __len__(self) -> int:
        return len(self._group)

    def names(self) -> Iterator[str]:
        """Give the names of all that lies in the group."""
        for name in self._group:
            self._budget.take_member(len(name))
            yield name

    def group(self, name: str) -> Group:
        """Return the group of that name."""
        entry, place = self._entry(name)
        if type(entry).__name__ != "Group":
            raise self._error(place, f"is a {type(entry).__name__.lower()} where Keras has a group")
        return Group(entry, place, self._budget, self._seen)

    def array(self, path: str) -> NDArray[Any]:
        """Return the array at a path below this group ("0", or "conv1/kernel:0")."""
        *groups, name = path.split("/")
        parent = self
        for each in groups:
            parent = parent.group(each)
        dataset, place = parent._entry(name)
        if type(dataset).__name__ != "Dataset":
            raise self._error(place, f"is a {type(dataset).__name__.lower()} where Keras has an array")
        self._check_plain(dataset, place)
        return np.asarray(dataset)

    def text(self, name: str) -> str | None:
        """Return the text in an attribute of the group, None if there is none of that name."""
        attribute = self._attribute(name)
        if attribute is None:
            return None
        if attribute.shape != () or attribute.get_storage_size() > MOST_TEXT:
            raise self._error(self._place, f"has an attribute {printable(name)!r} that is no short text")
        text = _text(self._group.attrs[name])
        self._budget.take(len(text))
        if len(text) > MOST_TEXT:
            raise self._error(self._place, f"has a name of {len(text):,} characters")
        return text

    def texts(self, name: str) -> list[str] | None:
        """Return the texts in an attribute of the group, None if there is none of that name."""
        attribute = self._attribute(name)
        if attribute is None:
            return None
        size = attribute.get_storage_size()
        # Texts of any length lie elsewhere, and all entries may name the same one: a few bytes would make gigabytes.
        if len(attribute.shape) != 1 or (size and attribute.get_type().is_variable_str()) or size > MOST_LIST:
            raise self._error(self._place, f"has an attribute {printable(name)!r} that is no plain list of names")
        self._budget.take(size)
        return [_text(each) for each in self._group.attrs[name]]

    def _attribute(self, name: str) -> Any:
        from h5py import h5a, h5t

        if not h5a.exists(self._group.id, name.encode()):
            return None
        attribute = h5a.open(self._group.id, name.encode())
        if attribute.shape is None or attribute.get_type().get_class() not in (h5t.STRING, h5t.FLOAT):
            raise self._error(self._place, f"has an attribute {printable(name)!r} that is no text")
        return attribute

    def _entry(self, name: str) -> tuple[Any, str]:
        """Open what is called so, after a look at how the name leads to it."""
        import h5py

        self._budget.take_member()
        place = f"{self._place}/{name}" if self._place else name
        if name not in self._group:
            raise self._error(place, "is missing; it is there in what Keras' save_weights writes")
        if not isinstance(self._group.get(name, getlink=True), h5py.HardLink):
            raise self._error(place, "is a link, which may lead out of the file; Keras writes none")
        entry = self._group[name]
        info = h5py.h5o.get_info(entry.id)
        self._check_new((info.fileno, info.addr), place, again=isinstance(entry, h5py.Group))
        return entry, place

    def _check_new(self, where: tuple[int, int], place: str, *, again: bool = False) -> None:
        """Refuse what was met before under another name, and unless `again` under the same one."""
        first = self._seen.get(where)
        if first is not None and not (again and first == place):
            raise self._error(place, f"is used twice, first as {printable(first)}; Keras stores each array once")
        self._seen[where] = place

    def _check_plain(self, dataset: Any, place: str) -> None:
        """Refuse an array that does not lie in the file as it is, before anything of it is read."""
        from h5py import h5d

        how = dataset.id.get_create_plist()
        if how.get_layout() == h5d.VIRTUAL or how.get_external_count():
            raise self._error(place, "lies in another file; only what lies in the file itself is read")
        if dataset.dtype.kind not in "fiu":
            raise self._error(place, f"holds {dataset.dtype} values; weights are real numbers")
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._budget.take_member(size)
        if how.get_layout() == h5d.CHUNKED or how.get_nfilters():
            raise self._error(
                place,
                "is stored in pieces or compressed, as Keras never does; h5repack -l CONTI -f NONE OLD NEW undoes it",
            )
        if dataset.id.get_storage_size() != size:
            raise self._error(place, f"says that it has {size:,} bytes, and has {dataset.id.get_storage_size():,}")
        offset = dataset.id.get_offset()
        if size and offset is not None:  # a very small array lies in its own header, and has no place of its own
            self._check_new((-1, offset), place)

    def _error(self, place: str, what: str) -> WeightsError:
        return WeightsError(f"{self.file} is refused: {printable(place) or 'the file'} {what}")


@contextmanager
def open_hdf5(source: BinaryIO, budget: Budget) -> Iterator[Group]:
    """Open an HDF5 file; the library sees the open file only, not its name."""
    try:
        import h5py
    except ImportError as error:
        name = Path(budget.path).name
        raise MissingPackageError(f"reading {name} needs h5py; install it with: {install_command('tf')}") from error
    with said_as_damage(budget.path, "Keras file"), h5py.File(source, "r") as file:
        yield Group(file, "", budget, {})


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)

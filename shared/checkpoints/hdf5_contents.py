"""List what is in the HDF5 file on standard input, as JSON. Run as a program of its own: a damaged file can hang the
HDF5 library, fill the memory or crash it, and then only this process is lost.

HDF5 can do much more than Keras needs: its links and arrays may name other files, its filters are loaded from disk, and
one array may go by many names. A file that asks for any of this is refused. No number of an array is read here: whoever
asks reads them from the file itself, at the places that are listed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5t

#: Entries of a file, and characters of where one lies ("layers/conv2d_12/vars/0").
MOST_ENTRIES, MOST_PLACE = 200_000, 300
#: In bytes: what the library may take beyond what it has after it was loaded; in seconds of the processor.
MOST_FOR_LISTING, MOST_SECONDS = 400_000_000, 20


class RefusedError(Exception):
    """What the file asks for, and Keras never does."""


def limit() -> None:
    """Let the system end this process when it takes too much, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + MOST_FOR_LISTING
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def entries(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Open what lies in a group, after a look at how each name leads to it."""
    for name in group:
        place = prefix + name.decode("utf-8", "backslashreplace")
        if len(place) > MOST_PLACE:
            raise RefusedError(f"{place[:100]}... has {len(place):,} characters")
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise RefusedError(f"{place} is a link, which may lead out of the file; Keras writes none")
        entry = h5o.open(group, name)
        if not isinstance(entry, h5g.GroupID | h5d.DatasetID):
            raise RefusedError(f"{place} is a type; Keras writes groups and arrays only")
        yield place, entry


def describe(dataset: Any, place: str) -> tuple[str, list[int], int]:
    """Return dtype, shape and place of a plain array that lies in the file as it is; refuse any other one."""
    how = dataset.get_create_plist()
    if how.get_layout() == h5d.VIRTUAL or how.get_external_count():
        raise RefusedError(f"{place} lies in another file; only what lies in the file itself is read")
    dtype = dataset.dtype
    if dtype.kind not in "fiu" or not dataset.get_type().equal(h5t.py_create(dtype)):
        raise RefusedError(f"{place} holds {dtype} values; weights are real numbers")
    size = math.prod(dataset.shape) * dtype.itemsize
    if how.get_layout() != h5d.CONTIGUOUS or how.get_nfilters():
        raise RefusedError(
            f"{place} unpacks to {size / 1e6:,.0f} MB or less, but is stored in pieces or compressed, as Keras never "
            "does; h5repack -l CONTI -f NONE OLD NEW undoes that"
        )
    stored = dataset.get_storage_size()
    if stored != size:
        raise RefusedError(f"{place} says that it has {size:,} bytes, and has {stored:,}")
    return dtype.str, list(dataset.shape), dataset.get_offset() or 0


def name_of(group: Any, place: str) -> str | None:
    """Return the text in the group's attribute "name", where Keras puts the name of a layer."""
    if not h5a.exists(group, b"name"):
        return None
    attribute = h5a.open(group, b"name")
    # A list of texts may name the same long one in every entry: a few bytes would make gigabytes.
    if attribute.shape != () or attribute.get_type().get_class() != h5t.STRING:
        raise RefusedError(f"the name of {place} is no text")
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    raw = value[()]
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)
    if len(text) > MOST_PLACE:
        raise RefusedError(f"the name of {place} has {len(text):,} characters")
    return text


def contents(file: Any) -> dict[str, Any]:
    """Return what there is: place -> dtype, shape and place of each array; place -> name of each group with one."""
    arrays: dict[str, Any] = {}
    names: dict[str, str] = {}
    seen: dict[Any, str] = {}
    groups = [("", h5g.open(file, b"/"))]
    while groups:
        prefix, group = groups.pop()
        for place, entry in entries(group, prefix):
            info = h5o.get_info(entry)
            where = (info.fileno, info.addr)
            if where in seen:
                raise RefusedError(f"{place} is {seen[where]} under another name; Keras stores each array once")
            seen[where] = place
            if len(seen) > MOST_ENTRIES:
                raise RefusedError(f"it holds more than {MOST_ENTRIES:,} entries; no network has so many")
            if isinstance(entry, h5d.DatasetID):
                arrays[place] = describe(entry, place)
                continue
            if place.endswith("vars") and (name := name_of(entry, place)) is not None:
                names[place] = name
            groups.append((f"{place}/", entry))
    return {"arrays": arrays, "names": names, "keras2": h5a.exists(file, b"layer_names")}


def main() -> None:
    """Print the contents, or under "refused" or "damaged" why there are none."""
    limit()
    try:
        with h5py.File(sys.stdin.buffer, "r") as file:
            answer = contents(file.id)
    except RefusedError as error:
        answer = {"refused": str(error)}
    except Exception as error:
        answer = {"damaged": str(error) or type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()

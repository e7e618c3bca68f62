"""What the readers of files raise when a file is damaged, said in one line."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable

#: Nothing that a file holds may end in another error than one of these. `MemoryError`: for more than there is.
DAMAGE: tuple[type[Exception], ...]
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, EOFError)
DAMAGE += (RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error)


@contextmanager
def said_as_damage(path: str | Path, what: str) -> Iterator[None]:
    """Raise `WeightsError` for whatever is raised because the file at `path` is no good `what` ("Keras file").

    An `InputError` has its own words and stays as it is.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise WeightsError(
            f"{printable(path)} is no readable {what}; it may be damaged, only half downloaded, or another kind of "
            f"file ({str(error) or type(error).__name__})"
        ) from error

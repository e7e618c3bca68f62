"""Downloads a file once, goes on where a broken download ended, and keeps it only if its SHA-256 is right."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from shared.base.errors import InputError, MissingPackageError
from shared.base.files import check_own, new_folders
from shared.base.versions import install_command, is_installed

CHUNK = 1 << 16
TIMEOUT_S = 20
#: No file that is fetched here has more bytes. A server that sends less than so many a second is given up in time.
MOST_BYTES, LEAST_RATE, PATIENCE_S = 1_000_000_000, 500, 120


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to fetch: from where, the SHA-256 of its bytes, and where it is put."""

    url: str
    sha256: str
    path: Path

    def __str__(self) -> str:
        """Return all that somebody needs who fetches the file by hand."""
        return (
            f"{self.path.name} from {self.url} (SHA-256 {self.sha256}), to be put at {self.path}, or into the folder "
            "that --data-dir or $RESNET_TWINS_DATA names"
        )


class _Resuming:
    """What pooch calls to download: appends to `FILE.part`, so that a second try goes on where the first one ended."""

    def __init__(self, wanted: Download, progress: Callable[[str, int, int], None] | None) -> None:
        self.wanted, self.progress = wanted, progress
        self.part = wanted.path.with_name(f"{wanted.path.name}.part")

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if check_own(self.part, alone=True).exists() else 0
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()  # longer than the file itself: of no use
                return self(url, output_file, _pooch)
            answer.raise_for_status()
            self._receive(answer, have if answer.status_code == requests.codes.partial_content else 0)
        shutil.copyfile(self.part, output_file)
        self.part.unlink()
        return None

    def _receive(self, answer: Any, have: int) -> None:
        """Append what comes to the `have` bytes that are there; raise `RequestException` if it is too much."""
        import requests

        said = answer.headers.get("Content-Length", "")
        total = have + (int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 0)
        first, started = have, time.monotonic()
        with _append(self.part, anew=not have) as file:
            for piece in _pieces(answer):
                have += len(piece)
                seconds = time.monotonic() - started
                if have > MOST_BYTES:
                    raise requests.RequestException(f"it sends more than {MOST_BYTES:,} bytes, too much for this file")
                if seconds > PATIENCE_S and have - first < seconds * LEAST_RATE:
                    raise requests.RequestException(f"only {have - first:,} bytes came in {seconds:,.0f} seconds")
                file.write(piece)
                if self.progress:
                    self.progress(f"downloading {self.wanted.path.name}", have, total)
        if total and have < total:
            raise requests.RequestException(f"the connection ended after {have:,} of {total:,} bytes")


def _append(path: Path, *, anew: bool) -> BinaryIO:
    """Open a plain file to write at its end. A link that came there meanwhile is an `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if anew else os.O_APPEND)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def _pieces(answer: Any) -> Iterator[bytes]:
    """Yield what comes as soon as it comes, so that a slow server is noticed; nothing is unpacked."""
    import requests
    from urllib3.exceptions import HTTPError

    read = getattr(answer.raw, "read1", answer.raw.read)  # urllib3 before 2.1 waits for a whole piece
    try:
        while piece := read(CHUNK, decode_content=False):
            yield piece
    except (HTTPError, OSError) as error:
        raise requests.RequestException(f"the connection ended: {error}") from error


def fetch(wanted: Download, progress: Callable[[str, int, int], None] | None = None) -> Path:
    """Download a file, check it and return its path. `progress(what, bytes done, bytes in all)`.

    Raises `InputError` with one line that says which file is wanted, from where, its hash and where to put it,
    if there is no connection or the file is not the right one.
    """
    if not is_installed("pooch"):
        raise MissingPackageError(
            f"{wanted.path.name} is not on this machine; get {wanted}, or install what downloads it with: "
            f"{install_command('download')}"
        )
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    try:
        with new_folders(wanted.path.parent):  # which leaves no empty folder behind if nothing came
            wanted.path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(
                wanted.url,
                known_hash=f"sha256:{wanted.sha256}",
                fname=wanted.path.name,
                path=wanted.path.parent,
                downloader=_Resuming(wanted, progress),
            )
    except requests.RequestException as error:
        absent = isinstance(error, requests.ConnectionError | requests.Timeout)
        reason = "no connection to the server" if absent else str(error)
        raise InputError(f"cannot download ({reason[:160]}); wanted is {wanted}") from error
    except InputError:
        raise
    except ValueError as error:  # pooch's complaint about the hash
        raise InputError(f"what came from {wanted.url} is another file than expected; wanted is {wanted}") from error
    except OSError as error:
        raise InputError(
            f"cannot write to {wanted.path.parent} ({error.strerror or error}); wanted is {wanted}"
        ) from error
    return wanted.path

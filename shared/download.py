"""Downloads a file once, goes on where a broken download ended, and keeps it only if its SHA-256 is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import InputError, MissingPackageError
from shared.files import new_folders
from shared.versions import install_command, is_installed

CHUNK = 1 << 16
TIMEOUT_S = 20


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

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()  # longer than the file itself: of no use
                return self(url, output_file, _pooch)
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                have = 0
            total = have + int(answer.headers.get("Content-Length", 0))
            with self.part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if self.progress:
                        self.progress(f"downloading {self.wanted.path.name}", have, total)
            if total and have < total:
                raise requests.RequestException(f"the connection ended after {have:,} of {total:,} bytes")
        shutil.copyfile(self.part, output_file)
        self.part.unlink()
        return None


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
    except ValueError as error:  # pooch's complaint about the hash
        raise InputError(f"what came from {wanted.url} is another file than expected; wanted is {wanted}") from error
    except OSError as error:
        raise InputError(
            f"cannot write to {wanted.path.parent} ({error.strerror or error}); wanted is {wanted}"
        ) from error
    return wanted.path

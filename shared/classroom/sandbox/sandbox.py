"""Starts the process in which a student's code runs, shut off from everything, and watches it.

Where it is shut off all that it can write to is in memory, and counts as its memory. Without bubblewrap the code runs
as the user who grades: `why_not` gives the reason, which the caller must show.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from shared.base import side_by_side
from shared.base.printable import printable
from shared.classroom.folders import new_place, remove_tree, size_of
from shared.classroom.sandbox import runner, wire
from shared.classroom.sandbox.bubblewrap import GIVEN, MAX_FILES, PLACES, shut_off_command, variables, why_not
from shared.classroom.sandbox.cgroups import scope

MAX_ANSWER = 200_000_000  # bytes
MAX_NAMES = 200_000  # files and folders that may be made
MAX_PROCESSES = 64
MAX_OPEN = 512  # files and pipes that a process may have open
POLL = 0.1  # seconds between two looks at the memory
ROOM = 12  # gigabytes of addresses on top of the memory limit: frameworks reserve far more than they use
#: What a process needs of the environment where it is not shut off.
KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class DiedError(Exception):
    """The student's process ended or had to be ended; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a submission may use: seconds for one cell or question and for all, gigabytes of memory."""

    cell_seconds: float = 60.0
    seconds: float = 120.0
    gigabytes: float = 4.0


class Sandbox:
    """A student's process: runs cells, answers questions, and is ended when it breaks a limit.

    `files` are copied into its folder first, `secret` folders are never seen. With `own`, a folder, the code is that
    of the caller: it runs there, with nothing shut off. A context manager; after `DiedError` it can be asked nothing.
    """

    def __init__(
        self,
        limits: Limits,
        hides: Iterable[str] = (),
        files: dict[str, Path] | None = None,
        secret: Iterable[Path] = (),
        own: Path | None = None,
    ) -> None:
        self.limits = limits
        self.peak = 0.0  # gigabytes
        self._own = own
        self._secret = tuple(secret)
        self._chunks: queue.Queue[bytes] = queue.Queue(maxsize=64)
        self._rest = b""
        self._hides = tuple(hides)
        self._files = files or {}
        self._why = ""
        self._turn = 0
        self._stop = threading.Event()
        self._complaints: deque[bytes] = deque(maxlen=16)  # the last pieces of what it wrote to standard error
        self._started = time.monotonic()
        self._deadline = self._started + limits.seconds

    def __enter__(self) -> Sandbox:
        self._shut_off = not (self._own or why_not())
        self._root = new_place()
        self.folder, box = self._own or self._root / "home", self._root / "box"
        self.folder.mkdir(exist_ok=True)
        box.mkdir()
        for name, path in self._files.items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        for module in (runner, wire, side_by_side):
            shutil.copyfile(str(module.__file__), box / Path(str(module.__file__)).name)
        with tempfile.TemporaryFile() as filters:
            command, environment = self._command(box, filters)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                env=environment,
                pass_fds=[filters.fileno()] if self._shut_off else (),
                start_new_session=os.name == "posix",
                preexec_fn=self._limit if os.name == "posix" and not self._own else None,
            )
        self._threads = [
            threading.Thread(target=self._pump, args=[self._process.stdout], daemon=True),
            threading.Thread(target=self._listen, args=[self._process.stderr], daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._receive()
        self._started = time.monotonic()
        return self

    def _command(self, box: Path, filters: BinaryIO) -> tuple[list[str], dict[str, str]]:
        """The command of the process, and its environment."""
        if self._shut_off:
            shown = [(box, "/opt/box"), (self.folder, GIVEN)]
            command = shut_off_command(filters, shown, self._hides, self._secret)
            prefix, environment = scope(self.limits.gigabytes, MAX_PROCESSES)
            return [*prefix, *command, sys.executable, "-B", "/opt/box/runner.py", GIVEN], environment
        command = [sys.executable, "-B", str(box / "runner.py")]
        if self._own:
            return command, dict(os.environ) | {"MPLBACKEND": variables("", "")["MPLBACKEND"]}
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return command, kept | variables(str(self.folder), os.pathsep.join(filter(None, sys.path)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._kill("")
        for thread in self._threads:
            thread.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        with contextlib.suppress(OSError):
            remove_tree(self._root)

    def run_cell(self, source: str) -> dict[str, Any]:
        """Runs a cell: its outputs, and the error it ended with. Nothing of it can be trusted.

        Raises:
            DiedError: the process ended, or broke a limit and was ended.
        """
        reply = self._ask({"do": "cell", "source": source})
        outputs = reply.get("outputs") if isinstance(reply, dict) else None
        error = reply.get("error") if isinstance(reply, dict) else "unreadable"
        return {"outputs": clean_outputs(outputs), "error": None if error is None else _message(error)}

    def ask(self, source: str, function: str, inputs: dict[str, Any]) -> Any:
        """Asks a question; returns {"value": ..., "error": None or text}. Nothing of it can be trusted.

        Raises:
            DiedError: as for `run_cell`.
            WireError: the reply was not readable.
        """
        return self._ask({"do": "ask", "source": source, "function": function, "inputs": inputs})

    def _ask(self, request: dict[str, Any]) -> Any:
        if self._why:
            raise DiedError(self._why)
        self._deadline = min(time.monotonic() + self.limits.cell_seconds, self._started + self.limits.seconds)
        reply = self._exchange(request)
        if not self._is_in_turn():
            self._kill("answered out of turn")
        if reason := self._why or self._too_much():  # asked here as well, not only when the watcher comes by
            self._kill(reason)
            raise DiedError(reason)
        return wire.from_bytes(reply)

    def _is_in_turn(self) -> bool:
        """Whether the process is back: one that forges a reply goes on, or gives two, and this cell is to blame."""
        self._turn += 1
        reply = self._exchange({"do": "turn", "number": self._turn})
        with contextlib.suppress(wire.WireError):
            return bool(wire.from_bytes(reply) == {"turn": self._turn})
        return False

    def _exchange(self, request: dict[str, Any]) -> bytes:
        """Sends a request and returns the bytes of the reply."""
        try:
            # A process that does not read blocks this line until the one who watches ends it.
            wire.send(self._process.stdin, wire.to_bytes(request))  # type: ignore[arg-type]
        except (OSError, ValueError):
            raise DiedError(self._reason()) from None
        return self._receive()

    def _receive(self) -> bytes:
        """One message before the deadline; the process is ended if it does not come."""
        head = self._read(wire.LENGTH.size)
        (length,) = wire.LENGTH.unpack(head)
        if length > MAX_ANSWER:
            self._kill(f"answered with more than {MAX_ANSWER:,} bytes")
            raise DiedError(self._why)
        return self._read(length)

    def _read(self, length: int) -> bytes:
        parts = [self._rest]
        missing = length - len(self._rest)
        while missing > 0:
            try:
                part = self._chunks.get(timeout=max(0.0, self._deadline - time.monotonic()))
            except queue.Empty:
                self._kill(self._too_long())
                raise DiedError(self._why) from None
            if not part:
                raise DiedError(self._reason())
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self._rest = data[length:]
        return data[:length]

    def _too_long(self) -> str:
        over = time.monotonic() - self._started >= self.limits.seconds
        limit = self.limits.seconds if over else self.limits.cell_seconds
        return f"ran for more than {limit:g} seconds" + (" in all" if over else "")

    def _pump(self, stream: BinaryIO) -> None:
        """Carries what the process sends into a queue with room for a little; an empty part is the end."""
        for part in _parts(stream):
            while not self._stop.is_set():
                with contextlib.suppress(queue.Full):
                    self._chunks.put(part, timeout=POLL)
                    break
        with contextlib.suppress(queue.Full):
            self._chunks.put(b"", timeout=60)

    def _listen(self, stream: BinaryIO) -> None:
        """Takes in what the process writes to its standard error, of which little is kept."""
        for part in _parts(stream):
            self._complaints.append(part[-1000:])

    def _reason(self) -> str:
        """Why the process is gone."""
        if not self._why:
            try:
                code: int | None = self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                code = None
            self._kill(f"ended the whole process (exit code {code})" if code is not None else "closed its connection")
        return self._why

    def log(self) -> str:
        """The last of what the process wrote to its standard error, around Python: for a teacher's eyes."""
        return printable(b"".join(self._complaints).decode("utf-8", "replace"), 4000)

    def _limit(self) -> None:
        """Limits that the system itself keeps; runs in the new process."""
        import resource

        size = int((self.limits.gigabytes + ROOM) * 1e9)
        limits = (
            (resource.RLIMIT_AS, size),
            (resource.RLIMIT_FSIZE, MAX_FILES),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, MAX_OPEN),
        )
        for what, most in limits:
            with contextlib.suppress(ValueError, OSError):  # not every system knows each of them
                resource.setrlimit(what, (most, most))

    def _watch(self) -> None:
        """Ends the process as soon as it uses too much or takes too long, and also if it cannot be watched any more."""
        why = "could not be watched any longer"
        try:
            while not self._stop.wait(POLL):
                if time.monotonic() > self._deadline + POLL:
                    why = self._too_long()
                    return
                if reason := self._too_much():
                    why = reason
                    return
        except Exception as error:
            why += f" ({type(error).__name__})"
        finally:
            if not self._stop.is_set():
                self._kill(why)

    def _too_much(self) -> str:
        """Which limit on memory, processes or disk the process and its children break, if any."""
        import psutil

        memory, family = 0, []
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            family = [root, *root.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.Error):
                memory += member.memory_info().rss
        stored, names = self._stored([member.pid for member in family])
        memory += int(stored) if self._shut_off else 0  # there files are in memory, too
        self.peak = max(self.peak, memory / 1e9)
        if memory > self.limits.gigabytes * 1e9:
            return f"used more than {self.limits.gigabytes:g} GB of memory"
        if len(family) > MAX_PROCESSES:
            return f"started more than {MAX_PROCESSES} processes"
        if stored > MAX_FILES:
            return f"wrote more than {MAX_FILES / 1e9:g} GB of files, or folders too deep to look into"
        if names > MAX_NAMES:
            return f"made more than {MAX_NAMES:,} files"
        return ""

    def _stored(self, family: list[int]) -> tuple[float, int]:
        """Bytes and number of the files that the process has written, those without a name included."""
        if self._own:
            return 0.0, 0
        if not self._shut_off:
            return size_of(self.folder), 0
        for number in reversed(family):  # the last ones are within
            with contextlib.suppress(OSError):
                found = [os.statvfs(f"/proc/{number}/root{place}") for place in PLACES]
                sizes = [each.f_frsize * (each.f_blocks - each.f_bfree) for each in found]
                return float(sum(sizes)), sum(each.f_files - each.f_ffree for each in found)
        return 0.0, 0

    def _kill(self, why: str) -> None:
        """Ends the process and all that it started; the first reason is the one that counts."""
        import psutil

        self._why = self._why or why
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    """Yields what comes, until the end."""
    with contextlib.suppress(OSError, ValueError):  # it was closed on this side
        while part := os.read(stream.fileno(), 1 << 20):
            yield part


def clean_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Outputs of a cell in a form that a teacher's browser can show without running anything: text and pictures."""
    kept: list[dict[str, Any]] = []
    for output in outputs[: runner.MAX_PICTURES + 2] if isinstance(outputs, list) else []:
        if not isinstance(output, dict):
            continue
        if output.get("output_type") == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            kept.append(
                {"output_type": "stream", "name": name, "text": _whole(output.get("text"), 2 * runner.MAX_TEXT)}
            )
        elif isinstance(data := output.get("data"), dict):
            shown = {}
            if "text/plain" in data:
                shown["text/plain"] = _whole(data["text/plain"], runner.MAX_TEXT)
            if _is_picture(data.get("image/png")):
                shown["image/png"] = data["image/png"]
            kept.append({"output_type": "display_data", "data": shown, "metadata": {}})
    return kept


def _message(error: Any) -> str:
    """The text of an error, line by line in characters that only print."""
    return "\n".join(printable(line, 1000) for line in str(error)[:1000].splitlines())


def _whole(text: Any, most: int) -> str:
    """Text without half characters, which cannot be written to a file."""
    return text[:most].encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else ""


def _is_picture(text: Any) -> bool:
    """Whether this is a picture as notebooks hold it, and not what else could be put between the quotes of a page."""
    if not isinstance(text, str) or len(text) > runner.MAX_PICTURE:
        return False
    return text.startswith("iVBOR") and re.fullmatch(r"[A-Za-z0-9+/=\n]+", text) is not None

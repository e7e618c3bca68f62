"""Starts the process in which a student's code runs, shut off from everything, and watches it.

With bubblewrap (Linux) the process sees Python's own folders, read-only, an empty home and the files that were
handed in; no network, no other process, and nothing of the course. Without it the code runs as the user who grades:
`why_not` says so in words, and whoever calls must show them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from shared import side_by_side
from shared.classroom import runner, wire

MAX_ANSWER = 500_000_000  # bytes
MAX_FILES = 1_000_000_000  # bytes that may be written
MAX_PROCESSES = 64
POLL = 0.1  # seconds between two looks at the memory
ROOM = 12  # gigabytes of addresses on top of the memory limit: frameworks reserve far more than they use
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime")
PACKAGES = ("_resnet_twins", "resnet_torch", "resnet_tf", "shared")


class DiedError(Exception):
    """The student's process ended or had to be ended; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a submission may use: seconds for one cell or question and for all, gigabytes of memory."""

    cell_seconds: float = 60.0
    seconds: float = 120.0
    gigabytes: float = 4.0


@functools.cache
def why_not() -> str:
    """Why students' code cannot be shut off on this computer; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "there is no bubblewrap for this system, so students' code runs with all your rights"
    if shutil.which("bwrap") is None:
        return "bubblewrap is missing (Debian: apt install bubblewrap), so students' code runs with all your rights"
    try:
        trial = [*_bubblewrap(Path(tempfile.gettempdir())), sys.executable, "-c", "pass"]
    except OSError as error:
        return f"there is no place for temporary files ({error.strerror}), so nothing can be graded"
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"bubblewrap does not work here ({reason}), so students' code runs with all your rights"
    return ""


def _bubblewrap(folder: Path, hides: Iterable[str] = (), secret: Iterable[Path] = ()) -> list[str]:
    """The command that shuts a process off: it may write only in `folder`, which it sees as /home/student.

    The modules that `hides` names and the folders in `secret` are empty for it, wherever they lie.
    """
    prefixes = {
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *(sysconfig.get_paths()[k] for k in ("purelib", "stdlib")),
    }
    prefixes |= {site.getusersitepackages()} & set(sys.path)
    seen = [path for path in SYSTEM if Path(path).exists()] + sorted(prefixes, key=len)
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for shown in dict.fromkeys(seen):
        command += ["--ro-bind", shown, shown]
    executable = Path(sys.executable).resolve()
    if not any(executable.is_relative_to(path) for path in seen):
        command += ["--ro-bind", str(executable), str(executable)]
    for package in PACKAGES:
        spec = find_spec(package)
        home = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
        if spec and home.is_dir() and not any(home.is_relative_to(path) for path in seen):
            command += ["--ro-bind", str(home), f"/opt/packages/{package}"]
    for name in hides:
        for hidden in _homes(name):
            command += ["--tmpfs", hidden]
    for place in map(Path, secret):
        if any(place.is_relative_to(path) for path in seen):
            command += ["--tmpfs", str(place)]
    command += ["--bind", str(folder), "/home/student", "--chdir", "/home/student"]
    for name, value in _environment("/home/student", "/opt/packages").items():
        command += ["--setenv", name, value]
    return command


def _homes(module: str) -> list[str]:
    """The folders in which a module is seen inside the sandbox; `keras.applications` may be a part of a package."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    homes = []
    for location in (spec.submodule_search_locations or []) if spec else []:
        outside = Path(location).joinpath(*rest)
        if outside.is_dir():
            inside = Path("/opt/packages", *module.split(".")) if top in PACKAGES else outside
            within = any(outside.is_relative_to(path) for path in (sys.prefix, sys.base_prefix, *SYSTEM))
            homes.append(str(outside if within else inside))
    return homes


def _environment(home: str, packages: str) -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    return {
        **threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "PATH": os.defpath + os.pathsep + str(Path(sys.executable).parent),
        "PYTHONPATH": packages,
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


class Sandbox:
    """A student's process: runs cells, answers questions, and is ended when it breaks a limit.

    `files` are copied into its folder first, `secret` folders are never seen. With `own`, a folder, the code is that
    of whoever asks: it runs there, with nothing shut off. A context manager; after `DiedError` it can be asked nothing.
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
        self._stop = threading.Event()
        self._started = time.monotonic()

    def __enter__(self) -> Sandbox:
        self._place = tempfile.TemporaryDirectory(prefix="resnet-twins-grading-", ignore_cleanup_errors=True)
        root = Path(self._place.name)
        self.folder, box = self._own or root / "home", root / "box"
        self.folder.mkdir(exist_ok=True)
        box.mkdir()
        for name, path in self._files.items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        for module in (runner, wire, side_by_side):
            shutil.copyfile(str(module.__file__), box / Path(str(module.__file__)).name)
        if self._own or why_not():
            command = [sys.executable, "-B", str(box / "runner.py")]
            environment = dict(os.environ) | _environment(str(self.folder), os.pathsep.join(filter(None, sys.path)))
            if self._own:
                environment = dict(os.environ) | {"MPLBACKEND": environment["MPLBACKEND"]}
        else:
            command = [*_bubblewrap(self.folder, self._hides, self._secret), "--ro-bind", str(box), "/opt/box"]
            command += [sys.executable, "-B", "/opt/box/runner.py"]
            environment = {}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self.folder,
            env=environment or None,
            start_new_session=os.name == "posix",
            preexec_fn=self._limit if os.name == "posix" and not self._own else None,
        )
        self._pumper = threading.Thread(target=self._pump, args=[self._process.stdout], daemon=True)
        self._pumper.start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._receive(self.limits.seconds)
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._kill("")
        self._watcher.join()
        self._pumper.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._log.close()
        self._place.cleanup()

    def run_cell(self, source: str) -> dict[str, Any]:
        """Runs a cell: its outputs, and the error it ended with. Nothing of it can be trusted.

        Raises:
            DiedError: the process ended, or broke a limit and was ended.
        """
        reply = self._ask({"do": "cell", "source": source})
        outputs = reply.get("outputs") if isinstance(reply, dict) else None
        error = reply.get("error") if isinstance(reply, dict) else "unreadable"
        return {"outputs": clean_outputs(outputs), "error": None if error is None else str(error)[:1000]}

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
        left = self.limits.seconds - (time.monotonic() - self._started)
        try:
            wire.send(self._process.stdin, wire.to_bytes(request))  # type: ignore[arg-type]
        except OSError:
            raise DiedError(self._reason()) from None
        reply = self._receive(min(self.limits.cell_seconds, left))
        if reason := self._why or self._too_much():  # asked here as well: the cell to blame is this one, not the next
            self._kill(reason)
            raise DiedError(reason)
        return wire.from_bytes(reply)

    def _receive(self, seconds: float) -> bytes:
        """One message within `seconds`; the process is ended if it does not come."""
        end = time.monotonic() + max(0.0, seconds)
        head = self._read(wire.LENGTH.size, end)
        (length,) = wire.LENGTH.unpack(head)
        if length > MAX_ANSWER:
            self._kill(f"answered with {length:,} bytes, more than {MAX_ANSWER:,}")
            raise DiedError(self._why)
        return self._read(length, end)

    def _read(self, length: int, end: float) -> bytes:
        parts = [self._rest]
        missing = length - len(self._rest)
        while missing > 0:
            try:
                part = self._chunks.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                over = time.monotonic() - self._started >= self.limits.seconds
                limit = self.limits.seconds if over else self.limits.cell_seconds
                self._kill(f"ran for more than {limit:g} seconds" + (" in all" if over else ""))
                raise DiedError(self._why) from None
            if not part:
                raise DiedError(self._reason())
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self._rest = data[length:]
        return data[:length]

    def _pump(self, stream: BinaryIO) -> None:
        """Carries what the process sends into a queue with room for a little; an empty part is the end."""
        while not self._stop.is_set():
            part = os.read(stream.fileno(), 1 << 20)
            while not self._stop.is_set():
                try:
                    self._chunks.put(part, timeout=POLL)
                    break
                except queue.Full:
                    continue
            if not part:
                return

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
        """The last lines that the process wrote to its standard error, around Python: for a teacher's eyes."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4000))
        return self._log.read().decode("utf-8", "replace")

    def _limit(self) -> None:
        """Limits that the system itself keeps; runs in the new process."""
        import resource

        size = int((self.limits.gigabytes + ROOM) * 1e9)
        for what, most in ((resource.RLIMIT_AS, size), (resource.RLIMIT_FSIZE, MAX_FILES), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(ValueError, OSError):  # not every system knows each of them
                resource.setrlimit(what, (most, most))

    def _watch(self) -> None:
        """Ends the process as soon as it uses too much."""
        while not self._stop.wait(POLL):
            if reason := self._too_much():
                self._kill(reason)
                return

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
        self.peak = max(self.peak, memory / 1e9)
        if memory > self.limits.gigabytes * 1e9:
            return f"used more than {self.limits.gigabytes:g} GB of memory"
        if len(family) > MAX_PROCESSES:
            return f"started more than {MAX_PROCESSES} processes"
        if not self._own and _size(self.folder) > MAX_FILES:
            return f"wrote more than {MAX_FILES / 1e9:g} GB of files"
        return ""

    def _kill(self, why: str) -> None:
        """Ends the process and all that it started; the first reason is the one that counts."""
        import psutil

        self._why = self._why or why
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self._process.kill()
        self._process.wait()


def clean_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Outputs of a cell in a form that a teacher's browser can show without running anything: text and pictures."""
    kept: list[dict[str, Any]] = []
    for output in outputs if isinstance(outputs, list) else []:
        if not isinstance(output, dict):
            continue
        if output.get("output_type") == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            text = _whole(str(output.get("text", ""))[: 2 * runner.MAX_TEXT])
            kept.append({"output_type": "stream", "name": name, "text": text})
        elif isinstance(output.get("data"), dict):
            limits = {"text/plain": runner.MAX_TEXT, "image/png": runner.MAX_PICTURE}
            found = output["data"]
            data = {kind: _whole(str(found[kind])[:most]) for kind, most in limits.items() if kind in found}
            kept.append({"output_type": "display_data", "data": data, "metadata": {}})
    return kept[: runner.MAX_PICTURES + 2]


def _whole(text: str) -> str:
    """Text without half characters, which cannot be written to a file."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
    return total

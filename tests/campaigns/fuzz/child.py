"""A process that reads one input, within a limit of memory and of time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.campaigns.fuzz import ROOT
from tests.campaigns.fuzz.judge import (
    ACCEPTED,
    BROKE,
    PROCESS,
    READER,
    Outcome,
    judge,
    judge_command,
    snapshot,
)
from tests.campaigns.fuzz.kinds import Kind
from tests.campaigns.fuzz.seeds import Seeds

#: What a reader may take above what it began with, in bytes.
MOST_MEMORY = 700_000_000
#: Seconds of a processor, and seconds on the clock, after which an input counts as endless. A process of its own starts
#: first, and the clock also runs while other programs have the processor.
SECONDS, CLOCK = 10, 75
SECONDS_OF_COMMAND, CLOCK_OF_COMMAND = 40, 160
#: What Python tells before it does something that no reader of a file does.
NEVER = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.getaddrinfo",
)
#: What a run that was killed leaves in its folder, and whoever goes on with it takes away.
LEFT_BY_A_KILL = re.compile(r"/run/(run\.lock(\.txt)?|\.?tmp[^/]*)$")


def ours(about: tuple[Any, ...]) -> bool:
    """Whether a process that is started is Python with a file of this package, which is how HDF5 files are read."""
    return any(isinstance(part, list) and f"{ROOT}{os.sep}shared{os.sep}" in " ".join(map(str, part)) for part in about)


def limit(seconds: int, memory: int) -> None:
    """Bound what this process may take: memory, time, the size of a file, and no core."""
    (size,) = re.findall(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    resource.setrlimit(resource.RLIMIT_DATA, (int(size) * 1024 + memory,) * 2)  # a file that is mapped is no memory
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000_000,) * 2)


class Child:
    """A process that reads one input, and what becomes of it."""

    def __init__(self, wanted: tuple[str, int, str], kind: Kind, seeds: Seeds, seed: int, folder: Path) -> None:
        """Make the input that is `wanted` (its kind, number and route) below `folder`, and begin to read it."""
        self.name, self.number, self.route = wanted
        self.kind, self.seeds = kind, seeds
        self.place = folder / f"{self.name}-{self.number}"
        self.work, self.input = self.place / "work", self.place / "in"
        self.work.mkdir(parents=True)
        self.input.mkdir()
        rng = random.Random(f"{seed} {self.name} {self.number}")
        self.path = kind.make(seeds, rng, self.input)
        self.before = snapshot(self.input)
        self.printed = self.place / "printed"
        self.begun = time.monotonic()
        self.heard, self.silent = b"", False
        self.ended: tuple[int, resource.struct_rusage] | None = None
        self.pipe, writing = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                os.close(self.pipe)
                self.read(writing)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        os.close(writing)

    @property
    def deadline(self) -> float:
        """When the clock says that this takes too long."""
        return self.begun + (CLOCK_OF_COMMAND if self.route == PROCESS else CLOCK)

    def read(self, writing: int) -> None:
        """In the child: read the input, and write down what came of it. Does not return."""
        os.setpgid(0, 0)
        argv = None
        os.chdir(self.work)
        printed = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        if self.route != READER:
            argv = self.kind.argv(self.path, self.seeds)
        if argv is not None:
            self.command(argv, writing)
        limit(SECONDS, MOST_MEMORY)
        said: list[str] = []
        sys.addaudithook(lambda event, about: said.append(event) if event in NEVER and not ours(about) else None)
        result, text, detail = judge(self.kind.read, self.path)
        sys.stdout.flush()
        sys.stderr.flush()
        if said:
            result, text = BROKE, f"it does what no reader of a file does: {said[0]}"
        answer = {"route": READER, "result": result, "text": text[:2000], "detail": detail[-6000:]}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)

    def command(self, argv: list[str], writing: int) -> None:
        """In the child: become the command. Does not return; its exit code and what it printed say how it went."""
        os.write(writing, json.dumps({"route": self.route}).encode())
        limit(SECONDS_OF_COMMAND, MOST_MEMORY + 200_000_000)
        if self.route == PROCESS:
            os.environ["PYTHONPATH"] = str(ROOT)
            os.set_inheritable(writing, True)  # its end tells that the process has ended
            os.execv(sys.executable, [sys.executable, "-m", "shared", *argv])
        from shared.cli.main import main

        sys.argv = ["resnet-twins", *argv]
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def hear(self) -> None:
        """Take what the child says, or that it has said all."""
        part = os.read(self.pipe, 1 << 16)
        self.heard += part
        self.silent = not part

    def has_ended(self) -> bool:
        """Whether the child has said all and is gone, which one does a moment after the other."""
        if self.silent and self.ended is None:
            process, status, usage = os.wait4(self.process, os.WNOHANG)
            self.ended = (status, usage) if process else None
        return self.ended is not None

    def end(self) -> Outcome:
        """When the child is done, or its time is over: return what came of the input."""
        os.close(self.pipe)
        killed = self.ended is None
        if self.ended is None:
            os.killpg(self.process, signal.SIGKILL)
            _, *rest = os.wait4(self.process, 0)
            self.ended = (rest[0], rest[1])
        status, usage = self.ended
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it may have started
            os.killpg(self.process, signal.SIGKILL)
        said = json.loads(self.heard if self.heard and not killed else b"{}")
        outcome = Outcome(self.name, self.number, said.get("route", self.route), said.get("result", BROKE))
        outcome.text, outcome.detail = said.get("text", ""), said.get("detail", "")
        outcome.seconds = usage.ru_utime + usage.ru_stime
        outcome.memory = usage.ru_maxrss * 1024
        printed = self.printed.read_bytes() if self.printed.exists() else b""
        code = os.waitstatus_to_exitcode(status)
        if killed or code in (-signal.SIGXCPU, -signal.SIGKILL):
            outcome.result, outcome.text = BROKE, f"it takes more than {SECONDS} seconds, or for ever"
        elif code < 0:
            outcome.result, outcome.text = BROKE, f"it crashes: {signal.Signals(-code).name}"
        elif "result" in said:
            if printed:
                outcome.result, outcome.text = BROKE, "a reader prints"
        elif outcome.route == READER or "route" not in said:
            outcome.text = "it ends without a word"
        else:
            outcome.result, outcome.text = judge_command(code, printed, folder=self.path.is_dir())
        self.judge_files(outcome)
        if outcome.result == BROKE:
            outcome.detail += "\n" + printed[-3000:].decode("utf-8", "backslashreplace")
        return outcome

    def judge_files(self, outcome: Outcome) -> None:
        """Look for files that were written: none may be, but for what a command is asked for."""
        after = snapshot(self.input, self.work)
        changed = {name for name in {*self.before, *after} if self.before.get(name) != after.get(name)}
        changed -= {name for name in changed if name not in after and LEFT_BY_A_KILL.search(name)}
        if outcome.result == ACCEPTED and outcome.route != READER:
            changed -= {str(self.work / "out.safetensors")}
        if (
            self.path.is_dir()
            and self.path.name == "run"
            and (outcome.result == ACCEPTED or "training stopped" in outcome.text)
        ):
            changed = {name for name in changed if not name.startswith(f"{self.path}{os.sep}")}
        if changed and outcome.result != BROKE:
            outcome.detail = "\n".join(sorted(changed))
            outcome.result, outcome.text = BROKE, f"it writes or removes {len(changed)} files"

    def clean(self) -> None:
        """Take the input away."""
        shutil.rmtree(self.place, ignore_errors=True)

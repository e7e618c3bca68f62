"""Starts the processes of a distributed run on this machine, waits for them, and describes how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shared.backends import load_part
from shared.base.errors import InputError, LostProcessError, OtherProcessError, StoppedError, TrainingError
from shared.base.files import check_temporary, write_text
from shared.base.printable import printable
from shared.base.subprocesses import child_environment, ending_words, python_command
from shared.base.versions import twins_command
from shared.distributed.place import MOST_PROCESSES, OUTCOME, place_of
from shared.training.folder import holds_run

#: How often torchrun starts the processes anew after one was killed.
RESTARTS = 3
#: How long the others may take to end once a process has died.
GRACE_SECONDS = 30.0
#: What is shown of its last words.
SHOWN_LINES, MOST_LINE = 40, 2000
ENDINGS = {"InputError": InputError, "TrainingError": TrainingError, "StoppedError": StoppedError}


def check_processes(processes: int) -> None:
    """Raise `InputError` for a number of processes that makes no sense."""
    if not 1 <= processes <= MOST_PROCESSES:
        raise InputError(f"--processes is {processes}; allowed is 1 to {MOST_PROCESSES}")


def processes_to_start(framework: str, wanted: int | None, device: str) -> int:
    """Return how many processes this one must start here; 0 if it was started as one of several, or needs no others.

    wanted: None for one process for each GPU in PyTorch. One process of TensorFlow uses all GPUs of its machine.
    """
    place = place_of(framework)
    if place is not None:
        if wanted not in (None, place.size):
            raise InputError(f"--processes is {wanted}, but {place.size} processes were started already; leave it out")
        return 0
    if wanted is not None:
        check_processes(wanted)
        if framework == "tf" and device == "cuda":
            raise InputError(
                "--processes starts Keras on the CPU only; one process uses all GPUs of a machine: leave it out"
            )
        return wanted
    if framework == "tf":
        return 0
    return int(load_part(framework, "distributed").count_gpus(device)) or 1


def torchrun_command(processes: int, arguments: Sequence[str], logs: Path) -> list[str]:
    """Return the command that starts `resnet-twins ARGUMENTS` with PyTorch's own starter, torchrun.

    It leaves a folder for each start in `logs`, and never takes it away.
    """
    run = python_command("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1")
    run += [f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}", f"--log-dir={logs}"]
    return [*run, "-m", "shared", *arguments]


def tf_configs(ports: Sequence[int]) -> list[str]:
    """Return the text of `TF_CONFIG` for each of the workers that listen at these ports of this machine."""
    workers = [f"127.0.0.1:{port}" for port in ports]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(len(workers))
    ]


def free_ports(number: int) -> list[int]:
    """Return free ports of this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def launch(framework: str, processes: int, arguments: Sequence[str], run: Path) -> None:
    """Run `resnet-twins ARGUMENTS` in so many processes, and return when all have ended well.

    `run` is the folder of the run that they train. Raises what the processes ended with: `InputError`,
    `TrainingError`, `StoppedError`; and `LostProcessError` if one was killed and nobody started it again.
    """
    check_processes(processes)
    check_temporary()
    each = str(max(1, (os.cpu_count() or 1) // processes))  # cores for each, unless somebody knows better
    with tempfile.TemporaryDirectory(prefix="resnet-twins-") as folder:
        outcome = Path(folder) / "outcome.json"
        environment = {"OMP_NUM_THREADS": each, "TF_NUM_INTRAOP_THREADS": each, **child_environment()}
        environment[OUTCOME] = str(outcome)
        if framework == "torch":
            # Without it, processes that are started again may find the addresses of those that were killed.
            environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
            commands = [(torchrun_command(processes, arguments, Path(folder)), environment)]
        else:
            # All of them would take all GPUs; TensorFlow uses several GPUs of a machine from one process.
            environment["CUDA_VISIBLE_DEVICES"] = ""
            command = python_command("-m", "shared", *arguments)
            commands = [(command, {**environment, "TF_CONFIG": text}) for text in tf_configs(free_ports(processes))]
        children = [_Child(index, *started, Path(folder)) for index, started in enumerate(commands)]
        died, asked = _wait(children)
        if outcome.exists():
            told = json.loads(outcome.read_text(encoding="utf-8"))
            raise ENDINGS[told["kind"]](told["text"])
        if died is not None and asked:
            raise StoppedError(f"stopped; {_how_to_go_on(run, processes)}")
        if died is not None:
            died.show_errors()
            what = f"a process {died.ending()}, and the others were stopped"
            if framework == "torch":  # the child is torchrun, which has tried more than once
                what = f"the processes died, and again after each of {RESTARTS} restarts"
            raise LostProcessError(f"{what}; {_how_to_go_on(run, processes)}")


def _how_to_go_on(run: Path, processes: int) -> str:
    if not holds_run(run):
        return "nothing was saved yet, so start it once more"
    go_on = twins_command("train", "--resume", run, "--processes", str(processes))
    return f"what was saved is whole. Go on with: {go_on}"


@contextmanager
def outcome_told() -> Iterator[None]:
    """Tell the process that started this one, if it was `launch`, how it ends; the exit code is then 0.

    With another exit code torchrun would start all processes anew, though the same would happen again.
    """
    path = os.environ.get(OUTCOME)
    try:
        yield
    except LostProcessError:  # worth another try
        raise
    except (InputError, TrainingError, StoppedError) as error:
        if path is None:
            raise
        if not isinstance(error, OtherProcessError):
            kind = next(name for name, each in ENDINGS.items() if isinstance(error, each))
            write_text(path, json.dumps({"kind": kind, "text": str(error)}))
        raise SystemExit(0) from error


class _Child:
    """A started process, and what it wrote to standard error, which is shown only if it died."""

    def __init__(self, index: int, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.index = index
        self.errors = folder / f"errors-{index}.txt"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None if index == 0 else subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches it through `_wait`, once
            )

    def send(self, number: int) -> None:
        """Pass a signal on. Windows sends Ctrl-C to all processes of a console by itself, and cannot pass it on."""
        if sys.platform == "win32" and number == signal.SIGINT:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def ending(self) -> str:
        """Describe how it ended."""
        return ending_words(self.process.returncode)

    def show_errors(self) -> None:
        """Print the last lines that it wrote to standard error."""
        with self.errors.open("rb") as file:
            file.seek(max(0, self.errors.stat().st_size - SHOWN_LINES * MOST_LINE))
            lines = file.read().decode("utf-8", "replace").splitlines()
        for line in lines[-SHOWN_LINES:]:
            print(printable(line.expandtabs(), MOST_LINE), file=sys.stderr)


def _first_dead(children: list[_Child]) -> _Child | None:
    """Return a child that failed; rather one that was killed than one that ended because of that."""
    failed = [child for child in children if child.process.poll()]
    return min(failed, key=lambda child: child.process.returncode > 0) if failed else None


def _wait(children: list[_Child]) -> tuple[_Child | None, bool]:
    """Wait for all, and pass signals on to them. Once one has died, the others are stopped.

    Returns the one that died first, if any, and whether a signal asked all to stop.
    """
    asked = False

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for each in children:
            each.send(number)

    old = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    died: _Child | None = None
    deadline = float("inf")
    try:
        while any(child.process.poll() is None for child in children):
            died = died or _first_dead(children)
            if died is not None and deadline == float("inf"):
                deadline = time.monotonic() + GRACE_SECONDS
            if time.monotonic() > deadline:
                for child in children:
                    child.process.kill()
            time.sleep(0.05)
        return died or _first_dead(children), asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for child in children:  # only if something failed in here
            if child.process.poll() is None:
                child.process.kill()
            child.process.wait()

"""Several processes that train together: which one this is, and how they agree. Knows no framework."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError, OtherProcessError
from shared.run import Arrays, Run

T = TypeVar("T")
MOST_PROCESSES = 4096
START_AGAIN = "what was saved is whole. Start the same commands again to go on"


# -- who this process is


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of how many processes this one is. Number 0 is the chief."""

    rank: int
    size: int
    chief: str = ""  # the chief's address, as TF_CONFIG names it
    restarts: int = 0  # how often torchrun has started all processes anew, because one of them died


def place_of(framework: str, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place that torchrun (`RANK`, ...) or `TF_CONFIG` gives this process; None if it was started alone.

    Raises `InputError` if what they say cannot be right.
    """
    return {"torch": _torchrun_place, "tf": _tf_config_place}[framework](environment)


def _torchrun_place(environment: Mapping[str, str]) -> Place | None:
    if "RANK" not in environment and "WORLD_SIZE" not in environment:
        return None
    numbers = {}
    for name, usual in {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": "", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        text = environment.get(name, usual)
        if not text.isdecimal():
            raise InputError(
                f"the environment variable {name} is {text!r}; torchrun sets RANK, WORLD_SIZE and LOCAL_RANK to whole "
                "numbers: start the command with torchrun, or unset them"
            )
        numbers[name] = int(text)
    if numbers["RANK"] >= numbers["WORLD_SIZE"]:
        raise InputError(f"RANK is {numbers['RANK']}; it must be less than WORLD_SIZE, {numbers['WORLD_SIZE']}")
    return Place(rank=numbers["RANK"], size=numbers["WORLD_SIZE"], restarts=numbers["TORCHELASTIC_RESTART_COUNT"])


def _tf_config_place(environment: Mapping[str, str]) -> Place | None:
    if "TF_CONFIG" not in environment:
        return None
    text = environment["TF_CONFIG"]
    example = 'like {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG is no JSON ({error}); wanted is a text {example}") from error
    cluster = config.get("cluster") if isinstance(config, dict) else None
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise InputError(f"TF_CONFIG needs a cluster and a task, {example}; it is {text}")
    foreign = sorted(set(cluster) - {"chief", "worker"})
    if foreign or not cluster:
        raise InputError(
            f"TF_CONFIG has a cluster of {', '.join(map(str, foreign)) or 'nobody'}; here all processes are workers, "
            "one of which may be called chief"
        )
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
            raise InputError(f'TF_CONFIG: {kind} is {addresses}; wanted is a list of addresses like "10.0.0.1:2222"')
    if len(cluster.get("chief", [])) > 1:
        raise InputError(f"TF_CONFIG names {len(cluster['chief'])} chiefs; there is one, the others are workers")
    kind, index = task.get("type"), task.get("index")
    if kind not in cluster:
        raise InputError(f"TF_CONFIG: the task's type is {kind!r}; the cluster has {' and '.join(cluster)}")
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        raise InputError(f"TF_CONFIG: the task's index is {index!r}; allowed is 0 to {len(cluster[kind]) - 1}")
    chiefs = len(cluster.get("chief", []))
    rank = index + (chiefs if kind == "worker" else 0)
    chief = (cluster.get("chief") or cluster["worker"])[0]
    return Place(rank=rank, size=chiefs + len(cluster.get("worker", [])), chief=chief)


def _is_address(text: Any) -> bool:
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    return bool(host and colon and port.isdecimal() and 0 < int(port) < 65536)


def check_parts(batch_size: int, parts: int) -> None:
    """Raise `InputError`, with the nearest sizes that fit, if a batch cannot be cut into equal parts."""
    if batch_size % parts:
        below, above = batch_size // parts * parts, -(-batch_size // parts) * parts
        sizes = " or ".join(f"--set batch_size={size}" for size in (below, above) if size)
        raise InputError(
            f"batch_size is {batch_size}, which {parts} processes or GPUs cannot share equally; try {sizes}"
        )


class ChiefWatch(threading.Thread):
    """Ends this process when nobody answers at the chief's address any more.

    TensorFlow tells the chief that a process is gone; the others it lets wait for a dead chief for ever, in a call
    that nothing interrupts.
    """

    def __init__(self, address: str, seconds_between: float = 5.0, most_failures: int = 3) -> None:
        super().__init__(daemon=True, name="chief-watch")
        host, _, port = address.rpartition(":")
        self.address, self.seconds_between, self.most_failures = (host, int(port)), seconds_between, most_failures
        self.enough = threading.Event()

    def run(self) -> None:
        """Knock now and then; after some failures in a row, end the process."""
        failures = 0
        while failures < self.most_failures:
            if self.enough.wait(self.seconds_between):
                return
            try:
                socket.create_connection(self.address, timeout=self.seconds_between).close()
                failures = 0
            except OSError:
                failures += 1
        print(f"Error: the chief at {self.address[0]}:{self.address[1]} is gone; {START_AGAIN}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)  # the main thread waits where no exception reaches it, and only the chief has files to lose


# -- what they agree on


class Team:
    """The processes that train together, seen from one of them. Process 0, the chief, alone writes, tests and speaks.

    Each framework adds `sum`, the one thing that needs a network; the rest is built on it. All processes must make
    the same calls in the same order: who waits alone waits long.
    """

    #: Whether a BatchNorm sees the images of this process only, and not the whole batch.
    norms_by_part = False

    def __init__(self, place: Place, strategy: str, parts: int = 0) -> None:
        self.rank, self.size, self.restarts = place.rank, place.size, place.restarts
        self.strategy_name = strategy
        self.parts = parts or place.size  # into how many parts a batch is cut; with several GPUs a process has several
        self.chief = self.rank == 0

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the values (n,) of all processes."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave the team."""

    def part(self, number: int, batch_size: int) -> slice:
        """Return which images of a batch are part `number`'s."""
        size = batch_size // self.parts
        return slice(number * size, (number + 1) * size)

    def from_chief(self, number: float) -> float:
        """Return the chief's `number` in every process."""
        return float(self.sum(np.array([number if self.chief else 0], np.float64))[0])

    def array_from_chief(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the chief's array in every process; the others give one of the same shape."""
        values = array.ravel().astype(np.float64)
        return self.sum(values if self.chief else np.zeros_like(values)).reshape(array.shape)

    def text_from_chief(self, text: str) -> str:
        """Return the chief's text in every process."""
        letters = np.frombuffer(text.encode(), np.uint8).astype(np.float64)
        length = int(self.from_chief(len(letters)))
        values = self.array_from_chief(letters if self.chief else np.zeros(length))
        return values.astype(np.uint8).tobytes().decode()

    def check_same(self, text: str, what: str) -> None:
        """Raise `InputError` in every process if the text is not the same in all of them."""
        own = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)  # 48 bits: float64 holds 53
        differ = self.sum(np.array([float(own != self.from_chief(own))]))[0]
        if differ:
            raise InputError(
                f"{differ:.0f} of {self.size} processes have other {what} than the chief; give all of them the same"
            )

    def agree(self, action: Callable[[], T]) -> T:
        """Return `action()`. If it fails in one process, all end: that one with its own error, nobody waits for it."""
        return self._perform(action, lambda _: [])[0]

    def after_step(self, run: Run, loss: float, correct: int, state: Callable[[], Arrays]) -> bool:
        """Do `run.after_step` in the chief. Returns True, in every process, if training is to stop here."""

        def note() -> bool:
            if self.chief:
                return run.after_step(loss, correct, state)
            run.step += 1
            return False

        return self._decide(run, note)

    def after_epoch(
        self, run: Run, predict: Callable[[Iterator[Any]], NDArray[Any]], state: Callable[[], Arrays]
    ) -> bool:
        """Do `run.after_epoch` in the chief. Returns True, in every process, if training is to stop here."""
        return self._decide(run, lambda: self.chief and run.after_epoch(predict, state))

    def _decide(self, run: Run, action: Callable[[], bool]) -> bool:
        _, (stop, wishes) = self._perform(action, lambda stop: [float(stop), float(run.stop_requested)])
        # Whoever got a signal: the chief saves and stops all of them after its next step.
        run.stop_requested = run.stop_requested or wishes > 0
        return bool(stop > 0)

    def _perform(self, action: Callable[[], T], tell: Callable[[T], list[float]]) -> tuple[T, NDArray[np.float64]]:
        """Return `action()` and the sums of what it makes the processes `tell`, in one message."""
        said = np.zeros(3)
        said[0] = 1.0  # failed, unless ...
        try:
            result = action()
            told = tell(result)
            said[: 1 + len(told)] = [0.0, *told]
        finally:  # also on the way out with an error: the others must hear of it
            sums = self.sum(said)
        if sums[0]:
            raise OtherProcessError("another process failed, and its own output says why; so training ended here too")
        return result, sums[1 : 1 + len(told)]

"""Several processes that train together: which one this is, and how they agree. Knows no framework."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError, OtherProcessError
from shared.distributed.place import START_AGAIN, Place
from shared.networks.canonical import Arrays
from shared.training.run import Run

T = TypeVar("T")


def check_parts(batch_size: int, parts: int) -> None:
    """Raise `InputError`, with the nearest sizes that fit, if a batch cannot be cut into equal parts."""
    if batch_size % parts:
        below, above = batch_size // parts * parts, -(-batch_size // parts) * parts
        sizes = " or ".join(f"--set batch_size={size}" for size in (below, above) if size)
        raise InputError(
            f"batch_size is {batch_size}, which {parts} processes or GPUs cannot share equally; try {sizes}"
        )


class ChiefWatch(threading.Thread):
    """Ends this process when no process answers at the chief's address any more.

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
    the same calls in the same order: a process that makes another call waits for ever.
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
        # Whichever process got a signal, the chief saves and stops all of them after its next step.
        run.stop_requested = run.stop_requested or wishes > 0
        return bool(stop > 0)

    def _perform(self, action: Callable[[], T], tell: Callable[[T], list[float]]) -> tuple[T, NDArray[np.float64]]:
        """Return `action()` and the sums of what it makes the processes `tell`, in one message."""
        try:
            result = action()
        except BaseException:
            self.sum(np.array([1.0, 0.0, 0.0]))  # the others must hear of it
            raise
        told = tell(result)
        sums = self.sum(np.array([0.0, *told, 0.0, 0.0])[:3])
        if sums[0]:
            raise OtherProcessError("another process failed, and its own output says why; so training ended here too")
        return result, sums[1 : 1 + len(told)]

"""Ctrl-C and `kill` while training: a wish to stop, not an end in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopSignals:
    """Calls `request` when the process is asked to stop, from `take` until `give_back`."""

    def __init__(self, request: Callable[[], None]) -> None:
        self._request = request
        self._old: dict[int, Any] = {}

    def take(self) -> None:
        """Take the signals. Only the main thread may; in another one they stay as they are."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._received)

    def give_back(self) -> None:
        """Leave the signals to those who had them before."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._request()

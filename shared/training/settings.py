"""How the machine is used for a run."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shared.backends import DEVICES
from shared.base.checks import check_whole
from shared.base.errors import InputError
from shared.base.machine import most_threads

MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the machine is used for a run; the recipe says what is trained.

    device: "auto" takes a GPU if there is one. channels_last: PyTorch's memory layout, None: where it is faster.
    deterministic: forbid operations whose result depends on the order of threads. save_every: steps between two
    saved states, besides the one after every epoch; 0 for none. threads: 0 leaves it to the framework.
    """

    device: str = "auto"
    compile: bool = False
    channels_last: bool | None = None
    deterministic: bool = False
    save_every: int = 0
    threads: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.device not in DEVICES:
            raise InputError(f"--device is {self.device!r}; allowed is one of {', '.join(DEVICES)}")
        for name in ("compile", "channels_last", "deterministic", "tensorboard"):
            value = getattr(self, name)
            if not isinstance(value, bool) and (name, value) != ("channels_last", None):
                raise InputError(f"--{name.replace('_', '-')} is {value!r}; allowed is True or False")
        for name, most in (("save_every", 10**9), ("threads", MOST_THREADS)):
            check_whole(f"--{name.replace('_', '-')}", getattr(self, name), 0, most)


def check_threads(settings: Settings) -> None:
    """Raise `InputError` for more threads than make sense here; a run may come from a larger computer."""
    if settings.threads > most_threads():
        raise InputError(
            f"--threads is {settings.threads}; this computer has {os.cpu_count()} cores, and allowed are up to "
            f"{most_threads()}: choose fewer, also for a run that goes on, or 0 to leave it to the framework"
        )

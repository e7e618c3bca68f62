"""Starts Python processes that find this package, whatever lies in the folder, and describes how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from _resnet_twins import HOME
from shared.base.printable import printable

#: From here on Windows' exit codes are the names of crashes.
WINDOWS_STATUS = 0xC0000000
#: Characters that are kept of what a process says at its end.
MOST_REASON = 2000


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this Python with `arguments`; start it with `child_environment()`."""
    return [sys.executable, *arguments]


def child_environment(**changes: str) -> dict[str, str]:
    """Return the variables for a process that must find this very package, and not a file called `shared`.

    `-P` would do for the folder in which the command was typed, but not for one in PYTHONPATH, nor for grandchildren.
    """
    installed = any(HOME.glob("resnet_twins-*.dist-info"))  # where Python looks anyway, but behind its own library
    path = os.pathsep.join(filter(None, ["" if installed else str(HOME), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **changes}


def ending_words(code: int) -> str:
    """Describe how a process ended that did not end well."""
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    if code >= WINDOWS_STATUS:
        return f"crashed (Windows calls it {code:#x})"
    return f"died (exit code {code})"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that is over. `output`: what it printed, if all went well; `why`: the reason, if it did not.

    died: it ended without an error of Python's; killed_by: the signal that ended it, or 0.
    """

    output: str = ""
    why: str = ""
    died: bool = False
    killed_by: int = 0

    @property
    def good(self) -> bool:
        """Whether all went well."""
        return not self.why


def try_out(*arguments: str, seconds: float) -> Ended:
    """Run Python with `arguments` in a process of its own, so that a crash in it is an answer and not the end."""
    try:
        done = subprocess.run(
            python_command(*arguments),
            env=child_environment(PYTHONIOENCODING="utf-8"),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended(why=f"did not answer within {seconds:g} seconds", died=True)
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    code = done.returncode
    if code == 0:
        return Ended(output=output)
    last = (errors.strip().splitlines() or [""])[-1].strip()
    if code == 1 and last:
        return Ended(why=printable(last, MOST_REASON))
    # What stands on the screen after a crash was written before it, and says nothing about it.
    return Ended(why=ending_words(code), died=True, killed_by=max(0, -code))

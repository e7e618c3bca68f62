"""A control group for the sandbox, where the system gives one: then Linux itself counts all the memory of a process."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

SYSTEMD = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")  # where the user's own service manager is found
PATIENCE = 10  # seconds that it gets for an answer


def scope(gigabytes: float, processes: int) -> tuple[list[str], dict[str, str]]:
    """What goes in front of a command that gets a control group of its own, and the environment to start it in.

    Nothing goes there where systemd gives none. The command itself sees `PATH` and no other variable.
    """
    clean = {"PATH": os.defpath}
    found = _systemd()
    if not found:
        return [], clean
    limits = [f"MemoryMax={int(gigabytes * 1e9)}", "MemorySwapMax=0", f"TasksMax={20 * processes}"]
    options = [part for limit in limits for part in ("--property", limit)]
    known = {name: os.environ[name] for name in SYSTEMD if name in os.environ}
    return [*found, *options, "--", *_cleaned(clean)], clean | known


def _cleaned(environment: dict[str, str]) -> list[str]:
    return [str(shutil.which("env")), "-i", *(f"{name}={value}" for name, value in environment.items())]


@functools.cache
def _systemd() -> list[str]:
    """The command that starts another one in a control group; empty if that does not work here."""
    program = shutil.which("systemd-run")
    if program is None or shutil.which("env") is None:
        return []
    command = [program, *(["--user"] if os.geteuid() else []), "--scope", "--quiet", "--collect"]
    try:
        done = subprocess.run(
            [*command, "--property", "MemoryMax=1G", "--", "true"], capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return command if done.returncode == 0 else []

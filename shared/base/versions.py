"""Which versions this package was tested with, which are installed, and the commands that install the missing ones."""

from __future__ import annotations

import importlib.util
import os
import shlex
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: The Pythons for which all packages exist.
PYTHON_LOW, PYTHON_HIGH = (3, 11), (3, 13)
PYTHONS = "3.11 to 3.13"
#: The tested versions of what a user may have to install; `constraints.txt` holds the same ones, a test sees to it.
TESTED = {
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "matplotlib": "3.11.2",
    "jupyterlab": "4.6.6",
    "ipython": "9.18.1",
    "psutil": "7.2.2",
    "pillow": "13.0.0",
    "pooch": "1.9.0",
    "tensorboard": "2.21.0",
    "tensorboardX": "2.6.5",
    "nbgrader": "0.9.6",
    "jupytext": "1.19.6",
    "pebble": "5.2.3",
}
#: What each extra installs.
EXTRAS = {
    "torch": ("torch",),
    "tf": ("tensorflow", "keras"),
    "notebooks": ("jupyterlab",),
    "check": ("ipython", "psutil"),
    "figures": ("matplotlib",),
    "images": ("pillow",),
    "download": ("pooch",),
    "bench": ("torchvision",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "classroom": ("nbgrader", "jupytext", "pebble"),
}


def installed_version(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    from importlib import metadata  # which takes as long to load as all else here together

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_installed(module: str) -> bool:
    """Return whether `import module` would find something, without importing it."""
    return importlib.util.find_spec(module) is not None


def install_command(extra: str, *, anew: bool = False) -> str:
    """Return the command that installs what `extra` ("torch", "tf", "figures", ...) stands for; `anew`: once more."""
    force = ("--force-reinstall",) if anew else ()
    return pip_command("install", *force, *(f"{package}=={TESTED[package]}" for package in EXTRAS[extra]))


def how_to_install(extra: str) -> str:
    """Return how to get what `extra` stands for: a command, or why there is none for this Python."""
    if extra == "tf" and sys.version_info[:2] > PYTHON_HIGH:
        return f"there is no TensorFlow for Python {sys.version_info[0]}.{sys.version_info[1]} yet: use {PYTHONS}"
    return f"install it with: {install_command(extra)}"


def pip_command(*arguments: str) -> str:
    """Return the command that runs pip for this Python."""
    return shell_line([sys.executable, "-m", "pip", *arguments])


def shell_line(words: Sequence[str]) -> str:
    """Return a command as one types it: paths with spaces, quotes and the like in the quotes that the system wants.

    It only prints, whatever is in a word, and still means the same when it is pasted.
    """
    return subprocess.list2cmdline(words) if sys.platform == "win32" else " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quote a word for a shell; where signs in it do not print, or may be lost, in the way that spells out bytes."""
    if word.isprintable() and "  " not in word and word == word.strip():
        return shlex.quote(word)
    kept = string.ascii_letters + string.digits + "/._-+=:,@%"
    signs = (sign if sign in kept else "".join(f"\\x{byte:02x}" for byte in os.fsencode(sign)) for sign in word)
    return f"$'{''.join(signs)}'"


def twins_command(*words: str | Path) -> str:
    """Return a command of this package as one types it."""
    return shell_line(["resnet-twins", *(_as_argument(word) for word in words)])


def _as_argument(word: str | Path) -> str:
    """A path that begins with a dash would be taken for an option."""
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)


def unset_command(variable: str) -> str:
    """Return what takes an environment variable away, in the words of the system's shells."""
    if sys.platform == "win32":
        return f"set {variable}= (in PowerShell: Remove-Item Env:{variable})"
    return f"unset {variable}"

"""The way in: notices where a file of the user's hides this package, and starts the command.

It stands outside of `shared`, and imports nothing of it, because `shared` is the name that such a file usually has.

PYTEST_DONT_REWRITE: without this word pytest, started where the package is imported already, warns of it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
#: The packages that belong together.
OURS = ("shared", "resnet_torch", "resnet_tf")


def check_names(*names: str) -> None:
    """Raise `ImportError`, in one line with what helps, if Python finds another file under the name of a package."""
    for name in names:
        other = in_the_way(name)
        if other is not None:
            raise ImportError(
                f"{other} is in the way: it hides the package {name} of resnet-twins, in {HOME}; {_remedy(other)}"
            )


def in_the_way(name: str) -> Path | None:
    """Return the file or folder that Python takes for our package `name`, if it is not ours."""
    ours = HOME / name / "__init__.py"
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # something without a file, put into `sys.modules`
        return None
    if spec is None or spec.origin is None or not ours.exists() or Path(spec.origin).resolve() == ours:
        return None
    return _file_of(spec.origin)


def hiding(module: str) -> Path | None:
    """Return the file or folder that Python takes for `module`, if it hides one that was installed."""
    finds = [(entry, importlib.machinery.PathFinder.find_spec(module, [entry or "."])) for entry in sys.path]
    found = [(Path(entry), spec.origin) for entry, spec in finds if spec is not None and spec.origin is not None]
    if not found or is_installed_in(found[0][0], module):
        return None
    return _file_of(found[0][1]) if any(is_installed_in(folder, module) for folder, _ in found[1:]) else None


def is_installed_in(folder: Path, module: str) -> bool:
    """Return whether an installer put `module` into `folder`: then its description lies beside it."""
    return any(folder.glob(f"{module}*-info"))


def _file_of(origin: str) -> Path:
    """Return the file of a module, the folder of a package."""
    found = Path(origin).resolve()
    return found.parent if found.name == "__init__.py" else found


def _remedy(other: Path) -> str:
    folders = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if other.parent in folders:
        return "rename it, or take its folder out of PYTHONPATH"
    if "pytest" in sys.modules:
        return "rename it, or run: python -P -m pytest --import-mode=importlib"
    if "ipykernel" in sys.modules:
        return "rename it, and restart the kernel"
    if getattr(sys.modules.get("__main__"), "__spec__", None) is None:  # a script, not `python -m`
        return "rename it, or run: python -P SCRIPT.py"
    return "rename it"


def main() -> None:
    """Run the command `resnet-twins`."""
    try:
        check_names("shared")
    except ImportError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    from shared.cli.main import main as command

    command()

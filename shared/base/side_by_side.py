"""Lets TensorFlow and PyTorch work in one process where PyTorch brings triton, its compiler for GPUs.

TensorFlow 2.20 and 2.21 load themselves so that every library that comes later finds their symbols, LLVM's among them
(tensorflow issue 124205). triton 3.7 and later has an LLVM of its own, calls TensorFlow's instead, and the process
dies. PyTorch loads triton late, with the first optimiser. So triton is loaded first; where TensorFlow was first,
PyTorch goes without it.

TensorFlow 2.22 is mended (pull request 124230): it comes without `FLAGS`, and its release candidate was seen to load
beside triton in any order. Once pyproject.toml asks for 2.22, this file can go. It imports only Python: a sandbox
runs it alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from pathlib import Path

#: The file that makes TensorFlow show its symbols, inside of its package.
FLAGS = "python/pywrap_dlopen_global_flags.py"
#: The first triton that calls them, and what its builds are called.
CLASHES_FROM = (3, 7)
BUILDS = ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-rocm", "pytorch-triton-xpu", "triton-xpu")
LIBRARY = "triton._C.libtriton"
WARNING = (
    "TensorFlow was imported before PyTorch had loaded triton. Loaded now, triton would crash this process, so PyTorch "
    "goes without it: torch.compile makes no code for GPUs. To keep it, import resnet_torch or resnet_tf before "
    "tensorflow and keras"
)


def make_safe(*, load: bool = True) -> None:
    """Load triton if TensorFlow is installed and would clash with it; take it from PyTorch if TensorFlow came first.

    With `load=False` nothing is loaded. Call it before PyTorch or TensorFlow is imported.
    """
    if LIBRARY in sys.modules or not clashes():
        return
    if "tensorflow.python" in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]  # what Python takes for "not installed"
        warnings.warn(WARNING, RuntimeWarning, stacklevel=3)
    elif load:
        with contextlib.suppress(Exception):  # a triton that does not import is none for PyTorch either
            importlib.import_module(LIBRARY)


def clashes() -> bool:
    """Return whether the TensorFlow and the triton that are installed, if they are, cannot be loaded in any order."""
    if not sys.platform.startswith("linux"):
        return False
    tensorflow = _folder("tensorflow")
    return tensorflow is not None and (tensorflow / FLAGS).exists() and _triton_calls_them()


def _folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # something in `sys.modules` that is no module from a file
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _triton_calls_them() -> bool:
    if _folder("triton") is None:
        return False
    for build in BUILDS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
            major, minor = importlib.metadata.version(build).split(".")[:2]
            return (int(major), int(minor)) >= CLASHES_FROM
    return True  # of a build with another name nobody knows; to load it first does no harm

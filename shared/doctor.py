"""Says what is installed, what works, what is missing, and the exact command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared import __version__
from shared.backends import BACKENDS, load_backend, missing_modules
from shared.data import data_cache
from shared.errors import MissingPackageError
from shared.machine import has_bfloat16, processor
from shared.versions import EXTRAS, TESTED, install_command, installed_version

PYTHON_LOW, PYTHON_HIGH = (3, 11), (3, 13)
GOOD, NOTE, BAD = "ok", "note", "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is "ok", "note" (nothing is broken) or "broken"; `remedy` mends it."""

    subject: str
    state: str
    text: str
    remedy: str = ""


def _python() -> Finding:
    version = sys.version_info[:2]
    text = f"{platform.python_version()} at {sys.executable}"
    allowed = f"{'.'.join(map(str, PYTHON_LOW))} to {'.'.join(map(str, PYTHON_HIGH))}"
    if PYTHON_LOW <= version <= PYTHON_HIGH:
        return Finding("Python", GOOD, text)
    return Finding(
        "Python", BAD, f"{text}; supported is {allowed}", f"make a virtual environment with Python {allowed}"
    )


def _package(name: str, extra: str | None) -> Finding:
    version = installed_version(name)
    if version is None:
        return Finding(name, NOTE, "not installed", install_command(extra) if extra else "")
    tested = TESTED.get(name)
    same = tested is None or version.split("+")[0] == tested
    return Finding(name, GOOD, version if same else f"{version} (tested with {tested})")


def _framework(name: str) -> Finding:
    title = BACKENDS[name][2]
    if missing_modules(name):
        absent = ", ".join(missing_modules(name))
        return Finding(title, NOTE, f"{absent} not installed: this twin is not available", install_command(name))
    try:
        devices = load_backend(name).devices()
    except MissingPackageError as error:
        text, _, remedy = str(error).partition("; install it anew with: ")
        return Finding(title, BAD, text, remedy)
    except Exception as error:  # a framework may break in any way while it starts; that is what is looked for here
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Finding(title, BAD, f"does not start: {reason}", install_command(name))
    return Finding(title, GOOD, "works; " + "; ".join(devices))


def _keras_settings() -> Iterator[Finding]:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend not in ("tensorflow", "torch", "jax"):
        yield Finding(
            "KERAS_BACKEND", BAD, f"is {backend!r}; allowed is tensorflow, torch or jax", "unset KERAS_BACKEND"
        )
    elif backend != "tensorflow":
        text = f"is {backend}: Keras predicts the same, but gradients and float64 need tensorflow"
        yield Finding("KERAS_BACKEND", NOTE, text, "unset KERAS_BACKEND")
    if os.environ.get("TF_USE_LEGACY_KERAS", "0") not in ("0", "", "False", "false"):
        text = "is set: tf.keras is then Keras 2, which this package does not use"
        yield Finding("TF_USE_LEGACY_KERAS", NOTE, text, "unset TF_USE_LEGACY_KERAS")
    keras = installed_version("keras")
    if keras and keras.split(".")[0] in ("0", "1", "2"):
        yield Finding("keras", BAD, f"{keras} is too old: Keras 3 is needed", install_command("tf"))


def _processor() -> Finding:
    name, _ = processor()
    if has_bfloat16():
        text = f"{name}: computes in bfloat16 as well: train --precision bfloat16 is faster from ResNet-20 on"
    else:
        text = f"{name}: has no bfloat16 of its own, so --precision bfloat16 would be slower than float32"
    return Finding("processor", GOOD, f"{text}; PyTorch's channels-last layout is chosen by itself")


def _sandbox() -> Finding:
    from shared.classroom.sandbox import why_not

    reason = why_not()
    if reason:
        return Finding("grading", NOTE, reason, "sudo apt install bubblewrap" if "missing" in reason else "")
    return Finding("grading", GOOD, "students' code runs in a sandbox (bubblewrap)")


def _data() -> Iterator[Finding]:
    named = os.environ.get("RESNET_TWINS_DATA")
    if named and not (Path(named).is_dir() and os.access(named, os.R_OK | os.X_OK)):
        remedy = "export RESNET_TWINS_DATA=FOLDER, or unset RESNET_TWINS_DATA"
        yield Finding("data folder", BAD, f"{named} (from $RESNET_TWINS_DATA) is no readable folder", remedy)
    elif named:
        yield Finding("data folder", GOOD, f"{named} (from $RESNET_TWINS_DATA)")
    folder = data_cache()
    if not folder.exists():
        yield Finding("data cache", GOOD, f"{folder} (not there yet, made when first needed)")
        return
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"make {folder} a folder that you can write to"
        yield Finding("data cache", BAD, f"{folder} is no folder that can be written to", remedy)
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield Finding("data cache", GOOD, f"{folder} ({size / 1e6:.0f} MB)")


def examine() -> Iterator[Finding]:
    """Yield the findings, cheap ones first. Importing the frameworks takes some seconds."""
    where = Path(__file__).resolve().parents[1]
    yield Finding("resnet-twins", GOOD, f"{__version__} at {where}")
    yield _python()
    yield Finding("system", GOOD, f"{platform.platform()}, {os.cpu_count()} cores")
    yield _processor()
    for name in ("numpy", "safetensors", "rich", "typer"):
        yield _package(name, None)
    for extra, names in EXTRAS.items():
        for name in names:
            yield _package(name, extra)
    yield from _keras_settings()
    for name in BACKENDS:
        yield _framework(name)
    yield from _data()
    if installed_version("nbgrader"):
        yield _sandbox()
    if importlib.metadata.packages_distributions().get("shared", ["resnet-twins"]) != ["resnet-twins"]:
        owners = importlib.metadata.packages_distributions()["shared"]
        text = f"the name `shared` also belongs to {', '.join(sorted(set(owners) - {'resnet-twins'}))}"
        yield Finding("package shared", BAD, text, "use a virtual environment of its own for resnet-twins")

"""Says what is installed, what works, what is missing, and the exact command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _resnet_twins import HOME, OURS, hiding, in_the_way, is_installed_in
from shared import __version__
from shared.backends import BACKENDS, missing_modules
from shared.base.errors import InputError
from shared.base.files import check_temporary
from shared.base.machine import has_bfloat16, processor
from shared.base.side_by_side import BUILDS, clashes
from shared.base.versions import (
    EXTRAS,
    PYTHON_HIGH,
    PYTHON_LOW,
    PYTHONS,
    TESTED,
    how_to_install,
    install_command,
    installed_version,
    is_installed,
    pip_command,
    unset_command,
)
from shared.cli.trial import Trial, attempt, try_modules
from shared.data.places import data_cache

GOOD, NOTE, BAD = "ok", "note", "broken"
#: The modules of packages that are called otherwise.
MODULES = {"pillow": "PIL", "ipython": "IPython"}
#: What starts a script may be called by mistake, and then hides what it imports.
USUAL_NAMES = ("torch", "tensorflow", "keras", "numpy", "torchvision", "matplotlib")


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
    remedy = f"make a virtual environment with Python {PYTHONS}"
    if version < PYTHON_LOW:
        return Finding("Python", BAD, f"{text}; supported is {PYTHONS}", remedy)
    if version > PYTHON_HIGH:
        return Finding("Python", NOTE, f"{text}; for this one there is no TensorFlow yet, only PyTorch", remedy)
    return Finding("Python", GOOD, text)


def _package(name: str, extra: str | None) -> Finding:
    version = installed_version(name)
    if version is None:
        return Finding(name, NOTE, "not installed", _install(extra) if extra else "")
    tested = TESTED.get(name)
    same = tested is None or version.split("+")[0] == tested
    return Finding(name, GOOD, version if same else f"{version} (tested with {tested})")


def _extras() -> Iterator[Finding]:
    """What the extras bring is imported as well; the frameworks are tried on their own."""
    wanted = [name for extra, names in EXTRAS.items() if extra not in BACKENDS for name in names]
    modules = {name: MODULES.get(name, name) for name in wanted if installed_version(name)}
    why_not = try_modules(list(modules.values())) if modules else {}
    for extra, names in EXTRAS.items():
        for name in names:
            found, why = _package(name, extra), why_not.get(modules.get(name, ""), "")
            yield _broken(found, why, extra) if why else found


def _broken(found: Finding, why: str, extra: str) -> Finding:
    text = f"{found.text}, but it does not import ({why})"
    if "torchvision::nms does not exist" not in why:
        return Finding(found.subject, BAD, text, install_command(extra, anew=True))
    remedy = "for torchvision: take it and PyTorch from the same place; pytorch.org shows the command for both"
    text = f"{text}: it was built for another PyTorch. Only `bench` uses it, and helps itself"
    return Finding(found.subject, NOTE, text, remedy)


def _frameworks() -> Iterator[Finding]:
    """Try the installed frameworks together, as most commands use them; if that fails, each alone."""
    for name, framework in BACKENDS.items():
        if absent := ", ".join(missing_modules(name)):
            yield Finding(framework.title, NOTE, f"{absent} not installed: this twin is not available", _install(name))
    names = [name for name in BACKENDS if not missing_modules(name)]
    if not names:
        return
    together = attempt("frameworks", names[::-1])  # TensorFlow first: the order that crashes, where one does
    alone = {name: together if together.good or len(names) == 1 else attempt("frameworks", [name]) for name in names}
    yield from (_framework(name, tried) for name, tried in alone.items())
    if not together.good and all(tried.good for tried in alone.values()):
        yield _pair(together)


def _install(extra: str) -> str:
    return how_to_install(extra).removeprefix("install it with: ")


def _framework(name: str, tried: Trial) -> Finding:
    title = BACKENDS[name].title
    if tried.good:
        return Finding(title, GOOD, "works; " + "; ".join(tried.results[name]))
    if tried.killed_by == getattr(signal, "SIGILL", -1) and "avx" not in processor()[1]:
        text = "its build needs a processor with AVX instructions, which this one does not have"
        return Finding(title, BAD, text, "use the other framework, or another computer")
    remedy = "" if tried.says_what_mends else tried.remedy or install_command(name, anew=True)
    return Finding(title, BAD, f"does not start: {tried.why}", remedy)


def _pair(tried: Trial) -> Finding:
    text = f"PyTorch and Keras work alone, but not both in one process: {tried.why}"
    if is_installed("triton"):
        build = next((name for name in BUILDS if installed_version(name)), "triton")
        text += "; triton, PyTorch's compiler for GPUs, is the usual reason, and PyTorch works without it"
        return Finding("both together", BAD, text, pip_command("uninstall", "-y", build))
    return Finding("both together", BAD, text, install_command("tf", anew=True))


def _triton() -> Iterator[Finding]:
    if clashes():
        text = (
            f"{installed_version('triton') or 'installed'}: loaded after this TensorFlow it would crash; resnet_torch "
            "and resnet_tf load it in front, so import one of them before tensorflow and keras"
        )
        yield Finding("triton", NOTE, text)


def _keras_settings() -> Iterator[Finding]:
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend in ("jax", "torch"):  # one that Keras does not have is found when Keras is tried
        text = f"is {backend}: Keras predicts the same, but gradients and float64 need tensorflow"
        yield Finding("KERAS_BACKEND", NOTE, text, unset_command("KERAS_BACKEND"))
    if os.environ.get("TF_USE_LEGACY_KERAS", "0") not in ("0", "", "False", "false"):
        text = "is set: tf.keras is then Keras 2, which this package does not use"
        yield Finding("TF_USE_LEGACY_KERAS", NOTE, text, unset_command("TF_USE_LEGACY_KERAS"))
    keras = installed_version("keras")
    if keras and keras.split(".")[0] in ("0", "1", "2"):
        yield Finding("keras", BAD, f"{keras} is too old: Keras 3 is needed", install_command("tf"))
    settings = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"
    try:
        first = "channels_first" in settings.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if first:
        text = f"{settings} says channels_first: our networks do not mind, Keras layers of your own do, and tutorials"
        yield Finding("keras.json", NOTE, text, f"write channels_last into {settings}")


def _names() -> Iterator[Finding]:
    """Find files of the user's that hide a package: in scripts and notebooks that are started here, or everywhere."""
    for name in (*OURS, *USUAL_NAMES):
        other = in_the_way(name) if name in OURS else hiding(name)
        if other is not None:  # Python's own path, which does not hold this folder, but does hold PYTHONPATH
            text = f"{other} hides the package {name}"
            yield Finding("file in the way", BAD, text, f"rename {other}, or take its folder out of PYTHONPATH")
    here = Path()
    if (here / "_resnet_twins").is_dir():  # a clone of this project: Python finds all its packages together
        return
    for name in (*OURS, *USUAL_NAMES):
        for found in (here / f"{name}.py", here / name / "__init__.py"):
            if os.access(found, os.R_OK) and found.is_file() and not is_installed_in(here, name):
                shown = (found.parent if found.name == "__init__.py" else found).absolute()
                text = f"{shown} hides the package {name} in scripts and notebooks that are started here"
                yield Finding("file in the way", BAD, text, f"rename {shown}, or start scripts with python -P")


def _processor() -> Finding:
    name, _ = processor()
    if has_bfloat16():
        text = f"{name}: computes in bfloat16 as well: train --precision bfloat16 is faster from ResNet-20 on"
    else:
        text = f"{name}: has no bfloat16 of its own, so --precision bfloat16 would be slower than float32"
    return Finding("processor", GOOD, f"{text}; PyTorch's channels-last layout is chosen by itself")


def _sandbox() -> Finding:
    from shared.classroom.sandbox.bubblewrap import why_not

    reason = why_not()
    if reason:
        return Finding("grading", NOTE, reason, "sudo apt install bubblewrap" if "missing" in reason else "")
    return Finding("grading", GOOD, "students' code runs in a sandbox (bubblewrap)")


def _data() -> Iterator[Finding]:
    named = os.environ.get("RESNET_TWINS_DATA")
    if named and not (Path(named).is_dir() and os.access(named, os.R_OK | os.X_OK)):
        text = f"{named} (from $RESNET_TWINS_DATA) is no readable folder"
        remedy = f"let RESNET_TWINS_DATA name a folder, or {unset_command('RESNET_TWINS_DATA')}"
        yield Finding("data folder", BAD, text, remedy)
    elif named:
        yield Finding("data folder", GOOD, f"{named} (from $RESNET_TWINS_DATA)")
    folder = data_cache()
    there = next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), folder)
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK) or not there.is_dir():
        text = f"{folder}: {there} cannot be written to, so downloads need --data-dir"
        yield Finding("data cache", NOTE, text, f"make {there} a folder that you can write to")
    elif there != folder:
        yield Finding("data cache", GOOD, f"{folder} (not there yet, made when first needed)")
    else:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        yield Finding("data cache", GOOD, f"{folder} ({size / 1e6:.0f} MB)")


def examine() -> Iterator[Finding]:
    """Yield the findings, cheap ones first. Trying the frameworks takes some seconds."""
    yield Finding("resnet-twins", GOOD, f"{__version__} at {HOME}")
    yield _python()
    yield Finding("system", GOOD, f"{platform.platform()}, {os.cpu_count()} cores")
    yield _processor()
    yield from _names()
    try:
        check_temporary()
    except InputError as error:  # whatever is tried without them fails, for reasons that would mislead
        remedy = "make room on the disk, or let the variable TMPDIR name a folder that you can write to"
        yield Finding("temporary files", BAD, f"{error}; packages were not tried", remedy)
        return
    for name in ("numpy", "safetensors", "rich", "typer"):
        yield _package(name, None)
    yield from _extras()
    yield from _triton()
    yield from _keras_settings()
    yield from _frameworks()
    yield from _data()
    if installed_version("nbgrader"):
        yield _sandbox()
    if importlib.metadata.packages_distributions().get("shared", ["resnet-twins"]) != ["resnet-twins"]:
        owners = importlib.metadata.packages_distributions()["shared"]
        text = f"the name `shared` also belongs to {', '.join(sorted(set(owners) - {'resnet-twins'}))}"
        yield Finding("package shared", BAD, text, "use a virtual environment of its own for resnet-twins")

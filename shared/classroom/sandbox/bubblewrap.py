"""Shuts a process off with bubblewrap (Linux), or says why that cannot be done here.

The process sees Python's own folders, read-only, and a home in memory with the files that were handed in; no network,
no other process, nothing of the course, and nothing of the grader's environment. All that it can write to is in
memory, of a fixed size.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from shared.base.printable import printable
from shared.classroom.sandbox.seccomp import program

MAX_FILES = 1_000_000_000  # bytes that may be written
#: Where the sandbox can write, and how many bytes fit there.
PLACES = {"/home/student": MAX_FILES, "/tmp": MAX_FILES // 4, "/dev/shm": MAX_FILES // 4}
#: Where it finds what was handed in, copied to its home at the start.
GIVEN = "/opt/given"
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime")
PACKAGES = ("_resnet_twins", "resnet_torch", "resnet_tf", "shared")


@functools.cache
def why_not() -> str:
    """Why students' code cannot be shut off on this computer; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "there is no bubblewrap for this system, so students' code runs with all your rights"
    if shutil.which("bwrap") is None:
        return "bubblewrap is missing (Debian: apt install bubblewrap), so students' code runs with all your rights"
    with tempfile.TemporaryFile() as filters:
        try:
            done = subprocess.run(
                [*shut_off_command(filters), sys.executable, "-c", "pass"],
                capture_output=True,
                text=True,
                check=False,
                env={"PATH": os.defpath},
                pass_fds=[filters.fileno()],
            )
        except OSError as error:
            return f"there is no place for temporary files ({error.strerror}), so nothing can be graded"
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"bubblewrap does not work here ({printable(reason)}), so students' code runs with all your rights"
    return ""


@functools.cache
def _options() -> set[str]:
    """The options that this version of bubblewrap knows."""
    done = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False)
    return set(re.findall(r"--[a-z-]+", done.stdout + done.stderr))


def shut_off_command(
    filters: BinaryIO, shown: Iterable[tuple[Path, str]] = (), hides: Iterable[str] = (), secret: Iterable[Path] = ()
) -> list[str]:
    """The command that shuts a process off: it can write to `PLACES` only, all of them in memory.

    The folders in `shown` are seen under the names beside them. The modules that `hides` names and the folders in
    `secret` are empty, wherever they lie. `filters` is a file for the filter of system calls, to be passed on open.
    """
    prefixes = {
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *(sysconfig.get_paths()[k] for k in ("purelib", "stdlib")),
    }
    prefixes |= {site.getusersitepackages()} & set(sys.path)
    seen = [path for path in SYSTEM if Path(path).exists()] + sorted(prefixes, key=len)
    command = [str(shutil.which("bwrap")), "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    command += ["--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"]
    if "--disable-userns" in _options():  # in a name space of its own it could mount a file system without a limit
        command += ["--unshare-user", "--disable-userns"]
    if program():
        filters.write(program())
        filters.seek(0)
        command += ["--seccomp", str(filters.fileno())]
    for place in dict.fromkeys(seen):
        command += ["--ro-bind", place, place]
    executable = Path(sys.executable).resolve()
    if not any(executable.is_relative_to(path) for path in seen):
        command += ["--ro-bind", str(executable), str(executable)]
    for package in PACKAGES:
        spec = find_spec(package)
        home = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
        if spec and home.is_dir() and not any(home.is_relative_to(path) for path in seen):
            command += ["--ro-bind", str(home), f"/opt/packages/{package}"]
    for path, name in shown:
        command += ["--ro-bind", str(path), name]
    empty = [hidden for name in hides for hidden in _homes(name)]
    empty += [str(place) for place in secret if any(place.is_relative_to(path) for path in seen)]
    for place in empty:
        command += ["--tmpfs", place, "--remount-ro", place]
    for place, size in PLACES.items():
        # Older ones know no size: then the one who watches ends who writes too much.
        command += [*(["--size", str(size)] if "--size" in _options() else []), "--tmpfs", place]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/home/student"]
    for name, value in variables("/home/student", "/opt/packages").items():
        command += ["--setenv", name, value]
    return command


def _homes(module: str) -> list[str]:
    """The folders in which a module is seen inside the sandbox; `keras.applications` may be a part of a package."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    homes = []
    for location in (spec.submodule_search_locations or []) if spec else []:
        outside = Path(location).joinpath(*rest)
        if outside.is_dir():
            inside = Path("/opt/packages", *module.split(".")) if top in PACKAGES else outside
            within = any(outside.is_relative_to(path) for path in (sys.prefix, sys.base_prefix, *SYSTEM))
            homes.append(str(outside if within else inside))
    return homes


def variables(home: str, packages: str) -> dict[str, str]:
    """The variables of a process whose home and whose packages lie there."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    return {
        **threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "PATH": os.defpath + os.pathsep + str(Path(sys.executable).parent),
        "PYTHONPATH": packages,
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }

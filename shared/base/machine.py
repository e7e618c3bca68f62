"""What the machine is, and what it is good at: so that a setting can be proposed or made that pays off on it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What processors and systems call instructions that multiply bfloat16 numbers.
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
CPUINFO = Path("/proc/cpuinfo")
#: As many threads for each core as a framework may be given.
THREADS_A_CORE = 8


@functools.cache
def processor() -> tuple[str, frozenset[str]]:
    """Return the processor's name, and the names of its instructions as far as the system tells them."""
    if sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
        return name, frozenset({"bf16"} if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else set())
    fields: dict[str, str] = {}
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, frozenset(f"{fields.get('flags', '')} {fields.get('features', '')}".split())


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself: then `--precision bfloat16` is faster on it."""
    return not processor()[1].isdisjoint(BFLOAT16_FLAGS)


def most_threads() -> int:
    """Return how many threads a framework may be given here: more of them may end the process."""
    return THREADS_A_CORE * (os.cpu_count() or 1)


def describe_machine() -> str:
    """Describe the processor, the number of cores and the system."""
    name, _ = processor()
    bfloat16 = "with" if has_bfloat16() else "without"
    return f"{name}, {os.cpu_count()} cores, {bfloat16} bfloat16, {platform.platform()}"


#: The numbers that glibc's <malloc.h> has for what `mallopt` can set.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: In bytes: from which size on glibc asks the system for memory apart, and how much free memory it keeps. `USUAL` is
#: what it comes to by itself in a process that uses large arrays, `KEPT` is more than any array has.
USUAL, KEPT = (32 << 20, 64 << 20), (1 << 30, (1 << 31) - 1)


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let the C library keep freed memory for what comes next, and give it back to the system at the end.

    A training step frees large arrays and asks for the same again. glibc gives each of them back to the system at
    once, and getting it again costs a page fault for every 4 kB. Nothing happens elsewhere than on Linux with glibc.
    """
    try:
        library = ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
    except OSError:  # Linux with another C library
        library = None
    if library is None:
        yield
        return
    _set_thresholds(library, KEPT)
    try:
        yield
    finally:
        _set_thresholds(library, USUAL)
        library.malloc_trim(0)


def _set_thresholds(library: ctypes.CDLL, thresholds: tuple[int, int]) -> None:
    for parameter, size in zip((M_MMAP_THRESHOLD, M_TRIM_THRESHOLD), thresholds, strict=True):
        library.mallopt(parameter, size)

"""What the processor is, and what it is good at: so that a setting can be proposed that pays off on it."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

#: What processors and systems call instructions that multiply bfloat16 numbers.
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
CPUINFO = Path("/proc/cpuinfo")


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


def describe_machine() -> str:
    """Return the processor, the number of cores and the system, in words."""
    name, _ = processor()
    bfloat16 = "with" if has_bfloat16() else "without"
    return f"{name}, {os.cpu_count()} cores, {bfloat16} bfloat16, {platform.platform()}"

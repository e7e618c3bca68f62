"""The system calls that no homework needs: a filter for the sandbox, as the program that Linux runs at each call.

Refused is what would hold memory that no limit sees (files without a name, shared memory of System V, message queues,
larger pipes), and what has often been a way around the kernel's checks.
Source: `man 2 seccomp`, and the tables of system calls in Linux for x86-64 and for ARM64.
"""

from __future__ import annotations

import errno
import platform
import struct

#: Name -> number on x86-64 and on ARM64.
REFUSED = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "vmsplice": (278, 75),
}
FCNTL, SET_PIPE_SIZE = (72, 25), 1031
#: `platform.machine()` -> how the kernel calls the architecture, and the column above.
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
X32 = 0x40000000  # numbers from here on are another set of the same calls, on x86-64
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, SECOND_ARGUMENT = 0, 4, 24  # where they lie in what the filter is given
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS


def program(machine: str = "") -> bytes:
    """Return the filter for this machine (`platform.machine()`); empty for one that it does not know."""
    if (machine or platform.machine()) not in ARCHITECTURES:
        return b""
    architecture, column = ARCHITECTURES[machine or platform.machine()]
    numbers = [each[column] for each in REFUSED.values()]
    # Each step: what to do, how many steps to skip if it holds and if not, and with which number.
    tests = [(EQUAL, number) for number in numbers] + [(AT_LEAST, X32)]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, len(tests) + 4, architecture),
        (LOAD, 0, 0, NUMBER),
        *((what, len(tests) - index + 2, 0, number) for index, (what, number) in enumerate(tests)),
        (EQUAL, 0, 3, FCNTL[column]),
        (LOAD, 0, 0, SECOND_ARGUMENT),
        (EQUAL, 0, 1, SET_PIPE_SIZE),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)

"""Several commands in one process: starting the frameworks takes longer than most commands do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

MARK = "one after another: "
RUN = """
import contextlib, io, json, sys
from shared.cli.main import main
try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # Windows
    memory = lambda: 0
else:
    memory = lambda: getrusage(RUSAGE_SELF).ru_maxrss * 1024
ended = []
for arguments in {lines!r}:
    sys.argv, code = ["resnet-twins", *arguments], 0
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    ended.append((code, errors.getvalue(), memory()))
print({mark!r} + json.dumps(ended))
"""


class Ended(NamedTuple):
    """How a command ended, what it said of errors, and the most memory, in bytes, of the process up to there."""

    code: int
    errors: str
    memory: int


def one_after_another(lines: Sequence[Sequence[str]]) -> str:
    """Return Python that gives each line of arguments to the command, in one process."""
    return RUN.format(lines=[list(line) for line in lines], mark=MARK)


def endings(result: subprocess.CompletedProcess[str]) -> list[Ended]:
    """Return how each of the commands ended."""
    assert MARK in result.stdout, result.stdout + result.stderr
    return [Ended(*each) for each in json.loads(result.stdout.rpartition(MARK)[2])]

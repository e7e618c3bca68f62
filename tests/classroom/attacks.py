"""What the attacks share."""

from __future__ import annotations

import sys

import pytest

from shared.classroom.sandbox.bubblewrap import why_not
from shared.classroom.sandbox.sandbox import Limits

linux = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
shut_off = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
TOP = Limits(cell_seconds=20, gigabytes=1)


def printed(reply: dict) -> str:
    return "".join(output.get("text", "") for output in reply["outputs"])

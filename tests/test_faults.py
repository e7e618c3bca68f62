"""Faults: a short form of the campaign that `tests/fault_campaign.py` runs in full."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shared.backends import BACKENDS
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKENDS))
def test_kills_and_damaged_files_never_cost_a_bit_that_was_saved(request, name):
    request.getfixturevalue({"torch": "torch_twin", "tf": "keras_twin"}[name])
    command = [sys.executable, "tests/fault_campaign.py", "--framework", name, "--quick"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as promised" in done.stdout

"""Faults: a short form of the campaign that `tests/fault_campaign.py` runs in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from shared.backends import BACKENDS
from tests.conftest import ROOT
from tests.fault_campaign import sentence

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


def test_the_figures_in_the_document_are_those_that_were_counted():
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    figures = json.loads((ROOT / "docs" / "results" / "faults.json").read_text(encoding="utf-8"))
    for framework, faults in figures.items():
        assert faults["SIGKILL"]["kills"] >= 20
        assert faults["SIGKILL"]["steps_lost_beyond_the_last_save"] == 0
        for what, counts in faults.items():
            assert f"| {BACKENDS[framework][2]} | {what} | {sentence(counts)} |\n" in document

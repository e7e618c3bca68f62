"""Faults: a short form of the campaign that `tests/campaigns/faults` runs in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from shared.backends import BACKENDS
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, RECIPE, STATE
from shared.training.metrics import METRICS
from tests.campaigns.faults.table import BOTH_STATES, RESULTS, WORDS, markdown, table_rows
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKENDS))
def test_kills_and_damaged_files_never_cost_a_bit_that_was_saved(request, name):
    request.getfixturevalue({"torch": "torch_twin", "tf": "keras_twin"}[name])
    command = [sys.executable, "-m", "tests.campaigns.faults", "--framework", name, "--quick"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as promised" in done.stdout


def test_the_figures_in_the_document_are_those_that_were_counted():
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    figures = json.loads((ROOT / "docs" / "results" / "faults.json").read_text(encoding="utf-8"))
    assert f"\n\n{markdown(figures)}\n" in document, "fill it with: python -m tests.campaigns.faults --table FILE"
    for faults in figures.values():
        kills = faults["SIGKILL"]
        assert kills["kills"] == kills["training"] + kills["writing"] + kills["anywhere"] >= 20
        assert kills["steps_lost_beyond_the_last_save"] == 0


def test_every_figure_has_words_and_both_frameworks_the_same_rows():
    figures = json.loads((ROOT / "docs" / "results" / "faults.json").read_text(encoding="utf-8"))
    seen = [{(what, key) for what, counts in faults.items() for key in counts} for faults in figures.values()]
    assert list(figures) == list(BACKENDS)
    assert seen[0] == seen[1]
    for what, key in seen[0]:
        assert (what, key) in WORDS or (what.partition(": ")[0] in ("damaged", "deleted") and key in RESULTS)
    assert {entry for entry in seen[0] if ": " not in entry[0]} == set(WORDS), "no row without a figure"
    backwards = {name: dict(reversed(faults.items())) for name, faults in figures.items()}
    whole, other = table_rows(figures), table_rows(backwards)
    assert [row[0] for row in whole[: len(WORDS)]] == [row[0] for row in other[: len(WORDS)]]
    assert sorted(whole) == sorted(other)


def test_every_file_of_a_run_was_deleted_and_one_that_failed_is_shown_as_it_is():
    figures = json.loads((ROOT / "docs" / "results" / "faults.json").read_text(encoding="utf-8"))
    files = {ABOUT, BEST, LAST, METRICS, PREVIOUS, RECIPE, STATE, BOTH_STATES}
    for faults in figures.values():
        assert {what.partition(": ")[2] for what in faults if what.startswith("deleted: ")} == files
    assert table_rows({"torch": {"kill": {"FAILED": "a step is gone"}}}) == [("kill", "a step is gone", "FAILED")]

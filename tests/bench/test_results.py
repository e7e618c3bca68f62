"""The recorded results: what docs/training.md states is what the files of the runs say."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from shared.cli.progress import duration
from shared.training.degradation import KINDS
from tests.conftest import ROOT

DOCS = ROOT / "docs"
TEXT = (DOCS / "training.md").read_text(encoding="utf-8")


def read(name: str) -> list[dict[str, str]]:
    with (DOCS / "results" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


RUNS = re.findall(r"^\|([^|\n]+\|){7} \[[^\]]+\]\(results/([\w-]+\.csv)\) \|$", TEXT, re.MULTILINE)


def test_every_recorded_run_is_in_the_table():
    listed = {name for _, name in RUNS}
    recorded = {path.name for path in (DOCS / "results").glob("*.csv")}
    assert listed
    assert recorded - listed == {"degradation-cifar.csv", "gradients-cifar.csv"}


@pytest.mark.parametrize("name", [name for _, name in RUNS])
def test_the_table_of_runs_states_what_was_recorded(name):
    (line,) = [line for line in TEXT.splitlines() if f"(results/{name})" in line and line.startswith("|")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    last = read(name)[-1]
    assert cells[2] == last["epoch"]
    assert cells[3] == f"{float(last['train_loss']):.4f}"
    assert cells[4] == f"{float(last['train_accuracy']):.2%}"
    assert cells[5] == f"{float(last['test_accuracy']):.2%}"
    assert cells[6] == duration(float(last["seconds"]))


def test_the_degradation_table_states_what_was_recorded():
    last = {(row["network"], row["depth"]): row for row in read("degradation-cifar.csv")}
    stated = re.findall(r"^\| (plain|resnet)-(\d+) \| ([\d.]+%) \| ([\d.]+%) \|$", TEXT, re.MULTILINE)
    assert len(stated) == len(last) == 4
    for kind, depth, train_error, test_error in stated:
        row = last[kind, depth]
        assert train_error == f"{float(row['train_error']):.2%}"
        assert test_error == f"{float(row['test_error']):.2%}"
    assert (DOCS / "degradation-cifar.png").stat().st_size > 20_000


def test_the_stated_ratios_of_gradients_are_those_recorded():
    norms: dict[tuple[str, str], list[float]] = {}
    for row in read("gradients-cifar.csv"):
        if row["depth"] == "56":
            norms.setdefault((row["network"], row["when"]), []).append(float(row["relative_gradient_norm"]))
    first, last = norms["plain", "initial"][0], norms["plain", "initial"][-1]
    assert f"{first / last:,.0f} times that of the last" in TEXT
    first, last = norms["resnet", "initial"][0], norms["resnet", "initial"][-1]
    assert f"With shortcuts the ratio is {first / last:.0f}." in TEXT
    unevenness = {
        kind: np.median(norms[kind, "trained"][-10:]) / np.median(norms[kind, "trained"][:10]) for kind in KINDS
    }
    assert unevenness["plain"] > 100
    assert unevenness["resnet"] < unevenness["plain"] / 10


def test_the_command_of_every_result_is_there():
    commands = re.findall(r"^resnet-twins (?:train|experiment) .*$", TEXT, re.MULTILINE)
    for recipe in ("d2l-fashion", "fast-cifar", "degradation-cifar"):
        assert any(f"--recipe {recipe}" in command for command in commands), recipe


def test_the_python_of_the_training_page_runs(monkeypatch, torch_twin, tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert (tmp_path / "my-first-run" / "last.safetensors").exists()

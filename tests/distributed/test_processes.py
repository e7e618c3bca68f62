"""Real processes train together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.backends import BACKENDS
from shared.distributed.launch import free_ports, tf_configs, torchrun_command
from shared.training.metrics import read_metrics
from shared.training.recipes import get_recipe
from shared.training.start import train
from tests.conftest import ROOT
from tests.distributed.support import ENVIRONMENT, LONG, TAME, command_line, worst


def run_all(commands: list[list[str]], environments: list[dict[str, str]]) -> list[str]:
    """Run the commands at the same time; return what each wrote, once all have ended well."""
    with_output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    started = [
        subprocess.Popen(command, env=environment, **with_output)
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        texts = [process.communicate(timeout=LONG)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(texts)
    return texts


Outcome = tuple[np.ndarray, dict[str, np.ndarray]]


def outcome(framework: str, folder: Path, changes: list[str], start: Callable[[list[str]], object]) -> Outcome:
    """Train with `run_together.py`; return the losses, in full precision, and the weights."""
    losses = folder.parent / f"{folder.name}.json"
    start([str(ROOT / "tests" / "distributed" / "run_together.py"), framework, str(folder), str(losses), *changes])
    return np.array(json.loads(losses.read_text())), load_file(folder / "last.safetensors")


def train_alone(framework: str, folder: Path, changes: list[str]) -> Outcome:
    """Train in one process, as always."""
    return outcome(framework, folder, changes, lambda script: run_all([[sys.executable, *script]], [ENVIRONMENT]))


def train_together(framework: str, folder: Path, changes: list[str]) -> Outcome:
    """Train in two processes."""

    def start(script: list[str]) -> None:
        if framework == "torch":
            torchrun = torchrun_command(2, [], folder.parent)
            run_all([[*torchrun[: torchrun.index("-m", 3)], *script]], [ENVIRONMENT])
        else:
            run_all(
                [[sys.executable, *script]] * 2,
                [{**ENVIRONMENT, "TF_CONFIG": each} for each in tf_configs(free_ports(2))],
            )

    return outcome(framework, folder, changes, start)


# -- real processes


@pytest.mark.slow
def test_pytorch_has_the_same_curve_with_two_processes(torch_twin, tmp_path):
    """BatchNorm frozen: on a CPU PyTorch cannot synchronise it."""
    changes = [*TAME, "freeze_norm=yes"]
    (alone, weights), (together, others) = (
        run("torch", tmp_path / run.__name__, changes) for run in (train_alone, train_together)
    )
    assert len(alone) == 24
    assert np.abs(alone - together).max() < 1e-12
    assert worst(weights, others) < 1e-12
    assert alone[-1] < alone[0], "and something was learnt"
    about = json.loads((tmp_path / "train_together" / "run.json").read_text())
    assert (about["processes"], about["strategy"]) == (2, "DistributedDataParallel over gloo")


@pytest.mark.slow
def test_batchnorm_that_is_not_synchronised_gives_another_curve(torch_twin, tmp_path):
    """The reason for `SyncBatchNorm`, and for the note that a CPU gets in its place."""
    short = [*TAME, "steps=3"]
    (alone, _), (together, _) = (run("torch", tmp_path / run.__name__, short) for run in (train_alone, train_together))
    assert np.abs(alone - together).max() > 1e-4


@pytest.mark.slow
def test_keras_has_the_same_curve_with_two_processes(keras_twin, tmp_path):
    """BatchNorm synchronised, running statistics included; alone it is `compile` and `fit`."""
    (alone, weights), (together, others) = (
        run("tf", tmp_path / run.__name__, TAME) for run in (train_alone, train_together)
    )
    assert len(alone) == 24
    assert np.abs(alone - together).max() < 1e-12
    assert worst(weights, others) < 1e-12
    about = json.loads((tmp_path / "train_together" / "run.json").read_text())
    assert (about["processes"], about["strategy"]) == (2, "MultiWorkerMirroredStrategy")


def process_number(rank: int, folder: Path) -> int | None:
    """Return the id of the process of this rank that trains into `folder`."""
    marks = (f"RANK={rank}", f'"index": {rank}}}}}')
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0") if entry.name.isdecimal() else []
            variables = (entry / "environ").read_bytes().decode().split("\0") if str(folder) in words else []
        except OSError:  # it has ended, or is somebody else's
            continue
        if any(each == marks[0] or (each.startswith("TF_CONFIG") and each.endswith(marks[1])) for each in variables):
            return int(entry.name)
    return None


def start_and_kill_one(framework: str, folder: Path, *more: str) -> tuple[int, str, str]:
    """Kill process 1 as soon as there is a state; return the exit code, what was written, and the errors."""
    process = subprocess.Popen(
        command_line(framework, folder, *more),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + LONG
        while not (folder / "state.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        victim = process_number(1, folder)
        assert victim is not None, "it has ended already" if process.poll() is None else process.communicate()
        os.kill(victim, signal.SIGKILL)
        out, errors = process.communicate(timeout=LONG)
    finally:
        process.kill()
    return process.returncode, out, errors


def differing(first: Path, second: Path) -> list[str]:
    """Return which arrays of two runs' states are not the same, bit by bit."""
    states = [load_file(folder / "state.safetensors") for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    return [name for name in states[0] if not np.array_equal(states[0][name], states[1][name])]


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux' /proc to find processes")


@pytest.mark.slow
@needs_proc
def test_pytorch_a_killed_process_is_started_again_and_the_run_ends_with_the_same_bits(torch_twin, tmp_path):
    code, out, errors = start_and_kill_one("torch", tmp_path / "killed", "--set", "freeze_norm=yes")
    assert code == 0, out + errors
    assert "a process died; torchrun has started all of them again (restart 1)" in out
    assert re.search(r"going on after step \d+ of 200", out), out
    run_all([command_line("torch", tmp_path / "whole", "--set", "freeze_norm=yes")], [ENVIRONMENT])
    assert differing(tmp_path / "killed", tmp_path / "whole") == []
    assert [row["step"] for row in read_metrics(tmp_path / "killed")] == list(range(1, 201))


ONE_OF_ONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}

WITHOUT_THREADS = """
import sys
from pathlib import Path
from shared.distributed import train
from shared.training import get_recipe
run = train(get_recipe("quick", ["steps=2"]), output=sys.argv[1]).runs["torch"]
assert run.strategy == "DistributedDataParallel over gloo"
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print([name for name in names if "gloo" in name])
"""


@needs_proc
def test_no_thread_of_gloo_outlives_the_training_because_it_could_abort_the_process_at_its_end(torch_twin, tmp_path):
    environment = {**ENVIRONMENT, **ONE_OF_ONE, "MASTER_PORT": str(free_ports(1)[0])}
    (said,) = run_all([[sys.executable, "-c", WITHOUT_THREADS, str(tmp_path / "run")]], [environment])
    assert said.strip().splitlines()[-1] == "[]"


def test_who_is_started_again_after_all_was_done_is_content(torch_twin, tmp_path):
    train(get_recipe("quick", ["steps=2"]), output=tmp_path / "run")
    (tmp_path / "run" / "recipe.toml").unlink()
    command = [sys.executable, "-m", "shared", "train", "--distributed", "--resume", str(tmp_path / "run")]
    ended = []
    for restarts in ("0", "1"):
        place = {**ONE_OF_ONE, "MASTER_PORT": str(free_ports(1)[0]), "TORCHELASTIC_RESTART_COUNT": restarts}
        done = subprocess.run(command, env={**ENVIRONMENT, **place}, capture_output=True, text=True, timeout=LONG)
        ended.append((done.returncode, "is complete" in done.stderr))
    assert ended == [(2, True), (0, False)]
    assert (tmp_path / "run" / "recipe.toml").exists(), "written anew, as on one machine"


@pytest.mark.slow
@needs_proc
def test_keras_a_killed_process_ends_all_and_the_same_command_goes_on_to_the_same_bits(keras_twin, tmp_path):
    code, out, errors = start_and_kill_one("tf", tmp_path / "killed")
    assert code == 1, out + errors
    last = errors.strip().splitlines()[-1]
    assert "a process was killed by SIGKILL, and the others were stopped; what was saved is whole" in last
    assert last.endswith(f"Go on with: resnet-twins train --resume {tmp_path / 'killed'} --processes 2")
    assert read_metrics(tmp_path / "killed")[-1]["step"] < 40
    (again,) = run_all([command_line("tf", tmp_path / "killed")], [ENVIRONMENT])
    assert re.search(r"going on after step \d+ of 40", again), again
    run_all([command_line("tf", tmp_path / "whole")], [ENVIRONMENT])
    assert differing(tmp_path / "killed", tmp_path / "whole") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKENDS))
def test_an_error_of_the_chief_ends_all_processes_in_words_and_is_not_tried_again(request, tmp_path, name):
    request.getfixturevalue({"torch": "torch_twin", "tf": "keras_twin"}[name])
    bad = ["--set", "learning_rate=1000", "--set", "warmup=0", "--set", "freeze_norm=yes"]
    result = subprocess.run(
        command_line(name, tmp_path / "run", *bad),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert result.returncode == 1
    assert re.search(r"^Error: step \d+ \(epoch \d\): .*so training stopped", result.stderr.strip()), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout.count("files in") == 1, "it was started once"

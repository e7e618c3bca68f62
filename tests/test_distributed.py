"""Several processes: the same curve as one, the same run folder, and a kill of one of them costs nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.backends import BACKENDS
from shared.base.errors import InputError, LostProcessError, OtherProcessError, StoppedError, TrainingError
from shared.base.subprocesses import ending_words
from shared.base.versions import twins_command
from shared.data.load import load_data
from shared.distributed import launch as launching
from shared.distributed.launch import (
    check_processes,
    free_ports,
    launch,
    outcome_told,
    processes_to_start,
    tf_configs,
    torchrun_command,
)
from shared.distributed.place import OUTCOME, Place, place_of
from shared.distributed.start import holds_this_run
from shared.distributed.team import Team, check_parts
from shared.training.batches import Batches
from shared.training.metrics import read_metrics
from shared.training.recipes import get_recipe
from shared.training.run import Reporter, Run
from shared.training.start import train
from tests.conftest import ROOT

#: A step of training that does not blow up without BatchNorm's own statistics.
TAME = ["learning_rate=0.02", "precision=float64", "steps=24"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "RANK", "WORLD_SIZE", OUTCOME)},
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
LONG = 300  # seconds: for a machine that has much else to do
WORKER = {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 1}}


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
    """Train with tests/run_together.py; return the losses, in full precision, and the weights."""
    losses = folder.parent / f"{folder.name}.json"
    start([str(ROOT / "tests" / "run_together.py"), framework, str(folder), str(losses), *changes])
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


def worst(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    return max(
        float(np.abs(first[name] - second[name]).max() / max(1e-30, np.abs(second[name]).max())) for name in second
    )


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


#: Enough that a process can be killed in between.
STEPS = {"torch": 200, "tf": 40}


def command_line(framework: str, folder: Path, *more: str) -> list[str]:
    options = ["--framework", framework, "--set", f"steps={STEPS[framework]}", "--save-every", "4"]
    options += ["--threads", "1", "--device", "cpu"]
    return [sys.executable, "-m", "shared", "train", *options, "--processes", "2", "--output", str(folder), *more]


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
from shared.recipe import get_recipe
from shared.training import train
from shared.versions import twins_command
run = train(get_recipe("quick", ["steps=2"]), output=sys.argv[1], distributed=True).runs["torch"]
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


# -- who a process is


def test_the_place_is_read_from_what_torchrun_sets():
    assert place_of("torch", {}) is None
    assert place_of("torch", {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}) == Place(rank=1, size=4)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "WORLD_SIZE is ''; torchrun sets"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 'x'"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "x"},
            "TORCHELASTIC_RESTART_COUNT is 'x'",
        ),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 2; it must be less than WORLD_SIZE, 2"),
    ],
)
def test_what_torchrun_cannot_have_set_is_refused(environment, message):
    with pytest.raises(InputError, match=re.escape(message)):
        place_of("torch", environment)


def test_the_place_is_read_from_tf_config():
    assert place_of("tf", {}) is None
    assert place_of("tf", {"TF_CONFIG": json.dumps(WORKER)}) == Place(rank=1, size=2, chief="10.0.0.1:2222")
    with_chief = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    assert place_of("tf", {"TF_CONFIG": json.dumps(with_chief)}) == Place(rank=2, size=3, chief="a:1")
    first = {**with_chief, "task": {"type": "chief", "index": 0}, "environment": "cloud"}
    assert place_of("tf", {"TF_CONFIG": json.dumps(first)}) == Place(rank=0, size=3, chief="a:1")


def changed(**parts: object) -> str:
    return json.dumps({**WORKER, **parts})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG is no JSON"),
        ("", "TF_CONFIG is no JSON"),
        ("[1]", "TF_CONFIG needs a cluster and a task, like"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG needs a cluster and a task"),
        (changed(cluster={}), "a cluster of nobody"),
        (changed(cluster={"ps": ["a:1"], "worker": ["b:1"]}), "a cluster of ps; here all processes are workers"),
        (changed(cluster={"worker": "a:1"}), "wanted is a list of addresses"),
        (changed(cluster={"worker": ["a"]}), "worker is ['a']; wanted is a list of addresses"),
        (changed(cluster={"worker": ["a:99999"]}), "wanted is a list of addresses"),
        (changed(cluster={"chief": ["a:1", "b:1"]}), "names 2 chiefs"),
        (changed(task={"index": 0}), "the task's type is None; the cluster has worker"),
        (changed(task={"type": "chief", "index": 0}), "the task's type is 'chief'"),
        (changed(task={"type": "worker"}), "the task's index is None; allowed is 0 to 1"),
        (changed(task={"type": "worker", "index": "0"}), "the task's index is '0'"),
        (changed(task={"type": "worker", "index": 2}), "the task's index is 2; allowed is 0 to 1"),
    ],
)
def test_a_wrong_tf_config_is_explained(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        place_of("tf", {"TF_CONFIG": text})


def test_a_batch_must_be_cut_into_equal_parts():
    check_parts(64, 4)
    with pytest.raises(
        InputError, match=r"batch_size is 64, which 3 .*; try --set batch_size=63 or --set batch_size=66"
    ):
        check_parts(64, 3)
    with pytest.raises(InputError, match=r"try --set batch_size=4$"):
        check_parts(3, 4)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_a_batch_are_the_batch(parts):
    batches = Batches(load_data("digits"), get_recipe("quick", ["flip=yes"]))
    teams = [Team(Place(rank=rank, size=parts), "") for rank in range(parts)]
    pieces = [batches.train_batch(2, 3, team.part(team.rank, 64)) for team in teams]
    for whole, each in zip(batches.train_batch(2, 3), zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(each))


@pytest.mark.slow
def test_a_part_of_one_image_of_which_one_pixel_is_left_is_refused_in_one_line(torch_twin, tmp_path):
    one_pixel = ["--model", "resnet18", "--set", "image_size=32", "--set", "batch_size=2"]
    command = command_line("torch", tmp_path / "run", *one_pixel)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: batch_size is 2, so that each process has 1 image, and from images of 32x32")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# -- what they agree on


class Two(Team):
    """One of two processes; what the other one says is written down beforehand."""

    def __init__(self, rank: int, other: Callable[[np.ndarray], object] = np.zeros_like) -> None:
        super().__init__(Place(rank=rank, size=2), "test")
        self.other, self.said = other, []

    def sum(self, values):
        self.said.append(values.tolist())
        return values + np.asarray(self.other(values), np.float64)


@pytest.fixture
def run(tmp_path):
    batches = Batches(load_data("digits"), get_recipe("quick", ["epochs=2"]))
    return Run(folder=tmp_path / "run", recipe=batches.recipe, batches=batches, framework="torch", chief=False)


def nothing(*_: object) -> object:
    raise AssertionError("only the chief does that")


def test_others_than_the_chief_write_nothing_and_do_not_test(run):
    follower = Two(1)
    with run:
        for _ in range(run.batches.steps_per_epoch):
            assert follower.after_step(run, 1.0, 1, nothing) is False
        assert follower.after_epoch(run, nothing, nothing) is False
    assert run.step == run.batches.steps_per_epoch
    assert not run.folder.exists()


def test_a_wish_of_one_to_stop_is_everybodys(run):
    """The chief is told after the step, so it stops after the next one; a follower does what the chief says."""
    assert Two(1, lambda _: [0, 0, 1]).after_step(run, 1.0, 1, nothing) is False
    assert run.stop_requested
    assert Two(1, lambda _: [0, 1, 0]).after_step(run, 1.0, 1, nothing) is True


def test_an_error_is_told_to_the_others_before_it_is_raised():
    team = Two(0)
    with pytest.raises(ZeroDivisionError):
        team.agree(lambda: 1 / 0)
    assert team.said == [[1, 0, 0]]
    with pytest.raises(OtherProcessError, match="another process failed"):
        Two(1, lambda _: [1, 0, 0]).agree(lambda: 5)
    assert Two(1).agree(lambda: 5) == 5


def test_what_differs_between_processes_is_refused():
    Two(0).check_same("a", "images")
    answers = iter([np.array([123.0]), np.zeros(1)])  # the chief's text has another number
    with pytest.raises(InputError, match="1 of 2 processes have other images than the chief"):
        Two(1, lambda _: next(answers)).check_same("a", "images")


def test_numbers_texts_and_arrays_come_from_the_chief():
    assert Two(0).text_from_chief("größer\n") == "größer\n"
    letters = np.frombuffer("größer".encode(), np.uint8)
    answers = iter([[len(letters)], letters])
    assert Two(1, lambda _: next(answers)).text_from_chief("") == "größer"
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Two(1, lambda _: array.ravel()).array_from_chief(array + 1), array)


WATCH = """
import socket, sys, time
from shared.team import ChiefWatch
server = socket.create_server(("127.0.0.1", 0))
ChiefWatch("127.0.0.1:%d" % server.getsockname()[1], 0.05).start()
server.listen()
for _ in range(4):
    server.accept()  # the watch knocks
print("alive", flush=True)
server.close()
time.sleep(60)
print("still alive")
"""


def test_who_waits_for_a_chief_that_is_gone_ends(run_python):
    result = run_python(WATCH)
    assert (result.returncode, result.stdout) == (1, "alive\n")
    assert re.search(r"^Error: the chief at 127.0.0.1:\d+ is gone; what was saved is whole", result.stderr)


# -- starting processes


def test_the_commands_that_start_processes():
    command = torchrun_command(3, ["train", "--processes", "3"], Path("logs"))
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert command[command.index("-m", 3) :] == ["-m", "shared", "train", "--processes", "3"]
    assert {"--standalone", "--nproc-per-node=3", "--max-restarts=3", "--log-dir=logs"} < set(command)
    places = [place_of("tf", {"TF_CONFIG": text}) for text in tf_configs([2222, 2223])]
    assert places == [Place(rank=rank, size=2, chief="127.0.0.1:2222") for rank in (0, 1)]
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_ctrl_c_is_not_passed_on_where_windows_has_done_it(monkeypatch):
    """`send_signal(SIGINT)` raises there; the processes of a console get Ctrl-C all by themselves."""
    sent = []
    child = object.__new__(launching._Child)
    child.process = types.SimpleNamespace(send_signal=sent.append)
    child.send(signal.SIGINT)
    monkeypatch.setattr(sys, "platform", "win32")
    child.send(signal.SIGINT)
    child.send(signal.SIGTERM)
    assert sent == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "died (exit code 3)"),
        (-9, "was killed by SIGKILL"),
        (-63, "was killed by signal 63"),
        (0xC0000005, "crashed (Windows calls"),
    ],
)
def test_how_a_process_ended_in_words(code, words):
    if code == -9 and sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    assert words.lower() in ending_words(code).lower()


def test_who_starts_processes(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert processes_to_start("tf", None, "auto") == 0, "one process uses all GPUs"
    assert processes_to_start("torch", 3, "auto") == 3
    monkeypatch.setenv("TF_CONFIG", json.dumps(WORKER))
    assert processes_to_start("tf", 2, "auto") == 0, "this is one of them"
    with pytest.raises(InputError, match="--processes is 3, but 2 processes were started already"):
        processes_to_start("tf", 3, "auto")
    with pytest.raises(InputError, match="allowed is 1 to"):
        check_processes(0)


@pytest.mark.parametrize("kind", [InputError, TrainingError, StoppedError])
def test_how_a_started_process_ended_is_told_in_a_file(monkeypatch, tmp_path, kind):
    monkeypatch.setenv(OUTCOME, str(tmp_path / "outcome.json"))
    with pytest.raises(SystemExit) as stop, outcome_told():
        raise kind("because")
    assert stop.value.code == 0, "with another code torchrun would start it again"
    assert json.loads((tmp_path / "outcome.json").read_text()) == {"kind": kind.__name__, "text": "because"}


def test_what_is_worth_another_try_is_not_told(monkeypatch, tmp_path):
    monkeypatch.setenv(OUTCOME, str(tmp_path / "outcome.json"))
    with pytest.raises(LostProcessError), outcome_told():
        raise LostProcessError("gone")
    with pytest.raises(SystemExit), outcome_told():
        raise OtherProcessError("the other one says why")
    assert not (tmp_path / "outcome.json").exists()
    monkeypatch.delenv(OUTCOME)
    with pytest.raises(InputError), outcome_told():
        raise InputError("as always")


def test_started_processes_end_with_the_words_of_one_of_them(tmp_path, capfd):
    """Real processes, but of a command that fails before any framework is loaded."""
    with pytest.raises(InputError, match="unknown recipe 'nope'"):
        launch("tf", 2, ["train", "--recipe", "nope"], tmp_path)
    with pytest.raises(LostProcessError, match=r"died \(exit code 2\), .*nothing was saved yet, so start it once more"):
        launch("tf", 1, ["nope"], tmp_path / "run")
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "run.json").touch()
    go_on = twins_command("train", "--resume", tmp_path / "my run", "--processes", "1")
    with pytest.raises(LostProcessError, match=re.escape(f"Go on with: {go_on}")):
        launch("tf", 1, ["nope"], tmp_path / "my run")
    assert "No such command 'nope'" in capfd.readouterr().err


# -- the command


def test_a_folder_that_holds_this_run_goes_on_and_another_is_refused(torch_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=2"])
    assert not holds_this_run(tmp_path / "new", recipe, "torch")
    run = train(recipe, output=tmp_path / "run").runs["torch"]
    assert holds_this_run(tmp_path / "run", recipe, "torch", run.batches.data.sha256)
    with pytest.raises(InputError, match="holds another run: its steps is 2, not 3; choose a new folder"):
        holds_this_run(tmp_path / "run", get_recipe("quick", ["steps=3"]), "torch")
    with pytest.raises(InputError, match="its framework is torch, not tf"):
        holds_this_run(tmp_path / "run", recipe, "tf")
    with pytest.raises(InputError, match="its images are others"):
        holds_this_run(tmp_path / "run", recipe, "torch", "0")


BAD_COMMANDS = [
    (["--processes", "0"], {}, "--processes is 0; allowed is 1 to 4096"),
    (
        ["--processes", "3"],
        {},
        "batch_size is 64, which 3 processes or GPUs cannot share equally; try --set batch_size=63",
    ),
    (["--processes", "2", "--framework", "both"], {}, "several processes train one twin"),
    (["--processes", "2", "--epochs", "0"], {}, "epochs is 0"),
    (["--processes", "2", "--resume", "nowhere"], {}, "there is no folder nowhere"),
    (["--processes", "2", "--output", "full"], {}, "something is there already; choose a new folder"),
    (["--distributed"], {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "need a fixed --output FOLDER"),
    (["--distributed"], {"RANK": "0"}, "the environment variable WORLD_SIZE is ''"),
]
BAD_KERAS_COMMANDS = [
    (["--processes", "2", "--device", "cuda"], {}, "starts Keras on the CPU only"),
    (["--distributed"], {"TF_CONFIG": "{"}, "TF_CONFIG is no JSON"),
    (["--distributed"], {"TF_CONFIG": json.dumps(WORKER)}, "need a fixed --output FOLDER"),
]


def check_refusal(call, tmp_path, arguments, environment, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear reader")
    result = call("train", *arguments, **environment)
    assert result.returncode == 2, result.stdout + result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(("arguments", "environment", "message"), BAD_COMMANDS, ids=[each[2] for each in BAD_COMMANDS])
def test_bad_input_is_answered_before_anything_is_started(call, torch_twin, tmp_path, arguments, environment, message):
    check_refusal(call, tmp_path, arguments, environment, message)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"), BAD_KERAS_COMMANDS, ids=[each[2] for each in BAD_KERAS_COMMANDS]
)
def test_bad_input_for_keras_is_answered_too(call, keras_twin, tmp_path, arguments, environment, message):
    check_refusal(call, tmp_path, ["--framework", "tf", *arguments], environment, message)


# -- frozen BatchNorm, and Keras' loop on one device


@pytest.mark.slow
def test_frozen_norms_keep_their_statistics_and_the_twins_stay_equal(torch_twin, keras_twin, tmp_path):
    recipe = get_recipe("quick", [*TAME, "steps=6", "freeze_norm=yes"])
    runs = train(recipe, framework="both", output=tmp_path / "both").runs
    losses = [np.array([row["train_loss"] for row in run.rows]) for run in runs.values()]
    assert np.abs(losses[0] - losses[1]).max() < 1e-9
    for run in runs.values():
        weights = load_file(run.folder / "last.safetensors")
        assert all((weights[name] == 0).all() for name in weights if name.endswith("running_mean"))
        assert all((weights[name] == 1).all() for name in weights if name.endswith("running_var"))
        assert not (weights["bn1.weight"] == 1).all(), "gamma learns"


@pytest.mark.slow
def test_keras_own_loop_does_on_one_device_what_fit_does(keras_twin, tmp_path):
    changes = [*TAME, "steps=6", "label_smoothing=0.1"]
    recipe = get_recipe("quick", changes)
    fit = train(recipe, framework="tf", output=tmp_path / "fit").runs["tf"]
    run = train(recipe, framework="tf", output=tmp_path / "loop", distributed=True).runs["tf"]
    assert run.strategy == "one device"
    losses = [np.array([row["train_loss"] for row in each.rows]) for each in (fit, run)]
    assert np.abs(losses[0] - losses[1]).max() < 1e-12
    assert worst(*(load_file(each.folder / "last.safetensors") for each in (fit, run))) < 1e-12


def test_weights_of_another_network_are_refused_before_anything_is_written(keras_twin, tmp_path):
    recipe, weights = get_recipe("quick"), {"conv1.weight": np.zeros((1, 1, 3, 3), np.float32)}
    with pytest.raises(InputError, match="conv1"):
        train(recipe, framework="tf", output=tmp_path / "run", weights=weights, distributed=True)
    assert not (tmp_path / "run").exists()


class StopAt(Reporter):
    def step(self, run, row) -> None:
        run.stop_requested = run.step == 4


@pytest.mark.slow
def test_a_run_may_change_between_one_process_and_the_loop_for_several(keras_twin, tmp_path):
    from shared.training.start import resume

    recipe = get_recipe("quick", [*TAME, "steps=8", "momentum=0.9"])
    whole = train(recipe, framework="tf", output=tmp_path / "whole").runs["tf"]
    stopped = train(recipe, framework="tf", output=tmp_path / "run", reporter=StopAt)
    assert (stopped.complete, stopped.runs["tf"].step) == (False, 4)
    resumed = resume(tmp_path / "run", distributed=True).runs["tf"]
    assert [row["train_loss"] for row in resumed.rows] == pytest.approx([row["train_loss"] for row in whole.rows])
    assert worst(*(load_file(each.folder / "last.safetensors") for each in (whole, resumed))) < 1e-12


# -- the documentation

DOCUMENT = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def commands(start: str) -> list[list[str]]:
    """Return the words of every shell command of the document from `start` on; a backslash joins lines."""
    lines = "\n".join((*blocks("sh"), *blocks("bash"))).replace("\\\n", " ").splitlines()
    return [
        shlex.split(start + line.partition(start)[2].removesuffix("'"), comments=True)
        for line in lines
        if start in line
    ]


def check_train_command(words: list[str]) -> None:
    """Check `resnet-twins train ...` against the options that the command has."""
    import typer

    from shared.cli.app import app

    known = {option for each in typer.main.get_command(app).commands["train"].params for option in each.opts}
    assert words[:2] == ["resnet-twins", "train"]
    assert [word for word in words[2:] if word.startswith("-") and word.partition("=")[0] not in known] == []


def after(words: list[str], start: str) -> list[str]:
    return words[words.index(start) :]


def test_every_train_command_of_the_document_has_options_that_exist():
    found = commands("resnet-twins train")
    found += [shlex.split(text) for text in re.findall(r"`(resnet-twins train[^`]*)`", DOCUMENT)]
    assert len(found) >= 8
    for words in found:
        check_train_command(words)


def test_the_torchrun_commands_of_the_document_can_be_parsed(torch_twin):
    from torch.distributed.run import get_args_parser

    found = commands("torchrun ")
    assert len(found) == 2
    for words in found:
        options = get_args_parser().parse_args([word.replace("$SLURM_NNODES", "2") for word in words[1:]])
        assert (options.no_python, options.training_script) == (True, "resnet-twins")
        assert (options.nnodes, options.rdzv_backend, options.max_restarts) == ("2", "c10d", 3)


def test_every_tf_config_of_the_document_is_understood():
    texts = re.findall(r"TF_CONFIG='(.*)'", DOCUMENT)
    assert [place_of("tf", {"TF_CONFIG": text}).rank for text in texts] == [0, 1]


def test_the_manifests_of_the_document_say_what_the_operator_wants(torch_twin):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    from torch.distributed.run import get_args_parser

    manifests = {each["kind"]: each for each in map(yaml.safe_load, blocks("yaml"))}
    for kind, replicas, container in (
        ("PyTorchJob", "pytorchReplicaSpecs", "pytorch"),
        ("TFJob", "tfReplicaSpecs", "tensorflow"),
    ):
        assert manifests[kind]["apiVersion"] == "kubeflow.org/v1"
        worker = manifests[kind]["spec"][replicas]["Worker"]
        (pod,) = worker["template"]["spec"]["containers"]
        assert (worker["replicas"], worker["restartPolicy"], pod["name"]) == (2, "OnFailure", container)
        check_train_command(after(pod["command"], "resnet-twins"))
        (volume,), (mount,) = worker["template"]["spec"]["volumes"], pod["volumeMounts"]
        assert volume["name"] == mount["name"]
        assert f"--output={mount['mountPath']}/first-run" in pod["command"]
    torchrun = manifests["PyTorchJob"]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert get_args_parser().parse_args(torchrun["command"][1:]).nproc_per_node == "1"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_slurm_scripts_start_the_right_processes(tmp_path):
    """With stand-ins for Slurm's commands, and for those that train, which print what they were given."""
    stand_ins = {
        "scontrol": "printf 'node1\\nnode2\\n'",
        "srun": 'for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@"; done',
        "torchrun": 'echo "$@"',
        "resnet-twins": 'echo "$TF_CONFIG" "$@"',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "HOME": "/home/me"}
    environment = {**variables, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    torch_lines, keras_lines = (
        subprocess.run(
            ["bash", "-eu"], input=text, env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for text in blocks("bash")
    )
    assert torch_lines[0] == torch_lines[1], "every node runs the same command"
    assert "--nnodes 2 " in torch_lines[0]
    assert "--rdzv-endpoint node1:29400 --no-python resnet-twins train --distributed" in torch_lines[0]
    assert torch_lines[0].endswith("--output /home/me/runs/first-run")
    for rank, line in enumerate(keras_lines):
        text, _, options = line.rpartition(" train ")
        assert place_of("tf", {"TF_CONFIG": text}) == Place(rank=rank, size=2, chief="node1:2222")
        assert options == "--framework tf --distributed --output /home/me/runs/first-run"
    assert len(keras_lines) == 2

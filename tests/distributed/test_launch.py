"""Processes are started, and the document says how."""

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
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.base.errors import InputError, LostProcessError, OtherProcessError, StoppedError, TrainingError
from shared.base.subprocesses import ending_words
from shared.base.versions import twins_command
from shared.distributed import launch as launching
from shared.distributed import start as together
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
from shared.distributed.start import find_this_run
from shared.training.recipes import get_recipe
from shared.training.run import Reporter
from shared.training.start import train
from tests.distributed.support import DOCUMENT, TAME, WORKER, blocks, commands, worst

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
    assert not find_this_run(tmp_path / "new", recipe, "torch")
    run = train(recipe, output=tmp_path / "run").runs["torch"]
    assert find_this_run(tmp_path / "run", recipe, "torch", run.batches.data.sha256)
    with pytest.raises(InputError, match="holds another run: its steps is 2, not 3; choose a new folder"):
        find_this_run(tmp_path / "run", get_recipe("quick", ["steps=3"]), "torch")
    with pytest.raises(InputError, match="its framework is torch, not tf"):
        find_this_run(tmp_path / "run", recipe, "tf")
    with pytest.raises(InputError, match="its images are others"):
        find_this_run(tmp_path / "run", recipe, "torch", "0")


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
    run = together.train(recipe, framework="tf", output=tmp_path / "loop").runs["tf"]
    assert run.strategy == "one device"
    losses = [np.array([row["train_loss"] for row in each.rows]) for each in (fit, run)]
    assert np.abs(losses[0] - losses[1]).max() < 1e-12
    assert worst(*(load_file(each.folder / "last.safetensors") for each in (fit, run))) < 1e-12


def test_weights_of_another_network_are_refused_before_anything_is_written(keras_twin, tmp_path):
    recipe, weights = get_recipe("quick"), {"conv1.weight": np.zeros((1, 1, 3, 3), np.float32)}
    with pytest.raises(InputError, match="conv1"):
        together.train(recipe, framework="tf", output=tmp_path / "run", weights=weights)
    assert not (tmp_path / "run").exists()


class StopAt(Reporter):
    def step(self, run, row) -> None:
        run.stop_requested = run.step == 4


@pytest.mark.slow
def test_a_run_may_change_between_one_process_and_the_loop_for_several(keras_twin, tmp_path):
    recipe = get_recipe("quick", [*TAME, "steps=8", "momentum=0.9"])
    whole = train(recipe, framework="tf", output=tmp_path / "whole").runs["tf"]
    stopped = train(recipe, framework="tf", output=tmp_path / "run", reporter=StopAt)
    assert (stopped.complete, stopped.runs["tf"].step) == (False, 4)
    resumed = together.resume(tmp_path / "run").runs["tf"]
    assert [row["train_loss"] for row in resumed.rows] == pytest.approx([row["train_loss"] for row in whole.rows])
    assert worst(*(load_file(each.folder / "last.safetensors") for each in (whole, resumed))) < 1e-12


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

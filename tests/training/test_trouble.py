"""What goes wrong while training is said in one line, and nothing saved is lost."""

from __future__ import annotations

import importlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.backends import BACKENDS, missing_modules
from shared.base.errors import InputError, TrainingError
from shared.training.metrics import read_metrics
from shared.training.recipes import get_recipe
from shared.training.run import Reporter
from shared.training.settings import Settings
from shared.training.start import open_runs, resume, train
from tests.conftest import ROOT
from tests.training.support import StopAt, backend_name

# -- trouble


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_state(twin, tmp_path):
    class Poison(Reporter):
        def step(self, run, row) -> None:
            if run.step == 25:
                run.batches.inputs = replace(run.batches.inputs, mean=(math.nan,))

    name = backend_name(twin)
    with pytest.raises(TrainingError) as caught:
        train(get_recipe("quick", ["epochs=3"]), framework=name, output=tmp_path / "run", reporter=Poison)
    text = str(caught.value)
    assert re.search(r"step 2[6-9] \(epoch 2\): the loss is (nan|inf)", text), text
    assert f"the last good state is in {tmp_path / 'run' / 'state.safetensors'}" in text
    assert "--set learning_rate=0.01" in text
    weights = load_file(tmp_path / "run" / "last.safetensors")
    assert all(np.isfinite(array).all() for array in weights.values())


def test_weights_that_the_last_step_spoilt_replace_no_good_file(twin, tmp_path):
    """The loss of a step is that before its update: an epoch's last update may spoil what is then to be saved."""

    class Spoil(Reporter):
        def step(self, run, row) -> None:
            if run.step == 44:
                self.before = {path.name: path.read_bytes() for path in run.folder.glob("*.safetensors")}
                spoilt = importlib.import_module(f"{twin.__name__}.train")
                good = spoilt.get_weights
                patch.setattr(spoilt, "get_weights", lambda model: {k: v * np.nan for k, v in good(model).items()})

    name, spoil = backend_name(twin), Spoil()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainingError, match=r"step 44 .*no longer finite"):
        train(get_recipe("quick", ["epochs=3"]), framework=name, output=tmp_path / "run", reporter=lambda: spoil)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")} == spoil.before


def test_a_stop_in_the_first_twins_last_step_does_not_start_the_second(torch_twin, keras_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=6"])
    stopped = train(recipe, framework="both", output=tmp_path / "both", reporter=lambda: StopAt(6))
    assert (list(stopped.runs), stopped.complete) == (["torch"], False)
    assert resume(tmp_path / "both").complete


def test_a_run_goes_on_only_with_the_images_that_it_began_with(torch_twin, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    recipe = get_recipe("quick", ["steps=12", "batch_size=8"], data=f"folder:{tmp_path / 'photos'}")
    train(recipe, output=tmp_path / "run", reporter=lambda: StopAt(5))
    (tmp_path / "photos" / "a" / "0.png").unlink()
    with pytest.raises(InputError, match=r"no longer those .* began with \(31 for training now, 32 then"):
        resume(tmp_path / "run")


def test_the_machine_may_change_on_resume_but_not_the_recipe(call, torch_twin, tmp_path):
    train(get_recipe("quick", ["steps=30"]), output=tmp_path / "run", reporter=lambda: StopAt(5))
    refused = call("train", "--resume", "run", "--framework", "tf")
    assert (refused.returncode, "cannot change a run that is resumed" in refused.stderr) == (2, True)
    done = call("train", "--resume", "run", "--device", "cpu", "--save-every", "3")
    assert done.returncode == 0, done.stderr
    assert "going on after step 5 of 30" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and sys.platform != "darwin", reason="no C++ compiler")
def test_compiled_and_deterministic_training_learns(request, tmp_path):
    """In processes of their own: both settings hold for the rest of a process."""
    for name in (name for name in BACKENDS if not missing_modules(name)):
        options = ["--framework", name, "--compile", "--deterministic", "--no-channels-last", "--epochs", "6"]
        command = [sys.executable, "-m", "shared", "train", *options, "--output", str(tmp_path / name)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
        assert read_metrics(tmp_path / name)[-1]["test_accuracy"] > 0.9


def test_the_command_reports_a_lost_run_with_exit_code_1(call, torch_twin):
    result = call(
        "train",
        "--set",
        "learning_rate=1000",
        "--set",
        "warmup=0",
        "--set",
        "normalize=zero-one",
        "--set",
        "optimizer=sgd",
        "--set",
        "model=plain56_cifar",
        "--epochs",
        "40",
    )
    assert result.returncode == 1, result.stderr
    assert "Error: step" in result.stderr
    assert "training stopped" in result.stderr


def test_a_full_disk_is_noticed_before_training(monkeypatch, torch_twin, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(InputError, match=r"1 MB are free, but this run needs up to \d+ MB"):
        train(get_recipe("quick"), output=tmp_path / "run")


def test_a_disk_that_fills_up_ends_the_run_and_leaves_what_was_good(monkeypatch, torch_twin, tmp_path):
    train(get_recipe("quick", ["epochs=3"]), output=tmp_path / "run", reporter=lambda: StopAt(22))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    from safetensors import SafetensorError
    from safetensors import numpy as writer

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(writer, "save_file", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*what was saved before is whole"):
        resume(tmp_path / "run")
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert after == before


def test_a_folder_with_something_in_it_is_left_alone(torch_twin, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear reader")
    with pytest.raises(InputError, match="something is there already; choose a new folder"):
        train(get_recipe("quick"), output=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    train(get_recipe("quick", ["steps=2"]), output=tmp_path / "run")
    with pytest.raises(InputError, match="to go on with that run, use --resume"):
        train(get_recipe("quick"), output=tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_written_to_is_noticed_first(torch_twin, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        train(get_recipe("quick"), output=tmp_path / "closed" / "run")


def test_a_file_where_the_folder_should_be_is_noticed_first(torch_twin, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written to"):
        train(get_recipe("quick"), output=tmp_path / "file" / "run")


def test_a_failed_start_leaves_no_folder(torch_twin, tmp_path):
    with pytest.raises(InputError):
        train(get_recipe("quick", data="folder:nowhere"), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


BAD_COMMANDS = [
    (["--recipe", "nope"], "unknown recipe 'nope'"),
    (["--model", "resnet19"], "unknown network 'resnet19'; nearest are"),
    (["--data", "minst"], "unknown data set 'minst'"),
    (["--data", "folder:nowhere"], "there is no such folder or archive"),
    (["--set", "epoch=3"], "a recipe has no epoch"),
    (["--epochs", "-1"], "epochs is -1"),
    (["--device", "tpu"], "--device is 'tpu'; allowed is one of auto, cpu, cuda, mps"),
    (["--save-every", "-1"], "--save-every is -1"),
    (["--resume", "nowhere"], "there is no folder nowhere"),
    (["--resume", "."], "holds no training run (no run.json in it)"),
    (["--resume", "nowhere", "--set", "epochs=3"], "cannot change a run that is resumed"),
    (["--data-dir", "nowhere", "--data", "fashion-mnist"], "--data-dir is 'nowhere', which is no folder"),
    (["--framework", "jax"], "jax"),
    (["--model", "resnet18"], "too few for resnet18 (input_size is 8"),
    (["--set", "batch_size=2000"], "1437 training images, fewer than one batch of 2000"),
    (["--set", "name=a/b"], "allowed are letters, digits"),
    (["--output", "a[/b]/c", "--epochs", "0"], "epochs is 0"),
    (["--set", "crop_padding=9"], "crop_padding is 9, more than the 8 pixels"),
    (["--precision", "int4"], "int4"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS, ids=[" ".join(entry[0]) for entry in BAD_COMMANDS])
def test_bad_input_is_answered_with_one_line_and_exit_code_2(call, torch_twin, tmp_path, arguments, message):
    result = call("train", *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_an_absent_device_is_explained(twin, tmp_path):
    package = importlib.import_module(f"{twin.__name__}.train")
    if sys.platform == "darwin" and backend_name(twin) == "torch":
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match=r"--device is 'mps'.*use --device auto"):
        package.prepare_machine(Settings(device="mps"), "float32")
    with pytest.raises(InputError, match=r"--device is 'mps'"):
        train(
            get_recipe("quick"), framework=backend_name(twin), output=tmp_path / "run", settings=Settings(device="mps")
        )
    assert not (tmp_path / "run").exists(), "and nothing was written"


# -- the command


def test_train_both_shows_the_same_lines_for_both_and_ends_with_a_table(call, torch_twin, keras_twin, tmp_path):
    result = call("train", "--framework", "both", "--epochs", "2")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert sum(line.startswith("epoch   2/2") for line in lines) == 2
    assert any(
        line.startswith("PyTorch: resnet8_digits on digits, 1,437 training and 360 test images") for line in lines
    )
    assert any(line.startswith("Keras: resnet8_digits on digits") for line in lines)
    assert "the losses of the first steps differ by" in result.stdout
    names = {path.name for path in (tmp_path / "runs" / "quick-both-1").iterdir()}
    assert {"torch", "tf", "recipe.toml", "run.json"} <= names
    again = call("train", "--epochs", "1", "--framework", "torch")
    assert again.returncode == 0
    assert (tmp_path / "runs" / "quick-torch-1" / "last.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_and_prints_the_command_that_goes_on(torch_twin, tmp_path):
    command = [sys.executable, "-m", "shared", "train", "--epochs", "2000", "--output", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip() == f"stopped and saved; go on with: resnet-twins train --resume {tmp_path / 'run'}"
    step = open_runs(tmp_path / "run")["torch"].step
    assert step > 0
    assert read_metrics(tmp_path / "run")[-1]["step"] == step


def test_figures_are_drawn_with_labels_and_units(trained):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from shared.training.curves import plot_confusion, plot_curves

    left, middle, right = plot_curves({"torch": trained.rows, "tf": trained.rows}, "t").axes
    assert [axes.get_xlabel() for axes in (left, middle, right)] == ["epoch"] * 3
    assert (left.get_ylabel(), middle.get_ylabel()) == ("cross-entropy (nats per image)", "right (%)")
    styles = {(line.get_linestyle(), line.get_marker()) for line in middle.lines}
    assert len(styles) >= 3, "curves differ in more than their colour"
    axes, bar = plot_confusion(trained.score.confusion, trained.batches.data.classes, "t").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "%" in bar.get_ylabel()


def test_a_plain_loop_fits_on_a_few_screens():
    for package in ("resnet_torch", "resnet_tf"):
        assert len((ROOT / package / "train.py").read_text().splitlines()) < 200

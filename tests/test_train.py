"""Training: the twins' curves are equal, runs stop and go on without losing a bit, and trouble is explained."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.backends import BACKENDS, missing_modules
from shared.base.errors import InputError, TrainingError
from shared.base.lock import HOLDER, LOCK, only_one
from shared.checkpoints.ours import read_metadata
from shared.data.load import load_data
from shared.data.score import score
from shared.networks.catalog import get_spec
from shared.networks.initial import lively_weights
from shared.training import run as run_module
from shared.training.batches import Batches
from shared.training.degradation import degradation
from shared.training.metrics import COLUMNS, read_metrics
from shared.training.prepare import check_size
from shared.training.recipe import read_recipe
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.run import Reporter
from shared.training.settings import Settings
from shared.training.start import open_runs, resume, train
from tests.conftest import ROOT

#: Settings in which rounding errors do not grow: see shared.networks.initial.lively_weights.
TAME = ("steps=20", "learning_rate=0.005")
OPTIMIZERS = {
    "plain SGD": ["momentum=0", "nesterov=no", "weight_decay=0", "schedule=constant", "warmup=0"],
    "Nesterov, decay, one-cycle, smoothing, crops": ["weight_decay=5e-3", "label_smoothing=0.1", "warmup=0.3"],
    "momentum, steps, decay of kernels only": [
        "nesterov=no",
        "weight_decay=5e-3",
        "decay_norm_and_bias=no",
        "schedule=step",
        "milestones=0.5",
        "warmup=0",
    ],
    "Adam with coupled decay": ["optimizer=adam", "learning_rate=1e-4", "weight_decay=1e-3"],
    "AdamW, cosine": ["optimizer=adamw", "learning_rate=1e-4", "weight_decay=1e-2", "schedule=cosine"],
}


def backend_name(twin) -> str:
    return next(name for name, (package, *_) in BACKENDS.items() if package == twin.__name__)


def tame(recipe, data):
    """Weights from which two correct implementations stay together."""
    size = data.train.images.shape[1]
    spec = get_spec(recipe.model, in_channels=data.channels, num_classes=len(data.classes), input_size=size)
    return lively_weights(spec, 0, tame=True)


def both(recipe, data, tmp_path):
    """Train the twins from the same tame weights; return losses and final weights of each."""
    result = train(recipe, framework="both", output=tmp_path / "both", data=data, weights=tame(recipe, data))
    losses = [np.array([row["train_loss"] for row in run.rows]) for run in result.runs.values()]
    return losses, [load_file(run.folder / "last.safetensors") for run in result.runs.values()]


def worst(first, second) -> float:
    return max(float(np.abs(first[name] - second[name]).max() / np.abs(second[name]).max()) for name in second)


# -- equal curves


@pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_float64_curves_are_equal_to_1e_9_over_20_steps(torch_twin, keras_twin, tmp_path, changes):
    """Real digits, augmented; momentum, decay, a changing rate and BatchNorm statistics included."""
    recipe = get_recipe("quick", [*TAME, "precision=float64", *changes])
    (torch_loss, keras_loss), (torch_weights, keras_weights) = both(recipe, load_data("digits"), tmp_path)
    assert len(torch_loss) == 20
    assert np.abs(torch_loss - keras_loss).max() < 1e-9
    assert worst(torch_weights, keras_weights) < 1e-9, "weights and BatchNorm statistics"
    assert torch_loss[-1] < torch_loss[0], "and something was learnt"


def test_float32_curves_are_equal_in_the_first_two_steps(torch_twin, keras_twin, tmp_path):
    (torch_loss, keras_loss), _ = both(get_recipe("quick", TAME), load_data("digits"), tmp_path)
    difference = np.abs(torch_loss - keras_loss) / keras_loss
    assert difference[0] < 1e-5
    assert difference[1] < 1e-4


@pytest.fixture(scope="session")
def cifar_folder(tmp_path_factory):
    """Some of the real CIFAR-10 pictures, unpacked: the first 40 of each class for training, 10 for testing."""
    archive = Path(os.environ.get("RESNET_TWINS_DATA", "")) / "cifar-10" / "cifar-10-jpeg.tar.xz"
    if not os.environ.get("RESNET_TWINS_DATA") or not archive.exists():
        pytest.skip("the CIFAR-10 pictures are not in $RESNET_TWINS_DATA")
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(archive) as file:
        for member in file:
            match = re.search(r"(train|test)/\w+/0*(\d+)\.jpg$", member.name)
            if match and int(match[2]) < {"train": 40, "test": 10}[match[1]]:
                file.extract(member, folder, filter="data")
    return folder


def test_float64_curves_of_resnet20_on_real_photographs(torch_twin, keras_twin, tmp_path, cifar_folder):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    changes = [*TAME, "precision=float64", "batch_size=16", "schedule=constant", "warmup=0"]
    recipe = get_recipe("fast-cifar", changes)
    data = load_data(f"folder:{cifar_folder}")
    assert len(data.classes) == 10
    assert len(data.train) >= 300
    (torch_loss, keras_loss), (torch_weights, keras_weights) = both(recipe, data, tmp_path)
    assert np.abs(torch_loss - keras_loss).max() < 1e-9
    assert worst(torch_weights, keras_weights) < 1e-9


def test_keras_own_sgd_would_part_when_the_rate_changes(keras_twin):
    """The reason for `resnet_tf/optimizers.py`: at a constant rate the two formulas agree, afterwards they do not."""
    keras = pytest.importorskip("keras")
    from resnet_tf.optimizers import SGD

    recipe = get_recipe("quick", ["momentum=0.9", "nesterov=no", "weight_decay=0", "learning_rate=0.1"])

    def walk(optimizer, rates) -> list[float]:
        variable, path = keras.Variable([1.0]), []
        for rate in rates:
            optimizer.learning_rate = rate
            optimizer.apply([keras.ops.convert_to_tensor([0.5])], [variable])
            path.append(float(variable.numpy()[0]))
        return path

    constant, changing = [0.1, 0.1, 0.1], [0.1, 0.01, 0.01]
    stock = [walk(keras.optimizers.SGD(0.1, momentum=0.9), rates) for rates in (constant, changing)]
    ours = [walk(SGD(recipe), rates) for rates in (constant, changing)]
    assert ours[0] == pytest.approx(stock[0])
    assert ours[1] != pytest.approx(stock[1], abs=1e-3)
    velocity, weight, by_hand = 0.0, 1.0, []
    for rate in changing:
        velocity = 0.9 * velocity + 0.5
        weight -= rate * velocity
        by_hand.append(weight)
    assert ours[1] == pytest.approx(by_hand)


# -- a run and its folder


@pytest.fixture
def trained(twin, tmp_path):
    """A short run of each framework."""
    recipe = get_recipe("quick", ["epochs=3"])
    return train(recipe, framework=backend_name(twin), output=tmp_path / "run").runs[backend_name(twin)]


def test_a_run_leaves_all_that_is_promised(trained, twin):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    names = {path.name for path in trained.folder.iterdir()}
    assert names == {
        "recipe.toml",
        "run.json",
        "metrics.csv",
        "curves.png",
        "confusion.png",
        "best.safetensors",
        "last.safetensors",
        "state.safetensors",
        "state.previous.safetensors",
    }
    document = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    listed = document.partition("## The files of a run")[2].partition("\n## ")[0]
    for name in names | {LOCK, HOLDER}:
        assert f"`{name}`" in listed, "the document lists every file of a run"
    assert read_recipe(trained.folder / "recipe.toml") == trained.recipe
    _, about, _ = read_about(trained.folder)
    assert about["seed"] == 0
    assert about["versions"]["numpy"] == np.__version__
    assert about["data"]["training_images"] == 1437
    model = twin.create_model(trained.spec)
    twin.load_weights(model, trained.folder / "last.safetensors")
    logits = twin.forward(
        model, twin.from_nhwc(trained.batches.inputs.prepare(trained.batches.data.test.images), model)
    )
    again = score(logits, trained.batches.data.test.labels)
    assert again.accuracy == trained.rows[-1]["test_accuracy"]
    assert again.loss == pytest.approx(trained.rows[-1]["test_loss"], rel=1e-5)
    stored = json.loads(read_metadata(trained.folder / "last.safetensors")["training"])
    assert (stored["epoch"], stored["test_accuracy"]) == (3, again.accuracy)


def test_metrics_have_a_row_for_every_step_and_a_test_for_every_epoch(trained):
    rows = read_metrics(trained.folder)
    per_epoch = trained.batches.steps_per_epoch
    assert [row["step"] for row in rows] == list(range(1, 3 * per_epoch + 1))
    assert [row["epoch"] for row in rows if "test_loss" in row] == [1, 2, 3]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [trained.recipe.learning_rate_at(step, trained.total) for step in range(trained.total)]
    )
    assert all(row["seconds"] > 0 and row["images_per_second"] > 0 for row in rows)
    header = (trained.folder / "metrics.csv").read_text().splitlines()[0]
    assert header == ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("validation", "accuracies", "chosen"),
    [("0", [0.5, 0.9, 0.7], 2), ("0.2", [0.6, 0.5, 0.8, 0.9, 0.7, 0.95], 2)],
    ids=["by the test images", "by the validation images if there are some"],
)
def test_the_best_weights_are_those_of_the_best_epoch(
    monkeypatch, torch_twin, tmp_path, validation, accuracies, chosen
):
    """The accuracies are made up, so that neither the last epoch nor the other images give the same answer."""
    invented = iter(accuracies)
    monkeypatch.setattr(
        run_module, "score", lambda logits, labels: replace(score(logits, labels), accuracy=next(invented))
    )
    recipe = get_recipe("quick", ["epochs=3", f"validation={validation}"])
    run = train(recipe, output=tmp_path / "run").runs["torch"]
    best = json.loads(read_metadata(run.folder / "best.safetensors")["training"])
    assert best["epoch"] == chosen
    assert worst(load_file(run.folder / "best.safetensors"), load_file(run.folder / "last.safetensors")) > 0


def test_score_is_cross_entropy_accuracy_and_confusion():
    logits = np.array([[2.0, 0.0], [0.0, 0.0], [-1.0, 3.0]])
    judged = score(logits, np.array([0, 1, 0]))
    expected = [math.log(1 + math.exp(-2)), math.log(2), 4 + math.log(1 + math.exp(-4))]
    assert judged.loss == pytest.approx(np.mean(expected))
    assert judged.confusion.tolist() == [[1, 1], [1, 0]]
    assert (judged.accuracy, judged.correct) == (pytest.approx(1 / 3), 1)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_shorter_numbers_train_and_their_scale_is_saved(twin, tmp_path, precision):
    name = backend_name(twin)
    recipe = get_recipe("quick", ["steps=12", f"precision={precision}"])
    run = train(recipe, framework=name, output=tmp_path / "run").runs[name]
    losses = [row["train_loss"] for row in run.rows]
    assert losses[-1] < losses[0]
    exact = train(get_recipe("quick", ["steps=12"]), framework=name, output=tmp_path / "exact").runs[name]
    differences = [abs(loss - row["train_loss"]) for loss, row in zip(losses, exact.rows, strict=True)]
    assert differences[0] < 0.05, "another function"
    assert max(differences) > 1e-5, "not rounded otherwise, so these are no shorter numbers"
    state = load_file(run.folder / "state.safetensors")
    assert all(array.dtype == np.float32 for key, array in state.items() if key.startswith("weights/"))
    assert ("scaler/scale" in state) == (precision == "float16")


def test_tensorboard_events_are_written(torch_twin, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    settings = Settings(tensorboard=True)
    run = train(get_recipe("quick", ["steps=30"]), output=tmp_path / "run", settings=settings).runs["torch"]
    content = b"".join(path.read_bytes() for path in (run.folder / "tensorboard").iterdir())
    for name in (b"loss/train", b"accuracy/test", b"learning_rate"):
        assert name in content


# -- stopping and going on


class StopAt(Reporter):
    """Does what Ctrl-C does, behind step `at`."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, run, row) -> None:
        if run.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


@pytest.mark.parametrize("at", [22, 30], ids=["at an epoch's end", "in the second epoch"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(twin, tmp_path, at):
    """Mirrored and cropped images, momentum and a changing rate included."""
    name, recipe = backend_name(twin), get_recipe("quick", ["steps=44", "flip=yes"])
    whole = train(recipe, framework=name, output=tmp_path / "whole").runs[name]
    stopped = train(recipe, framework=name, output=tmp_path / "stopped", reporter=lambda: StopAt(at))
    assert not stopped.complete
    assert stopped.runs[name].step == at, "the step that was begun is finished, and no other is begun"
    resumed = resume(tmp_path / "stopped").runs[name]
    first, second = (load_file(run.folder / "state.safetensors") for run in (whole, resumed))
    assert first.keys() == second.keys()
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []
    assert [row["train_loss"] for row in whole.rows] == pytest.approx([row["train_loss"] for row in resumed.rows])
    assert [row["seconds"] for row in resumed.rows] == sorted(row["seconds"] for row in resumed.rows)


@pytest.mark.parametrize(
    "changes", [["optimizer=adam", "learning_rate=1e-3"], ["precision=float16"]], ids=["Adam", "16"]
)
def test_adam_and_a_scaled_loss_go_on_as_well(twin, tmp_path, changes):
    name, recipe = backend_name(twin), get_recipe("quick", ["steps=12", *changes])
    whole = train(recipe, framework=name, output=tmp_path / "whole").runs[name]
    train(recipe, framework=name, output=tmp_path / "stopped", reporter=lambda: StopAt(5))
    resumed = resume(tmp_path / "stopped").runs[name]
    first, second = (load_file(run.folder / "last.safetensors") for run in (whole, resumed))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_both_twins_write_the_same_state(torch_twin, keras_twin, tmp_path):
    result = train(get_recipe("quick", ["steps=3"]), framework="both", output=tmp_path / "both")
    states = [load_file(run.folder / "state.safetensors") for run in result.runs.values()]
    shapes = [{key: array.shape for key, array in state.items() if "/" in key} for state in states]
    assert shapes[0] == shapes[1]
    assert (tmp_path / "both" / "recipe.toml").exists()
    assert result.loss_differences()[0] < 1e-5


def test_a_run_of_both_that_was_stopped_in_the_first_goes_on_with_the_second(torch_twin, keras_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=12"])
    stopped = train(recipe, framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    assert list(stopped.runs) == ["torch"]
    resumed = resume(tmp_path / "both")
    assert [run.step for run in resumed.runs.values()] == [12, 12]
    assert resumed.complete


class Notes(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def stopped(torch_twin, tmp_path):
    """A run that was saved after steps 20 and 23 of 30, the same one that was not stopped, and a reporter."""
    recipe, every = get_recipe("quick", ["steps=30"]), Settings(save_every=10)
    whole = train(recipe, output=tmp_path / "whole", settings=every).folder
    folder = train(recipe, output=tmp_path / "run", settings=every, reporter=lambda: StopAt(23)).folder
    return folder, whole, Notes()


def test_the_previous_state_stands_in_for_one_that_is_damaged_and_this_is_said(stopped):
    folder, whole, notes = stopped
    flip(folder / "state.safetensors", -1000)
    resumed = resume(folder, reporter=lambda: notes)
    (text,) = notes.texts
    assert "state.safetensors is damaged: its content has another SHA-256" in text
    assert text.endswith("going on with state.previous.safetensors, after step 22 (1 more was done, and is done again)")
    assert resumed.complete
    assert [row["step"] for row in read_metrics(folder)] == list(range(1, 31))
    for name in ("state", "last", "best"):
        first, second = (load_file(place / f"{name}.safetensors") for place in (whole, folder))
        assert [key for key in first if not np.array_equal(first[key], second[key])] == []


def test_a_kill_between_the_two_states_costs_nothing(stopped):
    """The last one has become the previous one, the new one has not got its name yet."""
    folder, _, notes = stopped
    (folder / "state.safetensors").replace(folder / "state.previous.safetensors")
    run = open_runs(folder, reporter=lambda: notes)["torch"]
    assert run.step == 23
    assert notes.texts == ["state.safetensors is missing: going on with state.previous.safetensors, after step 23"]


def test_a_damaged_state_never_replaces_the_good_one_before_it(stopped):
    folder, _, _ = stopped
    good = (folder / "state.previous.safetensors").read_bytes()
    flip(folder / "state.safetensors", 2000)
    resume(folder, reporter=lambda: StopAt(24))  # saves once
    assert (folder / "state.previous.safetensors").read_bytes() == good
    assert open_runs(folder)["torch"].step == 24


def test_two_damaged_states_are_explained(stopped):
    folder, _, _ = stopped
    state, previous = folder / "state.safetensors", folder / "state.previous.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    flip(previous, 3000)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"no good state is left in .*; delete .* to begin the run anew"):
        resume(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_state_of_an_earlier_version_has_no_hash_and_one_of_ours_must_have_it(stopped):
    from safetensors.numpy import save_file

    folder, _, notes = stopped
    path = folder / "state.safetensors"
    arrays, metadata = load_file(path), read_metadata(path)
    old = {key: metadata[key] for key in ("step", "seconds", "best")}
    save_file(arrays, path, old)
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 23
    assert notes.texts == []
    save_file(arrays, path, {**old, "format": metadata["format"]})
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 22
    assert "another SHA-256" in notes.texts[0]


def test_other_damaged_files_of_a_run_are_explained(stopped):
    folder, _, notes = stopped
    metrics, about, recipe = folder / "metrics.csv", folder / "run.json", folder / "recipe.toml"
    good = {path: path.read_bytes() for path in (metrics, about, recipe)}
    header = good[metrics].splitlines(keepends=True)[0]
    for content in (b"", header, b"step,epoch\n1,x\n", good[metrics].replace(b"1", b"2", 1), b"\0" + good[metrics]):
        metrics.write_bytes(content)
        with pytest.raises(InputError, match=r"metrics.csv is damaged; delete it to go on without the rows before"):
            resume(folder)
    metrics.write_bytes(good[metrics])
    for content in (b"{", good[about].replace(b'"threads": 0', b'"threads": 2'), b"[" * 100_000):
        about.write_bytes(content)
        with pytest.raises(InputError, match=r"run.json is damaged"):
            resume(folder)
    about.write_bytes(good[about])
    recipe.write_bytes(good[recipe].replace(b"momentum = 0.9", b"momentum = 0.8"))
    with pytest.raises(InputError, match=r"recipe.toml is not the recipe that this run began with"):
        resume(folder)
    recipe.unlink()
    flip(folder / "best.safetensors", -1)
    run = resume(folder, reporter=lambda: notes).runs["torch"]
    assert run.recipe == get_recipe("quick", ["steps=30"])
    assert recipe.read_bytes() == good[recipe], "it was written anew"
    assert "best.safetensors is damaged" in notes.texts[0]
    with pytest.raises(InputError, match="holds no training run"):
        resume(folder.parent)


#: What is said when a file of a run is not there any more; None: nothing needs to be said.
DELETED = {
    "state.safetensors": "state.safetensors is missing: going on with state.previous.safetensors, after step 22",
    "state.previous.safetensors": None,
    "best.safetensors": "from here on best.safetensors is the best of the epochs to come",
    "last.safetensors": None,
    "metrics.csv": "metrics.csv is missing: the curve begins at step 24",
    "recipe.toml": None,
}


def test_a_deleted_file_of_a_run_costs_no_bit_of_the_weights_and_is_said(stopped, tmp_path):
    folder, whole, _ = stopped
    assert {path.name for path in folder.iterdir()} >= {*DELETED, "run.json"}
    for name, said in DELETED.items():
        copy, notes = tmp_path / "copy", Notes()
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        assert resume(copy, reporter=lambda notes=notes: notes).complete
        assert len(notes.texts) == (said is not None), f"{name}: {notes.texts}"
        assert said is None or said in notes.texts[0]
        assert {path.name for path in copy.iterdir()} == {path.name for path in whole.iterdir()}, (
            "all are there again, and the figures"
        )
        for each in ("state", "last"):
            first, second = (load_file(place / f"{each}.safetensors") for place in (whole, copy))
            assert [key for key in first if not np.array_equal(first[key], second[key])] == [], name
        first_step = 24 if name == "metrics.csv" else 1
        assert [row["step"] for row in read_metrics(copy)] == list(range(first_step, 31))
        shutil.rmtree(copy)


def test_a_run_without_any_state_begins_anew_and_says_so(stopped):
    folder, whole, notes = stopped
    for name in ("state.safetensors", "state.previous.safetensors"):
        (folder / name).unlink()
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 0
    assert notes.texts == [
        "state.safetensors and state.previous.safetensors are missing: the run begins anew, at step 1"
    ]
    assert resume(folder).complete
    assert [row["step"] for row in read_metrics(folder)] == list(range(1, 31))
    first, second = (load_file(place / "state.safetensors") for place in (whole, folder))
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []


def test_lost_metrics_are_said_in_every_case_and_only_then(stopped):
    folder, whole, notes = stopped
    rows = (whole / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join([rows[0], *rows[24:]]))  # a kill came between these and their state
    assert open_runs(folder, reporter=lambda: notes)["torch"].rows == []
    assert notes.texts.pop() == "metrics.csv has no rows up to there: the curve begins at step 24"
    (whole / "metrics.csv").unlink()
    assert open_runs(whole, reporter=lambda: notes)["torch"].complete
    assert notes.texts.pop() == "metrics.csv is missing: there is no curve"
    for name in ("metrics.csv", "state.safetensors", "state.previous.safetensors"):
        (folder / name).unlink()  # as a kill before the first save leaves it
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 0
    assert notes.texts == []


def test_the_command_says_that_metrics_are_missing(stopped, call):
    folder, _, _ = stopped
    (folder / "metrics.csv").unlink()
    result = call("train", "--resume", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "metrics.csv is missing: the curve begins at step 24\n" in result.stdout


def test_without_run_json_the_message_says_what_can_still_be_done(stopped, call):
    folder, _, _ = stopped
    (folder / "run.json").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = call("train", "--resume", folder)
    advice = (
        f"start a new run. The weights of this one need no run.json: resnet-twins evaluate {folder}/best.safetensors"
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{folder} holds no training run (no run.json in it); {advice} --data NAME\n" in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call("evaluate", folder / "best.safetensors", "--data", "digits", "--framework", "torch").returncode == 0
    (folder / "run.json").write_text("{")
    (folder / "best.safetensors").unlink()
    with pytest.raises(InputError, match=r"run.json is damaged .*; start a new run.*evaluate .*last.safetensors"):
        resume(folder)


def test_a_twin_without_run_json_goes_on_by_that_of_both(torch_twin, keras_twin, tmp_path):
    train(get_recipe("quick", ["steps=12"]), framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    (tmp_path / "both" / "torch" / "run.json").unlink()
    assert open_runs(tmp_path / "both")["torch"].step == 4
    assert resume(tmp_path / "both").complete
    assert (tmp_path / "both" / "torch" / "run.json").exists(), "it was written anew"


def test_the_twins_of_both_go_on_one_by_one_without_the_run_json_around_them(torch_twin, keras_twin, tmp_path):
    train(get_recipe("quick", ["steps=12"]), framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    (tmp_path / "both" / "run.json").unlink()
    with pytest.raises(InputError, match=r"go on one by one: resnet-twins train --resume .*both.torch"):
        resume(tmp_path / "both")
    assert resume(tmp_path / "both" / "torch").complete


def test_an_experiment_without_the_metrics_of_a_network_says_what_to_do(torch_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=2"])
    place = tmp_path / "both" / "plain20_cifar"
    train(get_recipe(recipe, ["model=plain20_cifar"]), output=place)
    (place / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"metrics.csv is missing or has no first rows.*; delete .*plain20_cifar, and"):
        list(degradation(recipe, [20, 32], tmp_path / "both"))


def test_the_curve_of_a_run_whose_first_rows_are_lost_has_the_right_epochs(trained):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from shared.training.curves import plot_curves

    (whole,), (part,) = (plot_curves({"torch": rows}, "t").axes[2].lines for rows in (trained.rows, trained.rows[20:]))
    assert list(part.get_xdata()) == list(whole.get_xdata())[20:]


# -- one process at a time


def test_a_second_process_in_the_same_folder_is_refused_and_may_read(stopped, call):
    folder, _, _ = stopped
    with only_one(folder):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        resumed = call("train", "--resume", folder)
        fresh = call("train", "--output", folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert open_runs(folder)["torch"].step == 23
    assert (resumed.returncode, fresh.returncode) == (2, 2)
    assert f"Error: {folder} is in use by process {os.getpid()} on " in resumed.stderr
    assert {path.name for path in folder.iterdir()} == before.keys() - {"run.lock", "run.lock.txt"}


def test_a_second_start_in_the_same_empty_folder_is_refused(torch_twin, tmp_path):
    (tmp_path / "run").mkdir()
    with only_one(tmp_path / "run"), pytest.raises(InputError, match="is in use by process"):
        train(get_recipe("quick", ["steps=2"]), output=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()), "the folder counts as empty, and stays"


def test_an_experiment_that_runs_already_is_refused(torch_twin, tmp_path, call):
    (tmp_path / "runs" / "degradation").mkdir(parents=True)
    with only_one(tmp_path / "runs" / "degradation"):
        result = call("experiment", "degradation", "--epochs", "1")
    assert (result.returncode, "is in use by process" in result.stderr) == (2, True)


def test_what_a_killed_start_leaves_behind_is_no_obstacle(torch_twin, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    left = {"run.lock", "run.lock.txt", "tmp-abc-run.json", "tmp-probe", "tmp-abc-tmp-probe"}
    for name in left:
        (folder / name).write_text("x")
    assert train(get_recipe("quick", ["steps=2"]), output=folder).complete
    assert not {path.name for path in folder.iterdir()} & left
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tmp-thesis.txt").write_text("dear reader")
    with pytest.raises(InputError, match="something is there already"):
        train(get_recipe("quick", ["steps=2"]), output=tmp_path / "mine")


def test_a_folder_that_vanishes_ends_the_run_in_one_line(twin, tmp_path):
    class Vanish(Reporter):
        def step(self, run, row) -> None:
            if run.step == 25:
                shutil.move(run.folder, tmp_path / "elsewhere")

    name = backend_name(twin)
    with pytest.raises(TrainingError, match=r"step \d+: the folder .* is gone .*--resume FOLDER"):
        train(get_recipe("quick", ["epochs=3"]), framework=name, output=tmp_path / "run", reporter=Vanish)
    assert not (tmp_path / "run").exists()
    assert open_runs(tmp_path / "elsewhere")[name].step == 22, "what was saved before is whole"


def test_a_complete_run_is_not_trained_again(torch_twin, tmp_path):
    train(get_recipe("quick", ["steps=3"]), output=tmp_path / "run")
    with pytest.raises(InputError, match="is complete: all steps are done"):
        resume(tmp_path / "run")
    assert open_runs(tmp_path / "run")["torch"].complete


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


# -- BatchNorm and a batch of one number for each channel

ONE_PIXEL = ["steps=2", "batch_size=1", "model=resnet18", "image_size=32"]


def test_a_batch_of_one_pixel_is_refused_with_the_same_line_by_both_before_anything_is_written(twin, tmp_path):
    with pytest.raises(InputError) as told:
        train(get_recipe("quick", ONE_PIXEL), framework=backend_name(twin), output=tmp_path / "run")
    assert str(told.value) == (
        "batch_size is 1, and from images of 32x32 pixels layer4.0.bn1 of resnet18 gets one pixel: a BatchNorm cannot "
        "learn from one number; make batch_size or image_size larger, or --set freeze_norm=true"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "together", "good"),
    [
        (["batch_size=1"], None, False),
        (["batch_size=2"], None, True),
        (["batch_size=2"], 1, False),
        (["batch_size=4"], 2, True),
        (["batch_size=1", "image_size=33"], None, True),
        (["batch_size=1", "freeze_norm=true"], None, True),
        (["batch_size=1", "model=resnet50"], None, False),
        (["batch_size=1", "model=resnet20_cifar", "image_size=4"], None, False),
        (["batch_size=1", "model=resnet20_cifar", "image_size=5"], None, True),
        (["batch_size=1", "model=preact_resnet110_cifar", "image_size=4"], None, False),
    ],
)
def test_a_batch_of_one_pixel_is_found_in_every_network(changes, together, good):
    recipe = get_recipe("quick", [*ONE_PIXEL, *changes])
    batches = Batches(load_data("digits"), recipe)
    if good:
        check_size(recipe, batches, together)
    else:
        with pytest.raises(InputError, match="gets one pixel: a BatchNorm cannot learn from one number") as told:
            check_size(recipe, batches, together)
        assert (together == 1) == ("batch_size is 2, so that each process has 1 image, and" in str(told.value))


def test_a_run_with_such_a_batch_that_was_begun_elsewhere_is_refused_too(torch_twin, tmp_path):
    """As the Keras twin began them before."""
    train(get_recipe("quick", ["steps=3"]), output=tmp_path / "run", reporter=lambda: StopAt(1))
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    recipe = get_recipe("quick", ["steps=3", "batch_size=1", "model=resnet20_cifar", "image_size=4"])
    del about["sha256"]
    (tmp_path / "run" / "run.json").write_text(json.dumps({**about, "recipe": recipe.to_toml()}))
    for name in ("recipe.toml", "state.safetensors", "state.previous.safetensors", "metrics.csv"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(InputError, match="a BatchNorm cannot learn from one number"):
        resume(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before

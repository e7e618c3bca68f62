"""Training: equal curves of both twins, the folder of a run, small batches."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.base.errors import InputError
from shared.base.lock import HOLDER, LOCK
from shared.checkpoints.ours import read_metadata
from shared.data.load import load_data
from shared.data.score import score
from shared.networks.catalog import get_spec
from shared.training import run as run_module
from shared.training.metrics import COLUMNS, read_metrics
from shared.training.prepare import prepare
from shared.training.recipe import read_recipe
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.run import Run
from shared.training.settings import Settings
from shared.training.start import resume, train
from tests.conftest import ROOT
from tests.training.support import StopAt, backend_name, both

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


@pytest.fixture(scope="session")
def exact_once(tmp_path_factory):
    """A run with full precision, made once."""

    @functools.cache
    def make(name: str) -> Run:
        place = tmp_path_factory.mktemp("exact") / "run"
        return train(get_recipe("quick", ["steps=12"]), framework=name, output=place).runs[name]

    return make


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_shorter_numbers_train_and_their_scale_is_saved(twin, tmp_path, exact_once, precision):
    name = backend_name(twin)
    recipe = get_recipe("quick", ["steps=12", f"precision={precision}"])
    run = train(recipe, framework=name, output=tmp_path / "run").runs[name]
    losses = [row["train_loss"] for row in run.rows]
    assert losses[-1] < losses[0]
    exact = exact_once(name)
    differences = [abs(loss - row["train_loss"]) for loss, row in zip(losses, exact.rows, strict=True)]
    assert differences[0] < 0.05, "another function"
    assert max(differences) > 1e-5, "not rounded otherwise, so these are no shorter numbers"
    state = load_file(run.folder / "state.safetensors")
    assert all(array.dtype == np.float32 for key, array in state.items() if key.startswith("weights/"))
    assert ("scaler/scale" in state) == (precision == "float16")


@pytest.mark.draws
def test_a_run_draws_its_figures(torch_twin, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = train(get_recipe("quick", ["steps=3"]), output=tmp_path / "run").runs["torch"].folder
    for name in ("curves.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert (folder / name).stat().st_size > 10_000


def test_tensorboard_events_are_written(torch_twin, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    settings = Settings(tensorboard=True)
    run = train(get_recipe("quick", ["steps=30"]), output=tmp_path / "run", settings=settings).runs["torch"]
    content = b"".join(path.read_bytes() for path in (run.folder / "tensorboard").iterdir())
    for name in (b"loss/train", b"accuracy/test", b"learning_rate"):
        assert name in content


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
    prepared = prepare(recipe, get_spec(recipe.model), data=load_data("digits"))
    if good:
        prepared.check(together)
    else:
        with pytest.raises(InputError, match="gets one pixel: a BatchNorm cannot learn from one number") as told:
            prepared.check(together)
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

"""What trained weights say of pictures: `evaluate`, `predict`, the weights that ship, and the paper's experiment."""

from __future__ import annotations

import csv
import json
import re
import tarfile
import tomllib

import numpy as np
import pytest

from shared.backends import BACKENDS
from shared.base.errors import InputError
from shared.checkpoints.ours import HASH, read_metadata, write_safetensors
from shared.checkpoints.shipped import ASSETS, SHIPPED, read_trained
from shared.data.load import load_data
from shared.networks.catalog import get_spec
from shared.training.degradation import degradation
from shared.training.recipe import Recipe
from shared.training.recipes import get_recipe
from shared.twins.answers import inputs_of
from shared.twins.evaluation import evaluate
from shared.twins.prediction import predict
from tests.conftest import ROOT

DIGITS = ASSETS / "resnet8_digits.safetensors"


@pytest.fixture
def digit_pictures(tmp_path):
    """The held-out digits as PNG files in test/CLASS, with the classes' right names, and a broken one."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    digits = load_data("digits").test
    for index, (pixels, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        folder = tmp_path / "pictures" / "test" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        bright = (pixels[:, :, 0].astype(np.float64) * 255 / 16).round().astype(np.uint8)
        image.fromarray(bright).save(folder / f"{index:03}.png")
    (tmp_path / "pictures" / "test" / "3" / "broken.png").write_bytes(b"\x89PNG no")
    return tmp_path / "pictures"


# -- evaluate


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_evaluate_counts_right_and_differing_predictions(call, tmp_path, torch_twin, keras_twin, digit_pictures, kind):
    """On the held-out digits written as pictures: as many right as on the arrays. The scaling is in the weights."""
    source = digit_pictures
    if kind == "tar":
        source = tmp_path / "pictures.tar.xz"
        with tarfile.open(source, "w:xz") as archive:
            archive.add(digit_pictures / "test", "test")
    result = call("evaluate", "resnet8_digits", source)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("top-1 99.72% (359 of 360 right)") == 2
    assert "0 of 360 predictions differ" in result.stdout
    assert re.search(r"1 pictures did not decode and were skipped: (test/)?3/broken.png", result.stdout)


def test_evaluate_takes_the_test_images_of_a_data_set(call, torch_twin, keras_twin):
    result = call("evaluate", DIGITS, "--data", "digits")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("(359 of 360 right)") == 2
    limited = call("evaluate", "resnet8_digits", "--data", "digits", "--limit", "20", "--framework", "torch")
    assert "on 20 pictures of digits" in limited.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mean", "a,b"], "--mean is 'a,b'; wanted are numbers"),
        (["--mean", "0.1,0.2", "--std", "1"], "wanted is one value, or one for each of 1 channels"),
        (["--std", "0"], "std (0.0,)"),
        (["--mean", "nan"], "mean is (nan,)"),
        (["--limit", "0"], "limit is 0"),
        (["--model", "resnet20_cifar"], "do not fit"),
        (["--data", "fashion"], "unknown data set 'fashion'"),
        (["--data", "folder:nowhere"], "nowhere"),
    ],
)
def test_evaluate_explains_bad_input(call, torch_twin, keras_twin, arguments, message):
    data = [] if "--data" in arguments else ["--data", "digits"]
    refused = call("evaluate", "resnet8_digits", *data, *arguments)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


def test_evaluate_needs_pictures_or_a_data_set_but_not_both(call, torch_twin, keras_twin, tmp_path):
    for arguments in ([], [tmp_path, "--data", "digits"]):
        refused = call("evaluate", "resnet8_digits", *arguments)
        assert (refused.returncode, "either pictures" in refused.stderr) == (2, True)
    unknown = call("evaluate", "resnet9_digits", "--data", "digits")
    assert "those are resnet20_cifar, resnet8_digits" in unknown.stderr


def test_classes_are_matched_by_name_not_by_their_order(torch_twin, digit_pictures):
    """A folder's classes come sorted, a network's in the order of its training."""
    trained = read_trained("resnet8_digits")
    turned = dict(trained.arrays)
    order = np.roll(np.arange(10), 3)
    for name in ("fc.weight", "fc.bias"):
        turned[name] = turned[name][order]
    assert trained.inputs is not None
    classes = tuple(trained.inputs.classes[number] for number in order)
    metadata = json.loads(trained.inputs.to_json()) | {"classes": classes}
    path = digit_pictures.parent / "turned.safetensors"
    write_safetensors(path, turned, trained.spec, {"inputs": json.dumps(metadata)})
    assert evaluate(path, digit_pictures, frameworks=["torch"]).correct("torch") == 359


def test_a_folder_is_split_as_in_training(torch_twin, digit_pictures, tmp_path):
    """Without a `test` folder the pictures that the network was trained on must not count as test pictures."""
    (digit_pictures / "test" / "3" / "broken.png").unlink()
    folder = (digit_pictures / "test").rename(tmp_path / "flat")
    every = evaluate("resnet8_digits", folder, frameworks=["torch"])
    held_out = evaluate("resnet8_digits", data=f"folder:{folder}", frameworks=["torch"])
    assert (len(every.labels), len(held_out.labels)) == (360, len(load_data(f"folder:{folder}").test))
    assert len(held_out.labels) < 80


def test_classes_that_the_network_does_not_know_are_refused(torch_twin, digit_pictures):
    (digit_pictures / "test" / "9").rename(digit_pictures / "test" / "nine")
    with pytest.raises(InputError, match="has classes that resnet8_digits does not know: nine"):
        evaluate("resnet8_digits", digit_pictures, frameworks=["torch"])


def test_the_real_checkpoint_on_real_photographs(call, torch_twin, keras_twin, real_data):
    """Somebody else's weights in both twins, on 300 of the CIFAR-10 test images (as JPEG files)."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    checkpoint = real_data / "checkpoints" / "resnet20-cifar10.th"
    pictures = real_data / "cifar-10" / "cifar-10-jpeg.tar.xz"
    if not (checkpoint.exists() and pictures.exists()):
        pytest.skip("the CIFAR checkpoint or the CIFAR-10 pictures are not in $RESNET_TWINS_DATA")
    result = call("evaluate", checkpoint, pictures, "--limit", "300")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 of 300 predictions differ" in result.stdout
    right = [int(line.split("(")[1].split()[0]) for line in result.stdout.splitlines() if "top-1" in line]
    assert len(right) == 2
    assert right[0] == right[1]
    assert 0.75 < right[0] / 300 < 0.87  # 81.03% on all 10,000


# -- predict


def test_predict_shows_both_twins_probabilities_and_whether_they_agree(call, torch_twin, keras_twin, digit_pictures):
    picture = sorted((digit_pictures / "test" / "7").iterdir())[0]
    result = call("predict", picture, "--weights", "resnet8_digits", "--top", "3")
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^  (\d) +PyTorch +([\d.]+)% +Keras +([\d.]+)%", result.stdout, re.MULTILINE)
    assert len(rows) == 3
    assert rows[0][0] == "7"
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
    assert all(abs(float(row[1]) - float(row[2])) < 0.02 for row in rows)
    assert "the twins agree on 1 of 1 pictures" in result.stdout


def test_predict_takes_folders_and_a_list_on_standard_input(call, monkeypatch, torch_twin, digit_pictures):
    folder = digit_pictures / "test" / "5"
    options = ("--weights", "resnet8_digits", "--framework", "torch", "--top", "1")
    from_folder = call("predict", folder, *options)
    names = sorted(path.name for path in folder.iterdir())
    assert all(name in from_folder.stdout for name in names)
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(str(folder / name) for name in names) + "\n"))
    assert call("predict", "-", *options).stdout == from_folder.stdout


def test_predict_skips_what_does_not_decode_and_says_so(call, torch_twin, digit_pictures):
    folder = digit_pictures / "test" / "3"
    result = call("predict", folder, "--weights", "resnet8_digits", "--framework", "torch")
    assert result.returncode == 2
    assert "broken.png" in result.stderr
    assert "1 of" in result.stderr
    assert "pictures did not decode" in result.stderr
    assert result.stdout.count("PyTorch") == 5 * (len(list(folder.iterdir())) - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg"], "there is no picture nowhere.jpg"),
        (["empty"], "the folder empty holds no picture"),
        (["notes.txt"], "none of the 1 pictures can be read"),
        (["notes.txt", "--top", "0"], "--top is 0"),
        (["notes.txt", "--weights", "nope"], "no weights of that name ship"),
        (["notes.txt", "--weights", "notes.txt"], "readable are .pth"),
        ([], "Missing argument"),
    ],
)
def test_predict_explains_bad_input(call, tmp_path, torch_twin, keras_twin, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    result = call("predict", *arguments)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_probabilities_are_a_softmax(torch_twin, digit_pictures):
    found = predict([str(digit_pictures / "test" / "1")], weights="resnet8_digits", frameworks=["torch"])
    shares = found.probabilities("torch")
    assert np.allclose(shares.sum(1), 1)
    distance = np.log(shares) - found.logits["torch"]
    assert np.allclose(distance, distance[:, :1], atol=1e-4), "the logarithm and the logits differ by one number a row"


def test_convert_keeps_the_classes_and_the_scaling(call, tmp_path):
    assert call("convert", DIGITS, tmp_path / "copy.safetensors").returncode == 0
    copy, original = read_metadata(tmp_path / "copy.safetensors"), read_metadata(DIGITS)
    assert {"inputs", "training", "spec"} <= original.keys()
    assert {name: text for name, text in copy.items() if name not in ("format", HASH)} == {
        name: text for name, text in original.items() if name not in ("format", HASH)
    }


def test_stored_inputs_that_lie_are_refused(tmp_path):
    trained = read_trained("resnet8_digits")
    assert trained.inputs is not None
    lie = json.loads(trained.inputs.to_json()) | {"classes": ["a", "b"]}
    path = tmp_path / "lie.safetensors"
    write_safetensors(path, trained.arrays, trained.spec, {"inputs": json.dumps(lie)})
    with pytest.raises(InputError, match="2 classes and 1 means, the network 10 classes"):
        read_trained(path)


def test_weights_without_stored_inputs_get_imagenets():
    trained = read_trained("resnet8_digits")
    from dataclasses import replace

    assert inputs_of(replace(trained, inputs=None)).mean == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)


# -- the weights that ship


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_weights_are_small_and_say_what_they_are(name):
    path = ASSETS / f"{name}.safetensors"
    assert path.stat().st_size <= 1_200_000
    trained = read_trained(name)
    assert trained.spec.name == name
    assert trained.inputs is not None
    metadata = json.loads(read_metadata(path)["training"])
    card = (ASSETS / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("Data", "Licence", "Recipe", "Command", "Accuracy", "What it is bad at"):
        assert f"**{heading}" in card, f"the card says nothing about {heading}"
    assert f"{metadata['test_accuracy']:.2%}" in card
    command = re.search(r"resnet-twins train (.+?)`", card)
    assert command, "the card must hold the command"
    recipe = Recipe(**tomllib.loads(metadata["recipe"]))
    named = re.search(r"--recipe ([\w-]+)", command[1])
    assert recipe.name == (named[1] if named else "quick")
    assert f"seed {recipe.seed}" in card


def test_the_shipped_digits_network_is_right_as_often_as_its_card_says(torch_twin, keras_twin):
    found = evaluate("resnet8_digits", data="digits")
    card = (ASSETS / "resnet8_digits.md").read_text(encoding="utf-8")
    assert [found.correct(name) for name in BACKENDS] == [359, 359]
    assert found.differing == 0
    assert "359 of 360" in card
    assert "359 of 360" in (ROOT / "README.md").read_text(encoding="utf-8")


def card_count(name: str) -> int:
    card = (ASSETS / f"{name}.md").read_text(encoding="utf-8")
    return int(re.search(r"([\d,]+) of 10,000", card)[1].replace(",", ""))


@pytest.mark.slow
def test_the_shipped_cifar_network_is_right_as_often_as_its_card_says(torch_twin, keras_twin, real_data):
    """On all 10,000 test images, as JPEG files."""
    pictures = real_data / "cifar-10" / "cifar-10-jpeg.tar.xz"
    if not pictures.exists():
        pytest.skip("the CIFAR-10 pictures are not in $RESNET_TWINS_DATA")
    found = evaluate("resnet20_cifar", pictures)
    stated = card_count("resnet20_cifar")
    assert len(found.labels) == 10_000
    # Another processor rounds otherwise: a handful of pictures lie that close to the border of two classes.
    assert all(abs(found.correct(name) - stated) <= 5 for name in BACKENDS)
    assert found.differing == 0
    assert f"{stated:,} of 10,000" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_shipped_cifar_network_on_500_real_photographs(torch_twin, keras_twin, real_data):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    pictures = real_data / "cifar-10" / "cifar-10-jpeg.tar.xz"
    if not pictures.exists():
        pytest.skip("the CIFAR-10 pictures are not in $RESNET_TWINS_DATA")
    found = evaluate("resnet20_cifar", pictures, limit=500)
    stated = card_count("resnet20_cifar") / 10_000
    assert found.differing == 0
    # Of 500 pictures three standard deviations are about 4.5 points.
    assert abs(found.score("torch").accuracy - stated) < 0.045


# -- the degradation experiment


@pytest.fixture
def short() -> Recipe:
    return get_recipe("degradation-digits", ["steps=4", "batch_size=32"])


def test_degradation_trains_every_network_and_writes_curves_gradients_and_figure(torch_twin, tmp_path, short):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    curves = list(degradation(short, [20, 32], tmp_path / "out"))
    assert [curve.name for curve in curves] == ["plain-20", "resnet-20", "plain-32", "resnet-32"]
    for curve in curves:
        assert len(curve.gradients["initial"]) == curve.depth - 1  # one fully connected layer, the others convolve
        assert all(norm > 0 for norm in curve.gradients["initial"])
    with (tmp_path / "out" / "degradation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_error"]) for row in rows] == pytest.approx(
        [value for curve in curves for value in curve.train_error], abs=1e-6
    )
    assert (tmp_path / "out" / "degradation.png").stat().st_size > 10_000
    before = (tmp_path / "out" / "plain20_cifar" / "state.safetensors").stat().st_mtime_ns
    again = list(degradation(short, [20, 32], tmp_path / "out"))
    assert [curve.train_error for curve in again] == [curve.train_error for curve in curves]
    assert (tmp_path / "out" / "plain20_cifar" / "state.safetensors").stat().st_mtime_ns == before, "trained once"
    with pytest.raises(InputError, match="by another recipe"):
        list(degradation(get_recipe(short, ["seed=1"]), [20, 32], tmp_path / "out"))
    with pytest.raises(InputError, match="another recipe or framework"):
        list(degradation(short, [20, 32], tmp_path / "out", framework="tf"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depths", "20"], "two depths or more"),
        (["--depths", "20,21"], "21 is not among the paper's"),
        (["--depths", "a,b"], "wanted are whole numbers with commas"),
        (["--framework", "both"], "in one of torch and tf"),
    ],
)
def test_experiment_explains_bad_input(call, torch_twin, arguments, message):
    result = call("experiment", "degradation", *arguments)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr


@pytest.mark.slow
def test_on_digits_the_deeper_plain_network_trains_worse_and_the_deeper_residual_one_does_not(
    call, torch_twin, tmp_path
):
    """The claim of the paper, on training error, by the command as its user types it."""
    result = call("experiment", "degradation")
    assert result.returncode == 0, result.stderr
    with (tmp_path / "runs" / "degradation" / "degradation.csv").open() as file:
        last = {f"{row['network']}{row['depth']}": float(row["train_error"]) for row in csv.DictReader(file)}
    assert last["plain56"] > last["plain20"] + 0.1
    assert last["resnet56"] < last["plain56"] - 0.1
    assert last["resnet56"] < 0.02
    assert re.search(r"training error of the deepest plain network: \+\d\d\.\d\d points", result.stdout)


def test_weights_that_ask_for_images_larger_than_the_memory_are_refused(monkeypatch):
    from shared.twins import answers as judging

    spec = get_spec("resnet50", input_size=4096)
    monkeypatch.setattr(judging, "machine_memory", lambda: 64_000_000_000)
    assert judging.images_at_once(get_spec("resnet50")) == 256
    assert 1 <= judging.images_at_once(spec) < 20
    monkeypatch.setattr(judging, "machine_memory", lambda: 2_000_000_000)
    with pytest.raises(InputError, match="4096x4096 pixels takes about 4 GB in resnet50, and this"):
        judging.images_at_once(spec)

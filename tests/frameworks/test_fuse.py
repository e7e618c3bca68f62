"""Folding BatchNorms into convolutions: equal logits, fewer layers, the original untouched."""

from __future__ import annotations

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from shared.networks.canonical import is_fused
from shared.networks.catalog import SPECS, get_spec
from shared.networks.folding import fold, folded_norms
from shared.networks.initial import lively_weights
from shared.networks.table import layer_table, weight_shapes
from shared.twins.difference import random_images

#: One network of each kind: basic, bottleneck, option A, pre-activation, biased, plain, another shortcut.
NAMES = [
    "resnet18",
    "resnet50",
    "resnet20_cifar",
    "preact_resnet18",
    "preact_resnet50",
    "resnet50_keras",
    "plain18",
    "resnet14_cifar_conv3x3",
]


def small(name: str):
    """The network for the smallest images that it takes, with weights that are all different from 0 and 1."""
    spec = get_spec(name)
    spec = get_spec(name, input_size=spec.min_input_size, num_classes=10)
    return spec, lively_weights(spec, 0, tame=True)


@pytest.mark.parametrize("name", NAMES)
def test_fused_logits_are_equal_to_1e_5_and_the_original_stays_as_it_was(twin, name):
    spec, weights = small(name)
    model = twin.create_model(spec)
    twin.set_weights(model, weights)
    images = twin.from_nhwc(random_images(spec, spec.input_size, 4, 0), model)
    wanted = twin.forward(model, images)
    fused = twin.fuse(model)
    found = twin.forward(fused, images)
    assert np.abs(found - wanted).max() / np.abs(wanted).max() < 1e-5
    assert np.array_equal(twin.forward(model, images), wanted), "the original was changed"
    after = twin.get_weights(model)
    assert all(np.array_equal(after[key], array.astype(np.float32)) for key, array in weights.items())


@pytest.mark.parametrize("name", NAMES)
def test_fusing_takes_every_norm_away_that_stands_behind_a_convolution(twin, name):
    spec, _ = small(name)
    model = twin.create_model(spec, seed=0)
    norms = {row.name for row in layer_table(spec) if row.kind == "batch_norm"}
    left = {
        key.removesuffix(".running_var") for key in twin.get_weights(twin.fuse(model)) if key.endswith("running_var")
    }
    assert left == norms - set(folded_norms(spec).values())
    assert bool(left) == spec.preact, "only pre-activation networks have norms that follow a sum"


def test_fused_logits_are_equal_in_float64_to_rounding(twin):
    spec, weights = small("resnet50")
    model = twin.create_model(spec, dtype="float64")
    twin.set_weights(model, weights)
    images = twin.from_nhwc(random_images(spec, spec.input_size, 4, 0), model)
    wanted = twin.forward(model, images)
    assert np.abs(twin.forward(twin.fuse(model), images) - wanted).max() / np.abs(wanted).max() < 1e-12


@pytest.mark.parametrize("name", SPECS)
def test_all_norms_of_a_network_are_folded_and_in_a_pre_activation_one_those_within_blocks(name):
    spec = SPECS[name]
    pairs = folded_norms(spec)
    norms = {row.name for row in layer_table(spec) if row.kind == "batch_norm"}
    assert len(set(pairs.values())) == len(pairs)
    left = norms - set(pairs.values())
    if not spec.preact:
        assert left == set()
        return
    stem = set() if spec.stem.max_pool else {"layer1.0.bn1"}  # it reads the stem's convolution
    assert left == {name for name in norms if name.endswith(".bn1") or name == "bn_last"} - stem


def test_folding_by_hand():
    """One channel: gamma 3, beta 1, mean 2, variance 4 - eps make 3 (5 x - 2) / 2 + 1 of a kernel 5."""
    spec = get_spec("resnet18")
    arrays = {f"bn1.{key}": np.array([value]) for key, value in (("weight", 3.0), ("bias", 1.0), ("running_mean", 2.0))}
    arrays |= {"bn1.running_var": np.array([4 - spec.norm_eps]), "conv1.weight": np.full((1, 1, 1, 1), 5.0)}
    others = lively_weights(spec, 0)
    folded = fold(spec, others | arrays)
    assert folded["conv1.weight"].item() == pytest.approx(7.5)
    assert folded["conv1.bias"].item() == pytest.approx(-2.0)


def test_fuse_refuses_what_it_does_not_know(torch_twin, keras_twin):
    import keras
    import torch

    wrapped = torch.compile(torch_twin.create_model("resnet8_digits", seed=0), backend="eager")
    for twin, model in ((torch_twin, torch.nn.Sequential()), (torch_twin, wrapped), (keras_twin, keras.Sequential())):
        words = f"takes a network as create_model returns it; this one is of the class {type(model).__name__}"
        with pytest.raises(InputError, match=words):
            twin.fuse(model)


def test_a_fused_network_is_not_fused_again(twin):
    fused = twin.fuse(twin.create_model("resnet8_digits", seed=0))
    with pytest.raises(InputError, match="this network is fused already"):
        twin.fuse(fused)


@pytest.mark.parametrize("name", ["resnet8_digits", "preact_resnet18"])
def test_a_fused_network_is_not_saved_and_its_weights_are_not_mixed_up(twin, tmp_path, name):
    spec, weights = small(name)
    model = twin.create_model(spec)
    fused = twin.fuse(model)
    with pytest.raises(WeightsError, match=r"a fused network .* is not saved: save the original, and fuse it again"):
        twin.save_weights(fused, tmp_path / "fused.safetensors")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WeightsError, match="only the weights are fused"):
        twin.set_weights(model, twin.get_weights(fused))
    with pytest.raises(WeightsError, match="only the model is fused"):
        twin.set_weights(fused, weights)


def test_a_file_of_a_fused_network_is_called_so(torch_twin, call, tmp_path):
    torch_twin.write_native(torch_twin.fuse(torch_twin.create_model("resnet8_digits", seed=0)), tmp_path / "fused.pth")
    result = call("convert", "fused.pth", "out.safetensors")
    assert result.returncode == 2
    assert "fused.pth holds a fused network" in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", SPECS)
def test_weights_are_called_fused_only_if_they_are(name):
    shapes = weight_shapes(SPECS[name])
    assert not is_fused(shapes)
    norms = tuple(folded_norms(SPECS[name]).values())
    left = {key for key in shapes if key.rpartition(".")[0] not in norms}
    assert is_fused(left | {f"{conv}.bias" for conv in folded_norms(SPECS[name])})


def test_a_fused_network_shows_that_it_is_one(torch_twin, keras_twin):
    models = [twin.fuse(twin.create_model("resnet8_digits", seed=0)) for twin in (torch_twin, keras_twin)]
    assert "(bn1): Folded()" in torch_twin.printout(models[0])
    assert 'Model: "resnet8_digits_fused"' in keras_twin.printout(models[1])
    assert "Trainable params: 0" in keras_twin.printout(models[1])
    torch_rows, keras_rows = (
        {row.name: (row.parameters, row.buffers) for row in twin.layer_rows(model) if row.parameters}
        for twin, model in zip((torch_twin, keras_twin), models, strict=True)
    )
    assert torch_rows == keras_rows
    assert torch_rows["conv1"] == (3 * 3 * 16 + 16, 0)


def test_a_fused_network_says_at_once_that_it_is_not_trained(twin):
    spec, _ = small("preact_resnet18")
    fused = twin.fuse(twin.create_model(spec, seed=0))
    images = twin.from_nhwc(random_images(spec, spec.input_size, 2, 0), fused)
    before = twin.get_weights(fused)
    with pytest.raises(InputError, match="no parameter of this model is trainable"):
        twin.train_step(fused, images, np.array([0, 1]), 0.1)
    if twin.TITLE == "Keras":
        import keras

        fused.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            fused.fit(images, np.array([0, 1]), verbose=0)
    else:
        import torch

        with pytest.raises(RuntimeError, match="does not require grad"):
            fused(torch.as_tensor(images)).sum().backward()
    after = twin.get_weights(fused)
    assert all(np.array_equal(after[key], array) for key, array in before.items())


def test_a_fused_keras_model_is_saved_and_loaded_whole(keras_twin, tmp_path):
    import keras

    spec, weights = small("resnet8_digits")
    model = keras_twin.create_model(spec)
    keras_twin.set_weights(model, weights)
    keras_twin.write_native(keras_twin.fuse(model), tmp_path / "fused.keras")
    loaded = keras.models.load_model(tmp_path / "fused.keras")
    assert (loaded.name, loaded.trainable_variables) == ("resnet8_digits_fused", [])
    images = random_images(spec, spec.input_size, 2, 0)
    assert np.abs(keras_twin.forward(loaded, images) - keras_twin.forward(model, images)).max() < 1e-4
    with pytest.raises(WeightsError, match="a fused network"):
        keras_twin.save_weights(loaded, tmp_path / "fused.safetensors")


@pytest.mark.slow
def test_a_fused_network_can_be_compiled(torch_twin):
    import torch

    spec, weights = small("resnet8_digits")
    model = torch_twin.create_model(spec)
    torch_twin.set_weights(model, weights)
    images = torch_twin.from_nhwc(random_images(spec, spec.input_size, 2, 0), model)
    with torch.inference_mode():
        found = torch.compile(torch_twin.fuse(model), backend="aot_eager")(torch.as_tensor(images)).numpy()
    assert np.abs(found - torch_twin.forward(model, images)).max() < 1e-4

"""The microscope finds planted faults: the right layer and the right cause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.networks.catalog import get_spec
from shared.networks.initial import lively_weights
from shared.twins.difference import random_images, random_labels
from shared.twins.microscopy import examine, microscope


@pytest.fixture
def look(torch_twin, keras_twin):
    """Examine a fresh pair of twins after `spoil(torch_model, keras_model)`; further keywords change the inputs."""

    def run(spec, spoil=lambda torch_model, keras_model: None, *, inputs=lambda t, k: (t, k), labels=None):
        weights, images = lively_weights(spec, 0, tame=True), random_images(spec, spec.input_size, 2, 0)
        models = []
        for twin in (torch_twin, keras_twin):
            model = twin.create_model(spec, dtype="float64")
            twin.set_weights(model, weights)
            models.append(model)
        models[0].eval()
        replaced = spoil(*models)
        torch_model, keras_model = replaced if replaced else models
        given = inputs(torch_twin.from_nhwc(images, models[0]), keras_twin.from_nhwc(images, models[1]))
        return examine(spec, torch_model, keras_model, *given, labels)

    return run


def narrow(name, **more):
    """A network with few channels: what is looked for is the same, and it is built and run in a moment."""
    stem = replace(get_spec(name).stem, out_channels=8)
    return get_spec(name, stem=stem, widths=(8, 16, 32, 64), input_size=64, num_classes=10, **more)


SPEC = narrow("resnet18")


def rebuilt(keras_model, weights_from, change):
    """Build the Keras model anew with `change(config of a layer)` applied, as if it had been written so."""
    import keras

    from resnet_tf.weights import get_weights, set_weights

    def clone(layer):
        config = layer.get_config()
        change(layer.name, config)
        return type(layer).from_config(config)

    model = keras.models.clone_model(keras_model, clone_function=clone)
    set_weights(model, get_weights(weights_from))
    model.spec = keras_model.spec
    return model


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "resnet20_cifar", "plain20_cifar"])
def test_sound_twins_show_no_difference(torch_twin, keras_twin, name):
    seen = microscope(name)
    assert seen.equal
    assert seen.cause == ""
    assert max(layer.activation for layer in seen.layers) < 1e-12
    assert max(layer.gradient for layer in seen.layers if layer.gradient is not None) < 1e-11
    assert "the twins agree" in seen.verdict


def test_sound_twins_show_no_difference_in_float32_either(torch_twin, keras_twin):
    assert microscope("resnet18", dtype="float32").equal


@pytest.mark.parametrize("layer", ["conv1", "layer3.0.conv1"])
def test_same_padding_in_a_strided_convolution(look, layer):
    def spoil(torch_model, keras_model):
        def change(name, config):
            if name == layer:
                config["padding"] = "same"
            if name == f"{layer}.pad":
                config["padding"] = 0

        return torch_model, rebuilt(keras_model, keras_model, change)

    seen = look(SPEC, spoil)
    assert seen.first == layer
    assert 'in Keras, padding="same" with a stride' in seen.cause


def test_another_eps(look):
    def spoil(torch_model, keras_model):
        def change(name, config):
            if name == "layer2.1.bn1":
                config["epsilon"] = 1e-3

        return torch_model, rebuilt(keras_model, keras_model, change)

    seen = look(SPEC, spoil)
    assert (seen.first, seen.cause) == ("layer2.1.bn1", "in Keras, eps is 0.001, the table says 1e-05")


def test_another_eps_in_pytorch_too(look):
    def spoil(torch_model, keras_model):
        torch_model.layer1[0].bn2.eps = 0.0123

    seen = look(SPEC, spoil)
    assert (seen.first, seen.cause) == ("layer1.0.bn2", "in PyTorch, eps is 0.0123, the table says 1e-05")


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (lambda kernel: kernel.transpose(1, 0, 2, 3), "height and width are swapped"),
        (lambda kernel: kernel[::-1, ::-1], "it is upside down and mirrored"),
        (lambda kernel: kernel.transpose(0, 1, 3, 2), "input and output channels are swapped"),
        (lambda kernel: kernel.transpose(3, 2, 0, 1).reshape(kernel.shape), "the same numbers in another order"),
    ],
)
def test_a_kernel_transposed_wrongly(look, wrong, cause):
    def spoil(torch_model, keras_model):
        layer = keras_model.get_layer("layer1.1.conv2")
        layer.set_weights([wrong(layer.get_weights()[0])])

    seen = look(SPEC, spoil)
    assert seen.first == "layer1.1.conv2"
    assert "the kernel of layer1.1.conv2 was transposed wrongly" in seen.cause
    assert cause in seen.cause


def test_a_dense_matrix_transposed_wrongly(look):
    spec = get_spec("resnet8_digits", num_classes=64)

    def spoil(torch_model, keras_model):
        layer = keras_model.get_layer("fc")
        layer.set_weights([layer.get_weights()[0].T, layer.get_weights()[1]])

    seen = look(spec, spoil)
    assert seen.first == "fc"
    assert "the matrix of fc was transposed wrongly" in seen.cause


def test_a_bias_that_was_not_carried_over(look):
    spec = narrow("resnet18_biased")

    def spoil(torch_model, keras_model):
        layer = keras_model.get_layer("layer2.0.conv2")
        layer.set_weights([layer.get_weights()[0], np.zeros_like(layer.get_weights()[1])])

    seen = look(spec, spoil)
    assert (seen.first, seen.cause) == ("layer2.0.conv2", "bias of layer2.0.conv2 is all zeros in Keras: it is missing")


def test_a_convolution_built_without_its_bias(look):
    spec = narrow("resnet18_biased")

    def spoil(torch_model, keras_model):
        torch_model.layer2[0].conv2.bias = None

    seen = look(spec, spoil)
    assert (seen.first, seen.cause) == ("layer2.0.conv2", "bias of layer2.0.conv2 is missing in PyTorch")


def test_nhwc_data_fed_as_nchw(look):
    seen = look(SPEC, inputs=lambda t, k: (k.reshape(t.shape), k))
    assert seen.first == "input"
    assert "NHWC data was fed as NCHW" in seen.cause
    assert "NHWC data was fed as NCHW" in look(SPEC, inputs=lambda t, k: (t, t.reshape(k.shape))).cause


def test_other_mistakes_with_the_images(look):
    assert "RGB for one, BGR for the other" in look(SPEC, inputs=lambda t, k: (t, k[..., ::-1])).cause
    assert "height and width are swapped" in look(SPEC, inputs=lambda t, k: (t, k.transpose(0, 2, 1, 3))).cause
    assert "different images" in look(SPEC, inputs=lambda t, k: (t, k + 1)).cause


def test_a_batch_norm_left_in_training_mode_in_pytorch(look):
    seen = look(SPEC, lambda torch_model, keras_model: torch_model.layer3[1].bn1.train() and None)
    assert seen.first == "layer3.1.bn1"
    assert "in PyTorch, it is in training mode" in seen.cause


def test_a_forgotten_eval(look, torch_twin):
    models = []
    seen = look(SPEC, lambda torch_model, keras_model: models.append(torch_model.train()))
    assert seen.first == "bn1"
    assert "training mode" in seen.cause
    before = lively_weights(SPEC, 0, tame=True)["bn1.running_mean"]
    assert np.array_equal(torch_twin.get_weights(models[0])["bn1.running_mean"], before)
    assert models[0].training  # looked at, not changed


def test_a_batch_norm_in_training_mode_in_keras(look):
    def spoil(torch_model, keras_model):
        layer = keras_model.get_layer("layer1.0.bn1")
        stock = type(layer).call
        layer.call = lambda inputs, training=None, mask=None: stock(layer, inputs, training=True, mask=mask)

    seen = look(SPEC, spoil)
    assert seen.first == "layer1.0.bn1"
    assert "in Keras, it is in training mode" in seen.cause


def test_a_shortcut_swapped_for_zero_padding(look, monkeypatch):
    """The projection is there and has the right weights, but what is added is option A."""

    def spoil(torch_model, keras_model):
        import torch
        from torch import nn

        class Swapped(nn.Sequential):
            def forward(self, x):
                super().forward(x)
                return torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))

        block = torch_model.layer2[0]
        block.downsample = Swapped(*block.downsample)

    seen = look(SPEC, spoil)
    assert seen.first == "layer2.0.add"
    assert seen.cause == "in PyTorch, the shortcut is swapped: zero padding (option A) is added"


def test_a_shortcut_that_starts_at_the_wrong_place(look):
    spec = narrow("preact_resnet18")

    def spoil(torch_model, keras_model):
        torch_model.layer1[0].shared_preact = False  # the raw input instead of the activated one

    seen = look(spec, spoil)
    assert seen.first == "layer1.0.add"
    assert seen.cause == "in PyTorch, the shortcut is swapped: the block's input is added as it is"


def test_a_missing_shortcut(look):
    def spoil(torch_model, keras_model):
        from torch import nn

        class Nothing(nn.Module):
            def forward(self, x):
                return x * 0

        torch_model.layer1[1].downsample = Nothing()

    seen = look(SPEC, spoil)
    assert seen.first == "layer1.1.add"
    assert "in PyTorch, the shortcut is missing" in seen.cause


def test_projections_of_two_blocks_that_were_exchanged_show_as_weights(look):
    spec = narrow("resnet18", shortcut="C")

    def spoil(torch_model, keras_model):
        a, b = (keras_model.get_layer(f"layer1.{index}.downsample.0") for index in (0, 1))
        first, second = a.get_weights(), b.get_weights()
        a.set_weights(second)
        b.set_weights(first)

    seen = look(spec, spoil)
    assert seen.first == "layer1.0.downsample.0"
    assert "the weights differ: layer1.0.downsample.0.weight" in seen.cause


def test_a_max_pool_padded_with_zeros(look, monkeypatch):
    """Behind a ReLU it makes no difference; in front of one, as in pre-activation networks, it does."""
    spec = narrow("preact_resnet18")

    def spoil(torch_model, keras_model):
        from torch import nn

        class ZeroPadded(nn.Module):
            def forward(self, x):
                return nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1)), 3, 2)

        torch_model.maxpool = ZeroPadded()

    seen = look(spec, spoil)
    assert seen.first == "maxpool"
    assert "in PyTorch, the max-pool is padded with zeros" in seen.cause


def test_a_missing_relu(look):
    def spoil(torch_model, keras_model):
        class Through(type(torch_model.relu1)):
            def forward(self, x):
                return x

        torch_model.layer1[0].relu1 = Through()

    seen = look(SPEC, spoil)
    assert (seen.first, seen.cause) == ("layer1.0.relu1", "in PyTorch, the ReLU is missing")


def test_a_stride_in_the_wrong_place(look):
    from resnet_torch.factory import create_model

    spec = narrow("resnet50")

    def spoil(torch_model, keras_model):
        other = create_model(spec, stride_in_1x1=True, dtype="float64").eval()
        other.load_state_dict(torch_model.state_dict())
        return other, keras_model

    seen = look(spec, spoil)
    assert seen.first == "layer2.0.conv1"
    assert "the shapes differ: (16, 8, 8) in PyTorch, (16, 16, 16) in Keras" in seen.cause


def test_gradients_are_shown_where_there_are_labels(look):
    seen = look(SPEC, labels=random_labels(SPEC, 2, 0))
    assert all(layer.gradient is not None for layer in seen.layers[1:])
    assert seen.layers[0].gradient is None


def test_a_small_wrong_eps_is_found_in_float32_too(torch_twin, keras_twin):
    """It stays below what rounding may add up to in a deep network, but it comes all at once."""
    spec = get_spec("resnet14_cifar_conv3x3")
    images = random_images(spec, 32, 2, 0)
    models = []
    for twin in (torch_twin, keras_twin):
        models.append(twin.create_model(spec))
        twin.set_weights(models[-1], lively_weights(spec, 0))
    models[0].eval().layer2[0].bn1.eps = 1e-3
    inputs = [twin.from_nhwc(images, model) for twin, model in zip((torch_twin, keras_twin), models, strict=True)]
    seen = examine(spec, *models, *inputs)
    assert seen.first == "layer2.0.bn1"
    assert seen.cause.startswith("in PyTorch, eps is 0.00")
    assert seen.layers[-1].activation < 1e-3


def test_a_wrong_gradient_is_found_though_all_activations_agree(look):
    def spoil(torch_model, keras_model):
        torch_model.layer2[0].conv2.register_full_backward_hook(lambda module, into, out: (into[0] * 2,))

    seen = look(SPEC, spoil, labels=random_labels(SPEC, 2, 0))
    assert not seen.equal
    assert seen.first == "layer2.0.relu1"  # the first, seen from the loss, that gets the wrong gradient
    assert "all activations agree, but from here backwards the gradients do not" in seen.cause


def test_what_cannot_be_looked_at_is_said_in_one_line(look, torch_twin, keras_twin):
    def wrong_stride(torch_model, keras_model):
        torch_model.layer2[0].conv1.stride = (1, 1)

    with pytest.raises(InputError, match=r"the PyTorch model cannot be run .*; look at its strides"):
        look(SPEC, wrong_stride)
    with pytest.raises(InputError, match=r"images for PyTorch have shape \(2, 64, 64, 3\); wanted is \(N, C, H, W\)"):
        look(SPEC, inputs=lambda t, k: (k, k))
    with pytest.raises(InputError, match=r"labels are \[1, 77\]; wanted are 2 whole numbers, 0 to 9"):
        look(SPEC, labels=np.array([1, 77]))
    with pytest.raises(InputError, match="labels are"):
        look(SPEC, labels=np.array([1, 2, 3]))
    with pytest.raises(InputError, match=r"this is a Keras model .*: use resnet_tf"):
        look(SPEC, lambda torch_model, keras_model: (keras_model, torch_model))
    seen = look(get_spec(SPEC, depths=(2, 2, 2, 2)), lambda t, k: None)
    assert seen.equal


def test_the_wrong_spec_is_suspected(torch_twin, keras_twin):
    spec = get_spec("resnet14_cifar_conv3x3")
    models = [twin.create_model(spec, seed=0, dtype="float64") for twin in (torch_twin, keras_twin)]
    images = random_images(spec, 32, 2, 0)
    seen = examine("resnet20_cifar", models[0].eval(), models[1], images.transpose(0, 3, 1, 2), images)
    assert "neither model has such a layer; is resnet20_cifar the right spec?" in seen.cause


def test_the_microscope_shows_a_table_html_and_a_figure(look, tmp_path):
    def spoil(torch_model, keras_model):
        torch_model.layer2[0].bn1.eps = 0.5

    seen = look(SPEC, spoil)
    assert "◀ the first that parts" in repr(seen)
    assert "✗ resnet18: the twins part at layer2.0.bn1" in seen.verdict
    assert '<td align="left">✗</td>' in seen._repr_html_()
    assert "style=" not in seen._repr_html_()
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    seen.plot(tmp_path / "seen.png")
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="dtype is 'bfloat16'"):
        microscope("resnet18", dtype="bfloat16")
    with pytest.raises(InputError, match="too small for the strides"):
        microscope("resnet18", input_size=9)


def test_every_planted_fault_is_found_with_its_cause(torch_twin, keras_twin):
    """`plant_fault` is for exercises: the answer that it gives must be the one that the microscope finds."""
    from shared.twins.faults import FAULTS, plant_fault

    spec, found = get_spec("resnet8_digits"), set()
    weights = lively_weights(spec, 0)
    images = random_images(spec, 8, 4, 0)
    models = {}
    for name, twin in (("torch", torch_twin), ("tf", keras_twin)):
        models[name] = twin.create_model(spec, dtype="float64")
    models["torch"].eval()
    causes = {
        "height and width of its kernel are exchanged": "height and width are swapped",
        "its kernel is rotated by 180 degrees": "upside down and mirrored",
        "its gamma and beta are exchanged": "weight and bias of",
        "its running mean and variance are exchanged": "running_mean and running_var of",
        "its running mean was forgotten, it is zero": "running_mean of",
    }
    for seed in range(20):
        for name, twin in (("torch", torch_twin), ("tf", keras_twin)):
            twin.set_weights(models[name], weights)
        side = ("torch", "tf")[seed % 2]
        layer, fault = plant_fault(models[side], seed, framework=side).split(": ")
        given = (torch_twin.from_nhwc(images, models["torch"]), keras_twin.from_nhwc(images, models["tf"]))
        seen = examine(spec, models["torch"], models["tf"], *given)
        assert seen.first == layer
        assert causes[fault] in seen.cause
        found.add(fault)
    assert found == set(causes) == {text for _, text, _ in FAULTS}
    with pytest.raises(InputError, match="seed"):
        plant_fault(models["tf"], -1)
    with pytest.raises(InputError, match="unknown framework 'jax'"):
        plant_fault(models["tf"], 1, framework="jax")

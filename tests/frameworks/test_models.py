"""The networks themselves, each framework on its own: shapes, names, initial weights, saving."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.networks.catalog import SPECS, get_spec
from shared.networks.initial import initial_weights
from shared.networks.table import layer_table, weight_shapes
from shared.twins.difference import random_images

SMALL = ("resnet8_digits", "resnet20_cifar", "plain20_cifar", "resnet14_cifar_conv3x3")


def logits(twin, model, spec, batch=2):
    images = random_images(spec, spec.input_size, batch, seed=0)
    return twin.forward(model, twin.from_nhwc(images, model))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_familiar_names_build_the_familiar_networks(twin, name):
    assert getattr(twin, name)(input_size=32).spec == get_spec(name, input_size=32)


def deep_ones_slow(names):
    deep = re.compile("101|110|152|164|1202")
    return [pytest.param(name, marks=pytest.mark.slow) if deep.search(name) else name for name in names]


@pytest.mark.parametrize("name", deep_ones_slow(SPECS))
def test_every_weight_has_the_name_and_shape_of_the_table(twin, name):
    model = twin.create_skeleton(get_spec(name))
    if twin.TITLE == "PyTorch":  # on the "meta" device: shapes without values
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
        assert list(shapes) == list(weight_shapes(SPECS[name]))
    else:
        shapes = {key: array.shape for key, array in twin.get_weights(model).items()}
    assert shapes == weight_shapes(SPECS[name])


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet50"])
@pytest.mark.parametrize("size", [17, 33, 64])
def test_any_input_size_that_the_strides_allow(twin, name, size):
    spec = get_spec(name, input_size=size, num_classes=7)
    assert logits(twin, twin.create_model(spec), spec, batch=1).shape == (1, 7)


@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (3, 2), (4, 10)])
def test_any_number_of_channels_and_classes(twin, channels, classes):
    spec = get_spec("resnet20_cifar", in_channels=channels, num_classes=classes)
    assert logits(twin, twin.create_model(spec), spec).shape == (2, classes)


def test_the_same_seed_gives_the_same_network_and_another_seed_another(twin):
    first, again, other = (twin.get_weights(twin.create_model("resnet20_cifar", seed=s)) for s in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])


def test_the_same_seed_gives_the_same_network_in_both_frameworks(torch_twin, keras_twin):
    for name in SMALL:
        torch, keras = (t.get_weights(t.create_model(name, seed=7)) for t in (torch_twin, keras_twin))
        assert set(torch) == set(keras)
        assert all(np.array_equal(torch[key], keras[key]) for key in torch), name


def test_without_a_seed_the_frameworks_own_generator_decides(twin):
    def build(seed):
        if twin.TITLE == "PyTorch":
            import torch

            torch.manual_seed(seed)
        else:
            import keras

            keras.utils.set_random_seed(seed)
        return twin.get_weights(twin.create_model("resnet20_cifar"))["conv1.weight"]

    assert np.array_equal(build(1), build(1))
    assert not np.array_equal(build(1), build(2))


@pytest.mark.parametrize("seed", [None, 0])
def test_initial_weights_have_torchvisions_distributions(twin, seed):
    spec = get_spec("resnet18_biased", input_size=64)
    weights = twin.get_weights(twin.create_model(spec, seed=seed))
    kernel = weights["layer3.0.conv2.weight"]  # Kaiming normal, fan-out
    assert kernel.std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.01)
    assert abs(kernel.mean()) < 1e-3
    assert np.abs(kernel).max() / kernel.std() > 4  # not truncated at two standard deviations
    bound = 1 / np.sqrt(512)  # PyTorch's default of a linear layer
    assert np.abs(weights["fc.weight"]).max() == pytest.approx(bound, rel=0.01)
    assert weights["fc.weight"].std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
    assert 0.8 * bound < np.abs(weights["fc.bias"]).max() <= bound
    assert 0 < np.abs(weights["layer3.0.conv2.bias"]).max() <= 1 / np.sqrt(256 * 9)
    assert (weights["bn1.weight"] == 1).all()
    assert (weights["bn1.bias"] == 0).all()
    assert (weights["bn1.running_mean"] == 0).all()
    assert (weights["bn1.running_var"] == 1).all()


@pytest.mark.parametrize("seed", [None, 0])
def test_zero_init_residual_starts_every_block_as_the_identity(twin, seed):
    spec = get_spec("resnet20_cifar", zero_init_residual=True)
    model = twin.create_model(spec, seed=seed)
    weights = twin.get_weights(model)
    assert not weights["layer2.1.bn2.weight"].any()
    assert weights["layer2.1.bn1.weight"].all()
    images = random_images(spec, 32, 2, seed=0)
    seen = twin.trace(model, twin.from_nhwc(images, model)).activations
    assert np.array_equal(seen["layer2.1.relu2"], seen["layer2.0.relu2"])
    assert not initial_weights(spec, 0)["layer2.1.bn2.weight"].any()


def test_float64_models_compute_in_float64(twin):
    spec = SPECS["resnet8_digits"]
    model = twin.create_model(spec, dtype="float64")
    assert logits(twin, model, spec).dtype == np.float64
    assert logits(twin, twin.create_model(spec), spec).dtype == np.float32  # and the next one does not


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype is 'float16'; allowed is one of float32, float64"),
        ({"seed": -1}, "seed is -1; allowed is a whole number"),
        ({"seed": True}, "seed is True"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"classes": 10}, "no field 'classes'; nearest are"),
    ],
)
def test_bad_options_are_refused(twin, options, message):
    with pytest.raises(InputError, match=message):
        twin.create_model("resnet20_cifar", **options)


@pytest.mark.parametrize("name", SMALL)
def test_layers_have_the_rows_of_the_table(twin, name):
    spec = SPECS[name]
    rows = {row.name: row for row in twin.layer_rows(twin.create_model(spec))}
    for row in layer_table(spec):
        found = rows.pop(row.name)
        assert sorted(found.output_shape) == sorted(row.output_shape), row.name
        assert (found.parameters, found.buffers) == (row.parameters, row.buffers), row.name
    assert all(extra.endswith(".pad") for extra in rows)


def test_a_keras_model_shows_real_shapes_and_dotted_names_in_every_row(keras_twin):
    model = keras_twin.create_model("resnet18")
    text = keras_twin.printout(model)
    assert "?" not in text
    assert "multiple" not in text
    assert "layer1.0.conv1 (Conv2D)" in text
    assert model.get_layer("layer2.0.conv1").output.shape == (None, 28, 28, 128)


def test_a_keras_model_opens_in_a_process_without_this_package(keras_twin, tmp_path, run_python):
    spec = get_spec("preact_resnet18", input_size=33)  # with -inf padding before the pool, and a projection
    model = keras_twin.create_model(spec, seed=0)
    images = random_images(spec, 33, 2, seed=0).astype(np.float32)
    keras_twin.write_native(model, tmp_path / "model.keras")
    np.savez(tmp_path / "case.npz", images=images, logits=keras_twin.forward(model, images))
    code = (
        "import sys, numpy as np, keras\n"
        "sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(lambda n, *a: (_ for _ in ()).throw("
        "ImportError(n)) if n.split('.')[0] in ('resnet_tf', 'resnet_torch', 'shared') else None)}))\n"
        "case = np.load('case.npz'); model = keras.saving.load_model('model.keras')\n"
        "print(np.abs(np.asarray(model(case['images'])) - case['logits']).max(), model.name)"
    )
    result = run_python(code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0.0", "preact_resnet18"]
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"resnet_tf" not in archive.read("config.json")


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("torch", "preact_resnet18"),
        ("jax", "resnet20_cifar"),
        pytest.param("torch", "resnet20_cifar", marks=pytest.mark.slow),
        pytest.param("jax", "preact_resnet18", marks=pytest.mark.slow),
    ],
)
def test_the_keras_twin_also_runs_on_keras_other_backends(keras_twin, tmp_path, run_python, backend, name):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    spec = get_spec(name, input_size=33)
    model = keras_twin.create_model(spec, seed=0)
    images = random_images(spec, 33, 2, seed=0).astype(np.float32)
    np.savez(tmp_path / "case.npz", images=images, logits=keras_twin.forward(model, images))
    code = (
        "import numpy as np, resnet_tf as r, keras\n"
        f"case = np.load({str(tmp_path / 'case.npz')!r}); model = r.create_model({name!r}, seed=0, input_size=33)\n"
        "logits = r.forward(model, case['images']); rows = r.layer_rows(model)\n"
        "names = [r.name for r in rows if not r.name.endswith(('.pad', '_pad'))]\n"
        "print(keras.backend.backend(), np.abs(logits - case['logits']).max() / np.abs(logits).max())\n"
        "from shared.networks.table import layer_table\n"
        "assert sorted(names) == sorted(row.name for row in layer_table(model.spec)), names\n"
        "r.forward(model, case['images'], training=True)\n"
        "assert abs(r.get_weights(model)['layer1.0.bn1.running_var'].mean() - 1) > 1e-3\n"
    )
    result = run_python(code, KERAS_BACKEND=backend)
    assert result.returncode == 0, result.stderr
    used, error = result.stdout.split()
    assert used == backend
    assert float(error) < 1e-5


ON_PYTORCH = """
import numpy as np, resnet_tf, resnet_torch
model = resnet_tf.create_model("resnet8_digits")
for attempt in (
    lambda: resnet_torch.get_weights(model),
    lambda: resnet_tf.trace(model, np.zeros((2, 8, 8, 1)), np.zeros(2, int)),
):
    try:
        attempt()
    except ValueError as error:
        print(error)
fused, images = resnet_tf.fuse(model), np.random.default_rng(0).random((2, 8, 8, 1))
print(np.abs(resnet_tf.forward(fused, images) - resnet_tf.forward(model, images)).max())
assert "layer1.0.conv1.bias" in resnet_tf.get_weights(fused)
"""


def test_on_the_pytorch_backend_a_keras_model_is_no_pytorch_model_has_no_gradients_and_can_be_fused(
    keras_twin, run_python
):
    """There it is an `nn.Module` as well, whose `state_dict()` holds other names, and its layers have no dots."""
    pytest.importorskip("torch", reason="torch is not installed")
    result = run_python(ON_PYTORCH, KERAS_BACKEND="torch")
    assert result.returncode == 0, result.stderr
    no_model, no_gradients, difference = result.stdout.splitlines()
    assert "use resnet_tf for this one" in no_model
    assert "but KERAS_BACKEND is torch" in no_gradients
    assert float(difference) < 1e-5


@pytest.mark.parametrize("name", ["resnet8_digits", "resnet20_cifar", "preact_resnet18", "resnet50_keras"])
def test_keras_networks_are_channels_last_whatever_the_settings_say(keras_twin, name):
    import keras

    spec = get_spec(name, input_size=33)
    usual = keras_twin.create_model(spec, seed=0)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = keras_twin.create_model(spec, seed=0)
        assert model.input_shape == usual.input_shape == (None, 33, 33, spec.in_channels)
        assert [layer.output.shape for layer in model.layers] == [layer.output.shape for layer in usual.layers]
        np.testing.assert_array_equal(logits(keras_twin, model, spec), logits(keras_twin, usual, spec))
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize(
    "settings", ['{"image_data_format": "channels_first", "backend": "jax", "floatx": "float16"}', "{no json"]
)
def test_a_users_keras_json_changes_nothing(run_python, keras_twin, tmp_path, settings):
    (tmp_path / "keras.json").write_text(settings)
    code = (
        "import numpy as np, resnet_tf as r; m = r.create_model('resnet8_digits', seed=0)\n"
        "print(m.input_shape, m.output.dtype, round(float(r.forward(m, np.ones((1, 8, 8, 1))).sum()), 3))"
    )
    model = keras_twin.create_model("resnet8_digits", seed=0)  # the tests have no keras.json
    usual = round(float(keras_twin.forward(model, np.ones((1, 8, 8, 1))).sum()), 3)
    assert run_python(code, KERAS_HOME=str(tmp_path)).stdout == f"(None, 8, 8, 1) float32 {usual}\n"


WITH_SETTINGS = """
import os
from shared.backends import load_backend
from shared.base.errors import InputError
for folder in {folders!r}:
    os.environ["KERAS_HOME"] = folder
    try:
        load_backend("tf")
    except InputError as error:
        print(error)
"""


def test_a_keras_json_with_which_keras_does_not_start_is_named_in_one_line(run_python, keras_twin, tmp_path):
    folders = []
    for number, settings in enumerate(['{"floatx": "float8"}', "[]", '{"epsilon": "small"}']):
        folders.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "keras.json").write_text(settings)
    said = run_python(WITH_SETTINGS.format(folders=folders)).stdout.splitlines()
    assert len(said) == 3
    for line, folder in zip(said, folders, strict=True):
        assert line.startswith("Keras does not start with its settings")
        assert line.endswith(f"mend or remove {Path(folder, 'keras.json')}")


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_tensorflow_leaves_memory_of_a_gpu_to_others_unless_the_user_decided(keras_twin, monkeypatch, before, after):
    from resnet_tf.quiet import import_keras

    if before is None:
        monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    else:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", before)
    import_keras()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == after

"""The heart of the package: both twins with the same weights give the same numbers, at the stated tolerances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.networks.catalog import SPECS, get_spec
from shared.networks.initial import lively_weights
from shared.networks.spec import StemSpec
from shared.twins.difference import gradient_errors, random_images, random_labels, relative, silent_biases
from shared.twins.verification import TOLERANCES, verify, wild_tolerance

#: One of every kind of block, shortcut, stem, bias and stride position; CI checks all others in the same way, the
#: deepest ones included, with `resnet-twins verify --all`.
QUICK = [
    "resnet18",
    "resnet50_keras",
    "resnet20_cifar",
    "plain20_cifar",
    "preact_resnet18",
    "resnet18_d2l",
    "resnet14_cifar_conv3x3",
    "resnet8_digits",
]


def assert_passes(spec, dtype):
    checks = list(verify(spec, dtype))
    missed = [f"{c.what}: {c.measured:.1e}, allowed {c.tolerance:.0e}" for c in checks if not c.passed]
    assert not missed, f"{spec.name} in {dtype}: " + "; ".join(missed)
    return {check.what for check in checks}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", QUICK)
def test_the_twins_agree(torch_twin, keras_twin, name, dtype):
    checked = assert_passes(SPECS[name], dtype)
    assert {what for what, kind in TOLERANCES if kind == dtype} <= checked


VARIANTS = {
    "option C": replace(SPECS["resnet18"], shortcut="C"),
    "option A in a bottleneck": replace(SPECS["resnet50"], shortcut="A", depths=(1, 1, 1, 1)),
    "pre-activation bottleneck": replace(SPECS["preact_resnet50"], depths=(2, 1, 1, 1)),
    "odd number of new channels": replace(SPECS["resnet20_cifar"], depths=(1, 1), widths=(16, 33)),
    "two blocks, five stages": replace(SPECS["resnet18"], depths=(1,) * 5, widths=(8, 16, 32, 64, 64)),
    "odd input, stride 2 without a pool": replace(
        SPECS["resnet18"], input_size=37, stem=StemSpec(kernel_size=5, max_pool=False)
    ),
    "projection 3x3 with option C and biases": replace(
        SPECS["resnet20_cifar"], shortcut="C", shortcut_kernel_size=3, conv_bias=True, depths=(1, 1, 1)
    ),
    "zero_init_residual": replace(SPECS["resnet20_cifar"], zero_init_residual=True),
    "pre-activation behind an odd stem": replace(SPECS["preact_resnet18"], input_size=45, depths=(1, 1, 1, 1)),
    "another eps and momentum": replace(SPECS["resnet8_digits"], norm_eps=1e-3, norm_momentum=0.3),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_networks_beyond_the_catalog_agree_too(torch_twin, keras_twin, variant):
    assert_passes(VARIANTS[variant], "float64")


def test_batch_of_one_agrees_in_eval_mode(torch_twin, keras_twin):
    spec = get_spec("resnet18", input_size=64)
    weights, images = lively_weights(spec, 0), random_images(spec, 64, 1, seed=1)
    logits = []
    for twin in (torch_twin, keras_twin):
        model = twin.create_model(spec, dtype="float64")
        twin.set_weights(model, weights)
        logits.append(twin.forward(model, twin.from_nhwc(images, model)))
    assert relative(*logits) < wild_tolerance(18, "float64")


def test_one_value_per_channel_leaves_the_running_variance_finite(torch_twin, keras_twin):
    """With n = 1 the unbiased variance is 0 / 0. PyTorch refuses such a batch; the Keras twin must not store a NaN."""
    model = keras_twin.create_model("resnet8_digits", input_size=3)
    keras_twin.forward(model, np.ones((1, 3, 3, 1), np.float32), training=True)
    assert all(np.isfinite(array).all() for array in keras_twin.get_weights(model).values())


def test_tame_and_wild_training_reach_the_same_weights(torch_twin, keras_twin):
    """After three steps every weight and statistic is the same, not only the loss."""
    spec = SPECS["resnet20_cifar"]
    weights, images, labels = (
        lively_weights(spec, 0, tame=True),
        random_images(spec, 32, 8, 0),
        random_labels(spec, 8, 0),
    )
    after = []
    for twin in (torch_twin, keras_twin):
        model = twin.create_model(spec, dtype="float64")
        twin.set_weights(model, weights)
        for _ in range(3):
            twin.train_step(model, twin.from_nhwc(images, model), labels, 0.005)
        after.append(twin.get_weights(model))
    torch, keras = after
    assert max(relative(keras[name], torch[name]) for name in torch) < 1e-11
    assert not np.array_equal(torch["conv1.weight"], weights["conv1.weight"])


def test_twenty_steps_of_training_give_the_same_losses(torch_twin, keras_twin):
    spec = SPECS["resnet20_cifar"]
    weights, labels = lively_weights(spec, 0, tame=True), random_labels(spec, 8, 0)
    losses = []
    for twin in (torch_twin, keras_twin):
        model = twin.create_model(spec, dtype="float64")
        twin.set_weights(model, weights)
        inputs = twin.from_nhwc(random_images(spec, 32, 8, 0), model)
        losses.append([twin.train_step(model, inputs, labels, 0.005).loss for _ in range(20)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_the_gradient_is_the_slope_of_the_loss(twin):
    """Against central differences: the third opinion on gradients, from no framework's autograd."""
    spec = SPECS["resnet8_digits"]
    weights = lively_weights(spec, 0, tame=True)
    images, labels = random_images(spec, 8, 4, 0), random_labels(spec, 4, 0)

    def loss(arrays):
        model = twin.create_model(spec, dtype="float64")
        twin.set_weights(model, arrays)
        return twin.trace(model, twin.from_nhwc(images, model), labels, training=True, activations=False)

    gradients = loss(weights).parameter_gradients
    for name in ("conv1.weight", "layer2.0.bn1.weight", "fc.bias"):
        direction = np.random.default_rng(0).standard_normal(weights[name].shape)
        up, down = ({**weights, name: weights[name].astype(np.float64) + s * 1e-6 * direction} for s in (1, -1))
        slope = (loss(up).loss - loss(down).loss) / 2e-6
        assert slope == pytest.approx(float((gradients[name] * direction).sum()), rel=1e-5), name


def test_torchvisions_models_are_ours(torch_twin):
    """The same keys in the same order, and the same logits to the last bit, in eval and in training mode."""
    torch = pytest.importorskip("torch")
    from resnet_torch.bench.peers import torchvision

    models = torchvision("models")
    if models is None:
        pytest.skip("torchvision is not installed, or does not fit this PyTorch")
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        theirs, ours = getattr(models, name)(), torch_twin.create_model(name)
        assert list(theirs.state_dict()) == list(ours.state_dict())
        assert [v.shape for v in theirs.state_dict().values()] == [v.shape for v in ours.state_dict().values()]
        if name in ("resnet18", "resnet50"):
            ours.load_state_dict(theirs.state_dict())
            images = torch.randn(2, 3, 64, 64)
            for mode in (False, True):
                with torch.no_grad():
                    assert torch.equal(theirs.train(mode)(images), ours.train(mode)(images))


def test_keras_applications_resnet50_is_ours(keras_twin, tmp_path):
    import keras

    from shared.checkpoints.foreign import read_weights

    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    rng = np.random.default_rng(0)
    for variable in theirs.weights:  # nothing at its default, so that no mistake can hide
        low, high = {"gamma": (0.7, 1.3), "moving_variance": (0.5, 1.5)}.get(variable.name, (-0.1, 0.1))
        if variable.name != "kernel":
            variable.assign(rng.uniform(low, high, variable.shape))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    found = read_weights(tmp_path / "theirs.weights.h5")
    assert [spec.name for spec in found.specs] == ["resnet50_keras"]
    ours = keras_twin.create_model("resnet50_keras", input_size=64)
    keras_twin.set_weights(ours, found.arrays)
    images = random_images(ours.spec, 64, 2, 0).astype(np.float32)
    assert relative(keras_twin.forward(ours, images), np.asarray(theirs(images))) < 1e-6


def test_verify_notices_a_twin_that_differs(torch_twin, keras_twin, monkeypatch):
    """The checks can fail: a BatchNorm eps of 1e-3, Keras' default, misses nearly every one."""
    import keras

    from resnet_tf import layers

    class Sloppy(layers.BatchNormalization):
        def __init__(self, **options):
            super().__init__(**{**options, "epsilon": 1e-3})

    assert issubclass(Sloppy, keras.layers.BatchNormalization)
    monkeypatch.setattr(layers, "BatchNormalization", Sloppy)
    passed = {check.what: check.passed for check in verify(SPECS["resnet8_digits"], "float64")}
    assert passed.pop("layers that differ")
    assert not any(passed.values())


def test_stock_keras_statistics_would_miss_the_tolerance(torch_twin, keras_twin, monkeypatch):
    """Why `resnet_tf.layers.BatchNormalization` exists: the biased running variance is off by far more than 1e-11."""
    import keras

    from resnet_tf import layers

    monkeypatch.setattr(layers, "BatchNormalization", keras.layers.BatchNormalization)
    checks = {check.what: check for check in verify(SPECS["resnet20_cifar"], "float64")}
    assert not checks["BatchNorm statistics"].passed
    assert 1e-5 < checks["BatchNorm statistics"].measured < 1e-1
    assert checks["logits, training mode"].passed  # it changes no training loss


def test_relative_errors_are_measured_as_stated():
    assert relative(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert np.isnan(relative(np.array([np.nan]), np.array([1.0])))
    ours = {"a": np.array([3.0]), "tiny": np.array([1e-9]), "silent": np.array([1.0])}
    theirs = {"a": np.array([2.0]), "tiny": np.array([0.0]), "silent": np.array([2.0])}
    assert gradient_errors(ours, theirs, {"silent"}) == pytest.approx([0.5, 1e-9 / 2e-4])


def test_biases_in_front_of_a_batch_norm_have_no_gradient(twin):
    """Why `verify` leaves them out, and that it leaves out no other."""
    spec = SPECS["resnet18_d2l"]
    silent = silent_biases(spec)
    assert "layer1.0.conv1.bias" in silent
    assert "layer2.0.downsample.0.bias" not in silent  # no BatchNorm behind it
    model = twin.create_model(spec, dtype="float64")
    twin.set_weights(model, lively_weights(spec, 0, tame=True))
    images, labels = random_images(spec, 96, 2, 0), random_labels(spec, 2, 0)
    gradients = twin.trace(model, twin.from_nhwc(images, model), labels, training=True).parameter_gradients
    assert max(np.abs(gradients[name]).max() for name in silent) < 1e-14
    assert min(np.abs(gradients[name]).max() for name in gradients if name not in silent) > 1e-9


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shape", [(8, 5, 5, 3), (1, 1, 1, 3)], ids=["a batch", "one value for each channel"])
def test_batch_norm_in_one_operation_is_the_formula(keras_twin, policy, shape):
    """TensorFlow's fused operation against Keras' own formula, which float64 takes: outputs, mean and variance."""
    import keras

    from resnet_tf.layers import BatchNormalization

    images = np.random.default_rng(0).normal(3.0, 2.0, shape).astype(np.float32)

    def normalise(method):
        layer = BatchNormalization(momentum=0.9, dtype=keras.DTypePolicy(policy))
        layer.build(shape)
        outputs = getattr(layer, method)(keras.ops.cast(images, layer.compute_dtype))
        return [np.asarray(keras.ops.cast(a, "float32")) for a in (outputs, layer.moving_mean, layer.moving_variance)]

    fast, plain = normalise("_in_one_operation"), normalise("_in_many_operations")
    rounding = {"float32": 1e-6, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-3}[policy]
    assert np.abs(fast[0] - plain[0]).max() < rounding
    assert np.abs(fast[1] - plain[1]).max() < 1e-6
    assert np.abs(fast[2] - plain[2]).max() < 1e-5


TWO_CPUS = """
import resnet_tf, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
places = set()
inner = resnet_tf.trace
def trace(model, *arguments, **options):
    places.update(variable.value.device[-5:] for variable in model.variables)
    return inner(model, *arguments, **options)
resnet_tf.trace = resnet_tf.probe.trace = trace
with tf.device("CPU:1"):  # stands for the GPU that TensorFlow would choose
    from shared.networks import get_spec
    from shared.twins import microscope, verify
    for work in (
        lambda: microscope("resnet8_digits"),
        lambda: list(verify(get_spec("resnet8_digits"), "float64")),
        lambda: microscope("resnet8_digits", device="auto"),
    ):
        places.clear()
        work()
        print(*sorted(places))
"""


def test_the_cpu_computes_unless_told_otherwise(run_python, torch_twin, keras_twin):
    result = run_python(TWO_CPUS)
    assert result.stdout.split() == ["CPU:0", "CPU:0", "CPU:1"], result.stderr

"""Folding BatchNorms into convolutions: equal logits, fewer layers, the original untouched."""

from __future__ import annotations

import numpy as np
import pytest

from shared.backends import random_images
from shared.catalog import SPECS, get_spec
from shared.errors import InputError
from shared.folding import fold, folded_norms
from shared.table import layer_table
from shared.weights import lively_weights

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
    from torch import nn

    with pytest.raises(InputError, match="not a Sequential"):
        torch_twin.fuse(nn.Sequential())
    fused = keras_twin.fuse(keras_twin.create_model("resnet8_digits", seed=0))
    with pytest.raises(InputError, match="or one that is fused"):
        keras_twin.fuse(fused)

"""Any two models: seen, aligned by the flow of data, compared, ported, and the first layer that parts found."""

from __future__ import annotations

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from shared.networks.catalog import get_spec
from shared.twins import compare, find_parting, microscope, port, see
from shared.twins.pair import totals

SIZE = 16


@pytest.fixture
def torch_net(torch_twin):
    """A class as a blog post writes it: functions where they are shorter, a shortcut that is computed first."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, inside, out, stride=1, bias=False):
            super().__init__()
            self.first = nn.Conv2d(inside, out, 3, stride, 1, bias=bias)
            self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
            self.second = nn.Conv2d(out, out, 3, 1, 1, bias=bias)
            self.short = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            self.plain = stride == 1 and inside == out

        def forward(self, x):
            way = x if self.plain else self.short(x)
            y = self.norm2(self.second(F.relu(self.norm1(self.first(x)))))
            y += way
            return F.relu(y)

    class Net(nn.Module):
        def __init__(self, bias=False):
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.blocks = nn.ModuleList([Block(8, 8, bias=bias), Block(8, 16, 2, bias=bias)])
            self.pool, self.hidden, self.head = nn.MaxPool2d(2), nn.Linear(16 * 4 * 4, 12), nn.Linear(12, 5)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):  # statistics as a trained network has them
                    nn.init.uniform_(module.running_mean, -1, 1)
                    nn.init.uniform_(module.running_var, 0.5, 2)

        def forward(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            x = torch.flatten(self.pool(x), 1)
            return self.head(F.relu(self.hidden(x)))

    return Net


@pytest.fixture
def keras_net(keras_twin):
    """The same network in Keras' way, names counted from the start; keywords plant a mistake."""
    import keras
    from keras import layers, ops

    keras.utils.clear_session()

    def build(
        *,
        same=False,
        eps=1e-5,
        stride=2,
        act="relu",
        pool="MaxPooling2D",
        bias=False,
        swap=False,
        norelu=False,
        end=None,
    ):
        keras.utils.set_random_seed(1)

        def norm(x):
            return layers.BatchNormalization(epsilon=eps)(x)

        def block(x, out, step):
            y = x
            if step == 2 and same:
                y = layers.Conv2D(out, 3, step, padding="same", use_bias=bias)(y)
            else:
                y = layers.Conv2D(out, 3, step, use_bias=bias)(layers.ZeroPadding2D(1)(y))
            y = norm(y)
            y = y if norelu and step == 2 else layers.Activation(act)(y)
            y = norm(layers.Conv2D(out, 3, padding="same", use_bias=bias)(y))
            if step == 2:
                x = norm(layers.Conv2D(out, 1, step, use_bias=False)(x))
            if swap:
                return ops.relu(y) + x
            return ops.relu(y + x)

        image = keras.Input((SIZE, SIZE, 3))
        x = layers.ReLU()(norm(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
        x = block(block(x, 8, 1), 16, stride)
        x = layers.Flatten()(getattr(layers, pool)(2)(x))
        x = layers.Dropout(0.5)(x)
        return keras.Model(image, layers.Dense(5, activation=end)(layers.Dense(12, activation="relu")(x)))

    return build


# -- seeing and comparing


def test_two_models_that_know_nothing_of_each_other_are_the_same_layer_by_layer(torch_net, keras_net):
    found = compare(torch_net(), keras_net())
    assert found.equal, found.verdict
    assert found.verdict.startswith("✓ Net (PyTorch) and ")
    assert totals(found.first) == totals(found.second)
    assert [row.left.node.kind for row in found.rows].count("conv") == 6
    partners = {row.left.node.name: row.right.node.name for row in found.rows}
    assert partners["blocks.1.short.0"] == "conv2d_5", (
        "the shortcut, which is computed first in one and last in the other"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"eps": 1e-3}, "batch_norm: eps 1e-05 and 0.001 (6 times, first in stem.1)"),
        ({"same": True}, "conv: padding ((1, 1), (1, 1)) and ((0, 1), (0, 1)) (blocks.1.first)"),
        ({"act": "gelu"}, "relu: relu in the first, gelu in the second (2 times, first in blocks.0.relu)"),
        ({"pool": "AveragePooling2D"}, "max_pool: max_pool in the first, avg_pool in the second (pool)"),
        (
            {"bias": True},
            "conv: no bias in the first (4 times, first in blocks.0.first); 48 parameters more in the second",
        ),
        ({"norelu": True}, "relu: only in the first (blocks.1.relu)"),
        ({"end": "softmax"}, "softmax: only in the second"),
    ],
    ids=str,
)
def test_each_difference_is_said_once_with_its_place(torch_net, keras_net, change, reason):
    found = compare(torch_net(), keras_net(**change))
    assert not found.equal
    assert any(each.startswith(reason) for each in found.reasons), found.reasons


def test_another_network_is_refused_as_such(torch_net, torch_twin):
    found = compare(torch_net(), torch_twin.create_model("resnet20_cifar", seed=0), input_size=SIZE)
    assert "are not the same network" in found.verdict
    with pytest.raises(InputError, match="are not the same network"):
        find_parting(torch_net(), torch_twin.create_model("resnet20_cifar", seed=0), input_size=SIZE)


@pytest.mark.parametrize("name", ["resnet8_digits", "preact_resnet18", "resnet20_cifar"])
def test_the_catalogs_twins_are_pairs_as_any_others(torch_twin, keras_twin, name):
    spec = get_spec(name, input_size=32) if name == "preact_resnet18" else get_spec(name)
    models = [twin.create_model(spec, seed=0) for twin in (torch_twin, keras_twin)]
    assert compare(*models).equal


def test_what_is_no_model_is_refused_in_words():
    with pytest.raises(InputError, match="no PyTorch or Keras model"):
        see([1, 2])


# -- porting


def weights_of(model) -> list[np.ndarray]:
    if hasattr(model, "state_dict"):
        return [value.numpy().copy() for value in model.state_dict().values()]
    return [np.array(value) for value in model.get_weights()]


def test_weights_are_carried_both_ways_and_proven(torch_net, keras_net):
    model = keras_net()
    there = port(torch_net(), model)
    assert there.equal, there.verdict
    assert there.difference < 1e-5
    again = torch_net()
    again.head.weight.data.zero_()
    assert port(model, again).equal
    assert all(
        np.array_equal(mine, theirs) for mine, theirs in zip(weights_of(again), weights_of(torch_net()), strict=True)
    )


def test_a_bias_that_the_other_side_lacks_moves_into_the_batch_norm_behind_it(torch_net, keras_net):
    found = port(torch_net(bias=True), keras_net())
    assert found.equal, found.verdict


@pytest.mark.parametrize("change", [{"act": "gelu"}, {"same": True}, {"swap": True}, {"eps": 1e-2}], ids=str)
def test_a_port_that_is_another_function_is_found_out_and_changes_nothing(torch_net, keras_net, change):
    model = keras_net(**change)
    before = weights_of(model)
    found = port(torch_net(), model)
    assert not found.equal
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(before, weights_of(model), strict=True))


def test_a_port_that_does_not_fit_changes_nothing(torch_net, keras_net):
    import keras

    model = keras_net()
    wider = keras.Model(model.input, keras.layers.Dense(6)(model.layers[-2].output))
    before = weights_of(wider)
    with pytest.raises(WeightsError, match="nothing was changed"):
        port(torch_net(), wider)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(before, weights_of(wider), strict=True))


# -- the microscope


def test_a_right_pair_agrees_and_both_models_stay_as_they_are(torch_net, keras_net):
    models = torch_net(), keras_net()
    before = [weights_of(model) for model in models]
    seen = microscope(*models)
    assert seen.equal, seen.verdict
    assert max(layer.error for layer in seen.layers) < 1e-5
    for old, model in zip(before, models, strict=True):
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(old, weights_of(model), strict=True))


@pytest.mark.parametrize(
    ("change", "layer", "cause"),
    [
        ({"eps": 1e-3}, "stem.1", "eps 1e-05 and 0.001"),
        ({"same": True}, "blocks.1.first", "padding ((1, 1), (1, 1)) and ((0, 1), (0, 1))"),
        ({"act": "gelu"}, "blocks.0.relu", "relu in the first, gelu in the second"),
        ({"act": "relu6"}, None, "relu in the first, relu6 in the second"),
        ({"pool": "AveragePooling2D"}, "pool", "max_pool in the first, avg_pool in the second"),
        ({"norelu": True}, "blocks.1.second", "blocks.1.relu (relu) in front of it is missing in the second"),
        ({"end": "softmax"}, "softmax", "(softmax) is only in the second"),
    ],
    ids=str,
)
def test_the_first_layer_that_parts_is_found_with_its_cause(torch_net, keras_net, change, layer, cause):
    seen = microscope(torch_net(), keras_net(**change))
    assert not seen.equal
    assert layer in ((seen.first and (seen.first.name, seen.first.kind)) or [None])
    assert cause in seen.cause
    assert cause in seen.verdict


def test_as_they_are_weights_that_differ_are_found(torch_net):
    other = torch_net()
    other.blocks[0].second.weight.data[0, 0] += 0.5
    assert microscope(torch_net(), other, input_size=SIZE).equal, "lent the same weights, they are the same"
    seen = microscope(torch_net(), other, input_size=SIZE, as_they_are=True)
    assert seen.first.name == "blocks.0.second"

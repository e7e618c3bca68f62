"""What makes no difference between two networks: turned images, sums in another order, other names for the same."""

from __future__ import annotations

import numpy as np
import pytest

from shared.twins import compare, find_parting, port
from shared.twins.layouts import FIRST, LAST, Layout, canonical_axis, canonical_shape, laid_out

SIZE = 8


def judged(first, second):
    """Both must be the same by all three tools; the port gives the second one the first one's weights."""
    compared = compare(first, second, input_size=SIZE)
    assert compared.equal, compared.verdict
    carried = port(first, second, input_size=SIZE)
    assert carried.equal, carried.verdict
    seen = find_parting(first, second, input_size=SIZE, as_they_are=True)
    assert seen.equal, seen.verdict
    return compared


@pytest.fixture
def network(torch_twin):
    """A PyTorch model from its parts and its `forward`, with lively statistics."""
    import torch
    from torch import nn

    def make(forward, **parts):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                for name, part in parts.items():
                    setattr(self, name, part)

            def forward(self, x):
                return forward(self, x)

        made = Net()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -1, 1)
                nn.init.uniform_(module.running_var, 0.5, 2)
        return made

    return make


@pytest.fixture
def image(keras_twin):
    import keras

    return keras.Input((SIZE, SIZE, 3))


# -- the order of axes


def turning(network, axes=(0, 3, 1, 2)):
    """A norm over the channels of each pixel, for which PyTorch puts them last and then back."""
    from torch import nn

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))
        x = self.wide(x).permute(*axes)
        return self.head(x.mean((2, 3)))

    parts = {"conv": nn.Conv2d(3, SIZE, 3, padding=1), "norm": nn.LayerNorm(SIZE), "wide": nn.Linear(SIZE, SIZE)}
    return network(forward, **parts, head=nn.Linear(SIZE, 4))


def never_turned(image):
    import keras
    from keras import layers

    x = layers.Conv2D(SIZE, 3, padding="same")(image)
    x = layers.Dense(SIZE)(layers.LayerNormalization(epsilon=1e-5)(x))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def test_a_network_that_turns_its_images_round_is_the_one_that_does_not(network, image):
    model = never_turned(image)
    found = judged(turning(network), model)
    assert [row.left.node.kind for row in found.rows].count("permute") == 0
    judged(model, turning(network))


def test_axes_in_another_wrong_order_are_a_difference(network, image):
    assert not compare(turning(network, axes=(0, 3, 2, 1)), never_turned(image), input_size=SIZE).equal


def test_a_norm_over_rows_is_not_one_over_channels(network, image):
    from torch import nn

    def forward(self, x):
        x = self.wide(self.norm(self.conv(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3)))

    parts = {"conv": nn.Conv2d(3, SIZE, 3, padding=1), "norm": nn.LayerNorm(SIZE), "wide": nn.Linear(SIZE, SIZE)}
    wrong = network(forward, **parts, head=nn.Linear(SIZE, 4))
    seen = find_parting(wrong, never_turned(image), input_size=SIZE)
    assert seen.first.name == "norm"
    assert "axes" in seen.cause


@pytest.mark.parametrize("sides", ["torch first", "keras first"])
def test_outputs_that_are_images_are_held_against_each_other(network, image, sides):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        return self.out(nn.functional.relu(self.conv(x)))

    mine = network(forward, conv=nn.Conv2d(3, 4, 3, padding=1), out=nn.Conv2d(4, 2, 1))
    theirs = keras.Model(image, layers.Conv2D(2, 1)(layers.Conv2D(4, 3, padding="same", activation="relu")(image)))
    pair = (mine, theirs) if sides == "torch first" else (theirs, mine)
    judged(*pair)


def test_columns_behind_a_flatten_are_carried_through_what_stands_between(network, image):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        return self.head(nn.functional.silu(self.conv(x).flatten(1)))

    mine = network(forward, conv=nn.Conv2d(3, 2, 3, 2), head=nn.Linear(2 * 9, 4))
    x = layers.Flatten()(layers.Conv2D(2, 3, 2)(image))
    judged(mine, keras.Model(image, layers.Dense(4)(layers.Activation("swish")(x))))


def test_a_value_is_laid_out_as_the_other_side_has_it():
    value = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    there = laid_out(value, Layout(FIRST), Layout(LAST))
    assert there.shape == (2, 4, 5, 3)
    assert np.array_equal(laid_out(there, Layout(LAST), Layout(FIRST)), value)
    rows = value.reshape(2, -1)
    flat = laid_out(rows, Layout(FIRST, (3, 4, 5)), Layout(LAST, (3, 4, 5)))
    assert np.array_equal(flat, there.reshape(2, -1))
    assert np.array_equal(laid_out(flat, Layout(LAST, (3, 4, 5)), Layout(FIRST, (3, 4, 5))), rows)
    assert laid_out(value, Layout(), Layout(LAST)) is value
    assert canonical_shape(there.shape[1:], LAST) == value.shape[1:]
    assert [canonical_axis(axis, 4, LAST) for axis in range(4)] == [0, 2, 3, 1]


# -- other words for the same


def test_concatenations_anew_in_each_layer_are_those_of_two_at_a_time(network, image):
    import keras
    import torch
    from keras import layers
    from torch import nn

    def forward(self, x):
        found = [x]
        for conv in (self.one, self.two):
            found.append(conv(torch.relu(torch.cat(found, 1))))
        return self.head(torch.cat(found, 1).mean((2, 3)))

    mine = network(forward, one=nn.Conv2d(3, 4, 1), two=nn.Conv2d(7, 5, 1), head=nn.Linear(12, 3))
    x = image
    for filters in (4, 5):
        x = layers.Concatenate()([x, layers.Conv2D(filters, 1)(layers.ReLU()(x))])
    judged(mine, keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))


@pytest.mark.parametrize("dense", [True, False])
def test_a_gate_by_1x1_convolutions_is_one_by_dense_layers(network, image, dense):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        x = self.conv(x)
        return self.head((x * self.gate(x)).mean((2, 3)))

    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid())
    mine = network(forward, conv=nn.Conv2d(3, 8, 3, padding=1), gate=gate, head=nn.Linear(8, 3))
    x = layers.Conv2D(8, 3, padding="same")(image)
    y = layers.GlobalAveragePooling2D(keepdims=not dense)(x)
    if dense:
        y = layers.Dense(8, activation="sigmoid")(layers.Dense(2, activation="relu")(y))
        y = layers.Reshape((1, 1, 8))(y)
    else:
        y = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="relu")(y))
    x = layers.GlobalAveragePooling2D()(layers.multiply([x, y]))
    theirs = keras.Model(image, layers.Dense(3)(x))
    judged(mine, theirs)
    judged(theirs, mine)


def test_activations_and_factors_are_known_however_they_are_written(network, image):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        x = self.conv((x - 0.5) / 0.25)
        x = x * x.sigmoid()
        return self.head((x + self.side(x) * 0.2).mean((2, 3)))

    parts = {"conv": nn.Conv2d(3, 4, 3, padding=1), "side": nn.Conv2d(4, 4, 1)}
    mine = network(forward, **parts, head=nn.Linear(4, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="silu")(layers.Rescaling(4.0, offset=-2.0)(image))
    x = x + layers.Rescaling(0.2)(layers.Conv2D(4, 1)(x))
    judged(mine, keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    x = layers.Conv2D(4, 3, padding="same", activation="silu")(layers.Rescaling(4.0, offset=-1.0)(image))
    x = x + layers.Conv2D(4, 1)(x) * 0.2
    other = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    seen = find_parting(mine, other, input_size=SIZE)
    assert "offset -2 and -1" in seen.cause


# -- what was reported though nothing was wrong


def test_which_of_equal_numbers_is_a_maximum_is_no_difference(network, image):
    """PyTorch pads with minus infinity; zeros around what a ReLU made are as good, but may take the gradient."""
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        return self.head(self.pool(nn.functional.relu(self.conv(x))).mean((2, 3)))

    conv, pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1)
    mine = network(forward, conv=conv, pool=pool, head=nn.Linear(4, 3))
    conv.bias.data[:] = -0.5  # most of the image is zero
    x = layers.ZeroPadding2D(1)(layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(3, 2)(x))
    judged(mine, keras.Model(image, layers.Dense(3)(x)))


def test_a_norm_that_stands_elsewhere_is_still_the_same_norm(network, image):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        return self.head(self.other(x).mean((2, 3)))

    parts = {"conv": nn.Conv2d(3, 4, 3, padding=1), "norm": nn.BatchNorm2d(4), "act": nn.ReLU()}
    mine = network(forward, **parts, other=nn.Conv2d(4, 4, 1), head=nn.Linear(4, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(image))
    x = layers.Conv2D(4, 1)(layers.BatchNormalization(epsilon=1e-5)(x))
    theirs = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    seen = find_parting(mine, theirs, input_size=SIZE)
    assert seen.first.name in ("norm", "act")
    assert "fed by" in seen.cause or "front" in seen.cause


def test_channels_that_are_turned_round_are_no_mere_layout(keras_twin):
    import keras
    from keras import layers

    image = keras.Input((SIZE, SIZE, 3))
    plain = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    turned = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image[..., ::-1])))
    assert not compare(plain, turned).equal
    assert compare(plain, plain).equal


def test_weights_in_bfloat16_are_read(network, image):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

    mine = network(forward, conv=nn.Conv2d(3, 4, 3), head=nn.Linear(4, 3))
    x = layers.Conv2D(4, 3, dtype="bfloat16")(image)
    theirs = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    seen = find_parting(mine, theirs, input_size=SIZE)
    assert seen.first.name == "conv"
    assert "half precision" in seen.cause


def test_a_network_with_a_view_is_compared_as_any_other(network, torch_twin):
    from torch import nn

    def forward(self, x):
        return self.head(x.view(x.size(0), -1))

    parts = [network(forward, head=nn.Linear(3 * SIZE * SIZE, 2)) for _ in range(2)]
    parts[1].head.weight.data += 1
    assert port(*parts, images=np.ones((2, SIZE, SIZE, 3), np.float32)).equal


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_padding_with_the_image_itself_is_padding_of_the_convolution_behind(network, image, mode):
    import keras
    from keras import layers, ops
    from torch import nn

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode)
    mine = network(forward, conv=conv, head=nn.Linear(4, 3))
    x = layers.Conv2D(4, 3)(ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"))
    theirs = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    if mode == "reflect":
        judged(mine, theirs)
        return
    seen = find_parting(mine, theirs, input_size=SIZE)
    assert seen.first.name == "conv"
    assert "padding_value 0 and reflect" in seen.cause


def test_a_1x1_convolution_with_a_stride_is_still_the_partner_of_one_without(network, image):
    import keras
    from keras import layers
    from torch import nn

    def forward(self, x):
        return self.head(self.wide(self.narrow(x)).mean((2, 3)))

    parts = {"narrow": nn.Conv2d(3, 4, 1), "wide": nn.Conv2d(4, 4, 3, 2, 1)}
    mine = network(forward, **parts, head=nn.Linear(4, 3))
    x = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 1, 2)(image))
    theirs = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    for pair in ((mine, theirs), (theirs, mine)):
        seen = find_parting(*pair, input_size=SIZE)
        assert {seen.first.name, seen.first.other} & {"narrow"}
        assert "stride" in seen.cause

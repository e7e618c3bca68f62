"""Small networks in which each of the two sides writes the same thing in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional as F


class Body(nn.Module):
    """A network whose `forward` is a function."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


def padding_layer() -> nn.Module:
    """Padding is a layer of its own in PyTorch, an argument in Keras."""
    return nn.Sequential(
        *(nn.ZeroPad2d(1), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConstantPad2d(2, 0.0), nn.Conv2d(6, 6, 5)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    )


def padding_argument() -> Any:
    return keras.Sequential(
        [
            *(keras.Input((16, 16, 3)), layers.Conv2D(6, 3, padding="same", activation="relu")),
            *(layers.Conv2D(6, 5, padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(4)),
        ]
    )


def mean_of_pixels() -> nn.Module:
    """A mean of the pixels twice, over one axis after the other, and a sum that is written backwards."""

    def way(self, x):
        x = F.relu(self.conv(x))
        x = self.other(x).add(x)
        return self.head(torch.mean(x, dim=(-2, -1)))

    return Body(way, conv=nn.Conv2d(3, 8, 3, 1, 1), other=nn.Conv2d(8, 8, 1), head=nn.Linear(8, 3))


def pooling_that_keeps_its_axes() -> Any:
    image = keras.Input((12, 12, 3))
    x = keras.activations.relu(layers.Conv2D(8, 3, padding="same")(image))
    x = x + layers.Conv2D(8, 1)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def head_of_1x1() -> nn.Module:
    """A pool over all that is left, and a 1x1 convolution in the place of the dense layer, on one side only."""

    def way(self, x):
        x = self.act(self.bn(self.conv(x)))
        x = F.avg_pool2d(x, 8)
        return torch.flatten(self.score(x), 1)

    parts = {"conv": nn.Conv2d(3, 8, 3, 2, 1), "bn": nn.BatchNorm2d(8), "act": nn.ReLU6()}
    return Body(way, **parts, score=nn.Conv2d(8, 5, 1))


def head_of_1x1_there() -> Any:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, 2)(layers.ZeroPadding2D(1)(image))
    x = ops.relu6(layers.BatchNormalization(epsilon=1e-5)(x))
    x = layers.AveragePooling2D((8, 8))(x)
    return keras.Model(image, layers.Flatten()(layers.Conv2D(5, 1)(x)))


def bias_before_norm() -> nn.Module:
    """A bias that the BatchNorm behind it takes away; Keras has none."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, bias=False)),
        *(nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 3)),
    )


def norm_takes_bias() -> Any:
    model = keras.Sequential([keras.Input((8, 8, 3))])
    for _ in range(2):
        model.add(layers.Conv2D(6, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(epsilon=1e-5))
        model.add(layers.Activation("relu"))
    model.add(layers.Flatten())
    model.add(layers.Dense(3))
    return model


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def swish_by_hand() -> nn.Module:
    """SiLU as a product with its sigmoid, and a sum of three."""

    def way(self, x):
        x = self.swish(self.conv(x))
        x = self.one(x) + self.two(x) + x
        return self.head(x.mean(dim=[2, 3]))

    parts = {"conv": nn.Conv2d(3, 8, 3, 1, 1), "one": nn.Conv2d(8, 8, 1), "two": nn.Conv2d(8, 8, 3, 1, 1)}
    return Body(way, swish=Swish(), **parts, head=nn.Linear(8, 3))


def swish_by_name() -> Any:
    image = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="silu")(image)
    x = layers.add([x, layers.Conv2D(8, 3, padding="same")(x), layers.Conv2D(8, 1)(x)])
    return keras.Model(image, layers.Dense(3)(layers.GlobalAvgPool2D()(x)))


def separable() -> nn.Module:
    """A separable convolution: two in PyTorch, one layer in Keras."""
    return nn.Sequential(
        *(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), nn.Conv2d(3, 8, 1), nn.LeakyReLU(0.2)),
        *(nn.MaxPool2d(2), nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(8 * 36, 3), nn.Softmax(dim=1)),
    )


def separable_in_one() -> Any:
    return keras.Sequential(
        [
            *(keras.Input((12, 12, 3)), layers.SeparableConv2D(8, 3, padding="same"), layers.LeakyReLU(0.2)),
            *(layers.MaxPool2D(), layers.SpatialDropout2D(0.1), layers.Flatten(), layers.Dense(3, "softmax")),
        ]
    )


def dense_on_pixels() -> nn.Module:
    """A 1x1 convolution; Keras has a dense layer on the channels of each pixel."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 2, 2), nn.GELU(), nn.Conv2d(8, 8, 1), nn.Tanh()),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


def dense_on_pixels_there() -> Any:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 2, 2, activation="gelu")(image)
    x = layers.Dense(8, activation="tanh")(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def upsampled() -> nn.Module:
    """Sizes that are computed, and an enlargement to them."""

    def way(self, x):
        small = F.relu(self.down(x))
        large = F.interpolate(small, size=x.shape[2:], mode="nearest")
        return self.out(torch.cat((large, x), dim=1))

    return Body(way, down=nn.Conv2d(3, 6, 3, 2, 1), out=nn.Conv2d(9, 2, 3, padding="same"))


def upsampled_there() -> Any:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, 2, activation="relu")(layers.ZeroPadding2D()(image))
    x = layers.UpSampling2D()(x)
    return keras.Model(image, layers.Conv2D(2, 3, padding="same")(layers.Concatenate()([x, image])))


def scaled() -> nn.Module:
    """Images are scaled in the network, by a division here and by a layer there; a residue has a constant factor."""

    def way(self, x):
        x = F.elu(self.conv((x - 0.5) / 0.25))
        return self.head(torch.flatten(F.max_pool2d(x + 0.2 * self.branch(x), 2), 1))

    return Body(way, conv=nn.Conv2d(3, 4, 3, 1, 1), branch=nn.Conv2d(4, 4, 3, 1, 1), head=nn.Linear(4 * 16, 3))


def scaled_there() -> Any:
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(4.0, offset=-2.0)(image)
    x = layers.ELU()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.MaxPool2D()(x + layers.Conv2D(4, 3, padding="same")(x) * 0.2)
    return keras.Model(image, layers.Dense(3)(layers.Reshape((-1,))(x)))


#: Name -> PyTorch's, Keras', pixels.
STYLES: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
    "padding": (padding_layer, padding_argument, 16),
    "mean": (mean_of_pixels, pooling_that_keeps_its_axes, 12),
    "1x1-head": (head_of_1x1, head_of_1x1_there, 16),
    "bias-before-norm": (bias_before_norm, norm_takes_bias, 8),
    "swish": (swish_by_hand, swish_by_name, 10),
    "separable": (separable, separable_in_one, 12),
    "dense-on-pixels": (dense_on_pixels, dense_on_pixels_there, 8),
    "upsampled": (upsampled, upsampled_there, 16),
    "scaled": (scaled, scaled_there, 8),
}

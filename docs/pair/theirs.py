"""The network of `mine.py` in Keras, with two mistakes that many make: Keras' defaults are not PyTorch's."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


def block(x: Any, channels: int, stride: int) -> Any:
    """Return what a block makes of x, (N, H, W, C)."""
    y = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(channels, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    if stride > 1:
        x = layers.BatchNormalization()(layers.Conv2D(channels, 1, stride, use_bias=False)(x))
    return layers.ReLU()(y + x)


def build_model(classes: int = 10) -> keras.Model:
    """Return the network for images of 32 pixels."""
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for channels, stride in [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]:
        x = block(x, channels, stride)
    return keras.Model(image, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

"""The building blocks in Keras: every quirk of the framework is settled here, and no model file knows of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from shared.networks.spec import NormSpec, ShortcutSpec

Step = Callable[[KerasTensor], KerasTensor]
#: What every layer with pixels is told. Otherwise it asks the user's keras.json, which may say "channels_first".
LAST = "channels_last"


def layer_name(name: str) -> str:
    """Return the Keras layer's name for the PyTorch name `name`."""
    # Keras' PyTorch backend keeps layers in an nn.ModuleDict, which forbids dots in a name.
    return name.replace(".", "_") if keras.backend.backend() == "torch" else name


@contextmanager
def dtype_scope(dtype: str, policy: str | None = None) -> Iterator[None]:
    """Make the layers that are built inside compute in `dtype`, then put everything back as it was.

    `policy` may be one of Keras' mixed ones: then weights are of `dtype`, and activations of a shorter one.
    """
    # set_floatx alone does nothing once a layer exists: the dtype policy is set on its own.
    old_floatx, old_policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(policy or dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(old_floatx)
        keras.config.set_dtype_policy(old_policy)


@contextmanager
def deep_graphs() -> Iterator[None]:
    """Let Keras walk through graphs of more than a thousand layers, which it does by recursion."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class Sequential:
    """Calls its steps one after the other. Unlike `keras.Sequential` it leaves no model of its own in the graph."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    def __call__(self, x: KerasTensor) -> KerasTensor:
        """Return the last step's output; without steps, `x` itself."""
        for step in self.steps:
            x = step(x)
        return x


class BatchNormalization(layers.BatchNormalization):
    """Keras' BatchNormalization with PyTorch's running variance, and faster.

    Both frameworks normalise a batch by its biased variance (divided by n). PyTorch keeps a running mean
    of the unbiased one (divided by n - 1), Keras of the biased one. This layer keeps PyTorch's; with one
    value per channel there is nothing to correct.
    """

    frozen = False  # see `freeze_norms`
    replicas = 1  # see `synchronize_norms`

    # Saved under the name of its parent, so that a `.keras` file opens where this package is not installed.
    # There the layer is the stock one: it predicts the same, and further training uses the biased variance.
    __module__ = "keras.layers"

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (N, H, W, C) by the batch while training, by the running statistics otherwise."""
        if self.frozen or not (training and self.trainable):
            return super().call(inputs, training=training and not self.frozen, mask=mask)
        if keras.backend.backend() == "tensorflow" and self.compute_dtype != "float64" and not self.synchronized:
            return self._in_one_operation(inputs)
        return self._in_many_operations(inputs)

    def _in_one_operation(self, inputs: Any) -> Any:
        # Keras spells the formula out, and each operation reads the whole batch from memory again. TensorFlow has
        # one for all, which is up to 1.9 times as fast (docs/speed.md) and gives the variance divided by n - 1.
        import tensorflow as tf

        scale, offset = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=self.epsilon)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + batch * (1.0 - self.momentum))
        return outputs

    def _in_many_operations(self, inputs: Any) -> Any:
        # Multiplied at once: the bare variable would show its new value after the update below.
        kept = ops.multiply(self.moving_variance, self.momentum)
        outputs = super().call(inputs, training=True)
        dtype = self.moving_variance.dtype
        count = ops.cast(self.replicas * (ops.size(inputs) // inputs.shape[self.axis]), dtype)
        added = ops.subtract(self.moving_variance, kept)
        correction = ops.divide(added, ops.maximum(count - 1, 1))
        correction = ops.where(count > 1, correction, ops.zeros_like(correction))
        self.moving_variance.assign(ops.add(self.moving_variance, correction))
        return outputs


def freeze_norms(model: keras.Model) -> None:
    """Let every BatchNorm use and keep its running statistics; call it before training. Gamma and beta learn."""
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            layer.frozen = True


def synchronize_norms(model: keras.Model, replicas: int) -> None:
    """Let every BatchNorm normalise by the batch of all replicas together, of which each has an equal part."""
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            layer.synchronized, layer.replicas = True, replicas


def _uniform(fan_in: int) -> keras.initializers.Initializer:
    """What PyTorch draws biases and the last layer's weights from; Keras would start biases at zero."""
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, bias: bool, *, name: str) -> Step:
    """Return a convolution (N, H, W, C) -> (N, H/s, W/s, C') that pads kernel_size // 2 on every side."""
    explicit = stride > 1 and kernel_size > 1
    layer = layers.Conv2D(
        out_channels,
        kernel_size,
        stride,
        # With a stride, "same" pads only at the bottom and the right of an even image: other pixels are read.
        padding="valid" if explicit else "same",
        use_bias=bias,
        data_format=LAST,
        # Kaiming normal, fan-out. Keras' own he_normal is truncated and counts the fan-in.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bias_initializer=_uniform(in_channels * kernel_size**2),
        name=layer_name(name),
    )
    if not explicit:
        return layer
    return Sequential(layers.ZeroPadding2D(kernel_size // 2, LAST, name=layer_name(f"{name}.pad")), layer)


def conv1x1(in_channels: int, out_channels: int, stride: int, bias: bool, *, name: str) -> Step:
    """Return a 1x1 convolution: the same linear map at every pixel."""
    return conv(in_channels, out_channels, 1, stride, bias, name=name)


def conv3x3(in_channels: int, out_channels: int, stride: int, bias: bool, *, name: str) -> Step:
    """Return a 3x3 convolution with one pixel of padding."""
    return conv(in_channels, out_channels, 3, stride, bias, name=name)


def batch_norm(channels: int, norm: NormSpec, *, name: str) -> Step:
    """Return a BatchNorm over (N, H, W) for each channel."""
    # Keras weighs the old value with its momentum, PyTorch the new one.
    return BatchNormalization(
        momentum=1.0 - norm.momentum,
        epsilon=norm.eps,
        gamma_initializer=keras.initializers.Constant(norm.gamma),
        name=layer_name(name),
    )


def relu(*, name: str) -> Step:
    """Return a ReLU, a layer of its own: for a shared one the summary keeps only the last shape."""
    return layers.ReLU(name=layer_name(name))


def add(*, name: str) -> Callable[[list[KerasTensor]], KerasTensor]:
    """Return the addition at the end of a block."""
    return layers.Add(name=layer_name(name))


def max_pool(present: bool, *, name: str) -> Step:
    """Return the stem's 3x3 max-pool of stride 2, or nothing where the stem has none (on small images)."""
    if not present:
        return Sequential()

    def pad(x: KerasTensor) -> KerasTensor:
        # Keras pads with zeros, which would win against negative pixels. PyTorch pads with minus infinity.
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-float("inf"))
        # An operation cannot be named when it is called, only afterwards.
        x._keras_history.operation.name = layer_name(f"{name}.pad")
        return x

    return Sequential(pad, layers.MaxPooling2D(3, 2, "valid", LAST, name=layer_name(name)))


def global_avg_pool(*, name: str) -> Step:
    """Return the mean over all pixels: (N, H, W, C) -> (N, 1, 1, C)."""
    return layers.GlobalAveragePooling2D(LAST, keepdims=True, name=layer_name(name))


def flatten(*, name: str) -> Step:
    """Return the step (N, 1, 1, C) -> (N, C)."""
    return layers.Flatten(LAST, name=layer_name(name))


def linear(in_features: int, out_features: int, *, name: str) -> Step:
    """Return a fully connected layer (N, in) -> (N, out), initialised as PyTorch does by default."""
    return layers.Dense(
        out_features,
        kernel_initializer=_uniform(in_features),
        bias_initializer=_uniform(in_features),
        name=layer_name(name),
    )


def _identity(row: ShortcutSpec, name: str) -> Step:
    return Sequential()


def _pad(row: ShortcutSpec, name: str) -> Step:
    """Option A: take every second pixel, and fill the new channels with zeros, half before and half behind."""
    extra = row.out_channels - row.in_channels
    # "channels_first" makes the layer pad the last two axes, which in (N, H, W, C) are W and C.
    return Sequential(
        layers.AveragePooling2D(1, row.stride, data_format=LAST, name=layer_name(f"{name}.0")),
        layers.ZeroPadding2D(
            ((0, 0), (extra // 2, extra - extra // 2)),
            data_format="channels_first",
            name=layer_name(f"{name}.1"),
        ),
    )


def _conv(row: ShortcutSpec, name: str) -> Step:
    return conv(row.in_channels, row.out_channels, row.kernel_size, row.stride, row.bias, name=f"{name}.0")


def _conv_norm(row: ShortcutSpec, name: str) -> Step:
    return Sequential(
        conv(row.in_channels, row.out_channels, row.kernel_size, row.stride, row.bias, name=f"{name}.0"),
        batch_norm(row.out_channels, row.norm, name=f"{name}.1"),
    )


SHORTCUTS = {"identity": _identity, "pad": _pad, "conv": _conv, "conv_norm": _conv_norm}


def shortcut(row: ShortcutSpec, *, name: str) -> Step:
    """Return the path around a block: the identity, option A's padding, or a projection."""
    return SHORTCUTS[row.kind](row, name)

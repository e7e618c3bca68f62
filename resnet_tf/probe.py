"""Looks into a Keras model: logits, activations and gradients as NumPy arrays, and one step of training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import keras
import numpy as np

from resnet_tf.layers import deep_graphs
from resnet_tf.weights import canonical_variables, check_model, torch_name
from shared.backends import Trace, check_device
from shared.base.checks import check_images, check_labels, check_rate, check_trainable
from shared.base.errors import InputError
from shared.networks.canonical import from_keras_layout


def _check(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Return the images; raise `InputError` if this is no model, or if they are none for it."""
    check_model(model)
    built_for = model.inputs[0].shape
    images = check_images(inputs, "N, H, W, C", built_for[-1])
    if images.shape[1:] != built_for[1:]:
        raise InputError(f"the images have the shape {images.shape}; this Keras model was built for {built_for}")
    return images


def _tensor(model: keras.Model, inputs: np.ndarray) -> object:
    return keras.ops.convert_to_tensor(np.ascontiguousarray(inputs, model.inputs[0].dtype))


def _numpy(tensor: object) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(tensor))


def _channels_first(tensor: object) -> np.ndarray:
    array = _numpy(tensor)
    return np.transpose(array, (0, 3, 1, 2)) if array.ndim == 4 else array


def from_nhwc(images: np.ndarray, model: keras.Model) -> np.ndarray:
    """Return images (N, H, W, C) as Keras wants them: as they are, in the model's dtype."""
    return np.ascontiguousarray(_check(model, images), model.inputs[0].dtype)


def forward(model: keras.Model, inputs: np.ndarray, *, training: bool = False) -> np.ndarray:
    """Return the logits (N, num_classes) for images (N, H, W, C).

    In training mode BatchNorm uses the batch and moves its running statistics.
    """
    return _numpy(model(_tensor(model, _check(model, inputs)), training=training))


def _layers(model: keras.Model) -> dict[str, object]:
    """Return what every layer puts out, in the graph, by the layer's name in PyTorch."""
    return {
        torch_name(model, operation.name): operation.output
        for operation in model.operations
        if not isinstance(operation, keras.layers.InputLayer) and not operation.name.endswith("pad")
    }


def _check_gradients() -> None:
    """Raise `InputError` where Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"gradients of the Keras twin are taken with TensorFlow, but KERAS_BACKEND is {keras.backend.backend()}; "
            "unset it or set it to tensorflow"
        )


def trace(
    model: keras.Model,
    inputs: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    training: bool | None = False,
    activations: bool = True,
) -> Trace:
    """Run images (N, H, W, C) through the model and return what happened inside, as (N, C, H, W).

    With `labels`, class numbers (N,), also the mean cross-entropy and its gradients, for which Keras must run
    on TensorFlow. In training mode BatchNorm uses the batch and updates its running statistics; with
    `training=None` a layer runs in training mode only if it was called so when the model was built.
    """
    inputs = _check(model, inputs)
    if labels is not None:  # before the pass, which in training mode moves statistics
        labels = check_labels(labels, len(inputs), model.outputs[0].shape[-1])
        check_trainable(bool(model.trainable_variables))
    watched = _layers(model) if activations else {}
    # A model with a dict of outputs: every layer that is looked at, and the logits.
    with deep_graphs():
        inner = keras.Model(model.inputs, {**watched, "logits": model.outputs[0]})
    if labels is None:
        outputs = inner(_tensor(model, inputs), training=training)
        logits = outputs.pop("logits")
        return Trace(logits=_numpy(logits), activations={name: _channels_first(outputs[name]) for name in watched})

    _check_gradients()
    import tensorflow as tf

    variables = {name: entry for name, entry in canonical_variables(model).items() if entry[0].trainable}
    with tf.GradientTape() as tape:
        outputs = inner(_tensor(model, inputs), training=training)
        logits = outputs.pop("logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    sources = {name: variable.value for name, (variable, _) in variables.items()}
    by_activation, by_variable = tape.gradient(loss, [outputs, sources])
    return Trace(
        logits=_numpy(logits),
        loss=float(loss),
        activations={name: _channels_first(outputs[name]) for name in watched},
        activation_gradients={name: _channels_first(by_activation[name]) for name in watched},
        parameter_gradients={
            name: from_keras_layout(_numpy(by_variable[name]), axes) for name, (_, axes) in variables.items()
        },
    )


def train_step(model: keras.Model, inputs: np.ndarray, labels: np.ndarray, learning_rate: float) -> Trace:
    """Run one step of plain gradient descent in training mode: p = p - learning_rate * gradient."""
    check_rate(learning_rate)
    result = trace(model, inputs, labels, training=True, activations=False)
    for name, (variable, axes) in canonical_variables(model).items():
        if variable.trainable:
            gradient = np.transpose(result.parameter_gradients[name], axes)
            variable.assign_sub((learning_rate * gradient).astype(variable.dtype))
    return result


def devices() -> list[str]:
    """Return the devices that Keras' backend sees."""
    if keras.backend.backend() != "tensorflow":
        return [f"Keras runs on {keras.backend.backend()}"]
    import tensorflow as tf

    found = [f"CPU ({os.cpu_count()} cores)"]
    for device in tf.config.list_physical_devices():
        if device.device_type != "CPU":
            details = tf.config.experimental.get_device_details(device)
            found.append(f"{device.device_type}: {details.get('device_name', device.name)}")
    return found


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Build models inside on "cpu" or "cuda", and compute there; "auto" leaves it to Keras, which takes a GPU.

    Raises `InputError` for a device that is not there.
    """
    check_device(device, available_devices(), "Keras")
    with nullcontext() if device == "auto" else keras.device({"cuda": "gpu:0", "cpu": "cpu:0"}[device]):
        yield


def available_devices() -> dict[str, bool]:
    """Return the devices one may ask for, the fastest first, and whether each is there."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return {"cuda": bool(tf.config.list_physical_devices("GPU")), "cpu": True}
    try:
        with keras.device("gpu"):
            keras.ops.zeros(1)
    except Exception:  # each of Keras' other backends has an error of its own for it
        return {"cuda": False, "cpu": True}
    return {"cuda": True, "cpu": True}

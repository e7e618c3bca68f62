"""Computes a node in float64 from its kind, settings and weights alone: the yardstick for what a layer computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import keras
import numpy as np
from keras import Layer

from resnet_tf.graph_calls import Call, spread
from shared.base.errors import InputError
from shared.base.printable import printable
from shared.networks.graph import Node


@dataclass(frozen=True)
class Given:
    """What a formula is given; images are (N, H, W, C)."""

    settings: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    inputs: Sequence[np.ndarray]
    shape: tuple[int, ...] = ()  # of the output

    @property
    def x(self) -> np.ndarray:
        """The first input."""
        return self.inputs[0]

    def scaled(self, normal: np.ndarray) -> np.ndarray:
        """Return `normal` with the weight and the bias, where there are any; they lie along the axes of the norm."""
        axes = [axis % normal.ndim for axis in self.settings.get("axes", (-1,))]
        sizes = [size if axis in axes else 1 for axis, size in enumerate(normal.shape)]
        weight, bias = (self.weights.get(role) for role in ("weight", "bias"))
        scaled = normal if weight is None else normal * weight.reshape(sizes)
        return scaled if bias is None else scaled + bias.reshape(sizes)


def compute(node: Node, call: Call, weights: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return a node's output in float64. Raises `InputError` for a kind that has no formula here."""
    inputs = [each.astype("float64") if keras.backend.is_float_dtype(str(each.dtype)) else each for each in inputs]
    formula = FORMULAS.get(node.kind)
    simple = node.settings.get("constant") is None and call.pick is None
    if formula is None or not simple:
        return _by_the_operation(node, call, inputs)
    first = getattr(call.target, "data_format", None) == "channels_first" and node.kind in IMAGES
    if first and keras.config.image_data_format() == "channels_last" and node.kind in ("pad", "crop"):
        first = False  # all axes are named
    if not inputs and isinstance(call.target, Layer):  # a layer that is called on constants
        inputs = [np.asarray(keras.ops.convert_to_numpy(each)) for each in call.args]
    wide = {role: array.astype("float64") for role, array in weights.items()}
    turned = [np.moveaxis(each, 1, -1) for each in inputs] if first else inputs
    found = formula(Given(node.settings, wide, turned, node.shape))
    return np.array(np.moveaxis(found, -1, 1) if first else found)


def _by_the_operation(node: Node, call: Call, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Compute an operation without weights as the framework does: it takes whatever precision it is given."""
    if isinstance(call.target, Layer):
        raise InputError(f"{printable(node.name)} ({node.source}) cannot be computed in float64: it has no formula")
    outputs = keras.ops.convert_to_numpy(call.run([keras.ops.convert_to_tensor(each) for each in inputs]))
    return np.array(outputs)


def _conv(given: Given) -> np.ndarray:
    settings, weight = given.settings, given.weights["weight"]
    x = np.pad(given.x, ((0, 0), *settings["padding"], (0, 0)))
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    groups = settings["groups"]
    parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
    options = {"strides": settings["stride"], "padding": "valid", "dilation_rate": settings["dilation"]}
    found = [
        keras.ops.convert_to_numpy(keras.ops.conv(part, one, data_format="channels_last", **options))
        for part, one in parts
    ]
    return np.concatenate(found, -1) + given.weights.get("bias", 0.0)


def _conv_transpose(given: Given) -> np.ndarray:
    settings, weight = given.settings, given.weights["weight"]
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    options = {"strides": settings["stride"], "padding": "valid", "dilation_rate": settings["dilation"]}
    whole = keras.ops.convert_to_numpy(
        keras.ops.conv_transpose(given.x, kernel, data_format="channels_last", **options)
    )
    axes = zip(
        given.x.shape[1:-1],
        *(settings[name] for name in ("kernel_size", "stride", "dilation", "padding", "output_padding")),
        strict=True,
    )
    kept = []
    for size, length, step, gap, (before, behind), extra in axes:
        end = (size - 1) * step + (length - 1) * gap + 1 - behind + extra
        kept.append(slice(before, end))
    return whole[(slice(None), *kept)] + given.weights.get("bias", 0.0)


def _dense(given: Given) -> np.ndarray:
    return given.x @ given.weights["weight"].T + given.weights.get("bias", 0.0)


def _batch_norm(given: Given) -> np.ndarray:
    mean, var = given.weights["running_mean"], given.weights["running_var"]
    if given.settings["training"]:
        axes = tuple(range(given.x.ndim - 1))
        mean, var = given.x.mean(axes), given.x.var(axes)
    return given.scaled((given.x - mean) / np.sqrt(var + given.settings["eps"]))


def _layer_norm(given: Given) -> np.ndarray:
    axes = given.settings["axes"]
    mean, var = given.x.mean(axes, keepdims=True), given.x.var(axes, keepdims=True)
    return given.scaled((given.x - mean) / np.sqrt(var + given.settings["eps"]))


def _rms_norm(given: Given) -> np.ndarray:
    square = np.square(given.x).mean(given.settings["axes"], keepdims=True)
    return given.scaled(given.x / np.sqrt(square + given.settings["eps"]))


def _group_norm(given: Given) -> np.ndarray:
    x, groups = given.x, given.settings["groups"]
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    mean, var = parts.mean(axes, keepdims=True), parts.var(axes, keepdims=True)
    return given.scaled(((parts - mean) / np.sqrt(var + given.settings["eps"])).reshape(x.shape))


def _softmax(given: Given) -> np.ndarray:
    axis = given.settings.get("axis", -1)
    axis = tuple(axis) if isinstance(axis, list) else axis
    powers = np.exp(given.x - given.x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _attend(given: Given) -> np.ndarray:
    query, key, value = (each.swapaxes(1, 2) for each in given.inputs)  # (N, heads, T, size)
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    return (_softmax(Given({"axis": -1}, {}, [scores])) @ value).swapaxes(1, 2)


def _attention(given: Given) -> np.ndarray:
    query, value, *key = given.inputs
    sources = {"query": query, "key": key[0] if key else value, "value": value}
    weights, heads = given.weights, given.settings["heads"]
    mapped = [
        (source @ weights[f"{role}_weight"].T + weights.get(f"{role}_bias", 0.0)).reshape(*source.shape[:2], heads, -1)
        for role, source in sources.items()
    ]
    joined = _attend(Given({}, {}, mapped)).reshape(*query.shape[:2], -1)
    return joined @ weights["out_weight"].T + weights.get("out_bias", 0.0)


def _gelu(given: Given) -> np.ndarray:
    found = keras.ops.gelu(given.x, approximate=given.settings["approximate"] == "tanh")
    return np.asarray(keras.ops.convert_to_numpy(found))


def _elu(given: Given) -> np.ndarray:
    return np.where(given.x > 0, given.x, given.settings["alpha"] * np.expm1(np.minimum(given.x, 0)))


def _selu(given: Given) -> np.ndarray:
    elu = np.where(given.x > 0, given.x, 1.6732632423543772 * np.expm1(np.minimum(given.x, 0)))
    return 1.0507009873554805 * elu


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def _leaky(x: np.ndarray, slope: Any) -> np.ndarray:
    return np.where(x > 0, x, slope * x)


def _windows(given: Given, fill: float) -> np.ndarray:
    """Return (N, out..., C, kernel...): the windows of a pooling layer."""
    kernel, rank = given.settings["kernel_size"], given.x.ndim
    padding = ((0, 0), *given.settings["padding"], (0, 0))
    x = np.pad(given.x, padding, constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, tuple(range(1, rank - 1)))
    return windows[(slice(None), *(slice(None, None, step) for step in given.settings["stride"]))]


def _max_pool(given: Given) -> np.ndarray:
    windows = _windows(given, -np.inf)
    return windows.max(axis=tuple(range(given.x.ndim, windows.ndim)))


def _avg_pool(given: Given) -> np.ndarray:
    windows = _windows(given, 0.0)
    counted = _windows(Given(given.settings, {}, [np.ones_like(given.x)]), float(given.settings["count_include_pad"]))
    axes = tuple(range(given.x.ndim, windows.ndim))
    return windows.sum(axis=axes) / counted.sum(axis=axes)


def _pad(given: Given) -> np.ndarray:
    padding = given.settings["padding"]
    whole = padding if len(padding) == given.x.ndim else ((0, 0), *padding, (0, 0))
    return np.pad(given.x, whole, constant_values=given.settings["value"])


def _crop(given: Given) -> np.ndarray:
    padding = given.settings["padding"]
    whole = padding if len(padding) == given.x.ndim else ((0, 0), *padding, (0, 0))
    return given.x[
        tuple(slice(before, size - behind) for (before, behind), size in zip(whole, given.x.shape, strict=True))
    ]


def _upsample(given: Given) -> np.ndarray:
    x = given.x
    for axis, scale in enumerate(given.settings["scale"], start=1):
        if given.settings["mode"] == "nearest":
            x = np.repeat(x, scale, axis)
        elif given.settings["mode"] == "bilinear":
            x = np.moveaxis(np.tensordot(_between(x.shape[axis], scale), x, (1, axis)), 0, axis)
        else:
            raise InputError(f"there is no formula for an enlargement of the mode {given.settings['mode']}")
    return x


def _between(size: int, scale: int) -> np.ndarray:
    """Return the matrix (size * scale, size) that interpolates between the centres of pixels."""
    places = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0)


def _permute(given: Given) -> np.ndarray:
    return given.x.transpose(given.settings["axes"])


def _reshape(given: Given) -> np.ndarray:
    return given.x.reshape(given.settings["shape"])


def _cast(given: Given) -> np.ndarray:
    dtype = np.dtype(given.settings["dtype"])
    return given.x.astype("float64" if dtype.kind == "f" else dtype)


def _mean(given: Given) -> np.ndarray:
    return given.x.mean(given.settings["axes"], keepdims=len(given.shape) == given.x.ndim)


def _over_image(given: Given, combine: Callable[..., Any]) -> np.ndarray:
    return np.asarray(combine(given.x, axis=(1, 2), keepdims=len(given.shape) == given.x.ndim))


def _parameter(given: Given) -> np.ndarray:
    return spread(given.weights["value"], given.shape)


def _scale(given: Given) -> np.ndarray:
    return given.x * np.array(given.settings["factor"]) + np.array(given.settings["offset"])


#: Kind -> its formula.
FORMULAS: dict[str, Callable[[Given], np.ndarray]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "prelu": lambda given: _leaky(given.x, given.weights["weight"]),
    "embedding": lambda given: given.weights["weight"][given.x.astype("int64")],
    "attention": _attention,
    "attend": _attend,
    "relu": lambda given: np.maximum(given.x, 0),
    "relu6": lambda given: np.clip(given.x, 0, 6),
    "leaky_relu": lambda given: _leaky(given.x, given.settings["slope"]),
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": lambda given: given.x * _sigmoid(given.x),
    "mish": lambda given: given.x * np.tanh(np.logaddexp(0.0, given.x)),
    "sigmoid": lambda given: _sigmoid(given.x),
    "hard_sigmoid": lambda given: _hard_sigmoid(given.x),
    "hard_swish": lambda given: given.x * _hard_sigmoid(given.x),
    "tanh": lambda given: np.tanh(given.x),
    "softplus": lambda given: np.logaddexp(0.0, given.x),
    "softmax": _softmax,
    "log_softmax": lambda given: np.log(_softmax(given)),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": lambda given: _over_image(given, np.mean),
    "global_max_pool": lambda given: _over_image(given, np.max),
    "mean": _mean,
    "parameter": _parameter,
    "pad": _pad,
    "crop": _crop,
    "upsample": _upsample,
    "scale": _scale,
    "flatten": lambda given: given.x.reshape(len(given.x), -1),
    "reshape": _reshape,
    "permute": _permute,
    "cast": _cast,
    "identity": lambda given: given.x,
    "dropout": lambda given: given.x,
    "add": lambda given: reduce(np.add, given.inputs),
    "subtract": lambda given: reduce(np.subtract, given.inputs),
    "multiply": lambda given: reduce(np.multiply, given.inputs),
    "divide": lambda given: reduce(np.divide, given.inputs),
    "matmul": lambda given: np.matmul(*given.inputs),
    "concat": lambda given: np.concatenate(given.inputs, given.settings["axis"]),
}
#: Kinds in which a layer's own order of axes matters.
IMAGES = (
    *("conv", "conv_transpose", "batch_norm", "pad", "crop", "upsample", "flatten"),
    *("max_pool", "avg_pool", "global_avg_pool", "global_max_pool"),
)

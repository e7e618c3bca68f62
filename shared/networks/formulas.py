"""What each kind of layer computes, in NumPy and float64: the yardstick that belongs to no framework.

`compute(node, weights, inputs)` gives a node's output from its kind, its settings and its weights alone. Images are
(N, C, H, W) inside; `channels_last=True` takes and gives them as (N, H, W, C).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.networks.graph import Node

Array = NDArray[Any]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Given:
    """What a formula is given; images are (N, C, H, W)."""

    settings: Mapping[str, Any]
    weights: Mapping[str, Array]
    inputs: Sequence[Array]
    rank: int  # of the output

    @property
    def x(self) -> Array:
        """The first input."""
        return self.inputs[0]

    @property
    def channels(self) -> int:
        """The axis of the channels."""
        return 1 if self.x.ndim > 2 else -1

    def scaled(self, normal: Array, axes: Sequence[int]) -> Array:
        """Return `normal` with the weight and the bias, where there are any; they lie along `axes`."""
        places = {axis % normal.ndim for axis in axes}
        sizes = [size if axis in places else 1 for axis, size in enumerate(normal.shape)]
        for role, operate in (("weight", np.multiply), ("bias", np.add)):
            if role in self.weights:
                normal = operate(normal, self.weights[role].reshape(sizes))
        return normal

    def with_bias(self, found: Array) -> Array:
        """Return an output with the bias of each channel, if there is one."""
        if "bias" not in self.weights:
            return found
        return found + self.weights["bias"].reshape(-1, *(1,) * (found.ndim - 2))


def compute(node: Node, weights: Mapping[str, Array], inputs: Sequence[Array], *, channels_last: bool = False) -> Array:
    """Return a node's output. Raises `InputError` for a kind that has no formula, as one with a constant has none."""
    formula = FORMULAS.get(node.kind)
    if formula is None or isinstance(node.settings.get("constant"), tuple):
        raise InputError(f"{printable(node.name)} ({node.source}) cannot be computed: it has no formula")
    moves = channels_last and node.kind in IMAGES and not _names_all_axes(node, weights, inputs)
    wide = {role: np.asarray(array, np.float64) for role, array in weights.items()}
    given = [np.moveaxis(each, -1, 1) if moves and each.ndim > 2 else each for each in map(_wide, inputs)]
    with np.errstate(all="ignore"):  # what a wrong layer computes may be no number
        found = formula(Given(node.settings, wide, given, len(node.shape)))
    return np.array(np.moveaxis(found, 1, -1) if moves and found.ndim > 2 else found)


def _names_all_axes(node: Node, weights: Mapping[str, Array], inputs: Sequence[Array]) -> bool:
    """Return whether a padding or a slope speaks of every axis, in the order in which the input has them."""
    own_slopes = node.kind == "prelu" and weights["weight"].ndim > 1
    return own_slopes or (len(inputs) > 0 and len(node.settings.get("padding", ())) == inputs[0].ndim)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind not in "iub" else array


# -- layers with weights


def _at(places: Iterable[Any]) -> Any:
    """Return the index of places along the last axes."""
    return (..., *places)


def padded(x: Array, padding: Sequence[Sequence[int]], value: float | str) -> Array:
    """Return an array with a number around it, or with itself, in NumPy's words ("reflect", "edge")."""
    if isinstance(value, str):
        return np.asarray(np.pad(x, padding, mode=cast(Any, value)))
    return np.pad(x, padding, constant_values=value)


def _conv(given: Given) -> Array:
    settings, weight = given.settings, given.weights["weight"]
    groups, stride, gaps = settings["groups"], settings["stride"], settings["dilation"]
    padding = ((0, 0), (0, 0), *settings["padding"])
    x = padded(given.x, padding, settings.get("padding_value", 0.0))
    sizes = [
        (size - (length - 1) * gap - 1) // step + 1
        for size, length, gap, step in zip(x.shape[2:], weight.shape[2:], gaps, stride, strict=True)
    ]
    parts = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, out, in, height, width)
    found = np.zeros((len(x), groups, parts.shape[1], math.prod(sizes)))
    for place in itertools.product(*map(range, weight.shape[2:])):
        window = tuple(
            slice(index * gap, index * gap + (size - 1) * step + 1, step)
            for index, gap, size, step in zip(place, gaps, sizes, stride, strict=True)
        )
        pixels = x[_at(window)].reshape(len(x), groups, -1, math.prod(sizes))
        found += parts[_at(place)] @ pixels
    return given.with_bias(found.reshape(len(x), -1, *sizes))


def _conv_transpose(given: Given) -> Array:
    settings, weight, x = given.settings, given.weights["weight"], given.x
    groups, stride, gaps = settings["groups"], settings["stride"], settings["dilation"]
    lengths = [(length - 1) * gap + 1 for length, gap in zip(weight.shape[2:], gaps, strict=True)]
    sizes = [(size - 1) * step + length for size, step, length in zip(x.shape[2:], stride, lengths, strict=True)]
    parts = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, in, out, height, width)
    pixels = x.reshape(len(x), groups, parts.shape[1], -1)
    whole = np.zeros((len(x), groups * parts.shape[2], *sizes))
    for place in itertools.product(*map(range, weight.shape[2:])):
        window = tuple(
            slice(index * gap, index * gap + (size - 1) * step + 1, step)
            for index, gap, size, step in zip(place, gaps, x.shape[2:], stride, strict=True)
        )
        made = np.swapaxes(parts[_at(place)], -1, -2) @ pixels
        whole[_at(window)] += made.reshape(len(x), -1, *x.shape[2:])
    extra = settings.get("output_padding") or (0,) * len(sizes)
    ends = [behind - more for (_, behind), more in zip(settings["padding"], extra, strict=True)]
    whole = np.pad(whole, ((0, 0), (0, 0), *((0, max(-end, 0)) for end in ends)))
    kept = (slice(before, size - end) for (before, _), size, end in zip(settings["padding"], sizes, ends, strict=True))
    return given.with_bias(whole[_at(kept)])


def _dense(given: Given) -> Array:
    return np.asarray(given.x @ given.weights["weight"].T + given.weights.get("bias", 0.0))


def _batch_norm(given: Given) -> Array:
    around = tuple(axis for axis in range(given.x.ndim) if axis != given.channels % given.x.ndim)
    shape = [1 if axis in around else size for axis, size in enumerate(given.x.shape)]
    if given.settings["training"]:
        mean, var = given.x.mean(around, keepdims=True), given.x.var(around, keepdims=True)
    else:
        mean, var = (given.weights[role].reshape(shape) for role in ("running_mean", "running_var"))
    return given.scaled((given.x - mean) / np.sqrt(var + given.settings["eps"]), [given.channels])


def _layer_norm(given: Given) -> Array:
    axes = tuple(given.settings["axes"])
    mean, var = given.x.mean(axes, keepdims=True), given.x.var(axes, keepdims=True)
    return given.scaled((given.x - mean) / np.sqrt(var + given.settings["eps"]), axes)


def _rms_norm(given: Given) -> Array:
    axes = tuple(given.settings["axes"])
    square = np.square(given.x).mean(axes, keepdims=True)
    return given.scaled(given.x / np.sqrt(square + given.settings["eps"]), axes)


def _group_norm(given: Given) -> Array:
    x, groups = given.x, given.settings["groups"]
    parts = x.reshape(len(x), groups, -1)
    mean, var = parts.mean(-1, keepdims=True), parts.var(-1, keepdims=True)
    return given.scaled(((parts - mean) / np.sqrt(var + given.settings["eps"])).reshape(x.shape), [1])


def _prelu(given: Given) -> Array:
    weight = given.weights["weight"]
    slope = weight.reshape(-1, *(1,) * (given.x.ndim - 2)) if weight.ndim == 1 and given.x.ndim > 1 else weight
    return _leaky(given.x, slope)


def _attend(given: Given) -> Array:
    """Return softmax(query @ key.T * scale) @ value; the tokens lie along `axis`."""
    axis = given.settings["axis"]
    query, key, value = (np.moveaxis(each, axis, -2) for each in given.inputs)
    scores = query @ key.swapaxes(-1, -2) * given.settings["scale"]
    if given.settings["causal"]:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    return np.moveaxis(_softmax_along(scores, -1) @ value, -2, axis)


def _attention(given: Given) -> Array:
    query, value, *key = given.inputs
    sources = {"query": query, "key": key[0] if key else value, "value": value}
    weights, heads = given.weights, given.settings["heads"]
    mapped = [
        (source @ weights[f"{role}_weight"].T + weights.get(f"{role}_bias", 0.0)).reshape(*source.shape[:2], heads, -1)
        for role, source in sources.items()
    ]
    settings = {"scale": mapped[0].shape[-1] ** -0.5, "causal": given.settings["causal"], "axis": 1}
    joined = _attend(Given(settings, {}, mapped, 4)).reshape(*query.shape[:2], -1)
    return np.asarray(joined @ weights["out_weight"].T + weights.get("out_bias", 0.0))


# -- activations


def _leaky(x: Array, slope: Any) -> Array:
    return np.where(x > 0, x, slope * x)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


def _hard_sigmoid(x: Array) -> Array:
    return np.asarray(np.clip(x + 3, 0, 6) / 6)


def _gelu(given: Given) -> Array:
    x = given.x
    if given.settings["approximate"] == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    erf = np.frompyfunc(math.erf, 1, 1)
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2)).astype(np.float64)))


def _softmax_along(x: Array, axis: Any) -> Array:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _softmax(given: Given) -> Array:
    axis = given.settings.get("axis", -1)
    return _softmax_along(given.x, tuple(axis) if isinstance(axis, list) else axis)


# -- pools and images


def _windows(x: Array, settings: Mapping[str, Any], fill: float | str) -> Array:
    """Return (N, C, out..., kernel...): the windows of a pooling layer."""
    kernel, stride = settings["kernel_size"], settings["stride"]
    gaps = settings.get("dilation") or (1,) * len(kernel)
    whole = padded(x, ((0, 0), (0, 0), *settings["padding"]), fill)
    reach = [(length - 1) * gap + 1 for length, gap in zip(kernel, gaps, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(whole, reach, tuple(range(2, x.ndim)))
    steps = (slice(None, None, step) for step in stride)
    return windows[(slice(None), slice(None), *steps, *(slice(None, None, gap) for gap in gaps))]


def _max_pool(given: Given) -> Array:
    windows = _windows(given.x, given.settings, given.settings.get("padding_value", -np.inf))
    return np.asarray(windows.max(axis=tuple(range(given.x.ndim, windows.ndim))))


def _avg_pool(given: Given) -> Array:
    settings, axes = given.settings, tuple(range(given.x.ndim, 2 * given.x.ndim - 2))
    total = _windows(given.x, settings, settings.get("padding_value", 0.0)).sum(axis=axes)
    counted = _windows(np.ones_like(given.x), settings, float(bool(settings["count_include_pad"]))).sum(axis=axes)
    return np.asarray(total / counted)


def _over_image(given: Given, combine: Callable[..., Any]) -> Array:
    axes = tuple(range(2, given.x.ndim))
    return np.asarray(combine(given.x, axis=axes, keepdims=given.rank == given.x.ndim))


def _mean(given: Given) -> Array:
    return np.asarray(given.x.mean(tuple(given.settings["axes"]), keepdims=given.rank == given.x.ndim))


def _around(given: Given) -> Sequence[tuple[int, int]]:
    padding = given.settings["padding"]
    return padding if len(padding) == given.x.ndim else ((0, 0), (0, 0), *padding)


def _pad(given: Given) -> Array:
    return padded(given.x, _around(given), given.settings["value"])


def _crop(given: Given) -> Array:
    sides = zip(_around(given), given.x.shape, strict=True)
    return given.x[tuple(slice(before, size - behind) for (before, behind), size in sides)]


def _upsample(given: Given) -> Array:
    x, mode = given.x, given.settings["mode"]
    whole = all(float(scale).is_integer() for scale in given.settings["scale"])
    if mode not in ("nearest", "bilinear") or given.settings["align_corners"] or not whole:
        raise InputError(f"there is no formula for an enlargement of the mode {mode} by {given.settings['scale']}")
    for axis, scale in enumerate(map(int, given.settings["scale"]), start=2):
        if mode == "nearest":
            x = np.repeat(x, scale, axis)
        else:
            x = np.moveaxis(np.tensordot(_between(x.shape[axis], scale), x, (1, axis)), 0, axis)
    return x


def _between(size: int, scale: int) -> Array:
    """Return the matrix (size * scale, size) that interpolates between the centres of pixels."""
    places = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0))


# -- shapes and sums


def _cast(given: Given) -> Array:
    dtype = np.dtype(given.settings["dtype"])
    return given.x.astype("float64" if dtype.kind == "f" else dtype)


def _scale(given: Given) -> Array:
    factor, offset = (np.asarray(given.settings[name], np.float64) for name in ("factor", "offset"))
    turned = [
        each.reshape(-1, *(1,) * (given.x.ndim - 2)) if each.ndim and each.size > 1 else each
        for each in (factor, offset)
    ]
    return given.x * turned[0] + turned[1]


def _joined(operate: Callable[[Any, Any], Any]) -> Callable[[Given], Array]:
    def formula(given: Given) -> Array:
        constant = given.settings.get("constant")
        return np.asarray(reduce(operate, [*given.inputs, *([] if constant is None else [np.float64(constant)])]))

    return formula


#: Kind -> its formula.
FORMULAS: dict[str, Callable[[Given], Array]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "prelu": _prelu,
    "embedding": lambda given: given.weights["weight"][given.x.astype("int64")],
    "attention": _attention,
    "attend": _attend,
    "relu": lambda given: np.maximum(given.x, 0),
    "relu6": lambda given: np.clip(given.x, 0, 6),
    "leaky_relu": lambda given: _leaky(given.x, given.settings["slope"]),
    "elu": lambda given: _elu(given.x, given.settings["alpha"]),
    "selu": lambda given: SELU_SCALE * _elu(given.x, SELU_ALPHA),
    "gelu": _gelu,
    "silu": lambda given: given.x * _sigmoid(given.x),
    "mish": lambda given: given.x * np.tanh(np.logaddexp(0.0, given.x)),
    "sigmoid": lambda given: _sigmoid(given.x),
    "hard_sigmoid": lambda given: _hard_sigmoid(given.x),
    "hard_swish": lambda given: given.x * _hard_sigmoid(given.x),
    "tanh": lambda given: np.tanh(given.x),
    "abs": lambda given: np.abs(given.x),
    "exp": lambda given: np.exp(given.x),
    "log": lambda given: np.log(given.x),
    "sqrt": lambda given: np.sqrt(given.x),
    "square": lambda given: np.square(given.x),
    "sin": lambda given: np.sin(given.x),
    "cos": lambda given: np.cos(given.x),
    "softplus": lambda given: np.logaddexp(0.0, given.x),
    "softmax": _softmax,
    "log_softmax": lambda given: np.log(_softmax(given)),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": lambda given: _over_image(given, np.mean),
    "global_max_pool": lambda given: _over_image(given, np.max),
    "mean": _mean,
    "pad": _pad,
    "crop": _crop,
    "upsample": _upsample,
    "scale": _scale,
    "flatten": lambda given: given.x.reshape(len(given.x), -1),
    "reshape": lambda given: given.x.reshape(given.settings["shape"]),
    "permute": lambda given: given.x.transpose(given.settings["axes"]),
    "cast": _cast,
    "identity": lambda given: given.x,
    "dropout": lambda given: given.x,
    "add": _joined(np.add),
    "subtract": _joined(np.subtract),
    "multiply": _joined(np.multiply),
    "divide": _joined(np.divide),
    "maximum": _joined(np.maximum),
    "minimum": _joined(np.minimum),
    "matmul": lambda given: np.matmul(*given.inputs),
    "concat": lambda given: np.concatenate(given.inputs, given.settings["axis"]),
}
#: Kinds in which the place of the channels matters.
IMAGES = (
    *("conv", "conv_transpose", "batch_norm", "group_norm", "prelu", "pad", "crop", "upsample", "scale"),
    *("max_pool", "avg_pool", "global_avg_pool", "global_max_pool"),
)

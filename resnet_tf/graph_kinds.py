"""What is said of a call in the words of `shared.networks.graph`: how Keras' settings become those of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from resnet_tf.graph_calls import Call

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class View:
    """A variable in the layout of `ROLES`: its axes in another order, then some of them joined or parted."""

    variable: keras.Variable
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Return a copy of the numbers; NumPy has none that are as coarse as bfloat16."""
        array = np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(self.variable)))
        array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        return np.array(array.transpose(self.axes).reshape(self.shape))

    def write(self, array: np.ndarray) -> None:
        """Give the variable other numbers, of the shape `shape`."""
        turned = array.reshape([self.variable.shape[axis] for axis in self.axes])
        self.variable.assign(turned.transpose(np.argsort(self.axes)).astype(self.variable.dtype))


@dataclass(frozen=True)
class Reading:
    """What is to be said of a call."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)


def plain(variable: keras.Variable, axes: Iterable[int] | None = None, shape: Iterable[int] | None = None) -> View:
    """Return a view: with its axes in the order `axes` and then of the shape `shape`, if they are said."""
    order = tuple(range(len(variable.shape)) if axes is None else axes)
    wanted = tuple(variable.shape[axis] for axis in order) if shape is None else tuple(shape)
    return View(variable, order, wanted)


def present(**views: View | keras.Variable | None) -> dict[str, View]:
    """Return the views of the weights that a layer has."""
    found = {role: view for role, view in views.items() if view is not None}
    return {role: view if isinstance(view, View) else plain(view) for role, view in found.items()}


def pairs(value: Any, axes: int) -> tuple[int, ...]:
    """Return one whole number for each axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def spatial(shape: tuple[int, ...], data_format: str | None) -> tuple[int, ...]:
    """Return the sizes of the axes of the image."""
    first = (data_format or keras.config.image_data_format()) == "channels_first"
    return shape[2:] if first else shape[1:-1]


def pads(mode: str, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> Pads:
    """Return what "same", "valid" or "causal" pads before and behind; a kernel is as long as its dilation makes it."""
    if mode == "causal":
        return tuple((length - 1, 0) for length in kernel)
    if mode != "same":
        return ((0, 0),) * len(sizes)
    found = []
    for size, length, step in zip(sizes, kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + length - size, 0)
        found.append((total // 2, total - total // 2))  # the odd one is behind
    return tuple(found)


def lengths(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many pixels a kernel with gaps reaches over."""
    return tuple((length - 1) * gap + 1 for length, gap in zip(kernel, dilation, strict=True))


def conv_settings(call: Call, kernel: Any, stride: Any, mode: str, data_format: Any, dilation: Any) -> dict[str, Any]:
    """Return the settings of a convolution, without its groups."""
    sizes = spatial(call.shapes[0], data_format)
    kernel, stride, dilation = (pairs(each, len(sizes)) for each in (kernel, stride, dilation))
    padding = pads(mode, sizes, lengths(kernel, dilation), stride)
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}


def kernel_view(kernel: keras.Variable) -> View:
    """Return (spatial..., in, out) as (out, in, spatial...)."""
    rank = len(kernel.shape)
    return plain(kernel, (rank - 1, rank - 2, *range(rank - 2)))


def depthwise_view(kernel: keras.Variable) -> View:
    """Return (spatial..., in, multiplier) as (in * multiplier, 1, spatial...)."""
    *size, channels, multiplier = kernel.shape
    rank = len(kernel.shape)
    return plain(kernel, (rank - 2, rank - 1, *range(rank - 2)), (channels * multiplier, 1, *size))


def relu_like(slope: float, largest: float | None, threshold: float) -> Reading | None:
    """Read Keras' one class for several rectifiers."""
    if threshold:
        return None
    known = {(0.0, None): "relu", (0.0, 6.0): "relu6"}
    if largest is None and slope:
        return Reading("leaky_relu", {"slope": float(slope)})
    kind = known.get((float(slope), None if largest is None else float(largest)))
    return Reading(kind) if kind else None


#: Functions of `keras.activations` -> how they are read, called with their default settings.
ACTIVATIONS: dict[str, Reading] = {
    "elu": Reading("elu", {"alpha": 1.0}),
    "gelu": Reading("gelu", {"approximate": "none"}),
    "hard_silu": Reading("hard_swish"),
    "leaky_relu": Reading("leaky_relu", {"slope": 0.2}),
    "linear": Reading("identity"),
    **{name: Reading(name) for name in ("relu", "relu6", "selu", "silu", "mish", "sigmoid", "hard_sigmoid", "tanh")},
    "softplus": Reading("softplus"),
}


def pool_settings(call: Call, size: Any, stride: Any, mode: str, data_format: Any) -> dict[str, Any]:
    """Return the settings that both kinds of pooling have."""
    sizes = spatial(call.shapes[0], data_format)
    kernel = pairs(size, len(sizes))
    stride = kernel if stride is None else pairs(stride, len(sizes))
    return {"kernel_size": kernel, "stride": stride, "padding": pads(mode, sizes, kernel, stride)}


def max_pool(call: Call, size: Any, stride: Any, mode: str, data_format: Any) -> Reading:
    """Read a maximum of windows."""
    settings = pool_settings(call, size, stride, mode, data_format)
    return Reading("max_pool", {**settings, "dilation": (1,) * len(settings["stride"])})


def avg_pool(call: Call, size: Any, stride: Any, mode: str, data_format: Any) -> Reading:
    """Read a mean of windows, of the whole image as well; Keras divides by the pixels that are of the image."""
    settings = pool_settings(call, size, stride, mode, data_format)
    if settings["kernel_size"] == spatial(call.shapes[0], data_format) and not any(map(any, settings["padding"])):
        return Reading("global_avg_pool")
    return Reading("avg_pool", {**settings, "count_include_pad": False})


def front(axes: Any, call: Call) -> tuple[int, ...]:
    """Return axes of the first input counted from the front, in order; None is all of them."""
    rank = len(call.shapes[0]) if call.shapes else len(call.shape)
    several = range(rank) if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
    return tuple(sorted(int(axis) % rank for axis in several))


def along(kind: str, axis: Any, call: Call) -> Reading:
    """Read what goes along one axis, or along several at once."""
    found = front(axis, call)
    return Reading(kind, {"axis": found[0] if len(found) == 1 else found})


def joined(axis: int, call: Call) -> Reading:
    """Read a concatenation."""
    return along("concat", axis, call) if len(call.inputs) > 1 else Reading("identity")


def enlarged(scale: Iterable[float], mode: str) -> Reading:
    """Read an enlargement between the centres of pixels."""
    return Reading("upsample", {"scale": tuple(map(float, scale)), "mode": mode, "align_corners": False})


def reshaped(call: Call) -> Reading:
    """Read another layout of the same numbers."""
    before = call.shapes[0]
    if before == call.shape:
        return Reading("identity")
    if len(before) > 2 and call.shape == (before[0], int(np.prod(before[1:]))):
        return Reading("flatten")
    return Reading("reshape", {"shape": call.shape})


def activation_reading(function: Any, call: Call) -> Reading | None:
    """Read a function of `keras.activations` that is called with its default settings."""
    name = getattr(function, "__name__", "")
    return along(name, -1, call) if name in ("softmax", "log_softmax") else ACTIVATIONS.get(name)

"""Which word of `shared.networks.graph` an operation is: of `keras.ops`, or one of Python's signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from resnet_tf.graph_calls import Call, Slot
from resnet_tf.graph_kinds import (
    Reading,
    View,
    along,
    avg_pool,
    conv_settings,
    depthwise_view,
    enlarged,
    front,
    joined,
    kernel_view,
    max_pool,
    plain,
    relu_like,
    reshaped,
)
from shared.networks.graph import is_matmul, plain_equation


def always(kind: str, **settings: Any) -> Callable[[Call], Reading]:
    """Return what reads each call alike."""
    return lambda call: Reading(kind, settings)


def _taken(kind: str, **names: str) -> Callable[[Call], Reading]:
    """Return what reads settings from attributes: `setting="attribute"`."""
    return lambda call: Reading(kind, {setting: getattr(call.target, name) for setting, name in names.items()})


def joining(kind: str) -> Callable[[Call], Reading | None]:
    """Return what reads an operation on two tensors, of which one may be a constant."""

    def read(call: Call) -> Reading | None:
        first, second = (*call.args, *call.kwargs.values())[:2]
        if len(call.inputs) == 2:
            return Reading(kind, {"constant": None})
        constant = _constant(second if isinstance(first, Slot) else first)
        if isinstance(first, Slot) or kind in ("add", "multiply"):
            return Reading(kind, {"constant": constant})
        if kind == "subtract" and isinstance(constant, float):  # 1 - x
            return Reading("scale", {"factor": -1.0, "offset": constant})
        return None

    return read


def _of_two(kind: str) -> Callable[[Call], Reading | None]:
    """Return what reads an operation on two tensors, neither of which is a constant."""
    return lambda call: Reading(kind) if len(call.inputs) == 2 else None


def _constant(value: Any) -> Any:
    """Return one number as it is, of several the shape."""
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return float(array.item()) if array.size == 1 else tuple(array.shape)


def _gelu(call: Call) -> Reading:
    return Reading("gelu", {"approximate": "tanh" if call.target.approximate else "none"})


def _relu(call: Call) -> Reading | None:
    operation = call.target
    slope = getattr(operation, "negative_slope", 0.0)
    return relu_like(slope, getattr(operation, "max_value", None), getattr(operation, "threshold", 0.0))


def _over_image(axes: Any, call: Call) -> bool:
    if len(call.shapes[0]) != 4 or not isinstance(axes, (tuple, list)):
        return False
    first = keras.config.image_data_format() == "channels_first"
    return sorted(axis % 4 for axis in axes) == ([2, 3] if first else [1, 2])


def reduced(axes: Any, call: Call, kind: str) -> Reading | None:
    """Read a mean or a maximum over axes."""
    if _over_image(axes, call):
        return Reading(f"global_{kind}_pool")
    return Reading("mean", {"axes": front(axes, call)}) if kind == "avg" else None


def permuted(call: Call, axes: Any) -> Reading:
    """Read axes in another order."""
    rank = len(call.shape)
    return Reading("permute", {"axes": tuple(axis % rank for axis in (axes or reversed(range(rank))))})


def _swapped(call: Call) -> Reading:
    order = list(range(len(call.shape)))
    one, other = call.target.axis1, call.target.axis2
    order[one], order[other] = order[other], order[one]
    return permuted(call, order)


def _moved(call: Call) -> Reading:
    rank = len(call.shape)
    moved = np.moveaxis(np.empty(range(1, rank + 1)), call.target.source, call.target.destination)
    return permuted(call, [size - 1 for size in moved.shape])


def padded(call: Call, width: Any, value: Any, mode: str) -> Reading | None:
    """Read padding of the image's axes, or of all axes."""
    if mode.lower() not in ("constant", "reflect", "symmetric"):
        return None
    width = tuple((int(before), int(behind)) for before, behind in np.asarray(width).tolist())
    first = keras.config.image_data_format() == "channels_first"
    outside, inside = (width[:2], width[2:]) if first else ((width[0], width[-1]), width[1:-1])
    only_image = len(width) in (3, 4) and all(each == (0, 0) for each in outside)
    number = float(0.0 if value is None else np.asarray(value))
    found = number if mode.lower() == "constant" else mode.lower()
    return Reading("pad", {"padding": inside if only_image else width, "value": found})


def _pad(call: Call) -> Reading | None:
    value = call.kwargs.get("constant_values", call.args[1] if len(call.args) > 1 else None)
    return padded(call, call.target.pad_width, value, call.target.mode)


def _pool(read: Callable[..., Reading]) -> Callable[[Call], Reading]:
    def describe_pool(call: Call) -> Reading:
        operation = call.target
        return read(call, operation.pool_size, operation.strides, operation.padding, operation.data_format)

    return describe_pool


def _windows(call: Call) -> Reading | None:
    """Read the windows of an image, if they lie side by side and all of it is in one."""
    operation = call.target
    size = operation.size if isinstance(operation.size, tuple) else (operation.size, operation.size)
    strides = operation.strides or size
    strides = strides if isinstance(strides, tuple) else (strides, strides)
    first = (operation.data_format or keras.config.image_data_format()) == "channels_first"
    plain_windows = (
        len(call.shapes[0]) == 4 and strides == size and operation.dilation_rate in (1, (1, 1)) and not first
    )
    if not plain_windows or any(length % each for length, each in zip(call.shapes[0][1:3], size, strict=True)):
        return None
    return Reading("windows", {"size": size})


def _resize(call: Call) -> Reading | None:
    operation = call.target
    plain_resize = operation.interpolation in ("nearest", "bilinear") and not operation.antialias
    first = (operation.data_format or keras.config.image_data_format()) == "channels_first"
    before, after = ((shape[2:] if first else shape[1:-1]) for shape in (call.shapes[0], call.shape))
    whole = all(new % old == 0 for old, new in zip(before, after, strict=True))
    if not plain_resize or not whole or operation.crop_to_aspect_ratio or operation.pad_to_aspect_ratio:
        return None
    return enlarged((new // old for old, new in zip(before, after, strict=True)), operation.interpolation)


def clipped(low: Any, high: Any) -> Reading | None:
    """Read the rectifiers that are written as limits."""
    if not isinstance(low, (int, float)) or low != 0:
        return None
    return {None: Reading("relu"), 6: Reading("relu6")}.get(high) if high is None or high == 6 else None


def _maximum(call: Call) -> Reading | None:
    """Read the larger of two tensors, or a rectifier that is written as the larger of a tensor and zero."""
    if len(call.inputs) == 2:
        return Reading("maximum")
    return clipped(next((each for each in call.args if not isinstance(each, Slot)), None), None)


def _conv(call: Call, view: Callable[[keras.Variable], View]) -> Reading | None:
    """Read a convolution with a kernel that is a variable."""
    operation, kernel = call.target, call.args[1]
    if not isinstance(kernel, keras.Variable):
        return None
    options = (operation.strides, operation.padding, operation.data_format, operation.dilation_rate)
    settings = conv_settings(call, tuple(kernel.shape[:-2]), *options)
    first = (operation.data_format or keras.config.image_data_format()) == "channels_first"
    channels = call.shapes[0][1 if first else -1]
    groups = channels if view is depthwise_view else channels // kernel.shape[-2]
    return Reading("conv", {**settings, "groups": groups}, {"weight": view(kernel)})


def matmul(call: Call) -> Reading | None:
    """Read a product; with a variable of two axes it is a dense layer."""
    if len(call.inputs) == 1 and isinstance(call.args[-1], keras.Variable):
        return Reading("dense", {}, {"weight": plain(call.args[-1], (1, 0))})
    return Reading("matmul") if len(call.inputs) == 2 else None


def _part(call: Call) -> Reading | None:
    """Read a part of a tensor: of an image's height or width it is a crop; all numbers of it are only laid out anew."""
    before, key = call.shapes[0], call.args[1]
    keys = key if isinstance(key, tuple) else (key,)
    if np.prod(before) == np.prod(call.shape):
        return None if any(map(_reorders, keys)) else reshaped(call)
    ranges = _ranges(keys, before)
    if ranges is None:
        return None
    if len(before) >= 4 and len(call.shape) == len(before) and all(each.step == 1 for each in ranges):
        parts = [(part.start, size - part.stop) for part, size in zip(ranges, before, strict=True)]
        if not any(parts[0] + parts[-1]):
            return Reading("crop", {"padding": tuple(parts[1:-1])})
    cut = [axis for axis, (each, size) in enumerate(zip(ranges, before, strict=True)) if each != range(size)]
    return _part_of(cut[0], ranges[cut[0]]) if len(cut) == 1 and ranges[cut[0]].step > 0 else None


def _reorders(key: Any) -> bool:
    """Return whether a key takes the numbers along its axis in another order."""
    if isinstance(key, slice):
        return key.step not in (None, 1)
    return key is not None and not isinstance(key, (int, type(...)))


def _ranges(keys: tuple[Any, ...], sizes: tuple[int, ...]) -> list[range] | None:
    """Return what is taken of each axis; None for what is more than slices and places."""
    if Ellipsis in [each for each in keys if each is Ellipsis]:
        place = next(place for place, each in enumerate(keys) if each is Ellipsis)
        keys = (*keys[:place], *[slice(None)] * (len(sizes) - len(keys) + 1), *keys[place + 1 :])
    whole = (*keys, *[slice(None)] * (len(sizes) - len(keys)))
    if len(whole) != len(sizes):
        return None
    found = []
    for each, size in zip(whole, sizes, strict=True):
        if isinstance(each, (int, np.integer)) and not isinstance(each, bool):
            found.append(range(each % size, each % size + 1))
        elif isinstance(each, slice) and all(isinstance(end, (int, type(None))) for end in _ends(each)):
            found.append(range(*each.indices(size)))
        else:
            return None
    return found


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _part_of(axis: int, taken: range) -> Reading:
    return Reading("part", {"axis": axis, "start": taken[0], "stop": taken[-1] + 1, "step": taken.step})


def split(call: Call, axis: int, sections: Any) -> Reading | None:
    """Read one of the parts into which a tensor is cut, as many as are said or at the places that are said."""
    axis, place = axis % len(call.shapes[0]), call.pick or 0
    start = place * call.shape[axis] if isinstance(sections, int) else int((0, *sections)[place])
    return _part_of(axis, range(start, start + call.shape[axis]))


def unstacked(call: Call, axis: int) -> Reading:
    """Read one of the places of an axis."""
    place = call.pick or 0
    return _part_of(axis % len(call.shapes[0]), range(place, place + 1))


def broadcast(call: Call) -> Reading | None:
    """Read the same numbers again, where an axis was of length one."""
    before = (1,) * (len(call.shape) - len(call.shapes[0])) + tuple(call.shapes[0])
    fits = all(one in (1, size) for one, size in zip(before, call.shape, strict=True))
    if np.prod(before) == np.prod(call.shape):
        return reshaped(call)
    return Reading("broadcast") if fits else None


#: Operations of Keras by the name of their class -> what reads them.
OPERATIONS: dict[str, Callable[[Call], Reading | None]] = {
    "ReLU": _relu,
    "Relu": always("relu"),
    "Relu6": always("relu6"),
    "LeakyRelu": _taken("leaky_relu", slope="negative_slope"),
    "Elu": _taken("elu", alpha="alpha"),
    "Selu": always("selu"),
    "Gelu": _gelu,
    "Silu": always("silu"),
    "Mish": always("mish"),
    "Sigmoid": always("sigmoid"),
    "HardSigmoid": always("hard_sigmoid"),
    "HardSilu": always("hard_swish"),
    "Tanh": always("tanh"),
    "Absolute": always("abs"),
    **{name: always(name.lower()) for name in ("Abs", "Exp", "Log", "Sqrt", "Square", "Sin", "Cos")},
    "Minimum": _of_two("minimum"),
    "Softplus": always("softplus"),
    "Softmax": lambda call: along("softmax", call.target.axis, call),
    "LogSoftmax": lambda call: along("log_softmax", call.target.axis, call),
    "Clip": lambda call: clipped(call.target.x_min, call.target.x_max),
    "Maximum": _maximum,
    "Conv": lambda call: _conv(call, kernel_view),
    "DepthwiseConv": lambda call: _conv(call, depthwise_view),
    "GetItem": _part,
    "Split": lambda call: split(call, call.target.axis, call.target.indices_or_sections),
    "Unstack": lambda call: unstacked(call, call.target.axis),
    **dict.fromkeys(("BroadcastTo", "Tile"), broadcast),
    "MaxPool": _pool(max_pool),
    "AveragePool": _pool(avg_pool),
    "Mean": lambda call: reduced(call.target.axis, call, "avg"),
    "Max": lambda call: reduced(call.target.axis, call, "max"),
    "Amax": lambda call: reduced(call.target.axis, call, "max"),
    "Pad": _pad,
    "Resize": _resize,
    "ExtractPatches": _windows,
    "Reshape": reshaped,
    "Ravel": reshaped,
    "Squeeze": reshaped,
    "ExpandDims": reshaped,
    "Transpose": lambda call: permuted(call, call.target.axes),
    "Swapaxes": _swapped,
    "Moveaxis": _moved,
    "Cast": _taken("cast", dtype="dtype"),
    "ConvertToTensor": _taken("cast", dtype="dtype"),
    "StopGradient": always("identity"),
    "Copy": always("identity"),
    "Add": joining("add"),
    "Subtract": joining("subtract"),
    "Multiply": joining("multiply"),
    "Divide": joining("divide"),
    "TrueDivide": joining("divide"),
    "Matmul": matmul,
    "Einsum": lambda call: _einsum(call),
    "Concatenate": lambda call: joined(call.target.axis, call),
    "DotProductAttention": lambda call: _attend(call),
}


def _einsum(call: Call) -> Reading | None:
    equation = plain_equation(call.target.subscripts)
    if equation is None or len(call.inputs) != 2:
        return None
    return Reading("matmul") if is_matmul(equation) else Reading("einsum", {"equation": equation})


def _attend(call: Call) -> Reading | None:
    options = {**dict(enumerate(call.args[3:])), **call.kwargs}
    tensors = {"query", "key", "value", "flash_attention", "scale"}
    extra = [value for key, value in options.items() if key not in tensors and value not in (None, False)]
    if len(call.inputs) != 3 or extra or call.shapes[0][2] != call.shapes[1][2]:
        return None
    scale = options.get("scale")
    scale = call.shapes[0][-1] ** -0.5 if scale is None else float(scale)
    return Reading("attend", {"scale": scale, "causal": bool(call.target.is_causal), "axis": 1})

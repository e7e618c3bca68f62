"""One call of a Keras layer, operation or function: what it was called with, and how it is repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import Layer, tree

from shared.base.printable import one_line, printable

#: Keras' own layers whose parts are looked at, as those of a user's layer are.
COMPOSITES = (keras.Model, keras.layers.Lambda)
#: Layers that apply their `activation` last: it becomes a node of its own.
FUSED = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
    *(keras.layers.Dense, keras.layers.EinsumDense),
)


@dataclass(frozen=True)
class Slot:
    """Stands in a call's arguments for the node's input of that place."""

    place: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a layer, an operation or a function, with what is needed to repeat it.

    `part` says what of a layer it is: "" for all of it, "unseen" for all of one whose inside is not known, "linear" for
    all but the activation, or a part of a separable convolution; of a variable "parameter" or "broadcast". `pick` is
    the place of this output where there are several. `shapes` and `dtypes` are of the inputs, `shape` and `dtype` of
    the output.
    """

    name: str
    target: Any
    part: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = ""
    pick: int | None = None

    def run(self, tensors: Sequence[Any]) -> Any:
        """Return the output for other inputs, with the weights that the layer has now."""
        args, kwargs = tree.map_structure(
            lambda each: tensors[each.place] if isinstance(each, Slot) else each, (list(self.args), dict(self.kwargs))
        )
        outputs = PARTS[self.part](self.target, *args, **kwargs)
        return outputs if self.pick is None else tree.flatten(outputs)[self.pick]


def reason(error: Exception) -> str:
    """Return in one line what an error says, without the frame that Keras puts around it."""
    text = re.sub(r"\x1b\[\d*m|Arguments received by .*", "", str(error), flags=re.DOTALL)
    text = re.sub(r"Exception encountered when calling [^\n]*\n", "", text)
    return printable(one_line(text) or type(error).__name__)


def spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array in another layout of the same numbers, or repeated."""
    return array.reshape(shape) if array.size == int(np.prod(shape)) else np.broadcast_to(array, shape)


def is_leaf(layer: Layer, args: Any, kwargs: Any) -> bool | None:
    """Return whether a layer is one node, as Keras' own primitives are; None if a trial must show it."""
    if isinstance(layer, COMPOSITES):
        return False
    if isinstance(layer, keras.layers.Activation):
        return is_own_activation(layer.activation)
    if isinstance(layer, keras.layers.MultiHeadAttention):  # it asks its inputs for their masks
        tensors = tree.flatten((args, kwargs))
        return _is_ours(layer) and not any(getattr(each, "_keras_mask", None) is not None for each in tensors)
    if _is_ours(layer):
        return True
    return None if _base_of(layer) else False


def is_own_activation(function: Any) -> bool:
    """Return whether this is a function of `keras.activations`."""
    # Not one of `keras.ops`, where the same names have other default settings.
    module = str(getattr(function, "__module__", ""))
    return module.startswith("keras.src.activations.") and hasattr(function, "__name__")


def _is_ours(layer: Layer) -> bool:
    return _is_own_function(type(layer).call)


def _is_own_function(function: Any) -> bool:
    return str(function.__module__).startswith("keras.src.layers.")


def _base_of(layer: Layer) -> Any:
    """Return the primitive of Keras' own that a layer is made from; None if there is none."""
    bases: list[Any] = [base for base in type(layer).__mro__ if base is not Layer and issubclass(base, Layer)]
    return next((base for base in bases if _is_own_function(base.call)), None)


def computes_as_its_base(layer: Layer, args: Any, kwargs: Any) -> bool:
    """Return whether a layer that is made from one of Keras' own gives the same for these numbers."""
    base = _base_of(layer)
    try:
        one, other = layer.call(*args, **kwargs), base.call(layer, *args, **kwargs)
        pairs = zip(tree.flatten(one), tree.flatten(other), strict=True)
        return all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)
    except Exception:  # it takes other arguments, or does not compute what its base does
        return False


@contextmanager
def _without_activation(layer: Layer) -> Iterator[None]:
    # Past `__setattr__`, which refuses to put an activation that is a layer back into a built one.
    kept = vars(layer)["activation"]
    vars(layer)["activation"] = None
    try:
        yield
    finally:
        vars(layer)["activation"] = kept


def _run_linear(layer: Layer, *args: Any, **kwargs: Any) -> Any:
    with _without_activation(layer):
        return layer(*args, **kwargs)


def _run_depthwise(layer: Layer, inputs: Any) -> Any:
    return keras.ops.depthwise_conv(
        inputs, layer.depthwise_kernel, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    )


def _run_pointwise(layer: Layer, inputs: Any) -> Any:
    outputs = keras.ops.conv(inputs, layer.pointwise_kernel, 1, "valid", layer.data_format)
    if layer.bias is None:
        return outputs
    shape = [1] * len(outputs.shape)
    shape[1 if layer.data_format == "channels_first" else -1] = -1
    return keras.ops.add(outputs, keras.ops.reshape(layer.bias, shape))


def _run_parameter(variable: keras.Variable, shape: tuple[int, ...]) -> Any:
    same = int(np.prod(variable.shape)) == int(np.prod(shape))
    return keras.ops.reshape(variable, shape) if same else keras.ops.broadcast_to(variable, shape)


#: Part of a layer -> what computes it.
PARTS: dict[str, Callable[..., Any]] = {
    "": lambda target, *args, **kwargs: target(*args, **kwargs),
    "unseen": lambda target, *args, **kwargs: target(*args, **kwargs),
    "linear": _run_linear,
    "depthwise": _run_depthwise,
    "pointwise": _run_pointwise,
    "parameter": _run_parameter,
    "broadcast": lambda target, tensor, shape: keras.ops.broadcast_to(tensor, shape),
    "constant": lambda target, value: value,
}

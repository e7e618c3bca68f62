"""Computes a node of Keras in float64 from its kind, settings and weights alone: by the formulas of `shared`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import Layer

from resnet_tf.graph_calls import Call, spread
from shared.base.errors import InputError
from shared.base.printable import printable
from shared.networks import formulas
from shared.networks.graph import Node


def compute(node: Node, call: Call, weights: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return a node's output in float64. Raises `InputError` for a kind that has no formula."""
    if node.kind == "parameter":
        return np.array(spread(weights["value"].astype("float64"), node.shape))
    wide = [each.astype("float64") if keras.backend.is_float_dtype(str(each.dtype)) else each for each in inputs]
    by_formula = node.kind in formulas.FORMULAS and node.settings.get("constant") is None and call.pick is None
    if node.kind == "gelu" or not by_formula:  # NumPy has no error function of its own
        return _by_the_operation(node, call, wide)
    if not wide and isinstance(call.target, Layer):  # a layer that is called on constants
        wide = [np.asarray(keras.ops.convert_to_numpy(each)) for each in call.args]
    first = getattr(call.target, "data_format", None) == "channels_first"
    if first and node.kind == "flatten":  # Keras flattens as if the channels were last
        wide = [np.moveaxis(each, 1, -1) for each in wide]
    return formulas.compute(node, weights, wide, channels_last=not first)


def _by_the_operation(node: Node, call: Call, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Compute an operation without weights as the framework does: it takes whatever precision it is given."""
    if node.kind == "gelu":
        found = keras.ops.gelu(inputs[0], approximate=node.settings["approximate"] == "tanh")
        return np.array(keras.ops.convert_to_numpy(found))
    if isinstance(call.target, Layer):
        raise InputError(f"{printable(node.name)} ({node.source}) cannot be computed in float64: it has no formula")
    return np.array(keras.ops.convert_to_numpy(call.run([keras.ops.convert_to_tensor(each) for each in inputs])))

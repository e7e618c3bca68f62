"""What is to be said of a call, whatever was called: its kind, settings and weights, and its name in the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import Layer, Operation

from resnet_tf.graph_calls import Call, is_own_activation
from resnet_tf.graph_functions import FUNCTIONS
from resnet_tf.graph_kinds import Reading, activation_reading, plain
from resnet_tf.graph_layers import LAYERS
from resnet_tf.graph_operations import OPERATIONS

#: What is shown of a setting that is no word of ours.
Literal = bool | int | float | str | None


def describe(call: Call) -> Reading:
    """Return what is to be said of a call; for one without a word here: "other" and what the framework says of it."""
    if call.part in ("parameter", "constant"):
        return _parameter(call)
    if call.part == "broadcast":
        return Reading("broadcast")
    reader = None if call.part == "unseen" else _reader(call)
    reading = reader(call) if reader else None
    if reading is None or any(not isinstance(view.variable, keras.Variable) for view in reading.views.values()):
        return _other(call)
    return reading


def _reader(call: Call) -> Callable[[Call], Reading | None] | None:
    target = call.target
    if target is None:
        return lambda call: Reading("input")
    if is_own_activation(target):
        return lambda call: activation_reading(target, call)
    if isinstance(target, Layer):
        return next((read for kind, read in LAYERS.items() if isinstance(target, kind)), None)
    if isinstance(target, Operation):
        return OPERATIONS.get(type(target).__name__) if type(target).__module__.startswith("keras.") else None
    module = getattr(target, "__module__", None) or ""
    return FUNCTIONS.get(target.__name__.removesuffix("_v2")) if module.startswith("tensorflow.") else None


def source_of(call: Call) -> str:
    """Return what the framework calls it."""
    if call.part in ("parameter", "constant"):
        return "Variable" if call.part == "parameter" else "constant"
    if call.part == "broadcast":
        return "ops.BroadcastTo"
    if call.target is None:
        return "Input"
    if isinstance(call.target, Layer):
        return type(call.target).__name__
    if isinstance(call.target, Operation):
        return f"ops.{type(call.target).__name__}"
    module = (getattr(call.target, "__module__", None) or "").partition(".")[0]
    name = getattr(call.target, "__name__", type(call.target).__name__)
    name = str(name).removesuffix("_v2")
    return {"tensorflow": f"tf.{name}", "keras": f"activations.{name}"}.get(module, name)


def _parameter(call: Call) -> Reading:
    return Reading("parameter", {}, {"value": plain(call.target)} if call.part == "parameter" else {})


def _other(call: Call) -> Reading:
    settings: dict[str, Any] = _literals(_config(call.target))
    if call.pick is not None:
        settings["output"] = call.pick
    views = {}
    if isinstance(call.target, Layer):
        start = f"{call.target.path}/"
        views = {variable.path.removeprefix(start): plain(variable) for variable in call.target.weights}
    else:
        settings |= _literals({f"argument_{place}": each for place, each in enumerate(call.args)} | dict(call.kwargs))
    return Reading("other", settings, views if not call.pick else {})


def _config(target: Any) -> Mapping[str, Any]:
    if isinstance(target, Layer):
        try:
            return dict(target.get_config())
        except Exception:  # a layer of the user's that cannot be saved
            return {}
    return {key: value for key, value in vars(target).items() if key != "name"} if isinstance(target, Operation) else {}


def _literals(config: Mapping[str, Any]) -> dict[str, Any]:
    skipped = ("name", "trainable", "dtype")
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config.items()
        if not key.startswith("_") and key not in skipped and _is_literal(value)
    }


def _is_literal(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_literal, value))
    return isinstance(value, Literal)

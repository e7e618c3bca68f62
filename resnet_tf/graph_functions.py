"""Which word of `shared.networks.graph` a function of TensorFlow is, where a layer calls it past `keras.ops`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from resnet_tf.graph_calls import Call
from resnet_tf.graph_kinds import Reading, along, joined, reshaped
from resnet_tf.graph_operations import always, joining, matmul, padded, permuted, reduced


def _bound(call: Call) -> dict[str, Any]:
    """Return the arguments of a function by name, those that are not said with their defaults."""
    try:
        found = _signature(call.target).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return {}
    found.apply_defaults()
    return dict(found.arguments)


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _axis_of(read: Callable[[Call, Any], Reading | None]) -> Callable[[Call], Reading | None]:
    def describe_axis(call: Call) -> Reading | None:
        given = _bound(call)
        axis = given.get("axis", given.get("perm", -1))
        return read(call, axis)

    return describe_axis


def _tf_pad(call: Call) -> Reading | None:
    given = _bound(call)
    return padded(call, given["paddings"], given["constant_values"], given["mode"]) if given else None


def _tf_softmax(call: Call, axis: Any) -> Reading:
    return along("softmax", -1 if axis is None else axis, call)


#: Functions of TensorFlow by their name -> what reads them.
FUNCTIONS: dict[str, Callable[[Call], Reading | None]] = {
    **{name: always(name) for name in ("relu", "relu6", "selu", "sigmoid", "tanh", "softplus", "identity")},
    "swish": always("silu"),
    "gelu": lambda call: Reading("gelu", {"approximate": "tanh" if _bound(call).get("approximate") else "none"}),
    "leaky_relu": lambda call: Reading("leaky_relu", {"slope": _bound(call).get("alpha", 0.2)}),
    "softmax": _axis_of(_tf_softmax),
    "reduce_mean": _axis_of(lambda call, axis: reduced(axis, call, "avg")),
    "reduce_max": _axis_of(lambda call, axis: reduced(axis, call, "max")),
    "concat": _axis_of(lambda call, axis: joined(axis, call)),
    "reshape": reshaped,
    "squeeze": reshaped,
    "expand_dims": reshaped,
    "transpose": _axis_of(permuted),
    "pad": _tf_pad,
    **{name: joining(name) for name in ("add", "subtract", "multiply", "divide")},
    "matmul": lambda call: matmul(call) if len(call.args) == 2 and not call.kwargs else None,
}

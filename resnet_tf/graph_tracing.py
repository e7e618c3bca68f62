"""Records what a Keras model calls: each layer and operation, on what, while real numbers flow through it.

A subclassed model has no graph to read. It is called once with `Traced` tensors, which Keras takes for the symbolic
ones of a functional model and which carry numbers; what `Layer.__call__` and `Operation.symbolic_call` are asked to do
with them is written down on a `Tape`.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, Layer, Operation, tree

from resnet_tf.graph_calls import (
    FUSED,
    Call,
    Slot,
    computes_as_its_base,
    is_leaf,
    is_own_activation,
    reason,
    spread,
)
from shared.base.printable import printable

#: Layers that are two convolutions.
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
#: What puts tensors together: a constant among them is a node, as the others are.
MERGING = (
    *(keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Concatenate),
    *(keras.layers.Average, keras.layers.Maximum, keras.layers.Minimum, keras.layers.Dot),
)
JOINING = ("Concatenate", "Stack", "Matmul", "Einsum", "concat", "stack", "matmul", "einsum")

#: Operations whose second operand is a weight if it is a variable with so many axes.
WEIGHTED = {"Matmul": (2,), "matmul": (2,), "Conv": (3, 4, 5), "DepthwiseConv": (3, 4)}


class Traced(KerasTensor):
    """A symbolic tensor that knows its numbers, and which call of the tape it came from."""

    def __init__(self, value: Any, number: int, tape: Tape) -> None:
        super().__init__(tuple(value.shape), keras.backend.standardize_dtype(value.dtype))
        self.value, self.number, self.tape = value, number, tape

    def __bool__(self) -> bool:
        return bool(self._look("decides by"))

    def __float__(self) -> float:
        return float(self._look("computes with"))

    def __int__(self) -> int:
        return int(self._look("computes with"))

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(self.shape[0]))

    def _look(self, verb: str) -> Any:
        self.tape.note(f"{self.tape.here()} {verb} a value: the graph is that of these inputs")
        return keras.ops.convert_to_numpy(self.value)


class Tape:
    """The calls of one model, in their order."""

    def __init__(self, model: Layer) -> None:
        self.model = model
        self.calls: list[Call] = []
        self.notes: list[str] = []
        self.stack: list[Layer] = []  # whose `call` runs, from the outside
        self.results: list[Any] = []  # what these returned, as they returned it
        self.lengths: dict[int, tuple[Layer, int, int]] = {}  # of the lists that Keras appends to
        self.parameters: dict[tuple[int, tuple[int, ...]], Traced] = {}  # by variable and shape
        self.shown: set[int] = set()  # variables that stand in a call
        self.paused = False  # while a layer is computed, of which nothing is recorded
        self.failure = ""
        self.thread = threading.get_ident()

    def note(self, text: str) -> None:
        """Remember a line for the reader, once."""
        if text not in self.notes:
            self.notes.append(text)

    def path(self, *names: str) -> str:
        """Return a name within the layers whose `call` runs; the model itself does not count."""
        return "/".join([layer.name for layer in self.stack if layer is not self.model] + list(names))

    def here(self) -> str:
        """Return the path of the layer whose `call` runs."""
        return printable(self.path() or self.model.name)

    def append(self, call: Call, value: Any) -> Traced:
        """Write a call down; return its output."""
        dtype = keras.backend.standardize_dtype(value.dtype)
        self.calls.append(replace(call, shape=tuple(value.shape), dtype=dtype))
        return Traced(value, len(self.calls) - 1, self)

    def record(self, name: str, target: Any, args: Any, kwargs: Any, part: str = "") -> Any:
        """Compute a call, write it down, and return its outputs, traced."""
        found: list[Traced] = []

        def slot(each: Any) -> Any:
            traced = self.source(each, target)
            if traced is None:
                return each
            found.append(traced)
            return Slot(len(found) - 1)

        weight = 1 if _has_weight(target, args) else None  # a variable that is a weight of this node, not an input
        if weight:
            self.shown.add(id(args[weight]))
        given = {
            "args": tuple(
                each if place == weight else tree.map_structure(slot, each) for place, each in enumerate(args)
            ),
            "kwargs": {key: tree.map_structure(slot, value) for key, value in _in_order(target, kwargs)},
        }
        call = Call(
            name=name,
            target=target,
            part=part,
            inputs=tuple(each.number for each in found),
            shapes=tuple(each.shape for each in found),
            dtypes=tuple(each.dtype for each in found),
            **given,
        )
        with self.pause():
            outputs = call.run([each.value for each in found])
        flat = tree.flatten(outputs)
        traced = [
            self.append(replace(call, pick=place if len(flat) > 1 else None), each) if _is_tensor(each) else each
            for place, each in enumerate(flat)
        ]
        return tree.pack_sequence_as(outputs, traced)

    def source(self, argument: Any, target: Any) -> Traced | None:
        """Return the traced tensor that an argument is, or the parameter that it comes from; None for a constant."""
        if isinstance(argument, Traced):
            return argument
        joins = (
            isinstance(target, MERGING)
            or type(target).__name__ in JOINING
            or getattr(target, "__name__", "") in JOINING
        )
        if isinstance(target, Layer) and not joins:
            return None
        if isinstance(argument, keras.Variable):
            return self.parameter(argument, argument.value)
        if not _is_tensor(argument):
            return None
        found = self.find_parameter(argument)
        return self.constant(argument) if found is None and joins else found

    def constant(self, value: Any) -> Traced:
        """Return the node of numbers that no input has a part in."""
        return self.append(Call(name=self.path("constant"), target=None, part="constant", args=(value,)), value)

    def parameter(self, variable: keras.Variable, value: Any) -> Traced:
        """Return the node of a variable that is used outside of any layer of Keras' own."""
        self.shown.add(id(variable))
        shape, name = tuple(value.shape), self.path(variable.name)
        key = (id(variable), shape)
        if key not in self.parameters:
            if int(np.prod(shape)) == int(np.prod(variable.shape)):
                call = Call(name=name, target=variable, part="parameter", args=(shape,))
            else:
                own = self.parameter(variable, variable.value)
                call = Call(name=f"{name}/broadcast", target=variable, part="broadcast", args=(Slot(0), shape))
                call = replace(call, inputs=(own.number,), shapes=(own.shape,), dtypes=(own.dtype,))
            self.parameters[key] = self.append(call, value)
        return self.parameters[key]

    def find_parameter(self, value: Any) -> Traced | None:
        """Return the variable of the layers around whose numbers these are, repeated or laid out anew."""
        # `ops.broadcast_to(self.token, ...)` computes at once: no traced tensor takes part in it.
        if not _is_array(value):
            return None
        for layer in reversed(self.stack):
            for variable in _own(layer):
                if _spread_equals(variable, value):
                    return self.parameter(variable, value)
        return None

    def wrap(self, outputs: Any) -> Any:
        """Return a layer's outputs with its constants traced, too: a table of positions, a parameter."""

        def trace(each: Any) -> Any:
            if isinstance(each, keras.Variable):
                return self.parameter(each, each.value)
            if isinstance(each, Traced) or not _is_tensor(each):
                return each
            found = self.find_parameter(each)
            return self.constant(each) if found is None else found

        return tree.map_structure(trace, outputs)

    def remember_lists(self, layer: Layer) -> None:
        """Note how long the lists of nodes are that Keras is about to append to."""
        self.lengths.setdefault(id(layer), (layer, len(layer._inbound_nodes), len(layer._outbound_nodes)))

    def forget_node(self, layer: Layer, outputs: Any) -> Any:
        """Return the outputs; what Keras has noted of them would keep all numbers in memory until the end."""
        del layer._inbound_nodes[self.lengths[id(layer)][1] :]
        for each in tree.flatten(outputs):
            if isinstance(each, Traced):
                each.__dict__.pop("_keras_history", None)
        return outputs

    def restore_lists(self) -> None:
        """Take away what Keras has appended."""
        for layer, inbound, outbound in self.lengths.values():
            del layer._inbound_nodes[inbound:], layer._outbound_nodes[outbound:]

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Compute inside as if nothing were recorded."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def enter(self, layer: Layer, args: Any, kwargs: Any) -> Any:
        """Record one layer, as a whole or by what its `call` does; return its outputs."""
        name = self.path(layer.name)
        if self.is_leaf(layer, args, kwargs):
            return self.enter_leaf(name, layer, args, kwargs)
        start = len(self.calls)
        self.stack.append(layer)
        try:
            outputs = self.wrap(layer.call(*args, **kwargs))
            why = self.why_hidden(layer, start)
        except Exception as error:
            why = reason(error)
            if layer is self.model:
                self.failure = why
                raise
        finally:
            self.stack.pop()
        if not why:
            return outputs
        self.note(f"{printable(name)} ({type(layer).__name__}) is one node, its inside is not seen: {why}")
        return self.record(name, layer, args, kwargs, "unseen")

    def why_hidden(self, layer: Layer, start: int) -> str:
        """Return why the calls since `start` do not tell what a layer does with its weights; "" if they do."""
        hidden = [each for each in _own(layer) if each.trainable and id(each) not in self.shown]
        constants = tree.flatten([(call.args, call.kwargs) for call in self.calls[start:]])
        if layer is self.model or not hidden or not any(_is_array(each) for each in constants):
            return ""
        return f"it computes with its {printable(hidden[0].name)} before an input takes part"

    def enter_leaf(self, name: str, layer: Layer, args: Any, kwargs: Any) -> Any:
        """Record a layer of Keras' own: one node, or one for each step that it makes."""
        if isinstance(layer, SEPARABLE):
            outputs = args[0]
            for part in ("depthwise", "pointwise"):
                outputs = self.record(f"{name}/{part}", layer, (outputs,), {}, part)
            return self.activate(layer, outputs)
        fused = isinstance(layer, FUSED) and layer.activation not in (None, keras.activations.linear)
        outputs = self.record(name, layer, args, kwargs, "linear" if fused else "")
        return self.activate(layer, outputs) if fused else outputs

    def is_leaf(self, layer: Layer, args: Any, kwargs: Any) -> bool:
        """Return whether a layer is one node; one made from a primitive of Keras' own is if it computes the same."""
        known = is_leaf(layer, args, kwargs)
        if known is not None:
            return known
        plain = tree.map_structure(lambda each: each.value if isinstance(each, Traced) else each, (args, kwargs))
        with self.pause():
            return computes_as_its_base(layer, *plain)

    def activate(self, layer: Layer, outputs: Any) -> Any:
        """Record the activation that a layer applies last."""
        if layer.activation in (None, keras.activations.linear):
            return outputs
        name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
        self.stack.append(layer)
        try:
            if not is_own_activation(layer.activation):
                return layer.activation(outputs)
        except Exception:  # a function that cannot take such a tensor
            self.note(f"{self.here()}: the inside of its activation {printable(name)} is not seen")
        finally:
            self.stack.pop()
        return self.record(f"{self.path(layer.name)}/{name}", layer.activation, (outputs,), {})


def _in_order(target: Any, kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return named arguments in the order in which a layer's `call` has them."""
    order = list(inspect.signature(target.call).parameters) if isinstance(target, Layer) and kwargs else []
    return sorted(kwargs.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))


def _has_weight(target: Any, args: Any) -> bool:
    """Return whether this is an operation on an input and a variable as its kernel."""
    name = type(target).__name__ if isinstance(target, Operation) else getattr(target, "__name__", "")
    if name not in WEIGHTED or len(args) != 2 or not isinstance(args[0], Traced):
        return False
    return isinstance(args[1], keras.Variable) and len(args[1].shape) in WEIGHTED[name]


def _own(layer: Layer) -> list[keras.Variable]:
    """Return the weights of a layer itself, without those of the layers in it."""
    return [each for each in layer.weights if each.path.rpartition("/")[0] == layer.path]


def _spread_equals(variable: keras.Variable, value: Any) -> bool:
    array, wanted = np.asarray(keras.ops.convert_to_numpy(variable.value)), keras.ops.convert_to_numpy(value)
    try:
        return np.array_equal(spread(array, wanted.shape), wanted)
    except ValueError:
        return False


def operation_name(operation: Operation) -> str:
    """Return what an operation is called: as its author named it, else by its class."""
    plain = snake_case(type(operation).__name__)
    return plain.replace("re_lu", "relu") if re.fullmatch(rf"{plain}(_\d+)?", operation.name) else operation.name


def snake_case(name: str) -> str:
    """Return the name that Keras gives to an operation of the class `name`."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _is_tensor(each: Any) -> bool:
    return not isinstance(each, KerasTensor) and keras.ops.is_tensor(each)


def _is_array(each: Any) -> bool:
    """Return whether this is a tensor of broken numbers that is more than one number."""
    if not _is_tensor(each) or len(each.shape) == 0:
        return False
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(each.dtype)))

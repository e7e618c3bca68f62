"""Plants a mistake in one model of a pair: in a copy of the Keras model's graph, or in a copy of the PyTorch model.

A Keras model is called again on a new input, operation by operation; a change says what is done instead of one of
them. In a PyTorch model, modules are exchanged or set otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import keras
from keras import KerasTensor, layers, tree
from torch import nn

#: Keras' layers and operations that compute nothing: what is behind them is behind the layer in front of them.
QUIET = ("Dropout", "ZeroPadding2D", "Cropping2D", "Pad", "Flatten", "Reshape", "Positions")
FUSED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense)
CONVS = (layers.Conv2D, layers.DepthwiseConv2D)


#: Stands for the input of a model among what is touched.
INPUT = "the input"


class NotHereError(Exception):
    """A network has no place for such a mistake."""


def pick(rng: Random, places: Sequence[Any]) -> Any:
    """Return one of the places, or say that there is none."""
    if not places:
        raise NotHereError
    return rng.choice(list(places))


@dataclass
class Plan:
    """What is planted: `changes` by the name of the operation in Keras, `paths` of the modules in PyTorch.

    `also` are operations that are not changed but are right answers. `cause` is a regular expression over the
    microscope's words where that of the kind does not say enough. `weights` changes the weights of the copy in Keras,
    `images` what this side is given.
    """

    changes: dict[str, Callable[[Spot], Any]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    cause: str = ""
    weights: Callable[[Any], None] | None = None
    images: Callable[[Any], Any] | None = None

    @property
    def touched(self) -> tuple[str, ...]:
        """Names in the model as it was."""
        return (*self.changes, *self.paths, *self.also)


class KerasNet:
    """A functional or sequential model, its operations in the order in which they are called, and who feeds whom."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model._functional if isinstance(model, keras.Sequential) else model
        depths = sorted(self.graph._nodes_by_depth, reverse=True)
        nodes = [node for depth in depths for node in self.graph._nodes_by_depth[depth] if not node.is_input]
        self.nodes = {node.operation.name: node for node in nodes}
        self.ops = [node.operation for node in nodes]

    def where(self, fits: Callable[[Any], Any]) -> list[Any]:
        """Return the operations that fit."""
        return [op for op in self.ops if fits(op)]

    def before(self, op: Any) -> list[Any]:
        """Return what feeds an operation; the input of the model counts."""
        return [tensor._keras_history.operation for tensor in self.nodes[op.name].input_tensors]

    def after(self, op: Any) -> list[Any]:
        """Return what an operation feeds."""
        return [other for other in self.ops if any(each is op for each in self.before(other))]

    def only_after(self, op: Any) -> Any:
        """Return the one operation that this one feeds, else None."""
        found = self.after(op)
        return found[0] if len(found) == 1 else None

    def shape(self, op: Any) -> tuple[int, ...]:
        """Return the shape of an output, without the batch."""
        return tuple(self.nodes[op.name].outputs[0].shape[1:])

    def shape_in(self, op: Any) -> tuple[int, ...]:
        """Return the shape of the first input, without the batch."""
        return tuple(self.nodes[op.name].input_tensors[0].shape[1:])

    def behind(self, name: str) -> Iterator[str]:
        """Yield the names of the operations behind one, up to the first on each way that computes something."""
        waiting = [self.nodes[name].operation]
        while waiting:
            for other in self.after(waiting.pop()):
                yield other.name
                if type(other).__name__ in QUIET:
                    waiting.append(other)


@dataclass
class Spot:
    """One call of the model while it is called again: its inputs in the new model, and ways to go on."""

    net: KerasNet
    op: Any
    args: Any
    kwargs: Any
    made: dict[str, Any]
    copies: dict[str, Any]

    @property
    def inputs(self) -> list[Any]:
        """The tensors that are given."""
        return [each for each in tree.flatten((self.args, self.kwargs)) if isinstance(each, KerasTensor)]

    @property
    def x(self) -> Any:
        """The first tensor."""
        return self.inputs[0]

    def copy(self, op: Any = None, **settings: Any) -> Any:
        """Return a new layer as the old one, with these settings; it will have the same weights."""
        op = op or self.op
        if not isinstance(op, keras.Layer):
            return op
        self.copies[op.name] = type(op).from_config({**op.get_config(), **settings})
        return self.copies[op.name]

    def same(self, *inputs: Any, **settings: Any) -> Any:
        """Return what the operation makes, of other tensors if they are given."""
        given = iter(inputs or self.inputs)
        args, kwargs = tree.map_structure(
            lambda each: next(given, each) if isinstance(each, KerasTensor) else each, (self.args, self.kwargs)
        )
        return self.copy(**settings)(*args, **kwargs)


@dataclass
class Rewritten:
    """The new model, and which of its operations stand for each of the old one's."""

    model: Any
    stands: dict[str, list[Any]]


def rewrite(net: KerasNet, changes: dict[str, Callable[[Spot], Any]]) -> Rewritten:
    """Return a copy of the model with its weights, in which `changes` are made."""
    made: dict[str, Any] = {}
    stands: dict[str, list[Any]] = {}
    copies: dict[str, Any] = {}
    image = keras.Input(net.graph.inputs[0].shape[1:], name=net.graph.inputs[0].name)
    made[net.graph.inputs[0]._keras_history.operation.name] = image

    def call(op: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            spot = Spot(net, op, args, kwargs, made, copies)
            found = changes[op.name](spot) if op.name in changes else spot.same()
            made[op.name], stands[op.name] = found, _made_between(found, spot.inputs)
            return found

        return run

    outputs = net.graph._run_through_graph(image, operation_fn=call)
    model = keras.Model(image, outputs, name=net.model.name)
    for name, new in copies.items():
        _give_weights(net.nodes[name].operation, new)
    kept = {id(op) for op in model.operations}
    return Rewritten(model, {name: [op for op in ops if id(op) in kept] for name, ops in stands.items()})


def _made_between(output: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the operations that lead from the inputs to the output."""
    found: list[Any] = []
    waiting = [output]
    while waiting:
        tensor = waiting.pop()
        if any(tensor is each for each in inputs) or tensor._keras_history.node_index is None:
            continue
        op, index = tensor._keras_history.operation, tensor._keras_history.node_index
        if op not in found and not isinstance(op, layers.InputLayer):
            found.append(op)
            waiting += op._inbound_nodes[index].input_tensors
    return found[::-1]


def _give_weights(old: Any, new: Any) -> None:
    """Give a layer the weights of another one, as far as they fit."""
    if [each.shape for each in old.weights] == [each.shape for each in new.weights]:
        new.set_weights(old.get_weights())
        return
    known = {each.name: each for each in old.weights}
    for each in new.weights:
        if each.name in known and known[each.name].shape == each.shape:
            each.assign(known[each.name])


# -- what operations of Keras are


def activation(op: Any) -> str:
    """Return the name of the activation that an operation is, or ends with; "" if there is none."""
    if isinstance(op, layers.ReLU):
        return "relu6" if op.max_value == 6.0 else "relu"
    if isinstance(op, layers.LeakyReLU):
        return "leaky_relu"
    if isinstance(op, (layers.Activation, *FUSED)):
        name = op.activation.__name__
        return "" if name == "linear" else name
    return "relu" if type(op).__name__ == "Relu" else ""


def activate(spot: Spot, name: str | None) -> Any:
    """Return what the operation makes with another activation, or with none."""
    if isinstance(spot.op, FUSED):
        return spot.same(activation=name or "linear")
    return spot.x if name is None else layers.Activation(name, name=spot.op.name)(spot.x)


def is_add(op: Any) -> bool:
    """Whether an operation is a sum of tensors."""
    return type(op).__name__ == "Add"


# -- PyTorch


def modules(model: nn.Module, *kinds: type) -> list[str]:
    """Return the paths of the modules of these classes that stand once in the model, none of attention's own parts."""
    found = [
        (name, module) for name, module in model.named_modules(remove_duplicate=False) if isinstance(module, kinds)
    ]
    inside = [f"{name}." for name, each in model.named_modules() if isinstance(each, nn.MultiheadAttention)]
    return [
        name
        for name, module in found
        if name and sum(each is module for _, each in found) == 1 and not name.startswith(tuple(inside))
    ]


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Exchange the module at a path."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def copied(model: nn.Module) -> nn.Module:
    """Return a copy with weights of its own."""
    return copy.deepcopy(model).eval()

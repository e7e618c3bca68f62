"""Reads any Keras model into a `Graph`: functional, `Sequential`, nested or subclassed, without its author's help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import Layer, tree

from resnet_tf.graph_calls import Call, reason
from resnet_tf.graph_describe import describe, source_of
from resnet_tf.graph_formulas import compute
from resnet_tf.graph_kinds import Reading, View
from resnet_tf.graph_patches import trace
from resnet_tf.graph_tracing import Tape, Traced
from resnet_tf.layers import deep_graphs
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable, printable_list, quoted
from shared.networks.graph import BUFFERS, Graph, Node, Weight


@dataclass(frozen=True)
class Live:
    """What a node needs in order to run, and to reach its weights."""

    call: Call
    views: Mapping[str, View]


def read_graph(model: keras.Model, *inputs: np.ndarray) -> Graph:
    """Read a model by calling it on `inputs`: float32 images (N, H, W, C), or whole numbers.

    The model is called twice, in inference mode; what is not built yet is built, nothing else of it changes. Raises
    `InputError`, which says which part and why, for a model that cannot be seen or does not take these inputs.
    """
    if not isinstance(model, Layer):
        raise InputError(f"a Keras model is needed, not {quoted(model)}")
    if not inputs:
        raise InputError("a model is read by calling it: at least one array is needed")
    for each in inputs:
        if np.asarray(each).dtype.kind not in "fiub":
            raise InputError(f"inputs are arrays of numbers, not {quoted(each)}")
    tensors = [keras.ops.convert_to_tensor(np.ascontiguousarray(each)) for each in inputs]
    pack = _packing(model, len(inputs))
    with _statistics_kept(model):
        try:
            with deep_graphs():
                wanted = model(*pack(list(tensors)), training=False)
        except Exception as error:
            shapes = printable_list(tuple(each.shape) for each in inputs)
            name = f"{printable(model.name)} ({type(model).__name__})"
            raise InputError(f"{name} does not take inputs of the shape {shapes}: {reason(error)}") from None
    with _statistics_kept(model):
        tape, outputs = trace(model, tensors, pack)
    found = _named_outputs(model, outputs)
    _check_same(model, found, _named_outputs(model, wanted))
    return _graph(model, tape, found, len(inputs))


def _packing(model: Layer, count: int) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return what makes the arguments of the model's call from a list of tensors."""
    structure = getattr(model, "_inputs_struct", None)
    if structure is not None and len(tree.flatten(structure)) == count:
        return lambda tensors: (tree.pack_sequence_as(structure, tensors),)
    if count == 1:
        return tuple
    places = [each for each in inspect.signature(model.call).parameters.values() if each.kind in (1, 2)]
    needed = [
        each
        for each in places
        if each.name not in ("training", "mask") and (each.kind == 2 or each.default is each.empty)
    ]
    several = len(needed) >= 2 or any(each.kind == 2 for each in needed)
    return tuple if several else lambda tensors: (tensors,)


@contextmanager
def _statistics_kept(model: Layer) -> Iterator[None]:
    """Put back what a call moves even in inference mode: statistics of a layer that is always trained, random seeds."""
    kept = [(each, keras.ops.copy(each.value)) for each in model.variables if not each.trainable]
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


def _named_outputs(model: Layer, outputs: Any) -> dict[str, Any]:
    """Return the tensors that a model returns: "" for the only one, else by key, place or both."""
    flat = tree.flatten_with_path(outputs)
    named = {"/".join(map(str, path)): each for path, each in flat if each is not None}
    if not named or not all(isinstance(each, Traced) or keras.ops.is_tensor(each) for each in named.values()):
        raise InputError(f"{printable(model.name)} ({type(model).__name__}) returns something else than tensors")
    return named


def _check_same(model: Layer, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` where what was recorded gives something else than the model does."""
    for name, tensor in wanted.items():
        value = found[name].value if name in found else np.nan
        one, other = (np.asarray(keras.ops.convert_to_numpy(each)) for each in (tensor, value))
        if one.shape != other.shape or not np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise InputError(
                f"{printable(model.name)} ({type(model).__name__}) cannot be seen: what its layers compute is not its "
                f"output {printable(name)}; it may draw random numbers, or tf.function keeps old weights of it"
            )


def _graph(model: Layer, tape: Tape, outputs: Mapping[str, Traced], inputs: int) -> Graph:
    """Return the calls on which the outputs depend, and all inputs, as a graph."""
    wanted = _ancestors(tape.calls, [each.number for each in outputs.values()]) | set(range(inputs))
    numbers = {old: new for new, old in enumerate(sorted(wanted))}
    calls = [tape.calls[old] for old in numbers]
    readings = [describe(call) for call in calls]
    names = _unique_names(calls)
    nodes = tuple(
        _node(name, call, reading, [numbers[old] for old in call.inputs])
        for name, call, reading in zip(names, calls, readings, strict=True)
    )
    unseen = _unseen(model, readings)
    return Graph(
        title=printable(model.name),
        framework="tf",
        layout=_layout(calls),
        nodes=nodes,
        outputs={name: numbers[each.number] for name, each in outputs.items()},
        live=tuple(Live(call, reading.views) for call, reading in zip(calls, readings, strict=True)),
        notes=(*tape.notes, *unseen),
    )


def _ancestors(calls: Sequence[Call], numbers: Sequence[int]) -> set[int]:
    found, waiting = set(numbers), list(numbers)
    while waiting:
        new = set(calls[waiting.pop()].inputs) - found
        found |= new
        waiting += new
    return found


def _node(name: str, call: Call, reading: Reading, inputs: Sequence[int]) -> Node:
    weights = {
        role: Weight(key=view.variable.path, shape=view.shape, trained=role not in BUFFERS and view.variable.trainable)
        for role, view in reading.views.items()
    }
    return Node(
        name=name,
        kind=reading.kind,
        source=source_of(call),
        inputs=tuple(inputs),
        shape=call.shape,
        settings=reading.settings,
        weights=weights,
        dtype=call.dtype,
    )


def _unique_names(calls: Sequence[Call]) -> list[str]:
    """Return each call's name; where it is taken, a number is put behind. Layers take theirs first."""
    taken: set[str] = set()
    found: dict[int, str] = {}
    for place, call in sorted(enumerate(calls), key=lambda each: (not isinstance(each[1].target, Layer), each[0])):
        name, number = call.name, 0
        while name in taken:
            number += 1
            name = f"{call.name}_{number}"
        taken.add(name)
        found[place] = name
    return [found[place] for place in range(len(calls))]


def _layout(calls: Sequence[Call]) -> str:
    """Return the order of the axes that the first layer with pixels is told."""
    convolutions = (call.target for call in calls if "Conv" in type(call.target).__name__)
    return str(next((each.data_format for each in convolutions if getattr(each, "data_format", None)), "channels_last"))


def _unseen(model: Layer, readings: Sequence[Reading]) -> list[str]:
    """Return a line about the weights that no node shows."""
    shown = {id(view.variable) for reading in readings for view in reading.views.values()}
    left = [each.path for each in model.weights if id(each) not in shown and not _is_state(each)]
    return [f"weights that no node shows: {printable_list(left)}"] if left else []


def _is_state(variable: keras.Variable) -> bool:
    return bool(re.search(r"seed_generator|/(adapt_)?(mean|variance|count)$", variable.path))


def _live(graph: Graph, number: int) -> Live:
    if not 0 <= number < len(graph.live) or not isinstance(graph.live[number], Live):
        raise InputError(f"this graph of a Keras model has {len(graph.live)} nodes, and none with the number {number}")
    return graph.live[number]


def get_arrays(graph: Graph, number: int) -> dict[str, np.ndarray]:
    """Return copies of a node's weights, role -> array, in the layout of `ROLES`."""
    return {role: view.read() for role, view in _live(graph, number).views.items()}


def set_arrays(graph: Graph, number: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Give the live model other weights for a node. Raises `WeightsError`, and then changes nothing, if one misfits."""
    views, name = _live(graph, number).views, printable(graph.nodes[number].name)
    for role, array in arrays.items():
        if role not in views:
            raise WeightsError(f"{name} has no {printable(role)}; it has {printable_list(views) or 'no weights'}")
        if np.shape(array) != views[role].shape:
            raise WeightsError(f"{printable(role)} of {name} has the shape {views[role].shape}, not {np.shape(array)}")
        if np.asarray(array).dtype.kind not in "fiub":
            raise WeightsError(f"{printable(role)} of {name} must be numbers")
    for role, array in arrays.items():
        views[role].write(np.asarray(array))


def run_node(graph: Graph, number: int, inputs: Sequence[np.ndarray], dtype: str | None = None) -> np.ndarray:
    """Compute one node on other inputs, with the weights that the model has now, in inference mode.

    In "float64" the formula of its kind computes, from the node's settings and weights; otherwise the live layer or
    operation itself does, in the numbers that the model has. Raises `InputError` for inputs that it does not take,
    and where there is no such formula.
    """
    live, node = _live(graph, number), graph.nodes[number]
    arrays = _arrays(node, inputs)
    if dtype not in (None, "float32", "float64"):
        raise InputError(f"dtype is {quoted(dtype)}; allowed are float32 and float64")
    if node.kind == "input":
        return np.array(arrays[0])
    with _computing(node, arrays):
        if dtype == "float64":
            return compute(node, live.call, {role: view.read() for role, view in live.views.items()}, arrays)
        return np.array(keras.ops.convert_to_numpy(_run_live(live.call, _tensors(live.call, arrays))))


def pull_back(graph: Graph, number: int, inputs: Sequence[np.ndarray], upstream: np.ndarray) -> list[np.ndarray]:
    """Return the gradients by each input of a node, for the gradient `upstream` by its output.

    Of whole numbers, and of what is cut off, it is zero. Raises `InputError` for inputs that it does not take, and on
    another backend of Keras than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError("gradients are taken on Keras' TensorFlow backend only")
    import tensorflow as tf

    live, node = _live(graph, number), graph.nodes[number]
    arrays = _arrays(node, inputs)
    with _computing(node, arrays):
        tensors = _tensors(live.call, arrays)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([each for each in tensors if each.dtype.is_floating])
            output = _run_live(live.call, tensors)
        if np.shape(upstream) != tuple(output.shape):
            text = f"its output is of shape {tuple(output.shape)}, a gradient by it of {np.shape(upstream)}"
            raise InputError(f"{printable(node.name)}: {text}")
        found = tape.gradient(output, tensors, output_gradients=tf.cast(upstream, output.dtype))
        return [
            np.zeros(each.shape, np.float32) if gradient is None else np.array(tf.convert_to_tensor(gradient))
            for each, gradient in zip(tensors, found, strict=True)
        ]


def _arrays(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    wanted = max(len(node.inputs), int(node.kind == "input"))
    if len(inputs) != wanted:
        raise InputError(f"{printable(node.name)} takes {wanted} inputs, not {len(inputs)}")
    return [np.asarray(each) for each in inputs]


@contextmanager
def _computing(node: Node, arrays: Sequence[np.ndarray]) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        shapes = printable_list(each.shape for each in arrays)
        raise InputError(f"{printable(node.name)} cannot be computed on {shapes}: {reason(error)}") from None


def _tensors(call: Call, arrays: Sequence[np.ndarray]) -> list[Any]:
    pairs = zip(arrays, call.dtypes, strict=True)
    return [keras.ops.convert_to_tensor(np.ascontiguousarray(each), dtype) for each, dtype in pairs]


def _run_live(call: Call, tensors: Sequence[Any]) -> Any:
    if not (isinstance(call.target, Layer) and call.kwargs.get("training")):
        return call.run(tensors)
    with _statistics_kept(call.target):
        return call.run(tensors)

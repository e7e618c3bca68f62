"""Lets a tape record what a model calls: for that time, some methods of Keras' classes are replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import keras
from keras import Layer, Operation, tree

from resnet_tf.graph_calls import Call, reason
from resnet_tf.graph_tracing import Tape, Traced, operation_name
from resnet_tf.layers import deep_graphs
from shared.base.errors import InputError
from shared.base.printable import printable

#: Operations on two tensors that Python writes as signs; a variable on the left leaves them to a traced tensor.
SIGNS = ("add", "sub", "mul", "truediv", "matmul", "pow", "floordiv", "mod")
_lock = threading.RLock()
_active: list[Tape] = []  # the one that records now, if any


def _tape_of(arguments: Any) -> Tape | None:
    """Return the tape that shall record a call with these arguments."""
    if not _active or _active[-1].thread != threading.get_ident():
        return None
    if not any(isinstance(each, Traced) for each in tree.flatten(arguments)):
        return None
    if _active[-1].paused:
        raise TypeError("a function that it passes on uses a tensor from outside of it")
    return _active[-1]


def _layer_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `Layer.__call__` is while a model is traced."""

    def call(layer: Layer, /, *args: Any, **kwargs: Any) -> Any:
        tape = _tape_of((args, kwargs))
        if tape is None:
            return _call_on_constants(original, layer, args, kwargs)
        tape.remember_lists(layer)
        tape.results.append(None)
        try:
            original(layer, *args, **kwargs)
            return tape.forget_node(layer, tape.results[-1])
        finally:
            tape.results.pop()

    return call


def _call_on_constants(original: Callable[..., Any], layer: Layer, args: Any, kwargs: Any) -> Any:
    """Call a layer as ever; one with weights is a node also on constants, such as the numbers of positions."""
    tape = _active[-1] if _active and _active[-1].thread == threading.get_ident() else None
    if tape is None or tape.paused or not layer.built or not layer.weights or not tape.is_leaf(layer, args, kwargs):
        return original(layer, *args, **kwargs)
    return tape.enter(layer, args, kwargs)


def _layer_symbolic_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `Layer.symbolic_call` is: `Layer.__call__` asks it for the outputs once all arguments are ready."""

    def symbolic_call(layer: Layer, /, *args: Any, **kwargs: Any) -> Any:
        tape = _tape_of((args, kwargs))
        if tape is None:
            return original(layer, *args, **kwargs)
        outputs = tape.enter(layer, args, kwargs)
        tape.results[-1] = outputs
        # Keras refuses outputs that are no tensors (None, numbers), which a layer may well return.
        return [each for each in tree.flatten(outputs) if isinstance(each, Traced)]

    return symbolic_call


def _operation_symbolic_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `Operation.symbolic_call` is: each of `keras.ops` and of Python's signs comes here."""

    def symbolic_call(operation: Operation, /, *args: Any, **kwargs: Any) -> Any:
        tape = _tape_of((args, kwargs))
        if tape is None:
            return original(operation, *args, **kwargs)
        kind = type(operation).__name__
        if kind == "Cond":
            chosen, *branches = (*args, *kwargs.values())
            return branches[0 if chosen else 1]()
        if kind in ("Cast", "ConvertToTensor") and getattr(operation, "dtype", None) in (None, args[0].dtype):
            return args[0]
        return tape.record(tape.path(operation_name(operation)), operation, args, kwargs)

    return symbolic_call


def _reflecting(original: Callable[..., Any]) -> Callable[..., Any]:
    def sign(variable: keras.Variable, other: Any) -> Any:
        return NotImplemented if isinstance(other, Traced) else original(variable, other)

    return sign


@contextmanager
def _replaced(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace a method of a class inside; afterwards the class is as it was."""
    original, own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@cache
def _listen_to_tensorflow() -> None:
    """Let functions of TensorFlow be recorded, too, which are asked about only once they refuse a tensor."""
    import tensorflow as tf

    class Listener(tf.__internal__.dispatch.GlobalOpDispatcher):
        def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
            tape = _tape_of((args, kwargs))
            if tape is None:
                return self.NOT_SUPPORTED
            if op.__name__.startswith("convert_to_tensor"):
                return next(each for each in tree.flatten((args, kwargs)) if isinstance(each, Traced))
            return tape.record(tape.path(op.__name__.removesuffix("_v2")), op, args, kwargs)

    Listener().register()


@contextmanager
def _functions_open() -> Iterator[None]:
    """Record inside what functions of TensorFlow do, also those that a user has compiled with `tf.function`."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    _listen_to_tensorflow()
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextmanager
def recording(tape: Tape) -> Iterator[None]:
    """Record on the tape what is called inside; afterwards Keras' classes and the model's layers are as they were."""
    with _lock, ExitStack() as stack:
        stack.callback(tape.restore_lists)
        stack.enter_context(deep_graphs())
        stack.enter_context(_replaced(Layer, "__call__", _layer_call))
        stack.enter_context(_replaced(Layer, "symbolic_call", _layer_symbolic_call))
        stack.enter_context(_replaced(Operation, "symbolic_call", _operation_symbolic_call))
        for sign in SIGNS:
            stack.enter_context(_replaced(keras.Variable, f"__{sign}__", _reflecting))
        stack.enter_context(_functions_open())
        _active.append(tape)
        stack.callback(_active.pop)
        yield


def trace(model: Layer, tensors: Sequence[Any], pack: Callable[[list[Any]], tuple[Any, ...]]) -> tuple[Tape, Any]:
    """Call a built model on traced tensors; return the tape and what the model returned.

    `pack` puts the tensors together into the arguments that the model takes. Raises `InputError` for a model that
    cannot be seen.
    """
    tape = Tape(model)
    inputs = [tape.append(Call(name=f"input_{place}", target=None), each) for place, each in enumerate(tensors)]
    try:
        with recording(tape):
            return tape, model(*pack(inputs), training=False)
    except Exception as error:
        why = tape.failure or reason(error)
        raise InputError(
            f"{printable(model.name)} ({type(model).__name__}) cannot be seen: in its call(): {why}"
        ) from None

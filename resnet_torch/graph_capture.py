"""Sees what a PyTorch model computes, as a graph of ATen operations, and leaves the model as it was."""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind
from torch.utils import _pytree as pytree

from resnet_torch.graph_parts import Place, val
from shared.base.errors import InputError
from shared.base.printable import one_line, printable

#: Characters of a message of PyTorch's that are passed on.
MOST_REASON = 200


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A graph of operations; where the weights and constants live that it names; its inputs and outputs by name."""

    graph: fx.Graph
    places: Mapping[str, Place]
    inputs: tuple[str, ...]
    outputs: Mapping[str, fx.Node]
    modules: Mapping[str, nn.Module]
    notes: tuple[str, ...] = ()


class RefusedError(Exception):
    """Why an exported program is no plain graph of operations on tensors."""


def capture(model: nn.Module, inputs: Sequence[np.ndarray]) -> Captured:
    """Return what the model computes for these inputs in eval mode; raise `InputError` if it cannot be seen."""
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError("a model that torch.jit compiled cannot be seen: give the model that it was made from")
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(weight):
            raise InputError(f"{printable(name)} has no shape yet: run the model once on data, then it can be seen")
    tensors = tensors_for(model, inputs)
    with quiet(), untouched(model), torch.no_grad():
        model.eval()
        try:
            return _export(model, tensors)
        except Exception as refusal:
            reason = _reason(refusal, model)
        from resnet_torch.graph_recorder import record  # most models do not need it

        try:
            captured = record(model, tensors)
        except InputError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(each.shape)) for each in tensors)
            raise InputError(
                f"{type(model).__name__} cannot run on inputs of shape {shapes or '(none)'}: {_reason(error, model)}"
            ) from None
    note = f"torch.export refused ({reason}): one run was recorded, and holds for inputs that take the same way"
    return Captured(**{**vars(captured), "notes": (note, *captured.notes)})


def capture_exported(program: ExportedProgram) -> Captured:
    """Return the graph of a program that was exported before."""
    with quiet():
        try:
            return _captured(program.run_decompositions({}), None)
        except RefusedError as refusal:
            raise InputError(f"this exported program cannot be seen: {refusal}") from None


def tensors_for(model: nn.Module, inputs: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    """Return the inputs as tensors where the model is, numbers with a point in the model's own dtype."""
    return tuple(_tensor(model, np.asarray(each), place) for place, each in enumerate(inputs))


def _tensor(model: nn.Module, array: np.ndarray, place: int) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {place} holds {array.dtype.name} values; allowed are real numbers")
    weights = [*model.parameters(), *model.buffers()]
    floats = [each.dtype for each in weights if each.is_floating_point()]
    if array.dtype.kind == "f":
        dtype = floats[0] if floats else torch.float32
    else:
        dtype = torch.bool if array.dtype.kind == "b" else torch.int64
    tensor = torch.as_tensor(np.array(array), device=device_of(model))
    return tensor.to(dtype)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first weight."""
    first = next((each for each in (*model.parameters(), *model.buffers())), None)
    return torch.device("cpu") if first is None else first.device


def places_of(model: nn.Module) -> dict[str, Place]:
    """Return where each parameter and buffer of the model lives, by its name in `state_dict()`.

    One that has several names, because layers share it, has the place of the first under all of them.
    """
    found: dict[str, Place] = {}
    first: dict[int, Place] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                key = f"{path}.{name}" if path else name
                if tensor is not None:
                    found[key] = first.setdefault(id(tensor), Place(table, name, key))
    return found


# torch.export


def _export(model: nn.Module, tensors: tuple[Tensor, ...]) -> Captured:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it prints what it refuses
        program = torch.export.export(model, tensors, strict=False)
    return _captured(program.run_decompositions({}), model)


def _captured(program: ExportedProgram, model: nn.Module | None) -> Captured:
    check_plain(program.graph)
    live = {} if model is None else places_of(model)
    specs = program.graph_signature.input_specs
    given = {node.name: val(node) for node in program.graph.nodes if node.op == "placeholder"}
    return Captured(
        graph=program.graph,
        places={spec.arg.name: _place(program, spec, live) for spec in specs if spec.kind in STORED},
        inputs=tuple(
            spec.arg.name
            for spec in specs
            if spec.kind == InputKind.USER_INPUT and isinstance(given.get(spec.arg.name), Tensor)
        ),
        outputs=_outputs(program),
        modules={} if model is None else dict(model.named_modules()),
    )


STORED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def _place(program: ExportedProgram, spec: InputSpec, live: Mapping[str, Place]) -> Place:
    key = str(spec.target)
    if key in live:
        return live[key]
    table = program.state_dict if key in program.state_dict else program.constants
    return Place(table, key, key if spec.kind != InputKind.CONSTANT_TENSOR else "")


def _outputs(program: ExportedProgram) -> dict[str, fx.Node]:
    """Return the nodes of the user's outputs under the names that they have in what the model returns."""
    nodes = {node.name: node for node in program.graph.nodes}
    wanted = (OutputKind.USER_OUTPUT,)
    leaves = [nodes.get(spec.arg.name) for spec in program.graph_signature.output_specs if spec.kind in wanted]
    assert program.call_spec.out_spec is not None
    return named_leaves(pytree.tree_unflatten(leaves, program.call_spec.out_spec), lambda leaf: leaf is not None)


def named_leaves(tree: Any, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the leaves of what a model returns: "" for its one output, else keys and places, joined by dots."""
    paths, _ = pytree.tree_flatten_with_path(tree)
    return {".".join(map(_key, path)): leaf for path, leaf in paths if wanted(leaf)}


def _key(entry: Any) -> str:
    return str(next(getattr(entry, name) for name in ("key", "idx", "name") if hasattr(entry, name)))


def check_plain(graph: fx.Graph) -> None:
    """Raise `RefusedError` for a graph that holds more than operations on tensors of known sizes."""
    for node in graph.nodes:
        if node.op == "call_function" and not _is_plain(node):
            raise RefusedError(f"{node.target} stands in {_where(node)}")
        sizes = [size for each in pytree.tree_leaves(val(node)) if isinstance(each, Tensor) for size in each.shape]
        if any(isinstance(each, torch.SymInt) for each in sizes):
            raise RefusedError(f"a size in {_where(node)} depends on the values of the input, or was left open")


def _is_plain(node: fx.Node) -> bool:
    """Whether this is an operation on tensors, or one of the tensors that it returns."""
    if isinstance(node.target, torch._ops.OpOverload):
        return not isinstance(val(node), torch.SymInt | torch.SymFloat | torch.SymBool)
    return node.target is operator.getitem


def _where(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return next((path for path, _ in reversed(list(stack.values())) if path), "the model's own code")


# Leaving the model as it was


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back, whatever happens inside, every attribute of every module, and the values of weights and buffers."""
    values = {tensor: tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())}
    modes = {module: module.training for module in model.modules()}
    attributes = [(module.__dict__, dict(module.__dict__)) for module in model.modules()]
    inner = [
        (each, each.copy()) for _, saved in attributes for each in saved.values() if isinstance(each, dict | list | set)
    ]
    try:
        yield
    finally:
        for table, saved in attributes:
            _refill(table, saved)
        for container, content in inner:
            _refill(container, content)
        for module, mode in modes.items():
            if module.training != mode:  # a compiled module has its mode elsewhere
                module.training = mode
        with torch.no_grad():
            for tensor, value in values.items():
                if not _same(tensor, value):
                    tensor.copy_(value)


def _refill(container: Any, content: Any) -> None:
    """Give a container its content back, and stay the same object: handles of hooks point to it."""
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


def _same(tensor: Tensor, value: Tensor) -> bool:
    return bool(torch.equal(tensor, value))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's warnings and its log to itself: what people need to know stands in errors and notes."""
    before, trace = logging.root.manager.disable, logging.getLogger("torch.__trace")
    handlers, trace.handlers = trace.handlers, []  # pytest listens there, and PyTorch lets nobody disable it
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        trace.handlers = handlers


# Reasons


def _reason(error: Exception, model: nn.Module) -> str:
    """Return the part of the model that an error comes from, and its first line, shortened."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = printable(one_line(text.partition(" (unhinted")[0]), MOST_REASON).rstrip(".")
    part = _part(error.__traceback__, {id(module): path for path, module in model.named_modules()})
    if part is None:
        return text
    name, module = part
    return f"in {name} ({type(module).__name__}): {text}" if name else text


def _part(traceback: TracebackType | None, paths: Mapping[int, str]) -> tuple[str, nn.Module] | None:
    """Return the innermost module of the model in whose method an error arose."""
    found = None
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in paths:
            found = paths[id(module)], module
        traceback = traceback.tb_next
    return found

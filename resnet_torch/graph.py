"""Reads any PyTorch model into a `Graph`, and runs its nodes and reaches their weights one by one.

The twin is `resnet_tf/graph.py`. A model needs no help of its author: modules are seen, and what is written as a
function (`F.relu`, `+`, `torch.cat`) as well. Axes in the settings are counted from the front, in PyTorch's own order.
An operand that is a parameter is a node of kind "parameter", and so is a constant, without weights, unless it is in
the setting "constant"; a weight that is computed is one more input of its node.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from resnet_torch.graph_builder import Builder
from resnet_torch.graph_capture import capture, capture_exported, device_of
from resnet_torch.graph_parts import Place, Slot, Step
from resnet_torch.weights import check_model
from shared.base.checks import check_dtype
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable_list
from shared.networks.graph import Graph


def read_graph(model: nn.Module | ExportedProgram, *inputs: np.ndarray) -> Graph:
    """Return the graph of what the model does with these inputs in eval mode; afterwards it is as it was.

    `inputs` are arrays as the model takes them: images (N, C, H, W), or whole numbers for tokens. An `ExportedProgram`
    needs none. Raises one `InputError` for a model that cannot be seen or run, which says where and why.
    """
    if isinstance(model, ExportedProgram):
        device = next((each.device for each in model.state_dict.values()), torch.device("cpu"))
        return Builder(capture_exported(model), device).build("ExportedProgram")
    check_model(model)
    return Builder(capture(model, inputs), device_of(model)).build(type(model).__name__)


def get_arrays(graph: Graph, number: int) -> dict[str, np.ndarray]:
    """Return copies of a node's weights by role, laid out as in `ROLES`."""
    return {role: _numpy(place.tensor) for role, place in _step(graph, number).weights.items()}


def set_arrays(graph: Graph, number: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Set weights of a node in the live model, by role; raise `WeightsError`, changing nothing, if one does not fit."""
    name, places = graph.nodes[number].name, _step(graph, number).weights
    fitting = {role: _fitting(name, role, array, places) for role, array in arrays.items()}
    with torch.no_grad():
        for role, tensor in fitting.items():
            places[role].tensor.copy_(tensor)


def run_node(graph: Graph, number: int, inputs: Sequence[np.ndarray], dtype: str | None = None) -> np.ndarray:
    """Return what one node makes of these inputs, in eval mode, with the model's weights as they are now.

    With "float32" or "float64" inputs, weights and constants are cast to it, whole numbers stay; without `dtype` the
    node computes in the numbers that the model has. Raises `InputError` if the inputs do not fit.
    """
    if dtype is not None:
        check_dtype(dtype)
    if graph.nodes[number].kind == "input":
        _check_count(graph, number, inputs)
        return np.array(inputs[0])
    with torch.no_grad():
        return _numpy(_output(graph, number, _given(graph, number, inputs, dtype), dtype))


def pull_back(graph: Graph, number: int, inputs: Sequence[np.ndarray], upstream: np.ndarray) -> list[np.ndarray]:
    """Return the gradients by each input of a node, for the gradient `upstream` by its output.

    The node computes in the numbers that the model has. Of whole numbers, and of what is cut off, it is zero.
    Raises `InputError` if the inputs do not fit.
    """
    given = [each.requires_grad_(each.is_floating_point()) for each in _given(graph, number, inputs, None)]
    followed = [each for each in given if each.requires_grad]
    with torch.enable_grad():
        output = _output(graph, number, given, None)
    if np.shape(upstream) != tuple(output.shape):
        text = f"its output is of shape {tuple(output.shape)}, a gradient by it of {np.shape(upstream)}"
        raise InputError(f"{graph.nodes[number].name}: {text}")
    found: Sequence[Tensor | None] = [None] * len(followed)
    if output.shape != upstream.shape:
        raise InputError(f"{graph.nodes[number].name} puts out {tuple(output.shape)}, not {upstream.shape}")
    if output.requires_grad and followed:
        above = torch.as_tensor(np.array(upstream)).to(output)
        found = torch.autograd.grad(output, followed, above, allow_unused=True)
    known = dict(zip(map(id, followed), found, strict=True))
    gradients = [known.get(id(each)) for each in given]
    return [
        np.zeros(each.shape, np.float32) if gradient is None else _numpy(gradient)
        for each, gradient in zip(given, gradients, strict=True)
    ]


def _check_count(graph: Graph, number: int, inputs: Sequence[np.ndarray]) -> None:
    node = graph.nodes[number]
    wanted = 1 if node.kind == "input" else len(node.inputs)
    if len(inputs) != wanted:
        raise InputError(f"{node.name} takes {wanted} inputs; {len(inputs)} were given")


def _given(graph: Graph, number: int, inputs: Sequence[np.ndarray], dtype: str | None) -> list[Tensor]:
    """Return a node's inputs as tensors of `dtype`, or of those in which the model computes."""
    _check_count(graph, number, inputs)
    step = _step(graph, number)
    tensors = [torch.as_tensor(np.array(each, order="C"), device=step.device) for each in inputs]
    if dtype is not None:
        return [_cast(each, dtype) for each in tensors]
    return [each.to(own) for each, own in zip(tensors, step.dtypes, strict=True)]


def _output(graph: Graph, number: int, given: Sequence[Tensor], dtype: str | None) -> Tensor:
    try:
        return _run(_step(graph, number), given, dtype)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = printable_list(tuple(each.shape) for each in given)
        name = graph.nodes[number].name
        raise InputError(f"{name} cannot run on inputs of shape {shapes}: {error}") from None


def _step(graph: Graph, number: int) -> Step:
    step = graph.live[number]
    assert isinstance(step, Step)
    return step


def _run(step: Step, given: Sequence[Tensor], dtype: str | None) -> Tensor:
    def filled(value: Any) -> Any:
        if isinstance(value, Slot):
            return given[value.place]
        if dtype is None:
            return value.tensor if isinstance(value, Place) else value
        if isinstance(value, Place):
            return _cast(value.tensor, dtype)
        if isinstance(value, Tensor):
            return _cast(value, dtype)
        if isinstance(value, torch.dtype) and value.is_floating_point:
            return getattr(torch, dtype)
        return value

    args, kwargs = pytree.tree_map(filled, (step.args, dict(step.kwargs)))
    if step.target is None:
        return args[0]
    target = step.target
    if isinstance(target, nn.Module):  # a module that is one node
        target = copy.deepcopy(target).eval()
        target = target if dtype is None else target.to(getattr(torch, dtype))
    result = target(*args, **kwargs)
    return result if step.pick is None else result[step.pick]


def _cast(tensor: Tensor, dtype: str) -> Tensor:
    return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def _fitting(name: str, role: str, array: Any, places: Mapping[str, Place]) -> Tensor:
    """Return an array as a tensor that fits its place."""
    if role not in places:
        raise WeightsError(f"{name} has no weight {role!r}; it has {printable_list(places) or 'none'}")
    array, place = np.asarray(array), places[role]
    if array.shape != place.shape or array.dtype.kind not in "biuf":
        raise WeightsError(
            f"the {role} of {name} is of shape {place.shape}; given was {array.dtype.name} of shape {array.shape}"
        )
    return torch.as_tensor(np.array(array))

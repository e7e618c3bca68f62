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


def run_node(graph: Graph, number: int, inputs: Sequence[np.ndarray], dtype: str = "float32") -> np.ndarray:
    """Return what one node makes of these inputs, in eval mode, with the model's weights as they are now.

    Inputs, weights and constants are cast to `dtype`, whole numbers stay. Raises `InputError` if they do not fit.
    """
    check_dtype(dtype)
    node, step = graph.nodes[number], _step(graph, number)
    wanted = 1 if node.kind == "input" else len(node.inputs)
    if len(inputs) != wanted:
        raise InputError(f"{node.name} takes {wanted} inputs; {len(inputs)} were given")
    if node.kind == "input":
        return np.array(inputs[0])
    given = [_cast(torch.as_tensor(np.array(each), device=step.device), dtype) for each in inputs]
    with torch.no_grad():
        try:
            return _numpy(_run(step, given, dtype))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shapes = printable_list(tuple(each.shape) for each in given)
            raise InputError(f"{node.name} cannot run on inputs of shape {shapes}: {error}") from None


def _step(graph: Graph, number: int) -> Step:
    step = graph.live[number]
    assert isinstance(step, Step)
    return step


def _run(step: Step, given: Sequence[Tensor], dtype: str) -> Tensor:
    def filled(value: Any) -> Any:
        if isinstance(value, Slot):
            return given[value.place]
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
        target = copy.deepcopy(target).to(getattr(torch, dtype)).eval()
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

"""What a PyTorch model looks like: a row for every layer, its weights, and PyTorch's own printout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.export import ExportedProgram

from resnet_torch.factory import create_model
from resnet_torch.graph_parts import Step
from resnet_torch.probe import watch
from resnet_torch.weights import check_model
from shared.backends import ModelRow, Printed
from shared.base.errors import InputError
from shared.base.printable import one_line
from shared.networks.graph import Graph, Node
from shared.networks.outline import Held, Standing
from shared.networks.spec import ResNetSpec

#: Modules of PyTorch's own that only hold others.
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.DataParallel)


def create_skeleton(spec: ResNetSpec) -> nn.Module:
    """Build a network without memory for its weights (on PyTorch's "meta" device): shapes are all it knows."""
    with torch.device("meta"):
        return create_model(spec)


def layer_rows(model: nn.Module, input_size: int | None = None) -> list[ModelRow]:
    """Return a row for every layer of the model, in the order of computation.

    The shapes, (C, H, W) or (C,), are those that one image of `input_size` x `input_size` pixels really had
    on its way through the model. The sum at the end of a block has a row too, of kind "+".
    """
    check_model(model)
    spec = getattr(model, "spec", None) or getattr(model, "fused_from", None)
    if not isinstance(spec, ResNetSpec):
        raise InputError(f"layer_rows takes a network of create_model; this one is of the class {type(model).__name__}")
    size = spec.input_size if input_size is None else input_size
    spec.check_input_size(size)
    rows: list[ModelRow] = []

    def note(name: str, layer: nn.Module | None, output: torch.Tensor) -> None:
        rows.append(
            ModelRow(
                name=name,
                kind=type(layer).__name__ if layer else "+",
                output_shape=tuple(output.shape[1:]),
                parameters=sum(parameter.numel() for parameter in layer.parameters()) if layer else 0,
                buffers=sum(buffer.numel() for buffer in layer.buffers() if buffer.ndim > 0) if layer else 0,
            )
        )

    handles = watch(model, note)
    parameter = next(model.parameters())
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, spec.in_channels, size, size, device=parameter.device, dtype=parameter.dtype))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return rows


def printed(model: nn.Module | ExportedProgram) -> Printed:
    """Return what `print(model)` shows of any model. Raises `InputError` if its code for that fails."""
    if not isinstance(model, ExportedProgram):
        check_model(model)
    try:
        text = str(model)
    except Exception as error:  # a `__repr__` or `extra_repr` of the user's
        raise InputError(f"print(model) of {type(model).__name__} does not work: {one_line(error)}") from None
    note = "an exported program prints its code, which has no line for each layer"
    return Printed("print(model)", text, note=note if isinstance(model, ExportedProgram) else "")


def printout(model: nn.Module) -> str:
    """Return what `print(model)` shows."""
    check_model(model)
    return str(model)


def held(model: nn.Module | ExportedProgram) -> list[Held]:
    """Return what the model holds: parameters, and buffers of numbers with a point; one that is shared comes once.

    The counter of batches that a BatchNorm has is a whole number, and no weight in any other framework.
    """
    buffers = [(name, each) for name, each in model.named_buffers() if each.is_floating_point()]
    found = [_held(name, each, each.requires_grad, False) for name, each in model.named_parameters()]
    return found + [_held(name, each, False, True) for name, each in buffers]


def _held(name: str, tensor: torch.Tensor, trained: bool, buffer: bool) -> Held:
    size = tensor.numel()
    return Held(key=name, size=size, bytes=size * tensor.element_size(), trained=trained, buffer=buffer)


def standings(model: nn.Module | ExportedProgram, graph: Graph) -> list[Standing]:
    """Return for each node of the model's graph in which layer it stands.

    A layer is the outermost module of PyTorch's own that is more than a container, or a module of the user's with a
    weight; what is written as a function is a layer of its own, and in a program, which has no modules, each operation.
    """
    modules = {} if isinstance(model, ExportedProgram) else dict(model.named_modules())
    return [_standing(node, step, modules) for node, step in zip(graph.nodes, graph.live, strict=True)]


def _standing(node: Node, step: Step, modules: Mapping[str, nn.Module]) -> Standing:
    for path in _prefixes(step.path):
        module = modules.get(path)
        if module is not None and type(module).__module__.startswith("torch.nn.") and type(module) not in CONTAINERS:
            call = _times(step) if path == step.path else None
            return Standing(layer=path, kind=type(module).__name__, call=call, output=step.pick or 0)
    owner = node.weights["weight"].key.rpartition(".")[0] if "weight" in node.weights else ""
    if owner and owner == step.path and owner in modules:
        return Standing(layer=owner, kind=type(modules[owner]).__name__, call=_times(step))
    if node.kind == "input":
        return Standing(layer=node.name, kind="InputLayer")
    return Standing(layer=node.name, kind=node.source.removeprefix("aten.").partition(".")[0].strip("_"))


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _times(step: Step) -> int:
    """Return which call of a module this is, from 0: its second one is called "relu@1"."""
    number = step.call.rpartition("@")[2]
    return int(number) if "@" in step.call and number.isdigit() else 0

"""What a PyTorch model looks like: a row for every layer, and PyTorch's own printout."""

from __future__ import annotations

import torch
from torch import nn

from resnet_torch.factory import create_model
from resnet_torch.probe import watch
from resnet_torch.weights import check_model
from shared.backends import ModelRow
from shared.base.errors import InputError
from shared.networks.spec import ResNetSpec


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


def printout(model: nn.Module) -> str:
    """Return what `print(model)` shows."""
    check_model(model)
    return str(model)

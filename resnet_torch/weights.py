"""Weights of PyTorch models as canonical NumPy arrays, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shared.backends import check_framework
from shared.base.files import replacing
from shared.checkpoints.foreign import read_weights, spec_of
from shared.checkpoints.ours import write_safetensors
from shared.networks.canonical import Arrays, LoadReport, fit


def check_model(model: nn.Module) -> None:
    """Raise `InputError` for what is no PyTorch model."""
    check_framework(model, "torch")


def _entries(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's parameters and running statistics: the tensors themselves, not copies."""
    check_model(model)
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def get_weights(model: nn.Module) -> Arrays:
    """Return copies of the model's weights, named and laid out as in `state_dict()`."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in _entries(model).items()}


def set_weights(
    model: nn.Module, arrays: Mapping[str, np.ndarray], *, strict: bool = True, new_head: bool = False
) -> LoadReport:
    """Set the model's weights from canonical arrays, whatever framework they come from.

    Every array must be there and fit, unless `strict=False` (take what fits) or `new_head=True` (the last
    layer may differ and then stays as it is). Otherwise raises one `WeightsError` that lists all that is
    wrong, and changes nothing. Returns a report.
    """
    entries = _entries(model)
    good, report = fit(
        {name: tuple(tensor.shape) for name, tensor in entries.items()}, arrays, strict=strict, new_head=new_head
    )
    with torch.no_grad():
        for name, array in good.items():
            entries[name].copy_(torch.as_tensor(np.ascontiguousarray(array, entries[name].cpu().numpy().dtype)))
    return report


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's weights and its spec to a `.safetensors` file, whole or not at all."""
    arrays = get_weights(model)
    write_safetensors(path, arrays, spec_of(model, arrays))


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True, new_head: bool = False) -> LoadReport:
    """Load weights from any file that `resnet-twins convert` reads; `strict` and `new_head` as in `set_weights`."""
    return set_weights(model, read_weights(path).arrays, strict=strict, new_head=new_head)


def write_native(model: nn.Module, path: str | Path) -> None:
    """Write the model's `state_dict()` to `path`, a `.pth` file, whole or not at all."""
    check_model(model)
    with replacing(path) as temporary:
        torch.save(model.state_dict(), temporary)

"""Opens models that were saved whole, and gives any PyTorch model weights by the names in a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import ExportedProgram

from resnet_torch.weights import set_weights
from shared.base.errors import InputError, WeightsError
from shared.base.files import check_readable, replacing
from shared.base.printable import printable
from shared.checkpoints.foreign import TORCH_SUFFIXES, read_named
from shared.checkpoints.programs import read_program

#: How a file ends that holds a whole model, and those that hold weights.
ENDING = ".pt2"
WEIGHTS = (*TORCH_SUFFIXES, ".safetensors")
#: And those under which a model is saved.
SAVES = (".pth", ".pt", ".safetensors")


def is_model(value: Any) -> bool:
    """Return whether this is something that the instruments can look at."""
    return isinstance(value, nn.Module | ExportedProgram)


def open_model(path: str | Path) -> ExportedProgram:
    """Return the program that `torch.export.save` wrote; no code of the file is run.

    Its example inputs are left out. Raises `InputError` for a file that is missing, damaged, or could run code.
    """
    path = check_readable(path)
    archive = read_program(path)
    log = logging.getLogger("torch.export")
    disabled, log.disabled = log.disabled, True  # it shows a traceback of what is said in one line here
    try:
        program = torch.export.load(archive)
    except Exception as error:  # of many kinds of its own
        raise WeightsError(
            f"PyTorch {torch.__version__} does not load {printable(path)} ({error or type(error).__name__}); it may be "
            "damaged, or of a version too far away"
        ) from error
    finally:
        log.disabled = disabled
    return program


def give_weights(model: nn.Module, path: str | Path) -> None:
    """Set the model's weights from a `state_dict` in a file, by its names; every one must be there and fit.

    Nothing is unpickled beyond tensors. Raises `InputError` for another file, `WeightsError` if the names do not fit.
    """
    if isinstance(model, ExportedProgram):
        raise InputError(f"a {ENDING} file has weights of its own; weights are given to a model that is Python code")
    if not str(path).endswith(WEIGHTS):
        raise InputError(f"{printable(path)}: weights of a PyTorch model end in one of {', '.join(WEIGHTS)}")
    if any(map(nn.parameter.is_lazy, model.parameters())):
        raise InputError("the model makes its weights when it is first called; call it once in your code")
    if not all(isinstance(value, torch.Tensor) for value in model.state_dict().values()):
        raise InputError("the model's state_dict holds more than arrays; load its weights in your code")
    set_weights(model, read_named(path))


def check_ending(path: str | Path) -> None:
    """Raise `InputError` unless a model can be saved under this name."""
    if not str(path).endswith(SAVES):
        raise InputError(f"{printable(path)}: a PyTorch model is saved as one of {', '.join(SAVES)}")


def save_model(model: nn.Module, path: str | Path) -> None:
    """Write the model's `state_dict`, whole or not at all, as PyTorch's own file or as safetensors."""
    check_ending(path)
    arrays = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        if str(path).endswith(".safetensors"):
            save_file(arrays, temporary)
        else:
            torch.save(arrays, temporary)
